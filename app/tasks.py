"""The queue's one task, and how jobs get into the queue."""

import json
import multiprocessing
import os
import platform
from contextlib import closing
from typing import cast

from celery import Task
from redis import Redis

from app.jobs import Jobs
from app.logs import all_lines_have
from app.queue import QUEUE, connect, queue
from app.settings import read_settings
from app.work import do_job, find_lost
from models.store import Store

stopping = multiprocessing.Value("b", 0, lock=False)
"""Set to 1 by the worker when it is asked to end; shared with the child process that trains.

Without a lock, which a child that is killed while it looks would keep for ever.
"""


@queue.task(name="stillhouse.distill")  # type: ignore[untyped-decorator]  # celery has no types
def distill_job(id_: str) -> None:
    """Do what is left of a job and not in other hands."""
    settings = read_settings()
    store = Store(settings.store, settings.release)
    who = f"worker {platform.node()}:{os.getpid()}"
    with closing(connect(settings)) as redis, all_lines_have(job=id_):
        jobs = Jobs(store, redis, settings.lease_seconds, who)
        with all_lines_have(request=jobs.request_id(id_)):
            do_job(
                id_,
                jobs,
                store,
                settings.data,
                stopping=lambda: bool(stopping.value),
                limit_bytes=settings.memory_limit_bytes,
            )


def enqueue(id_: str) -> None:
    """Put a job into the queue.

    Raises:
        kombu.exceptions.OperationalError: the queue cannot be reached.
    """
    # One try: what cannot be enqueued now is found by ``sweep`` later.
    cast("Task", distill_job).apply_async((id_,), task_id=id_, retry=False)


def sweep(jobs: Jobs, redis: Redis) -> list[str]:
    """Put jobs that want a worker and no message speaks of into the queue; return their ids.

    A message that a worker has just taken is seen neither here nor by its worker; then there are
    two, and whoever takes the second finds less to do, or nothing.
    """
    messages = cast("list[str]", redis.lrange(QUEUE, 0, -1))
    lost = find_lost(jobs, {json.loads(message)["headers"]["id"] for message in messages})
    for id_ in lost:
        enqueue(id_)
    return lost
