"""The ensemble answers with the softmax of each member; its manifest survives JSON."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from models.artefacts import FileRecord
from models.ensemble import Ensemble, EnsembleManifest, Normalisation, manifest_from_dict
from models.errors import CorruptArtefact
from models.store import Store
from tests.tiny import noise, publish


@pytest.fixture
def ensemble(store: Store) -> Ensemble:
    return store.load(publish(store, members=3).id)


def test_each_member_answers_with_its_softmax(ensemble: Ensemble) -> None:
    images = noise(5)
    pictures = ensemble.manifest.normalisation(images)
    expected = [member(pictures).softmax(dim=1) for member in ensemble.members]
    answers = ensemble(images)
    assert answers.shape == (3, 5, 4)
    assert answers.dtype == torch.float32
    torch.testing.assert_close(answers, torch.stack(expected))
    assert len({tuple(answer.flatten().tolist()) for answer in answers}) == 3


def test_probabilities_sum_to_one(ensemble: Ensemble) -> None:
    torch.testing.assert_close(ensemble(noise(7)).sum(dim=2), torch.ones(3, 7))


def test_a_picture_is_answered_the_same_whatever_its_neighbours(ensemble: Ensemble) -> None:
    images = noise(6)
    alone = torch.cat([ensemble(image[None]) for image in images], dim=1)
    torch.testing.assert_close(ensemble(images), alone)


@pytest.mark.parametrize("count", [1, 2, 3, 99])
def test_only_the_first_members_answer_if_asked(ensemble: Ensemble, count: int) -> None:
    torch.testing.assert_close(ensemble(noise(2), count), ensemble(noise(2))[:count])


def test_normalisation_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    normal = Normalisation(mean=(0.5, 0.2, 0.1), std=(0.25, 0.5, 2.0))(images)
    torch.testing.assert_close(normal.flatten(), torch.tensor([-2.0, 0.0, 0.45]))
    assert images.flatten().tolist() == [0, 51, 255]


# The manifest.


@pytest.fixture
def manifest(store: Store) -> EnsembleManifest:
    return publish(store)


def as_json(manifest: EnsembleManifest) -> dict[str, Any]:
    return dict(json.loads(json.dumps(manifest.to_dict())))


def test_a_manifest_survives_json(manifest: EnsembleManifest) -> None:
    assert manifest_from_dict(as_json(manifest), "here") == manifest


def test_teachers_and_report_survive_json(manifest: EnsembleManifest) -> None:
    full = replace(manifest, teachers=("a", "b"), report=FileRecord("report.json", "00", 2))
    assert manifest_from_dict(as_json(full), "here") == full


def test_a_manifest_counts_the_bytes_of_its_members(manifest: EnsembleManifest) -> None:
    assert manifest.bytes == sum(member.bytes for member in manifest.members) > 2 * 4 * 78_000


def test_another_format_is_refused_with_the_known_one(manifest: EnsembleManifest) -> None:
    with pytest.raises(CorruptArtefact, match="somewhere: format 99, this version reads 3"):
        manifest_from_dict(as_json(manifest) | {"format": 99}, "somewhere")


def test_the_format_before_engines_is_still_read(manifest: EnsembleManifest) -> None:
    new = ("quantisation", "proofs", "doubt")
    old = {key: value for key, value in as_json(manifest).items() if key not in new}
    assert manifest_from_dict(old | {"format": 2}, "somewhere") == manifest


@pytest.mark.parametrize(
    "field", ["id", "classes", "normalisation", "members", "predictions", "teachers"]
)
def test_a_missing_field_is_refused_with_the_file(manifest: EnsembleManifest, field: str) -> None:
    data = as_json(manifest)
    del data[field]
    with pytest.raises(CorruptArtefact, match=f"somewhere: .*{field}"):
        manifest_from_dict(data, "somewhere")


@pytest.mark.parametrize(
    "change",
    [
        *({"surprise": 1}, {"members": [{"file": "x"}]}, {"normalisation": None}),
        *({"predictions": []}, {"members": []}, {"classes": ["one"]}, {"classes": [1, 2]}),
        *({"size": "32"}, {"size": 0}, {"temperature": 0}, {"temperature": None}),
        *({"teachers": None}, {"report": 1}, {"report": {"file": "x"}}),
        *({"network": None}, {"network": "vgg8"}, {"metrics": {}}),
        {"normalisation": {"mean": ["a", "b", "c"], "std": [1, 1, 1]}},
        {"normalisation": {"mean": [0, 0, 0], "std": [0, 1, 1]}},
    ],
)
def test_a_malformed_field_is_refused(manifest: EnsembleManifest, change: dict[str, Any]) -> None:
    with pytest.raises(CorruptArtefact, match="somewhere: a field is missing or malformed"):
        manifest_from_dict(as_json(manifest) | change, "somewhere")
