"""What training takes of a machine's memory, and what there is: measured, not worked out."""

import os
import re
import resource
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from models.resnet import build_network
from training.recipe import Precision
from training.recompute import recompute_blocks

_BATCH_BYTES = 100
"""For each pixel of a batch: indices of the crop, and the picture as bytes and as floats."""

GPU_CONTEXT_BYTES = 600 * 2**20
"""What CUDA itself takes on a device, roughly."""

WORKER_BYTES = 750 * 2**20
"""Of a worker that has trained something, without pictures; measured on Linux."""

_one_at_a_time = threading.Lock()
"""Who looks at fake tensors; nothing says that several threads may."""


@cache
def training_bytes(
    network: str, size: int, classes: int, precision: Precision, recompute: bool
) -> tuple[int, int]:
    """Return bytes of a network's weights, gradients and momentum, and of each picture's pass.

    The second is measured: by how much the tensors that a forward pass saves for the backward pass
    grow from two pictures to four, and of those the largest twice more, for the gradients that flow
    back. With ``recompute``, what is kept between blocks and the most that any one block needs.

    The tensors are fake: they have shapes and no numbers, so whoever asks need not hold the largest
    network there is, nor wait for it.
    """
    with _one_at_a_time, FakeTensorMode():
        built = build_network(network, classes).train()
        weights = 3 * sum(p.numel() * p.element_size() for p in built.parameters())
        forward = recompute_blocks(built) if recompute else built
        two, four = (_saved_bytes(forward, pictures, size, precision) for pictures in (2, 4))
    casts = weights // 6 if precision == "bf16" else 0  # weights in half precision are saved too
    flowing = 2 * max(four) // 4
    if recompute:
        flowing = max(flowing, _block_bytes(network, size, classes, precision))
    each = (sum(four) - sum(two)) // 2 + flowing
    return weights + casts, each + _BATCH_BYTES * size**2


def _saved_bytes(
    forward: Callable[[Tensor], Tensor], pictures: int, size: int, precision: Precision
) -> list[int]:
    """Return the bytes of each tensor that a forward pass saves for the backward pass."""
    kept: dict[int, Tensor] = {}  # held, or a freed storage's address would be given out again

    def save(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        forward(torch.zeros(pictures, 3, size, size)).float().log_softmax(dim=1).sum()
    return [tensor.numel() * tensor.element_size() for tensor in kept.values()]


def _block_bytes(network: str, size: int, classes: int, precision: Precision) -> int:
    """Return what the largest block needs of each picture while it is computed again.

    Somewhat more than half of all activations belong to the first stage, whose pictures are the
    largest; beside those of one of its blocks there are as many gradients.
    """
    _, everything = training_bytes(network, size, classes, precision, recompute=False)
    with torch.device("meta"):
        first_stage = next(build_network(network, classes).stages.children())
    return int(1.2 * everything) // len(list(first_stage.children()))


def memory_of(device: torch.device) -> int:
    """Return the bytes a device has for this process, or what its container may use if less."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [physical]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        file = Path(name)
        if file.exists() and re.fullmatch(r"\d+", text := file.read_text().strip()):
            limits.append(int(text))
    return min(limits)


def training_device() -> torch.device:
    """Return where this machine trains."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resident_bytes(*, peak: bool = False) -> int:
    """Return the memory that this process holds, or the most that it has held so far."""
    status = Path("/proc/self/status")
    field = "VmHWM" if peak else "VmRSS"
    if status.exists() and (found := re.search(rf"{field}:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    # Elsewhere only the most is told, and of Linux that would include the parent's.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that there was no memory left, on whichever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and (
        # The last is all that oneDNN says when it finds no room for its scratch space.
        any(
            words in str(error)
            for words in ("can't allocate memory", "could not create a primitive")
        )
    )
