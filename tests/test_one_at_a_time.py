"""Of those who want work on a data set a few wait, and the others are told at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from models.errors import TooBusy
from tests.service import wait_until
from training.one_at_a_time import OneAtATime


def test_a_few_wait_for_their_turn_and_more_are_turned_away_at_once() -> None:
    turns = OneAtATime("read", most_waiting=2, seconds=60)

    def wait() -> str:
        with turns.turn():
            return "had it"

    with ThreadPoolExecutor(2) as pool:
        with turns.turn():
            waiting = [pool.submit(wait) for _ in range(2)]
            wait_until(turns.is_full)
            with pytest.raises(TooBusy, match="several"):
                wait()
        assert [each.result() for each in waiting] == ["had it", "had it"]
    assert wait() == "had it"


def test_who_waits_too_long_is_turned_away() -> None:
    turns = OneAtATime("read", most_waiting=1, seconds=0.05)
    with turns.turn(), pytest.raises(TooBusy, match="another"), turns.turn():
        pass
