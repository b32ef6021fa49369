"""The thread beside the training that talks to Redis, so that training never waits for it."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from redis.exceptions import LockError, RedisError
from redis.lock import Lock

from app.jobs import Jobs
from app.live import LiveJob
from models.errors import JobCancelled, LeaseLost, WorkerStopping

_log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0


class Heartbeat:
    """Renews a job's lease, writes its record and looks for a wish to cancel, once a second.

    Redis may be away for a while: the training goes on as long as the lease cannot have passed
    to somebody else.

    Args:
        jobs: where the job's record goes.
        live: the job.
        lease: held for it.
        stopping: whether this worker is asked to end.
    """

    def __init__(
        self, jobs: Jobs, live: LiveJob, lease: Lock, stopping: Callable[[], bool]
    ) -> None:
        self._jobs = jobs
        self._live = live
        self._id = live.snapshot().id
        self._lease = lease
        self._stopping = stopping
        self._held_since = time.monotonic()
        self._unsent: list[dict[str, Any]] = []
        self._cancelled = False
        self._lost = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {self._id}", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        self._beat()  # the last epochs, before anybody hears that the job has ended

    @property
    def cancelled(self) -> bool:
        """Whether the job's owner has asked for its end, as of the last beat."""
        return self._cancelled

    def check(self) -> None:
        """Raise if the training is to end; cheap, called before each batch.

        Raises:
            JobCancelled: its owner asked.
            LeaseLost: another worker may have it.
            WorkerStopping: this worker is asked to end.
        """
        if self._cancelled:
            raise JobCancelled(f"job {self._id} was cancelled")
        if self._lost or time.monotonic() - self._held_since > self._jobs.lease_seconds:
            raise LeaseLost(f"the lease on job {self._id} is lost")
        if self._stopping():
            raise WorkerStopping("this worker is stopping")

    def _run(self) -> None:
        try:
            while not self._end.wait(BEAT_SECONDS):
                self._beat()
        finally:  # whatever ended this thread, nobody renews the lease any more
            self._lost = not self._end.is_set()

    def _beat(self) -> None:
        try:
            if not self._lost:
                asked = time.monotonic()  # the lease counts from before the answer came
                self._lease.reacquire()
                self._held_since = asked
                self._unsent += self._live.take_epochs()
                self._jobs.save(self._live.snapshot(), self._unsent)
                self._unsent = []
                self._cancelled = self._jobs.cancel_requested(self._id)
        except LockError:
            _log.warning("job %s is in other hands now; giving it up", self._id)
            self._lost = True
        except RedisError as error:
            away = time.monotonic() - self._held_since
            _log.warning("Redis does not answer for %.0f s: %s", away, error)
