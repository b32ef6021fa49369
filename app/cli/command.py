"""What a command is here: click's, with examples, and failures that say what to do."""

from collections.abc import Sequence
from typing import IO, Any

import click

FAILED, UNREACHABLE, INTERRUPTED = 1, 69, 130
"""Exit statuses beside 0 and click's 2; 69 is EX_UNAVAILABLE of BSD's sysexits."""


class Failed(click.ClickException):
    """A command cannot do what it was asked; the message says why and what to do.

    Args:
        message: one line, or several.
        exit_code: of the process.
    """

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click has it of the class

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it on stderr."""
        click.secho("error: ", nl=False, fg="red", bold=True, err=True, file=file)
        click.echo(self.format_message(), err=True, file=file)


class Command(click.Command):
    """A command whose help ends with examples.

    Args:
        examples: command lines without ``stillhouse``, each with what it does.
    """

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **more: Any) -> None:
        super().__init__(*args, **more)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples."""
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[tuple[str, str]]) -> None:
    """Write command lines, each below what it does."""
    with formatter.section("Examples"):
        for line, meaning in examples:
            # Not wrapped: they are there to be copied.
            formatter.write(f"{'':{formatter.current_indent}}# {meaning}\n")
            formatter.write(f"{'':{formatter.current_indent}}stillhouse {line}\n")
