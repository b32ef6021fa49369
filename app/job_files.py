"""The half of a job that must not be lost: its request and its outcome, as files of the store."""

import logging
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from app.schemas import Job, JobStatus
from models.artefacts import json_bytes, read_json
from models.errors import CorruptArtefact, JobNotFound
from models.files import Files

_log = logging.getLogger(__name__)


MOST_KEPT = 256
"""Jobs kept whole in memory, each tens of kilobytes; of all others only when and how they ended."""


class JobFiles:
    """Requests and outcomes by job id. Neither ever changes, so what was read lately is kept.

    Args:
        files: of the store.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._request = lru_cache(MOST_KEPT)(self._read_request)
        self._outcome = lru_cache(MOST_KEPT)(self._read_outcome)
        self._created: dict[str, str] = {}
        self._ended: dict[str, JobStatus] = {}
        self._damaged: set[str] = set()

    def accept(self, id_: str, request: dict[str, Any]) -> bool:
        """Write a request down, unless there is one of this id; say whether this call did.

        Raises:
            StoreFull: no space left.
        """
        return self._files.create(_request_name(id_), json_bytes(request))

    def exists(self, id_: str) -> bool:
        """Say whether a job of this id was accepted."""
        return self._files.exists(_request_name(id_))

    def request(self, id_: str) -> dict[str, Any]:
        """Return what was asked for: ``id``, ``recipe``, ``created_at``, ``request_id`` if known.

        Raises:
            JobNotFound: no job has this id.
            CorruptArtefact: the file cannot be read.
        """
        return self._request(id_)

    def ids(self) -> list[str]:
        """Return all jobs, newest first; a damaged one is logged, once, and left out."""
        found = []
        for id_ in filter(_is_id, self._files.list("jobs")):
            try:
                self.ended(id_)
                if id_ not in self._created:
                    self.request(id_)
                found.append((self._created[id_], id_))
            except JobNotFound:  # its folder is made a moment before its request
                continue
            except CorruptArtefact as error:
                if id_ not in self._damaged:
                    _log.error("job %s is left out of the list: %s", id_, error)
                self._damaged.add(id_)
        return [id_ for _, id_ in sorted(found, reverse=True)]

    def end(self, job: Job) -> Job:
        """Write a job's outcome, unless it has one, and return the one that stands.

        Raises:
            StoreFull: no space left.
        """
        data = json_bytes(job.model_dump(mode="json"))
        if not self._files.create(_outcome_name(job.id), data):
            _log.warning("job %s has an outcome already, which stands", job.id)
        return self.outcome(job.id) or job

    def ended(self, id_: str) -> JobStatus | None:
        """Return how a job ended, or none if it has not.

        Raises:
            CorruptArtefact: the file cannot be read.
        """
        if id_ not in self._ended:
            self.outcome(id_)
        return self._ended.get(id_)

    def outcome(self, id_: str) -> Job | None:
        """Return a job as it ended, or none if it has not.

        Raises:
            CorruptArtefact: the file cannot be read.
        """
        try:
            return self._outcome(id_)
        except FileNotFoundError:
            return None

    def _read_request(self, id_: str) -> dict[str, Any]:
        if not (_is_id(id_) and self.exists(id_)):
            raise JobNotFound(f"no job has the id {id_!r}")
        request = read_json(self._files, _request_name(id_))
        if not request.keys() >= {"id", "recipe", "created_at"}:
            where = self._files.path(_request_name(id_))
            raise CorruptArtefact(f"{where}: a field is missing")
        self._created[id_] = request["created_at"]
        return request

    def _read_outcome(self, id_: str) -> Job:
        name = _outcome_name(id_)
        try:
            outcome = Job.model_validate(read_json(self._files, name))
        except ValidationError as error:
            raise CorruptArtefact(f"{self._files.path(name)}: {error}") from error
        self._ended[id_] = outcome.status
        return outcome


def _is_id(text: str) -> bool:
    return len(text) == 32 and set(text) <= set("0123456789abcdef")


def _request_name(id_: str) -> str:
    return f"jobs/{id_}/request.json"


def _outcome_name(id_: str) -> str:
    return f"jobs/{id_}/outcome.json"
