"""The API lets itself have as many files open as its connections take, as far as it may."""

import json
import subprocess
import sys

import pytest

RUN = """
import json, logging, resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({now}, {most}))
from app.open_files import allow_open_files
logging.basicConfig(format="%(message)s")
allow_open_files({connections})
print(json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)))
"""


@pytest.mark.parametrize(
    ("now", "most", "connections", "then"),
    [
        (256, 4000, 1000, 1200),
        (2000, 4000, 1000, 2000),  # it has more than that
        (256, 1200, 1000, 1200),
    ],
)
def test_the_limit_becomes_what_the_connections_take(
    now: int, most: int, connections: int, then: int
) -> None:
    limits, said = in_a_process(now, most, connections)
    assert limits == (then, most)
    assert not said


def test_a_machine_that_allows_too_few_is_told_of() -> None:
    limits, said = in_a_process(256, 700, 1000)
    assert limits == (700, 700)
    assert "allows 700 open files, and 1000 connections take 1200" in said


def in_a_process(now: int, most: int, connections: int) -> tuple[tuple[int, int], str]:
    """Return the limits that hold afterwards, and what was logged."""
    program = RUN.format(now=now, most=most, connections=connections)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    soft, hard = json.loads(done.stdout)
    return (soft, hard), done.stderr
