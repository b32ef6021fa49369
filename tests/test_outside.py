"""How well an ensemble's doubts tell pictures of another data set from its own."""

import json
from itertools import product
from pathlib import Path

import pytest
from torch import Tensor

from models.ensemble import EnsembleManifest
from models.errors import InvalidDataset
from models.store import Store
from tests.tiny import publish, write_dataset
from training.datasets import load_dataset
from training.metrics import ood_scores
from training.outside import BATCH, main, measure_outside
from training.splits import SPLIT_SEED, split_validation


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Data sets of coloured noise: ``own`` and ``other``."""
    write_dataset(tmp_path / "data" / "own", seed=0, train=8, test=2)
    write_dataset(tmp_path / "data" / "other", seed=1, train=2, test=3)
    return tmp_path / "data"


def ensemble_of(store: Store, data: Path, name: str = "own") -> EnsembleManifest:
    """Publish an untrained ensemble of a data set."""
    digest = load_dataset(name, data, store.files).digest
    return publish(store, dataset={"name": name, "digest": digest})


def scores_of(store: Store, id_: str, images: Tensor) -> dict[str, list[float]]:
    found = ood_scores(store.load(id_)(images).log())
    return {name: score.tolist() for name, score in found.items()}


def test_the_area_is_that_of_the_ensembles_own_answers(store: Store, data: Path) -> None:
    id_ = ensemble_of(store, data).id
    found = measure_outside(store, data, id_, "other")
    own, other = (load_dataset(name, data, store.files).test for name in ("own", "other"))
    assert own is not None
    assert other is not None
    inside, outside = (scores_of(store, id_, of.images) for of in (own, other))
    for name, area in found["auroc"].items():
        won = [(o > i) + (o == i) / 2 for i, o in product(inside[name], outside[name])]
        assert area == pytest.approx(sum(won) / len(won), abs=2 / len(won))
    assert list(found["auroc"]) == ["predictive_entropy", "max_probability", "mutual_information"]
    assert found["ensemble"] == id_
    assert found["inside"] == {"dataset": "own", "split": "test", "pictures": 8}
    assert found["outside"] == {"dataset": "other", "split": "test", "pictures": 12}


def test_every_picture_of_every_batch_counts(store: Store, data: Path) -> None:
    write_dataset(data / "large", seed=2, train=BATCH // 4 + 1)
    found = measure_outside(store, data, ensemble_of(store, data).id, "large")
    assert found["outside"] == {"dataset": "large", "split": "train", "pictures": BATCH + 4}
    assert all(0 <= area <= 1 for area in found["auroc"].values())


def test_without_test_pictures_those_count_that_were_held_out(store: Store, data: Path) -> None:
    write_dataset(data / "small", seed=3, train=8)
    manifest = ensemble_of(store, data, "small")
    found = measure_outside(store, data, manifest.id, "other")
    assert found["inside"] == {"dataset": "small", "split": "validation", "pictures": 8}
    train = load_dataset("small", data, store.files).train
    held_out = split_validation(train, manifest.recipe["validation_fraction"], SPLIT_SEED)[1]
    inside = scores_of(store, manifest.id, held_out.images)["predictive_entropy"]
    other = load_dataset("other", data, store.files).test
    assert other is not None
    outside = scores_of(store, manifest.id, other.images)["predictive_entropy"]
    won = [o > i for i, o in product(inside, outside)]
    area = found["auroc"]["predictive_entropy"]
    assert area == pytest.approx(sum(won) / len(won), abs=2 / len(won))

    write_dataset(data / "validated", seed=4, train=8, val=1)
    found = measure_outside(store, data, ensemble_of(store, data, "validated").id, "other")
    assert found["inside"] == {"dataset": "validated", "split": "validation", "pictures": 4}


def test_pictures_that_look_alike_are_not_told_apart_and_a_tie_is_half(
    store: Store, data: Path
) -> None:
    manifest = ensemble_of(store, data)
    one = publish(store, members=1, dataset=manifest.dataset)
    found = measure_outside(store, data, one.id, "other")
    assert found["auroc"]["mutual_information"] == 0.5  # one member never disagrees with itself


# What is refused.


def test_other_pictures_than_those_of_training_are_refused(store: Store, data: Path) -> None:
    manifest = publish(store, dataset={"name": "own", "digest": "of other pictures"})
    with pytest.raises(InvalidDataset, match=f"own: not the pictures {manifest.id} was trained on"):
        measure_outside(store, data, manifest.id, "other")


def test_its_own_pictures_are_refused_under_any_name(store: Store, data: Path) -> None:
    manifest = ensemble_of(store, data)
    (data / "copy").symlink_to(data / "own")
    for name in ("own", "copy"):
        with pytest.raises(InvalidDataset, match=f"{name}: the pictures .* was trained on"):
            measure_outside(store, data, manifest.id, name)


# The command.


def test_it_prints_what_it_found_and_keeps_it_beside_the_ensemble(
    store: Store, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = ensemble_of(store, data).id
    where = ["--store", str(store.files), "--data", str(data)]
    assert main([*where, "--ensemble", id_, "--dataset", "other"]) == 0
    kept = Path(store.files.path(f"ensembles/{id_}/outside-other.json"))
    found = json.loads(kept.read_text())
    assert found == measure_outside(store, data, id_, "other")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["inside: 8 test pictures of own", "outside: 12 test pictures of other"]
    entropy = found["auroc"]["predictive_entropy"]
    assert lines[2] == f"AUROC of predictive entropy: {entropy:.4f}"
    assert lines[-1] == f"kept: {kept}"
    assert store.load(id_).manifest.id == id_


@pytest.mark.parametrize("name", ["nothing", "../own"])
def test_a_data_set_that_is_not_there_is_named(
    name: str, store: Store, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--store", str(store.files), "--data", str(data)]
    id_ = ensemble_of(store, data).id
    assert main([*where, "--ensemble", id_, "--dataset", name]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert name in said.err
    assert said.out == ""


def test_an_ensemble_that_is_not_there_is_named(
    store: Store, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--store", str(store.files), "--data", str(data)]
    assert main([*where, "--ensemble", "nobody", "--dataset", "other"]) == 1
    assert capsys.readouterr().err == "error: no ensemble has the id 'nobody'\n"
