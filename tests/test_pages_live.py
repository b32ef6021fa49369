"""Pieces of a page that follow what changes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import cast

import pytest

from app.client import Unreachable
from app.followers import Followers
from app.pages.live import events, live
from models.errors import TooBusy


async def numbers(upto: int) -> AsyncGenerator[int, None]:
    for number in range(upto):
        yield number


def show(number: int) -> str:
    return f'<p id="n">\n{number}</p>'


def told(changes: AsyncGenerator[int, None], show: Callable[[int], str] = show) -> list[str]:
    async def all_of_them() -> list[str]:
        return [each.decode() async for each in events(changes, show, pause_seconds=0.001)]

    return asyncio.run(all_of_them())


def test_only_the_newest_of_what_comes_at_once_is_shown_then_the_end_is_told() -> None:
    first, *shown, end = told(numbers(100))
    assert first.startswith("retry:")
    assert shown[-1] == 'data: <p id="n">\ndata: 99</p>\n\n'
    assert len(shown) <= 2
    assert end == "event: end\ndata: \n\n"


def test_pieces_come_as_a_stream_that_nobody_keeps() -> None:
    answer = live(Followers(1, "pages"), numbers(1), show)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-cache"


def test_each_change_is_shown_when_it_comes() -> None:
    shown = asyncio.Event()

    async def changes() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number
            await shown.wait()
            shown.clear()

    def show_and_go_on(number: int) -> str:
        shown.set()
        return show(number)

    assert [event for event in told(changes(), show_and_go_on) if event.startswith("data")] == [
        f'data: <p id="n">\ndata: {number}</p>\n\n' for number in range(3)
    ]


def test_a_service_that_is_gone_is_told() -> None:
    async def changes() -> AsyncGenerator[int, None]:
        yield 1
        raise Unreachable("nobody answers")

    assert told(changes())[-1] == "event: problem\ndata: nobody answers\n\n"


def sent(watchers: Followers, upto: int) -> AsyncGenerator[bytes, None]:
    response = live(watchers, numbers(upto), show, pause_seconds=0.001)
    return cast("AsyncGenerator[bytes, None]", response.body_iterator)


def test_more_pages_than_may_be_are_refused_until_one_has_left() -> None:
    watchers = Followers(1, "pages are open")

    async def watch() -> None:
        first = sent(watchers, 10**6)
        beside = sent(watchers, 1)  # both before anything was sent
        await anext(first)
        with pytest.raises(TooBusy, match="1 pages are open"):
            sent(watchers, 1)
        assert [event async for event in beside] == [
            b"event: problem\ndata: too many pages are open\n\n"
        ]
        await first.aclose()
        assert [event async for event in sent(watchers, 1)][-1]
        assert watchers.count == 0

    asyncio.run(watch())


def test_who_leaves_ends_what_is_followed() -> None:
    ended = asyncio.Event()

    async def changes() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def leave() -> None:
        shown = events(changes(), show, pause_seconds=0)
        await anext(shown)
        await anext(shown)
        await shown.aclose()
        await asyncio.wait_for(ended.wait(), 5)

    asyncio.run(leave())


def test_a_page_that_cannot_be_rendered_is_a_defect() -> None:
    def broken(_: int) -> str:
        raise KeyError

    with pytest.raises(KeyError):
        told(numbers(1), broken)
