"""One disturbed job after the other on one cluster, and what came of each."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

from models.store import Store
from tests.chaos.cluster import Cluster, running
from tests.chaos.faults import FAULTS
from tests.chaos.oracle import Answers, Asker, judge, reference, repeated
from tests.service import epochs_told, wait_until
from tests.tiny import RECIPE, go_on, ignore, publish, write_dataset
from training.distill import distill

PATIENCE_SECONDS = 600.0

EXCUSES = {"fill disk": ("store-full",), "forbid writing": ("store-unavailable",)}
"""What a job may fail with, saying so; everything else must end as if nothing had been."""


@dataclass(frozen=True)
class Run:
    """A job that was disturbed.

    Attributes:
        seed: that all was drawn from.
        fault: its name.
        hit: what it hit; none where there was nothing.
        wrong: what was not right; nothing, if it ended right.
        answers: meanwhile.
        resumed_seconds: from the fault until a member was taken up again, if one was.
        repeated: how often an epoch was trained again, at most.
        lines: what API and workers printed meanwhile, each by itself.
        seconds: from the request to the end.
    """

    seed: int
    fault: str
    hit: str | None
    wrong: list[str]
    answers: Answers
    resumed_seconds: float | None
    repeated: int
    lines: list[str]
    seconds: float


class Chaos:
    """A cluster, the undisturbed result, and a way to run disturbed jobs.

    Args:
        cluster: ready.
        recipe: of all jobs.
        expected: id of the ensemble it comes to undisturbed.
        references: what each ensemble answers, by its id.
    """

    def __init__(
        self, cluster: Cluster, recipe: dict[str, Any], expected: str, references: dict[str, Any]
    ) -> None:
        self.cluster = cluster
        self._recipe = recipe
        self._expected = expected
        self._references = references

    def run(self, seed: int, name: str) -> Run:
        """Post a job, disturb it at a drawn moment, wait for its end and judge it."""
        rng = random.Random(seed)
        cluster = self.cluster
        away_before = len(cluster.down)
        printed = [(each, len(each.lines)) for each in cluster.commands]
        with Asker(cluster.api_port, self._references) as asker:
            began = time.monotonic()
            response = cluster.client.post("/jobs/distill", json=self._recipe)
            assert response.status_code == 202, response.text
            id_ = response.json()["id"]
            moment = rng.uniform(0.05, 0.7)
            self._wait(id_, lambda job: job["progress"] >= moment)
            before = self._look(id_)
            disturbed = time.monotonic()
            hit = FAULTS[name](cluster, id_, rng)
            resumed: list[float] = []

            def ended(job: dict[str, Any]) -> bool:
                if not resumed and _taken_up_again(before, job):
                    resumed.append(time.monotonic() - disturbed)
                return bool(job["finished_at"])

            job = self._wait(id_, ended)
        wrong = judge(job, self._expected, EXCUSES.get(name, ()))
        wrong += asker.answers.unexcused(cluster.down[away_before:])[:3]
        return Run(
            seed=seed,
            fault=name,
            hit=hit,
            wrong=wrong,
            answers=asker.answers,
            resumed_seconds=resumed[0] if resumed else None,
            repeated=self._repeated(id_),
            lines=[line for of, seen in printed for line in of.lines[seen:]],
            seconds=time.monotonic() - began,
        )

    def _look(self, id_: str) -> dict[str, Any] | None:
        with suppress(httpx.TransportError):
            response = self.cluster.client.get(f"/jobs/{id_}")
            if response.status_code == 200:
                job: dict[str, Any] = response.json()
                return job
            assert response.status_code == 503, response.text  # Valkey is away
        return None

    def _wait(self, id_: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        def seen() -> dict[str, Any] | None:
            job = self._look(id_)
            return job if job and (job["finished_at"] or until(job)) else None

        job = wait_until(seen, PATIENCE_SECONDS)
        assert job is not None
        until(job)
        return job

    def _repeated(self, id_: str) -> int:
        with Redis(port=self.cluster.valkey_port, decode_responses=True) as redis:
            return repeated(epochs_told(redis, id_))


def _taken_up_again(before: dict[str, Any] | None, job: dict[str, Any]) -> bool:
    """Say whether a member that had been begun was begun once more."""
    counts = [[member["attempts"] for member in each["members"]] for each in (before or job, job)]
    return any(0 < then < now for then, now in zip(*counts, strict=True))


@contextmanager
def chaos(folder: Path, *, lease_seconds: float, epochs: int) -> Iterator[Chaos]:
    """Give a cluster with an ensemble that serves, and what a job comes to by itself."""
    data = write_dataset(folder / "data" / "noise", train=24, test=8).parent
    recipe = replace(RECIPE, name="chaos", members=3, epochs=epochs, promote="never")
    alone = Store(folder / "alone", release=folder / "no-release")
    manifest = distill(recipe, data, alone, "run", report=ignore, check=go_on)
    assert manifest is not None
    with running(folder, data, lease_seconds) as cluster:
        store = Store(cluster.store)
        serving = publish(store, seed=1).id
        store.serve(serving)
        publish(store, seed=2)  # one that does not serve, to be damaged
        cluster.start()
        references = {serving: reference(cluster.store, serving)}
        yield Chaos(cluster, recipe.to_dict(), manifest.id, references)
