"""What the processes print: lines for people, or for machines one JSON object each."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

from pythonjsonlogger.json import JsonFormatter

_FIELDS = ["asctime", "levelname", "name", "message"]
_NAMES = {"asctime": "time", "levelname": "level", "name": "logger"}

_TEXT_IDS = ("request", "job")

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that is answered here; what ``asyncio`` begins for it has it too."""

_ids: dict[str, str] = {}
"""Of what this process is at, whichever of its threads prints."""


def configure(log_format: str) -> None:
    """Print all from INFO on to standard error, as ``printer`` does."""
    logging.basicConfig(level=logging.INFO, handlers=[printer(log_format, sys.stderr)])
    # Pages call this very process, and each call would be a line.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def printer(log_format: str, stream: TextIO) -> logging.Handler:
    """Return what prints lines.

    Args:
        log_format: ``text`` or ``json``. In JSON a line has, beside its time, level, logger and
            message, whatever it was given as ``extra``, the ``request`` it is printed for, and what
            ``all_lines_have`` names. Text ends with the ids of request and job, where it has not
            said them.
        stream: where to.
    """
    handler = logging.StreamHandler(stream)
    handler.addFilter(_add_ids)
    if log_format == "json":
        handler.setFormatter(JsonFormatter(_FIELDS, rename_fields=_NAMES))
    else:
        handler.setFormatter(_Lines())
    return handler


@contextmanager
def all_lines_have(**ids: str | None) -> Iterator[None]:
    """Let every line that this process prints within a block have these fields, those that are."""
    _ids.update({name: value for name, value in ids.items() if value is not None})
    try:
        yield
    finally:
        for name in ids:
            _ids.pop(name, None)


def _add_ids(record: logging.LogRecord) -> bool:
    asked = request_id.get()
    for name, value in (_ids if asked is None else {**_ids, "request": asked}).items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


class _Lines(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        ids = {name: getattr(record, name, None) for name in _TEXT_IDS}
        unsaid = [f"{name} {id_}" for name, id_ in ids.items() if id_ and id_ not in record.message]
        return f"{record.message} [{', '.join(unsaid)}]" if unsaid else record.message
