"""How each error is told over HTTP: one table, RFC 9457 problem details for everything.

Except under ``/v2``: clients of the Open Inference Protocol look for ``{"error": "…"}``.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.headers import headers_for
from app.recipe_request import TEACHER_KINDS
from app.request_ids import HEADER, id_of
from app.schemas import FieldError, Problem
from models import errors

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Answer:
    """Status, last part of the problem's type, and title of one kind of error."""

    status: int
    type: str
    title: str


ANSWERS: Mapping[type[errors.StillhouseError], Answer] = {
    errors.StillhouseError: Answer(503, "unavailable", "The service cannot do this now"),
    errors.InvalidPicture: Answer(422, "invalid-picture", "The picture cannot be used"),
    errors.UnreadablePicture: Answer(422, "unreadable-picture", "The picture cannot be read"),
    errors.PictureTooLarge: Answer(413, "picture-too-large", "The picture is too large"),
    errors.UnsupportedPicture: Answer(415, "unsupported-picture", "The type is not accepted"),
    errors.InvalidRecipe: Answer(422, "invalid-recipe", "The recipe cannot work"),
    errors.InvalidDataset: Answer(422, "invalid-dataset", "The data set cannot be used"),
    errors.InvalidArchive: Answer(422, "invalid-archive", "The archive cannot be used"),
    errors.NotFound: Answer(404, "not-found", "There is no such thing"),
    errors.JobNotFound: Answer(404, "job-not-found", "There is no such job"),
    errors.EnsembleNotFound: Answer(404, "ensemble-not-found", "There is no such ensemble"),
    errors.DatasetNotFound: Answer(404, "dataset-not-found", "There is no such data set"),
    errors.Conflict: Answer(409, "conflict", "The request contradicts what happened before"),
    errors.JobFinished: Answer(409, "job-finished", "The job has ended already"),
    errors.IdempotencyConflict: Answer(
        409, "idempotency-conflict", "The Idempotency-Key belongs to another recipe"
    ),
    errors.NoEnsemble: Answer(503, "no-ensemble", "No ensemble can answer yet"),
    errors.TooBusy: Answer(429, "too-busy", "Too much work is waiting"),
    errors.DeadlineExceeded: Answer(504, "deadline-exceeded", "The time given was not enough"),
    errors.StoreError: Answer(503, "store-unavailable", "The store cannot be used"),
    errors.CorruptArtefact: Answer(503, "corrupt-artefact", "A file of the store is damaged"),
    errors.StoreFull: Answer(507, "store-full", "The store is full"),
    errors.NotEnoughMemory: Answer(422, "not-enough-memory", "Not even one network fits"),
    errors.TrainingDiverged: Answer(422, "training-diverged", "The training diverged"),
    errors.Stopped: Answer(503, "stopped", "The work was stopped"),
    errors.JobCancelled: Answer(409, "job-cancelled", "The job was cancelled"),
    errors.JobEnded: Answer(409, "job-ended", "The job was ended by another worker"),
    errors.WorkerStopping: Answer(503, "worker-stopping", "The worker is stopping"),
    errors.LeaseLost: Answer(503, "lease-lost", "Another worker has taken over"),
}
"""Every class of the tree has its own line; a test proves it."""

INVALID_REQUEST = Answer(422, "invalid-request", "The request is not understood")
QUEUE_UNAVAILABLE = Answer(503, "queue-unavailable", "The queue cannot be reached")

KEY_NEEDED = Answer(401, "key-needed", "A key is needed")
SCOPE_NEEDED = Answer(403, "scope-needed", "The key does not allow this")
TOO_MANY_REQUESTS = Answer(429, "too-many-requests", "The key is used too often")
"""What is answered at the door (``app/doors.py``)."""

TOO_MANY_CONNECTIONS = Answer(503, "too-many-connections", "Too many connections are open")
"""What a connection too many is answered (``app/connections.py``)."""

POISON = Answer(503, "poison", "The job cannot be run")

INTERNAL = Answer(500, "internal-error", "Something nobody expected happened")

CLIENT_GONE = 499
"""The client hung up before it was answered (nginx' number)."""

