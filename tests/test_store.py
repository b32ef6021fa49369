"""Ensembles are immutable, exist when their manifest does, and are checked when loaded."""

import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.errors import CorruptArtefact, EnsembleNotFound
from models.store import Store
from tests.tiny import noise, on_a_disk_of_64_kib, publish, same_weights


def ship(store: Store, release: Path, id_: str) -> None:
    """Move an ensemble out of the store and into the release."""
    shutil.move(store.files.path(f"ensembles/{id_}"), release / id_)


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert store.ensembles() == []
    assert store.serving() is None
    with pytest.raises(EnsembleNotFound, match="no ensemble has the id 'tiny-1'"):
        store.load("tiny-1")


def test_what_was_published_is_loaded(store: Store) -> None:
    manifest = publish(store, members=3)
    assert manifest.id.startswith("tiny-")
    assert store.manifest(manifest.id) == manifest
    assert store.ensembles() == [manifest]
    loaded = store.load(manifest.id)
    again = store.load(manifest.id)
    assert loaded.manifest == manifest
    assert len(loaded.members) == 3
    assert same_weights(loaded, again)
    torch.testing.assert_close(loaded(noise(2)), again(noise(2)))


def test_predictions_are_kept_with_the_ensemble(store: Store) -> None:
    id_ = publish(store).id
    kept = store.predictions(id_, "validation")
    assert kept.shape == (2, 5, 4)
    torch.testing.assert_close(kept.exp().sum(dim=2), torch.ones(2, 5))
    with pytest.raises(EnsembleNotFound, match="keeps no predictions for 'test'"):
        store.predictions(id_, "test")


def test_any_fsspec_url_is_a_store(tmp_path: Path) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}", release=tmp_path)
    manifest = publish(store)
    store.serve(manifest.id)
    assert store.ensembles() == [manifest]
    assert store.serving() == manifest.id
    assert len(store.load(manifest.id).members) == 2


def test_an_ensemble_exists_when_its_manifest_does(store: Store) -> None:
    id_ = publish(store).id
    path = Path(store.files.path(f"ensembles/{id_}/manifest.json"))
    path.rename(path.with_name("manifest.json.0123.part"))
    assert store.ensembles() == []
    for ask in (store.manifest, store.load, store.serve):
        with pytest.raises(EnsembleNotFound):
            ask(id_)


def test_the_same_ensemble_published_twice_is_there_once(store: Store) -> None:
    first = publish(store)
    second = publish(store, created_at="2026-02-02T00:00:00+00:00")
    assert second == first
    assert store.ensembles() == [first]


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"members": 3}, {"name": "other"}, {"dataset": {"name": "x", "digest": "y"}}],
)
def test_another_ensemble_gets_another_id(store: Store, change: dict[str, object]) -> None:
    first, second = publish(store), publish(store, **change)  # type: ignore[arg-type]
    assert first.id != second.id
    assert len(store.load(first.id).members) == 2


def test_the_same_weights_with_other_predictions_leave_the_first_ensemble_whole(
    store: Store,
) -> None:
    first = publish(store)
    weights = [dict(member.state_dict()) for member in store.load(first.id).members]
    other = store.predictions(first.id, "validation").flip(1)
    second = store.publish(replace(first, id=""), weights, {"validation": other})
    assert second.id != first.id
    assert not torch.equal(store.predictions(first.id, "validation"), other)
    assert torch.equal(store.predictions(second.id, "validation"), other)


def test_ensembles_are_listed_newest_first(store: Store) -> None:
    for seed, day in enumerate(("02", "03", "01")):
        publish(store, seed=seed, created_at=f"2026-01-{day}T00:00:00+00:00")
    days = [manifest.created_at[8:10] for manifest in store.ensembles()]
    assert days == ["03", "02", "01"]


