"""Whether a finished ensemble is to serve."""

from dataclasses import dataclass

from models.ensemble import EnsembleManifest
from models.errors import EnsembleNotFound
from models.store import Store
from training.recipe import Promote


@dataclass(frozen=True)
class Promotion:
    """Whether an ensemble was made the serving one, and why."""

    promoted: bool
    reason: str


def promote(store: Store, candidate: EnsembleManifest, wish: Promote) -> Promotion:
    """Make a finished ensemble the serving one if its recipe's ``promote`` says so.

    ``if_better`` asks for a higher pooled validation accuracy on the same pictures: another data
    set, or another split of the same, gives accuracies that cannot be compared.
    """
    decision = _decide(store, candidate, wish)
    if decision.promoted:
        store.serve(candidate.id)
    return decision


def _decide(store: Store, candidate: EnsembleManifest, wish: Promote) -> Promotion:
    if wish != "if_better":
        return Promotion(wish == "always", f"the recipe says promote: {wish}")
    serving_id = store.serving()
    if serving_id is None:
        return Promotion(True, "nothing was serving")
    if serving_id == candidate.id:
        return Promotion(True, "it is the serving ensemble already")
    try:
        serving = store.manifest(serving_id)
    except EnsembleNotFound:
        return Promotion(True, f"the serving {serving_id} is no longer in the store")
    for fact, before, now in (
        ("trained on another data set", serving.dataset["digest"], candidate.dataset["digest"]),
        # Of one data set, all splits of one size hold out the same pictures.
        (
            "validated on other pictures",
            serving.metrics["validation"]["pictures"],
            candidate.metrics["validation"]["pictures"],
        ),
    ):
        if before != now:
            return Promotion(False, f"the serving {serving_id} was {fact}")
    before = serving.metrics["validation"]["pooled"]["accuracy"]
    now = candidate.metrics["validation"]["pooled"]["accuracy"]
    better = now > before
    is_ = "is" if better else "is not"
    return Promotion(better, f"validation accuracy {now:.3f} {is_} above the serving {before:.3f}")
