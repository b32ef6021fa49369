"""``stillhouse ensembles``, ``ensemble`` and ``promote``."""

import click

from app.cli.command import Command
from app.cli.screen import ago, per_cent, show_facts, show_table, size
from app.cli.service import with_service
from app.client import Stillhouse
from app.schemas import EnsembleDetail

json_option = click.option("--json", "as_json", is_flag=True, help="As the service answers it.")


@click.command(
    "ensembles",
    cls=Command,
    examples=(
        ("ensembles", "all of them; * marks the one that serves"),
        ("ensembles --json", "for programs"),
    ),
)
@json_option
@with_service
def ensembles_command(service: Stillhouse, /, as_json: bool) -> None:
    """List ensembles, newest first; * marks the one that serves."""
    found = service.ensembles()
    if as_json:
        click.echo(found.model_dump_json())
        return
    columns = ["", "ensemble", "network", "members", "classes", "data", "size"]
    columns += ["validation", "test", "made"]
    rows = [
        (
            "*" if each.serving else "",
            each.id,
            each.network,
            each.members,
            each.classes,
            each.dataset.get("name"),
            size(each.bytes),
            per_cent(each.val_accuracy),
            per_cent(each.test_accuracy),
            ago(each.created_at),
        )
        for each in found.ensembles
    ]
    show_table(columns, rows, right="members classes size validation test")


@click.command(
    "ensemble",
    cls=Command,
    examples=(
        ("ensemble birds-3f2a91c0", "what it was made of and what it reaches"),
        ("ensemble birds-3f2a91c0 --json", "all that its manifest says"),
    ),
)
@click.argument("id")
@json_option
@with_service
def ensemble_command(service: Stillhouse, /, id: str, as_json: bool) -> None:  # noqa: A002
    """Show one ensemble: what it was made of, what it reaches, which engines answer."""
    found = service.ensemble(id)
    if as_json:
        click.echo(found.model_dump_json())
        return
    engines = found.engines
    show_facts(
        [
            ("ensemble", found.id),
            ("serving", "yes" if found.serving else "no"),
            ("members", f"{len(found.members)} × {found.network}, {size(found.bytes)}"),
            ("classes", f"{len(found.classes)} of {found.dataset.get('name')}"),
            ("teachers", ", ".join(found.teachers) or "none"),
            *_reached(found),
            ("temperature", f"{found.temperature:.3f}"),
            ("engines", engines and f"{engines.default}, exact {engines.exact}"),
            ("made", ago(found.created_at)),
        ]
    )


def _reached(found: EnsembleDetail) -> list[tuple[str, str]]:
    told = []
    for split, metrics in found.metrics.items():
        pooled, alone = metrics["pooled"], metrics.get("members_mean")
        line = f"{pooled['accuracy']:.1%} together"
        line += f", {alone['accuracy']:.1%} a member" if alone else ""
        calibrated = metrics.get("calibrated", {})
        line += f", NLL {calibrated['nll']:.3f}, ECE {calibrated['ece']:.3f}" if calibrated else ""
        told.append((split, line))
    return told


@click.command(
    "promote",
    cls=Command,
    examples=(
        ("promote birds-3f2a91c0", "let it answer from now on"),
        ("promote release-resnet14x10", "roll back: the same command"),
    ),
)
@click.argument("id")
@with_service
def promote_command(service: Stillhouse, /, id: str) -> None:  # noqa: A002
    """Make an ensemble the serving one, or roll back to it. No request fails meanwhile."""
    change = service.promote(id)
    before = f"; before: {change.previous}" if change.previous not in {None, id} else ""
    click.echo(f"{change.ensemble} serves now, with {change.members} members{before}")
