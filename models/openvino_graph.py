"""A folded network as OpenVINO's graph, from uint8 pictures to probabilities.

Built operation by operation: OpenVINO's converter traces the network with ``torch.jit``, which is
deprecated, takes seconds, and fixes the number of pictures where members stand side by side.

Shape legend: m members, n pictures, s pixels a side, c channels, k classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import Node
from openvino import opset13 as ops
from torch import Tensor, nn

from models.ensemble import Normalisation
from models.resnet import ResNet

_ACTIVATION_LEVELS = 256
"""Of an unsigned byte; what goes into these convolutions comes from a ReLU."""
_WEIGHT_LEVELS = 255
"""Of a signed byte, symmetric around zero."""


def build_graph(
    networks: Sequence[ResNet],
    normalisation: Normalisation,
    shape: tuple[int, int],
    largest: Mapping[str, float] | None = None,
) -> ov.Model:
    """Return the graph of m members in all.

    Args:
        networks: folded (``models.folding``); one after the other, each with members side by side.
        normalisation: of their input.
        shape: of the pictures: how many, or -1 for any number, and their height and width in
            pixels.
        largest: if given, the convolutions it names compute in 8-bit integers, their inputs up to
            this value on one scale and the weights of each output channel on another (Jacob et
            al. 2018). Members share the inputs' scale: grouped convolutions with a scale for each
            member come out wrong in OpenVINO 2026.4, for all but the first member.

    Returns:
        A graph from uint8 [n, s, s, 3] to float32 [m, n, k].
    """
    pictures, size = shape
    images = ops.parameter([pictures, size, size, 3], np.uint8, name="images")
    mean, std = (
        np.array(values, np.float32).reshape(1, 1, 1, 3)
        for values in (normalisation.mean, normalisation.std)
    )
    x = ops.convert(images, "f32")
    x = ops.subtract(ops.multiply(x, _constant(1 / (255 * std))), _constant(mean / std))
    x = ops.transpose(x, _constant([0, 3, 1, 2]))
    answers = [_answers(x, network, largest or {}) for network in networks]  # [m, n, k] each
    return ov.Model([ops.concat(answers, 0)], [images], "ensemble")


def _answers(x: Node, network: ResNet, largest: Mapping[str, float]) -> Node:
    build = _Builder(network.members, largest)
    # Every member sees the same pictures, so here they are no groups but one wider convolution.
    x = ops.relu(build.convolution(x, "stem", network.stem, groups=1))
    for name, block in _blocks(network):
        *layers, shortcut = block.named_children()
        y = x
        for place, (part, layer) in enumerate(layers):
            y = build.convolution(ops.relu(y) if place else y, f"{name}.{part}", layer)
        part, layer = shortcut
        if not isinstance(layer, nn.Identity):
            x = build.convolution(x, f"{name}.{part}", layer)
        x = ops.relu(ops.add(y, x))
    features = ops.reduce_mean(x, _constant([2, 3]), keep_dims=False)  # [n, m·c]
    features = ops.reshape(features, _constant([0, network.members, -1]), special_zero=True)
    features = ops.transpose(features, _constant([1, 0, 2]))  # [m, n, c]
    classifier = network.classifier
    weight = classifier.weight.view(network.members, -1, classifier.in_features)  # [m, k, c]
    bias = classifier.bias.view(network.members, 1, -1)
    logits = ops.add(ops.matmul(features, _constant(weight), False, True), _constant(bias))
    return ops.softmax(logits, 2)


def _blocks(network: ResNet) -> Sequence[tuple[str, nn.Module]]:
    return [
        (f"stages.{i}.{j}", block)
        for i, stage in enumerate(network.stages)
        for j, block in enumerate(stage.children())
    ]


class _Builder:
    """Makes the nodes of convolutions.

    Args:
        members: m.
        largest: see ``build_graph``.
    """

    def __init__(self, members: int, largest: Mapping[str, float]) -> None:
        self._members = members
        self._largest = largest

    def convolution(
        self, x: Node, name: str, layer: nn.Module, *, groups: int | None = None
    ) -> Node:
        """Return a folded convolution's node."""
        folded = layer[0]  # type: ignore[index]  # a Sequential whose BatchNorm was folded away
        groups = groups or self._members
        weight = folded.weight.numpy()  # [m·out, in, height, width]
        if groups > 1:
            weight = weight.reshape(groups, -1, *weight.shape[1:])
        weights = _constant(weight)
        if name in self._largest:
            zero, most = _constant(np.float32(0)), _constant(np.float32(self._largest[name]))
            x = ops.fake_quantize(x, zero, most, zero, most, _ACTIVATION_LEVELS)
            reach = np.abs(weight).max(axis=(-3, -2, -1), keepdims=True)
            low, high = _constant(-reach), _constant(reach)
            weights = ops.fake_quantize(weights, low, high, low, high, _WEIGHT_LEVELS)
        convolve = ops.group_convolution if groups > 1 else ops.convolution
        stride, padding = list(folded.stride), list(folded.padding)
        y = convolve(x, weights, stride, padding, padding, [1, 1])
        return ops.add(y, _constant(folded.bias.view(1, -1, 1, 1)))


def _constant(value: Tensor | npt.ArrayLike) -> Node:
    array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    return ops.constant(np.ascontiguousarray(array))
