"""``stillhouse follow``: bars on a terminal, a line for each epoch elsewhere."""

import sys
import threading
from contextlib import nullcontext
from types import TracebackType
from typing import Self

import click
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.cli.command import FAILED, INTERRUPTED, Command
from app.cli.jobs import show_job
from app.cli.screen import clean, duration, screen, tell
from app.cli.service import with_service
from app.client import ClientError, EpochFinished, StatusChanged, Stillhouse, Unreachable
from app.schemas import Job, NetworkProgress

LOOK_SECONDS = 1.0
"""Workers tell of their progress once a second."""

HEAD_LINES = 6
"""Of a screen, beside the bars."""

FIGURES_WIDTH = 54
"""Of a screen, beside a bar: name, epochs, loss, accuracy."""


@click.command(
    "follow",
    cls=Command,
    examples=(
        ("follow 3f2a91c0", "a bar for each teacher and member, until the job ends"),
        ("follow 3f2a91c0 > job.log", "a line for each epoch"),
    ),
)
@click.argument("id")
@with_service
def follow_command(service: Stillhouse, /, id: str) -> int:  # noqa: A002
    """Watch a job until it ends, over as many connections as it takes.

    Ctrl-C ends the watching and not the job. The exit status is 0 if the job succeeded, else 1.
    """
    return follow(service, id)


def follow(service: Stillhouse, id_: str) -> int:
    """Show a job until it has ended, and return the exit status."""
    job = service.job(id_)
    lines = not sys.stdout.isatty()
    back = f"the job goes on; 'stillhouse follow {id_}' comes back to it"
    try:
        with nullcontext() if lines else _Bars(service, job) as bars:
            for progress in service.follow(id_):
                match progress:
                    case EpochFinished() if lines:
                        print(_epoch_line(progress), flush=True)
                    case StatusChanged(job=job):
                        if lines:
                            print(f"{job.id}: {job.status}", flush=True)
                        elif bars is not None:
                            bars.show(job)
    except KeyboardInterrupt:
        tell(back)
        return INTERRUPTED
    except Unreachable:
        tell(back)
        raise
    show_job(service.job(id_))
    return 0 if job.status == "succeeded" else FAILED


def _epoch_line(done: EpochFinished) -> str:
    name = f"{done.role} {done.index}"
    found = f"loss {done.train_loss:.3f}, validation {done.val_accuracy:.1%}"
    return f"{name}: epoch {done.epoch}, {found}, {done.seconds:.1f} s"


class _Bars:
    """A bar for each network, drawn again every second in a thread of its own.

    Args:
        service: where the job is.
        job: as it is at first.
    """

    def __init__(self, service: Stillhouse, job: Job) -> None:
        # Not the one that listens, and without patience: the next look is soon.
        self._service = Stillhouse(service.url, retry_seconds=0)
        self._job = job
        self._note = ""
        self._end = threading.Event()
        self._screen = screen()
        self._live = Live(console=self._screen, get_renderable=self._draw, refresh_per_second=4)
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._live.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        self._service.close()
        self._live.__exit__(kind, error, traceback)

    def show(self, job: Job) -> None:
        """Show a job as it is now."""
        self._job = job

    def _look(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            try:
                self._job, self._note = self._service.job(self._job.id), ""
            except Unreachable:
                self._note = "connection lost; trying again"
            except ClientError as error:
                self._note = clean(str(error))

    def _draw(self) -> Group:
        job = self._job
        left = duration(job.eta_seconds)
        workers = f"{job.workers} worker{'s' * (job.workers != 1)}"
        title = Text.assemble((job.id, "bold"), f"  {job.status}  {workers}")
        whole = _grid()
        figures = f"{job.progress:.0%}", f"{left} left" if left else ""
        width = self._screen.width
        whole.add_row("all", _bar(job.progress, width), *figures)
        parts = [("teacher", each) for each in job.teachers]
        parts += [("member", each) for each in job.members]
        shown, hidden = _most_telling(parts, self._screen.height - HEAD_LINES)
        bars = _grid()
        for role, part in shown:
            bars.add_row(f"{role} {part.index}", _bar(part.progress, width), *_figures(part))
        last = [Text(told, style="dim") for told in (hidden, self._note) if told]
        return Group(title, whole, bars, *last)


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(min_width=10, no_wrap=True)
    grid.add_column()
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    return grid


def _bar(share: float, screen_width: int) -> ProgressBar:
    width = min(30, max(4, screen_width - FIGURES_WIDTH))
    return ProgressBar(total=1.0, completed=share, width=width, complete_style="cyan")


def _figures(part: NetworkProgress) -> tuple[str, str, str]:
    loss = "" if part.train_loss is None else f"loss {part.train_loss:.3f}"
    accuracy = "" if part.val_accuracy is None else f"validation {part.val_accuracy:.1%}"
    return f"{part.epoch}/{part.epochs}", loss, accuracy


def _most_telling(
    parts: list[tuple[str, NetworkProgress]], rows: int
) -> tuple[list[tuple[str, NetworkProgress]], str]:
    """Return the networks that a screen has rows for, and a line about the others."""
    if len(parts) <= rows:
        return parts, ""
    order = {"running": 0, "succeeded": 1, "queued": 2}
    ranked = sorted(range(len(parts)), key=lambda place: order[parts[place][1].status])
    kept = set(ranked[: max(rows, 1)])
    others = [part.status for place, (_, part) in enumerate(parts) if place not in kept]
    counts = {status: others.count(status) for status in ("running", "succeeded", "queued")}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return [part for place, part in enumerate(parts) if place in kept], f"and {told}"
