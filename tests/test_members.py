"""A finished member leaves weights, what they answer, and its curve; damage to them is named."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import CorruptArtefact
from models.resnet import build_network
from models.store import Store
from tests.lessons import CPU
from tests.tiny import RECIPE, go_on, ignore
from training.calibration import fit_temperature
from training.checkpoints import Checkpoints
from training.datasets import load_dataset
from training.fit import Run, predict
from training.members import FinishedWeights, finished_member, read_predictions, train_members
from training.progress import Part
from training.recipe import Recipe, TrainedTeacher
from training.views import FreshViews
from training.work import Work, prepare

PARTS = [Part("member", 0), Part("member", 1)]


def loud(images: Tensor) -> Tensor:
    """Answer by colour, with great confidence, float32 [n, 4]."""
    red, green, blue = images.float().mean(dim=(2, 3)).unbind(dim=1)
    return torch.stack([blue, green, (red + green + blue) / 3, red], dim=1)


def trained(data: Path, store: Store, recipe: Recipe = RECIPE) -> Work:
    dataset = load_dataset("noise", data, store.files)
    run = Run(CPU, ignore, go_on)
    work = prepare(recipe, dataset, store, "job", run=run, limit_bytes=None)
    views = FreshViews(work.lesson.train, "crop_flip", loud if recipe.teacher else None)
    train_members(work, PARTS, lambda _: views, run)
    return work


@pytest.fixture
def work(data: Path, store: Store) -> Work:
    return trained(data, store)


def logits_of(work: Work, weights: Mapping[str, Tensor], split: str) -> Tensor:
    network = build_network(work.recipe.student, work.lesson.classes)
    network.load_state_dict(dict(weights))
    pictures = work.splits[split]
    return predict(network, pictures, work.lesson.normalisation, work.run)[0]


def finished_weights(work: Work) -> FinishedWeights:
    found = [finished_member(work, part) for part in PARTS]
    return FinishedWeights(work, [member for member in found if member])


def test_what_is_saved_is_what_the_saved_weights_answer(work: Work) -> None:
    weights = finished_weights(work)
    assert len(weights) == 2
    members = [member for part in PARTS if (member := finished_member(work, part))]
    for split in ("validation", "test"):
        saved = read_predictions(work, members, split)
        for one, of_member in zip(weights, saved, strict=True):
            answers = logits_of(work, one, split).log_softmax(dim=1)
            torch.testing.assert_close(of_member, answers, atol=1e-4, rtol=1e-4)


def test_a_finished_member_has_the_curve_and_weights_of_its_last_checkpoint(work: Work) -> None:
    for part, weights in zip(PARTS, finished_weights(work), strict=True):
        last = Checkpoints(work.store.files, work.member_folder(part)).latest(part)
        found = finished_member(work, part)
        assert last is not None
        assert found is not None
        assert found.curve == last.curve
        assert all(torch.equal(weights[key], tensor) for key, tensor in last.weights.items())


def test_standardised_members_are_tempered_into_their_classifier(data: Path, store: Store) -> None:
    recipe = replace(
        RECIPE,
        distillation_loss="standardised_kl",
        distillation_weight=1.0,
        teacher=(TrainedTeacher("resnet8", 1),),
        epochs=4,
    )
    work = trained(data, store, recipe)
    labels = work.lesson.validation.labels
    members = [member for part in PARTS if (member := finished_member(work, part))]
    saved = read_predictions(work, members, "validation")
    scales = []
    for part, weights, of_member in zip(PARTS, finished_weights(work), saved, strict=True):
        last = Checkpoints(work.store.files, work.member_folder(part)).latest(part)
        assert last is not None
        answers = logits_of(work, weights, "validation").log_softmax(dim=1)
        torch.testing.assert_close(of_member, answers, atol=1e-4, rtol=1e-4)
        assert fit_temperature(of_member, labels) == pytest.approx(1.0, abs=0.02)
        scale = last.weights["classifier.weight"] / weights["classifier.weight"]
        torch.testing.assert_close(scale, scale[0, 0].expand_as(scale))
        bias = last.weights["classifier.bias"] / weights["classifier.bias"]
        torch.testing.assert_close(bias, scale[0, 0].expand_as(bias))
        scales.append(scale[0, 0].item())
        others = last.weights.keys() - {"classifier.weight", "classifier.bias"}
        assert all(torch.equal(weights[key], last.weights[key]) for key in others)
    assert all(abs(scale - 1) > 0.05 for scale in scales)


def test_an_unfinished_member_is_none(work: Work) -> None:
    assert finished_member(work, Part("member", 2)) is None


@pytest.mark.parametrize("text", ["{}", '{"weights": {}}', '{"weights": 1}', "x"])
def test_a_damaged_account_of_a_member_is_named(text: str, work: Work) -> None:
    name = f"{work.member_folder(PARTS[1])}/finished.json"
    work.store.files.write(name, text.encode())
    with pytest.raises(CorruptArtefact, match=r"member-01/finished\.json: "):
        finished_member(work, PARTS[1])


def test_damaged_weights_and_predictions_are_named(work: Work) -> None:
    members = [member for part in PARTS if (member := finished_member(work, part))]
    for file in ("finished.safetensors", "test.safetensors"):
        work.store.files.write(f"{work.member_folder(PARTS[1])}/{file}", b"")
    with pytest.raises(CorruptArtefact, match=r"member-01/finished\.safetensors: "):
        list(finished_weights(work))
    with pytest.raises(CorruptArtefact, match=r"member-01/test\.safetensors: "):
        read_predictions(work, members, "test")
    assert read_predictions(work, members, "validation").shape == (2, 24, 4)
