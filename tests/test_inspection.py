"""Looking through a data set: evenly, within its time, and telling alike from unlike."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from models.pictures import decode_picture
from tests.encoded import encode
from tests.test_survey import date
from tests.trees import pack, png, tiny, unpack
from training.inspection import ALIKE, Inspection, inspect, thumbnail
from training.survey import survey


def look(folder: Path, most: int, seconds: float = 60.0) -> Inspection:
    return inspect(survey("pets", folder), folder, most, seconds)


def photo(seed: int) -> Image.Image:
    """Return a picture that is smooth, as photos are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


def small(image: Image.Image, file_format: str = "PNG", **options: object) -> NDArray[np.float32]:
    return thumbnail(decode_picture(encode(image, file_format, **options), 32))


CHANGES = {
    "worse JPEG": lambda image: small(image, "JPEG", quality=40),
    "brighter": lambda image: small(ImageEnhance.Brightness(image).enhance(1.15)),
    "paler": lambda image: small(ImageEnhance.Contrast(image).enhance(0.7)),
    "smaller": lambda image: small(image.resize((40, 40), Image.Resampling.BICUBIC)),
    "grey": lambda image: small(image.convert("L")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_is_like_itself_saved_anew(change: str) -> None:
    for seed in range(20):
        assert small(photo(seed)) @ CHANGES[change](photo(seed)) >= ALIKE


def test_pictures_of_other_things_are_not_alike() -> None:
    thumbnails = [small(photo(seed)) for seed in range(60)]
    assert max(one @ other for one, other in combinations(thumbnails, 2)) < ALIKE


def test_pictures_of_one_grey_are_like_nothing() -> None:
    for level in (0, 128, 255):
        flat = np.full((32, 32, 3), level, np.uint8)
        assert not thumbnail(flat).any()
        flat[0, 0] ^= 1
        assert not thumbnail(flat).any()


def test_what_is_looked_at_is_even_over_splits_and_classes(tmp_path: Path) -> None:
    counts = {"train/a": 80, "train/b": 40, "test/a": 20, "test/b": 20}
    files = {f"{place}/{n}.png": b"x" for place, count in counts.items() for n in range(count)}
    unpack(files, tmp_path / "pets")
    (finding,) = [each for each in look(tmp_path, 16).findings if each.kind == "unreadable"]
    seen = [path.rsplit("/", 1)[0] for path in finding.pictures]
    assert {place: seen.count(place) for place in counts} == {
        place: count // 10 for place, count in counts.items()
    }


def test_it_ends_when_its_time_is_over(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "pets")
    inspection = look(tmp_path, 100, seconds=-1.0)
    assert (inspection.looked_at, inspection.pictures) == (0, 8)
    assert look(tmp_path, 100).looked_at == 8


def test_what_was_looked_through_is_not_looked_through_again(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "pets")
    date(tmp_path)
    before = look(tmp_path, 100)
    (tmp_path / "pets/train/a/0.png").write_bytes(b"changed, and its folder was not")
    assert look(tmp_path, 100) is before
    assert "unreadable" in {each.kind for each in look(tmp_path, 99).findings}


def test_very_many_pairs_cost_little(tmp_path: Path) -> None:
    files = {f"train/{c}/{n}.png": encode(photo(1).point(lambda v, n=n: min(255, v + n % 5)), "PNG")
             for c in "ab" for n in range(200)}  # fmt: skip
    files |= {f"test/{c}/0.png": encode(photo(1), "PNG") for c in "ab"}
    pack(files, tmp_path / "pets.zip")
    kinds = {each.kind: each for each in look(tmp_path, 1000).findings}
    assert len(kinds["near-duplicate"].pictures) == 20
    assert kinds["near-duplicate"].detail.startswith("640 pairs")
    assert len(kinds["duplicate"].pictures) == 20


def test_a_picture_of_a_split_alone_is_compared_with_nothing(tmp_path: Path) -> None:
    unpack({f"train/{c}/{n}.png": png(n) for c in "ab" for n in range(3)}, tmp_path / "pets")
    kinds = {each.kind for each in look(tmp_path, 100).findings}
    assert kinds == {"few", "no-test", "duplicate"}
