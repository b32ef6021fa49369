"""The networks are those of the literature: same names, same shapes, same sizes."""

import pytest
import torch

from models.names import is_network, network_names
from models.resnet import ResNet, build_network, stack, unstack

PARAMETERS = {
    # 6n+2 with 16, 32, 64 channels and projections with BatchNorm, 100 classes. ResNet-14's count
    # is the one the seed work prints; chenyaofo's pytorch-cifar-models publishes 0.28M, 0.47M,
    # 0.67M and 0.86M for 20, 32, 44 and 56; He et al. 2016, table 6, 1.7M for 110. The others
    # follow by adding or removing blocks of 9 * (2 * c * c) + 4 * c parameters per stage.
    "resnet8": 83_892,
    "resnet14": 181_108,
    "resnet20": 278_324,
    "resnet26": 375_540,
    "resnet32": 472_756,
    "resnet44": 667_188,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    # Wider ones, stem of 32 channels: 1.23M and 7.43M in the distillation literature (SimKD, DKD).
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    # ImageNet's stages behind a 3x3 stem: weiaicunzai's pytorch-cifar100, 11.22M, 21.33M, 23.70M.
    "resnet18": 11_220_132,
    "resnet34": 21_328_292,
    "resnet50": 23_705_252,
}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_a_network_has_its_published_number_of_parameters(name: str, count: int) -> None:
    with torch.device("meta"):  # counts need shapes, not memory
        network = build_network(name, classes=100)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_every_named_network_has_its_count_in_the_table() -> None:
    assert set(network_names()) <= set(PARAMETERS)


@pytest.mark.parametrize("name", ["resnet8", "resnet14", "resnet8x2", "resnet18", "resnet50"])
def test_a_network_answers_one_logit_per_class(name: str) -> None:
    network = build_network(name, classes=7).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_a_32_pixel_picture_reaches_the_last_stage_as_8_by_8_or_4_by_4() -> None:
    for name, side in (("resnet14", 8), ("resnet18", 4)):
        network = build_network(name, classes=7).eval()
        with torch.inference_mode():
            features = network.stages(network.stem(torch.zeros(1, 3, 32, 32)))
        assert features.shape[-2:] == (side, side)


def test_pictures_of_other_sizes_are_taken_too() -> None:
    with torch.inference_mode():
        assert build_network("resnet8", classes=3).eval()(torch.zeros(1, 3, 48, 40)).shape == (1, 3)


@pytest.mark.parametrize(
    "name",
    [
        "resnet",
        "resnet9",
        "resnet14x0",
        "resnet14x11",
        "resnet18x2",
        "vgg8",
        "resnet14x",
        "resnet014",
        "resnet8x01",
        "resnet٨",
        "",
    ],
)
def test_an_unknown_network_is_refused_by_name(name: str) -> None:
    assert not is_network(name)
    with pytest.raises(ValueError, match="unknown network"):
        build_network(name, classes=10)


# Side by side.


def three_networks(name: str) -> tuple[ResNet, list[ResNet]]:
    """Return networks of other weights and running statistics, side by side and each alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        alone = [build_network(name, classes=5).eval() for _ in range(3)]
        for network in alone:
            for of, buffer in network.named_buffers():
                if of.endswith("running_mean"):
                    buffer.normal_(std=0.1)
                if of.endswith("running_var"):
                    buffer.uniform_(0.5, 1.5)
        beside = build_network(name, classes=5, members=3).eval()
    beside.load_state_dict(stack([network.state_dict() for network in alone]))
    return beside, alone


# resnet50 has the other kind of block; the wide one has more channels than its stem.
@pytest.mark.parametrize("name", ["resnet8", "resnet8x2", "resnet50"])
def test_networks_side_by_side_answer_as_each_alone(name: str) -> None:
    beside, alone = three_networks(name)
    pictures = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        answers = beside(pictures)
        expected = [one(own) for one, own in zip(alone, pictures.chunk(3, dim=1), strict=True)]
    assert answers.shape == (2, 15)
    torch.testing.assert_close(answers, torch.cat(expected, dim=1), rtol=1e-4, atol=1e-4)


def test_a_network_side_by_side_sees_its_own_pictures_only() -> None:
    beside, _ = three_networks("resnet8")
    pictures = torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(1))
    pictures.requires_grad_()
    (gradient,) = torch.autograd.grad(beside(pictures)[:, 5:10].sum(), pictures)
    assert gradient[:, 3:6].abs().sum() > 0
    assert torch.equal(gradient[:, :3], torch.zeros(2, 3, 8, 8))
    assert torch.equal(gradient[:, 6:], torch.zeros(2, 3, 8, 8))


def test_unstack_undoes_stack() -> None:
    beside, alone = three_networks("resnet8")
    for state, network in zip(unstack(beside.state_dict(), 3), alone, strict=True):
        expected = network.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], expected[key]) for key in state)
    again = stack(unstack(beside.state_dict(), 3))
    assert all(torch.equal(again[key], tensor) for key, tensor in beside.state_dict().items())


def test_members_side_by_side_have_the_parameters_of_each() -> None:
    with torch.device("meta"):
        count = [
            sum(parameter.numel() for parameter in build_network("resnet50", 10, m).parameters())
            for m in (1, 3)
        ]
    assert count[1] == 3 * count[0]
