"""Bodies too large for memory: passed on to the service, and back, piece by piece."""

from collections.abc import AsyncGenerator, AsyncIterator

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from app.client.connection import check, headers_of, known_errors, timeout_of
from app.client.requests import LOADING_SECONDS
from app.pages.visitor import Visitor

_PASSED_BACK = ("content-type", "content-disposition", "content-length")


async def pass_on(visitor: Visitor, method: str, path: str) -> httpx.Response:
    """Send the body of a page's request, a zip, to the service, and return what it answers.

    Args:
        visitor: whose request it is; nothing of its body has been read.
        method: of the call.
        path: of the call.

    Raises:
        Refused: as for any call.
    """
    headers = headers_of(visitor.key or "") | {"Content-Type": "application/zip"}
    if length := visitor.request.headers.get("content-length"):
        headers["Content-Length"] = length
    with known_errors(visitor.client.url):
        response = await visitor.site.http.request(
            method,
            path,
            content=_body_of(visitor.request),
            headers=headers,
            timeout=timeout_of(LOADING_SECONDS),
        )
    check(response)
    return response


async def pass_back(visitor: Visitor, path: str) -> Response:
    """Return what the service answers, as it comes.

    Args:
        visitor: who asks.
        path: of the call.

    Raises:
        Refused: as for any call.
    """
    http = visitor.site.http
    request = http.build_request(
        "GET", path, headers=headers_of(visitor.key or ""), timeout=timeout_of(LOADING_SECONDS)
    )
    with known_errors(visitor.client.url):
        response = await http.send(request, stream=True)
    if not response.is_success:
        await response.aread()
        check(response)
    headers = {name: response.headers[name] for name in _PASSED_BACK if name in response.headers}
    return StreamingResponse(_pieces_of(response), headers=headers)


async def _pieces_of(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in response.aiter_raw():
            yield piece
    finally:
        await response.aclose()


async def _body_of(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect as error:
        raise httpx.ReadError("the visitor has left in the middle of it") from error
