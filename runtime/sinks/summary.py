"""What a run did: one result a tile, totals, as JSON and as a table to read. The one product that holds timings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lsd.runtime.commit import replace_bytes
from lsd.runtime.scores import TileScores
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.sinks.coverage import CAVEAT, coverage_of
from lsd.runtime.tiles import Decision, Scene, Tile, outline_deg

SCHEMA_VERSION = 2
_HEADINGS = ("tile", "patches", "slide", "look", "no slide", "not scored", "configuration", "max p", "remarks")
_NUMERIC = ("patches", "slide", "look", "no slide", "not scored", "max p")


@dataclass(frozen=True)
class TileResult:
    """Outcome of one tile.

    counts: as `TileScores.counts`, empty if failed. configurations: name -> patches scored with it. max_probability:
    0..1, None where nothing was scored. ground_km2: the tile; scored_ground_km2: the part inside scored patches,
    overlaps counted once. scenes: acquisitions behind the tile. event_time: ISO 8601, None if not stated. quality:
    configuration that answered -> its measured metrics (`RunContext.quality`). outline_deg: longitude and latitude of
    the upper left, upper right, lower right and lower left corner, None if failed. grid: rows and columns of patches.
    products: kind -> path relative to the output folder. error: one line, None if done. seconds: stage -> wall time.
    """

    id: str
    status: Literal["done", "failed"]
    counts: Mapping[str, int] = field(default_factory=dict)
    configurations: Mapping[str, int] = field(default_factory=dict)
    max_probability: float | None = None
    ground_km2: float = 0.0
    scored_ground_km2: float = 0.0
    note: str = ""
    warnings: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    scenes: tuple[Scene, ...] = ()
    event_time: str | None = None
    quality: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outline_deg: tuple[tuple[float, float], ...] | None = None
    grid: tuple[int, int] | None = None
    products: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def done_result(
    tile: Tile,
    scores: TileScores,
    context: RunContext,
    products: Mapping[str, str],
    seconds: Mapping[str, float],
) -> TileResult:
    """Result of a tile whose products are in place."""
    coverage = coverage_of(scores, tile.grid.gsd_m)
    used = {
        configuration: int((scores.configuration == number).sum())
        for number, configuration in enumerate(context.names, start=1)
    }
    answered = [one for one in context.configurations if used[one.name]]
    return TileResult(
        id=tile.id,
        status="done",
        counts=scores.counts(),
        configurations={name: patches for name, patches in used.items() if patches},
        max_probability=round(float(np.nanmax(scores.probability)), 6) if coverage.scored else None,
        ground_km2=coverage.ground_km2,
        scored_ground_km2=coverage.scored_ground_km2,
        note=coverage.note(),
        warnings=tile.warnings,
        decisions=tile.decisions,
        scenes=tile.scenes,
        event_time=tile.event_time,
        quality={one.name: context.quality(one) for one in answered},
        outline_deg=outline_deg(tile.grid),
        grid=(scores.grid.rows, scores.grid.columns),
        products=dict(products),
        seconds=dict(seconds),
    )


def failed_result(tile_id: str, error: BaseException, seconds: Mapping[str, float]) -> TileResult:
    """Result of a tile that has no products, with the error as one line."""
    line = " ".join(str(error).split()) or type(error).__name__
    return TileResult(id=tile_id, status="failed", error=line, seconds=dict(seconds))


def result_from_json(stored: Mapping[str, Any]) -> TileResult:
    """A result as `dataclasses.asdict` and JSON left it; unknown keys raise TypeError."""
    outline, grid = stored.get("outline_deg"), stored.get("grid")
    return TileResult(
        **{
            **stored,
            "warnings": tuple(stored["warnings"]),
            "decisions": tuple(Decision(**one) for one in stored["decisions"]),
            "scenes": tuple(Scene(**{**one, "bands": tuple(one["bands"])}) for one in stored["scenes"]),
            "outline_deg": None if outline is None else tuple((corner[0], corner[1]) for corner in outline),
            "grid": None if grid is None else (grid[0], grid[1]),
        }
    )


class RunSummary:
    """Collects the results of a run in the order in which tiles ended first."""

    def __init__(self) -> None:
        self._results: dict[tuple[str, str], TileResult] = {}  # tile and status
        self.known: set[str] = set()  # tiles done by an earlier run

    @property
    def tiles(self) -> list[TileResult]:
        """One result a tile; two where what was done before failed with a newer input."""
        return list(self._results.values())

    def add(self, result: TileResult, known: bool = False) -> None:
        """Take the result of one tile in; `known` if an earlier run did it."""
        if result.status == "done":
            self._results.pop((result.id, "failed"), None)
        self._results[result.id, result.status] = result
        (self.known.add if known else self.known.discard)(result.id)

    def totals(self) -> dict[str, Any]:
        """Sums over tiles: done, some of them before, and failed, patches by outcome, ground in km2, seconds by stage.

        Tiles that overlap each other count twice; a failed tile adds no ground.
        """
        kinds = (
            "patches",
            "slide",
            "look",
            "no_slide",
            "not_scored",
            "too_few_valid_pixels",
            "no_configuration",
            "looks_like_cloud",
            "cloud",
            "out_of_range",
            "shifted",
        )
        stages = sorted({stage for tile in self.tiles for stage in tile.seconds})
        return {
            "tiles": len(self.tiles),
            "done": sum(tile.status == "done" for tile in self.tiles),
            "failed": sum(tile.status == "failed" for tile in self.tiles),
            "done_before": len(self.known),
            **{kind: sum(tile.counts.get(kind, 0) for tile in self.tiles) for kind in kinds},
            "ground_km2": round(sum(tile.ground_km2 for tile in self.tiles), 4),
            "scored_ground_km2": round(sum(tile.scored_ground_km2 for tile in self.tiles), 4),
            "seconds": {stage: round(sum(tile.seconds.get(stage, 0.0) for tile in self.tiles), 3) for stage in stages},
        }

    def to_json(self, context: RunContext, options: Mapping[str, Any]) -> dict[str, Any]:
        """The whole summary, ready for `json`; `options` is the resolved configuration of the run."""
        return {
            "schema_version": SCHEMA_VERSION,
            "note": CAVEAT,
            "totals": self.totals(),
            "tiles": [asdict(tile) for tile in self.tiles],
            **context.to_json(),
            "options": dict(options),
        }

    def write(self, path: Path, context: RunContext, options: Mapping[str, Any]) -> None:
        """Write `to_json` as UTF-8.

        Raises:
            OutputError: the file cannot be written.
        """
        text = json.dumps(self.to_json(context, options), indent=1, allow_nan=False)
        replace_bytes(path, f"{text}\n".encode())

    def failures(self) -> list[str]:
        """One line a failed tile, with the reason."""
        return [f"failed: {_name(tile)}: {tile.error}" for tile in self.tiles if tile.status == "failed"]

    def looks(self) -> list[str]:
        """What a person should look at: one line a warning, with its tile, or their number where several share it."""
        found: dict[str, list[str]] = {}
        for tile in self.tiles:
            for warning in tile.warnings:
                found.setdefault(warning, []).append(_name(tile))
        return [
            f"look: {tiles[0] if len(tiles) == 1 else f'{len(tiles)} tiles'}: {warning}"
            for warning, tiles in found.items()
        ]

    def table(self) -> str:
        """One aligned line a tile and a line of totals, for people."""
        totals = self.totals()
        rows = [_HEADINGS, *(_row(tile, tile.id in self.known) for tile in self.tiles)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
        lines = []
        for row in rows:
            cells = (
                cell.rjust(width) if heading in _NUMERIC else cell.ljust(width)
                for heading, cell, width in zip(_HEADINGS, row, widths, strict=True)
            )
            lines.append("  ".join(cells).rstrip())
        unseen = totals["ground_km2"] - totals["scored_ground_km2"]
        failed = f", {totals['failed']} failed" if totals["failed"] else ""
        lines.append(
            f"{totals['done']} of {totals['tiles']} tiles done{failed}: {totals['slide']} slide, "
            f"{totals['look']} look, {totals['no_slide']} no slide, {totals['not_scored']} not scored; "
            f"looked at {totals['scored_ground_km2']:.2f} km2, {unseen:.2f} km2 unseen"
        )
        return "\n".join(lines)


def _name(tile: TileResult) -> str:
    """The id on one line."""
    return " ".join(tile.id.split())


def _row(tile: TileResult, is_known: bool) -> tuple[str, ...]:
    if tile.status == "failed":
        return _name(tile), *["-"] * (len(_HEADINGS) - 2), "failed"
    used = tile.configurations
    configuration = next(iter(used)) if len(used) == 1 else ", ".join(f"{name} {count}" for name, count in used.items())
    remarks = [f"{len(tile.warnings)} warning{'s' * (len(tile.warnings) > 1)}"] if tile.warnings else []
    if tile.max_probability is None:
        remarks.append("nothing was scored")
    if is_known:
        remarks.append("done before")
    return (
        _name(tile),
        *(str(tile.counts[kind]) for kind in ("patches", "slide", "look", "no_slide", "not_scored")),
        configuration or "none",
        "-" if tile.max_probability is None else f"{tile.max_probability:.3f}",
        "; ".join(remarks),
    )
