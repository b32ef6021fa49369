"""Cancelling: at once where nobody works on the job, else as soon as its worker hears of it."""

import httpx
from redis import Redis

from app.jobs import Jobs
from app.pieces import PREFIX
from app.tasks import sweep
from models.store import Store
from tests.service import accepted, problem_of, wait_until, worker_on


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
    with worker_on(jobs, id_) as worker:
        response = client.delete(f"/jobs/{id_}")
        assert (response.status_code, response.json()["status"]) == (202, "running")
        wait_until(lambda: worker.cancelled)


def test_a_cancel_whose_worker_died_ends_with_the_next_sweep(
    client: httpx.Client, jobs: Jobs, redis: Redis
) -> None:
    id_ = accepted(client)
    jobs.pieces.stay(id_, "a worker")
    assert client.delete(f"/jobs/{id_}").json()["status"] == "running"  # its worker is to stop
    jobs.pieces.leave(id_, "a worker", in_order=False)  # but is dead
    sweep(jobs, redis)
    assert client.get(f"/jobs/{id_}").json()["status"] == "cancelled"
    assert redis.keys(f"{PREFIX}{id_}*") == [f"{PREFIX}{id_}:events"]


def test_a_cancelled_job_leaves_no_checkpoints(client: httpx.Client, store: Store) -> None:
    id_ = accepted(client)
    store.files.write(f"runs/{id_}/recipe/member-00/epoch-00001.json", b"{}")
    assert client.delete(f"/jobs/{id_}").json()["status"] == "cancelled"
    assert not store.files.exists(f"runs/{id_}")
