"""The API process: what it holds, what it does in the background, and its application."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi_offline import FastAPIOffline
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError
from starlette.middleware.cors import CORSMiddleware

import app.tasks
from app import __version__, problems
from app.answers import Answer, How, Picture, answer
from app.batching import Batcher
from app.bodies import MOST_AT_ONCE
from app.counts import CountsCollector
from app.doors import CheckKeys
from app.followers import Followers
from app.headers import ANSWER_HEADERS, REQUEST_HEADERS, AddHeaders
from app.jobs import Jobs
from app.keys import read_keyring
from app.leftovers import UNTOUCHED_SECONDS, remove_leftovers
from app.limits import LimitBodies
from app.openapi import describe_keys
from app.pages import site
from app.queue import connect
from app.serving import Serving
from app.settings import Settings
from app.shortcut import Shortcut
from app.telemetry import CountRequests, Telemetry
from models.cores import MOST_CORES, Cores, step_back, usable_cores
from models.errors import StillhouseError
from models.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """All that the routes use.

    Attributes:
        settings: of this process.
        store: ensembles, requests and outcomes.
        redis: running jobs and the queue.
        jobs: records of all jobs.
        serving: the ensemble that answers.
        telemetry: metrics.
        followers: clients that follow jobs.
        batcher: the queue in front of the engine.
        engine: threads that ask the ensemble, one for each batch under way.
        decoders: threads that decode pictures, one for each core.
        receiving: how many large bodies may be received at once.
    """

    settings: Settings
    store: Store
    redis: Redis
    jobs: Jobs
    serving: Serving
    telemetry: Telemetry
    followers: Followers
    batcher: Batcher[How, Picture, Answer]
    engine: ThreadPoolExecutor
    decoders: ThreadPoolExecutor
    receiving: asyncio.Semaphore


def build_service(settings: Settings) -> Service:
    """Open store and queue; connects to nothing yet."""
    store, redis, telemetry = (
        Store(settings.store, settings.release),
        connect(settings),
        Telemetry(),
    )
    jobs = Jobs(store, redis, settings.lease_seconds)
    telemetry.registry.register(CountsCollector(jobs.counts))
    engine_cores = Cores(settings.engine_threads or min(usable_cores(), MOST_CORES))
    engine = ThreadPoolExecutor(engine_cores.count, "engine", initializer=step_back)
    return Service(
        settings=settings,
        store=store,
        redis=redis,
        jobs=jobs,
        serving=Serving(store, engine_cores),
        telemetry=telemetry,
        followers=Followers(
            settings.max_followers, "clients follow jobs already; ask for the job itself"
        ),
        batcher=build_batcher(settings, telemetry, engine, engine_cores.count),
        engine=engine,
        decoders=ThreadPoolExecutor(usable_cores(), "decode"),
        receiving=asyncio.Semaphore(MOST_AT_ONCE),
    )


def build_batcher(
    settings: Settings, telemetry: Telemetry, engine: ThreadPoolExecutor, lanes: int
) -> Batcher[How, Picture, Answer]:
    """Return the queue of pictures for the ensembles, which all wait for the same cores."""

    def run(how: How, pictures: list[Picture], waited_seconds: float) -> list[Answer]:
        answers = answer(how, pictures, waited_seconds, settings.degrade_policy)
        telemetry.note_answers(how.mode, answers)
        return answers

    return Batcher(
        run,
        engine,
        lanes=lanes,
        max_waiting=settings.max_waiting_pictures,
        observe=telemetry.note_batch,
        cost_of=lambda how: how.costs,
    )


async def provide_service(request: Request) -> Service:
    """Return the service an application was made for (a FastAPI dependency)."""
    return get_service(request)  # were this no coroutine, the framework would wake a thread for it


def get_service(request: Request) -> Service:
    """Return the service an application was made for."""
    service: Service = request.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(provide_service)]


def create_app(settings: Settings) -> FastAPI:
    """Return the application, which loads the serving ensemble when it starts."""
    from app.routes import data_sets, ensembles, health, jobs, predict, recipes, v2  # noqa: PLC0415  # they import this module

    service = build_service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(service.serving.follow)
        # What lives as long as the process is looked at no more: a full collection among the
        # objects of PyTorch and OpenVINO takes 150 ms, in which nobody is answered.
        gc.collect()
        gc.freeze()
        background = [
            asyncio.create_task(_every(settings.follow_seconds, _follow, service)),
            asyncio.create_task(_every(settings.sweep_seconds, _sweep, service)),
            asyncio.create_task(_every(UNTOUCHED_SECONDS, _tidy, service)),
        ]
        yield
        for task in background:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        service.batcher.close()
        service.decoders.shutdown()
        service.engine.shutdown()

    application = FastAPIOffline(
        title="Stillhouse",
        summary="Distils ensembles of small image networks and serves them.",
        version=__version__,
        lifespan=lifespan,
    )
    application.state.service = service
    problems.install(application)
    keyring = read_keyring(settings)
    if keyring is not None:
        limited = settings.max_key_requests_per_second is not None
        describe_keys(application, limited=limited)
    # The last one added is the first to see a request.
    application.add_middleware(
        Shortcut, application=application, path="/predict", endpoint=predict.predict
    )
    application.add_middleware(LimitBodies, settings=settings)
    if keyring is not None:
        application.add_middleware(
            CheckKeys,
            keyring=keyring,
            telemetry=service.telemetry,
            max_per_second=settings.max_key_requests_per_second,
        )
    if settings.cors_origins:  # outside of the keys, since a browser asks first without one
        application.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
        )
    application.add_middleware(AddHeaders)
    application.add_middleware(CountRequests, telemetry=service.telemetry)
    for module in (predict, v2, recipes, jobs, data_sets, ensembles, health):
        application.include_router(module.router)
    site.install(application, settings, keys_needed=keyring is not None)
    return application


async def _every(
    seconds: float, do: Callable[[Service], Awaitable[None]], service: Service
) -> None:
    while True:
        try:
            await do(service)
        except (StillhouseError, RedisError, OperationalError, OSError) as error:
            _log.warning("%s, trying again in %g s: %s", do.__name__[1:], seconds, error)
        except Exception:  # noqa: BLE001  # a look that fails must not be the last one
            _log.exception("%s, trying again in %g s", do.__name__[1:], seconds)
        await asyncio.sleep(seconds)


async def _follow(service: Service) -> None:
    await asyncio.to_thread(service.serving.follow)


async def _tidy(service: Service) -> None:
    files = service.store.files
    store = Path(files.path("")) if files.is_local else None
    await asyncio.to_thread(remove_leftovers, service.settings.data, store)


async def _sweep(service: Service) -> None:
    lost = await asyncio.to_thread(app.tasks.sweep, service.jobs, service.redis)
    for id_ in lost:
        _log.info(
            "job %s put into the queue: it has work that nobody does", id_, extra={"job": id_}
        )
