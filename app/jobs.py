"""Jobs as records of our own.

::

    store   jobs/<id>/request.json   the recipe; written before 202 is sent, never changed
            jobs/<id>/outcome.json   the finished job; written once, whoever comes first
    redis   stillhouse:job:<id>          the job while it runs, renewed every second
            stillhouse:job:<id>:lease    held by the worker that runs it
            stillhouse:job:<id>:cancel   its owner asks it to stop
            stillhouse:job:<id>:attempts how often a worker has begun it
            stillhouse:job:<id>:last-error what ended the attempt before
            stillhouse:job:<id>:events   stream for GET /jobs/<id>/events

The store holds what must not be lost, Redis what changes by the second. A message in the queue is
only a hint that there is work: a job that is not finished and that nobody holds is put back into
the queue, so losing messages, or Redis with all it holds, loses no job.
"""

import json
import logging
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError
from redis.lock import Lock

from app.job_files import JobFiles
from app.schemas import Job, JobError, JobPage, JobStatus, MemberProgress, NetworkProgress
from models.errors import (
    FieldProblem,
    IdempotencyConflict,
    InvalidRecipe,
    JobFinished,
    JobNotFound,
    TooBusy,
)
from models.store import Store
from training.recipe import EnsembleTeacher, Recipe

_log = logging.getLogger(__name__)

PREFIX = "stillhouse:job:"
EVENTS_KEPT = 20_000
EVENTS_EXPIRE_SECONDS = 24 * 3600
EXPIRE_SECONDS = 30 * 24 * 3600
"""Of everything else in Redis, should nobody delete it; renewed while a job runs."""
_ID_NAMESPACE = uuid.UUID("6f0c2a3e-5b5e-4d8e-9d1c-6a7f1f3f6b11")


