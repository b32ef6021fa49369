"""What may go wrong with a call.

::

    ClientError
    ├── Unreachable          no answer came: no connection, or it was lost, or it took too long
    ├── BadAnswer            an answer came that the contract does not know: another service?
    └── Refused              the service said no; carries its problem details
        ├── Unauthorised     401, 403: no key, one that nobody has, or without the scope
        ├── Missing          404
        ├── Conflict         409
        ├── Busy             429: too much at once; worth repeating
        ├── Invalid          any other 4xx: what was sent is to be changed
        └── Unavailable      5xx: the service cannot do it now; 503 is worth repeating
"""

import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx
from pydantic import ValidationError

from app.schemas import FieldError, Problem

_MOST_QUOTED = 200
"""Characters of an answer that is no problem details."""

REPEATABLE = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE}


class ClientError(Exception):
    """A call that was not answered as it should be."""

    worth_repeating = False
    retry_after_seconds: float | None = None


class Unreachable(ClientError):
    """No answer came."""

    worth_repeating = True


class BadAnswer(ClientError):
    """An answer came that is not of this contract."""


class Refused(ClientError):
    """The service said no.

    Attributes:
        problem: type, title, status, detail and wrong fields, as in ``docs/http.md``.
        request_id: of the answer's ``X-Request-ID``; none if it has none.
        retry_after_seconds: when the service says to come back; none if it does not.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{problem.title}: {problem.detail}")
        self.problem = problem
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def kind(self) -> str:
        """The last part of the problem's type, such as ``job-not-found``."""
        return self.problem.type.rpartition(":")[2]

    @property
    def title(self) -> str:
        """The kind of problem in words."""
        return self.problem.title

    @property
    def detail(self) -> str:
        """What is wrong with this very request."""
        return self.problem.detail

    @property
    def fields(self) -> list[FieldError]:
        """Field and reason of each that is wrong; none where it is not about fields."""
        return self.problem.errors or []

    @property
    def worth_repeating(self) -> bool:  # type: ignore[override]  # fixed for the others
        """Whether the very same request may be answered later."""
        return self.status in REPEATABLE


class Unauthorised(Refused):
    """No key was sent, one that nobody has, or one without the scope (401, 403)."""


class Missing(Refused):
    """There is no such thing (404)."""


class Conflict(Refused):
    """It contradicts what happened before (409)."""


class Busy(Refused):
    """Too much is asked at once (429)."""


class Invalid(Refused):
    """What was sent cannot be used (400, 413, 415, 422)."""


class Unavailable(Refused):
    """The service cannot do this now (5xx)."""


_KINDS: dict[int, type[Refused]] = {
    401: Unauthorised,
    403: Unauthorised,
    404: Missing,
    409: Conflict,
    429: Busy,
}


def refusal_of(response: httpx.Response) -> Refused:
    """Return the error that an answer of 400 or above tells; its body has been read."""
    status = response.status_code
    kind = _KINDS.get(status, Unavailable if status >= 500 else Invalid)
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:  # of a proxy in between
        said = response.text.strip()[:_MOST_QUOTED] or "the answer says no more"
        title = response.reason_phrase or f"HTTP status {status}"
        problem = Problem(type="about:blank", title=title, status=status, detail=said)
    return kind(
        problem,
        request_id=response.headers.get("X-Request-ID"),
        retry_after_seconds=_seconds(response.headers.get("Retry-After")),
    )


def _seconds(retry_after: str | None) -> float | None:
    # RFC 9110, section 10.2.3: whole seconds, or a date.
    if retry_after is None:
        return None
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
