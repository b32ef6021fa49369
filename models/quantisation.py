"""How large the numbers inside networks get: what 8-bit convolutions need to know.

Post-training quantisation (Jacob et al. 2018, arXiv 1712.05877, section 3): an input between 0 and
its largest value becomes one of 256 levels. The largest value found on training pictures is taken
as it is; cutting off even one value in a thousand costs three points of agreement
(docs/decisions.md).
"""

import torch
from torch import Tensor, nn

from models.resnet import ResNet

SPARED = ("stem",)
"""Convolutions that stay as they are: the first sees normalised pictures, which are not positive,
and costs little."""


@torch.inference_mode()
def measure_largest(network: ResNet, pictures: Tensor) -> dict[str, float]:
    """Return the largest input that each convolution of a network gets.

    Args:
        network: in evaluation mode, in float32.
        pictures: normalised, float32 [n, 3, s, s]; like those to come, and none that anything is
            measured on later.

    Returns:
        By the convolution's name, such as ``stages.0.0.first``; without those that are spared.
    """
    largest: dict[str, float] = {}
    watched = []
    for path, module in network.named_modules():
        name = path.removesuffix(".0")  # of the pair of a convolution and its BatchNorm
        if isinstance(module, nn.Conv2d) and name not in SPARED:

            def note(_: nn.Module, inputs: tuple[Tensor], __: Tensor, name: str = name) -> None:
                largest[name] = inputs[0].amax().item()

            watched.append(module.register_forward_hook(note))
    network(pictures)
    for handle in watched:
        handle.remove()
    return largest


def largest_of(found: list[dict[str, float]]) -> dict[str, float]:
    """Return the largest inputs over several networks of one shape."""
    return {name: max(each[name] for each in found) for name in found[0]}
