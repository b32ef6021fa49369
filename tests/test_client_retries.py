"""The client on connections that fail: what is repeated, when, how long, and what is told."""

import json
import socket
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import anyio
import pytest

from app.client import (
    AsyncStillhouse,
    BadAnswer,
    Busy,
    ClientError,
    EpochFinished,
    Invalid,
    Missing,
    Progress,
    Refused,
    StatusChanged,
    Stillhouse,
    Unauthorised,
    Unavailable,
    Unreachable,
)
from tests.scripted import Said, Script, scripted

CLASSES = Said(body=b'{"ensemble": "e", "classes": ["a", "b"]}')
JOB = b'{"id": "j", "status": "STATUS", "recipe": {}, "created_at": "2026-01-01T00:00:00Z"}'
EPOCH = (
    b'{"role": "member", "index": 1, "epoch": 2, "train_loss": 1, "val_accuracy": 0, "seconds": 1}'
)


def problem(status: int, kind: str = "too-busy", **headers: str) -> Said:
    body = {
        "type": f"urn:stillhouse:problem:{kind}",
        "title": "No",
        "status": status,
        "detail": "now",
    }
    return Said(status, json.dumps(body).encode(), {"Content-Type": "x", **headers})


def events(*told: tuple[str, bytes]) -> Said:
    blocks = [
        f"event: {kind}\ndata: {data.decode()}\nid: {n}-0\n\n"
        for n, (kind, data) in enumerate(told, 1)
    ]
    return Said(body="".join(blocks).encode(), headers={"Content-Type": "text/event-stream"})


RUNNING, SUCCEEDED = (
    ("status", JOB.replace(b"STATUS", said)) for said in (b"running", b"succeeded")
)


@pytest.mark.parametrize(
    "refused", [problem(429), problem(503), problem(502), Said(status=0), Said(cut=1)]
)
def test_what_may_be_answered_later_is_asked_again(refused: Said) -> None:
    script = Script(refused, refused, CLASSES)
    with scripted(script) as url, Stillhouse(url) as client:
        assert client.classes().classes == ["a", "b"]
    assert len(script.asked) == 3
    assert script.pauses()[0] >= 0.12
    assert script.pauses()[1] >= 0.25


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        (problem(404), Missing),
        (problem(422), Invalid),
        (problem(401), Unauthorised),
        (problem(403), Unauthorised),
        (problem(500), Unavailable),
        (problem(504), Unavailable),
        (problem(507), Unavailable),
        (Said(302, headers={"Location": "/elsewhere"}), BadAnswer),
        (Said(body=b"<html>"), BadAnswer),
        (Said(body=b'{"classes": 3}'), BadAnswer),
    ],
)
def test_what_will_not_change_is_told_at_once(refused: Said, kind: type[ClientError]) -> None:
    script = Script(refused)
    with scripted(script) as url, Stillhouse(url) as client, pytest.raises(kind):
        client.classes()
    assert len(script.asked) == 1


def test_retry_after_is_kept_in_seconds_and_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    script = Script(
        problem(429, **{"Retry-After": "1"}), problem(503, **{"Retry-After": soon}), CLASSES
    )
    with scripted(script) as url, Stillhouse(url) as client:
        client.classes()
    first, _ = script.pauses()
    assert 1.1 <= first < 1.6
    assert sum(script.pauses()) >= 1.1


def test_no_longer_is_waited_than_was_asked_for() -> None:
    script = Script(problem(429, **{"Retry-After": "60", "X-Request-ID": "r1"}))
    with scripted(script) as url, Stillhouse(url, retry_seconds=5) as client:
        with pytest.raises(Busy) as caught:
            client.classes()
        assert len(script.asked) == 1
        assert (caught.value.retry_after_seconds, caught.value.request_id) == (60, "r1")
        assert (caught.value.status, caught.value.kind, caught.value.detail) == (
            429,
            "too-busy",
            "now",
        )
    script = Script(problem(503))
    began = time.monotonic()
    with (
        scripted(script) as url,
        Stillhouse(url, retry_seconds=1) as client,
        pytest.raises(Unavailable),
    ):
        client.classes()
    assert time.monotonic() - began < 1.5
    assert 2 <= len(script.asked) <= 5


def test_a_service_that_is_away_is_unreachable_and_each_pause_is_told() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        told: list[float] = []
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        client = Stillhouse(url, retry_seconds=1, on_wait=lambda _, pause: told.append(pause))
        with client, pytest.raises(Unreachable, match=url):
            client.classes()
    assert told
    assert sum(told) <= 1


def test_asking_whether_it_is_ready_is_asked_once() -> None:
    script = Script(problem(503, "no-ensemble"))
    with scripted(script) as url, Stillhouse(url) as client, pytest.raises(Unavailable):
        client.ready()
    assert len(script.asked) == 1


def test_a_job_that_is_asked_for_again_has_the_same_key_and_another_call_another() -> None:
    queued = Said(202, JOB.replace(b"STATUS", b"queued"))
    script = Script(Said(status=0), problem(429), queued)
    with scripted(script) as url, Stillhouse(url, key="secret") as client:
        client.distill({"members": 2, "epochs": 9}, epochs=3)
        client.distill()
        client.distill(idempotency_key="mine")
    keys = [asked.headers["Idempotency-Key"] for asked in script.asked]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert keys[4] == "mine"
    assert json.loads(script.asked[2].body) == {"members": 2, "epochs": 3}
    assert {asked.headers["Authorization"] for asked in script.asked} == {"Bearer secret"}


