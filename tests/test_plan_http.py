"""What a job would take: told before it is asked for, refused as it would be, and nothing kept."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from app.jobs import Jobs
from app.schemas import Epoch, NetworkProgress
from app.settings import Settings
from app.work import do_job
from models.store import Store
from tests.service import messages, post, problem_of, running, settings_for
from tests.tiny import RECIPE, write_dataset
from training.recipe import PRESETS, Recipe, TrainedTeacher

TINY = RECIPE.to_dict()
"""Trains on 72 of 96 pictures."""


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, data: Path) -> Settings:
    """A service that sees the data set ``noise``."""
    return settings_for(tmp_path, redis_url, data=data)


@pytest.fixture(scope="module")
def quiet(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, data: Path
) -> Iterator[tuple[httpx.Client, Path]]:
    """Such a service that no job is ever asked of, and its folder."""
    folder = tmp_path_factory.mktemp("plans")
    with running(settings_for(folder, redis_url, data=data)) as client:
        yield client, folder


def ask(client: httpx.Client, recipe: Any = None) -> dict[str, Any]:
    response = client.post("/jobs/plan", json=recipe or {})
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


def trained(jobs: Jobs, store: Store, data: Path, recipe: Recipe = RECIPE) -> str:
    """Do a job to its end and return its id."""
    job, _ = jobs.accept(recipe, None, max_unfinished=10)
    do_job(job.id, jobs, store, data, stopping=lambda: False)
    assert jobs.get(job.id).status == "succeeded"
    return job.id


def rewrite(jobs: Jobs, store: Store, id_: str, seconds: float) -> None:
    """Have each epoch of an ended job have taken so long."""

    def slowed(each: NetworkProgress) -> NetworkProgress:
        curve = [Epoch(**{**epoch.model_dump(), "seconds": seconds}) for epoch in each.curve]
        return each.model_copy(update={"curve": curve})

    job = jobs.get(id_)
    changes = {name: list(map(slowed, getattr(job, name))) for name in ("members", "teachers")}
    text = job.model_copy(update=changes).model_dump_json()
    Path(store.files.path(f"jobs/{id_}/outcome.json")).write_text(text)


def test_a_plan_is_what_the_job_is_told_to_have(
    client: httpx.Client, jobs: Jobs, store: Store, data: Path
) -> None:
    told = ask(client, TINY)
    assert told["recipe"] == TINY
    assert told["pictures"] == {"train": 72, "validation": 24}
    assert (told["estimate_seconds"], told["estimate_from"]) == (None, None)
    had = jobs.get(trained(jobs, store, data)).plan
    assert had is not None
    depends_on_the_process = {"shared_bytes", "peak_bytes"}
    assert told["plan"].keys() == had.keys()
    for name in had.keys() - depends_on_the_process:
        assert told["plan"][name] == had[name], name
    assert 2**29 < told["plan"]["shared_bytes"] < told["plan"]["peak_bytes"] < 2**31


def test_presets_and_overrides_are_resolved(quiet: tuple[httpx.Client, Path]) -> None:
    told = ask(quiet[0], {"preset": "strong", "members": 3})
    assert told["recipe"] == {**PRESETS["strong"].to_dict(), "members": 3}
    assert told["pictures"] == {"train": 45_000, "validation": 5_000}  # of cifar100, not yet there


@pytest.mark.parametrize(
    "recipe",
    [
        {"members": 0},
        {"nonsense": 1},
        {"momentum": 0.0, "nesterov": True},
        {"dataset": "nowhere"},
        {**TINY, "batch_size": 73},
        {**TINY, "teacher": {"ensemble": "nobody"}},
    ],
)
def test_it_is_refused_as_the_job_would_be(quiet: tuple[httpx.Client, Path], recipe: Any) -> None:
    client, _ = quiet
    plan, job = client.post("/jobs/plan", json=recipe), post(client, recipe)
    assert plan.status_code == job.status_code == 422
    assert plan.json() == job.json()
    assert plan.json()["errors"]


def test_nothing_is_kept_of_it(quiet: tuple[httpx.Client, Path], redis: Redis) -> None:
    client, folder = quiet
    ask(client)
    assert client.get("/jobs").json()["jobs"] == []
    assert messages(redis) == []
    assert not (folder / "store/jobs").exists()


def test_it_takes_milliseconds(quiet: tuple[httpx.Client, Path]) -> None:
    client, _ = quiet
    ask(client)
    started = time.perf_counter()
    ask(client, {"members": 7, "epochs": 70})
    assert time.perf_counter() - started < 0.5


def test_a_recipe_that_does_not_fit_says_so(tmp_path: Path, redis_url: str, data: Path) -> None:
    small = settings_for(tmp_path, redis_url, data=data, memory_limit_bytes=2**30)
    with running(small) as client:
        wide = {**TINY, "student": "resnet110x10"}
        told = problem_of(client.post("/jobs/plan", json=wide), 422, "not-enough-memory")
        assert "resnet110x10" in told["detail"]
        teacher = {**TINY, "teacher": {"student": "resnet110x10"}}
        problem_of(client.post("/jobs/plan", json=teacher), 422, "not-enough-memory")


def test_where_no_data_is_seen_there_is_no_plan(tmp_path: Path, redis_url: str) -> None:
    with running(settings_for(tmp_path, redis_url)) as client:
        told = ask(client, {"dataset": "elsewhere"})
    assert (told["plan"], told["pictures"], told["estimate_seconds"]) == (None, None, None)
    assert told["recipe"]["dataset"] == "elsewhere"


# The estimate.


def test_an_estimate_is_what_an_earlier_job_took(
    client: httpx.Client, jobs: Jobs, store: Store, data: Path
) -> None:
    id_ = trained(jobs, store, data)
    rewrite(jobs, store, id_, seconds=10.0)
    together = ask(client, TINY)["plan"]["together"]
    rounds = -(-2 // together)
    told = ask(client, TINY)
    assert told["estimate_seconds"] == pytest.approx(rounds * 2 * 10.0)
    assert id_ in told["estimate_from"]
    assert "10 s an epoch of 72 pictures" in told["estimate_from"]
    longer = ask(client, {**TINY, "epochs": 6, "members": 2 * together})
    assert longer["estimate_seconds"] == pytest.approx(2 * 6 * 10.0 * 2 / min(2, together) / rounds)


def test_another_network_is_scaled_by_its_operations_and_that_is_said(
    client: httpx.Client, jobs: Jobs, store: Store, data: Path
) -> None:
    rewrite(jobs, store, trained(jobs, store, data), seconds=10.0)
    same = ask(client, TINY)
    other = ask(client, {**TINY, "student": "resnet20"})
    assert other["estimate_seconds"] > 2 * same["estimate_seconds"]
    assert "scaled by operations to resnet20 in fp32" in other["estimate_from"]
    assert "scaled" not in same["estimate_from"]


def test_a_teacher_that_is_there_takes_no_time(
    client: httpx.Client, jobs: Jobs, store: Store, data: Path
) -> None:
    recipe = replace(RECIPE, teacher=(TrainedTeacher("resnet8", 2),), epochs=1)
    rewrite(jobs, store, trained(jobs, store, data, recipe), seconds=10.0)
    there = ask(client, recipe.to_dict())
    other = ask(client, replace(recipe, teacher=(TrainedTeacher("resnet8", 2, seed=1),)).to_dict())
    assert other["estimate_seconds"] == pytest.approx(there["estimate_seconds"] + 20.0)
    assert "teachers that need no training: 1" in there["estimate_from"]


def test_a_job_on_other_pictures_by_now_tells_nothing(
    tmp_path: Path, redis_url: str, jobs: Jobs, store: Store
) -> None:
    data = tmp_path / "data"
    write_dataset(data / "noise")
    trained(jobs, store, data)
    with running(settings_for(tmp_path, redis_url)) as client:
        assert ask(client, TINY)["estimate_seconds"] is not None
        write_dataset(data / "more", seed=1, train=12)
        for extra in (data / "more/train").rglob("*.png"):
            extra.rename(data / "noise/train" / extra.parent.name / f"more-{extra.name}")
        assert ask(client, TINY)["estimate_seconds"] is None
