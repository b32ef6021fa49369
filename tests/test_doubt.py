"""What is fitted on validation pictures: kept as JSON, checked when read; small sets survived."""

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.doubt import Doubt, doubt_from_dict
from models.errors import CorruptArtefact
from models.outside import looks_outside
from models.uncertainty import entropy
from training.calibration import calibrate, fit_temperature
from training.conformal import fit_conformal
from training.doubt import fit_doubt, fit_outside
from training.metrics import pool


def ensemble(members: int, count: int, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Log-probabilities of members that err each in its own way, and labels, sorted by class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (count,), generator=generator).sort().values
    logits = 3 * torch.nn.functional.one_hot(labels, classes).float()
    common = 1.2 * torch.randn(count, classes, generator=generator)
    own = 0.8 * torch.randn(members, count, classes, generator=generator)
    return (logits + common + own).log_softmax(dim=-1), labels


@pytest.fixture(scope="module")
def doubt() -> Doubt:
    """What was fitted for four members."""
    predictions, labels = ensemble(4, 4_000)
    return fit_doubt(predictions, labels, fit_temperature(pool(predictions), labels))


def numbers(data: Any) -> list[float]:
    """Return all numbers of nested JSON data."""
    if isinstance(data, dict):
        return numbers(list(data.values()))
    if isinstance(data, list | tuple):
        return [number for item in data for number in numbers(item)]
    return [data] if isinstance(data, int | float) else []


def test_it_survives_json(doubt: Doubt) -> None:
    assert None not in (doubt.conformal, doubt.cascade, doubt.outside)
    text = json.dumps(doubt.to_dict(), allow_nan=False)
    assert doubt_from_dict(json.loads(text), "here") == doubt
    assert len(text) < 25_000


def test_sets_are_of_calibrated_probabilities() -> None:
    predictions, labels = ensemble(2, 300)
    found = fit_doubt(predictions, labels, temperature=1.7)
    calibrated = calibrate(pool(predictions.double()), 1.7).exp()
    assert found.conformal == fit_conformal(calibrated, labels)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("conformal.penalty", -1.0),
        ("conformal.penalty", "0.1"),
        ("conformal.unpenalised", 0),
        ("conformal.pictures", 3),
        ("conformal.scores", []),
        ("conformal.scores", [0.2, 0.1]),
        ("conformal.scores", [0.1, math.nan]),
        ("conformal.scores", [-0.1]),
        ("conformal.stated", [{"rate": 0.9}]),
        ("conformal.typo", 1),
        ("cascade.thresholds", []),
        ("cascade.thresholds", [0.1, math.inf]),
        ("cascade.thresholds", [-0.1]),
        ("cascade.halves", []),
        ("cascade.halves", None),
        ("outside.score", "energy"),
        ("outside.threshold", math.nan),
        ("outside.threshold", None),
        ("outside.asked_rate", 0),
        ("outside.stated_rates", [0.05]),
        ("outside.stated_rates", [0.05, 5]),
        ("outside.pictures", 0),
    ],
)
def test_a_malformed_field_is_refused_by_name(doubt: Doubt, path: str, value: Any) -> None:
    data = json.loads(json.dumps(doubt.to_dict()))
    part, field = path.split(".")
    data[part][field] = value
    with pytest.raises(CorruptArtefact, match=rf"^manifest.json: doubt\.{part}: "):
        doubt_from_dict(data, "manifest.json")


@pytest.mark.parametrize("part", ["conformal", "cascade", "outside"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_missing_field_is_refused(doubt: Doubt, part: str, missing: bool) -> None:
    data = json.loads(json.dumps(doubt.to_dict()))
    if missing:
        del data[part]
        match = "needs conformal, cascade and outside"
    else:
        data[part].popitem()
        match = rf"doubt\.{part}"
    with pytest.raises(CorruptArtefact, match=match):
        doubt_from_dict(data, "manifest.json")


@pytest.mark.parametrize("members", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 37, 38])
def test_a_small_validation_set_leaves_out_what_it_cannot_promise(members: int, count: int) -> None:
    found = fit_doubt(*ensemble(members, count, classes=2), temperature=1.0)
    assert (found.conformal is None) == (count < 3)
    assert found.cascade is None
    assert (found.outside is None) == (count < 38)
    assert doubt_from_dict(json.loads(json.dumps(found.to_dict())), "here") == found


def test_one_member_has_no_cascade_and_all_the_rest() -> None:
    found = fit_doubt(*ensemble(1, 4_000), temperature=1.0)
    assert found.cascade is None
    assert found.conformal is not None
    assert found.outside is not None


def test_members_that_are_certain_leave_all_numbers_finite() -> None:
    predictions, labels = ensemble(3, 3_000)
    predictions[:, ::2, 4] = -math.inf  # the last class is out of the question
    predictions[:, ::20] = torch.eye(5)[labels[::20]].log()  # and here all but one
    found = fit_doubt(predictions.log_softmax(dim=-1), labels, 0.8)
    assert None not in (found.conformal, found.cascade, found.outside)
    assert all(map(math.isfinite, numbers(found.to_dict())))


# Pictures of none of the classes.


def test_few_ordinary_pictures_look_foreign_and_most_foreign_ones_do() -> None:
    predictions, _ = ensemble(4, 20_000)
    fit = fit_outside(predictions[:, ::2])
    assert fit is not None
    ordinary = looks_outside(entropy(predictions[:, 1::2].exp().mean(dim=0)), fit)
    error = math.sqrt(0.05 * 0.95 * 2 / 10_000)
    assert abs(ordinary.double().mean().item() - 0.05) < 3 * error
    unsure = torch.full((3, 5), 0.2)
    assert looks_outside(entropy(unsure), fit).all()


def test_the_threshold_is_the_95_percent_quantile_with_the_correction_for_few() -> None:
    predictions, _ = ensemble(3, 60)
    fit = fit_outside(predictions)
    assert fit is not None
    scores = sorted(entropy(predictions.double().exp().mean(dim=0)).tolist())
    assert fit.threshold == pytest.approx(scores[58 - 1])  # ⌈61 · 0.95⌉
    assert sum(score > fit.threshold for score in scores) == 2
    assert (fit.pictures, fit.score, fit.asked_rate) == (60, "predictive_entropy", 0.05)


def test_each_half_is_judged_by_the_other() -> None:
    predictions, _ = ensemble(3, 4_000)
    ordinary = fit_outside(predictions)
    assert ordinary is not None
    assert ordinary.stated_rates != (0.05, 0.05)
    assert ordinary.stated_rate == sum(ordinary.stated_rates) / 2
    for rate in ordinary.stated_rates:
        assert abs(rate - 0.05) < 3 * math.sqrt(0.05 * 0.95 * 2 / 2_000)
    rows = torch.randperm(4_000, generator=torch.Generator().manual_seed(0))
    predictions[:, rows[:2_000]] = math.log(0.2)  # the first half knows nothing
    shifted = fit_outside(predictions)
    assert shifted is not None
    assert shifted.stated_rates == (1.0, 0.0)
