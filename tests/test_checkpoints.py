"""A checkpoint is whole or it is passed over, and the last two are kept."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.files import Files
from training.checkpoints import Checkpoint, Checkpoints, common_checkpoint
from training.fencing import take_fence
from training.progress import EpochDone, Part

MEMBER = Part("member", 3)


def after(epochs: int) -> Checkpoint:
    curve = tuple(EpochDone(MEMBER, i + 1, 9, 1 / (i + 1), 0.5, 2.0) for i in range(epochs))
    return Checkpoint({"w": torch.full((2, 2), float(epochs))}, {"w": torch.ones(2, 2)}, curve)


def epochs_kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs/job/member-03"


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(Files(tmp_path), "runs/job/member-03")


def latest_epoch(checkpoints: Checkpoints) -> int:
    found = checkpoints.latest(MEMBER)
    if found is None:
        return 0
    assert found.weights["w"].tolist() == [[len(found.curve)] * 2] * 2
    return len(found.curve)


def test_at_first_there_is_none(checkpoints: Checkpoints) -> None:
    assert checkpoints.latest(MEMBER) is None


def test_a_checkpoint_comes_back_as_it_was(checkpoints: Checkpoints) -> None:
    saved = after(4)
    checkpoints.save(saved)
    found = checkpoints.latest(MEMBER)
    assert found is not None
    assert found.curve == saved.curve
    assert found.weights.keys() == found.momentum.keys() == {"w"}
    assert torch.equal(found.weights["w"], saved.weights["w"])
    assert torch.equal(found.momentum["w"], saved.momentum["w"])


def test_the_last_two_are_kept(checkpoints: Checkpoints, folder: Path) -> None:
    for epoch in range(1, 12):
        checkpoints.save(after(epoch))
        assert latest_epoch(checkpoints) == epoch
    assert epochs_kept(folder) == [
        f"epoch-{epoch:05d}.{kind}" for epoch in (10, 11) for kind in ("json", "safetensors")
    ]


def one_bit_of(kind: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = max(folder.glob(f"*.{kind}"))
        data = bytearray(path.read_bytes())
        data[-10] ^= 0x80
        path.write_bytes(data)

    return damage


def tensors_lost(folder: Path) -> None:
    max(folder.glob("*.safetensors")).unlink()


def json_emptied(folder: Path) -> None:
    max(folder.glob("*.json")).write_text("")


def json_of_something_else(folder: Path) -> None:
    max(folder.glob("*.json")).write_text('{"tensors": {"file": "x"}}')


@pytest.mark.parametrize(
    "damage",
    [
        one_bit_of("json"),
        one_bit_of("safetensors"),
        tensors_lost,
        json_emptied,
        json_of_something_else,
    ],
)
def test_a_damaged_newest_one_is_logged_and_the_one_before_used(
    damage: Callable[[Path], None],
    checkpoints: Checkpoints,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for epoch in (1, 2):
        checkpoints.save(after(epoch))
    damage(folder)
    with caplog.at_level(logging.WARNING):
        assert latest_epoch(checkpoints) == 1
    assert "damaged checkpoint of member 3, using the one before" in caplog.text
    checkpoints.save(after(2))
    assert latest_epoch(checkpoints) == 2


def test_when_both_are_damaged_there_is_none(checkpoints: Checkpoints, folder: Path) -> None:
    for epoch in (1, 2):
        checkpoints.save(after(epoch))
    for path in folder.glob("*.safetensors"):
        path.write_bytes(b"")
    assert checkpoints.latest(MEMBER) is None


def test_tensors_without_their_json_are_no_checkpoint(
    checkpoints: Checkpoints, folder: Path
) -> None:
    for epoch in (1, 2):
        checkpoints.save(after(epoch))
    (folder / "epoch-00002.json").unlink()
    assert latest_epoch(checkpoints) == 1


def test_epochs_are_ordered_by_number(checkpoints: Checkpoints) -> None:
    for epoch in (9, 10):
        checkpoints.save(after(epoch))
    assert latest_epoch(checkpoints) == 10


def test_the_curve_is_told_in_the_name_of_who_asks(checkpoints: Checkpoints) -> None:
    checkpoints.save(after(1))
    found = checkpoints.latest(Part("teacher"))
    assert found is not None
    assert found.curve == (replace(after(1).curve[0], part=Part("teacher")),)


# Of networks side by side.

TWO = [Part("member", 0), Part("member", 1)]


def beside(tmp_path: Path, *epochs: int) -> list[Checkpoints]:
    """Return the checkpoints of two networks, of which the first so many epochs are saved."""
    made = [Checkpoints(Files(tmp_path), str(part)) for part in TWO]
    for of, last in zip(made, epochs, strict=True):
        for epoch in range(1, last + 1):
            of.save(after(epoch))
    return made


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [(0, 0, 0), (1, 0, 0), (1, 1, 1), (2, 1, 1), (2, 3, 2), (3, 3, 3)],
)
def test_the_newest_epoch_that_all_have_is_common(
    first: int, second: int, common: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = common_checkpoint(beside(tmp_path, first, second), TWO)
    assert [len(one.curve) for one in found or []] == ([common] * 2 if common else [])
    assert not caplog.records


def test_an_epoch_that_was_done_twice_pushes_out_no_other(tmp_path: Path) -> None:
    first, second = beside(tmp_path, 4, 4)
    for _ in range(2):  # each time interrupted before the second network's was written
        first = Checkpoints(Files(tmp_path), str(TWO[0]), take_fence(Files(tmp_path), str(TWO[0])))
        first.save(after(5))
    found = common_checkpoint([first, second], TWO)
    assert [len(one.curve) for one in found or []] == [4, 4]


def test_without_an_epoch_that_all_have_there_is_none_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert common_checkpoint(beside(tmp_path, 4, 1), TWO) is None
    assert "no epoch that 2 networks all have" in caplog.text


def test_each_keeps_its_own_of_the_common_epoch(tmp_path: Path) -> None:
    found = common_checkpoint(beside(tmp_path, 2, 1), TWO)
    assert found is not None
    assert [one.curve[0].part for one in found] == TWO
