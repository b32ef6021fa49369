"""The members in PyTorch: the reference's own arithmetic, with less to do."""

import torch
from torch import Tensor

from models.cores import Cores
from models.ensemble import Ensemble
from models.folding import fold


class TorchEngine:
    """Folded networks, one after the other.

    Args:
        ensemble: whose members answer.
        cores: what it computes on.
    """

    name = "torch-float32"
    stride = 1
    fused_up_to = 0

    def __init__(self, ensemble: Ensemble, cores: Cores) -> None:
        self.members = len(ensemble.members)
        self.lanes = cores.count
        self._normalisation = ensemble.manifest.normalisation
        self._networks = [
            fold(member).to(memory_format=torch.channels_last) for member in ensemble.networks
        ]
        self._cores = cores

    @torch.inference_mode()
    def __call__(self, images: Tensor, members: range | None = None) -> Tensor:
        """Return the softmax of the members asked for; see ``models.engine.Engine``."""
        # Few pictures are answered sooner by one thread than by several that wake each other up.
        with self._cores.taken(1 if len(images) < 8 else self._cores.count) as cores:
            torch.set_num_threads(len(cores))  # of this thread's work
            pictures = self._normalisation(images.permute(0, 3, 1, 2))
            chosen = members or range(self.members)
            answers = [self._networks[index](pictures).softmax(dim=-1) for index in chosen]
            return torch.stack(answers)
