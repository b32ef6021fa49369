"""``stillhouse jobs``, ``job`` and ``cancel``."""

from itertools import islice
from typing import get_args

import click

from app.cli.command import FAILED, Command
from app.cli.screen import ago, duration, per_cent, show_facts, show_table, tell
from app.cli.service import with_service
from app.client import Refused, Stillhouse
from app.schemas import Job, JobStatus

json_option = click.option("--json", "as_json", is_flag=True, help="As the service answers it.")


@click.command(
    "jobs",
    cls=Command,
    examples=(
        ("jobs", "the latest twenty"),
        ("jobs --status running", "those that are trained now"),
        ("jobs --limit 1000 --json", "many, one JSON object a line"),
    ),
)
@click.option("--status", type=click.Choice(get_args(JobStatus)), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@with_service
def jobs_command(
    service: Stillhouse, /, status: JobStatus | None, limit: int, as_json: bool
) -> None:
    """List jobs, newest first."""
    found = list(islice(service.jobs(status), limit))
    if as_json:
        for job in found:
            click.echo(job.model_dump_json())
        return
    columns = ("job", "status", "data", "members", "progress", "left", "asked for", "ensemble")
    rows = [
        (
            job.id,
            job.status,
            job.recipe.get("dataset"),
            f"{job.recipe.get('members')} × {job.recipe.get('student')}",
            per_cent(job.progress, 0),
            duration(job.eta_seconds) if not job.finished else None,
            ago(job.created_at),
            job.ensemble,
        )
        for job in found
    ]
    show_table(columns, rows, right="progress left")


@click.command(
    "job",
    cls=Command,
    examples=(
        ("job 3f2a91c0", "how far it is, or how it ended"),
        ("job 3f2a91c0 --json", "with recipe, plan, learning curves and history"),
    ),
)
@click.argument("id")
@json_option
@with_service
def job_command(service: Stillhouse, /, id: str, as_json: bool) -> None:  # noqa: A002
    """Show one job."""
    job = service.job(id)
    if as_json:
        click.echo(job.model_dump_json())
    else:
        show_job(job)


def show_job(job: Job) -> None:
    """Print how far a job is, or how it ended and why."""
    done = sum(member.status == "succeeded" for member in job.members)
    asked = job.recipe
    recipe = f"{asked.get('members')} × {asked.get('student')} on {asked.get('dataset')}"
    show_facts(
        [
            ("job", job.id),
            ("status", job.status),
            ("recipe", recipe),
            ("progress", f"{job.progress:.0%}, {done} of {len(job.members)} members done"),
            ("left", duration(job.eta_seconds) if not job.finished else None),
            ("workers", job.workers if not job.finished else None),
            ("asked for", ago(job.created_at)),
            ("ended", ago(job.finished_at)),
            ("ensemble", job.ensemble),
            ("accuracy", _accuracy(job)),
            ("serving", job.promotion and _promotion(job)),
            ("error", job.error and f"{job.error.title}: {job.error.detail}"),
        ]
    )


def _accuracy(job: Job) -> str | None:
    told = [
        f"{split} {metrics['pooled']['accuracy']:.1%}"
        for split, metrics in (job.metrics or {}).items()
    ]
    return ", ".join(told) or None


def _promotion(job: Job) -> str:
    assert job.promotion is not None  # noqa: S101  # asked of those that have one
    return f"{'yes' if job.promotion.promoted else 'no'}, {job.promotion.reason}"


@click.command(
    "cancel",
    cls=Command,
    examples=(("cancel 3f2a91c0", "it ends within seconds, also when still queued"),),
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@with_service
def cancel_command(service: Stillhouse, /, ids: tuple[str, ...]) -> int:
    """Ask jobs to stop."""
    refused = 0
    for id_ in ids:
        try:
            service.cancel(id_)
            click.echo(f"{id_}: asked to stop")
        except Refused as error:
            refused += 1
            tell(f"{id_}: {error.detail}")
    return FAILED if refused else 0
