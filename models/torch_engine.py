"""The members in PyTorch: the reference's own arithmetic, with less to do."""

import threading

import torch
from torch import Tensor

from models.ensemble import Ensemble
from models.folding import fold


class TorchEngine:
    """Folded networks, one after the other.

    Args:
        ensemble: whose members answer.
        threads: cores it may use.
    """

    name = "torch-float32"
    lanes = 1
    stride = 1

    def __init__(self, ensemble: Ensemble, threads: int) -> None:
        self.members = len(ensemble.members)
        self._normalisation = ensemble.manifest.normalisation
        self._networks = [
            fold(member).to(memory_format=torch.channels_last) for member in ensemble.networks
        ]
        self._threads = threads
        self._one_answers = threading.Lock()

    @torch.inference_mode()
    def __call__(self, images: Tensor, members: range | None = None) -> Tensor:
        """Return the softmax of the members asked for; see ``models.engine.Engine``."""
        # Few pictures are answered sooner by one thread than by several that wake each other up.
        with self._one_answers:
            torch.set_num_threads(1 if len(images) < 8 else self._threads)  # of this thread's work
            pictures = self._normalisation(images.permute(0, 3, 1, 2))
            chosen = members or range(self.members)
            answers = [self._networks[index](pictures).softmax(dim=-1) for index in chosen]
            return torch.stack(answers)
