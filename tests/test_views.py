"""Student and teacher see the same view of a picture, be it fresh or kept."""

import pytest
import torch
from torch import Tensor

from tests.lessons import LESSON
from training.augmentation import show
from training.views import Batch, FreshViews, KeptViews, draw_kept_views

TRAIN = LESSON.train
ROWS = torch.arange(40).flip(0)[:16]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Fresh views.


def test_a_teacher_answers_the_very_views_its_student_learns_from() -> None:
    asked: list[Tensor] = []

    def teach(images: Tensor) -> Tensor:
        asked.append(images)
        return images.float().mean(dim=(2, 3))

    batch = FreshViews(TRAIN, "crop_flip", teach).batch(ROWS, seeded())
    (seen,) = asked
    assert torch.equal(seen, batch.images)
    assert batch.taught is not None
    assert torch.equal(batch.taught, batch.images.float().mean(dim=(2, 3)))
    assert torch.equal(batch.labels, TRAIN.labels[ROWS])
    assert batch.images.dtype == torch.uint8
    assert not torch.equal(batch.images, TRAIN.images[ROWS]), "views are augmented"


def test_without_a_teacher_there_are_no_answers() -> None:
    assert FreshViews(TRAIN, "crop_flip", None).batch(ROWS, seeded()).taught is None


def test_fresh_views_follow_from_the_generator() -> None:
    views = FreshViews(TRAIN, "crop_flip", None)
    one, again, other = (views.batch(ROWS, seeded(seed)).images for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_without_augmentation_a_view_is_the_picture() -> None:
    batch = FreshViews(TRAIN, "none", None).batch(ROWS, seeded())
    assert torch.equal(batch.images, TRAIN.images[ROWS])


# Kept views.


def told_apart(views: int) -> Tensor:
    """Return answers that tell which view of which picture they are to, [v, p, 2]."""
    which = torch.arange(views).view(-1, 1, 1).expand(views, 40, 1)
    row = torch.arange(40).view(1, -1, 1).expand(views, 40, 1)
    return torch.cat([which, row], dim=2).to(torch.float16)


def test_what_the_student_sees_is_what_the_teacher_answered() -> None:
    drawn = draw_kept_views(5, TRAIN, "crop_flip")
    batch = KeptViews(TRAIN, drawn, told_apart(5)).batch(ROWS, seeded())
    assert batch.taught is not None
    assert batch.taught.dtype == torch.float32
    which, rows = batch.taught.long().unbind(dim=1)
    assert torch.equal(rows, ROWS)
    assert set(which.tolist()) == {0, 1, 2, 3, 4}
    assert torch.equal(batch.labels, TRAIN.labels[ROWS])
    for picture, view, row in zip(batch.images, which.tolist(), rows.tolist(), strict=True):
        answered = show(TRAIN.images[[row]], drawn[view, [row]])[0]
        assert torch.equal(picture, answered)


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_a_picture_has_always_the_same_views(augmentation: str) -> None:
    few, many = (draw_kept_views(count, TRAIN, augmentation) for count in (2, 5))
    assert few.shape == (2, 40, 3)
    assert torch.equal(few, many[:2])
    assert torch.equal(many, draw_kept_views(5, TRAIN, augmentation))


def test_views_differ_from_one_another() -> None:
    first, second = draw_kept_views(2, TRAIN, "crop_flip")
    assert not torch.equal(first, second)
    assert len(set(map(tuple, first.tolist()))) > 10


# A batch in pieces.


@pytest.mark.parametrize(
    ("n", "size", "pieces"),
    [(16, 16, [16]), (16, 99, [16]), (16, 8, [8, 8]), (129, 64, [43] * 3), (130, 65, [65, 65])],
)
def test_pieces_of_a_batch_are_of_about_one_size(n: int, size: int, pieces: list[int]) -> None:
    rows = torch.arange(n)
    whole = Batch(rows.view(-1, 1, 1, 1).expand(n, 3, 2, 2), rows, rows.float().view(-1, 1))
    split = whole.split(size)
    assert [len(piece.labels) for piece in split] == pieces
    for piece in split:
        assert piece.taught is not None
        assert torch.equal(piece.taught[:, 0], piece.labels.float())
        assert torch.equal(piece.images[:, 0, 0, 0], piece.labels)
    assert torch.equal(torch.cat([piece.labels for piece in split]), rows)


def test_pieces_without_a_teacher_have_no_answers() -> None:
    batch = FreshViews(TRAIN, "none", None).batch(ROWS, seeded())
    assert [piece.taught for piece in batch.split(8)] == [None, None]
