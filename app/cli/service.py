"""How a command reaches the service, and what it says where that fails."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from app.cli.command import FAILED, UNREACHABLE, Failed
from app.cli.screen import clean, tell
from app.client import ClientError, Refused, Stillhouse, Unauthorised, Unreachable

P = ParamSpec("P")
R = TypeVar("R")

url_option = click.option(
    "--url",
    metavar="ADDRESS",
    envvar="STILLHOUSE_URL",
    show_envvar=True,
    help="Where the service is.  [default: http://127.0.0.1:8000]",
)

retry_option = click.option(
    "--retry-seconds",
    type=click.FloatRange(0),
    metavar="N",
    default=10.0,
    show_default=True,
    envvar="STILLHOUSE_RETRY_SECONDS",
    show_envvar=True,
    help="How long to try again while nothing answers.",
)


def with_service(
    command: Callable[Concatenate[Stillhouse, P], R],
) -> Callable[..., R]:
    """Give a command options that say where the service is, and as first argument the service."""

    @url_option
    @retry_option
    @wraps(command)
    def run(*args: Any, url: str | None, retry_seconds: float, **options: Any) -> R:
        try:
            with Stillhouse(url, retry_seconds=retry_seconds, on_wait=_Waiting()) as service:
                return command(service, *args, **options)
        except ClientError as error:
            raise failure(error) from error

    return run


def failure(error: ClientError, fields: Callable[[str], str] = str) -> Failed:
    """Return what to tell of an error.

    Args:
        error: what went wrong.
        fields: what the command line calls a field of the request.
    """
    if isinstance(error, Unreachable):
        hint = "\nStart it with 'stillhouse up', or say where it is with --url or STILLHOUSE_URL."
        return Failed(clean(str(error)) + hint, UNREACHABLE)
    if isinstance(error, Unauthorised):
        return Failed(f"{clean(str(error))}\nPut a key into STILLHOUSE_API_KEY.")
    if isinstance(error, Refused) and error.fields:
        told = [f"{fields(each.field)}: {each.reason}" for each in error.fields]
        return Failed("\n".join([error.title, *(f"  {clean(line)}" for line in told)]))
    return Failed(clean(str(error)), FAILED)


class _Waiting:
    """Tells once what is waited for, however many calls do."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, error: ClientError, pause_seconds: float) -> None:
        if pause_seconds >= 1 and str(error) not in self._told:  # shorter ones pass unread
            self._told.add(str(error))
            tell(f"{error}; trying again")
