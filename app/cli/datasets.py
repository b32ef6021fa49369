"""``stillhouse datasets`` and ``upload``."""

import json
from pathlib import Path
from typing import Any

import click

from app.cli.command import Command
from app.cli.screen import show_facts, show_table, tell
from app.cli.service import with_service
from app.client import Stillhouse


@click.command(
    "datasets",
    cls=Command,
    examples=(
        ("datasets", "all that jobs can learn from"),
        ("datasets birds", "how many pictures of which class"),
        ("datasets birds --check 200", "and what is wrong with the first 200 of them"),
    ),
)
@click.argument("name", required=False)
@click.option("--check", type=click.IntRange(1), metavar="N", help="Open and look at so many.")
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
        click.echo(json.dumps(found))
    elif name is None:
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


def _show_list(found: dict[str, Any]) -> None:
    columns = ["name"]
    show_table(columns, [[each.get(column) for column in columns] for each in found["datasets"]])


def _show(found: dict[str, Any]) -> None:
    show_facts(found.items())
