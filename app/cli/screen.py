"""What commands print: tables for people, tab-separated lines for programs, numbers with units."""

import csv
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

EMPTY = "–"


def screen() -> Console:
    """Return the terminal or pipe of stdout; colours only on a terminal, and not with NO_COLOR."""
    return Console(highlight=False, markup=False, emoji=False)


def tell(message: str) -> None:
    """Say something that is no result: on stderr."""
    click.echo(clean(message), err=True)


def clean(text: str) -> str:
    """Return a text whose control characters, which could move the cursor or worse, are gone."""
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: str = "") -> None:
    """Print a table: aligned on a terminal, separated by tabs on a pipe.

    Args:
        columns: their names.
        rows: of as many values; none is shown as a dash, or as nothing on a pipe.
        right: names of the columns that are numbers, separated by spaces.
    """
    if not sys.stdout.isatty():
        lines = csv.writer(sys.stdout, "excel-tab", lineterminator="\n")
        lines.writerow(columns)
        lines.writerows([["" if value is None else value for value in row] for row in rows])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        numbers = column in right.split()
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(EMPTY if value is None else clean(str(value)) for value in row))
    screen().print(table)


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line; those that are none are left out."""
    known = [(name, value) for name, value in facts if value is not None]
    if not sys.stdout.isatty():
        csv.writer(sys.stdout, "excel-tab", lineterminator="\n").writerows(known)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in known:
        table.add_row(name, clean(str(value)))
    screen().print(table)


def per_cent(share: float | None, digits: int = 1) -> str | None:
    """Return a share as per cent."""
    return None if share is None else f"{share:.{digits}%}"


def duration(seconds: float | None) -> str | None:
    """Return how long something takes, in the two units that say most."""
    if seconds is None:
        return None
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86_400)
    hours, minutes = divmod(rest // 60, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def ago(moment: datetime | str | None) -> str | None:
    """Return how long ago something was."""
    if moment is None:
        return None
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{duration((datetime.now(UTC) - when).total_seconds())} ago"


def size(count: int) -> str:
    """Return a number of bytes in the unit that says most."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
