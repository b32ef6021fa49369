"""An ensemble answers in every mode: with all its members, exactly, or with as few as it takes."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from models.answering import MODES, Answering
from models.cascade import CascadeFigures, CascadeFit
from models.choice import choose
from models.cores import Cores
from models.doubt import Doubt
from models.ensemble import Ensemble
from models.store import Store
from models.uncertainty import agreement, entropy, mutual_information
from tests.tiny import noise, publish

FIGURES = CascadeFigures(
    pictures=500, mean_members=2.0, accuracy_lost=0.0, accuracy_lost_error=0.0, agreement=1.0
)
MEMBERS = 4


def cascading(*thresholds: float) -> Doubt:
    """Return a doubt whose cascade has these thresholds after one member, two and three."""
    return Doubt(conformal=None, cascade=CascadeFit(thresholds, (FIGURES, FIGURES)), outside=None)


NEVER, AT_ONCE = cascading(2.0, 2.0, 2.0), cascading(0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    store = Store(tmp_path_factory.mktemp("store"))
    return store.load(publish(store, members=MEMBERS, temperature=2.0).id)


@pytest.fixture(scope="module")
def plain(ensemble: Ensemble) -> Answering:
    return Answering(ensemble.manifest, choose(ensemble, Cores(2)), None)


def with_doubt(plain: Answering, doubt: Doubt) -> Answering:
    return Answering(plain.manifest, plain.choice, doubt)


IMAGES = noise(9)
ROWS = IMAGES.permute(0, 2, 3, 1).contiguous()


@pytest.mark.parametrize("mode", MODES)
def test_all_members_answer_where_nothing_is_known_of_cascades(
    plain: Answering, ensemble: Ensemble, mode: str
) -> None:
    members = ensemble(IMAGES).double()
    found = plain.answer(ROWS, mode)
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-5 if mode != "fast" else 0.02)
    close(found.probabilities, members.mean(dim=0))
    close(found.entropy, entropy(members.mean(dim=0)))
    close(found.mutual_information, mutual_information(members))
    assert found.members_used.tolist() == [MEMBERS] * 9
    if mode != "fast":
        torch.testing.assert_close(
            found.agreement, agreement(members.argmax(dim=-1), members.mean(dim=0))
        )


@pytest.mark.parametrize("count", [1, 2, 3, 4, 99])
def test_only_the_first_members_are_asked_if_so_many_are_allowed(
    plain: Answering, ensemble: Ensemble, count: int
) -> None:
    found = plain.answer(ROWS, "exact", count)
    expected = ensemble(IMAGES, count).double().mean(dim=0)
    torch.testing.assert_close(found.probabilities, expected, rtol=0, atol=1e-5)
    assert found.members_used.tolist() == [min(count, MEMBERS)] * 9


@pytest.mark.parametrize(("doubt", "used"), [(NEVER, MEMBERS), (AT_ONCE, 2)])
def test_a_cascade_stops_when_its_rule_says_so(
    plain: Answering, ensemble: Ensemble, doubt: Doubt, used: int
) -> None:
    found = with_doubt(plain, doubt).answer(ROWS, "cascade")  # two at a time, for two threads
    assert found.members_used.tolist() == [used] * 9
    expected = ensemble(IMAGES, used).double().mean(dim=0)
    torch.testing.assert_close(found.probabilities, expected, rtol=0, atol=1e-5)


def test_a_cascade_asks_further_only_about_pictures_that_are_open(
    plain: Answering, ensemble: Ensemble
) -> None:
    pair = ensemble(IMAGES, 2).double().mean(dim=0)
    first, second = pair.topk(2).values.unbind(dim=1)
    between = (first - second).median().item()
    found = with_doubt(plain, cascading(2.0, between, 2.0)).answer(ROWS, "cascade")
    expected = [2 if lead >= between else MEMBERS for lead in (first - second).tolist()]
    assert found.members_used.tolist() == expected
    assert len({*expected}) == 2
    everyone = ensemble(IMAGES).double().mean(dim=0)
    for row, used in enumerate(expected):
        of_row = pair[row] if used == 2 else everyone[row]
        torch.testing.assert_close(found.probabilities[row], of_row, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["default", "exact"])
def test_no_member_is_left_out_unless_asked_for(plain: Answering, mode: str) -> None:
    found = with_doubt(plain, AT_ONCE).answer(ROWS, mode)
    assert found.members_used.tolist() == [MEMBERS] * 9


def test_a_cascade_keeps_to_the_members_allowed(plain: Answering) -> None:
    found = with_doubt(plain, NEVER).answer(ROWS, "cascade", 3)
    assert found.members_used.tolist() == [3] * 9
    assert with_doubt(plain, NEVER).answer(ROWS, "cascade", 1).members_used.tolist() == [1] * 9


def test_modes_ask_the_engines_they_are_named_for(plain: Answering) -> None:
    choice = replace(plain.choice, default=plain.choice.exact, fast=Named("the fast one"))
    answering = Answering(plain.manifest, choice, None)
    engines = {mode: answering.engine(mode).name for mode in MODES}
    assert engines["fast"] == "the fast one"
    assert engines["default"] == engines["exact"] == engines["cascade"] == "openvino-float32"


class Named:
    """Stands where an engine would, and answers nothing."""

    members, lanes, stride, fused_up_to = MEMBERS, 1, 1, 0

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, images: Tensor, members: range | None = None) -> Tensor:
        """Never called."""
        raise AssertionError(images, members)


def test_calibration_divides_by_the_temperature(plain: Answering) -> None:
    probabilities = torch.tensor([[0.7, 0.1, 0.1, 0.1]], dtype=torch.double)
    roots = probabilities.sqrt()  # the temperature is 2
    expected = roots / roots.sum()
    torch.testing.assert_close(plain.calibrated(probabilities), expected)
