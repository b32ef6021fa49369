"""From pictures to answers: the part of POST /predict that is neither HTTP nor decoding."""

import numpy as np
import numpy.typing as npt
import torch

from app.schemas import Prediction, TopClass, Uncertainty
from models.ensemble import Ensemble
from models.uncertainty import agreement, entropy, mutual_information

SMALL_BATCH = 8
"""Fewer pictures are answered sooner by one thread than by several that wake each other up."""

_THREADS = torch.get_num_threads()


def answer(
    ensemble: Ensemble,
    pictures: list[npt.NDArray[np.uint8]],
    filenames: list[str | None],
    top_k: int,
    max_members: int | None,
) -> list[Prediction]:
    """Ask the ensemble about pictures.

    Args:
        ensemble: whom to ask.
        pictures: uint8 [size, size, 3] each.
        filenames: one for each picture.
        top_k: how many classes to name; at most as many as there are.
        max_members: ask only the first so many members.
    """
    manifest = ensemble.manifest
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)  # [n, 3, s, s]
    torch.set_num_threads(1 if len(pictures) < SMALL_BATCH else _THREADS)  # of this thread's work
    members = ensemble(images, max_members).double()  # [m, n, k]
    average = members.mean(dim=0)  # [n, k]: the mission, and exact to double precision
    calibrated = (average.clamp_min(1e-300).log() / manifest.temperature).softmax(dim=-1)
    likeliest = average.topk(top_k, dim=-1).indices.tolist()
    doubts = zip(
        entropy(average).tolist(),
        mutual_information(members).tolist(),
        agreement(members).tolist(),
        strict=True,
    )
    predictions = []
    for index, (filename, doubt) in enumerate(zip(filenames, doubts, strict=True)):
        probabilities = average[index].tolist()
        named = [
            TopClass(label=manifest.classes[id_], class_id=id_, probability=probabilities[id_])
            for id_ in likeliest[index]
        ]
        best = named[0]
        predictions.append(
            Prediction(
                filename=filename,
                label=best.label,
                class_id=best.class_id,
                probability=best.probability,
                top_k=named,
                probabilities=probabilities,
                calibrated_probability=calibrated[index, best.class_id].item(),
                uncertainty=Uncertainty(
                    entropy=doubt[0], mutual_information=doubt[1], agreement=doubt[2]
                ),
                members_used=len(members),
            )
        )
    return predictions
