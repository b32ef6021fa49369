"""The ensemble that answers: loaded beside the old one, warmed, and swapped in one assignment."""

import logging
import threading

from models.answering import Answering
from models.choice import choose, kept_seconds
from models.cores import Cores
from models.doubt import doubt_from_dict
from models.errors import EnsembleNotFound, NoEnsemble, StoreError
from models.store import Store

_log = logging.getLogger(__name__)


class Serving:
    """What this process answers with.

    Requests take the reference once, so an answer comes from one ensemble even while another is
    being promoted.

    Args:
        store: where ensembles are.
        cores: what their engines compute on.
    """

    def __init__(self, store: Store, cores: Cores) -> None:
        self._store = store
        self._cores = cores
        self._current: Answering | None = None
        self._trouble = "no ensemble is loaded yet"
        self._lock = threading.Lock()
        self.swaps = 0

    def current(self) -> Answering:
        """Return the ensemble that answers now.

        Raises:
            NoEnsemble: there is none, and why.
        """
        if self._current is None:
            raise NoEnsemble(self._trouble)
        return self._current

    def follow(self) -> None:
        """Load what the store says is to serve, if that is another one than now.

        A damaged or vanished ensemble is logged, once, and the one before goes on answering.
        """
        try:
            with self._lock:
                wanted = self._store.serving()
                if wanted is None:
                    hint = "the store holds no ensemble; post a job to /jobs/distill"
                    self._note_trouble(hint)
                elif self._current is None or self._current.manifest.id != wanted:
                    self._swap(self._load(wanted))
        except (StoreError, EnsembleNotFound) as error:
            self._note_trouble(str(error))

    def promote(self, id_: str) -> str | None:
        """Make an ensemble the serving one, here at once and in other processes soon.

        Returns:
            The id of the one that served before, if there was one.

        Raises:
            EnsembleNotFound: there is none with this id.
            CorruptArtefact: it cannot be loaded; the one before goes on answering.
        """
        with self._lock:  # or ``follow``, having read the choice before, would undo this one
            before = self._current
            wanted = before if before and before.manifest.id == id_ else self._load(id_)
            self._store.serve(id_)  # nothing is promoted that could not be loaded
            if wanted is not before:
                self._swap(wanted)
        return before.manifest.id if before else None

    def measured_seconds(self, id_: str) -> float | None:
        """Return how long an ensemble takes for 32 pictures here; None if it was never loaded."""
        return kept_seconds(id_, self._cores, self._store.files)

    def _load(self, id_: str) -> Answering:
        ensemble = self._store.load(id_)
        # Engines are built, compared with the reference, timed and thereby warm.
        choice = choose(ensemble, self._cores, self._store.files)
        found = ensemble.manifest.doubt
        doubt = None if found is None else doubt_from_dict(found, f"ensemble {id_}")
        return Answering(ensemble.manifest, choice, doubt)

    def _swap(self, answering: Answering) -> None:
        self._current = answering
        self._trouble = ""
        self.swaps += 1
        manifest = answering.manifest
        about = {"ensemble": manifest.id}
        _log.info("serving %s: %d members", manifest.id, len(manifest.members), extra=about)

    def _note_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.error("not serving what the store asks for: %s", trouble)
            self._trouble = trouble
