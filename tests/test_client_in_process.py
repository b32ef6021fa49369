"""The client within the service's own process, as the pages have it: events as they happen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from app.client import AsyncStillhouse, EpochFinished, Missing, StatusChanged, Unreachable
from app.client.in_process import InProcess, Message
from app.jobs import Jobs
from app.service import create_app
from app.settings import Settings
from models.store import Store
from tests.service import finish, picture, worker_on
from tests.tiny import COLOURS, publish


@asynccontextmanager
async def inside(settings: Settings) -> AsyncIterator[AsyncStillhouse]:
    """Run the application without a server and give a client of it."""
    app = create_app(settings)
    client = AsyncStillhouse("http://stillhouse", transport=InProcess(app))
    async with app.router.lifespan_context(app), client:
        yield client


def test_calls_are_answered_without_a_socket(settings: Settings, store: Store) -> None:
    id_ = publish(store).id

    async def ask() -> None:
        async with inside(settings) as client:
            assert (await client.promote(id_)).ensemble == id_
            assert (await client.classes()).classes == list(COLOURS)
            answer = await client.predict([picture(0), picture(1)], top_k=2)
            assert [len(each.top_k) for each in answer.predictions] == [2, 2]
            job = await client.distill(members=2)
            assert [each.id async for each in client.jobs()] == [job.id]
            with pytest.raises(Missing):
                await client.job("none")

    anyio.run(ask)


def test_events_come_before_the_job_has_ended(settings: Settings, jobs: Jobs) -> None:
    async def follow() -> None:
        async with inside(settings) as client:
            id_ = (await client.distill()).id
            with worker_on(jobs, id_):
                jobs.begin(id_, alone=True)
            async with aclosing(client.follow(id_)) as told:
                first = await anext(told)
                assert isinstance(first, StatusChanged)
                assert first.job.status == "running"
                await asyncio.to_thread(finish, jobs, id_)
                rest = [each async for each in told]
        assert [type(each) for each in rest[-2:]] == [EpochFinished, StatusChanged]

    anyio.run(follow)


def test_whoever_stops_following_leaves_nothing_behind(settings: Settings, jobs: Jobs) -> None:
    async def follow() -> None:
        async with inside(settings) as client:
            id_ = (await client.distill()).id
            with worker_on(jobs, id_):
                jobs.begin(id_, alone=True)
            before = asyncio.all_tasks()
            async with aclosing(client.follow(id_)) as told:
                await anext(told)
                assert asyncio.all_tasks() > before
            with anyio.fail_after(10):  # generators that were left end in tasks of their own
                while asyncio.all_tasks() != before:
                    await anyio.sleep(0.01)

    anyio.run(follow)


@pytest.mark.parametrize("begun", [False, True])
def test_an_application_that_fails_is_a_lost_connection(begun: bool) -> None:
    async def failing(scope: Message, receive: Any, send: Any) -> None:
        del scope, receive
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise ValueError("a defect")

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: logged.append(told["exception"]))
        transport = InProcess(failing)
        async with AsyncStillhouse("http://x", transport=transport, retry_seconds=0) as client:
            with pytest.raises(Unreachable):
                await client.classes()

    logged: list[Exception] = []
    anyio.run(ask)


def test_an_empty_piece_is_not_the_end_of_a_body() -> None:
    heard = []

    async def application(scope: Message, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        more = True
        while more:
            message = await receive()
            heard.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one", b"", b"two"):
            yield piece

    async def ask() -> None:
        async with httpx.AsyncClient(transport=InProcess(application)) as client:
            assert (await client.post("http://here/", content=pieces())).status_code == 204

    asyncio.run(ask())
    assert b"".join(heard) == b"onetwo"
