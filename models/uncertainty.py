"""How much an ensemble's answer is to be doubted.

Shape legend: m members, n pictures, k classes. Entropies are in nats.
"""

import torch
from torch import Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """Return -Σ_k p_k log p_k over the last dimension."""
    terms: Tensor = torch.special.entr(probabilities)
    return terms.sum(dim=-1)


def mutual_information(members: Tensor) -> Tensor:
    """Return the entropy of the average less the average entropy, [n].

    What the members do not agree about, as opposed to what each of them is unsure of (Depeweg et
    al. 2018, eq. 7; Lakshminarayanan et al. 2017 for ensembles). Never negative, but for rounding.

    Args:
        members: probabilities of each member, [m, n, k].
    """
    return (entropy(members.mean(dim=0)) - entropy(members).mean(dim=0)).clamp(min=0)


def agreement(votes: Tensor, average: Tensor) -> Tensor:
    """Return the share of members whose likeliest class is that of the average, [n].

    Args:
        votes: each member's likeliest class, int64 [m, n].
        average: probabilities, mean over the members, [n, k].
    """
    return (votes == average.argmax(dim=-1)).double().mean(dim=0)
