"""What a network sees next: pictures, each in its view, with labels and the teacher's answers.

The student is always shown the very view its teacher answered ("a good teacher is patient and
consistent", Beyer et al. 2022).

Shape legend: n pictures of a batch, p pictures to train on, v kept views of each, k classes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from training.augmentation import draw_views, show
from training.datasets import Pictures

Teach = Callable[[Tensor], Tensor]
"""Gives a teacher's logits, float32 [n, k], for uint8 pictures [n, 3, s, s]."""


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        images: uint8 [n, 3, s, s].
        labels: int64 [n].
        taught: the teacher's logits for these very pictures, float32 [n, k]; none without teacher.
    """

    images: Tensor
    labels: Tensor
    taught: Tensor | None

    def split(self, size: int) -> list["Batch"]:
        """Return the batch in pieces of at most so many pictures, all of about the same size."""
        count = len(self.labels)
        pieces = math.ceil(count / size)
        bounds = [count * piece // pieces for piece in range(pieces + 1)]
        return [self._rows(slice(start, end)) for start, end in pairwise(bounds)]

    def _rows(self, rows: slice) -> "Batch":
        taught = None if self.taught is None else self.taught[rows]
        return Batch(self.images[rows], self.labels[rows], taught)


class Views(Protocol):
    """Makes batches of the pictures to train on."""

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """Return these pictures (int64 [n], on the CPU), each in a random view."""


@dataclass(frozen=True)
class FreshViews:
    """A new view each time, which the teacher, if any, answers as it comes.

    Attributes:
        pictures: to train on, on the device of training.
        augmentation: how views are drawn.
        teach: the teacher, on the same device.
    """

    pictures: Pictures
    augmentation: str
    teach: Teach | None

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """Return these pictures (int64 [n], on the CPU), each in a random view."""
        images, labels = _take(self.pictures, rows)
        if self.augmentation != "none":
            size = images.shape[-1]
            images = show(images, draw_views(len(rows), self.augmentation, size, generator))
        return Batch(images, labels, None if self.teach is None else self.teach(images))


@dataclass(frozen=True)
class KeptViews:
    """One of a few views that the teacher has answered once, for all members and epochs.

    Attributes:
        pictures: to train on, on the device of training.
        views: how each view changes each picture, int8 [v, p, 3], on the CPU.
        answers: the teacher's logits, float16 [v, p, k], on the device of training.
    """

    pictures: Pictures
    views: Tensor
    answers: Tensor

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """Return these pictures (int64 [n], on the CPU), each in a random view."""
        images, labels = _take(self.pictures, rows)
        which = torch.randint(len(self.views), (len(rows),), generator=generator)
        shown = show(images, self.views[which, rows])
        device = self.answers.device
        taught = self.answers[which.to(device), rows.to(device)].float()
        return Batch(shown, labels, taught)


def _take(pictures: Pictures, rows: Tensor) -> tuple[Tensor, Tensor]:
    here = rows.to(pictures.images.device)
    return pictures.images[here], pictures.labels[here]


def draw_kept_views(count: int, pictures: Pictures, augmentation: str) -> Tensor:
    """Draw the views of ``KeptViews``: int8 [v, p, 3], always the same ones."""
    size, n = pictures.images.shape[-1], len(pictures)
    return torch.stack(
        [
            draw_views(n, augmentation, size, torch.Generator().manual_seed(view))
            for view in range(count)
        ]
    )
