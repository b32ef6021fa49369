"""A job as its owner sees it, and whether it wants more workers."""

from dataclasses import replace

import pytest

from app.record import Glance, finished_job, job_of
from app.schemas import Epoch, Job, NetworkProgress, PartStatus
from models.store import Store
from tests.tiny import RECIPE, publish
from training.promotion import Promotion
from training.recipe import EnsembleTeacher, Recipe, TrainedTeacher

TAUGHT = replace(RECIPE, teacher=(TrainedTeacher("resnet8", 4),), teacher_views=5)
OPERATIONS = {"teacher-0": 40.0, "answers-0": 20.0, "member-0": 20.0, "member-1": 20.0}


def piece(status: PartStatus, progress: float = 0.0, index: int = 0) -> NetworkProgress:
    return NetworkProgress(index=index, status=status, progress=progress, epochs=2)


DONE = piece("succeeded", 1.0)
BEGUN = {"teacher-0": DONE, "answers-0": DONE, "member-0": piece("running", 0.5)}
GLANCE = Glance(
    started_at="2026-01-01T00:00:00+00:00",
    operations=OPERATIONS,
    pieces=BEGUN,
    holders={"teacher-0": "a", "member-0": "a"},
    rates={"a": 2.0},
)


def job(glance: Glance, recipe: Recipe = TAUGHT) -> Job:
    created_at = "2026-01-01T00:00:00+00:00"
    return job_of({"id": "0" * 32, "recipe": recipe.to_dict(), "created_at": created_at}, glance)


# What its owner sees.


def test_a_job_that_nobody_has_touched_is_queued() -> None:
    seen = job(Glance())
    assert (seen.status, seen.progress, seen.eta_seconds, seen.workers) == ("queued", 0, None, 0)
    assert [(each.index, each.status, each.epochs) for each in seen.members] == [
        (0, "queued", 2),
        (1, "queued", 2),
    ]
    assert seen.teacher == NetworkProgress(epochs=4)
    assert (seen.plan, seen.started_at, seen.finished_at) == (None, None, None)


@pytest.mark.parametrize(
    ("teachers", "trained"),
    [
        ((), []),
        ((EnsembleTeacher("a"),), []),
        ((TrainedTeacher("resnet8", 3), EnsembleTeacher("a")), [0]),
        ((EnsembleTeacher("a"), TrainedTeacher("resnet8", 3), TrainedTeacher()), [1, 2]),
    ],
)
def test_the_teachers_that_are_trained_are_told(
    teachers: tuple[TrainedTeacher | EnsembleTeacher, ...], trained: list[int]
) -> None:
    seen = job(Glance(), replace(TAUGHT, teacher=teachers))
    assert [each.index for each in seen.teachers] == trained
    assert seen.teacher == (seen.teachers[0] if trained else None)


def test_progress_weighs_pieces_by_their_operations() -> None:
    seen = job(GLANCE)
    assert (seen.status, seen.workers) == ("running", 1)
    assert seen.progress == pytest.approx((40 + 20 + 10) / 100)
    assert [each.progress for each in seen.members] == [0.5, 0]


def test_the_time_left_goes_by_the_rates_of_all_workers() -> None:
    assert job(GLANCE).eta_seconds == 30 / 2
    assert job(replace(GLANCE, rates={"a": 2.0, "b": 1.0})).eta_seconds == 30 / 3
    assert job(replace(GLANCE, rates={"a": 0.0})).eta_seconds is None  # it has yet to begin


def test_what_a_worker_left_is_queued_again_with_all_it_had() -> None:
    seen = job(replace(GLANCE, rates={}, holders={}))
    assert (seen.status, seen.eta_seconds) == ("queued", None)
    assert seen.progress == pytest.approx(0.7)
    assert [(each.status, each.progress) for each in seen.members] == [
        ("queued", 0.5),
        ("queued", 0),
    ]


def test_a_finished_job_tells_of_every_network_also_what_a_killed_worker_did_not(
    store: Store,
) -> None:
    manifest = publish(store)
    epoch = Epoch(epoch=2, train_loss=0.5, val_accuracy=0.75, seconds=1.0)
    curves = {"member 0": [epoch.model_dump()]}
    seen = finished_job(job(GLANCE), manifest, curves, Promotion(True, "why"))
    assert [each.status for each in (*seen.teachers, *seen.members)] == ["succeeded"] * 3
    assert seen.members[0].curve == [epoch]
    assert (seen.members[0].epoch, seen.members[0].val_accuracy) == (2, 0.75)
    assert (seen.ensemble, seen.metrics) == (manifest.id, manifest.metrics)
    assert seen.promotion is not None
    assert seen.promotion.promoted


# Whether it wants more workers.


def test_one_worker_is_wanted_before_anything_is_planned() -> None:
    assert Glance().wants_workers
    assert not Glance(rates={"a": 0.0}).wants_workers


@pytest.mark.parametrize(
    ("done", "held", "open_"),
    [
        ([], [], 1),  # the teacher, and nothing that needs it
        ([], ["teacher-0"], 0),
        (["teacher-0"], [], 1),
        (["teacher-0"], ["answers-0"], 0),
        (["teacher-0", "answers-0"], [], 2),
        (["teacher-0", "answers-0"], ["member-0"], 1),
        (["teacher-0", "answers-0", "member-0"], ["member-1"], 0),
        ([*OPERATIONS], [], 1),  # the ensemble
        ([*OPERATIONS], ["ensemble-0"], 0),
    ],
)
def test_a_job_wants_a_worker_for_each_piece_that_could_be_begun(
    done: list[str], held: list[str], open_: int
) -> None:
    pieces = dict.fromkeys(done, DONE)
    for undecided in range(3):  # workers that hold nothing, and so will choose
        rates = {"holder": 1.0, **{f"undecided {n}": 0.0 for n in range(undecided)}}
        holders = dict.fromkeys([*done, *held], "holder") or {"elsewhere": "holder"}
        glance = Glance(operations=OPERATIONS, pieces=pieces, holders=holders, rates=rates)
        assert glance.wants_workers == (open_ > undecided)


def test_several_teachers_can_be_trained_at_once() -> None:
    operations = {"teacher-0": 1.0, "teacher-1": 1.0, "member-0": 1.0}
    glance = Glance(operations=operations, holders={"teacher-0": "a"}, rates={"a": 1.0})
    assert glance.wants_workers
    assert not replace(glance, holders={"teacher-0": "a", "teacher-1": "b"}).wants_workers


def test_a_dead_workers_piece_is_wanted_when_its_lease_has_run_out() -> None:
    alive = {"member-1": "b"}
    pieces = {**BEGUN, "member-1": piece("running", 0.5, index=1)}
    held = Glance(
        operations=OPERATIONS, pieces=pieces, holders={"member-0": "a", **alive}, rates={"b": 1.0}
    )
    assert not held.wants_workers
    assert replace(held, holders=alive).wants_workers
