"""Every call of the contract, described once for both clients."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from app.client.artefact_calls import ArtefactCalls
from app.client.pictures import Picture, read_pictures
from app.client.requests import LOADING_SECONDS, USUAL_SECONDS, Call, Request, quoted
from app.recipe_request import RecipeRequest
from app.schemas import (
    TIMEOUT_HEADER,
    Classes,
    Health,
    Job,
    JobPage,
    JobPlan,
    JobStatus,
    Mode,
    Predictions,
    PresetList,
)

Recipe = Mapping[str, Any] | RecipeRequest


class Calls(ArtefactCalls):
    """The calls that are one request and one answer.

    Each raises what ``app.client.errors`` draws: ``Unreachable``, ``BadAnswer`` or ``Refused``.
    """

    @Call
    def predict(
        self,
        pictures: "Picture | Iterable[Picture]",
        *,
        top_k: int | None = None,
        max_members: int | None = None,
        mode: Mode | None = None,
        conformal: float | None = None,
        votes: bool = False,
        timeout_ms: int | None = None,
    ) -> Request[Predictions]:
        """Say what is in pictures; all are answered, or none.

        Args:
            pictures: one or several, as paths, bytes, open files or pictures of Pillow's.
            top_k: how many classes to name; 5 unless told.
            max_members: ask only the first so many members.
            mode: how exactly, against how fast.
            conformal: a rate such as 0.9: add the smallest set of classes that holds the right one
                so often.
            votes: whether to add what each member finds likeliest.
            timeout_ms: how long the answer is worth waiting for, in milliseconds.

        Raises:
            OSError: a file cannot be read.
        """
        asked = {
            "top_k": top_k,
            "max_members": max_members,
            "mode": mode,
            "conformal": conformal,
            "votes": True if votes else None,
        }
        return Request(
            "POST",
            "/predict",
            Predictions.model_validate_json,
            query=asked,
            headers={} if timeout_ms is None else {TIMEOUT_HEADER: str(timeout_ms)},
            parts=read_pictures(pictures),
            silence_seconds=USUAL_SECONDS + (timeout_ms or 0) / 1000,
        )

    @Call
    def classes(self) -> Request[Classes]:
        """Return the class names of the serving ensemble, in id order."""
        return Request("GET", "/classes", Classes.model_validate_json)

    @Call
    def distill(
        self,
        recipe: Recipe | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Request[Job]:
        """Ask for an ensemble and return its job, which is queued.

        Args:
            recipe: the recipe's fields, or a checked request.
            idempotency_key: asking again with the same returns the first job; made up unless told,
                so that a call whose answer was lost is repeated and starts no second job.
            fields: the recipe's, over those of ``recipe``: ``preset="default", members=3``.
        """
        return Request(
            "POST",
            "/jobs/distill",
            Job.model_validate_json,
            headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
            json=_fields(recipe, fields),
        )

    @Call
    def presets(self) -> Request[PresetList]:
        """Return recipes to start from; the first is taken if none is named."""
        return Request("GET", "/presets", PresetList.model_validate_json)

    @Call
    def plan(self, recipe: Recipe | None = None, /, **fields: Any) -> Request[JobPlan]:
        """Return what a job of this recipe would take; takes what ``distill`` does, starts nothing.

        Raises:
            Invalid: the recipe cannot work; names each field.
        """
        return Request(
            "POST",
            "/jobs/plan",
            JobPlan.model_validate_json,
            json=_fields(recipe, fields),
            silence_seconds=LOADING_SECONDS,
        )

    @Call
    def job(self, id: str) -> Request[Job]:  # noqa: A002  # the contract's word
        """Return a job: how far it is, or how it ended."""
        return Request("GET", f"/jobs/{quoted(id)}", Job.model_validate_json)

    @Call
    def job_page(
        self,
        status: JobStatus | None = None,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[JobPage]:
        """Return some jobs, newest first; ``cursor`` is ``next_cursor`` of the page before."""
        asked = {"status": status, "limit": limit, "cursor": cursor}
        return Request("GET", "/jobs", JobPage.model_validate_json, query=asked)

    @Call
    def cancel(self, id: str) -> Request[Job]:  # noqa: A002
        """Ask a job to stop; it ends ``cancelled`` within seconds."""
        return Request("DELETE", f"/jobs/{quoted(id)}", Job.model_validate_json)

    @Call
    def health(self) -> Request[Health]:
        """Say whether the service's process answers."""
        return Request("GET", "/healthz", Health.model_validate_json, repeat=False)

    @Call
    def ready(self) -> Request[Health]:
        """Say whether pictures can be answered now.

        Raises:
            Unavailable: they cannot; says why.
        """
        return Request("GET", "/readyz", Health.model_validate_json, repeat=False)

    @Call
    def version(self) -> Request[str]:
        """Return the version of the service."""
        return Request("GET", "/openapi.json", _read_version)


class _Info(BaseModel):
    version: str


class _Description(BaseModel):
    info: _Info


def _read_version(body: bytes) -> str:
    return _Description.model_validate_json(body).info.version


def events_path(id_: str) -> str:
    """Return where a job's events are."""
    return f"/jobs/{quoted(id_)}/events"


def _fields(recipe: Recipe | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(recipe, RecipeRequest):
        recipe = recipe.model_dump(mode="json", exclude_unset=True)
    return {**(recipe or {}), **fields}
