"""An ensemble ready to answer: its engines, and what turns members' probabilities into an answer.

Shape legend: m members, n pictures, s pixels a side, k classes. Entropies are in nats.
"""

import torch
from torch import Tensor

from models.cascade import Answers, CascadeFit, cascade
from models.choice import Choice
from models.doubt import Doubt
from models.engine import Engine
from models.ensemble import EnsembleManifest
from models.uncertainty import agreement, entropy, mutual_information

MODES = ("default", "exact", "fast", "cascade")
"""``default``: all members, in the fastest precision that publishing proved. ``exact``: all, in
full precision. ``cascade``: as default, but a picture asks no further member once the rest are
unlikely to change its class. ``fast``: a cascade in the fastest precision there is."""


class Answering:
    """Answers pictures with one ensemble.

    Args:
        manifest: of the ensemble.
        choice: its engines.
        doubt: fitted when it was published; none if it was published without.
    """

    def __init__(self, manifest: EnsembleManifest, choice: Choice, doubt: Doubt | None) -> None:
        self.manifest = manifest
        self.choice = choice
        self.doubt = doubt

    def engine(self, mode: str) -> Engine:
        """Return the engine that a mode asks.

        Args:
            mode: one of ``MODES``.
        """
        engines = {"exact": self.choice.exact, "fast": self.choice.fast}
        return engines.get(mode, self.choice.default)

    def answer(self, images: Tensor, mode: str, max_members: int | None = None) -> Answers:
        """Answer pictures.

        Args:
            images: uint8 [n, s, s, 3], contiguous.
            mode: one of ``MODES``.
            max_members: ask only the first so many; all unless given.
        """
        engine = self.engine(mode)
        most = min(max_members or engine.members, engine.members)
        fit = self.doubt.cascade if self.doubt else None
        if mode in {"cascade", "fast"} and fit is not None and most > 1:
            return self._cascade(engine, images, most, fit)
        members = engine(images, range(most)).double()  # [m, n, k]
        average = members.mean(dim=0)  # [n, k]: the mission, and exact to double precision
        best = members.max(dim=-1)
        return Answers(
            probabilities=average,
            entropy=entropy(average),
            mutual_information=mutual_information(members),
            agreement=agreement(best.indices, average),
            members_used=torch.full((len(images),), most),
            votes=best.indices,
            certainty=best.values,
        )

    def _cascade(self, engine: Engine, images: Tensor, most: int, fit: CascadeFit) -> Answers:
        def ask(members: range, rows: Tensor) -> Tensor:
            return engine(images if len(rows) == len(images) else images[rows], members)

        # As few members at once as the engine asks in one go.
        firsts = range(0, most, engine.stride)
        stages = [range(first, min(first + engine.stride, most)) for first in firsts]
        return cascade(ask, len(images), stages, fit)

    def calibrated(self, probabilities: Tensor) -> Tensor:
        """Return the probabilities at the temperature fitted on validation pictures, [n, k]."""
        logs = probabilities.clamp_min(1e-300).log()
        return (logs / self.manifest.temperature).softmax(dim=-1)
