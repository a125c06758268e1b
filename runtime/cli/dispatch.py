"""`lsd-run merge OUT`, `lsd-run status OUT` beside `lsd-run BUNDLE SOURCE...`: words that are commands of their own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import click

from lsd.runtime.cli.merge import merge
from lsd.runtime.cli.status import status
from lsd.runtime.command import LsdCommand


class RunCommand(LsdCommand):
    """A command that hands over to one of `commands` if the first word is its name.

    A bundle folder of that name is reached as ./merge.
    """

    commands: ClassVar[dict[str, click.Command]] = {"merge": merge, "status": status}

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *others: Any, **options: Any
    ) -> Any:
        """Run this command, or the one that the first word names."""
        words = list(sys.argv[1:] if args is None else args)
        if words and words[0] in self.commands:
            program = prog_name or Path(sys.argv[0]).name
            return self.commands[words[0]].main(words[1:], f"{program} {words[0]}", *others, **options)
        return super().main(words, prog_name, *others, **options)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands below the options."""
        with formatter.section("Commands, in place of BUNDLE"):
            formatter.write_dl([(f"{name} ...", one.get_short_help_str(80)) for name, one in self.commands.items()])
        super().format_epilog(ctx, formatter)
