"""The networks are those of the literature: same names, same shapes, same sizes."""

import pytest
import torch

from models.resnet import build_network, is_network, network_names

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
