"""``stillhouse plot``: curves of a job, or all figures of an ensemble, as PNG files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.command import Command, Failed
from app.cli.service import with_service
from app.client import Missing, Stillhouse
from app.schemas import Job
from training.figures import draw_learning_curves, draw_report, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@click.command(
    "plot",
    cls=Command,
    examples=(
        ("plot 3f2a91c0", "curves of a job, also while it runs, into ./3f2a91c0/"),
        ("plot birds-3f2a91c0 --out pictures", "curves, reliability, confusion, more members"),
    ),
)
@click.argument("id", metavar="JOB_OR_ENSEMBLE")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: ./<id>]"
)
@with_service
def plot_command(service: Stillhouse, /, id: str, out: Path | None) -> None:  # noqa: A002
    """Draw the curves of a job or an ensemble as PNG files."""
    try:
        figures = _of_job(service, service.job(id))
    except Missing as no_job:
        if no_job.kind != "job-not-found":
            raise
        figures = _of_ensemble(service, id)
    for file in save(figures, out or Path(id)):
        click.echo(file)


def _of_job(service: Stillhouse, job: Job) -> "Mapping[str, Figure]":
    if job.ensemble is not None:
        return _of_ensemble(service, job.ensemble)
    curves: dict[str, list[dict[str, Any]]] = {}
    for role, parts in (("teacher", job.teachers), ("member", job.members)):
        for part in parts:
            if part.curve:
                curves[f"{role} {part.index}"] = [epoch.model_dump() for epoch in part.curve]
    if not curves:
        raise Failed(f"job {job.id} is {job.status} and has finished no epoch to draw")
    return {"learning-curves": draw_learning_curves(curves, job.id)}


def _of_ensemble(service: Stillhouse, id_: str) -> "Mapping[str, Figure]":
    return draw_report(service.ensemble(id_), service.report(id_))
