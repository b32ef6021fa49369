"""Listing and looking up jobs: what is damaged or left over hides no other."""

import gc
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from app import job_files
from app.jobs import Jobs
from app.schemas import Job
from app.settings import Settings
from models.errors import JobNotFound
from models.store import Store
from tests.service import accepted, finish, post, problem_of, running

UNKNOWN = "0" * 32


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


def test_few_jobs_are_kept_in_memory_and_the_others_are_read_again(
    client: httpx.Client, store: Store, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_files, "MOST_KEPT", 2)
    jobs = Jobs(store, redis, lease_seconds=30)
    ids = [accepted(client, {"name": f"n{number}"}) for number in range(6)]
    for id_ in ids[:5]:
        finish(jobs, id_)
    for _ in range(2):
        assert [job.id for job in jobs.page(None, 10, None).jobs] == ids[::-1]
        assert [jobs.get(id_).recipe["name"] for id_ in ids] == [f"n{n}" for n in range(6)]
        assert [job.id for job in jobs.page("failed", 10, None).jobs] == ids[4::-1]
        assert jobs.unfinished() == ids[5:]
    gc.collect()
    held = {id(each) for each in gc.get_objects() if isinstance(each, Job) and each.id in ids}
    assert len(held) <= 2


def test_a_job_damaged_or_removed_after_it_was_listed_hides_no_other(
    client: httpx.Client, store: Store, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_files, "MOST_KEPT", 0)
    jobs = Jobs(store, redis, lease_seconds=30)
    damaged, whole = accepted(client), accepted(client)
    finish(jobs, damaged)
    assert [job.id for job in jobs.page(None, 10, None).jobs] == [whole, damaged]
    Path(store.files.path(f"jobs/{damaged}/outcome.json")).write_bytes(b"{")
    assert [job.id for job in jobs.page(None, 10, None).jobs] == [whole]
    shutil.rmtree(store.files.path(f"jobs/{whole}"))  # its owner wants it no longer
    assert jobs.page(None, 10, None).jobs == []
    with pytest.raises(JobNotFound):
        jobs.get(whole)


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
