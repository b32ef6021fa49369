"""Several workers share a run by claiming its pieces, and make the ensemble that one makes."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from models.ensemble import EnsembleManifest
from models.store import Store
from tests.tiny import RECIPE, go_on, ignore
from training.distill import distill
from training.progress import BatchDone, Event, Part
from training.recipe import TrainedTeacher

TEACHER, ENSEMBLE = Part("teacher"), Part("ensemble")
EVEN, ODD = Part("member", 0), Part("member", 1)
TAUGHT = replace(RECIPE, epochs=1, teacher_views=1, teacher=(TrainedTeacher("resnet8", epochs=1),))
PLAIN = replace(RECIPE, epochs=1)


class Worker:
    """A worker that may do some pieces of a run, and remembers what it asked for and did."""

    def __init__(self, store: Store, data: Path, *mine: Part) -> None:
        self._store, self._data, self._mine = store, data, mine
        self.asked: list[Part] = []
        self.did: set[Part] = set()

    def work(self) -> EnsembleManifest | None:
        """Do what is to be done and may be."""

        def claim(part: Part) -> bool:
            self.asked.append(part)
            return part in self._mine

        def report(event: Event) -> None:
            if isinstance(event, BatchDone):
                self.did.add(event.part)

        return distill(
            TAUGHT, self._data, self._store, "job", report=report, check=go_on, claim=claim
        )


@pytest.fixture
def worker(store: Store, data: Path) -> Callable[..., Worker]:
    return lambda *mine: Worker(store, data, *mine)


def test_workers_that_claim_in_turn_make_the_ensemble_of_one(
    worker: Callable[..., Worker], data: Path, tmp_path: Path
) -> None:
    answers = Part("answers")
    one, other = worker(TEACHER, EVEN, ENSEMBLE), worker(answers, ODD)
    assert other.work() is None, "its teacher is in other hands"
    assert one.work() is None, "the answers are in other hands"
    assert other.work() is None, "a member is in other hands"
    made = one.work()
    assert made is not None
    assert one.did == {TEACHER, EVEN}
    assert other.did == {answers, ODD}
    elsewhere = Store(tmp_path / "elsewhere", release=tmp_path / "none")
    alone = distill(TAUGHT, data, elsewhere, "job", report=ignore, check=go_on)
    assert alone is not None
    assert (made.id, made.members, made.metrics) == (alone.id, alone.members, alone.metrics)


def test_each_piece_is_asked_for_once(worker: Callable[..., Worker]) -> None:
    alone = worker(TEACHER, Part("answers"), EVEN, ODD, ENSEMBLE)
    assert alone.work() is not None
    assert alone.asked == [TEACHER, Part("answers"), EVEN, ODD, ENSEMBLE]


def test_who_may_not_put_it_together_leaves_it_to_others(
    worker: Callable[..., Worker], store: Store
) -> None:
    one, other = worker(TEACHER, Part("answers"), EVEN, ODD), worker(ENSEMBLE)
    assert one.work() is None
    assert store.ensembles() == []
    assert other.work() is not None
    assert other.asked == [ENSEMBLE], "nothing else was left to be done"
    assert other.did == set()


def _claiming(data: Path, root: Path, index: int) -> str | None:
    torch.set_num_threads(1)

    def claim(part: Part) -> bool:
        return part == Part("member", index) or part == ENSEMBLE

    store = Store(root / "store", release=root / "none")
    made = distill(PLAIN, data, store, "job", report=ignore, check=go_on, claim=claim)
    return made.id if made else None


def test_two_processes_at_once_make_the_ensemble_of_one(data: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        made = [
            doing.result()
            for doing in [pool.submit(_claiming, data, tmp_path, index) for index in (0, 1)]
        ]
    ids = {id_ for id_ in [*made, _claiming(data, tmp_path, 0)] if id_}
    elsewhere = Store(tmp_path / "elsewhere", release=tmp_path / "none")
    alone = distill(PLAIN, data, elsewhere, "job", report=ignore, check=go_on)
    assert alone is not None
    assert ids == {alone.id}
