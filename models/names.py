"""What networks and ensembles may be called. Imports no PyTorch, so that clients can check too."""

import re

CIFAR_DEPTHS = (8, 14, 20, 26, 32, 44, 56, 110)
IMAGENET_DEPTHS = (18, 34, 50)
WIDEST = 10
"""Largest width multiplier of a CIFAR network."""

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""What an id may look like: one part of a path, without tricks."""


def network_names() -> tuple[str, ...]:
    """Return the names of all networks of width one, from small to large.

    Every CIFAR network also exists wider, as ``<name>x2`` to ``<name>x10``.
    """
    return tuple(f"resnet{depth}" for depth in (*CIFAR_DEPTHS, *IMAGENET_DEPTHS))


def is_network(name: str) -> bool:
    """Say whether ``models.resnet.build_network`` knows this name."""
    return parse_network(name) is not None


def parse_network(name: str) -> tuple[int, int] | None:
    """Return depth and width multiplier of a network; none if no network has this name."""
    match = re.fullmatch(r"resnet([1-9][0-9]{0,2})(?:x([1-9][0-9]?))?", name)
    if match is None:
        return None
    depth, width = int(match[1]), int(match[2] or 1)
    if depth in CIFAR_DEPTHS and 1 <= width <= WIDEST:
        return depth, width
    if depth in IMAGENET_DEPTHS and match[2] is None:
        return depth, 1
    return None
