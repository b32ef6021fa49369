"""Doing a job: what a worker does between taking one and leaving it, with or without a queue."""

import logging
from collections.abc import Callable
from pathlib import Path

from redis.exceptions import RedisError

from app.heartbeat import Heartbeat
from app.jobs import Jobs
from app.live import LiveWork
from app.problems import ANSWERS, POISON, type_uri
from app.record import finished_job
from app.schemas import JobError
from models.errors import (
    JobCancelled,
    JobEnded,
    LeaseLost,
    NotEnoughMemory,
    StillhouseError,
    Stopped,
    StoreError,
)
from models.store import Store
from training.distill import distill
from training.promotion import promote
from training.recipe_check import recipe_from_dict

_log = logging.getLogger(__name__)

MAX_DEATHS = 3
"""A job that ends so many workers without an epoch in between fails, instead of ending them all."""


def do_job(
    id_: str,
    jobs: Jobs,
    store: Store,
    data: Path,
    *,
    stopping: Callable[[], bool],
    limit_bytes: int | None = None,
) -> None:
    """Do what is left of a job and not in other hands.

    Args:
        id_: the job.
        jobs: its record.
        store: where its ensemble goes.
        data: folder of data sets.
        stopping: whether this worker is asked to end.
        limit_bytes: memory that training may use; none for all there is.

    Raises:
        Exception: whatever nobody expected; the job is taken up again, and fails after
            ``MAX_DEATHS`` of those.
    """
    if (job := jobs.get(id_)).finished:
        _log.info("job %s is %s already; dropping the message", id_, job.status)
        jobs.counts.add("duplicates_dropped")
        return
    try:
        with Heartbeat(jobs, LiveWork(id_), stopping) as heartbeat:
            begun = _may_begin(id_, heartbeat, jobs)
            if begun:
                _train(id_, heartbeat, jobs, store, data, limit_bytes=limit_bytes)
        if begun:  # and nobody else is on it: what it waits for is done for another job
            _note_if_left(id_, jobs, "a teacher that it needs is being trained for another job")
    except JobEnded as reason:
        _log.info("leaving it: %s", reason)
    except (Stopped, StoreError) as reason:  # what could be written of its end was
        _log.info("job %s goes back to the queue: %s", id_, reason)
        if isinstance(reason, LeaseLost):
            jobs.counts.add("leases_lost")
        _note_if_left(id_, jobs, str(reason))
    jobs.forget(id_)


def _note_if_left(id_: str, jobs: Jobs, why: str) -> None:
    try:
        jobs.note_if_left(id_, why)
    except (RedisError, StoreError) as error:  # the API sees it when the lease has run out
        _log.warning("job %s: nobody is told that it waits again: %s", id_, error)


def _may_begin(id_: str, heartbeat: Heartbeat, jobs: Jobs) -> bool:
    """Look again, now that others see this worker; end a job that is not to be trained."""
    # In this order: whoever ends a cancelled job deletes the wish after writing the outcome.
    cancelled = jobs.cancel_requested(id_)
    job = jobs.get(id_)
    workers = jobs.pieces.workers(id_)
    alone = workers.rates.keys() <= {heartbeat.worker}
    if job.finished:
        _log.info("job %s is %s already; dropping the message", id_, job.status)
    elif cancelled:
        jobs.finish(job, "cancelled")
    elif len(workers.died) < MAX_DEATHS:
        jobs.begin(id_, alone=alone)
        return True
    elif alone:
        detail = f"it ended its worker {MAX_DEATHS} times; the last time: {jobs.last_error(id_)}"
        error = JobError(type=type_uri(POISON), title=POISON.title, detail=detail)
        jobs.finish(job, "failed", error)
    else:
        _log.info("job %s ended %d workers; leaving it to others", id_, len(workers.died))
    return False


def _train(
    id_: str,
    heartbeat: Heartbeat,
    jobs: Jobs,
    store: Store,
    data: Path,
    *,
    limit_bytes: int | None,
) -> None:
    try:
        recipe = recipe_from_dict(jobs.get(id_).recipe)  # another version may have written it
        _log.info("job %s begins here: %s", id_, recipe.display_name())
        manifest = distill(
            recipe,
            data,
            store,
            id_,
            report=heartbeat.report,
            check=heartbeat.check,
            claim=heartbeat.claim,
            limit_bytes=limit_bytes,
        )
        if manifest is None:
            _log.info("job %s: what is left is in other hands", id_)
            jobs.counts.add("duplicates_dropped")
            return
        heartbeat.check()
        curves = store.report(manifest.id)["curves"] if manifest.report else {}
        promotion = promote(store, manifest, recipe.promote)
        job = finished_job(heartbeat.job(), manifest, curves, promotion)
        jobs.finish(job, "succeeded")
    except JobCancelled:
        jobs.finish(heartbeat.job(), "cancelled")
    except Stopped:
        raise
    except StillhouseError as error:
        job = heartbeat.job()
        if heartbeat.cancelled:  # it failed on its way to noticing
            jobs.finish(job, "cancelled")
        elif isinstance(error, NotEnoughMemory) and job.workers > 1:
            _log.warning("job %s does not fit here; leaving it to others: %s", id_, error)
        else:
            jobs.finish(job, "failed", _tell(error))
    except Exception as error:  # told to the job's owner, should it come to that, and raised again
        jobs.note_error(id_, f"{type(error).__name__}: {error}")
        raise


def _tell(error: StillhouseError) -> JobError:
    answer = ANSWERS[type(error)]
    return JobError(type=type_uri(answer), title=answer.title, detail=str(error))


def find_lost(jobs: Jobs, queued: set[str]) -> list[str]:
    """Return the ids of unfinished jobs that want a worker and no message in the queue speaks of.

    Those whose owner asked them to stop, while the last worker on them was dying, end here.

    Args:
        jobs: all jobs.
        queued: the ids that messages speak of.
    """
    lost = []
    for id_ in jobs.unfinished():
        glance = jobs.pieces.look(id_)
        if not glance.rates:
            seconds = jobs.pieces.lease_seconds
            jobs.states.note(id_, "queued", f"no worker on it was heard of for {seconds:g} s")
        if not glance.rates and jobs.cancel_requested(id_):
            jobs.cancel(id_)
        elif id_ not in queued and glance.wants_workers:
            lost.append(id_)
    return lost
