"""The training loop."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.ensemble import Normalisation
from models.errors import TrainingDiverged
from models.resnet import ResNet, build_network
from training.augmentation import augment
from training.checkpoints import Checkpoint, Checkpoints, momentum_of, restore
from training.datasets import Pictures
from training.losses import cross_entropy, distillation_loss
from training.progress import BatchDone, Check, EpochDone, Part, PartDone, Report, Resumed
from training.recipe import Recipe

Teach = Callable[[Tensor], Tensor]
"""Gives a teacher's softened probabilities [n, k] for uint8 pictures [n, 3, s, s]."""

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Lesson:
    """What is learned from and measured on.

    Attributes:
        train: pictures to learn from, on the CPU.
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
    """Where training happens and who watches it.

    Attributes:
        device: where to train.
        report: is told about every batch and epoch.
        check: ends the training by raising; called before each batch.
    """

    device: torch.device
    report: Report
    check: Check


def fit(
    recipe: Recipe,
    part: Part,
    lesson: Lesson,
    teach: Teach | None,
    *,
    checkpoints: Checkpoints,
    run: Run,
) -> tuple[ResNet, tuple[EpochDone, ...]]:
    """Train one network from its newest checkpoint, or from scratch, to the recipe's last epoch.

    The weights depend on the recipe, the part, the pictures, the teacher and the kind of device,
    and on nothing else: not on how often the training was interrupted at which epoch.

    Args:
        recipe: how to train; its ``student`` is the network.
        part: which of the job's networks this is.
        lesson: what to learn from.
        teach: the teacher, on the same device; none to learn from labels alone.
        checkpoints: where this network's checkpoints are.
        run: where training happens and who watches it.

    Returns:
        The network in evaluation mode, and what each epoch reported.

    Raises:
        TrainingDiverged: the loss or the logits are no longer finite.
        Stopped: from ``check``; finished epochs are kept in checkpoints.
    """
    train, validation, normalisation = lesson.train, lesson.validation, lesson.normalisation
    device = run.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_derive_seed(recipe.seed, part, "weights"))
        network = build_network(recipe.student, lesson.classes)
    network.to(device).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    curve: tuple[EpochDone, ...] = ()
    if checkpoint := checkpoints.latest(part):
        restore(checkpoint, network, optimiser)
        curve = checkpoint.curve
        run.report(Resumed(part, curve))

    images, labels = train.images.to(device), train.labels.to(device)
    steps_per_epoch = len(images) // recipe.batch_size  # what is left over waits for its luck
    for epoch in range(len(curve) + 1, recipe.epochs + 1):
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(_derive_seed(recipe.seed, part, f"epoch {epoch}"))
        order = torch.randperm(len(images), generator=generator).to(device)
        total_loss = torch.zeros((), device=device)
        network.train()
        for step in range(steps_per_epoch):
            run.check()
            rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            batch = augment(images[rows], recipe.augmentation, generator)
            share = (epoch - 1 + step / steps_per_epoch) / recipe.epochs
            optimiser.param_groups[0]["lr"] = learning_rate_at(share, recipe)
            with _autocast(recipe, device):
                logits = network(normalisation(batch)).float()
            loss = cross_entropy(logits, labels[rows], recipe.label_smoothing)
            if teach is not None:
                taught = distillation_loss(logits, teach(batch), recipe.temperature)
                loss = torch.lerp(loss, taught, recipe.distillation_weight)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total_loss += loss.detach()
            run.report(BatchDone(part, epoch, (step + 1) / steps_per_epoch))
        train_loss = (total_loss / steps_per_epoch).item()
        with _autocast(recipe, device):
            logits = predict(network, validation, normalisation, run)
        # The last step may have broken weights whose loss was still a number.
        if not (math.isfinite(train_loss) and logits.isfinite().all()):
            reason = f"{part} ({recipe.student}) diverged in epoch {epoch}, loss {train_loss:.3g}"
            kept = f"epoch {len(curve)}" if curve else "none"
            raise TrainingDiverged(f"{reason}; last good checkpoint: {kept}")
        accuracy = (logits.argmax(dim=1) == validation.labels).double().mean().item()
        seconds = time.perf_counter() - started
        done = EpochDone(part, epoch, recipe.epochs, train_loss, accuracy, seconds)
        curve = (*curve, done)
        checkpoints.save(Checkpoint(network.state_dict(), momentum_of(optimiser, network), curve))
        run.report(done)
    run.report(PartDone(part))
    return network.eval().requires_grad_(False), curve


def learning_rate_at(share: float, recipe: Recipe) -> float:
    """Return the learning rate after this share (0 to 1) of all steps.

    ``one_cycle`` warms up linearly from a 25th of the peak over the first fifth, then follows a
    cosine to zero (Smith & Topin 2018, with the cosine of Loshchilov & Hutter 2017). As a pure
    function of the step there is nothing of it to save in a checkpoint.
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warm_up = 0.2
    if share < warm_up:
        return recipe.learning_rate * (1 / 25 + (24 / 25) * share / warm_up)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up)))


@torch.inference_mode()
def predict(network: ResNet, pictures: Pictures, normalisation: Normalisation, run: Run) -> Tensor:
    """Return the network's logits for all pictures, float32 [n, k] on the CPU."""
    network.eval()
    logits = []
    for start in range(0, len(pictures), EVALUATION_BATCH):
        run.check()
        batch = pictures.images[start : start + EVALUATION_BATCH].to(run.device)
        logits.append(network(normalisation(batch)).float().cpu())
    return torch.cat(logits)


def _autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")


def _derive_seed(seed: int, part: Part, purpose: str) -> int:
    """Return a seed of its own for each network and purpose, the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{part.role}/{part.index}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:7])  # 56 bits: torch takes a signed 64-bit integer
