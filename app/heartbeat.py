"""A worker's stay on a job, and the thread that talks to Redis so that training never waits for it.

The worker is registered before it looks at anything, claims pieces as training asks for them, and
gives them back when it leaves.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

from redis.exceptions import LockError, RedisError
from redis.lock import Lock

from app.jobs import Jobs
from app.live import LiveWork, News
from app.schemas import Job
from models.errors import JobCancelled, JobEnded, LeaseLost, Stopped, StoreError, WorkerStopping
from training.progress import Event, Part, PartDone, PartKept

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

BEAT_SECONDS = 1.0


class Heartbeat:
    """Renews what a worker holds, writes down what it was told, and looks whether it is to end.

    Redis may be away for a while: the training goes on as long as nothing that is held can have
    passed to somebody else.

    Args:
        jobs: all jobs.
        live: the pieces of the job as this worker knows them.
        stopping: whether this worker is asked to end.

    Attributes:
        worker: what this worker is called in Redis.
        cancelled: whether the job's owner has asked for its end, as of the last look.
    """

    def __init__(self, jobs: Jobs, live: LiveWork, stopping: Callable[[], bool]) -> None:
        self.worker = uuid.uuid4().hex
        self.cancelled = False
        self._jobs = jobs
        self._live = live
        self._id = live.id
        self._stopping = stopping
        # Kept until the end, also of pieces that are done: a result is in the store only some
        # time after the training says that it is done. What jobs share is given back once it is.
        self._leases: dict[Part, Lock] = {}
        self._one_renews = threading.Lock()
        self._held_since = time.monotonic()
        self._unsent = News()
        self._one_writes = threading.Lock()
        self._ended = False
        self._lost = False
        self._end = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {self._id}", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._jobs.pieces.stay(self._id, self.worker)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._wake.set()
        self._thread.join()
        # Redis that is away, or a store that takes nothing, is no fault of the job.
        in_order = kind is None or issubclass(kind, (Stopped, RedisError, StoreError))
        try:
            if self._holds():
                self._write()
            # The last first: who wants several asks in order, and gets all of them or none.
            for lease in reversed(self._leases.values()):
                with suppress(LockError):  # it may have passed on, while this process was held up
                    lease.release()
            self._jobs.pieces.leave(self._id, self.worker, in_order=in_order)
        except RedisError as away:
            _log.warning("what this worker held of job %s runs out by itself: %s", self._id, away)

    def report(self, event: Event) -> None:
        """Take note of an event of the training."""
        self._live(event)
        if isinstance(event, PartDone):  # others may build on it before the next second
            self._wake.set()
        elif isinstance(event, PartKept):
            self._give_back(event.part)

    def claim(self, part: Part) -> bool:
        """Take a piece, unless another worker has it; threads may ask at once, for pieces apart.

        Waits for Redis while it is away, as long as nothing can have been lost.

        Raises:
            Stopped: see ``check``.
        """
        if part in self._leases:
            return True
        pieces = self._jobs.pieces
        lease = self._insist(lambda: pieces.claim(self._id, part, self.worker), self.check)
        if lease is None:
            return False
        self._leases[part] = lease
        if self._jobs.has_ended(self._id):  # before the one that had this piece gave it back
            raise JobEnded(f"job {self._id} has ended meanwhile")
        return True

    def job(self) -> Job:
        """Return the job as it is now, with all that this worker knows of it.

        Raises:
            JobEnded: another worker has written its outcome.
            LeaseLost: Redis was away for so long that others may have taken over.
        """

        def write_and_look() -> Job:
            self._write()
            self.cancelled = self._jobs.cancel_requested(self._id)
            return self._jobs.get(self._id)

        job = self._insist(write_and_look, self._check_lease)
        if job.finished:
            raise JobEnded(f"job {self._id} is {job.status} already")
        return job

    def check(self) -> None:
        """Raise if the training is to end; cheap, called before each batch.

        Raises:
            JobEnded: another worker has written its outcome.
            JobCancelled: its owner asked.
            LeaseLost: another worker may have what this one holds.
            WorkerStopping: this worker is asked to end.
        """
        if self._ended:
            raise JobEnded(f"job {self._id} has ended meanwhile")
        if self.cancelled:
            raise JobCancelled(f"job {self._id} was cancelled")
        self._check_lease()
        if self._stopping():
            raise WorkerStopping("this worker is stopping")

    def _holds(self) -> bool:
        away = time.monotonic() - self._held_since
        return not self._lost and away <= self._jobs.pieces.lease_seconds

    def _check_lease(self) -> None:
        if not self._holds():
            raise LeaseLost(f"what this worker held of job {self._id} may be in other hands")

    def _insist(self, ask: Callable[[], _T], check: Callable[[], None]) -> _T:
        """Ask Redis until it answers or the check raises."""
        while True:
            check()
            try:
                return ask()
            except RedisError as away:
                _log.warning("job %s waits for Redis: %s", self._id, away)
                time.sleep(BEAT_SECONDS)

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                self._beat()
                self._wake.wait(BEAT_SECONDS)
                self._wake.clear()
        finally:  # whatever ended this thread, nobody renews anything any more
            self._lost = self._lost or not self._end.is_set()

    def _beat(self) -> None:
        if self._lost:
            return
        try:
            asked = time.monotonic()  # what is held counts from before the answer came
            with self._one_renews:
                for part, lease in list(self._leases.items()):
                    self._renew(part, lease)
            self._jobs.pieces.stay(self._id, self.worker, self._live.rate)
            self._held_since = asked
            self._write()
            self.cancelled = self._jobs.cancel_requested(self._id)
        except LockError:
            self._lost = True
        except RedisError as error:
            away = time.monotonic() - self._held_since
            _log.warning("Redis does not answer for %.0f s: %s", away, error)
        self._look_for_the_end()

    def _give_back(self, part: Part) -> None:
        with self._one_renews:
            lease = self._leases.pop(part, None)
        try:
            if lease:
                lease.release()
        except (LockError, RedisError) as error:  # then it runs out by itself
            _log.warning("job %s: %s could not be given back: %s", self._id, part, error)

    def _renew(self, part: Part, lease: Lock) -> None:
        try:
            lease.reacquire()
        except LockError:
            _log.warning(
                "job %s: %s is in other hands now; giving it up",
                self._id,
                part,
                extra={"part": str(part)},
            )
            raise

    def _write(self) -> None:
        with self._one_writes:
            self._unsent.add(self._live.take_news())
            self._jobs.pieces.write(self._id, self._unsent)
            resumed, self._unsent = self._unsent.resumed, News()
        if resumed:
            self._jobs.counts.add("work_resumed", resumed)

    def _look_for_the_end(self) -> None:
        try:
            self._ended = self._jobs.has_ended(self._id)
        except Exception as error:  # noqa: BLE001  # stores of all kinds; the next look is soon
            _log.warning("job %s: no telling whether it has ended: %s", self._id, error)
