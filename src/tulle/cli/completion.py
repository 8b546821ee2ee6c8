"""`tulle completion`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that the script is for.")]) -> None:
    """Print a completion script for your shell.

    \b
    Examples:
      source <(tulle completion bash)
      tulle completion fish > ~/.config/fish/completions/tulle.fish
    """
    from typer._completion_shared import get_completion_script

    from tulle.cli.main import COMPLETE

    sys.stdout.write(get_completion_script(prog_name="tulle", complete_var=COMPLETE, shell=shell.value) + "\n")