class Jobs:
    """All jobs of a store.

    Args:
        store: where requests and outcomes are.
        redis: where running jobs are; must decode responses.
        lease_seconds: how long a job is held without a sign of its worker.
    """

    def __init__(self, store: Store, redis: Redis, lease_seconds: float) -> None:
        self.redis = redis
        self.lease_seconds = lease_seconds
        self._files = JobFiles(store.files)

    def accept(
        self, recipe: Recipe, idempotency_key: str | None, max_unfinished: int
    ) -> tuple[Job, bool]:
        """Write a job down; from then on it is not lost.

        Args:
            recipe: checked.
            idempotency_key: two requests with the same key are one job.
            max_unfinished: how many jobs may be queued or running.

        Returns:
            The job, and whether it is new.

        Raises:
            IdempotencyConflict: the key was used with another recipe.
            TooBusy: there are too many unfinished jobs.
            StoreFull: no space left; nothing was accepted.
        """
        # The id follows from the key, so the store itself keeps retries from becoming new jobs.
        id_ = uuid.uuid5(_ID_NAMESPACE, idempotency_key) if idempotency_key else uuid.uuid4()
        request = {
            "id": id_.hex,
            "recipe": recipe.to_dict(),
            "created_at": datetime.now(UTC).isoformat(),
        }
        if not self._files.exists(id_.hex):
            if len(self.unfinished()) >= max_unfinished:
                raise TooBusy(f"{max_unfinished} jobs are queued or running; cancel one or wait")
            if self._files.accept(id_.hex, request):
                return _queued(request), True  # not ``get``, which would need Redis
        if self._files.request(id_.hex)["recipe"] != json.loads(json.dumps(request["recipe"])):
            reason = f"it was used for job {id_.hex}; use a new key for a new recipe"
            raise IdempotencyConflict(reason)
        return self.get(id_.hex), False

    def get(self, id_: str) -> Job:
        """Return a job as it is now.

        Raises:
            JobNotFound: there is none with this id.
        """
        request = self._files.request(id_)
        if outcome := self._files.outcome(id_):
            return outcome
        if live := self.redis.get(f"{PREFIX}{id_}"):
            job = Job.model_validate_json(cast("str", live))
            if not self.redis.exists(f"{PREFIX}{id_}:lease"):
                # Its worker is gone and the next one has not begun.
                return job.model_copy(update={"status": "queued", "eta_seconds": None})
            # It may have ended between the two looks.
            return self._files.outcome(id_) or job
        return _queued(request)

    def page(self, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        """Return a page of jobs, newest first.

        Args:
            status: only jobs in this state.
            limit: most jobs on the page.
            cursor: id of the last job of the page before.

        Raises:
            JobNotFound: the cursor is no job's id.
        """
        ids = [request["id"] for request in self._files.requests()]
        if cursor is not None:
            if cursor not in ids:
                raise JobNotFound(f"the cursor {cursor!r} is no job's id")
            ids = ids[ids.index(cursor) + 1 :]
        page: list[Job] = []
        for id_ in ids:
            job = self.get(id_)
            if status is None or job.status == status:
                if len(page) == limit:
                    return JobPage(jobs=page, next_cursor=page[-1].id)
                page.append(job)
        return JobPage(jobs=page)

    def unfinished(self) -> list[str]:
        """Return the ids of all jobs without an outcome, oldest first."""
        ids = [request["id"] for request in reversed(self._files.requests())]
        return [id_ for id_ in ids if self._files.outcome(id_) is None]

    def waiting(self) -> list[str]:
        """Return the ids of unfinished jobs that no worker holds, oldest first."""
        return [id_ for id_ in self.unfinished() if not self.redis.exists(f"{PREFIX}{id_}:lease")]

    def cancel(self, id_: str) -> Job:
        """Ask a job to stop; one that nobody holds ends at once.

        Raises:
            JobNotFound: there is none with this id.
            JobFinished: it has ended already.
        """
        job = self.get(id_)
        if job.finished:
            raise JobFinished(f"job {id_} is {job.status} since {job.finished_at}")
        self.redis.set(f"{PREFIX}{id_}:cancel", "1", ex=EXPIRE_SECONDS)
        lease = self.lease(id_)
        if lease.acquire(blocking=False):
            try:
                self.finish(job, status="cancelled")
            finally:
                lease.release()
        return self.get(id_)

    def cancel_requested(self, id_: str) -> bool:
        """Say whether the job's owner asked it to stop."""
        return bool(self.redis.exists(f"{PREFIX}{id_}:cancel"))

    def lease(self, id_: str) -> Lock:
        """Return the lock that only one worker at a time can hold for a job."""
        # thread_local=False: taken by the thread that trains, renewed by another.
        return Lock(
            self.redis, f"{PREFIX}{id_}:lease", timeout=self.lease_seconds, thread_local=False
        )

    def begin(self, id_: str) -> int:
        """Count that a worker begins a job and return how often that has happened."""
        attempts = int(self.redis.incr(f"{PREFIX}{id_}:attempts"))
        self.redis.expire(f"{PREFIX}{id_}:attempts", EXPIRE_SECONDS)
        return attempts

    def note_error(self, id_: str, error: str) -> None:
        """Keep what ended an attempt that nothing was expected to end."""
        self.redis.set(f"{PREFIX}{id_}:last-error", error, ex=EXPIRE_SECONDS)

    def last_error(self, id_: str) -> str:
        """Return what ended the attempt before, or that nothing is known of it."""
        found = cast("str | None", self.redis.get(f"{PREFIX}{id_}:last-error"))
        return found or "it was killed, perhaps for want of memory"

    def hand_back(self, id_: str) -> None:
        """Take back the count of ``begin``: the worker ends in order, the job did not kill it."""
        try:
            self.redis.decr(f"{PREFIX}{id_}:attempts")
        except RedisError as error:
            _log.warning("job %s goes back, but one attempt stays counted: %s", id_, error)

    def save(self, job: Job, epochs: Iterable[dict[str, Any]] = ()) -> None:
        """Write down how a running job is, and publish the epochs finished since."""
        with self.redis.pipeline() as pipe:
            pipe.set(f"{PREFIX}{job.id}", job.model_dump_json(), ex=EXPIRE_SECONDS)
            for epoch in epochs:
                self._add_event(pipe, job.id, "epoch", json.dumps(epoch))
            pipe.execute()

    def publish_status(self, job: Job) -> None:
        """Publish that a job's state has changed."""
        self._add_event(self.redis, job.id, "status", job.model_dump_json())

    def finish(self, job: Job, status: JobStatus, error: JobError | None = None) -> Job:
        """Write a job's outcome, unless it has one; must be called while holding its lease."""
        if status == "succeeded":
            job = job.model_copy(update={"progress": 1.0})
        finished = job.model_copy(
            update={
                "status": status,
                "error": error,
                "eta_seconds": None,
                "finished_at": datetime.now(UTC),
            }
        )
        outcome = self._files.end(finished)
        try:
            self.publish_status(outcome)
            self.redis.expire(f"{PREFIX}{job.id}:events", EVENTS_EXPIRE_SECONDS)
            self.redis.delete(
                f"{PREFIX}{job.id}",
                *(f"{PREFIX}{job.id}:{key}" for key in ("cancel", "attempts", "last-error")),
            )
        except RedisError as redis_error:  # the outcome is in the store; the rest is tidying up
            _log.warning("job %s ended, but Redis was not told: %s", job.id, redis_error)
        _log.info("job %s %s%s", job.id, status, f": {error.detail}" if error else "")
        return outcome

    def _add_event(self, redis: Any, id_: str, kind: str, data: str) -> None:
        redis.xadd(
            f"{PREFIX}{id_}:events",
            {"event": kind, "data": data},
            maxlen=EVENTS_KEPT,
            approximate=True,
        )


def check_teacher_exists(recipe: Recipe, store: Store) -> None:
    """Refuse a recipe whose teacher is an ensemble that does not exist.

    Raises:
        InvalidRecipe: naming the field.
    """
    if isinstance(recipe.teacher, EnsembleTeacher):
        known = {manifest.id for manifest in store.ensembles()}
        if recipe.teacher.ensemble not in known:
            reason = f"no ensemble has the id {recipe.teacher.ensemble!r}"
            raise InvalidRecipe([FieldProblem("teacher.ensemble", reason)])


def _queued(request: dict[str, Any]) -> Job:
    recipe = request["recipe"]
    teacher = recipe["teacher"]
    return Job(
        id=request["id"],
        status="queued",
        recipe=recipe,
        teacher=NetworkProgress(epochs=teacher["epochs"]) if "epochs" in (teacher or {}) else None,
        members=[
            MemberProgress(index=index, epochs=recipe["epochs"])
            for index in range(recipe["members"])
        ],
        created_at=request["created_at"],
    )
