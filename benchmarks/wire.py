"""HTTP as the load generator speaks it: whole requests, and of an answer only the needful."""

import asyncio
import socket
import time
from typing import Protocol

LOST = 0
"""Stands for a status where the connection ended before the answer."""


def post(path: str, body: bytes, media_type: str) -> bytes:
    """Return a whole request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def multipart(name: str, files: list[bytes], media_type: str) -> tuple[bytes, str]:
    """Return a body with so many files under one name, and its media type."""
    boundary = b"0f6a1c2e9b7d4835"
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="%d"\r\nContent-Type: %b'
        b"\r\n\r\n%b\r\n" % (boundary, name.encode(), number, media_type.encode(), file)
        for number, file in enumerate(files)
    ]
    body = b"".join([*parts, b"--%b--\r\n" % boundary])
    return body, f"multipart/form-data; boundary={boundary.decode()}"


def ask(port: int, request: bytes, timeout_seconds: float = 60) -> tuple[int, bytes]:
    """Send one request over a connection of its own and return status and body.

    Raises:
        OSError: nobody listens, or the connection ended before the answer.
    """
    with dial(port, timeout_seconds) as connected:
        connected.sendall(request)
        data = b""
        while missing_bytes(data) != 0:
            received = connected.recv(1 << 20)
            if not received:
                raise ConnectionError("the connection ended before the answer")
            data += received
    return int(data[9:12]), data.partition(b"\r\n\r\n")[2]


def dial(port: int, timeout_seconds: float = 10) -> socket.socket:
    """Connect to a port of loopback, which takes microseconds, or fails at once."""
    connected = socket.create_connection(("127.0.0.1", port), timeout_seconds)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing_bytes(data: bytes) -> int:
    """Return how many bytes of an answer are still to come; -1 where that cannot be seen yet."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return -1
    head = data[:head_end].lower()
    start = head.find(b"\r\ncontent-length:")
    if start < 0:  # in chunks
        return 0 if data.endswith(b"0\r\n\r\n") and len(data) > head_end + 4 else -1
    end = head.find(b"\r\n", start + 2)
    length = int(head[start + 17 : end if end >= 0 else None])
    return head_end + 4 + length - len(data)


class Owner(Protocol):
    """Who sends over connections and is told what comes back."""

    def answered(
        self, connection: "Connection", status: int, seconds: float, index: int, whole: bytes
    ) -> None:
        """Take an answer, its seconds since its request was due, and the request's index."""

    def closed(self, connection: "Connection") -> None:
        """Take note that a connection can no longer be used."""


class Connection(asyncio.Protocol):
    """One connection, with at most one request under way.

    Args:
        owner: told of answers and of the end.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._chunks: list[bytes] = []
        self._missing = -1
        self._index = -1
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP's can write

    def send(self, index: int, request: bytes, due: float) -> None:
        """Send a request that was due at this time of ``time.perf_counter``."""
        self._index, self._due, self._missing = index, due, -1
        self._chunks.clear()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a part of the answer, most often all of it."""
        if self._missing < 0:
            data = b"".join([*self._chunks, data]) if self._chunks else data
            self._chunks = [data]
            self._missing = missing_bytes(data)
        else:
            self._chunks.append(data)
            self._missing -= len(data)
        if self._missing == 0 and self._index >= 0:
            whole = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._finish(int(whole[9:12]), whole)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Count the request under way, if any, as lost."""
        if self._index >= 0:
            self._finish(LOST, b"")
        self._owner.closed(self)

    def _finish(self, status: int, whole: bytes) -> None:
        index, self._index = self._index, -1
        if b"\r\nconnection: close\r\n" in whole[:1024].lower():
            self.transport.close()
        self._owner.answered(self, status, time.perf_counter() - self._due, index, whole)
