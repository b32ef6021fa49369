"""``stillhouse datasets`` and ``upload``."""

from pathlib import Path

import click

from app.cli.command import Command
from app.cli.screen import show_table, tell
from app.cli.service import with_service
from app.client import Stillhouse
from app.schemas import DataSetDetail, DataSetList, SplitCounts

SPLITS = ("train", "val", "test")


@click.command(
    "datasets",
    cls=Command,
    examples=(
        ("datasets", "all that jobs can learn from"),
        ("datasets birds", "how many pictures of which class, and what will go wrong"),
        ("datasets birds --check 5000", "and look at 5000 of them for damaged ones and doubles"),
    ),
)
@click.argument("name", required=False)
@click.option(
    "--check",
    type=click.IntRange(0, 5000),
    metavar="N",
    help="Look at so many pictures; 500 unless told.",
)
@click.option("--json", "as_json", is_flag=True, help="As the service answers it.")
@with_service
def datasets_command(
    service: Stillhouse, /, name: str | None, check: int | None, as_json: bool
) -> None:
    """List data sets, or look into one and say what will go wrong with it."""
    if name is None and check is not None:
        raise click.UsageError("--check needs the NAME of a data set")
    found = service.datasets() if name is None else service.dataset(name, check=check)
    if as_json:
        click.echo(found.model_dump_json())
    elif isinstance(found, DataSetList):
        _show_list(found)
    else:
        _show(found)


@click.command(
    "upload",
    cls=Command,
    examples=(
        ("upload birds pictures/birds", "a folder with train/<class>/<picture>"),
        ("upload birds birds.zip", "a zip of the same"),
        ("distill --dataset birds --follow", "and an ensemble for it"),
    ),
)
@click.argument("name")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@with_service
def upload_command(service: Stillhouse, /, name: str, path: Path) -> None:
    """Send a folder or zip of own pictures as a data set."""
    _show(service.upload_dataset(name, path))
    tell(f"'stillhouse distill --dataset {name} --follow' makes an ensemble for it")


def _show_list(found: DataSetList) -> None:
    columns = ("name", "kind", "classes", *SPLITS)
    rows = [
        (each.name, each.kind, each.classes, *_counts(each.pictures)) for each in found.datasets
    ]
    show_table(columns, rows, right="classes train val test")
    for problem in found.problems:
        tell(f"{problem.name} cannot be used: {problem.reason}")


def _show(found: DataSetDetail) -> None:
    rows = [(each.label, *_counts(each.pictures)) for each in found.classes]
    rows.append(("all", *_counts(found.pictures)))
    show_table(("class", *SPLITS), rows, right="train val test")
    for warning in found.warnings:
        tell(f"{warning.kind}: {warning.detail}")
    if found.checked.pictures < found.checked.of:
        tell(f"{found.checked.pictures} of {found.checked.of} pictures were looked at; see --check")


def _counts(pictures: SplitCounts) -> list[int]:
    return [getattr(pictures, split) for split in SPLITS]
