"""What a call sends and how its answer is read, apart from who sends it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from app.client.errors import BadAnswer
from app.client.pictures import Part

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from app.client.asynchronous import AsyncStillhouse
    from app.client.blocking import Stillhouse

P = ParamSpec("P")
T = TypeVar("T")

USUAL_SECONDS = 60.0
"""How long nothing may be heard of an answer that is computed on the spot."""

LOADING_SECONDS = 300.0
"""The same of a large file to be looked through, or of an ensemble to be loaded and tried."""

json_object = TypeAdapter(dict[str, Any]).validate_json
"""Parses what has no model of its own."""


@dataclass(frozen=True)
class Request(Generic[T]):
    """One call of the contract.

    Attributes:
        method: of HTTP.
        path: below the service's address; what came from the caller is quoted in it.
        parse: turns the body of the answer into what the call returns.
        query: parameters; those that are none are left out.
        headers: beside those of every call.
        json: the body, if it is JSON.
        parts: the body, if it is pictures.
        upload: the file that is the body, or the folder to send as a zip.
        download: the file that the answer's body is written to, whole or not at all.
        silence_seconds: how long nothing may be heard before the connection counts as lost.
        repeat: whether it is asked again when it cannot be answered; each call may be, since
            asking twice does no more than asking once.
    """

    method: str
    path: str
    parse: Callable[[bytes], T]
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    parts: Sequence[Part] | None = None
    upload: Path | None = None
    download: Path | None = None
    silence_seconds: float = USUAL_SECONDS
    repeat: bool = True

    def read(self, body: bytes) -> T:
        """Return what the body of a good answer says.

        Raises:
            BadAnswer: it does not say what this call answers.
        """
        try:
            return self.parse(body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the answer"
            raise BadAnswer(
                f"{self.method} {self.path} is not answered as its contract says "
                f"({where}: {first['msg']}); is the address that of a Stillhouse, of this version?"
            ) from error


def quoted(name: str) -> str:
    """Return one part of a path, whatever a caller gave as an id or a name."""
    # Servers decode a path before they look for its parts: a slash is one again after one decoding.
    part = quote(name, safe="").replace("%2F", "%252F")
    # These would be resolved away.
    return part.replace(".", "%2E") if part in {".", ".."} else part


class Call(Generic[P, T]):
    """A method that sends what a function describes: at once, or to be awaited.

    Args:
        describe: returns the request to send from the arguments of the call.
    """

    def __init__(self, describe: Callable[Concatenate[Any, P], Request[T]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> "Call[P, T]": ...
    @overload
    def __get__(self, client: "Stillhouse", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, client: "AsyncStillhouse", owner: type
    ) -> "Callable[P, Coroutine[Any, Any, T]]": ...
    def __get__(self, client: Any, owner: type) -> Any:
        """Return the method of one client."""
        if client is None:
            return self
        describe = self._describe.__get__(client, owner)

        @wraps(describe)
        def ask(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.ask(describe(*args, **kwargs))

        return ask