@pytest.mark.parametrize(
    "id_",
    [
        "",
        ".",
        "..",
        "../ensembles/{}",
        "{}/../{}",
        "./{}",
        "{}/",
        "/{}",
        "{}\n",
        "{}\0",
        "-{}",
        "é",
    ],
)
def test_an_id_with_tricks_finds_nothing(store: Store, id_: str) -> None:
    id_ = id_.replace("{}", publish(store).id)
    for ask in (store.manifest, store.load, store.serve):
        with pytest.raises(EnsembleNotFound):
            ask(id_)
    with pytest.raises(EnsembleNotFound):
        store.predictions(id_, "validation")


# Which one serves.


def test_a_chosen_ensemble_serves(store: Store) -> None:
    one, other = publish(store), publish(store, seed=1)
    for id_ in (one.id, other.id, one.id):
        store.serve(id_)
        assert store.serving() == id_


def test_an_unknown_ensemble_cannot_be_made_to_serve(store: Store) -> None:
    id_ = publish(store).id
    store.serve(id_)
    with pytest.raises(EnsembleNotFound):
        store.serve("unknown")
    assert store.serving() == id_


def test_until_one_is_chosen_the_newest_release_of_most_members_serves(
    store: Store, tmp_path: Path
) -> None:
    old = publish(store, created_at="2026-01-01T00:00:00+00:00")
    new = publish(store, seed=1, created_at="2026-01-03T00:00:00+00:00")
    for manifest in (old, new):
        ship(store, tmp_path / "release", manifest.id)
    (tmp_path / "release/README.md").write_text("not an ensemble")
    mine = publish(store, seed=2, created_at="2026-01-05T00:00:00+00:00")
    assert store.serving() == new.id
    assert [manifest.id for manifest in store.ensembles()] == [mine.id, new.id, old.id]
    assert len(store.load(old.id).members) == 2
    store.serve(mine.id)
    assert store.serving() == mine.id
    store.serve(old.id)
    assert store.serving() == old.id


def test_a_release_that_lies_in_the_store_too_is_listed_once(store: Store, tmp_path: Path) -> None:
    manifest = publish(store)
    ship(store, tmp_path / "release", manifest.id)
    publish(store)
    assert store.ensembles() == [manifest]


def test_a_serving_file_without_an_ensemble_is_named(store: Store) -> None:
    store.files.write("serving.json", b"{}")
    with pytest.raises(CorruptArtefact, match=r"serving\.json: names no ensemble"):
        store.serving()


# What is checked.


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def removed(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [one_bit, removed, emptied])
def test_a_damaged_member_is_named(store: Store, damage: Callable[[Path], None]) -> None:
    id_ = publish(store).id
    damage(Path(store.files.path(f"ensembles/{id_}/member-01.safetensors")))
    with pytest.raises(CorruptArtefact, match=rf"{id_}/member-01\.safetensors: "):
        store.load(id_)


def test_members_for_other_classes_than_the_manifest_says_are_named(store: Store) -> None:
    id_ = publish(store, classes=("a", "b")).id
    with pytest.raises(CorruptArtefact, match=r"member-00\.safetensors: classifier"):
        store.load(id_)


def test_a_damaged_manifest_is_named(store: Store) -> None:
    id_ = publish(store).id
    emptied(Path(store.files.path(f"ensembles/{id_}/manifest.json")))
    for ask in (store.manifest, store.load):
        with pytest.raises(CorruptArtefact, match=rf"{id_}/manifest\.json: not JSON"):
            ask(id_)


def test_a_damaged_manifest_hides_no_other_ensemble(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, whole = publish(store), publish(store, seed=1)
    emptied(Path(store.files.path(f"ensembles/{damaged.id}/manifest.json")))
    assert store.ensembles() == [whole]
    assert f"{damaged.id}/manifest.json: not JSON" in caplog.text


FULL_DISK = """
from models.errors import StoreFull
from models.store import Store
from tests.tiny import publish

store = Store({folder!r}, release={folder!r} + "/none")
try:
    publish(store)
except StoreFull as error:
    print(error)
print(store.ensembles())
"""


def test_an_ensemble_that_does_not_fit_on_the_disk_does_not_exist(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    error, found = on_a_disk_of_64_kib(folder, FULL_DISK.format(folder=str(folder))).splitlines()
    assert "member-00.safetensors: no space left for 318," in error
    assert found == "[]"
