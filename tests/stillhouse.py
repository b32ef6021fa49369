"""The command ``stillhouse`` as people and programs run it: on a pipe, and on a terminal."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

ROWS, COLUMNS = 30, 100
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Done(NamedTuple):
    """What a command has ended with and printed: with ``err`` apart, on a pipe."""

    status: int
    out: str
    err: str = ""


def environment(url: str, settings: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return the environment of a command that asks the service there."""
    kept = {name: value for name, value in os.environ.items() if "STILLHOUSE" not in name}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        kept.pop(name, None)
    return kept | {"STILLHOUSE_URL": url, "TERM": "xterm-256color", **settings}


def command(*arguments: str) -> list[str]:
    """Return the command line of ``stillhouse`` with these arguments."""
    return [sys.executable, "-m", "app.cli", *arguments]


def on_a_pipe(
    url: str,
    *arguments: str,
    sent: bytes | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Done:
    """Run it with stdout and stderr on pipes."""
    done = subprocess.run(
        command(*arguments),
        input=sent,
        stdin=subprocess.DEVNULL if sent is None else None,
        env=environment(url, settings),
        capture_output=True,
        check=False,
        timeout=120,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


class OnATerminal:
    """It with stdin, stdout and stderr on a terminal, until it ends.

    Args:
        url: of the service.
        arguments: its command line.
        settings: environment variables.
    """

    def __init__(
        self, url: str, *arguments: str, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.shown = ""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            command(*arguments),
            env=environment(url, settings),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._ours = ours

    @property
    def text(self) -> str:
        """What it has shown, without colours and the cursor's ways."""
        return _CONTROL.sub("", self.shown)

    def read_until(self, pattern: str) -> None:
        """Read on until what is shown has a pattern.

        Raises:
            AssertionError: it ended before.
        """
        while not re.search(pattern, self.text):
            assert self._read(), self.text

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.kill(self._process.pid, signal.SIGINT)

    def end(self) -> Done:
        """Read to its end and return its exit status and what it has shown, without colours."""
        while self._read():
            pass
        os.close(self._ours)
        return Done(self._process.wait(60), self.text)

    def _read(self) -> bool:
        with suppress(OSError):  # Linux tells the end of a terminal so
            if piece := os.read(self._ours, 65536):
                self.shown += piece.decode(errors="replace")
                return True
        return False
