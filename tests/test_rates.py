"""How often somebody may ask: so many at once, then as many as come back."""

import pytest

from app.rates import Bucket


def test_a_seconds_worth_may_be_taken_at_once_and_no_more() -> None:
    bucket = Bucket(per_second=4, now=100)
    assert [bucket.take(100) for _ in range(5)] == [0, 0, 0, 0, 0.25]


def test_tokens_come_back_at_the_rate() -> None:
    bucket = Bucket(per_second=4, now=100)
    for _ in range(4):
        bucket.take(100)
    assert bucket.take(100.25) == 0
    assert bucket.take(100.25) == 0.25
    assert bucket.take(100.375) == pytest.approx(0.125)


def test_no_more_than_a_seconds_worth_is_saved_up() -> None:
    bucket = Bucket(per_second=2, now=0)
    assert [bucket.take(3600) for _ in range(3)] == [0, 0, 0.5]


def test_less_than_one_a_second_still_lets_one_through() -> None:
    bucket = Bucket(per_second=0.1, now=0)
    assert [bucket.take(0), bucket.take(0)] == [0, 10]
    assert bucket.take(10) == 0


def test_who_is_refused_does_not_wait_longer_for_asking() -> None:
    bucket = Bucket(per_second=1, now=0)
    bucket.take(0)
    assert [bucket.take(0.5), bucket.take(0.5), bucket.take(1)] == [0.5, 0.5, 0]
