"""Members that learn together: from the same views, for the loss of their average."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.errors import JobCancelled
from models.resnet import build_network
from tests.lessons import (
    LESSON,
    MEMBERS,
    QUIET,
    THREE_EPOCHS,
    furthest,
    same,
    stopping_after,
    train_together,
)
from training.apart import Apart
from training.fit import side_by_side
from training.views import Batch, FreshViews

COUPLED = replace(THREE_EPOCHS, members=3, pooled_weight=0.5)
PICTURES = torch.randn(6, 9, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    """Two threads for three members, so that one thread takes more than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Seen(FreshViews):
    """Views that remember what they showed."""

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """Return the pictures, and keep them."""
        batch = super().batch(rows, generator)
        shown.append(batch.images)
        return batch


shown: list[Tensor] = []


def test_members_see_the_same_pictures_and_stay_different(tmp_path: Path) -> None:
    shown.clear()
    views = [Seen(LESSON.train, "crop_flip", None)] * 3
    trained = train_together(tmp_path, COUPLED, MEMBERS, views=views)
    assert len(shown) == 3 * 6, "six steps"
    for step in range(0, len(shown), 3):
        assert torch.equal(shown[step], shown[step + 1])
        assert torch.equal(shown[step], shown[step + 2])
    assert not torch.equal(shown[0], shown[3])
    assert furthest(trained[0].weights, trained[1].weights) > 0.1
    assert trained[0].weights["stem.1.num_batches_tracked"] == 6, "each batch is counted once"


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_what_they_learn_for_is_their_own_loss_and_that_of_their_average(
    weight: float, tmp_path: Path
) -> None:
    one_step = replace(COUPLED, epochs=1, batch_size=40, augmentation="none")
    recipe = replace(one_step, pooled_weight=weight)
    trained = train_together(tmp_path, recipe, MEMBERS)
    pictures, labels = LESSON.normalisation(LESSON.train.images), LESSON.train.labels
    with torch.inference_mode():
        logits = side_by_side(recipe, MEMBERS, 4).train()(pictures.repeat(1, 3, 1, 1))
    of_members = logits.unflatten(1, (3, 4)).transpose(0, 1)
    pooled = -of_members.softmax(dim=-1).mean(dim=0)[torch.arange(40), labels].log().mean()
    for member, own in zip(trained, of_members, strict=True):
        expected = (1 - weight) * cross_entropy(own, labels) + weight * pooled
        assert member.curve[0].train_loss == pytest.approx(expected.item(), abs=1e-4)


def test_interrupted_and_resumed_they_end_with_the_same_bits(tmp_path: Path) -> None:
    undisturbed = train_together(tmp_path / "one", COUPLED, MEMBERS)
    disturbed = replace(QUIET, check=stopping_after(4))
    with pytest.raises(JobCancelled):
        train_together(tmp_path / "two", COUPLED, MEMBERS, run=disturbed)
    resumed = train_together(tmp_path / "two", COUPLED, MEMBERS)
    assert all(map(same, undisturbed, resumed))
    assert [len(member.curve) for member in resumed] == [3, 3, 3]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_computed_twice_lead_to_the_same_bits(precision: str, tmp_path: Path) -> None:
    recipe = replace(COUPLED, precision=precision)  # type: ignore[arg-type]
    once = train_together(tmp_path / "once", recipe, MEMBERS)
    twice = train_together(tmp_path / "twice", recipe, MEMBERS, run=replace(QUIET, recompute=True))
    assert all(map(same, once, twice))


def test_run_apart_they_compute_what_they_do_side_by_side() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network("resnet8", 4, members=3).train()
        other = build_network("resnet8", 4, members=3).train()
    other.load_state_dict(network.state_dict())
    forward = Apart(network, lambda: build_network("resnet8", 4), recompute=False)
    gradient = torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
    apart, beside = forward(PICTURES), other(PICTURES)
    torch.testing.assert_close(apart, beside, atol=1e-4, rtol=1e-4)
    apart.backward(gradient)  # type: ignore[no-untyped-call]
    beside.backward(gradient)
    of_beside = dict(other.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            parameter.grad, of_beside[name].grad, atol=1e-3, rtol=1e-3, msg=name
        )
    assert furthest(network.state_dict(), other.state_dict()) < 1e-4, "statistics"
    with torch.inference_mode():
        apart, beside = forward(PICTURES), other(PICTURES)
        network.eval(), other.eval()
        torch.testing.assert_close(
            forward(PICTURES), other(PICTURES), atol=1e-4, rtol=1e-4, msg="evaluated"
        )
    assert torch.get_num_threads() == 2


def test_members_begin_with_the_weights_they_are_given(tmp_path: Path) -> None:
    begun = train_together(tmp_path / "first", replace(THREE_EPOCHS, members=3), MEMBERS)
    gentle = replace(COUPLED, epochs=1, learning_rate=1e-4, schedule="constant")
    after = train_together(
        tmp_path / "then", gentle, MEMBERS, initial=[member.weights for member in begun]
    )
    for before, member in zip(begun, after, strict=True):
        for name, tensor in member.weights.items():
            if name.endswith("weight"):
                assert furthest({name: tensor}, {name: before.weights[name]}) < 0.01
