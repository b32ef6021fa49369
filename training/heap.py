"""Memory that one step of training frees is kept for the next one.

A step takes hundreds of megabytes in blocks of a few, frees them all, and the next takes as many.
glibc gives such memory back to the system each time, which then finds and clears the same pages
anew: a tenth of the time that small networks train on a CPU. Other allocators are left as they are.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def use_one_heap() -> None:
    """Let threads that are yet to begin share one heap, as the first thing that a process does.

    A thread's own heap, which glibc puts together from pieces of 64 MiB, gives each of them back
    when it is empty, whatever it is told to keep.
    """
    _tell(_ARENA_MAX, 1)


@contextmanager
def kept_heap() -> Iterator[None]:
    """Keep up to 1 GiB of freed memory within this block, and give it back at its end.

    A single allocation of more than 32 MiB, the most that glibc takes here, has a mapping of its
    own as before.
    """
    _tell(_TRIM_THRESHOLD, 2**30)
    _tell(_MMAP_THRESHOLD, 32 * 2**20)
    try:
        yield
    finally:
        _tell(_TRIM_THRESHOLD, 2 * 32 * 2**20)  # what glibc itself comes to at most
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)


def _tell(option: int, value: int) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(option, value)