def test_pictures_and_files_are_sent_whole_again(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(bytes(range(256)) * 4096)
    brought = Said(201, b'{"id": "e", "name": "", "network": "n", "members": 1, "classes": 2,'
                   b'"dataset": {}, "bytes": 1, "serving": false, "val_accuracy": 0,'
                   b'"test_accuracy": null, "created_at": ""}')  # fmt: skip
    script = Script(problem(503), brought)

    async def bring(url: str) -> None:
        async with AsyncStillhouse(url) as client:
            assert (await client.import_(tmp_path / "data.zip")).id == "e"

    with scripted(script) as url:
        with Stillhouse(url) as client:
            client.import_(tmp_path / "data.zip")
        anyio.run(bring, url)
    assert [len(asked.body) for asked in script.asked] == [2**20] * 3
    assert {asked.headers["Content-Type"] for asked in script.asked} == {"application/zip"}


def test_a_file_that_did_not_come_whole_is_asked_for_again_and_leaves_no_part(
    tmp_path: Path,
) -> None:
    script = Script(Said(body=b"x" * 1000, cut=10), Said(body=b"y" * 1000))

    async def fetch(url: str) -> None:
        async with AsyncStillhouse(url) as client:
            assert await client.export("e", tmp_path) == tmp_path / "e.zip"

    with scripted(script) as url:
        with Stillhouse(url) as client:
            assert client.export("e", tmp_path) == tmp_path / "e.zip"
        assert (tmp_path / "e.zip").read_bytes() == b"y" * 1000
        script.answers = [Said(body=b"z", cut=0), Said(body=b"z")]
        anyio.run(fetch, url)
    assert (tmp_path / "e.zip").read_bytes() == b"z"
    assert len(script.asked) == 4
    for answer, kind in ((problem(404), Missing), (Said(body=b"x" * 1000, cut=10), Unreachable)):
        with (
            scripted(Script(answer)) as url,
            Stillhouse(url, retry_seconds=0) as client,
            pytest.raises(kind),
        ):
            client.export("e", tmp_path / "none.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["e.zip"]


def test_following_goes_on_where_the_connection_was_lost() -> None:
    def answers() -> Script:
        return Script(
            events(RUNNING), Said(status=0), problem(503), events(("epoch", EPOCH), SUCCEEDED)
        )

    def seen(told: list[Progress], script: Script) -> None:
        first, second, third = told
        assert isinstance(first, StatusChanged)
        assert first.job.status == "running"
        assert isinstance(second, EpochFinished)
        assert (second.role, second.index, second.epoch) == ("member", 1, 2)
        assert isinstance(third, StatusChanged)
        assert third.job.finished
        assert [asked.headers.get("Last-Event-ID") for asked in script.asked] == [
            None,
            *["1-0"] * 3,
        ]
        assert {asked.path for asked in script.asked} == {"/jobs/j/events"}

    async def follow(url: str) -> list[Progress]:
        async with AsyncStillhouse(url) as client:
            return [progress async for progress in client.follow("j")]

    script = answers()
    with scripted(script) as url, Stillhouse(url) as client:
        seen(list(client.follow("j")), script)
    script = answers()
    with scripted(script) as url:
        seen(anyio.run(follow, url), script)


def test_following_passes_over_what_it_does_not_know_and_stops_with_the_job() -> None:
    unknown = ("weather", b'"sunny"')
    script = Script(events(unknown, SUCCEEDED, RUNNING))
    with scripted(script) as url, Stillhouse(url) as client:
        assert client.wait("j").status == "succeeded"
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(404, "job-not-found"), Missing),
        (events(("status", b"{}")), BadAnswer),
        (events(("epoch", b"nonsense")), BadAnswer),
        (Said(status=0), Unreachable),
        (events(RUNNING), Unreachable),
    ],
)
def test_following_ends_where_there_is_nothing_to_wait_for(
    answer: Said, kind: type[ClientError]
) -> None:
    with scripted(Script(answer)) as url, Stillhouse(url) as client, pytest.raises(kind):
        for _ in client.follow("j", patience_seconds=0.3):
            pass


def test_what_a_proxy_says_is_told_as_well_as_it_can_be() -> None:
    with (
        scripted(Script(Said(413, b"<h1>too large</h1>"))) as url,
        Stillhouse(url) as client,
        pytest.raises(Refused, match="too large") as caught,
    ):
        client.classes()
    assert (caught.value.status, caught.value.fields) == (413, [])


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://[", "http://a b"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ClientError):
        Stillhouse(url, retry_seconds=0).classes()


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(CLASSES)
    with scripted(script) as url:
        monkeypatch.setenv("STILLHOUSE_URL", url)
        monkeypatch.setenv("STILLHOUSE_API_KEY", "of the environment")
        with Stillhouse() as client:
            client.classes()
            assert client.url == url
    assert script.asked[0].headers["Authorization"] == "Bearer of the environment"
