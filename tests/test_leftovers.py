"""What killed processes left half-written goes, and nothing else does."""

import os
import time
from pathlib import Path

from app.leftovers import UNTOUCHED_SECONDS, remove_leftovers
from app.settings import Settings
from tests.service import running, wait_until

LONG_AGO = time.time() - UNTOUCHED_SECONDS - 60


def written(path: Path, at: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half of it")
    os.utime(path, (at, at))
    return path


def test_what_is_old_and_half_written_goes(tmp_path: Path) -> None:
    old = written(tmp_path / ".received-abc.part", LONG_AGO)
    inside = written(
        tmp_path / "tiny-1.0123456789abcdef0123456789abcdef.part/member-00.safetensors", LONG_AGO
    )
    os.utime(inside.parent, (LONG_AGO, LONG_AGO))
    assert remove_leftovers(tmp_path, None) == [old, inside.parent]
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_may_be_writing_stays(tmp_path: Path) -> None:
    now = time.time()
    kept = [
        written(tmp_path / ".received-abc.part", now),
        written(
            tmp_path / "tiny-1.0123456789abcdef0123456789abcdef.part/member-01.safetensors", now
        ).parent,
        written(tmp_path / "pets.zip", LONG_AGO),
        written(tmp_path / "pets.part/train/cat/1.png", LONG_AGO).parents[2],
    ]
    for folder in (kept[1], kept[3], kept[3] / "train", kept[3] / "train/cat"):
        os.utime(folder, (LONG_AGO, LONG_AGO))
    assert remove_leftovers(tmp_path, tmp_path / "missing") == []
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_of_a_store_it_goes_wherever_it_is(tmp_path: Path) -> None:
    store, part = tmp_path / "store", "0123456789abcdef0123456789abcdef.part"
    deep = written(store / f"jobs/{'a' * 32}/request.json.{part}", LONG_AGO)
    folder = written(store / f"ensembles/tiny-1.{part}/manifest.json.{part}", LONG_AGO).parent
    os.utime(folder, (LONG_AGO, LONG_AGO))
    whole = written(store / f"jobs/{'a' * 32}/request.json", LONG_AGO)
    fresh = written(store / f"runs/{'a' * 32}/member-00/x.json.{part}", time.time())
    data = written(tmp_path / f"data/pets/train/cat/1.png.{part}", LONG_AGO)  # not ours to judge
    assert sorted(remove_leftovers(tmp_path / "data", store)) == sorted([deep, folder])
    assert [path for path in (whole, fresh, data) if not path.exists()] == []
    assert not deep.exists()
    assert not folder.exists()


def test_a_service_removes_them_when_it_starts(settings: Settings) -> None:
    received = written(settings.data / ".received-abc.part", LONG_AGO)
    beside = written(
        Path(settings.store)
        / "ensembles/tiny-1.0123456789abcdef0123456789abcdef.part/manifest.json",
        LONG_AGO,
    )
    os.utime(beside.parent, (LONG_AGO, LONG_AGO))
    with running(settings):
        wait_until(lambda: not (received.exists() or beside.parent.exists()))
