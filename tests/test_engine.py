"""Every engine answers as the reference does, whichever way the pictures go through it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.cores import Cores
from models.engine import EXACT, NAMES, Engine, Unavailable, build_engine
from models.ensemble import Ensemble
from models.folding import fold
from models.openvino_engine import OpenVinoEngine
from models.quantisation import largest_of, measure_largest
from models.resnet import ResNet, build_network
from models.store import Store
from tests.tiny import noise, publish

TOLERANCE = {"float32": 1e-5, "bfloat16": 0.02, "int8": 0.02}
"""Of a probability, by precision."""


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """Three members whose BatchNorm has statistics of its own."""
    store = Store(tmp_path_factory.mktemp("store"))
    ensemble = store.load(publish(store, members=3).id)
    for member in ensemble.members:
        warm_up(member)
    return ensemble


@pytest.fixture(scope="module")
def largest(ensemble: Ensemble) -> dict[str, float]:
    seen = ensemble.manifest.normalisation(noise(32, seed=7))
    return largest_of([measure_largest(member, seen) for member in ensemble.networks])


@pytest.fixture(scope="module", params=NAMES)
def engine(request: pytest.FixtureRequest, ensemble: Ensemble, largest: dict[str, float]) -> Engine:
    built = build_engine(request.param, ensemble, Cores(2), largest)
    assert not isinstance(built, Unavailable)
    return built


def warm_up(network: ResNet | torch.nn.Module) -> None:
    """Let BatchNorm see pictures, so that folding has something to fold."""
    network.train()
    with torch.no_grad():
        for seed in range(3):
            network(torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2)
    network.eval()


def rows(images: Tensor) -> Tensor:
    """Return pictures as engines take them, [n, s, s, 3]."""
    return images.permute(0, 2, 3, 1).contiguous()


def tolerance(engine: Engine) -> float:
    return TOLERANCE[engine.name.split("-")[1]]


@pytest.mark.parametrize("n", [1, 2, 5, 16, 33])
def test_an_engine_answers_as_the_reference_does(
    engine: Engine, ensemble: Ensemble, n: int
) -> None:
    images = noise(n, seed=n)
    found = engine(rows(images))
    assert found.shape == (3, n, 4)
    assert found.dtype == torch.float32
    assert (found - ensemble(images)).abs().max() < tolerance(engine)


@pytest.mark.parametrize("members", [range(1), range(1, 3), range(2, 3), range(3)])
@pytest.mark.parametrize("n", [1, 6, 20])
def test_some_of_the_members_answer_if_asked(engine: Engine, members: range, n: int) -> None:
    images = rows(noise(n, seed=3))
    found = engine(images, members)
    everyone = engine(images)
    assert found.shape == (len(members), n, 4)
    assert (found - everyone[list(members)]).abs().max() < tolerance(engine)
    others = everyone[[index for index in range(3) if index not in members]]
    assert all((found - other).abs().max() > tolerance(engine) for other in others)


def test_an_answer_is_left_alone_by_the_next(engine: Engine) -> None:
    first = engine(rows(noise(2, seed=1)))
    kept = first.clone()
    engine(rows(noise(2, seed=2)))
    assert torch.equal(first, kept)


def test_a_single_member_is_an_ensemble_too(ensemble: Ensemble, largest: dict[str, float]) -> None:
    alone = Ensemble(ensemble.manifest, [ensemble.networks[1]])
    for name in NAMES:
        engine = build_engine(name, alone, Cores(2), largest)
        assert not isinstance(engine, Unavailable)
        for n in (1, 40):
            images = noise(n)
            assert (engine(rows(images)) - alone(images)).abs().max() < tolerance(engine)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_calls_that_come_at_once_get_their_own_answers(ensemble: Ensemble, threads: int) -> None:
    engine = build_engine("openvino-float32", ensemble, Cores(threads))
    assert not isinstance(engine, Unavailable)
    assert engine.lanes == threads
    asked = [noise(n, seed=n) for n in (1, 7, 2, 16, 3, 1, 9, 4) * 4]
    with ThreadPoolExecutor(4) as callers:
        answers = [*callers.map(engine, map(rows, asked))]
    for images, answer in zip(asked, answers, strict=True):
        assert (answer - ensemble(images)).abs().max() < 1e-5


def test_few_pictures_and_many_may_go_different_ways(ensemble: Ensemble) -> None:
    engine = OpenVinoEngine("openvino-float32", ensemble, "float32", Cores(2), {})
    images = noise(6)
    answers = []
    for up_to in (0, 6):
        engine.fused_up_to = up_to
        answers.append(engine(rows(images)))
    assert not torch.equal(*answers)  # or both went the same way
    torch.testing.assert_close(*answers)


def test_eight_bits_round_and_full_precision_does_not(
    ensemble: Ensemble, largest: dict[str, float]
) -> None:
    images = noise(64)
    errors = {}
    for name in NAMES:
        engine = build_engine(name, ensemble, Cores(1), largest)
        assert not isinstance(engine, Unavailable)
        errors[name] = (engine(rows(images)) - ensemble(images)).abs().max().item()
    assert max(errors[name] for name in EXACT) < 1e-5 < errors["openvino-int8"]


def test_without_ranges_there_are_no_eight_bits(ensemble: Ensemble) -> None:
    built = build_engine("openvino-int8", ensemble, Cores(1), {})
    assert isinstance(built, Unavailable)
    assert "without ranges" in built.reason


@pytest.mark.parametrize("name", ["resnet8", "resnet14x2", "resnet50"])
def test_folding_leaves_no_batchnorm_and_the_same_answers(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 10)
    warm_up(network)
    folded = fold(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    pictures = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(folded(pictures), network(pictures), rtol=1e-4, atol=1e-4)


def test_bottlenecks_have_a_graph_too(tmp_path: Path) -> None:
    manifest = publish(Store(tmp_path), members=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network("resnet50", 4).eval()
    ensemble = Ensemble(replace(manifest, network="resnet50"), [network])
    engine = OpenVinoEngine("openvino-float32", ensemble, "float32", Cores(2), {})
    images = noise(2)
    assert (engine(rows(images)) - ensemble(images)).abs().max() < 1e-4


def test_the_largest_inputs_are_those_of_the_pictures(ensemble: Ensemble) -> None:
    member = ensemble.networks[0]
    few, many = (ensemble.manifest.normalisation(noise(n, seed=5)) for n in (2, 16))
    of_few, of_many = measure_largest(member, few), measure_largest(member, many)
    assert of_few.keys() == of_many.keys()
    assert "stem" not in of_few
    assert "stages.2.0.shortcut" in of_few
    assert all(0 < of_few[name] <= of_many[name] for name in of_few)
    with torch.inference_mode():  # the first block sees what the stem gives
        assert of_few["stages.0.0.first"] == torch.relu(member.stem(few)).max()
