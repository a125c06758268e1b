"""What happens in a run, told to whoever listens: progress, log, metrics, status."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it takes rasterio, which is imported while forests are laid out (lsd.runtime.cli.serving_of)
    from lsd.runtime.sinks.summary import TileResult


@dataclass(frozen=True)
class TileBegun:
    """A tile is being read; `tile_id` names it."""

    tile_id: str


@dataclass(frozen=True)
class TileEnded:
    """A tile is done, its products in place, or it failed; `result` says which and why."""

    result: TileResult


@dataclass(frozen=True)
class TileKnown:
    """A tile that the journal has as done with the same input and options was left as it is."""

    result: TileResult


@dataclass(frozen=True)
class TilesWaiting:
    """What is still being written into a watched folder and is left alone for now; empty if nothing is."""

    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Paused:
    """The output cannot be written; the run waits and tries again. `reason` is one line."""

    reason: str


@dataclass(frozen=True)
class Resumed:
    """The output can be written again. `waited_s`: how long it could not."""

    waited_s: float


@dataclass(frozen=True)
class BundleChanged:
    """From the next tile on another bundle answers."""

    name: str
    sha256: str


@dataclass(frozen=True)
class BundleRefused:
    """A newer bundle is there but did not open or failed its self-test; the one in use stays."""

    reason: str


@dataclass(frozen=True)
class Drifted:
    """How far the stream is from the ground that the models were trained on; told when `warnings` change.

    shifts: canonical band name -> shift in spreads of training. warnings: one line a band that moved too far.
    """

    shifts: Mapping[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Queued:
    """How much waits between two stages now; told when it changes.

    depths: `undecided`, patches for the encoders; `write`, tiles whose products are being written.
    """

    depths: Mapping[str, int]


@dataclass(frozen=True)
class Stopping:
    """The run was asked to stop; the tiles in hand are finished first."""

    reason: str


Event = (
    TileBegun
    | TileEnded
    | TileKnown
    | TilesWaiting
    | Paused
    | Resumed
    | BundleChanged
    | BundleRefused
    | Drifted
    | Queued
    | Stopping
)
Listener = Callable[[Event], None]


def tell_all(listeners: Sequence[Listener]) -> Listener:
    """One listener that passes every event on, in order."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
