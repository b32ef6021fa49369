"""Training keeps the memory that it frees, for as long as it trains."""

import ctypes
import json
import subprocess
import sys
from functools import cache

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc is told"
)

A_PROCESS = """
import json, mmap, resource
from threading import Thread
from training.heap import kept_heap, use_one_heap

def step():
    [b"1" * (8 * 2**20 - n) for n in range(16)]

def fresh_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = Thread(target=step)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

use_one_heap()
with kept_heap():
    first, second = fresh_pages(), fresh_pages()
    kept = resident_pages()
print(json.dumps({"first": first, "second": second, "given back": kept - resident_pages(),
                  "of a step": 16 * 8 * 2**20 // mmap.PAGESIZE}))
"""


@cache
def pages() -> dict[str, int]:
    """Return pages of memory in a process whose threads do two steps, one after the other."""
    done = subprocess.run([sys.executable, "-c", A_PROCESS], stdout=subprocess.PIPE, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_a_step_writes_where_the_one_before_has_written() -> None:
    assert pages()["first"] > 0.9 * pages()["of a step"]
    assert pages()["second"] < 0.1 * pages()["of a step"]


def test_afterwards_the_memory_goes_back() -> None:
    assert pages()["given back"] > 0.9 * pages()["of a step"]
