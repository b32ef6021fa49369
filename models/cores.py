"""Cores, which the engines of a process take turns at."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue

MOST_CORES = 16
"""Unless told: each has a copy of all members' weights."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


STEP_BACK = 3
"""How much nicer engines are than who answers requests: each step gives them a fifth less of a core
that both want. At four times more requests than can be answered, refusals come in 6 ms instead of
75; three steps cost a lone picture a tenth of its time where its sender has no core to itself."""


_CPU_INFO = Path("/proc/cpuinfo")

_VECTORS = ("amx", "asimd", "avx", "bf16", "i8mm", "sme", "sve")


def vector_instructions(info: Path = _CPU_INFO) -> tuple[str, ...]:
    """Return the kernel's names for what the processor can do to many numbers at once.

    None where the kernel tells nothing, as on macOS.
    """
    if not info.exists():
        return ()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", info.read_text(), re.MULTILINE)
    names = found[1].split() if found else []
    return tuple(sorted(name for name in names if name.startswith(_VECTORS)))


def step_back() -> None:
    """Let the thread that calls this go behind others of the process, where the cores are full."""
    if sys.platform == "linux":  # elsewhere priority is the whole process's
        thread = threading.get_native_id()
        nicer = os.getpriority(os.PRIO_PROCESS, thread) + STEP_BACK
        os.setpriority(os.PRIO_PROCESS, thread, nicer)


class Cores:
    """Which cores are in use.

    Who computes takes a core and gives it back, so that no core has two threads of engines, however
    many batches are under way and whichever engines they ask. Which core of the machine that is
    stays open: these are numbers, and nothing is pinned.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free: LifoQueue[int] = LifoQueue()  # the one with the warmest cache first
        for core in reversed(range(count)):
            self._free.put(core)

    @contextmanager
    def taken(self, most: int) -> Iterator[list[int]]:
        """Take up to so many cores if nobody else has any, else one, waiting for it.

        Who takes what others leave for a moment makes them wait in turn, and all of them wake
        threads for it: a tenth to a quarter fewer batches a second, on two cores.
        """
        most = most if self._free.qsize() == self.count else 1
        cores = [self._free.get()]
        try:
            while len(cores) < most:
                try:
                    cores.append(self._free.get_nowait())
                except Empty:
                    break
            yield cores
        finally:
            for core in cores:
                self._free.put(core)
