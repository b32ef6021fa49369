"""docs/tour.md shows pictures that there are, taken by its command."""

import re
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
TOUR = (DOCS / "tour.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", TOUR)

MOST_BYTES = 1_500_000


def test_every_picture_is_there_and_none_is_left_over() -> None:
    files = {DOCS / path for _, path in SHOWN}
    assert files == set((DOCS / "tour").iterdir())
    for file in files:
        with Image.open(file) as picture:
            assert picture.width == 1280
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES


def test_every_picture_is_taken_by_the_command() -> None:
    taken = (DOCS.parent / "tests" / "browser" / "tour.py").read_text(encoding="utf-8")
    for _, path in SHOWN:
        assert f'take(page, "{Path(path).stem}"' in taken
