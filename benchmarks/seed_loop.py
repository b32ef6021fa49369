"""The seed work's training loop, written faithfully, as the peer that training is measured against.

From what is known of stateun/MLDL2, Knowledge_Distillation: a DataLoader whose workers turn each
picture into a tensor and normalise it one by one, float32 in PyTorch's default memory layout, SGD,
and the teacher's forward pass for every batch of every member. The seed also evaluates the whole
train set after each epoch; that is left out here, so that the ratios compare the same work.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms  # type: ignore[import-untyped]

from training.datasets import Pictures

BATCH, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 128, 0.1, 0.9, 1e-4
TEMPERATURE, DISTILLATION_WEIGHT, LABEL_SMOOTHING = 4.0, 0.5, 0.1
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


class OneByOne(Dataset[tuple[Tensor, int]]):
    """Pictures as torchvision's CIFAR100 hands them out: each through PIL and its transforms."""

    def __init__(self, pictures: Pictures) -> None:
        self._arrays = pictures.images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels = pictures.labels.tolist()
        self._transform: Callable[[Image.Image], Tensor] = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._arrays[index])), self._labels[index]


def train_as_the_seed(
    student: nn.Module, teacher: nn.Module | None, pictures: Pictures, steps: int, workers: int
) -> float:
    """Train for so many steps of 128 pictures and return pictures a second.

    The clock starts after the first step, when the loader's workers run.
    """
    order = torch.utils.data.RandomSampler(
        OneByOne(pictures), replacement=True, num_samples=(steps + 1) * BATCH
    )
    loader = DataLoader(OneByOne(pictures), BATCH, sampler=order, num_workers=workers)
    optimiser = torch.optim.SGD(
        student.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    student.train()
    started = 0.0
    for step, (images, labels) in enumerate(loader):
        if step == 1:
            started = time.perf_counter()
        logits = student(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
        if teacher is not None:
            with torch.no_grad():
                softened = F.softmax(teacher(images) / TEMPERATURE, dim=1)
            log_softened = F.log_softmax(logits / TEMPERATURE, dim=1)
            taught = F.kl_div(log_softened, softened, reduction="batchmean") * TEMPERATURE**2
            loss = (1 - DISTILLATION_WEIGHT) * loss + DISTILLATION_WEIGHT * taught
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return steps * BATCH / (time.perf_counter() - started)
