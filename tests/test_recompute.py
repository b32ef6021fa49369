"""Activations computed twice: the same steps, in less memory."""

import pytest
import torch
from torch import Tensor

from models.ensemble import Normalisation
from models.resnet import ResNet, build_network
from tests.tiny import noise
from training.recompute import recompute_blocks

PICTURES = Normalisation((0.5, 0.5, 0.5), (0.3, 0.3, 0.3))(noise(4)[..., :16, :16])


def a_network(name: str, members: int) -> ResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(name, 3, members).train().to(memory_format=torch.channels_last)


def train(network: ResNet, *, recompute: bool, precision: torch.dtype, steps: int = 2) -> int:
    """Train a few steps and return the most bytes that were kept for a backward pass."""
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    forward = recompute_blocks(network) if recompute else network
    most = 0
    own = {parameter.data_ptr() for parameter in network.parameters()}
    for _ in range(steps):
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor, kept: dict[int, Tensor] = kept) -> Tensor:
            if tensor.data_ptr() not in own:
                kept[tensor.data_ptr()] = tensor
            return tensor

        optimiser.zero_grad()
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16),
        ):
            logits = forward(PICTURES.repeat(1, network.members, 1, 1)).float()
        most = max(most, sum(tensor.nbytes for tensor in kept.values()))
        logits.log_softmax(dim=1)[:, 0].mean().neg().backward()
        optimiser.step()
    return most


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("name", "members"), [("resnet8", 1), ("resnet14", 1), ("resnet8", 3), ("resnet50", 1)]
)
def test_gradients_weights_and_statistics_are_the_same_to_the_last_bit(
    name: str, members: int, precision: torch.dtype
) -> None:
    plain, twice = a_network(name, members), a_network(name, members)
    kept = train(plain, recompute=False, precision=precision)
    kept_less = train(twice, recompute=True, precision=precision)
    ours, theirs = twice.state_dict(), plain.state_dict()
    for key, tensor in ours.items():
        assert torch.equal(tensor, theirs[key]), key
    for one, other in zip(twice.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)
    assert ours["stem.1.num_batches_tracked"] == 2, "a batch that is computed twice counts once"
    assert kept_less < kept / 2


def test_afterwards_the_network_is_the_one_it_was() -> None:
    network = a_network("resnet8", 1)
    names, buffers = list(network.state_dict()), {id(one) for one in network.buffers()}
    train(network, recompute=True, precision=torch.float32)
    assert list(network.state_dict()) == names
    assert {id(one) for one in network.buffers()} == buffers


def test_without_gradients_it_is_the_plain_forward_pass() -> None:
    network = a_network("resnet8", 2).eval()
    pictures = PICTURES.repeat(1, 2, 1, 1)
    with torch.inference_mode():
        assert torch.equal(recompute_blocks(network)(pictures), network(pictures))
