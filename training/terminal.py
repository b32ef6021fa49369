"""Progress on the terminal: one bar over all the work, and a line for every finished epoch."""

import sys
from types import TracebackType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from training.progress import (
    BatchDone,
    DataRead,
    EpochDone,
    Evaluating,
    Event,
    MemoryPlanned,
    PartDone,
    Resumed,
    TimeLeft,
)


class Terminal:
    """Shows events as they come; used in a ``with`` block, called with each event.

    On a terminal there is a bar with the time left; where output goes to a file there are only
    the lines.
    """

    def __init__(self) -> None:
        self._time_left = TimeLeft()
        self._bar = tqdm(
            total=1.0,
            disable=None,  # none where stderr is no terminal
            bar_format="{desc}{percentage:5.1f}%|{bar}| {elapsed} elapsed{postfix}",
        )
        self._logging = logging_redirect_tqdm()

    def __enter__(self) -> "Terminal":
        self._logging.__enter__()  # log lines go above the bar, not into it
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._logging.__exit__(kind, error, traceback)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._time_left(event)
        match event:
            case DataRead(done, total):
                self._describe(f"reading pictures {done:,}/{total:,}")
            case MemoryPlanned(plan):
                self._line(f"plan: {plan}")
            case Resumed(part, curve) if curve:
                self._line(f"{part}: goes on after epoch {len(curve)}")
            case EpochDone():
                self._line(
                    f"{event.part}: epoch {event.epoch}/{event.epochs}"
                    f"  loss {event.train_loss:.3f}"
                    f"  validation accuracy {event.val_accuracy:.2%}"
                    f"  {event.seconds:.1f} s, {self._left()} left"
                )
            case BatchDone(part, epoch, _):
                self._describe(f"{part}, epoch {epoch}")
            case PartDone(part):
                self._describe(f"{part} done")
            case Evaluating():
                self._describe("evaluating")
        self._bar.n = round(self._time_left.share, 4)
        self._bar.set_postfix_str(f"{self._left()} left")

    def _describe(self, text: str) -> None:
        # Shown with the postfix, not twice for every batch.
        self._bar.set_description_str(f"{text}: ", refresh=False)

    def _line(self, text: str) -> None:
        # Beside the bar, not among the results, and at once: stdout waits where it is no terminal.
        tqdm.write(text, file=sys.stderr)

    def _left(self) -> str:
        seconds = self._time_left.seconds_left
        return "?" if seconds is None else str(tqdm.format_interval(seconds))
