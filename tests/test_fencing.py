"""Whoever takes a piece shuts out all who took it before."""

from pathlib import Path

import pytest
from torch import ones

from models.errors import LeaseLost
from models.files import Files
from training.checkpoints import Checkpoint, Checkpoints
from training.fencing import Fence, take_fence
from training.progress import EpochDone, Part

PART = Part("member", 3)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def taken(files: Files) -> Fence:
    return take_fence(files, "runs/job/member-03")


def checkpoint(epochs: int, value: float = 1.0) -> Checkpoint:
    curve = tuple(
        EpochDone(part=PART, epoch=n, epochs=9, train_loss=1.0, val_accuracy=0.5, seconds=1.0)
        for n in range(1, epochs + 1)
    )
    return Checkpoint({"w": value * ones(2)}, {}, curve)


def test_the_last_who_took_it_may_write(files: Files) -> None:
    fences = [taken(files) for _ in range(12)]
    for fence in fences[:-1]:
        with pytest.raises(LeaseLost, match="runs/job/member-03 is another process's now"):
            fence.check()
    fences[-1].check()
    assert [fence.name for fence in fences] == sorted(fence.name for fence in fences)


def test_of_two_at_the_same_moment_one_may_write(files: Files) -> None:
    fences = [taken(files), Fence(files, "runs/job/member-03", "000001-ffffffff")]
    files.write("runs/job/member-03/fences/000001-ffffffff", b"")
    with pytest.raises(LeaseLost):
        fences[0].check()
    fences[1].check()


def test_what_was_deleted_is_nobodys(files: Files) -> None:
    fence = taken(files)
    files.delete("runs/job")
    with pytest.raises(LeaseLost):
        fence.check()
    taken(files)
    with pytest.raises(LeaseLost):
        fence.check()


def test_who_was_overtaken_saves_no_checkpoint(files: Files) -> None:
    before, after = (Checkpoints(files, "runs/job/member-03", taken(files)) for _ in range(2))
    with pytest.raises(LeaseLost):
        before.save(checkpoint(1))
    assert after.latest(PART) is None
    after.save(checkpoint(1))
    found = after.latest(PART)
    assert found is not None
    assert len(found.curve) == 1


def test_what_a_late_writer_still_writes_changes_nothing_newer(files: Files) -> None:
    class Late(Fence):
        """Was held up between its look and its write."""

        def check(self) -> None:
            pass

    first = taken(files)
    late = Checkpoints(files, first.folder, Late(files, first.folder, first.name))
    late.save(checkpoint(3, value=1.0))
    new = Checkpoints(files, first.folder, taken(files))
    resumed = new.latest(PART)
    assert resumed is not None
    assert len(resumed.curve) == 3
    for epoch in (4, 5):
        new.save(checkpoint(epoch, value=2.0))
    late.save(checkpoint(4, value=1.0))
    late.save(checkpoint(5, value=1.0))
    found = new.latest(PART)
    assert found is not None
    assert (len(found.curve), found.weights["w"].tolist()) == (5, [2.0, 2.0])
