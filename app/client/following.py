"""A job's progress as it is told, over as many connections as it takes."""

from typing import Literal, TypeAlias

from httpx_sse import ServerSentEvent
from pydantic import BaseModel, ValidationError

from app.client.calls import events_path
from app.client.errors import BadAnswer
from app.client.requests import Request
from app.schemas import Epoch, Job

SILENCE_SECONDS = 45.0
"""The service says something at least every 15 seconds; this is three times as long."""

PATIENCE_SECONDS = 600.0
"""How long a service may be away before whoever follows gives up, unless told."""


class EpochFinished(Epoch):
    """A teacher or member has finished an epoch."""

    role: Literal["teacher", "member"]
    index: int


class StatusChanged(BaseModel):
    """A job came into another state, or is further by some; the whole job."""

    job: Job


Progress: TypeAlias = EpochFinished | StatusChanged


class Following:
    """Where one who follows a job is in its events.

    Args:
        id_: of the job.
        last_event_id: of the last event that is known already, if any.

    Attributes:
        last_event_id: of the last event that was read; asking from there misses none.
        advanced: whether the last event that was read is another than the one before.
        ended: whether the job has, so that nothing more will come.
    """

    def __init__(self, id_: str, last_event_id: str | None) -> None:
        self._path = events_path(id_)
        self.last_event_id = last_event_id
        self.advanced = self.ended = False

    @property
    def request(self) -> Request[None]:
        """What to ask to be told all that is not yet known."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        return Request(
            "GET", self._path, lambda _: None, headers=headers, silence_seconds=SILENCE_SECONDS
        )

    def read(self, event: ServerSentEvent) -> Progress | None:
        """Take note of an event and return what it says; none for a kind that is not known here.

        Raises:
            BadAnswer: it does not say what its kind says.
        """
        progress: Progress | None = None
        try:
            match event.event:
                case "status":
                    progress = StatusChanged(job=Job.model_validate_json(event.data))
                    self.ended = progress.job.finished
                case "epoch":
                    progress = EpochFinished.model_validate_json(event.data)
        except ValidationError as error:
            raise BadAnswer(f"an event is not as its contract says: {event.data[:200]}") from error
        self.advanced = event.id != self.last_event_id
        self.last_event_id = event.id or self.last_event_id
        return progress
