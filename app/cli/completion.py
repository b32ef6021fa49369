"""``stillhouse completion``: what a shell reads to complete commands and options."""

import click
from click.shell_completion import get_completion_class

from app.cli.command import Command
from app.cli.program import COMPLETE, PROGRAM, stillhouse

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    cls=Command,
    examples=(
        ("completion bash > ~/.local/share/bash-completion/completions/stillhouse", "for bash"),
        ("completion zsh > ~/.zfunc/_stillhouse", "for zsh, with ~/.zfunc in its fpath"),
        ("completion fish > ~/.config/fish/completions/stillhouse.fish", "for fish"),
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print what makes a shell complete commands and options."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  # click has one for each of these
    click.echo(kind(stillhouse, {}, PROGRAM, COMPLETE).source())
