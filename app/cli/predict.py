"""``stillhouse predict``: pictures from files, folders, patterns or stdin, each answered alone."""

import csv
import glob
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, get_args

import click

from app.cli.command import FAILED, Command
from app.cli.screen import per_cent, show_table, tell
from app.cli.service import with_service
from app.client import Refused, Stillhouse
from app.schemas import Mode, Prediction, Predictions

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
"""What is looked for in folders."""

STDIN = "-"
AT_ONCE = 16
"""Requests on their way; the service answers them in batches."""

ALONE = "picture 0 (picture-0): "
"""How the service speaks of the only picture of a request; here it has its own name."""

OF_THE_PICTURE = {
    "invalid-picture",
    "unreadable-picture",
    "picture-too-large",
    "request-too-large",
    "unsupported-picture",
}
"""Problems of one picture, and not of what was asked about it."""


class Answered(NamedTuple):
    """One picture and its answer, or why there is none."""

    name: str
    answer: Predictions | None
    reason: str = ""

    @property
    def prediction(self) -> Prediction:
        """The answer to it alone."""
        assert self.answer is not None  # noqa: S101  # asked of those that were answered
        return self.answer.predictions[0]


@click.command(
    "predict",
    cls=Command,
    examples=(
        ("predict photo.jpg", "what is in one picture"),
        ("predict --top-k 3 holiday/ 'more/*.png'", "three classes each, of whole folders"),
        ("predict --conformal 0.9 photo.jpg", "with a set that holds the right class in 9 of 10"),
        ("predict --csv holiday/ > holiday.csv", "for a spreadsheet"),
        ("predict --json - < photo.jpg", "from stdin, one JSON object for each picture"),
    ),
)
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE...")
@click.option("--top-k", type=click.IntRange(1), help="How many classes to name.")
@click.option("--max-members", type=click.IntRange(1), help="Ask only the first so many members.")
@click.option("--mode", type=click.Choice(get_args(Mode)), help="How exactly, against how fast.")
@click.option(
    "--conformal",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="RATE",
    help="Add the smallest set of classes that holds the right one at this rate.",
)
@click.option("--json", "form", flag_value="json", help="One JSON object a line.")
@click.option("--csv", "form", flag_value="csv", help="Comma-separated, with a head.")
@with_service
def predict_command(
    service: Stillhouse, /, pictures: tuple[str, ...], form: str | None, **asked: Any
) -> int:
    """Say what is in pictures: files, folders, patterns in quotes, or - for stdin.

    A picture that cannot be used is told on stderr, the others are answered, and the exit status
    is 1.
    """
    failed = 0

    def answered() -> Iterator[Answered]:
        nonlocal failed
        for each in _ask(service, list(_find(pictures)), asked):
            if each.answer is None:
                failed += 1
                tell(f"{each.name}: {each.reason}")
            else:
                yield each

    {"json": _print_json, "csv": _print_csv, None: _print_table}[form](answered(), asked)
    return FAILED if failed else 0


def _find(given: Iterable[str]) -> Iterator[str]:
    for name in given:
        path = Path(name)
        if name == STDIN or path.is_file():
            yield name
        elif path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in PICTURES)
            yield from map(str, inside or [path])
        else:
            yield from sorted(glob.glob(name, recursive=True)) or [name]  # noqa: PTH207  # any root


def _ask(service: Stillhouse, names: list[str], asked: dict[str, Any]) -> Iterator[Answered]:
    # Here and not in a thread, which Ctrl-C would not reach.
    piped = sys.stdin.buffer.read() if STDIN in names else b""

    def ask(name: str) -> Answered:
        try:
            picture = piped if name == STDIN else _read(name)
            return Answered(name, service.predict(picture, **asked))
        except OSError as error:
            return Answered(name, None, error.strerror or str(error))
        except Refused as error:
            if error.kind not in OF_THE_PICTURE:
                raise
            return Answered(name, None, error.detail.removeprefix(ALONE))

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield from pool.map(ask, names)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read(name: str) -> bytes:
    path = Path(name)
    if path.is_dir():
        raise OSError(f"holds none of {', '.join(sorted(PICTURES))}")
    return path.read_bytes()


def _print_json(answered: Iterable[Answered], _: object) -> None:
    for each in answered:
        answer = each.answer.model_dump(mode="json", exclude={"predictions"}) if each.answer else {}
        told = {"picture": each.name} | answer | each.prediction.model_dump(mode="json")
        del told["filename"]
        print(json.dumps(told), flush=True)


def _print_csv(answered: Iterable[Answered], asked: dict[str, Any]) -> None:
    places = range(1, (asked["top_k"] or 1) + 1)
    head = ["picture", "ensemble", "label", "class_id", "probability", "calibrated_probability"]
    head += ["entropy", "mutual_information", "agreement", "outside", "members_used"]
    head += ["conformal_set"] * bool(asked["conformal"])
    head += [f"{what}_{place}" for place in places[1:] for what in ("label", "probability")]
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(head)
    for each in answered:
        row = each.prediction.model_dump() | each.prediction.uncertainty.model_dump()
        row |= {"picture": each.name, "ensemble": each.answer and each.answer.ensemble}
        row["conformal_set"] = " ".join(top.label for top in each.prediction.conformal_set or ())
        for place, top in zip(places, each.prediction.top_k, strict=False):
            row |= {f"label_{place}": top.label, f"probability_{place}": top.probability}
        lines.writerow([row.get(name) for name in head])


def _print_table(answered: Iterable[Answered], asked: dict[str, Any]) -> None:
    columns = ["picture", "label", "probability", "doubt"]
    columns += ["next"] * ((asked["top_k"] or 1) > 1) + ["set"] * bool(asked["conformal"])
    rows = []
    for each in answered:
        found = each.prediction
        told: dict[str, object] = {
            "picture": each.name,
            "label": found.label,
            "probability": per_cent(found.probability),
            "doubt": _doubt(found),
            "next": ", ".join(f"{top.label} {top.probability:.1%}" for top in found.top_k[1:]),
            "set": ", ".join(top.label for top in found.conformal_set or ()),
        }
        rows.append([told[column] for column in columns])
    if rows:
        show_table(columns, rows, right="probability")


def _doubt(found: Prediction) -> str:
    agreeing = round(found.uncertainty.agreement * found.members_used)
    told = f"{agreeing} of {found.members_used} members agree"
    return told + "; may show none of the classes" * bool(found.uncertainty.outside)
