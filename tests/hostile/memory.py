"""Resident memory of a process, as Linux tells it."""

import os
import re
from pathlib import Path


def resident_bytes(process: int | None = None) -> int:
    """Return what a process has now; this one's unless told."""
    return _read(process, "VmRSS")


def peak_bytes(process: int | None = None) -> int:
    """Return the most that a process ever had.

    Unlike ``getrusage`` not what the process had that started it.
    """
    return _read(process, "VmHWM")


def _read(process: int | None, name: str) -> int:
    status = Path(f"/proc/{process or os.getpid()}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, flags=re.MULTILINE)
    if found is None:
        raise ProcessLookupError(f"process {process} has ended")
    return int(found[1]) * 1024
