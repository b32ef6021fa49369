"""Muon's steps have the gradient's directions, all of one length, for each member as alone."""

from math import sqrt

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from models.resnet import build_network
from tests.tiny import RECIPE
from training.checkpoints import Checkpoint, momentum_of, restore
from training.muon import Muon, orthogonalise
from training.optimisers import build_optimisers

SHAPES = [(16, 3, 3, 3), (8, 8, 3, 3), (32, 16, 1, 1), (16, 64, 1, 1)]
"""Wide and tall ones, and 1x1 convolutions."""


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 16, 27), (1, 64, 64), (2, 48, 16)])
def test_singular_values_become_nearly_one(shape: tuple[int, ...]) -> None:
    matrices = normal(*shape)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    spread = torch.linspace(1, 0.05, min(shape[1:])).expand(len(matrices), -1)
    done = orthogonalise(100 * u @ torch.diag_embed(spread) @ v)
    assert done.shape == matrices.shape
    assert done.dtype == torch.float32
    values = torch.linalg.svdvals(done)
    # Jordan et al. chose the iteration's coefficients for speed: it ends between 0.7 and 1.2, and
    # small values to begin with add a little to that.
    assert values.min() > 0.5
    assert values.max() < 1.3
    turned = u.mT @ done @ v.mT  # diagonal where directions stay
    torch.testing.assert_close(
        turned, torch.diag_embed(turned.diagonal(dim1=1, dim2=2)), atol=0.1, rtol=0
    )


def test_a_gradient_of_zero_has_no_direction() -> None:
    assert torch.equal(orthogonalise(torch.zeros(2, 4, 6)), torch.zeros(2, 4, 6))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
def test_members_side_by_side_step_as_each_alone(
    shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    weights = normal(3, *shape).unbind()
    beside = Parameter(torch.cat(weights).contiguous(memory_format=layout))
    alone = [Parameter(weight.clone(memory_format=layout)) for weight in weights]
    optimisers = Muon([beside], 0.1, 0.9, 0.02, members=3), Muon(alone, 0.1, 0.9, 0.02)
    for step in range(3):
        gradients = normal(3, *shape, seed=1 + step).unbind()
        beside.grad = torch.cat(gradients).contiguous(memory_format=layout)
        for weight, gradient in zip(alone, gradients, strict=True):
            weight.grad = gradient.contiguous(memory_format=layout)
        for optimiser in optimisers:
            optimiser.step()
    # The order of additions in products is the machine's.
    together = torch.cat([one.detach() for one in alone])
    torch.testing.assert_close(beside.detach(), together, atol=1e-5, rtol=0)
    assert (beside.detach() - torch.cat(weights)).abs().max() > 0.01


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_is_as_long_whatever_the_size_of_the_gradient(shape: tuple[int, ...]) -> None:
    steps = []
    for scale in (2.0**-10, 1.0, 2.0**10):  # which change no digit
        weight = Parameter(torch.zeros(shape))
        weight.grad = scale * normal(*shape)
        Muon([weight], lr=0.5, momentum=0.0, weight_decay=0.0).step()
        steps.append(weight.detach())
    rows, columns = shape[0], weight[0].numel()
    # A matrix with all singular values one has the norm √rank; tall ones are stretched.
    expected = 0.5 * sqrt(max(1, rows / columns)) * sqrt(min(rows, columns))
    for step in steps:
        assert step.norm().item() == pytest.approx(expected, rel=0.2)
        torch.testing.assert_close(step, steps[1], atol=0.01, rtol=0)
    gradient = normal(*shape)
    assert (steps[1] * gradient).sum() < 0, "downhill"


def test_weight_decay_is_decoupled_and_scaled_by_the_learning_rate() -> None:
    weight = Parameter(torch.full((4, 2, 3, 3), 10.0))
    weight.grad = torch.zeros_like(weight)
    Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((4, 2, 3, 3), 9.5))


def test_momentum_carries_the_direction_on() -> None:
    weight = Parameter(torch.zeros(4, 2, 3, 3))
    optimiser = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.0)
    weight.grad = normal(4, 2, 3, 3)
    optimiser.step()
    first = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    optimiser.step()
    torch.testing.assert_close(weight.detach(), 2 * first, atol=0.02, rtol=0)


def test_a_weight_without_a_gradient_stays() -> None:
    weight = Parameter(normal(4, 2, 3, 3))
    Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    assert torch.equal(weight.detach(), normal(4, 2, 3, 3))


# Among the recipe's optimisers.


def test_muon_moves_convolutions_and_sgd_the_rest() -> None:
    network = build_network("resnet8", 4, members=2)
    recipe = dict(RECIPE.to_dict(), optimiser="muon")
    del recipe["teacher"]
    (sgd, peak), (muon, muon_peak) = build_optimisers(type(RECIPE)(**recipe), network)
    assert (peak, muon_peak) == (RECIPE.learning_rate, RECIPE.muon_learning_rate)
    by_sgd, by_muon = ({id(p) for p in of.param_groups[0]["params"]} for of in (sgd, muon))
    names = {id(p): name for name, p in network.named_parameters()}
    assert not by_sgd & by_muon
    assert by_sgd | by_muon == set(names)
    convolutions = {name for name, p in network.named_parameters() if p.ndim == 4}
    assert {names[id_] for id_ in by_muon} == convolutions
    assert "classifier.weight" in {names[id_] for id_ in by_sgd}


@pytest.mark.parametrize("optimiser", ["sgd", "muon"])
def test_momentum_is_saved_for_each_member_and_restored(optimiser: str) -> None:
    recipe = type(RECIPE)(**{**RECIPE.to_dict(), "teacher": (), "optimiser": optimiser})

    def step(network: torch.nn.Module, seed: int) -> None:
        for index, parameter in enumerate(network.parameters()):
            parameter.grad = torch.empty_like(parameter).copy_(
                normal(*parameter.shape, seed=seed + index)
            )
        for one, _ in optimisers[id(network)]:
            one.step()

    first, second = (
        build_network("resnet8", 4, members=2).to(memory_format=torch.channels_last)
        for _ in range(2)
    )
    optimisers = {id(of): build_optimisers(recipe, of) for of in (first, second)}
    step(first, seed=0)
    momenta = momentum_of(optimisers[id(first)], first)
    assert momenta[0].keys() == dict(first.named_parameters()).keys()
    state = first.state_dict()
    halves = [{key: part(state[key], i) for key in state} for i in range(2)]
    saved = [
        Checkpoint({k: v.clone() for k, v in half.items()}, momentum, ())
        for half, momentum in zip(halves, momenta, strict=True)
    ]
    restore(saved, second, optimisers[id(second)])
    for network in (first, second):
        step(network, seed=100)
    for key, tensor in second.state_dict().items():
        assert torch.equal(tensor, first.state_dict()[key]), key


def part(tensor: Tensor, index: int) -> Tensor:
    return tensor.chunk(2)[index] if tensor.ndim else tensor
