"""Whether members train side by side is measured where they will train, and stays as chosen."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.store import Store
from tests.benches import PLAN
from tests.tiny import RECIPE, go_on, ignore
from training.datasets import load_dataset
from training.fit import Run
from training.pace import faster_of, seconds_per_step
from training.work import Work, as_chosen_before, prepare

SIDE_BY_SIDE = replace(PLAN, together=3, side_by_side=True, threads=0)


def test_a_step_of_many_takes_longer_than_one_of_one() -> None:
    recipe = replace(RECIPE, student="resnet8")
    one, many = (
        seconds_per_step(recipe, members, batch=16, size=32, classes=4, device=torch.device("cpu"))
        for members in (1, 12)
    )
    assert 0 < one < many


def test_the_choice_is_between_the_plan_and_one_by_one_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        chosen = faster_of(SIDE_BY_SIDE, RECIPE, size=32, classes=4)
    assert chosen in (SIDE_BY_SIDE, replace(SIDE_BY_SIDE, together=1, side_by_side=False))
    assert "a step of one takes" in caplog.text
    assert "of 3 side by side" in caplog.text


def test_a_plan_that_is_not_side_by_side_is_not_measured(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        assert faster_of(PLAN, RECIPE, size=32, classes=4) == PLAN
    assert caplog.text == ""


@pytest.fixture
def work(data: Path, store: Store) -> Work:
    dataset = load_dataset("noise", data, store.files)
    run = Run(torch.device("cpu"), ignore, go_on)
    return prepare(RECIPE, dataset, store, "job", run=run, limit_bytes=None)


def test_the_plan_is_kept_with_the_run(work: Work) -> None:
    plan = work.plan_members()
    kept = json.loads(work.store.files.read(f"{work.folder}/plan-cpu.json"))
    assert kept == plan.to_dict()
    assert kept["peak_bytes"] == plan.peak_bytes <= plan.limit_bytes


def test_a_resumed_run_keeps_to_what_was_chosen() -> None:
    one_by_one = replace(SIDE_BY_SIDE, together=1, side_by_side=False)
    assert as_chosen_before(SIDE_BY_SIDE, one_by_one.to_dict()) == one_by_one
    assert as_chosen_before(SIDE_BY_SIDE, SIDE_BY_SIDE.to_dict()) == SIDE_BY_SIDE
    assert as_chosen_before(PLAN, PLAN.to_dict()) == PLAN
