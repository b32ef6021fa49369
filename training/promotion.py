"""Whether a finished ensemble is to serve."""

from dataclasses import dataclass

from models.ensemble import EnsembleManifest
from models.errors import CorruptArtefact, EnsembleNotFound
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
    serving_id = None
    try:
        serving_id = store.serving()
        serving = store.manifest(serving_id) if serving_id else None
    except EnsembleNotFound:
        return Promotion(True, f"the serving {serving_id} is no longer in the store")
    except CorruptArtefact as error:
        return Promotion(False, f"what serves cannot be read: {error}")
    if serving is None:
        return Promotion(True, "nothing was serving")
    if serving.id == candidate.id:
        return Promotion(True, "it is the serving ensemble already")
    return _compare(serving, candidate)


def _compare(serving: EnsembleManifest, candidate: EnsembleManifest) -> Promotion:
    before, now = (manifest.metrics["validation"] for manifest in (serving, candidate))
    if serving.dataset["digest"] != candidate.dataset["digest"]:
        return Promotion(False, f"the serving {serving.id} was trained on another data set")
    # Of one data set, all splits of one size hold out the same pictures.
    if before["pictures"] != now["pictures"]:
        return Promotion(False, f"the serving {serving.id} was validated on other pictures")
    serves, offers = before["pooled"]["accuracy"], now["pooled"]["accuracy"]
    is_ = "is" if offers > serves else "is not"
    reason = f"validation accuracy {offers:.3f} {is_} above the serving {serves:.3f}"
    return Promotion(offers > serves, reason)
