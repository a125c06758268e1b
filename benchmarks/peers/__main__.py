"""`python -m lsd.benchmarks.peers COMPARISON -o FILE.json`; each comparison is imported when it is asked for."""

from __future__ import annotations

import importlib

import click

from lsd.runtime.command import LsdGroup

COMPARISONS = {
    "statistics": "Statistics of a patch: the notebook way, numpy, ours, and a bare copy.",
    "forests": "Forests by every library that evaluates them here.",
    "encoders": "Networks by torch, torch.compile, ONNX Runtime, OpenVINO and TensorRT.",
    "frontier": "Accuracy against microseconds a patch, with a plot.",
    "start-up": "From the start of lsd-run to its help and to the first patch scored.",
}


class Comparisons(LsdGroup):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the list above."""
        return list(COMPARISONS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, its module imported now."""
        if cmd_name not in COMPARISONS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"lsd.benchmarks.peers.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list above, without importing anything."""
        with formatter.section("Comparisons"):
            formatter.write_dl(list(COMPARISONS.items()))


@click.group(cls=Comparisons, context_settings={"max_content_width": 100})
def main() -> None:
    """Compare with other libraries, in turns in one run; JSON with conditions, and a table on stdout."""


if __name__ == "__main__":
    main(prog_name="python -m lsd.benchmarks.peers")
