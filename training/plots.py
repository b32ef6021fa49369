"""``python -m training.plots``: the report of an ensemble as pictures."""

import argparse
import sys
from pathlib import Path

from models.errors import StillhouseError
from models.store import Store
from training.figures import draw_report, save


def main(arguments: list[str] | None = None) -> int:
    """Draw the report of one ensemble and print where the pictures are."""
    parser = argparse.ArgumentParser(
        prog="python -m training.plots",
        description="Draw learning curves, reliability, confusion and accuracy by members.",
    )
    parser.add_argument("--store", required=True, help="folder or fsspec URL of the store")
    parser.add_argument("--ensemble", metavar="ID", required=True, help="whose report to draw")
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="for the PNGs")
    options = parser.parse_args(arguments)
    try:
        store = Store(options.store)
        figures = draw_report(store.manifest(options.ensemble), store.report(options.ensemble))
        print(*save(figures, options.out), sep="\n")
    except (StillhouseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
