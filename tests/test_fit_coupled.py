"""Members that learn together: from the same views, for the loss of their average."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.errors import JobCancelled
from models.resnet import ResNet, build_network, unstack
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
from tests.tiny import go_on
from training.fit import side_by_side
from training.member_threads import MemberThreads
from training.progress import Check
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
    views = [Seen(LESSON.train, "crop_flip", None) for _ in MEMBERS]  # as of three teachers
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


def networks() -> tuple[ResNet, ResNet]:
    """Return three members side by side, twice the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one, other = (build_network("resnet8", 4, members=3).train() for _ in range(2))
    other.load_state_dict(one.state_dict())
    return one, other


def in_threads(network: ResNet, *, recompute: bool = False, check: Check = go_on) -> MemberThreads:
    return MemberThreads(
        network, partial(build_network, "resnet8", 4), check=check, at_once=2, recompute=recompute
    )


@pytest.mark.parametrize("recompute", [False, True])
def test_in_threads_they_compute_what_they_do_side_by_side(recompute: bool) -> None:
    network, other = networks()
    forward = in_threads(network, recompute=recompute)
    gradient = torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
    apart, beside = forward(PICTURES), other(PICTURES)
    torch.testing.assert_close(apart, beside, atol=1e-4, rtol=1e-4)
    for logits in (apart, beside):
        logits.backward(gradient)
    of_beside = dict(other.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            parameter.grad, of_beside[name].grad, atol=1e-3, rtol=1e-3, msg=name
        )
    assert furthest(network.state_dict(), other.state_dict()) < 1e-4, "statistics"
    with torch.inference_mode():
        network.eval(), other.eval()
        torch.testing.assert_close(forward(PICTURES), other(PICTURES), atol=1e-4, rtol=1e-4)
    assert torch.get_num_threads() == 2


def test_threads_compute_in_the_precision_of_who_asks() -> None:
    forward = in_threads(networks()[0])
    with torch.autocast("cpu", torch.bfloat16):
        assert forward(PICTURES).dtype == torch.bfloat16
    assert forward(PICTURES).dtype == torch.float32


def test_between_two_members_of_one_step_the_work_may_end() -> None:
    forward = in_threads(networks()[0], check=stopping_after(1))
    with pytest.raises(JobCancelled):
        forward(PICTURES)


def test_a_step_follows_the_gradient_of_the_average_m_times_over(tmp_path: Path) -> None:
    recipe = replace(
        replace(COUPLED, epochs=1, batch_size=40, augmentation="none", pooled_weight=0.75),
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        schedule="constant",
        learning_rate=0.1,
    )
    stepped = train_together(tmp_path, recipe, MEMBERS)
    network = side_by_side(recipe, MEMBERS, 4).train()
    pictures, labels = LESSON.normalisation(LESSON.train.images), LESSON.train.labels
    of_members = network(pictures.repeat(1, 3, 1, 1)).unflatten(1, (3, 4)).transpose(0, 1)
    pooled = -of_members.softmax(dim=-1).mean(dim=0)[torch.arange(40), labels].log().mean()
    own = torch.stack([cross_entropy(logits, labels) for logits in of_members]).sum()
    (0.25 * own + 0.75 * 3 * pooled).backward()
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        after = {
            name: each - 0.1 * each.grad
            for name, each in parameters.items()
            if each.grad is not None
        }
    for member, begun, expected in zip(
        stepped, unstack(parameters, 3), unstack(after, 3), strict=True
    ):
        reached = {name: member.weights[name] for name in expected}
        assert furthest(reached, expected) < 5e-4  # rounding
        assert furthest(reached, begun) > 3e-3


def test_pieces_of_a_batch_are_seen_by_all_and_add_up(tmp_path: Path) -> None:
    recipe = replace(COUPLED, epochs=1, batch_size=40)
    run = replace(QUIET, micro_batch=20, recompute=True, at_once=1)
    members = train_together(tmp_path, recipe, MEMBERS, run=run)
    assert [member.weights["stem.1.num_batches_tracked"].item() for member in members] == [2, 2, 2]
    assert len({member.curve[0].train_loss for member in members}) == 3


def test_a_teacher_answers_what_all_of_them_see_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def teach(images: Tensor) -> Tensor:
        asked.append(len(images))
        return torch.zeros(len(images), 4)

    views = [FreshViews(LESSON.train, "crop_flip", teach)] * 3
    train_together(tmp_path, COUPLED, MEMBERS, views=views)
    assert asked == [16] * 6, "six steps"


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
