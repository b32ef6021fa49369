"""What ``make bench-serve`` makes of what it measured, who takes part, and how servers end."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contestants import OURS, ours, peers, pictures_request
from benchmarks.figures import Book, ratios
from benchmarks.limit import multiply_adds
from benchmarks.material import cut_pictures
from benchmarks.serve import comma_separated, read_command_line, rounded
from benchmarks.servers import DidNotStart, Server
from benchmarks.tally import MOST_KEPT, Tally, percentile, summary
from benchmarks.wire import free_port
from models.store import Store
from tests.service import wait_until
from tests.tiny import publish

# What is made of it.


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7.0], 99) == 7
    assert summary([0.003, 0.001]) == {"p50": 1, "p90": 3, "p99": 3, "mean": 2, "max": 3}


def test_of_very_many_latencies_a_fair_sample_is_kept() -> None:
    tally = Tally(begin=0.0, end=float("inf"), keep=0)
    for value in range(3 * MOST_KEPT):
        tally.answered(200, value, 0, b"")
    outcome = replace(tally.outcome(0.0), seconds=1.0)
    assert outcome.rate == 3 * MOST_KEPT
    assert outcome.latencies_ms[200]["p50"] == pytest.approx(1500 * MOST_KEPT, rel=0.05)


def test_ratios_are_medians_over_rounds_against_the_best_of_the_others() -> None:
    book = Book()
    for speed in (1.0, 2.0, 0.5):  # the machine's, from round to round
        for title, rate, p50 in ((OURS, 600, 2.0), ("mosec", 100, 20.0), ("litserve", 90, 10.0)):
            values = {"pictures_per_second": rate * speed, "p50_ms": p50, "p99_ms": 3 * p50}
            book.keep("throughput", title, values)
            book.keep("latency", title, values)
    assert ratios(book, ["mosec", "litserve"]) == {
        "serve/throughput": 6.0,
        "serve/p99": 10.0,
        "serve/latency": 5.0,
    }


def test_what_was_not_measured_is_said_and_has_no_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    book = Book()
    for _ in range(2):
        book.miss("fast", OURS, "status 422 to mode=fast")
    assert capsys.readouterr().out.count("fast, stillhouse: not measured: status 422") == 1
    assert ratios(book, ["mosec"]) == {}


def test_only_known_names_are_taken_and_results_are_rounded() -> None:
    names = comma_separated(["throughput", "latency"])
    assert names("latency,throughput") == ["latency", "throughput"]
    assert names("none") == []
    with pytest.raises(argparse.ArgumentTypeError, match="'speed' is none of"):
        names("speed")
    assert rounded({200: [1.23456789, (3,), "x"]}) == {"200": [1.2346, [3], "x"]}


# Who takes part, and with what.


def test_every_server_gets_the_picture_in_its_own_way() -> None:
    for contestant in [ours(), *peers("torch-loop")]:
        head, _, body = contestant.request(b"picture", "image/png").partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        as_json = b"application/json" in head
        assert (b"cGljdHVyZQ==" in body) if as_json else (body == b"picture")
    assert pictures_request([b"one", b"two"], "top_k=1").count(b'name="file"') == 2


def test_pictures_of_a_class_look_alike() -> None:
    (pictures, labels), (again, _) = (cut_pictures(200, seed=3) for _ in range(2))
    assert np.array_equal(pictures, again)
    others = np.roll(pictures[100:], 1, axis=0)
    same, other = (
        np.abs(pictures[:100].astype(float) - second).mean() for second in (pictures[100:], others)
    )
    assert labels[0] == labels[100]
    assert same < 0.7 * other


def test_multiply_adds_are_those_of_every_member(store: Store) -> None:
    # ResNet-8: a stem, and of each stage two 3x3 convolutions and, but for the first, a 1x1 one.
    stem = 3 * 16 * 9 * 32**2
    first = 2 * 16 * 16 * 9 * 32**2
    second = (16 * 32 * 9 + 32 * 32 * 9 + 16 * 32) * 16**2
    third = (32 * 64 * 9 + 64 * 64 * 9 + 32 * 64) * 8**2
    one = stem + first + second + third + 64 * 4
    for members in (1, 3):
        ensemble = store.load(publish(store, members=members).id)
        assert multiply_adds(ensemble) == members * one


# A server under test.

CHILD_OF_ANOTHER_SESSION = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE,
                         start_new_session=True)
print(child.pid, file=open(sys.argv[1], "w"), flush=True)
child.wait()
"""


def test_a_server_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    command = [sys.executable, "-c", CHILD_OF_ANOTHER_SESSION, str(note)]
    with Server("parent", command, os.environ, free_port(), probe=None) as server:
        wait_until(lambda: note.exists() and note.read_text().endswith("\n"))
        child = Path("/proc") / note.read_text().strip()
        assert child.exists()
        assert server.resident_bytes() > 0
        assert server.cpu_seconds() > 0
    wait_until(lambda: not child.exists() or ") Z" in (child / "stat").read_text())


def test_a_server_that_ends_at_once_says_why() -> None:
    command = [sys.executable, "-c", "print('no such ensemble')"]
    server = Server("broken", command, os.environ, free_port(), probe=b"")
    with pytest.raises(DidNotStart, match=r"broken is not ready(.|\n)*no such ensemble"), server:
        pass


def test_the_command_says_what_it_can_measure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_command_line(["mosec"], ["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "same-engine: the other servers with our engine" in said


def test_a_quick_run_keeps_no_results_unless_told_where() -> None:
    assert read_command_line([], ["--quick"]).out is None
    assert read_command_line([], []).out.name == "serve.json"
    assert read_command_line([], ["--quick", "--out", "here.json"]).out == Path("here.json")
