"""Requests that no client library would send, over sockets of their own."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx


class Reply(NamedTuple):
    """What a server said on a connection before it closed it, or before it was asked to stop."""

    status: int
    media_type: str
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@contextmanager
def connection(client: httpx.Client, seconds: float = 20) -> Iterator[socket.socket]:
    """Give a socket to the server that a client speaks to; it waits at most so long for bytes."""
    address = (client.base_url.host, client.base_url.port or 80)
    with socket.create_connection(address, timeout=seconds) as connected:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connected


def head(method: str = "POST", path: str = "/predict", **headers: str | int) -> bytes:
    """Return a request's head; underscores in names of headers are hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: service"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def replies(connected: socket.socket, count: int = 1) -> list[Reply]:
    """Read so many replies, fewer where the server closes the connection first."""
    with connected.makefile("rb") as file:
        found: list[Reply] = []
        while len(found) < count and (line := file.readline()):
            headers = {}
            while (field := file.readline()) not in {b"\r\n", b""}:
                name, _, value = field.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            body = file.read(int(headers.get("content-length", 0)))
            found.append(Reply(int(line.split()[1]), headers.get("content-type", ""), body))
        return found


def reply(connected: socket.socket) -> Reply:
    """Read one reply.

    Raises:
        EOFError: the server closed the connection without one.
    """
    found = replies(connected)
    if not found:
        raise EOFError("the server hung up without a word")
    return found[0]


def send(client: httpx.Client, *pieces: bytes) -> Reply:
    """Send bytes on a connection of their own, as far as they are wanted, and read one reply."""
    with connection(client) as connected:
        try:
            for piece in pieces:
                connected.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered already
        return reply(connected)


def is_closed(connected: socket.socket) -> bool:
    """Wait until the server closes the connection; false if it says something instead."""
    try:
        return connected.recv(1) == b""
    except ConnectionResetError:
        return True
