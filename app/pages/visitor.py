"""Who looks at a page: the key in their cookie, and the service as that key sees it."""

import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
from fastapi import Depends, Request
from starlette.responses import HTMLResponse

from app.client import AsyncStillhouse, ClientError, Unauthorised, Unavailable
from app.followers import Followers
from app.pages.rendering import render

KEY_COOKIE = "stillhouse-key"
THEME_COOKIE = "stillhouse-theme"
FRAGMENT_HEADER = "X-Fragment"
"""Sent by our own script, which takes pieces of a page where a browser alone takes the whole."""

_KEY = re.compile(r"[A-Za-z0-9._~+/-]{1,512}=*")
_SAFE = {"GET", "HEAD"}


class NotFromHere(Exception):
    """A page of another origin asked for a change in a visitor's name."""


@dataclass(frozen=True)
class Site:
    """What all visits share.

    Attributes:
        http: calls the service, within this process.
        keys_needed: whether the service asks for keys.
        max_picture_bytes: largest picture that it takes.
        watchers: pages that are kept up to date now.
    """

    http: httpx.AsyncClient
    keys_needed: bool
    max_picture_bytes: int
    watchers: Followers


@dataclass(frozen=True)
class Status:
    """How the service is, as a visitor may know it.

    Attributes:
        ready: whether pictures can be answered now.
        why_not: what is in the way, if something is.
        ensemble: id of the one that serves; none if the key does not let one know.
        members: how many networks vote.
        classes: names of what it knows.
        coverage: whether it was published with what sets of classes need.
    """

    ready: bool
    why_not: str | None = None
    ensemble: str | None = None
    members: int | None = None
    classes: tuple[str, ...] = ()
    coverage: bool = False


@dataclass(frozen=True)
class Visitor:
    """One request for a page.

    Attributes:
        request: as it came.
        site: what all visits share.
        key: of the service, from the cookie of the sign-in; none if there is none.
    """

    request: Request
    site: Site
    key: str | None

    @property
    def client(self) -> AsyncStillhouse:
        """The service, as whoever has this key may use it."""
        # Without a key this must not be the empty-handed caller's default, which is a key from
        # the environment of this very process.
        return AsyncStillhouse(key=self.key or "", retry_seconds=0, http=self.site.http)

    @property
    def wants_fragment(self) -> bool:
        """Whether our script asks, which puts pieces into the page that is shown."""
        return FRAGMENT_HEADER in self.request.headers

    async def status(self) -> Status:
        """Ask how the service is."""
        try:
            known = await self.client.classes()
            detail = await self.client.ensemble(known.ensemble)
        except Unauthorised:
            return await self._probe()
        except Unavailable as error:
            return Status(ready=False, why_not=error.problem.detail)
        except ClientError as error:
            return Status(ready=False, why_not=str(error))
        return Status(
            ready=True,
            ensemble=known.ensemble,
            members=len(detail.members),
            classes=tuple(known.classes),
            coverage=bool(detail.doubt and detail.doubt["conformal"]),
        )

    async def _probe(self) -> Status:
        try:
            await self.client.ready()
        except ClientError as error:
            return Status(ready=False, why_not=str(error))
        return Status(ready=True)

    async def page(self, template: str, status_code: int = 200, **context: Any) -> HTMLResponse:
        """Return a page within the layout that all of them share.

        Args:
            template: its file, which extends ``layout.html``.
            status_code: of HTTP.
            context: what its template names.
        """
        theme = self.request.cookies.get(THEME_COOKIE)
        shared = {
            "path": self.request.url.path,
            "keys_needed": self.site.keys_needed,
            "signed_in": self.key is not None,
            "theme": theme if theme in {"light", "dark"} else None,
            "service": await self.status(),
        }
        return HTMLResponse(render(template, **shared, **context), status_code)


async def provide_visitor(request: Request) -> Visitor:
    """Return who asks for a page (a FastAPI dependency).

    Raises:
        NotFromHere: the request wants a change, and no page of ours sent it.
    """
    if request.method not in _SAFE and not _is_from_here(request):
        raise NotFromHere
    return visitor_of(request)


def visitor_of(request: Request) -> Visitor:
    """Return who asks for a page, whatever page they come from."""
    key = request.cookies.get(KEY_COOKIE, "")
    return Visitor(request, request.app.state.site, key if is_possible_key(key) else None)


def is_possible_key(text: str) -> bool:
    """Say whether a header can carry this as a key."""
    return _KEY.fullmatch(text) is not None


def _is_from_here(request: Request) -> bool:
    # Browsers tell the first only over TLS and on loopback, and the second with every change.
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get("Origin", ""))
    return bool(origin.netloc) and origin.netloc == request.headers.get("Host")


VisitorDependency = Annotated[Visitor, Depends(provide_visitor)]
