"""The residual networks: thin ones for CIFAR and the wide ones of ImageNet with a small stem.

Residual networks: He et al. 2016, "Deep Residual Learning for Image Recognition". Section 4.2 has
the CIFAR networks of depth 6n+2: a 3x3 stem and three stages of n basic blocks with 16, 32 and 64
channels at 32x32, 16x16 and 8x8. Here every shortcut that changes shape is a 1x1 projection with
BatchNorm (their option B), as in the distillation literature.

``resnet14x4`` is four times as wide: 64, 128 and 256 channels behind a stem of 32, the convention
of RepDistiller's ``resnet8x4`` (Tian et al. 2020).

``resnet18``, ``resnet34`` and ``resnet50`` are the networks of table 1 with a 3x3 stem of stride 1
and no max-pooling, so that a 32x32 picture reaches the last stage as 4x4 and not as one pixel.

Several networks of one shape can stand side by side in one, with grouped convolutions: channels of
member 0 first, then those of member 1, and so on (Wang et al. 2021, "HFTA", section 3). A tensor of
the state dict then holds the members' tensors one after another along its first dimension.

What BatchNorm puts out is needed by nothing but the next step, so that one overwrites it: less
memory to go through, and to have.

Shape legend: m members (1 unless said), n pictures, c channels, h x w pixels, k classes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from models.names import network_names, parse_network

_IMAGENET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}

Block = Callable[[int, int, int, int], nn.Module]
"""Makes a block from channels in, channels of the stage, stride, and members."""


def build_network(name: str, classes: int, members: int = 1) -> "ResNet":
    """Build a network with freshly drawn weights (from torch's global generator).

    Args:
        name: such as ``resnet14``, ``resnet8x4`` or ``resnet18``.
        classes: number of classes, k.
        members: how many of them side by side, m.

    Raises:
        ValueError: no network has this name.
    """
    parsed = parse_network(name)
    if parsed is None:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(network_names())}")
    depth, width = parsed
    if depth in _IMAGENET_BLOCKS:
        block: Block = _Bottleneck if depth == 50 else _BasicBlock
        stages = _IMAGENET_BLOCKS[depth]
        channels: tuple[int, ...] = (64, 128, 256, 512)
        return ResNet(block, stages, channels, stem=64, classes=classes, members=members)
    blocks, channels = ((depth - 2) // 6,) * 3, (16 * width, 32 * width, 64 * width)
    stem = 16 if width == 1 else 32
    return ResNet(_BasicBlock, blocks, channels, stem=stem, classes=classes, members=members)


def stack(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the state of members side by side from the state of each; ``unstack`` undoes it."""
    return {
        key: torch.cat([state[key] for state in states]) if first.ndim else first
        for key, first in states[0].items()
    }


def unstack(state: Mapping[str, Tensor], members: int) -> list[dict[str, Tensor]]:
    """Return the state of each member; scalars, such as BatchNorm's counter, are shared."""
    parts = {
        key: tensor.chunk(members) if tensor.ndim else (tensor,) * members
        for key, tensor in state.items()
    }
    return [{key: part[index] for key, part in parts.items()} for index in range(members)]


class ResNet(nn.Module):
    """A stem, stages of residual blocks, global average pooling and one linear layer.

    Args:
        block: makes one residual block.
        blocks: number of blocks of each stage; the first block of every stage but the first
            halves the height and width.
        channels: channels of each stage.
        stem: channels of the first convolution.
        classes: number of classes, k.
        members: how many networks side by side, m.
    """

    def __init__(
        self,
        block: Block,
        blocks: Sequence[int],
        channels: Sequence[int],
        *,
        stem: int,
        classes: int,
        members: int = 1,
    ) -> None:
        super().__init__()
        self.members = members
        self.stem = _convolution(3, stem, kernel=3, members=members)
        stages: list[nn.Module] = []
        width = stem
        for index, (count, planes) in enumerate(zip(blocks, channels, strict=True)):
            layers: list[nn.Module] = []
            for position in range(count):
                stride = 2 if index > 0 and position == 0 else 1
                layer = block(width, planes, stride, members)
                width = int(layer.out_channels)  # type: ignore[arg-type]  # both blocks set an int
                layers.append(layer)
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.classifier = _Classifier(width, classes, members)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # He et al. 2015, eq. 10, keeps gradients' variance
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits [n, m·k] for normalised pictures [n, m·3, h, w], each member's own."""
        features = self.stages(torch.relu_(self.stem(pictures)))  # [n, m·c, h/4, w/4] or h/8, w/8
        return self.classifier(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]


class _Classifier(nn.Linear):
    """A linear layer for each member: [n, m·k] from [n, m·c]."""

    def __init__(self, features: int, classes: int, members: int) -> None:
        super().__init__(features, members * classes)
        self.members = members

    def forward(self, features: Tensor) -> Tensor:
        if self.members == 1:
            return super().forward(features)
        each = features.view(len(features), self.members, -1).transpose(0, 1)  # [m, n, c]
        weight = self.weight.view(self.members, -1, self.in_features)  # [m, k, c]
        logits = torch.bmm(each, weight.transpose(1, 2))  # [m, n, k]
        return logits.transpose(0, 1).flatten(1) + self.bias


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016, figure 5, left)."""

    def __init__(self, channels: int, planes: int, stride: int, members: int) -> None:
        super().__init__()
        self.out_channels = planes
        convolution = partial(_convolution, members=members)
        self.first = convolution(channels, planes, kernel=3, stride=stride)
        self.second = convolution(planes, planes, kernel=3)
        self.shortcut = _shortcut(channels, planes, stride, members)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.relu_(self.first(x)))
        y += self.shortcut(x)
        return torch.relu_(y)


class _Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with four times the channels out (figure 5, right); stride at the 3x3."""

    def __init__(self, channels: int, planes: int, stride: int, members: int) -> None:
        super().__init__()
        self.out_channels = 4 * planes
        convolution = partial(_convolution, members=members)
        self.first = convolution(channels, planes, kernel=1)
        self.second = convolution(planes, planes, kernel=3, stride=stride)
        self.third = convolution(planes, self.out_channels, kernel=1)
        self.shortcut = _shortcut(channels, self.out_channels, stride, members)

    def forward(self, x: Tensor) -> Tensor:
        y = self.third(torch.relu_(self.second(torch.relu_(self.first(x)))))
        y += self.shortcut(x)
        return torch.relu_(y)


def _convolution(
    channels: int, out_channels: int, kernel: int, stride: int = 1, members: int = 1
) -> nn.Sequential:
    # BatchNorm has a bias of its own, so the convolution needs none.
    convolution = nn.Conv2d(
        members * channels,
        members * out_channels,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=members,
        bias=False,
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(members * out_channels))


def _shortcut(channels: int, out_channels: int, stride: int, members: int) -> nn.Module:
    if stride == 1 and channels == out_channels:
        return nn.Identity()
    return _convolution(channels, out_channels, kernel=1, stride=stride, members=members)
