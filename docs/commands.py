"""Print the reference page of all commands, from their own --help: `make docs` writes docs/commands.md with it."""

from __future__ import annotations

import click

from lsd.benchmarks.bench.command import main as lsd_bench
from lsd.export.cli.main import main as lsd_export
from lsd.runtime.cli.run import main as lsd_run
from lsd.train.cli.main import main as lsd_train

COMMANDS = {"lsd-train": lsd_train, "lsd-export": lsd_export, "lsd-run": lsd_run, "lsd-bench": lsd_bench}


def every_command() -> list[tuple[str, click.Command]]:
    """(`lsd-export build`, command) for each command and subcommand."""
    found: list[tuple[str, click.Command]] = []
    for name, command in COMMANDS.items():
        found.append((name, command))
        inner = getattr(command, "commands", {})  # of a group, or of a command that hands over by its first word
        found += [(f"{name} {sub}", inner[sub]) for sub in sorted(inner)]
    return found


def page() -> str:
    """The whole page as Markdown."""
    parts = ["# Commands\n\nWritten by `make docs` from `--help`; do not edit.\n"]
    for name, command in every_command():
        context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
        parts.append(f"\n## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