HTTP_ANSWERS: Mapping[int, Answer] = {
    400: Answer(400, "bad-request", "The request is malformed"),
    404: Answer(404, "no-such-path", "Nothing is at this path"),
    405: Answer(405, "method-not-allowed", "The path does not take this method"),
    408: Answer(408, "request-timeout", "The request did not come in time"),
    413: Answer(413, "request-too-large", "The request is too large"),
    415: Answer(415, "unsupported-media-type", "The media type is not accepted"),
    431: Answer(431, "head-too-large", "The head of the request is too large"),
}
"""What the web framework and the connection itself refuse."""


def problem(
    answer: Answer,
    detail: str,
    fields: list[FieldError] | None = None,
    request_id: str | None = None,
) -> Problem:
    """Return the problem details of an answer; those of a fault of ours name the request."""
    return Problem(
        type=type_uri(answer),
        title=answer.title,
        status=answer.status,
        detail=detail,
        errors=fields,
        request_id=request_id if answer.status >= 500 else None,
    )


def type_uri(answer: Answer) -> str:
    """Return the URI that names a kind of problem; ``docs/http.md`` explains each."""
    return f"urn:stillhouse:problem:{answer.type}"


def respond(
    request: Request,
    answer: Answer,
    detail: str,
    fields: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response that tells a problem to whoever made a request."""
    told = problem(answer, detail, fields, id_of(request.scope))
    body: dict[str, Any] = told.model_dump(exclude_none=True)
    media_type = MEDIA_TYPE
    if request.scope["path"] == "/v2" or request.scope["path"].startswith("/v2/"):
        which = f" (request {told.request_id})" if told.request_id else ""
        body, media_type = {"error": f"{answer.title}: {detail}{which}"}, "application/json"
    # ASCII, since what a client sent may be quoted in it and need not be encodable.
    return Response(json.dumps(body), answer.status, headers, media_type)


def retry_after(error: errors.TooBusy) -> str:
    """Return the seconds to wait before the next try, as Retry-After has them."""
    seconds = error.retry_after_seconds
    return str(10 if seconds is None else max(1, math.ceil(seconds)))


def install(app: FastAPI) -> None:
    """Make an application answer every error with problem details."""

    @app.exception_handler(errors.StillhouseError)
    async def known(request: Request, error: errors.StillhouseError) -> Response:
        answer = ANSWERS[type(error)]
        if answer.status >= 500:
            _log.error("%s: %s", answer.type, error)
        fields = None
        if isinstance(error, errors.InvalidRecipe):
            fields = [FieldError(field=p.field, reason=p.reason) for p in error.problems]
        headers = None
        if isinstance(error, errors.TooBusy):
            headers = {"Retry-After": retry_after(error)}
        return respond(request, answer, str(error), fields, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fields = [
            FieldError(
                field=_field(found["loc"]), reason=found["msg"].removeprefix("Value error, ")
            )
            for found in error.errors()
        ]
        detail = "; ".join(f"{field.field}: {field.reason}" for field in fields)
        return respond(request, INVALID_REQUEST, detail, fields)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        fallback = Answer(error.status_code, "http-error", "The request was refused")
        answer = HTTP_ANSWERS.get(error.status_code, fallback)
        headers = dict(error.headers or {})
        if error.status_code == 405 and (methods := _methods(request)):
            headers["Allow"] = ", ".join(methods)
        return respond(request, answer, str(error.detail), headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)  # nobody reads it, but it is counted

    @app.exception_handler(Exception)
    async def unexpected(request: Request, _: Exception) -> Response:
        # The framework logs it, with its traceback, once this is sent.
        # Sent from outside of all middleware, so the headers of every answer are set here.
        headers = {**headers_for(request.scope["path"]), HEADER: id_of(request.scope) or ""}
        return respond(request, INTERNAL, "the service's log has it", headers=headers)

    @app.exception_handler(RedisError)
    async def no_queue(request: Request, error: RedisError) -> Response:
        _log.error("the queue cannot be reached: %s", error)
        return respond(
            request, QUEUE_UNAVAILABLE, "try again in a moment", headers={"Retry-After": "5"}
        )


def _methods(request: Request) -> list[str]:
    # Of all routes at this path: the one that refused knows only its own.
    path = getattr(request.scope.get("route"), "path", "")
    return [method.upper() for method in request.app.openapi()["paths"].get(path, ())]


def _field(location: Sequence[int | str]) -> str:
    # "body", "query" and "header" are where a field came from, not part of its name; nor are the
    # kinds of teacher.
    parts = [str(part) for part in location[1:] if part not in TEACHER_KINDS]
    return ".".join(parts) or str(location[0])
