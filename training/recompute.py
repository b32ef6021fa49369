"""Trading time for memory: activations inside blocks are computed again when they are needed.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". Only what goes into each block
is kept for the backward pass; gradients are the same, for about a third more operations.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.resnet import ResNet


def recompute_blocks(network: ResNet) -> Callable[[Tensor], Tensor]:
    """Return a forward pass that keeps only the inputs of the network's blocks."""

    def forward(pictures: Tensor) -> Tensor:
        x = _again(network.stem, pictures).relu()
        for stage in network.stages.children():
            for block in stage.children():
                x = _again(block, x)
        logits: Tensor = network.classifier(x.mean(dim=(2, 3)))
        return logits

    return forward


def _again(block: nn.Module, x: Tensor) -> Tensor:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), without_counting(block)

    result: Tensor = checkpoint(
        block, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
    )
    return result


@contextmanager
def without_counting(block: nn.Module) -> Iterator[None]:
    """Let BatchNorm count the batch in copies: the first pass has counted it already."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    counted = [dict(norm.named_buffers()) for norm in norms]
    for norm, buffers in zip(norms, counted, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        with torch.enable_grad():
            yield
    finally:
        for norm, buffers in zip(norms, counted, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
