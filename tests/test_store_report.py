"""An ensemble keeps its report, which leaves the store with it as a release."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.ensemble import EnsembleManifest
from models.errors import CorruptArtefact, EnsembleNotFound
from models.store import Store
from tests.tiny import publish

REPORT = {"curves": {"member 0": [{"epoch": 1}]}, "splits": {}}


@pytest.fixture
def reported(store: Store) -> EnsembleManifest:
    first = publish(store)
    weights = [dict(member.state_dict()) for member in store.load(first.id).members]
    predictions = {"validation": store.predictions(first.id, "validation")}
    store.files.delete(f"ensembles/{first.id}")
    return store.publish(replace(first, id=""), weights, predictions, REPORT)


def test_a_report_is_kept_with_the_ensemble(store: Store, reported: EnsembleManifest) -> None:
    assert reported.report is not None
    assert reported.report.file == "report.json"
    assert store.report(reported.id) == REPORT
    assert store.manifest(reported.id) == reported


def test_an_ensemble_without_a_report_says_so(store: Store) -> None:
    id_ = publish(store).id
    assert store.manifest(id_).report is None
    with pytest.raises(EnsembleNotFound, match="keeps no report"):
        store.report(id_)
    with pytest.raises(EnsembleNotFound, match="no ensemble has the id 'gone'"):
        store.report("gone")


def test_a_damaged_report_is_named(store: Store, reported: EnsembleManifest) -> None:
    store.files.write(f"ensembles/{reported.id}/report.json", b"{")
    with pytest.raises(CorruptArtefact, match=rf"{reported.id}/report\.json: has 1 bytes"):
        store.report(reported.id)
    assert len(store.load(reported.id).members) == 2, "it still answers"


def test_a_release_has_members_and_report_but_no_predictions(
    store: Store, reported: EnsembleManifest, tmp_path: Path
) -> None:
    exported = store.export(reported.id, tmp_path / "release", "release-1")
    folder = tmp_path / "release/release-1"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "manifest.json",
        "member-00/model.safetensors",
        "member-01/model.safetensors",
        "report.json",
    ]
    elsewhere = Store(tmp_path / "elsewhere", release=tmp_path / "release")
    assert elsewhere.serving() == "release-1"
    assert elsewhere.manifest("release-1") == exported
    assert elsewhere.report("release-1") == REPORT
    assert len(elsewhere.load("release-1").members) == 2
    with pytest.raises(EnsembleNotFound, match="keeps no predictions"):
        elsewhere.predictions("release-1", "validation")


def test_a_release_without_a_report_is_a_release(store: Store, tmp_path: Path) -> None:
    exported = store.export(publish(store).id, tmp_path / "release", "release-2")
    assert exported.report is None
    assert not (tmp_path / "release/release-2/report.json").exists()


def test_nothing_damaged_is_released(
    store: Store, reported: EnsembleManifest, tmp_path: Path
) -> None:
    store.files.write(f"ensembles/{reported.id}/member-01.safetensors", b"")
    with pytest.raises(CorruptArtefact, match=r"member-01\.safetensors"):
        store.export(reported.id, tmp_path / "release", "release-3")
    assert not (tmp_path / "release").exists()
