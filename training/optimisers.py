"""What moves the weights, and how far at which moment."""

import math

import torch

from models.resnet import ResNet
from training.muon import Muon
from training.recipe import Recipe


def build_optimisers(recipe: Recipe, network: ResNet) -> list[tuple[torch.optim.Optimizer, float]]:
    """Return what moves the parameters, each with its learning rate at the peak."""
    by_muon = [p for p in network.parameters() if p.ndim == 4 and recipe.optimiser == "muon"]
    by_sgd = [p for p in network.parameters() if p.ndim != 4 or recipe.optimiser == "sgd"]
    sgd = torch.optim.SGD(
        by_sgd,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    if not by_muon:
        return [(sgd, recipe.learning_rate)]
    muon = Muon(
        by_muon,
        recipe.muon_learning_rate,
        recipe.momentum,
        recipe.muon_weight_decay,
        network.members,
    )
    return [(sgd, recipe.learning_rate), (muon, recipe.muon_learning_rate)]


def learning_rate_at(share: float, recipe: Recipe) -> float:
    """Return the learning rate after this share (0 to 1) of all steps, as a share of its peak.

    ``one_cycle`` warms up linearly from a 25th of the peak over the first fifth, then follows a
    cosine to zero (Smith & Topin 2018, with the cosine of Loshchilov & Hutter 2017). As a pure
    function of the step there is nothing of it to save in a checkpoint.
    """
    if recipe.schedule == "constant":
        return 1.0
    warm_up = 0.2
    if share < warm_up:
        return 1 / 25 + (24 / 25) * share / warm_up
    return 0.5 * (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up)))
