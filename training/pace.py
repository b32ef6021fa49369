"""How long a training step takes, measured where it will run, to choose how networks train."""

import logging
import time
from dataclasses import replace

import torch

from models.ensemble import Normalisation
from training.fit import side_by_side
from training.losses import cross_entropy
from training.memory import MemoryPlan
from training.optimisers import build_optimisers
from training.progress import Part
from training.recipe import Recipe

_log = logging.getLogger(__name__)

_WARM_UP, _STEPS = 3, 5


def faster_of(plan: MemoryPlan, recipe: Recipe, *, size: int, classes: int) -> MemoryPlan:
    """Return the plan, or the same one by one if that turns out to be faster.

    Args:
        plan: of networks side by side; any other, and that of members that learn together, comes
            back as it is.
        recipe: how they are trained.
        size: of the pictures, in pixels.
        classes: number of classes.
    """
    if not plan.side_by_side or recipe.is_coupled:
        return plan
    device = torch.device(plan.device)
    batch = min(plan.micro_batch, recipe.batch_size)
    alone, together = (
        seconds_per_step(recipe, members, batch=batch, size=size, classes=classes, device=device)
        for members in (1, plan.together)
    )
    _log.info(
        "%s on %s: a step of one takes %.1f ms, of %d side by side %.1f ms",
        *(recipe.student, plan.device, alone * 1000, plan.together, together * 1000),
    )
    if together < plan.together * alone:
        return plan
    return replace(plan, together=1, side_by_side=False)


def seconds_per_step(
    recipe: Recipe, members: int, *, batch: int, size: int, classes: int, device: torch.device
) -> float:
    """Return the median time of a step of members side by side, on pictures of noise."""
    parts = [Part("member", index) for index in range(members)]
    network = side_by_side(recipe, parts, classes).to(device)
    network.to(memory_format=torch.channels_last)
    optimisers = build_optimisers(recipe, network)
    normalisation = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
    labels = torch.randint(0, classes, (batch * members,), device=device)
    seconds = []
    for _ in range(_WARM_UP + _STEPS):
        started = time.perf_counter()
        enabled = recipe.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            logits = network(normalisation(images).repeat(1, members, 1, 1)).float()
        loss = cross_entropy(logits.view(batch * members, classes), labels, 0.0)
        for optimiser, _ in optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser, _ in optimisers:
            optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return sorted(seconds[_WARM_UP:])[_STEPS // 2]
