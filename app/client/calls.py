"""Every call of the contract, described once for both clients."""

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter

from app.client.pictures import Picture, read_pictures
from app.client.requests import USUAL_SECONDS, Call, Request
from app.recipe_request import RecipeRequest
from app.schemas import (
    TIMEOUT_HEADER,
    Classes,
    EnsembleDetail,
    EnsembleList,
    EnsembleSummary,
    Health,
    Job,
    JobPage,
    JobPlan,
    JobStatus,
    Mode,
    Predictions,
    PresetList,
    ServingChange,
)

LOADING_SECONDS = 300.0
"""How long an ensemble may take to be loaded and tried, or a large file to be looked through."""

Recipe = Mapping[str, Any] | RecipeRequest

_object = TypeAdapter(dict[str, Any]).validate_json


class Calls:
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
            timeout_ms: how long the answer is worth waiting for, in milliseconds.

        Raises:
            OSError: a file cannot be read.
        """
        asked = {
            "top_k": top_k,
            "max_members": max_members,
            "mode": mode,
            "conformal": conformal,
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
        return Request("GET", f"/jobs/{_part(id)}", Job.model_validate_json)

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
        return Request("DELETE", f"/jobs/{_part(id)}", Job.model_validate_json)

    @Call
    def ensembles(self) -> Request[EnsembleList]:
        """Return all ensembles that can be served, newest first, and which one serves."""
        return Request("GET", "/ensembles", EnsembleList.model_validate_json)

    @Call
    def ensemble(self, id: str) -> Request[EnsembleDetail]:  # noqa: A002
        """Return everything there is to know about an ensemble."""
        return Request("GET", f"/ensembles/{_part(id)}", EnsembleDetail.model_validate_json)

    @Call
    def report(self, id: str) -> Request[dict[str, Any]]:  # noqa: A002
        """Return an ensemble's learning curves, reliability and confusion, as JSON.

        Raises:
            Missing: there is no such ensemble, or it keeps no report.
        """
        return Request("GET", f"/ensembles/{_part(id)}/report", _object)

    @Call
    def promote(self, id: str) -> Request[ServingChange]:  # noqa: A002
        """Make an ensemble the serving one: promotion and rollback are the same call."""
        return Request(
            "PUT",
            "/ensembles/serving",
            ServingChange.model_validate_json,
            json={"ensemble": id},
            silence_seconds=LOADING_SECONDS,
        )

    @Call
    def export(self, id: str, path: str | os.PathLike[str]) -> Request[Path]:  # noqa: A002
        """Write an ensemble into one file, a zip, and return where it is.

        Args:
            id: of the ensemble.
            path: the file, or a folder to put ``<id>.zip`` into.

        Raises:
            OSError: it cannot be written.
        """
        file = Path(path)
        if file.is_dir():
            file /= f"{_part(id)}.zip"
        return Request(
            "GET",
            f"/ensembles/{_part(id)}/archive",
            lambda _: file,
            download=file,
            silence_seconds=LOADING_SECONDS,
        )

    @Call
    def import_(self, path: str | os.PathLike[str]) -> Request[EnsembleSummary]:
        """Bring in an ensemble that was exported and return what it is; it does not serve by that.

        Raises:
            OSError: the file cannot be read.
            Conflict: another ensemble has its id.
        """
        return Request(
            "POST",
            "/ensembles",
            EnsembleSummary.model_validate_json,
            upload=Path(path),
            silence_seconds=LOADING_SECONDS,
        )

    @Call
    def datasets(self) -> Request[dict[str, Any]]:
        """Return the data sets that jobs can learn from."""
        return Request("GET", "/datasets", _object)

    @Call
    def dataset(self, name: str, *, check: int | None = None) -> Request[dict[str, Any]]:
        """Return what a data set holds, and what will go wrong with it.

        Args:
            name: of the data set.
            check: how many pictures to open and look at; none unless told.
        """
        return Request(
            "GET",
            f"/datasets/{_part(name)}",
            _object,
            query={"check": check},
            silence_seconds=LOADING_SECONDS,
        )

    @Call
    def upload_dataset(self, name: str, path: str | os.PathLike[str]) -> Request[dict[str, Any]]:
        """Send pictures as a data set and return what it holds.

        Args:
            name: what recipes are to call it.
            path: a zip with ``train/<class>/<picture>``, or a folder with the same.

        Raises:
            OSError: it cannot be read.
        """
        return Request(
            "PUT",
            f"/datasets/{_part(name)}",
            _object,
            upload=Path(path),
            silence_seconds=LOADING_SECONDS,
        )

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
        return Request("GET", "/openapi.json", lambda body: str(_object(body)["info"]["version"]))


def events_path(id_: str) -> str:
    """Return where a job's events are."""
    return f"/jobs/{_part(id_)}/events"


def _fields(recipe: Recipe | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(recipe, RecipeRequest):
        recipe = recipe.model_dump(mode="json", exclude_unset=True)
    return {**(recipe or {}), **fields}


def _part(id_: str) -> str:
    # One part of the path whatever it is; "." and ".." would be resolved away.
    return quote(id_, safe="").replace(".", "%2E") if id_ in {".", ".."} else quote(id_, safe="")
