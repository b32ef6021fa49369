"""How many connections there may be, and how long a request on one may take to come.

The server underneath takes all connections there are, waits for ever for the rest of a head or of
a body, and keeps whatever comes as a header. So one client could hold thousands of connections
with a byte now and then, or fill the memory with a single header that never ends.
"""

from asyncio import BaseTransport, TimerHandle
from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.early_refusals import EarlyRefusals
from app.headers import headers_for
from app.keys import read_keyring
from app.problems import HTTP_ANSWERS, TOO_MANY_CONNECTIONS, Answer, respond
from app.request_ids import HEADER, fresh_id, id_of, name_request
from app.service import Service
from app.telemetry import Telemetry

MAX_HEAD_BYTES = 64 * 2**10
"""Of a request's line and headers; so is what chunks and trailers may take beside the body."""

SPARE_CONNECTIONS = 16
"""Beyond the bound, so many more may say what they want, in case they are probes."""

SPARE_SECONDS = 2.0
"""Time that they have to say it; then it is over."""

PROBES = {"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
"""Answered also while there are too many connections: a flood is no reason to restart us."""

KEEP_ALIVE_SECONDS = 75
"""Of silence, after which a connection that was answered on is closed.

Whoever asks on it in that very moment is told nothing, so clients had better let go first: httpx
does after 5 s, and proxies by default after 60.
"""

_RETRY_AFTER = {"Retry-After": "1"}

_LENGTHS = {b"content-length", b"transfer-encoding"}


class Connection(HttpToolsProtocol):
    """A connection that ends when a request does not come whole in time, or its head never ends.

    A request that comes in one piece costs no timer. One connection too many is closed after a
    single answer, which says so to all but probes.
    """

    telemetry: Telemetry
    early_refusals: EarlyRefusals | None
    max_connections: int
    max_receive_seconds: float

    _spare = False
    _timer: TimerHandle | None = None
    _whole = False
    _in_body = False
    _head_bytes = 0
    _led_on = False
    _refused = False

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self.telemetry.connections.inc()
        too_many = len(self.connections) - self.max_connections
        if too_many > 0:
            self._spare, self.app = True, self._answer_probes
            self.max_receive_seconds = min(SPARE_SECONDS, self.max_receive_seconds)
        if too_many > SPARE_CONNECTIONS:
            self._turn_away()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self.telemetry.connections.dec()
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, then see whether it led on."""
        self._whole = self._led_on = False
        self._head_bytes += len(data)
        super().data_received(data)
        if self._whole:
            self._rest()
        elif self._timer is None:
            self._wait()
        if self._led_on:
            self._head_bytes = 0
        elif self._head_bytes > MAX_HEAD_BYTES:
            reason = f"more than {MAX_HEAD_BYTES} bytes came that are no part of a body"
            self._refuse(431, reason)

    def on_message_begin(self) -> None:
        """Note that the next request has begun, perhaps behind another in the same piece."""
        self._whole = self._in_body = self._refused = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that there is somebody to answer the request.

        Raises:
            ValueError: it asks for another protocol and has a body. The parser looks for none then,
                and would take the body for the next request. The server hangs up.
        """
        upgrade = self.parser.should_upgrade()
        if upgrade and _LENGTHS & {name for name, _ in self.headers}:
            self._refuse(400, "a request with a body cannot ask for another protocol")
            raise ValueError("body behind an upgrade")
        if self._refuse_early():
            self._refused = self._led_on = True
            return
        super().on_headers_complete()
        if upgrade or self._spare:
            self.cycle.keep_alive = False  # what comes behind an upgrade is not parsed
        self._in_body = self._led_on = True

    def on_body(self, body: bytes) -> None:
        """Note that the body grows."""
        self._led_on = True
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that nothing is missing."""
        self._whole = self._led_on = True
        self._in_body = False
        if self._refused:
            self.on_response_complete()
        else:
            super().on_message_complete()

    def _refuse_early(self) -> bool:
        """Answer that no picture more may wait, if so; what the body is does not matter then."""
        plain = self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1"
        waits = self.cycle is not None and not self.cycle.response_complete
        # Whoever does not read our answers is left to the application, which waits for that.
        busy = waits or self.expect_100_continue or self.flow.write_paused
        if self.early_refusals is None or self._spare or not plain or busy:
            return False
        method, defaults = self.parser.get_method(), self.server_state.default_headers
        answer = self.early_refusals.refuse(method, self.url, self.headers, defaults)
        if answer is not None:
            self.transport.write(answer)
        return answer is not None

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.max_receive_seconds, self._give_up)

    def _rest(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if self._answering_another():  # the rest may wait in the socket, unread by us
            self._wait()
        elif self._spare:
            self._turn_away()
        else:
            reason = f"it did not come whole within {self.max_receive_seconds:g} s"
            self._refuse(408, reason)

    def _answering_another(self) -> bool:
        return bool(self.pipeline) or (
            not self._in_body and self.cycle is not None and not self.cycle.response_complete
        )

    def _refuse(self, status: int, reason: str) -> None:
        """Tell a problem, unless an answer has begun or nothing was asked, and hang up."""
        if self.transport.is_closing():
            return
        if self._refused:  # and told so
            self.transport.close()
            return
        asked = not self.cycle.response_started if self._in_body else self._head_bytes > 0
        if asked and not self._answering_another():
            self._tell(HTTP_ANSWERS[status], reason)
        self.transport.close()

    def _turn_away(self) -> None:
        """Tell that there are too many connections, without waiting for a request, and hang up."""
        if self.transport.is_closing():
            return
        self.telemetry.refused_connections.inc()
        if self.cycle is None:
            self._tell(TOO_MANY_CONNECTIONS, self._too_many, _RETRY_AFTER)
        self.transport.close()

    async def _answer_probes(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request on one of the spare connections: in place of the application."""
        if scope["path"] in PROBES:
            await self.config.loaded_app(scope, receive, send)
            return
        self.telemetry.refused_connections.inc()
        id_ = name_request(scope).decode()
        headers = {**headers_for(scope["path"]), **_RETRY_AFTER, HEADER: id_}
        answer = respond(Request(scope), TOO_MANY_CONNECTIONS, self._too_many, headers=headers)
        await answer(scope, receive, send)

    @property
    def _too_many(self) -> str:
        return f"{self.max_connections} connections are open already; try again in a moment"

    def _tell(self, answer: Answer, reason: str, more: Mapping[str, str] | None = None) -> None:
        id_ = (id_of(self.scope) if self._in_body else None) or fresh_id()
        path = self.scope["path"] if self._in_body else ""
        request = Request({"type": "http", "path": path, "state": {"request_id": id_}})
        headers = {"Connection": "close", HEADER: id_, **(more or {})}
        response = respond(request, answer, reason, headers=headers)
        lines = [b"%s: %s\r\n" % header for header in response.raw_headers]
        head = [STATUS_LINE[answer.status], *lines, b"\r\n"]
        self.transport.write(b"".join([*head, bytes(response.body)]))


def bounded(service: Service) -> type[Connection]:
    """Return the connections of a server that keeps a service's bounds and counts what is open."""
    settings, telemetry = service.settings, service.telemetry
    # Where a key is to be shown, or other origins may read answers, that has to be looked at first.
    is_plain = read_keyring(settings) is None and not settings.cors_origins

    class Bounded(Connection):
        pass

    Bounded.telemetry = telemetry
    Bounded.early_refusals = EarlyRefusals(service.batcher.full, telemetry) if is_plain else None
    Bounded.max_connections = settings.max_connections
    Bounded.max_receive_seconds = settings.max_receive_seconds
    return Bounded
