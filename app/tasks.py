"""The queue's one task, and how jobs get into the queue."""

import multiprocessing
from typing import cast

from celery import Task
from redis import Redis

from app.jobs import Jobs
from app.queue import QUEUE, connect, queue
from app.settings import read_settings
from app.work import do_job, forget_nothing
from models.store import Store

stopping = multiprocessing.Event()
"""Set by the worker when it is asked to end; shared with the child process that trains."""


@queue.task(name="stillhouse.distill")  # type: ignore[untyped-decorator]  # celery has no types
def distill_job(id_: str) -> None:
    """Train a job to its end."""
    settings = read_settings()
    store = Store(settings.store)
    jobs = Jobs(store, connect(settings), settings.lease_seconds)
    do_job(id_, jobs, store, settings.data, stopping.is_set)


def enqueue(id_: str) -> None:
    """Put a job into the queue.

    Raises:
        kombu.exceptions.OperationalError: the queue cannot be reached.
    """
    # One try: what cannot be enqueued now is found by ``sweep`` later.
    cast("Task", distill_job).apply_async((id_,), retry=False)


def sweep(jobs: Jobs, redis: Redis) -> list[str]:
    """Put jobs that nobody works on and no message speaks of back into the queue."""
    return forget_nothing(jobs, redis.llen(QUEUE), enqueue)
