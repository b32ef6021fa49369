"""The training loop."""

import hashlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from models.ensemble import Normalisation
from models.errors import TrainingDiverged
from models.resnet import ResNet, build_network, stack, unstack
from training.checkpoints import Checkpoint, Checkpoints, common_checkpoint, momentum_of, restore
from training.datasets import Pictures
from training.losses import cross_entropy, distillation_loss, pooled_cross_entropy
from training.member_threads import MemberThreads
from training.optimisers import build_optimisers, learning_rate_at
from training.progress import BatchDone, Check, EpochDone, Part, PartDone, Report, Resumed
from training.recipe import Recipe
from training.recompute import recompute_blocks
from training.views import Batch, Views

EVALUATION_BATCH = 500

_one_initialises = threading.Lock()
"""Initial weights come from torch's global generator, which threads share."""


@dataclass(frozen=True)
class Lesson:
    """What is learned from and measured on.

    Attributes:
        train: pictures to learn from, on the device of training.
        validation: pictures to measure on after each epoch.
        normalisation: of every network's input.
        classes: number of classes.
    """

    train: Pictures
    validation: Pictures
    normalisation: Normalisation
    classes: int


@dataclass(frozen=True)
class Run:
    """Where training happens, in how much memory, and who watches it.

    Attributes:
        device: where to train.
        report: is told about every batch and epoch.
        check: ends the training by raising; called before each batch.
        micro_batch: most pictures of a batch that go through a network at once; none for all.
            BatchNorm then sees so many, and the step still averages over the whole batch.
        recompute: whether activations inside blocks are computed twice and not kept.
        at_once: coupled networks that compute at the same moment, at most; none for all there are.
    """

    device: torch.device
    report: Report
    check: Check
    micro_batch: int | None = None
    recompute: bool = False
    at_once: int | None = None


def fit(
    recipe: Recipe,
    parts: Sequence[Part],
    lesson: Lesson,
    views: Sequence[Views],
    *,
    checkpoints: Sequence[Checkpoints],
    run: Run,
    initial: Sequence[Mapping[str, Tensor]] = (),
) -> None:
    """Train networks side by side, from their newest checkpoints or from the start, to the end.

    The weights of each depend on the recipe, its part, the pictures, the teacher and the kind of
    device, and on nothing else: not on how often the training was interrupted at which epoch, nor,
    but for rounding and where the recipe couples members, on the networks beside it. They are left
    in the last checkpoint.

    Args:
        recipe: how to train; its ``student`` is the network.
        parts: which of the job's networks these are, m of them.
        lesson: what to measure on.
        views: what each network sees.
        checkpoints: where each network's checkpoints are.
        run: where training happens and who watches it.
        initial: the state that each network begins with; none for fresh weights.

    Raises:
        TrainingDiverged: the loss or the logits are no longer finite.
        Stopped: from ``check``; finished epochs are kept in checkpoints.
    """
    device, pictures = run.device, len(lesson.train)
    network = side_by_side(recipe, parts, lesson.classes, initial).to(device)
    network.to(memory_format=torch.channels_last)
    optimisers = build_optimisers(recipe, network)
    curves: list[tuple[EpochDone, ...]] = [() for _ in parts]
    if found := common_checkpoint(checkpoints, parts):
        restore(found, network, optimisers)
        curves = [checkpoint.curve for checkpoint in found]
        for part, curve in zip(parts, curves, strict=True):
            run.report(Resumed(part, curve))
    forward = _forward_pass(network, recipe, lesson, run)

    steps_per_epoch = pictures // recipe.batch_size  # what is left over waits for its luck
    for epoch in range(len(curves[0]) + 1, recipe.epochs + 1):
        started = time.perf_counter()
        generators = [_generator(recipe, part, f"epoch {epoch}") for part in parts]
        orders = [torch.randperm(pictures, generator=generator) for generator in generators]
        total_loss = torch.zeros(len(parts), device=device)
        network.train()
        for step in range(steps_per_epoch):
            run.check()
            rows = slice(step * recipe.batch_size, (step + 1) * recipe.batch_size)
            batches = _next_batches(recipe, views, [order[rows] for order in orders], generators)
            share = (epoch - 1 + step / steps_per_epoch) / recipe.epochs
            for optimiser, peak in optimisers:
                optimiser.param_groups[0]["lr"] = peak * learning_rate_at(share, recipe)
                optimiser.zero_grad()
            size = run.micro_batch or recipe.batch_size
            for micro in zip(*(batch.split(size) for batch in batches), strict=True):
                with _autocast(recipe, device):
                    logits = _forward(forward, lesson.normalisation, micro)  # [m, n, k]
                loss = _losses(recipe, parts, logits, micro, share)  # [m]
                loss *= len(micro[0].labels) / recipe.batch_size
                # Members share no weights: each gets the gradient of its own loss, and m times
                # its part of the average's, which is as large as that of its own on average.
                loss.sum().backward()  # type: ignore[no-untyped-call]
                total_loss += loss.detach()
            for optimiser, _ in optimisers:
                optimiser.step()
            for part in parts:
                run.report(BatchDone(part, epoch, (step + 1) / steps_per_epoch))
        with _autocast(recipe, device):
            logits = predict(network, lesson.validation, lesson.normalisation, run, forward)
        seconds = time.perf_counter() - started
        weights = unstack(network.state_dict(), len(parts))
        momenta = momentum_of(optimisers, network)
        for i, part in enumerate(parts):
            train_loss = total_loss[i].item() / steps_per_epoch
            # The last step may have broken weights whose loss was still a number.
            if not (math.isfinite(train_loss) and logits[i].isfinite().all()):
                kept = f"epoch {len(curves[i])}" if curves[i] else "none"
                raise TrainingDiverged(
                    f"{part} ({recipe.student}) diverged in epoch {epoch}, loss {train_loss:.3g};"
                    f" last good checkpoint: {kept}"
                )
            right = logits[i].argmax(dim=1) == lesson.validation.labels
            accuracy = right.double().mean().item()
            done = EpochDone(part, epoch, recipe.epochs, train_loss, accuracy, seconds)
            curves[i] = (*curves[i], done)
            checkpoints[i].save(Checkpoint(weights[i], momenta[i], curves[i]))
            run.report(done)
    for part in parts:
        run.report(PartDone(part))


