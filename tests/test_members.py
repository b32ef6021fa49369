"""A finished member leaves weights, answers and its curve; a damaged one is unfinished."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import CorruptArtefact, LeaseLost
from models.resnet import build_network
from models.store import Store
from tests.lessons import CPU
from tests.tiny import RECIPE, go_on, ignore
from training.calibration import fit_temperature
from training.checkpoints import Checkpoints
from training.datasets import load_dataset
from training.fencing import take_fence
from training.fit import Run, predict
from training.members import FinishedWeights, finished_member, read_predictions, train_members
from training.progress import Event, Part
from training.publishing import publish
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
    finish(work, PARTS)
    return work


def finish(work: Work, parts: list[Part]) -> None:
    teach = loud if work.recipe.teacher else None
    views = FreshViews(work.lesson.train, "crop_flip", teach)
    train_members(work, parts, lambda _: views, work.run)


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
def test_a_member_whose_account_is_damaged_is_finished_again(
    text: str, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"{work.member_folder(PARTS[1])}/finished.json"
    work.store.files.write(name, text.encode())
    assert finished_member(work, PARTS[1]) is None
    assert "damaged member 1" in caplog.text
    assert "member-01/finished.json: " in caplog.text
    with pytest.raises(CorruptArtefact, match="a finished member is gone, or damaged"):
        publish(work)


@pytest.mark.parametrize("file", ["weights", "validation", "test"])
def test_a_member_with_a_damaged_file_is_finished_again_from_its_checkpoint(
    file: str, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    before = finished_member(work, PARTS[1])
    assert before is not None
    record = before.weights if file == "weights" else before.predictions[file]
    path = Path(work.store.files.path(f"{work.member_folder(PARTS[1])}/{record.file}"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert finished_member(work, PARTS[1]) is None
    assert f"member-01/{record.file}: its sha256 is" in caplog.text
    finish(work, [PARTS[1]])
    after = finished_member(work, PARTS[1])
    assert after is not None
    assert after.weights.sha256 == before.weights.sha256
    assert after.curve == before.curve


def test_who_was_overtaken_finishes_nothing(work: Work) -> None:
    folder = work.member_folder(PARTS[0])
    before = work.store.files.read(f"{folder}/finished.json")

    def overtake(_: Event) -> None:
        take_fence(work.store.files, folder)

    begun = replace(work.run, report=overtake)
    with pytest.raises(LeaseLost, match="another process"):
        finish(replace(work, run=begun), [PARTS[0]])
    assert work.store.files.read(f"{folder}/finished.json") == before
