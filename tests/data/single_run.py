"""One run of tiles in this process, with a chain that need not lie on disk."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lsd.runtime.bundle import Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.feeds.once import OnceFeed
from lsd.runtime.run import Run, RunPlan, context_of
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.stream.events import Event, Listener
from lsd.runtime.stream.output import STATE_FOLDER, Output


@dataclass(frozen=True)
class Fixed:
    """Stands for `lsd.runtime.stream.serving.Serving` where no newer bundle can come."""

    chain: Chain
    context: RunContext

    def refresh(self, tell: Listener) -> None:
        """Nothing comes."""


def fixed(bundle: Bundle, chain: Chain | None = None) -> Fixed:
    """What answers with a bundle in memory."""
    chain = Chain(bundle) if chain is None else chain
    return Fixed(chain, context_of(bundle, chain))


def run_once(sources: Sequence[Path], out: Path, serving: Fixed, plan: RunPlan | None = None) -> list[Event]:
    """Everything that the run told."""
    told: list[Event] = []
    with Output(out) as output:
        Run(serving, output, plan or RunPlan(), told.append, threading.Event()).follow(OnceFeed(sources))
    return told


def products(out: Path) -> dict[str, bytes]:
    """Relative path -> content of every file but the run's own notes."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and STATE_FOLDER not in path.relative_to(out).parts
    }
