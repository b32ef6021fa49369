"""Muon: momentum steps whose singular values are all made one.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". PyTorch's own
``torch.optim.Muon`` takes only matrices; convolutions, and members side by side, need the reshaping
done here.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

_STEPS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, tuned by Jordan et al. so that small singular values grow fast."""


class Muon(torch.optim.Optimizer):
    """Muon for the weights of convolutions.

    Every step has the same length, whatever the gradient's: the learning rate alone decides how
    far a step goes. Weight decay is decoupled from it (Loshchilov & Hutter 2019).

    Args:
        parameters: weights [m·out, in, height, width].
        lr: learning rate.
        momentum: of the gradients, looking ahead as Nesterov's does.
        weight_decay: what a step takes off each weight, as a share times the learning rate.
        members: networks side by side in each weight, m; each is stepped as if it were alone.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float,
        momentum: float,
        weight_decay: float,
        members: int = 1,
    ) -> None:
        super().__init__(parameters, {"lr": lr})
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._members = members

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure: nothing here is evaluated twice
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                momentum = state["momentum_buffer"]
                momentum.mul_(self._momentum).add_(weight.grad)
                ahead = weight.grad.add(momentum, alpha=self._momentum)
                turn = orthogonalise(ahead.reshape(self._members, -1, weight[0].numel()))
                # A matrix with more rows than columns has too few singular values for its size.
                rows, columns = turn.shape[1:]
                weight.mul_(1 - group["lr"] * self._weight_decay)
                length = group["lr"] * max(1, rows / columns) ** 0.5
                weight.add_(turn.reshape_as(weight), alpha=-length)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return the matrices [m, rows, columns] with all singular values brought near one.

    Newton and Schulz' iteration. Bfloat16 is precise enough for a direction, and what GPUs are fast
    in; matrices as small as these take a CPU a quarter of the time as they are.
    """
    a, b, c = _COEFFICIENTS
    x = matrices if matrices.device.type == "cpu" else matrices.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:  # the smaller of the two squares is cheaper
        x = x.mT
    for _ in range(_STEPS):
        square = x @ x.mT
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    done: Tensor = x.mT if is_tall else x
    return done.to(matrices.dtype)
