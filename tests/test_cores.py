"""Cores are taken one by one, and given back whatever happens."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.cores import STEP_BACK, Cores, step_back, usable_cores, vector_instructions


def test_who_is_alone_may_have_all_and_who_comes_then_one() -> None:
    cores = Cores(4)
    with cores.taken(2) as first:
        assert len({*first}) == 2
        with cores.taken(2) as second:
            assert len({*first, *second}) == 3
    with cores.taken(9) as everything:
        assert sorted(everything) == [0, 1, 2, 3]


def test_one_core_is_waited_for() -> None:
    cores, seen = Cores(1), []

    def wait() -> None:
        with cores.taken(1) as taken:
            seen.append(taken)

    with cores.taken(1):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.05)
        assert not seen
    waiting.join(60)
    assert seen == [[0]]


def test_cores_come_back_after_an_error() -> None:
    cores = Cores(2)
    with pytest.raises(ValueError, match="in use"), cores.taken(2):
        raise ValueError("in use")
    with cores.taken(2) as taken:
        assert len(taken) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only there has a thread its own priority")
def test_a_thread_steps_back_behind_the_others_of_its_process() -> None:
    def priorities() -> tuple[int, int]:
        before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        step_back()
        return before, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with ThreadPoolExecutor(1) as pool:
        before, after = pool.submit(priorities).result()
    assert (before, after) == (own, min(19, own + STEP_BACK))
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


def test_a_process_has_cores() -> None:
    assert usable_cores() >= 1


def test_processors_that_compute_with_other_instructions_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    one = "processor : 0\nflags\t\t: fpu sse avx2 avx512f amx_tile\n\nprocessor : 1\nflags : fpu\n"
    file.write_text(one)
    assert vector_instructions(file) == ("amx_tile", "avx2", "avx512f")
    file.write_text("processor : 0\nFeatures : fp asimd i8mm\n")
    assert vector_instructions(file) == ("asimd", "i8mm")
    assert vector_instructions(tmp_path / "none") == ()
