"""Members that learn together on a CPU, where grouped convolutions are slow: each in a thread.

The weights stay those of one network with its members side by side (``models.resnet``), so that
optimisers and checkpoints are the same on every device. Here each member is a network whose
tensors are pieces of those, and threads take one member after the other, forward and backward.

Shape legend: m members, n pictures, c channels, h x w pixels, k classes.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from models.resnet import ResNet, unstack
from training.progress import Check
from training.recompute import without_counting

T = TypeVar("T")


class MemberThreads:
    """The forward pass of members side by side, the same as the network's own but for rounding.

    Args:
        network: m members side by side, on the CPU. Its tensors may change, but not be replaced.
        build: makes a network of one member, whose weights are of no interest.
        check: called before each member's pass; what it raises is raised.
        at_once: members that compute at the same moment, at most.
        recompute: whether nothing is kept of a forward pass but its logits, and all of it is
            computed again for the backward pass: memory for the members that compute, not for all.
    """

    def __init__(
        self,
        network: ResNet,
        build: Callable[[], ResNet],
        *,
        check: Check,
        at_once: int,
        recompute: bool,
    ) -> None:
        self.recompute = recompute
        self._network = network
        self._check = check
        self._at_once = at_once
        self._members = []
        for state in unstack(network.state_dict(), network.members):
            with torch.device("meta"):
                member = build()
            member.load_state_dict(state, assign=True)  # the very memory of the network's tensors
            for norm in _norms(member):
                norm.num_batches_tracked = None  # all members share it: it is counted once, below
            self._members.append(member)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return logits [n, m·k] for normalised pictures [n, m·3, h, w], each member's own."""
        if not torch.is_grad_enabled():
            return torch.cat(self.forward(pictures, is_kept=False), dim=1)
        if self._network.training:
            for norm in _norms(self._network):
                if norm.num_batches_tracked is not None:
                    norm.num_batches_tracked += 1
        logits: Tensor = _OneOperation.apply(self, pictures, *self._network.parameters())
        return logits

    def forward(self, pictures: Tensor, *, is_kept: bool) -> list[Tensor]:
        """Return each member's logits [n, k]; if kept, ``backward`` of a tensor can follow."""

        def run(member: ResNet, own: Tensor) -> Tensor:
            member.train(self._network.training)
            with torch.set_grad_enabled(is_kept):
                logits: Tensor = member(own)
            return logits

        return self._by_threads(run, self._members, pictures.chunk(len(self._members), dim=1))

    def backward(
        self, pictures: Tensor, kept: list[Tensor] | None, gradients: Tensor
    ) -> list[Tensor]:
        """Return the gradient of each of the network's parameters.

        Args:
            pictures: those of the forward pass, [n, m·3, h, w].
            kept: what it returned; none to compute it again.
            gradients: of the logits, [n, m·k].
        """
        count = len(self._members)

        def run(member: ResNet, own: Tensor, logits: Tensor | None, gradient: Tensor) -> None:
            if logits is None:
                with without_counting(member):
                    logits = member(own)
            logits.backward(gradient)

        own, of_own = pictures.chunk(count, dim=1), gradients.chunk(count, dim=1)
        self._by_threads(run, self._members, own, kept or [None] * count, of_own)
        stacked = []
        for of_members in zip(*(member.parameters() for member in self._members), strict=True):
            stacked.append(torch.cat([parameter.grad for parameter in of_members]))
            for parameter in of_members:
                parameter.grad = None
        return stacked

    def _by_threads(self, run: Callable[..., T], *of_members: Iterable[Any]) -> list[T]:
        """Run something for each member, on the cores that the calling thread has."""
        cores = torch.get_num_threads()
        most = min(cores, len(self._members))
        # Grad mode and precision are each thread's own.
        half, is_half = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")

        def begin() -> None:
            # However many compute: the number of threads changes the last bits.
            torch.set_num_threads(max(1, cores // most))

        def run_as_here(*args: Any) -> T:
            self._check()
            with torch.autocast("cpu", half, enabled=is_half):
                return run(*args)

        with ThreadPoolExecutor(min(most, self._at_once), "member", initializer=begin) as pool:
            try:
                return list(pool.map(run_as_here, *of_members))
            finally:
                torch.set_num_threads(cores)  # part of it is not the thread's own


class _OneOperation(torch.autograd.Function):
    """All of it as autograd sees it: one operation on pictures and the network's parameters."""

    @staticmethod
    def forward(ctx: Any, threads: MemberThreads, pictures: Tensor, *_parameters: Tensor) -> Tensor:
        logits = threads.forward(pictures, is_kept=not threads.recompute)
        ctx.threads, ctx.pictures = threads, pictures
        ctx.kept = None if threads.recompute else logits
        ctx.half, ctx.is_half = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")
        return torch.cat([of_member.detach() for of_member in logits], dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", ctx.half, enabled=ctx.is_half):
            found = ctx.threads.backward(ctx.pictures, ctx.kept, gradients[0])
        return None, None, *found


def _norms(network: ResNet) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
