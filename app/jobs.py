"""Jobs as records of our own.

::

    store   jobs/<id>/request.json   the recipe; written before 202 is sent, never changed
            jobs/<id>/outcome.json   the finished job; written once, whoever comes first
    redis   stillhouse:job:<id>:cancel      its owner asks it to stop
            stillhouse:job:<id>:states      when it began to wait and to run, and who saw it
            stillhouse:job:<id>:last-error  what ended a worker that nothing was expected to end
            …                               pieces and workers, see ``app/pieces.py``

The store holds what must not be lost, Redis what changes by the second. A message in the queue is
only a hint that there is work: whenever an unfinished job has a piece to begin and nobody about to
begin it, there is to be one, so losing messages, or Redis with all it holds, loses no job.
"""

import json
import logging
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from app.counts import Counts
from app.job_files import JobFiles
from app.pieces import EXPIRE_SECONDS, PREFIX, Pieces, add_event
from app.record import Glance, job_of
from app.schemas import Job, JobError, JobPage, JobStatus, StateChange
from app.states import States
from models.errors import CorruptArtefact, IdempotencyConflict, JobFinished, JobNotFound, TooBusy
from models.store import Store
from training.distill import forget_run
from training.recipe import Recipe

_log = logging.getLogger(__name__)

EVENTS_EXPIRE_SECONDS = 24 * 3600
"""After a job's end; so long its events can be read again."""
_ID_NAMESPACE = uuid.UUID("6f0c2a3e-5b5e-4d8e-9d1c-6a7f1f3f6b11")


