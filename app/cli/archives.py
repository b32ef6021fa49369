"""``stillhouse export`` and ``import``: an ensemble as one file."""

from pathlib import Path

import click

from app.cli.command import Command
from app.cli.screen import size, tell
from app.cli.service import with_service
from app.client import Stillhouse


@click.command(
    "export",
    cls=Command,
    examples=(
        ("export birds-3f2a91c0", "into ./birds-3f2a91c0.zip"),
        ("export birds-3f2a91c0 backup/birds.zip", "into this file"),
    ),
)
@click.argument("id")
@click.argument("path", type=click.Path(path_type=Path), default=Path())
@with_service
def export_command(service: Stillhouse, /, id: str, path: Path) -> None:  # noqa: A002
    """Write an ensemble into one file, PATH or <id>.zip in the folder PATH."""
    written = service.export(id, path)
    click.echo(written)
    tell(f"{size(written.stat().st_size)} written")


@click.command(
    "import",
    cls=Command,
    examples=(
        ("import birds-3f2a91c0.zip", "an ensemble that was exported, here or elsewhere"),
        ("promote birds-3f2a91c0", "and let it answer"),
    ),
)
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_service
def import_command(service: Stillhouse, /, path: Path) -> None:
    """Bring in an ensemble that was exported. It serves when it is promoted."""
    brought = service.import_(path)
    click.echo(brought.id)
    what = f"{brought.members} × {brought.network} for {brought.classes} classes"
    tell(f"{what}; 'stillhouse promote {brought.id}' lets it answer")
