"""With a long queue fewer members answer, never fewer than the least, and only if switched on."""

import pytest

from app.degrade import Degrade
from app.settings import Settings

DEGRADE = Degrade(delay_seconds=0.2, least_members=3)


@pytest.mark.parametrize("waited", [0.0, 0.1, 0.2])
def test_all_members_answer_while_the_wait_is_what_is_wanted(waited: float) -> None:
    assert DEGRADE.members(10, waited) == 10


@pytest.mark.parametrize(
    ("waited", "members"), [(0.21, 10), (0.25, 8), (0.4, 5), (0.5, 4), (2.0, 3), (1e9, 3)]
)
def test_the_longer_the_wait_the_fewer_members(waited: float, members: int) -> None:
    assert DEGRADE.members(10, waited) == members


@pytest.mark.parametrize("asked", [1, 2])
def test_no_more_members_answer_than_were_asked_for(asked: int) -> None:
    assert DEGRADE.members(asked, 1e9) == asked


def test_it_is_off_unless_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().degrade_policy is None
    monkeypatch.setenv("STILLHOUSE_DEGRADE", "on")
    monkeypatch.setenv("STILLHOUSE_DEGRADE_DELAY_SECONDS", "0.5")
    monkeypatch.setenv("STILLHOUSE_DEGRADE_LEAST_MEMBERS", "2")
    assert Settings().degrade_policy == Degrade(0.5, 2)
