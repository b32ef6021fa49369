"""``stillhouse up``: the launcher that `make run` starts, with a few settings as options."""

import os

import click

from app.cli.command import Command
from app.up import main


@click.command(
    "up",
    cls=Command,
    examples=(
        ("up", "a queue, one worker and the API on http://127.0.0.1:8000"),
        ("up --port 8080 --store /var/lib/stillhouse --data pictures", "elsewhere"),
    ),
)
@click.option("--host", help="Address to listen on.  [STILLHOUSE_HOST]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port.  [STILLHOUSE_PORT]")
@click.option("--store", help="Folder or fsspec URL of ensembles.  [STILLHOUSE_STORE]")
@click.option("--data", help="Folder of data sets.  [STILLHOUSE_DATA]")
def up_command(**settings: object) -> int:
    """Start the service on this machine and run until Ctrl-C, which stops all of it.

    All other settings come from the environment: docs/operations.md.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    os.environ.update({f"STILLHOUSE_{name.upper()}": str(value) for name, value in given.items()})
    return main()
