"""Putting finished members together: calibrated, measured, and published as an ensemble."""

from dataclasses import replace
from datetime import UTC, datetime

from models.ensemble import EnsembleManifest
from models.errors import CorruptArtefact
from training.calibration import fit_temperature
from training.checkpoints import epoch_to_dict
from training.doubt import fit_doubt
from training.members import FinishedWeights, finished_member, read_predictions
from training.metrics import evaluate, pool
from training.progress import Evaluating
from training.proving import prove_engines
from training.report import report_of
from training.teachers import find_teacher
from training.work import Work


def publish(work: Work) -> EnsembleManifest:
    """Publish the ensemble of a run whose members are all finished.

    Raises:
        CorruptArtefact: a finished member's file is damaged.
        StoreFull: no space left; the ensemble does not exist.
    """
    work.run.report(Evaluating())
    members = [found for part in work.members if (found := finished_member(work, part))]
    if len(members) < work.recipe.members:
        raise CorruptArtefact(f"{work.folder}: a finished member is gone, or damaged")
    predictions = {split: read_predictions(work, members, split) for split in work.splits}
    labels = {split: pictures.labels for split, pictures in work.splits.items()}
    temperature = fit_temperature(pool(predictions["validation"]), labels["validation"])
    curves = {
        f"teacher {part.index}": [epoch_to_dict(epoch) for epoch in teacher[1]]
        for part in work.teachers
        if (teacher := find_teacher(work.store, work.teacher_name(part.index), part))
    }
    for part, member in zip(work.members, members, strict=True):
        curves[str(part)] = [epoch_to_dict(epoch) for epoch in member.curve]
    weights = FinishedWeights(work, members)
    manifest = EnsembleManifest(
        id="",
        name=work.recipe.display_name(),
        network=work.recipe.student,
        classes=work.dataset.classes,
        size=work.lesson.train.images.shape[-1],
        normalisation=work.lesson.normalisation,
        members=(),
        temperature=temperature,
        recipe=work.recipe.to_dict(),
        dataset={"name": work.dataset.name, "digest": work.dataset.digest},
        teachers=tuple(map(work.teacher_name, range(len(work.recipe.teacher)))),
        metrics={
            split: evaluate(predictions[split], labels[split], temperature) for split in predictions
        },
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        doubt=fit_doubt(predictions["validation"], labels["validation"], temperature).to_dict(),
    )
    proven = prove_engines(
        manifest,
        weights,
        train=work.lesson.train,
        validation=work.lesson.validation,
        reference=predictions["validation"],
        check=work.run.check,
    )
    return work.store.publish(
        replace(manifest, quantisation=proven.quantisation, proofs=proven.proofs),
        weights,
        predictions,
        report_of(
            classes=work.dataset.classes,
            temperature=temperature,
            curves=curves,
            predictions=predictions,
            labels=labels,
        ),
    )
