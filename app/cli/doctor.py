"""``stillhouse doctor``: what is missing on this machine, and what to do about it."""

import json
import os
import sys
from collections.abc import Iterator

import click
from rich.text import Text

from app.cli.command import FAILED, Command
from app.cli.machine import Finding, look_at_machine
from app.cli.screen import clean, screen
from app.cli.service import url_option
from app.cli.surroundings import look_at_settings, look_at_surroundings, service

COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command(
    "doctor",
    cls=Command,
    examples=(
        ("doctor", "this machine, with the settings that 'stillhouse up' would have"),
        ("doctor --url http://gpu-1:8000", "and a service elsewhere"),
        ("doctor --json", "one JSON object a line"),
    ),
)
@url_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def doctor_command(url: str | None, as_json: bool) -> int:
    """Say what is missing on this machine and what to do.

    Each line is ok, warn (something will not work, or slowly) or fail; with a fail the exit status
    is 1.
    """
    failed = False
    for finding in _examine(url):
        failed = failed or finding.level == "fail"
        if as_json:
            print(json.dumps(finding._asdict()), flush=True)
        else:
            _show(finding)
    return FAILED if failed else 0


def _examine(url: str | None) -> Iterator[Finding]:
    settings, finding = look_at_settings()
    yield finding
    store = settings.store if settings else os.environ.get("STILLHOUSE_STORE", "store")
    yield from look_at_machine(store)
    if settings is not None:
        yield from look_at_surroundings(settings)
    if url is not None:
        yield service(url, None)
    elif settings is not None:
        yield service(f"http://{settings.host}:{settings.port}", settings)


def _show(finding: Finding) -> None:
    if not sys.stdout.isatty():
        print("\t".join(clean(part) for part in finding if part), flush=True)
        return
    line = Text.assemble((f"{finding.level:<5}", COLOURS[finding.level]), f"{finding.what:<10}")
    line.append(clean(finding.found))
    shown = screen()
    shown.print(line, soft_wrap=True)
    if finding.advice:
        shown.print(Text(f"{'':15}{clean(finding.advice)}", style="dim"), soft_wrap=True)