class Jobs:
    """All jobs of a store.

    Args:
        store: where requests and outcomes are.
        redis: where unfinished jobs are; must decode responses.
        lease_seconds: how long a worker counts as living without a sign of it.
        who: what this process is called where it changes a job.
    """

    def __init__(self, store: Store, redis: Redis, lease_seconds: float, who: str = "api") -> None:
        self.pieces = Pieces(redis, lease_seconds)
        self.states = States(redis, PREFIX, EXPIRE_SECONDS, who)
        self.counts = Counts(redis)
        self._redis = redis
        self._store = store
        self._files = JobFiles(store.files)

    def accept(
        self,
        recipe: Recipe,
        idempotency_key: str | None,
        max_unfinished: int,
        request_id: str | None = None,
    ) -> tuple[Job, bool]:
        """Write a job down; from then on it is not lost.

        Args:
            recipe: checked.
            idempotency_key: two requests with the same key are one job.
            max_unfinished: how many jobs may be queued or running.
            request_id: of the request that asks, for whoever follows it into the worker's log.

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
            **({"request_id": request_id} if request_id else {}),
        }
        if not self._files.exists(id_.hex):
            if len(self.unfinished()) >= max_unfinished:
                raise TooBusy(f"{max_unfinished} jobs are queued or running; cancel one or wait")
            if self._files.accept(id_.hex, request):
                about = {"job": id_.hex, "status": "queued"}
                _log.info("job %s is queued: it was accepted", id_.hex, extra=about)
                # Not ``get``, which would need Redis.
                return _with_history(job_of(request, Glance()), []), True
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
        job = _with_history(job_of(request, self.pieces.look(id_)), self.states.changes(id_))
        return self._files.outcome(id_) or job  # it may have ended between the two looks

    def request_id(self, id_: str) -> str | None:
        """Return the id of the request that asked for a job, if it is known.

        Raises:
            JobNotFound: there is none with this id.
        """
        id_of_request: str | None = self._files.request(id_).get("request_id")
        return id_of_request

    def has_ended(self, id_: str) -> bool:
        """Say whether a job has an outcome."""
        return self._files.ended(id_) is not None

    def page(self, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        """Return a page of jobs, newest first.

        Args:
            status: only jobs in this state.
            limit: most jobs on the page.
            cursor: id of the last job of the page before.

        Raises:
            JobNotFound: the cursor is no job's id.
        """
        ids = self._files.ids()
        if cursor is not None:
            if cursor not in ids:
                raise JobNotFound(f"the cursor {cursor!r} is no job's id")
            ids = ids[ids.index(cursor) + 1 :]
        page: list[Job] = []
        for id_ in ids:
            if status is not None and self._files.ended(id_) not in (status, None):
                continue
            try:
                job = self.get(id_)
            except CorruptArtefact as error:  # since it was listed
                _log.error("job %s is left out of the page: %s", id_, error)
                continue
            if status is None or job.status == status:
                if len(page) == limit:
                    return JobPage(jobs=page, next_cursor=page[-1].id)
                page.append(job)
        return JobPage(jobs=page)

    def unfinished(self) -> list[str]:
        """Return the ids of all jobs without an outcome, oldest first."""
        return [id_ for id_ in reversed(self._files.ids()) if self._files.ended(id_) is None]

    def succeeded(self) -> Iterator[Job]:
        """Yield the jobs that ended with an ensemble, newest first; asks nothing of Redis."""
        for id_ in self._files.ids():
            if self._files.ended(id_) == "succeeded" and (outcome := self._files.outcome(id_)):
                yield outcome

    def cancel(self, id_: str) -> Job:
        """Ask a job to stop; one that nobody works on ends at once.

        Raises:
            JobNotFound: there is none with this id.
            JobFinished: it has ended already.
        """
        job = self.get(id_)
        if job.finished:
            raise JobFinished(f"job {id_} is {job.status} since {job.finished_at}")
        self._redis.set(f"{PREFIX}{id_}:cancel", "1", ex=EXPIRE_SECONDS)
        # In this order: a worker says that it is there and then looks for the wish.
        if not self.pieces.workers(id_).rates:
            self.finish(job, "cancelled")
            self.forget(id_)
        return self.get(id_)

    def cancel_requested(self, id_: str) -> bool:
        """Say whether the job's owner asked it to stop."""
        return bool(self._redis.exists(f"{PREFIX}{id_}:cancel"))

    def begin(self, id_: str, *, alone: bool) -> None:
        """Note that a worker begins with a job, and publish it if nobody did before.

        Args:
            id_: the job.
            alone: whether no other worker is on it now.
        """
        first = self.pieces.start(id_, datetime.now(UTC).isoformat())
        self.states.note(id_, "running")
        if first or alone:
            add_event(self._redis, id_, "status", self.get(id_).model_dump_json())

    def note_if_left(self, id_: str, why: str) -> None:
        """Note that a job waits again, if nobody works on it."""
        if not self.pieces.workers(id_).rates and not self.has_ended(id_):
            self.states.note(id_, "queued", why)

    def note_error(self, id_: str, error: str) -> None:
        """Keep what ended a worker that nothing was expected to end."""
        self._redis.set(f"{PREFIX}{id_}:last-error", error, ex=EXPIRE_SECONDS)

    def last_error(self, id_: str) -> str:
        """Return what ended the worker before, or that nothing is known of it."""
        found = cast("str | None", self._redis.get(f"{PREFIX}{id_}:last-error"))
        return found or "it was killed, perhaps for want of memory"

    def finish(self, job: Job, status: JobStatus, error: JobError | None = None) -> Job:
        """Write a job's outcome, unless it has one, and return the one that stands."""
        change = self.states.change(status, error.detail if error else None)
        changes = {
            "status": status,
            "history": [*job.history, change],
            "error": error,
            "eta_seconds": None,
            "workers": 0,
            "finished_at": change.at,
            **({"progress": 1.0} if status == "succeeded" else {}),
        }
        ours = job.model_copy(update=changes)
        outcome = self._files.end(ours)
        if outcome.finished_at == ours.finished_at:
            about = {"job": job.id, "status": status}
            if job.ensemble is not None:
                about["ensemble"] = job.ensemble
            _log.info(
                "job %s %s%s", job.id, status, f": {error.detail}" if error else "", extra=about
            )
            try:
                add_event(self._redis, job.id, "status", outcome.model_dump_json())
                self._redis.expire(f"{PREFIX}{job.id}:events", EVENTS_EXPIRE_SECONDS)
            except RedisError as redis_error:  # the outcome is in the store
                _log.warning("job %s ended, but Redis was not told: %s", job.id, redis_error)
        return outcome

    def forget(self, id_: str) -> None:
        """Delete what a job that has ended leaves behind, once nobody works on it any more.

        Checkpoints of one that failed stay, for whoever wants to know why.
        """
        outcome = self._files.outcome(id_)
        try:
            if outcome is None or self.pieces.workers(id_).rates:
                return
            self.pieces.forget(id_)
            self.states.forget(id_)
            self._redis.delete(f"{PREFIX}{id_}:cancel", f"{PREFIX}{id_}:last-error")
        except RedisError as error:
            _log.warning("what Redis knows of job %s expires by itself: %s", id_, error)
        if outcome and outcome.status != "failed":
            forget_run(self._store, id_)


def _with_history(job: Job, changes: list[StateChange]) -> Job:
    accepted = StateChange(status="queued", at=job.created_at, by="api", why="it was accepted")
    return job.model_copy(update={"history": [accepted, *changes]})
