"""A finished ensemble serves when its recipe wants it to, and says why or why not."""

from typing import Any

from models.ensemble import EnsembleManifest
from models.store import Store
from tests.tiny import publish
from training.promotion import Promotion, promote


def finished(store: Store, accuracy: float, seed: int = 0, **changes: Any) -> EnsembleManifest:
    pictures = changes.pop("pictures", 24)
    metrics = {"validation": {"pictures": pictures, "pooled": {"accuracy": accuracy}}}
    return publish(store, seed=seed, metrics=metrics, **changes)


def test_the_first_one_serves(store: Store) -> None:
    first = finished(store, 0.1)
    assert promote(store, first, "if_better") == Promotion(True, "nothing was serving")
    assert store.serving() == first.id


def test_a_better_one_takes_over(store: Store) -> None:
    old, new = finished(store, 0.5), finished(store, 0.6, seed=1)
    store.serve(old.id)
    promotion = promote(store, new, "if_better")
    reason = "validation accuracy 0.600 is above the serving 0.500"
    assert promotion == Promotion(True, reason)
    assert store.serving() == new.id


def test_one_that_is_not_better_does_not(store: Store) -> None:
    old = finished(store, 0.5)
    store.serve(old.id)
    for seed, accuracy in ((1, 0.5), (2, 0.4)):
        promotion = promote(store, finished(store, accuracy, seed), "if_better")
        reason = f"validation accuracy {accuracy:.3f} is not above the serving 0.500"
        assert promotion == Promotion(False, reason)
    assert store.serving() == old.id


def test_always_and_never_ask_nothing(store: Store) -> None:
    old, worse, better = (finished(store, x, i) for i, x in enumerate((0.5, 0.1, 0.9)))
    store.serve(old.id)
    never = promote(store, better, "never")
    assert never == Promotion(False, "the recipe says promote: never")
    assert store.serving() == old.id
    always = promote(store, worse, "always")
    assert always == Promotion(True, "the recipe says promote: always")
    assert store.serving() == worse.id


def test_never_keeps_even_the_first_from_serving(store: Store) -> None:
    assert not promote(store, finished(store, 0.9), "never").promoted
    assert store.serving() is None


def test_accuracies_on_other_pictures_do_not_compare(store: Store) -> None:
    old = finished(store, 0.1)
    store.serve(old.id)
    other = finished(store, 0.9, seed=1, dataset={"name": "noise", "digest": "of others"})
    reason = f"the serving {old.id} was trained on another data set"
    assert promote(store, other, "if_better") == Promotion(False, reason)
    other = finished(store, 0.9, seed=2, pictures=12)
    reason = f"the serving {old.id} was validated on other pictures"
    assert promote(store, other, "if_better") == Promotion(False, reason)
    assert store.serving() == old.id


def test_the_serving_one_stays_when_it_is_made_again(store: Store) -> None:
    same = finished(store, 0.5)
    store.serve(same.id)
    reason = "it is the serving ensemble already"
    assert promote(store, same, "if_better") == Promotion(True, reason)


def test_one_takes_over_from_an_ensemble_that_was_deleted(store: Store) -> None:
    old, new = finished(store, 0.9), finished(store, 0.1, seed=1)
    store.serve(old.id)
    store.files.delete(f"ensembles/{old.id}")
    promotion = promote(store, new, "if_better")
    reason = f"the serving {old.id} is no longer in the store"
    assert promotion == Promotion(True, reason)
    assert store.serving() == new.id
