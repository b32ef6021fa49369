"""Engines are chosen by what publishing proved and what this machine measures, and kept."""

import json
import logging
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from models.artefacts import write_json
from models.choice import Choice, choose
from models.cores import Cores
from models.engine import EXACT
from models.ensemble import Ensemble
from models.errors import CorruptArtefact
from models.openvino_engine import OpenVinoEngine
from models.proof import Proof
from models.store import Store
from tests.tiny import publish

GOOD = asdict(
    Proof(
        pictures=5000,
        largest_difference=0.02,
        mean_difference=1e-3,
        agreement=0.995,
        accuracy_lost=0.0,
    )
)
RANGES = {
    f"stages.{stage}.0.{layer}": 8.0
    for stage in range(3)
    for layer in ("first", "second", "shortcut")
    if (stage, layer) != (0, "shortcut")
}


def published(store: Store, **changes: Any) -> Ensemble:
    return store.load(publish(store, **changes).id)


def kept(store: Store, ensemble: Ensemble) -> dict[str, Any]:
    (name,) = store.files.list(f"engines/{ensemble.manifest.id}")
    found: dict[str, Any] = json.loads(store.files.read(f"engines/{ensemble.manifest.id}/{name}"))
    return found


def test_without_proofs_full_precision_answers_and_the_reasons_say_so(store: Store) -> None:
    choice = choose(published(store, quantisation=RANGES), Cores(1))
    assert choice.default.name == choice.exact.name == "openvino-float32"
    for name in ("openvino-int8", "openvino-bfloat16"):
        assert "was not compared" in choice.reasons[name]


def test_a_proven_precision_answers_if_it_is_the_fastest(store: Store) -> None:
    proofs = {"openvino-int8": GOOD, "openvino-bfloat16": GOOD}
    choice = choose(published(store, quantisation=RANGES, proofs=proofs), Cores(1))
    assert choice.default is choice.fast
    assert choice.seconds[choice.default.name] == min(choice.seconds.values())
    assert choice.default.name not in choice.reasons
    assert choice.exact.name in EXACT


def test_a_precision_that_was_proven_too_poor_answers_only_when_asked(store: Store) -> None:
    poor = {**GOOD, "agreement": 0.97}
    proofs = {"openvino-int8": poor, "openvino-bfloat16": poor}
    choice = choose(published(store, quantisation=RANGES, proofs=proofs), Cores(1))
    assert choice.default.name in EXACT
    assert "agrees on 97.00%" in choice.reasons["openvino-int8"]
    assert choice.fast.name == min(choice.seconds, key=lambda name: choice.seconds[name])


def test_an_engine_that_answers_wrongly_on_this_machine_is_left_out(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    tiny = dict.fromkeys(RANGES, 1e-3)  # clips all there is
    proofs = {"openvino-int8": {**GOOD, "mean_difference": 1e-6}}
    choice = choose(published(store, quantisation=tiny, proofs=proofs), Cores(1))
    assert "on this machine" in choice.reasons["openvino-int8"]
    assert "openvino-int8" not in choice.seconds
    assert "differs from the reference" in caplog.text


def test_an_ensemble_that_no_engine_can_answer_for_is_refused(store: Store) -> None:
    ensemble = published(store)
    ensemble.networks[0].classifier.bias.data.fill_(torch.nan)
    with pytest.raises(CorruptArtefact, match="no engine answers as it should"):
        choose(ensemble, Cores(1))


def test_the_choice_is_kept_and_found_again(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ensemble = published(store, quantisation=RANGES)
    first = choose(ensemble, Cores(1), store.files)
    found = kept(store, ensemble)
    assert found["default"] == first.default.name
    second = choose(ensemble, Cores(1), store.files)
    assert names(second) == names(first)
    assert second.seconds == first.seconds  # measured once
    assert second.reasons == first.reasons


def test_how_small_batches_go_is_measured_once(store: Store) -> None:
    ensemble = published(store)
    choose(ensemble, Cores(2), store.files)
    (name,) = store.files.list(f"engines/{ensemble.manifest.id}")
    found = kept(store, ensemble)
    found["fused_up_to"] = dict.fromkeys(found["fused_up_to"], 5)  # what no race ends with
    write_json(store.files, f"engines/{ensemble.manifest.id}/{name}", found)
    again = choose(ensemble, Cores(2), store.files)
    assert again.default.fused_up_to == 5 or again.default.name == "torch-float32"


def test_another_number_of_threads_chooses_anew(store: Store) -> None:
    ensemble = published(store)
    for threads in (1, 2):
        choose(ensemble, Cores(threads), store.files)
    assert len(store.files.list(f"engines/{ensemble.manifest.id}")) == 2


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"default": "openvino-float32"}'])
def test_a_damaged_choice_is_made_anew(
    store: Store, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    ensemble = published(store)
    first = choose(ensemble, Cores(1), store.files)
    folder = f"engines/{ensemble.manifest.id}"
    (name,) = store.files.list(folder)
    store.files.write(f"{folder}/{name}", damage)
    again = choose(ensemble, Cores(1), store.files)  # by the clock, so which is fastest may change
    assert names(again)[:2] == names(first)[:2]
    assert "made anew" in caplog.text
    assert kept(store, ensemble)["default"] == first.default.name


def test_a_kept_choice_is_still_compared_with_the_reference(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    ensemble = published(store, quantisation=RANGES, proofs={"openvino-int8": GOOD})
    choose(ensemble, Cores(1), store.files)
    folder = f"engines/{ensemble.manifest.id}"
    (name,) = store.files.list(folder)
    found = {**kept(store, ensemble), "fast": "openvino-int8"}
    store.files.write(f"{folder}/{name}", json.dumps(found).encode())
    clipped = replace(ensemble.manifest, quantisation=dict.fromkeys(RANGES, 1e-3))
    choice = choose(Ensemble(clipped, ensemble.networks), Cores(1), store.files)
    assert choice.fast.name != "openvino-int8"
    assert "made anew" in caplog.text


def test_the_crossover_of_the_two_ways_is_measured(store: Store) -> None:
    engine = choose(published(store), Cores(2)).exact
    assert isinstance(engine, OpenVinoEngine)
    assert engine.fused_up_to in {0, 1, 2, 4, 8, 16}


def test_on_one_core_there_is_one_way(store: Store) -> None:
    engine = choose(published(store), Cores(1)).exact
    assert isinstance(engine, OpenVinoEngine)
    assert engine.fused_up_to == 0


def names(choice: Choice) -> tuple[str, str, str]:
    return choice.default.name, choice.exact.name, choice.fast.name
