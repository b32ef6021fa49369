"""What the processes print: lines for people, or for machines one JSON object each."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pythonjsonlogger.json import JsonFormatter

_FIELDS = ["asctime", "levelname", "name", "message"]
_NAMES = {"asctime": "time", "levelname": "level", "name": "logger"}

_ids: dict[str, str] = {}
"""Of what this process is at, whichever of its threads prints."""


def configure(log_format: str) -> None:
    """Print all from INFO on to standard error.

    Args:
        log_format: ``text`` or ``json``. In JSON a line has, beside its time, level, logger and
            message, whatever it was given as ``extra``, and what ``all_lines_have`` names.
    """
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter(_FIELDS, rename_fields=_NAMES))
        handler.addFilter(_add_ids)
    else:
        handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


@contextmanager
def all_lines_have(**ids: str) -> Iterator[None]:
    """Let every line that this process prints within a block have these fields."""
    _ids.update(ids)
    try:
        yield
    finally:
        for name in ids:
            _ids.pop(name, None)


def _add_ids(record: logging.LogRecord) -> bool:
    for name, value in _ids.items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True
