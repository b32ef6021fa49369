"""Validation pictures for data sets that come without any."""

import torch
from torch import Tensor

from models.errors import InvalidDataset
from training.datasets import Dataset, Pictures

SPLIT_SEED = 0
"""One draw for all jobs, so that their validation accuracies compare and no teacher has seen the
pictures its students are validated on. A larger fraction holds out what a smaller one does."""


def train_and_validation(dataset: Dataset, fraction: float) -> tuple[Pictures, Pictures]:
    """Return the pictures to train and to validate on; a data set's own validation goes first.

    Args:
        dataset: whose they are.
        fraction: of the training pictures to validate on, where there are no others.

    Raises:
        InvalidDataset: as ``split_validation``.
    """
    if dataset.validation is not None:
        return dataset.train, dataset.validation
    return split_validation(dataset.train, fraction, SPLIT_SEED)


def split_validation(pictures: Pictures, fraction: float, seed: int) -> tuple[Pictures, Pictures]:
    """Take some pictures of every class away from training, to validate on.

    The draw is stratified: each class gives ``round(fraction * n)`` of its n pictures, at least
    one, and keeps at least one. It depends on nothing but the pictures, their order (which
    ``load_dataset`` makes canonical) and the seed, so every worker on every machine draws the same.

    Args:
        pictures: n training pictures.
        fraction: the part to take, between 0 and 1, exclusive.
        seed: decides the draw.

    Returns:
        What is left to train on and what was taken to validate on, each in the order of
        ``pictures``.

    Raises:
        InvalidDataset: a class has fewer than two pictures; names it by its id.
        ValueError: the fraction is not between 0 and 1.
    """
    generator = torch.Generator().manual_seed(seed)
    taken = torch.zeros(len(pictures), dtype=torch.bool)
    for label in sorted(set(pictures.labels.tolist())):
        rows = _rows(pictures.labels == label)
        count = held_out(f"id {label}", len(rows), fraction)
        taken[rows[torch.randperm(len(rows), generator=generator)[:count]]] = True
    return pictures.select(_rows(~taken)), pictures.select(_rows(taken))


def held_out(label: str, pictures: int, fraction: float) -> int:
    """Return how many of a class's pictures are taken to validate on.

    Args:
        label: what messages call the class.
        pictures: n of its training pictures.
        fraction: the part to take, between 0 and 1, exclusive.

    Raises:
        InvalidDataset: there are fewer than two pictures; names the class.
        ValueError: the fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the fraction for validation must be between 0 and 1, not {fraction}")
    if pictures < 2:
        raise InvalidDataset(
            f"class {label} has a single training picture: at least two are needed to "
            "keep one for validation; add pictures, or bring a val folder"
        )
    return min(max(round(fraction * pictures), 1), pictures - 1)


def _rows(mask: Tensor) -> Tensor:
    return mask.nonzero().squeeze(1)
