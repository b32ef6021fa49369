"""Half-written files of killed processes, removed when nobody can be writing them any more."""

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

UNTOUCHED_SECONDS = 24 * 3600
"""After which nobody writes any more: requests end long before, and other processes share a store,
so that who began to write cannot be asked."""

_log = logging.getLogger(__name__)


_HALF_WRITTEN = re.compile(r"\.received-\w+\.part|.+\.[0-9a-f]{32}\.part")
"""Names that only half-written things have: a data set may well be called ``pets.part``."""


def remove_leftovers(data: Path, store: Path | None) -> list[Path]:
    """Remove what has a name of something half-written and was not touched for a day.

    Args:
        data: folder of data sets, of which only what lies directly in it is ours; may be missing.
        store: with all that is in it; none where it is no folder of this machine.

    Returns:
        What was removed.
    """
    before = time.time() - UNTOUCHED_SECONDS
    removed = []
    for path in [*sorted(data.glob("*.part")), *(_inside(store) if store else ())]:
        if not _HALF_WRITTEN.fullmatch(path.name):
            continue
        with suppress(FileNotFoundError):  # whoever wrote it has just ended
            if max(_touched(path)) < before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                _log.warning("removed %s, which was left half-written", path)
                removed.append(path)
    return removed


def _inside(store: Path) -> Iterator[Path]:
    """Yield what is in a store, but not what is in half-written folders."""
    for folder, folders, files in os.walk(store):  # a folder that vanishes meanwhile is fine
        yield from (Path(folder, name) for name in sorted([*folders, *files]))
        folders[:] = sorted(name for name in folders if not _HALF_WRITTEN.fullmatch(name))


def _touched(path: Path) -> Iterator[float]:
    yield path.stat().st_mtime
    for inside in path.rglob("*"):
        yield inside.stat().st_mtime
