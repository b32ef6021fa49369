"""``stillhouse``: finds the command, and turns what goes wrong into an exit status."""

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import click

from app import __version__
from app.cli.command import FAILED, INTERRUPTED, Failed, write_examples

PROGRAM = "stillhouse"
COMPLETE = "_STILLHOUSE_COMPLETE"
"""The variable by which a shell asks for completions."""


class Entry(NamedTuple):
    """Where a command is, and what it does in one line."""

    module: str
    meaning: str


COMMANDS = {
    "up": Entry("up", "Start the service on this machine."),
    "doctor": Entry("doctor", "Say what is missing on this machine and what to do."),
    "predict": Entry("predict", "Say what is in pictures."),
    "distill": Entry("distill", "Ask for an ensemble."),
    "follow": Entry("follow", "Watch a job until it ends."),
    "jobs": Entry("jobs", "List jobs, newest first."),
    "job": Entry("jobs", "Show one job."),
    "cancel": Entry("jobs", "Ask jobs to stop."),
    "ensembles": Entry("ensembles", "List ensembles, newest first."),
    "ensemble": Entry("ensembles", "Show one ensemble."),
    "promote": Entry("ensembles", "Make an ensemble the serving one, or roll back to it."),
    "plot": Entry("plot", "Draw the curves of a job or an ensemble as PNG files."),
    "export": Entry("archives", "Write an ensemble into one file."),
    "import": Entry("archives", "Bring in an ensemble that was exported."),
    "datasets": Entry("datasets", "List data sets, or look into one."),
    "upload": Entry("datasets", "Send a folder or zip of own pictures as a data set."),
    "completion": Entry("completion", "Print what makes a shell complete commands and options."),
}
"""In the order of the help, which is that of their use."""

EXAMPLES = (
    ("up", "start the service on this machine"),
    ("predict photo.jpg", "say what is in a picture"),
    ("distill --preset default --follow", "train an ensemble and watch it"),
    ("distill --help", "each command explains itself, with examples"),
)


class Program(click.Group):
    """The commands of the table, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"app.cli.{entry.module}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which was perhaps meant."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from difflib import get_close_matches  # noqa: PLC0415  # only for typing errors

            close = get_close_matches(args[0], COMMANDS, 1)
            meant = f" Did you mean '{close[0]}'?" if close else " See 'stillhouse --help'."
            raise click.UsageError(f"No such command '{args[0]}'.{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table, without importing any of it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.meaning) for name, entry in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples."""
        write_examples(formatter, EXAMPLES)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
def stillhouse() -> None:
    """Distil ensembles of small image networks, and ask them what is in pictures.

    The service is at http://127.0.0.1:8000, or where --url or STILLHOUSE_URL says. Where it has
    keys, STILLHOUSE_API_KEY holds one: a command line would show it to everyone on the machine.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    try:
        status = stillhouse.main(
            None if arguments is None else list(arguments),
            prog_name=PROGRAM,
            complete_var=COMPLETE,
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        # Threads may wait for answers that nobody wants any more; Python would wait for them.
        os._exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has had enough of it
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        Failed(str(error)).show()
        return FAILED
    return status if isinstance(status, int) else 0
