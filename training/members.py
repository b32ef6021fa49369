"""Members: trained, measured, and left in the run's folder as finished."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from models.artefacts import FileRecord, read_json, read_tensors, write_json, write_tensors
from models.errors import CorruptArtefact
from models.resnet import ResNet, build_network
from training.calibration import fit_temperature
from training.checkpoints import Checkpoint, Checkpoints, epoch_to_dict
from training.fencing import Fence, take_fence
from training.fit import Run, fit, predict
from training.progress import EpochDone, Part
from training.teachers import final_checkpoint
from training.views import Views
from training.work import Work

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedMember:
    """What a finished member left, to be read when it is needed.

    Attributes:
        weights: its state dict's file.
        predictions: its log-probabilities' file by split, each float32 [n, k].
        curve: what each epoch reported.
    """

    weights: FileRecord
    predictions: dict[str, FileRecord]
    curve: tuple[EpochDone, ...]


def finished_member(work: Work, part: Part) -> FinishedMember | None:
    """Return what a finished member left; none if it is not finished, or is damaged.

    A damaged one is logged and counts as unfinished: its last checkpoint still has the weights.
    """
    folder = work.member_folder(part)
    name = f"{folder}/finished.json"
    try:
        found = _read_finished(work, name, part)
        for record in (found.weights, *found.predictions.values()):
            read_tensors(work.store.files, folder, record)
    except FileNotFoundError:
        return None
    except CorruptArtefact as error:
        about = {"part": str(part)}
        _log.warning("a damaged %s has to be finished again: %s", part, error, extra=about)
        return None
    return found


def _read_finished(work: Work, name: str, part: Part) -> FinishedMember:
    found = read_json(work.store.files, name)
    try:
        predictions = found["predictions"].items()
        return FinishedMember(
            FileRecord(**found["weights"]),
            {split: FileRecord(**record) for split, record in predictions},
            tuple(EpochDone(part=part, **epoch) for epoch in found["curve"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        path = work.store.files.path(name)
        raise CorruptArtefact(f"{path}: a field is missing or malformed: {error}") from error


class FinishedWeights(Sequence[Mapping[str, Tensor]]):
    """The state dict of each finished member, read when it is asked for, so one at a time."""

    def __init__(self, work: Work, members: Sequence[FinishedMember]) -> None:
        self._work = work
        self._members = members

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> Mapping[str, Tensor]:  # type: ignore[override]
        folder = self._work.member_folder(Part("member", index))
        if index >= len(self):
            raise IndexError(index)
        return read_tensors(self._work.store.files, folder, self._members[index].weights)


def read_predictions(work: Work, members: Sequence[FinishedMember], split: str) -> Tensor:
    """Return the members' log-probabilities of a split, float32 [m, n, k].

    Raises:
        CorruptArtefact: a file is damaged.
    """
    found = []
    for index, member in enumerate(members):
        folder = work.member_folder(Part("member", index))
        record = member.predictions[split]
        found.append(read_tensors(work.store.files, folder, record)["log_probabilities"])
    return torch.stack(found)


def train_members(
    work: Work, parts: Sequence[Part], views_of: Callable[[Part], Views], run: Run
) -> None:
    """Train members side by side and leave each as finished.

    Raises:
        CorruptArtefact: the ensemble that members begin with is damaged.
        TrainingDiverged: see ``fit``.
        StoreFull: no space left.
        Stopped: from ``check``, or another process has taken a member over.
    """
    files = work.store.files
    fences = [take_fence(files, work.member_folder(part)) for part in parts]
    checkpoints = [Checkpoints(files, fence.folder, fence) for fence in fences]
    views = [views_of(part) for part in parts]
    initial = _initial_weights(work, parts)
    fit(work.recipe, parts, work.lesson, views, checkpoints=checkpoints, run=run, initial=initial)
    for part, fence, of_part in zip(parts, fences, checkpoints, strict=True):
        last = final_checkpoint(of_part, part)
        _finish(work, fence, last, run)


def _initial_weights(work: Work, parts: Sequence[Part]) -> list[Mapping[str, Tensor]]:
    """Return the states that members begin with, if those are an ensemble's."""
    if not work.recipe.initial_ensemble:
        return []
    members = work.store.load(work.recipe.initial_ensemble).members
    return [members[part.index].state_dict() for part in parts]


def _finish(work: Work, fence: Fence, last: Checkpoint, run: Run) -> None:
    weights = dict(last.weights)
    network = _network_with(work, weights).to(run.device)
    network.to(memory_format=torch.channels_last)
    logits = {
        split: predict(network, pictures, work.lesson.normalisation, run)[0]
        for split, pictures in work.splits.items()
    }
    if work.recipe.distillation_loss == "standardised_kl" and work.recipe.teacher:
        # This loss leaves every member a scale of its own. Before members are averaged each is
        # tempered, once and for all, in the classifier.
        of_validation = logits["validation"].log_softmax(dim=-1)
        temperature = fit_temperature(of_validation, work.lesson.validation.labels)
        for name in ("classifier.weight", "classifier.bias"):
            weights[name] = weights[name] / temperature
        logits = {split: of_split / temperature for split, of_split in logits.items()}
    fence.check()

    def written(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        file = f"{name}.{fence.name}.safetensors"
        return asdict(write_tensors(fence.files, fence.folder, file, tensors))

    finished: Mapping[str, Any] = {
        "weights": written("finished", weights),
        "predictions": {
            split: written(split, {"log_probabilities": of_split.log_softmax(dim=-1)})
            for split, of_split in logits.items()
        },
        "curve": [epoch_to_dict(epoch) for epoch in last.curve],
    }
    fence.check()
    write_json(fence.files, f"{fence.folder}/finished.json", finished)


def _network_with(work: Work, weights: Mapping[str, Tensor]) -> ResNet:
    with torch.device("meta"):  # draws nothing, for another thread may be drawing initial weights
        network = build_network(work.recipe.student, work.lesson.classes)
    network.load_state_dict(dict(weights), assign=True)
    return network.eval().requires_grad_(False)