@torch.inference_mode()
def predict(
    network: ResNet,
    pictures: Pictures,
    normalisation: Normalisation,
    run: Run,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return the logits of each of the network's members, float32 [m, n, k] on the CPU.

    ``forward`` is another way to compute what the network does.
    """
    network.eval()
    forward = forward or network
    logits = []
    size = min(EVALUATION_BATCH, run.micro_batch or EVALUATION_BATCH)
    for start in range(0, len(pictures), size):
        run.check()
        batch = normalisation(pictures.images[start : start + size].to(run.device))
        answers = forward(batch.repeat(1, network.members, 1, 1))
        logits.append(answers.float().cpu().unflatten(1, (network.members, -1)).transpose(0, 1))
    return torch.cat(logits, dim=1)


def side_by_side(
    recipe: Recipe,
    parts: Sequence[Part],
    classes: int,
    initial: Sequence[Mapping[str, Tensor]] = (),
) -> ResNet:
    """Return the parts' networks as one; with fresh weights, each as if it were built alone."""
    alone = []
    with _one_initialises, torch.random.fork_rng(devices=[]):
        for part in parts:
            torch.manual_seed(_derive_seed(recipe.seed, part, "weights"))
            alone.append(build_network(recipe.student, classes))
            if recipe.initialisation == "dirac":
                _pass_inputs_on(alone[-1])
        network = build_network(recipe.student, classes, len(parts))
    network.load_state_dict(stack(initial or [member.state_dict() for member in alone]))
    return network


def _forward_pass(
    network: ResNet, recipe: Recipe, lesson: Lesson, run: Run
) -> Callable[[Tensor], Tensor]:
    """Return how the network's logits are computed: the result is the same but for rounding."""
    if recipe.is_coupled and run.device.type == "cpu":
        build = partial(build_network, recipe.student, lesson.classes)
        at_once = run.at_once or network.members
        return MemberThreads(
            network, build, check=run.check, at_once=at_once, recompute=run.recompute
        )
    return recompute_blocks(network) if run.recompute else network


def _pass_inputs_on(network: ResNet) -> None:
    """Let 3x3 convolutions begin as the identity on as many channels as come in."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            nn.init.dirac_(module.weight.data[: module.in_channels])


def _next_batches(
    recipe: Recipe,
    views: Sequence[Views],
    rows: Sequence[Tensor],
    generators: Sequence[torch.Generator],
) -> list[Batch]:
    """Return each member's next batch; coupled members with the same teacher share one."""
    if not recipe.is_coupled:
        of_members = zip(views, rows, generators, strict=True)
        return [view.batch(own, generator) for view, own, generator in of_members]
    shared: dict[int, Batch] = {}
    for view, of_member, generator in zip(views, rows, generators, strict=True):
        if id(view) not in shared:
            shared[id(view)] = view.batch(of_member, generator)
    return [shared[id(view)] for view in views]


def _forward(
    network: Callable[[Tensor], Tensor], normalisation: Normalisation, batches: Sequence[Batch]
) -> Tensor:
    """Return each member's logits for its own pictures, float32 [m, n, k]."""
    pictures = torch.cat([normalisation(batch.images) for batch in batches], dim=1)
    logits = network(pictures).float()  # [n, m·k]
    return logits.view(len(logits), len(batches), -1).transpose(0, 1)


def _losses(
    recipe: Recipe, parts: Sequence[Part], logits: Tensor, batches: Sequence[Batch], share: float
) -> Tensor:
    """Return each member's loss [m] after this share of all steps; coupled, with that of all."""
    of_members = zip(parts, logits, batches, strict=True)
    losses = torch.stack(
        [_loss(recipe.of_member(part.index), own, batch, share) for part, own, batch in of_members]
    )
    if recipe.is_coupled:
        pooled = pooled_cross_entropy(logits, batches[0].labels)
        losses = torch.lerp(losses, pooled, recipe.pooled_weight)
    return losses


def _loss(recipe: Recipe, logits: Tensor, batch: Batch, share: float) -> Tensor:
    """Return one member's loss after this share of all steps: (1-λ)·CE + λ·distillation loss."""
    loss = cross_entropy(logits, batch.labels, recipe.label_smoothing)
    if batch.taught is None:
        return loss
    taught = distillation_loss(
        recipe.distillation_loss, logits, batch.taught, batch.labels, recipe.temperature
    )
    fades = recipe.distillation_schedule == "fading"
    weight = recipe.distillation_weight * (1 - share if fades else 1)
    return torch.lerp(loss, taught, weight)


def _autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")


def _generator(recipe: Recipe, part: Part, purpose: str) -> torch.Generator:
    # Coupled members are averaged over the same views, and so draw what the first one does.
    who = Part(part.role) if recipe.is_coupled else part
    return torch.Generator().manual_seed(_derive_seed(recipe.seed, who, purpose))


def _derive_seed(seed: int, part: Part, purpose: str) -> int:
    """Return a seed of its own for each network and purpose, the same on every machine.

    A teacher is the same whichever place it has among a job's teachers.
    """
    index = part.index if part.role == "member" else 0
    digest = hashlib.sha256(f"{seed}/{part.role}/{index}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:7])  # 56 bits: torch takes a signed 64-bit integer
