"""Doing a job: what a worker does between taking one and leaving it, with or without a queue."""

import logging
from collections.abc import Callable
from pathlib import Path

from redis.exceptions import RedisError

from app.heartbeat import Heartbeat
from app.jobs import Jobs
from app.live import LiveJob
from app.problems import ANSWERS, POISON, type_uri
from app.schemas import JobError
from models.errors import JobCancelled, LeaseLost, StillhouseError, WorkerStopping
from models.store import Store
from training.distill import distill, forget_run
from training.promotion import promote
from training.recipe import recipe_from_dict

_log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""A job that ended its worker so often fails, instead of ending worker after worker."""


def do_job(
    id_: str,
    jobs: Jobs,
    store: Store,
    data: Path,
    stopping: Callable[[], bool],
) -> None:
    """Train a job to its end, unless it has ended already or another worker has it.

    Args:
        id_: the job.
        jobs: its record.
        store: where its ensemble goes.
        data: folder of data sets.
        stopping: whether this worker is asked to end.

    Raises:
        Exception: whatever nobody expected; the job is taken up again, and fails after
            ``MAX_ATTEMPTS`` of those.
    """
    lease = jobs.lease(id_)
    if not lease.acquire(blocking=False):
        _log.info("job %s is in other hands; dropping the message", id_)
        return
    try:
        job = jobs.get(id_)
        if job.finished:
            _log.info("job %s is %s already; dropping the message", id_, job.status)
        elif jobs.cancel_requested(id_):
            jobs.finish(job, "cancelled")
        elif jobs.begin(id_) > MAX_ATTEMPTS:
            detail = f"it ended its worker {MAX_ATTEMPTS} times; the last time: "
            error = JobError(
                type=type_uri(POISON), title=POISON.title, detail=detail + jobs.last_error(id_)
            )
            jobs.finish(job, "failed", error)
        else:
            live = LiveJob(job)
            jobs.publish_status(live.snapshot())
            heartbeat = Heartbeat(jobs, live, lease, stopping)
            _train(live, heartbeat, jobs, store, data)
    finally:
        try:
            if lease.owned():  # it may have passed on, while this process was held up
                lease.release()
        except RedisError as error:
            _log.warning("the lease on job %s runs out by itself: %s", id_, error)


def _train(live: LiveJob, heartbeat: Heartbeat, jobs: Jobs, store: Store, data: Path) -> None:
    job = live.snapshot()
    try:
        recipe = recipe_from_dict(job.recipe)  # which another version may have written
        _log.info("job %s begins: %s", job.id, recipe.display_name())
        with heartbeat:
            manifest = distill(recipe, data, store, job.id, report=live, check=heartbeat.check)
            heartbeat.check()
            promotion = promote(store, manifest, recipe.promote)
        jobs.finish(live.succeeded(manifest, promotion), "succeeded")
        forget_run(store, job.id)
    except JobCancelled:
        jobs.finish(live.snapshot(), "cancelled")
        forget_run(store, job.id)
    except (WorkerStopping, LeaseLost) as reason:
        jobs.hand_back(job.id)
        _log.info("job %s goes back to the queue: %s", job.id, reason)
    except StillhouseError as error:
        if heartbeat.cancelled:  # it failed on its way to noticing
            jobs.finish(live.snapshot(), "cancelled")
        else:
            jobs.finish(live.snapshot(), "failed", _tell(error))
    except Exception as error:  # told to the job's owner, should it come to that, and raised again
        jobs.note_error(job.id, f"{type(error).__name__}: {error}")
        raise


def _tell(error: StillhouseError) -> JobError:
    answer = ANSWERS[type(error)]
    return JobError(type=type_uri(answer), title=answer.title, detail=str(error))


def find_lost(jobs: Jobs, queued: set[str]) -> list[str]:
    """Return the ids of unfinished jobs that nobody holds and no message in the queue speaks of.

    Those whose owner asked them to stop, while the worker that held them was dying, end here.

    Args:
        jobs: all jobs.
        queued: the ids that messages speak of.
    """
    lost = []
    for id_ in jobs.waiting():
        if jobs.cancel_requested(id_):
            jobs.cancel(id_)
        elif id_ not in queued:
            lost.append(id_)
    return lost
