"""Joining the tiles of an output folder: overlapping ground counted once, one finding a place, one grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS

from lsd.runtime.errors import SourceError, TileError, UsageError
from lsd.runtime.merging.findings import Finding, findings_of
from lsd.runtime.merging.ground import Boxes, corners_m, ground_m2, quad_area, transformed
from lsd.runtime.merging.mosaic import Mosaic, mosaic_of
from lsd.runtime.merging.scored_tile import DETECTIONS_NAME, SCORES_NAME, SHARED_TAGS, ScoredTile, read_scored_tile
from lsd.runtime.scores import LIKELY, LOOK_CLASS, NOTHING_SEEN, POSSIBLE

MERGED_NAME = "merged.json"  # its name marks a folder as the product of a merge, never as a tile
# Projections stretch ground far from their own zone, to infinity in the end: areas of tiles may differ by a tenth from
# their own, as 18 degrees of longitude from the zone's meridian on the equator. There is no sound map beyond.
_MAX_STRETCH = 1.1
_OPTIONS = {"bundle_sha256": "bundle", "assumed_prevalence": "--prevalence", "event_time": "--event-time"}


@dataclass(frozen=True)
class Merged:
    """What the tiles of a folder say together.

    tiles: by id. crs: of the merged grid. findings: one a place, those worth a look included. failed: folder -> why its
    products could not be read. not_scored: tiles that the last run in the folder could not score, id -> error; their
    ground is in no total.
    """

    tiles: tuple[ScoredTile, ...]
    crs: CRS
    findings: tuple[Finding, ...]
    mosaic: Mosaic
    totals: dict[str, Any]
    failed: dict[str, str]
    not_scored: dict[str, str]


def merge_tiles(out: Path, leave_out: Path | None = None) -> Merged:
    """Join all tiles in the folder of a run, or of several runs into the same folder.

    Args:
        out: folder with a folder for each tile, as lsd-run leaves it. Hidden folders and merged products are skipped.
        leave_out: folder that is no tile: where the merged products go.
    Raises:
        SourceError: `out` is no folder, or holds no tile that can be read.
        UsageError: the tiles come from different bundles, prevalences or event times, two have the same id, or they lie
            too far apart for one grid.
    """
    tiles, failed = _read_all(out, leave_out)
    _check_alike(tiles)
    order = _by_ground(tiles)
    crs = order[0]
    _check_reachable(tiles, crs)
    findings = tuple(findings_of(tiles, crs))
    return Merged(
        tiles=tuple(tiles),
        crs=crs,
        findings=findings,
        mosaic=mosaic_of(tiles, crs),
        totals=_totals(tiles, order, findings, failed),
        failed=failed,
        not_scored=_unfinished(out, {tile.id for tile in tiles}),
    )


def scored_km2(tile: ScoredTile) -> float:
    """Ground inside at least one scored patch of one tile."""
    return round(ground_m2([(tile.grid.crs, _squares(tile, NOTHING_SEEN))]) / 1e6, 6)


def _read_all(out: Path, leave_out: Path | None) -> tuple[list[ScoredTile], dict[str, str]]:
    if not out.is_dir():
        raise SourceError(f"{out} is no folder; give the output folder of lsd-run")
    tiles: list[ScoredTile] = []
    failed: dict[str, str] = {}
    for folder in sorted(out.iterdir()):
        if not _is_tile(folder) or (leave_out is not None and folder.resolve() == leave_out.resolve()):
            continue
        try:
            tiles.append(read_scored_tile(folder))
        except TileError as error:
            failed[folder.name] = " ".join(str(error).split())
    if not tiles:
        why = f" ({'; '.join(failed.values())})" if failed else ""
        raise SourceError(f"{out} holds no tile of lsd-run that can be read{why}; give the folder of lsd-run's -o")
    return sorted(tiles, key=lambda tile: tile.id), failed


def _is_tile(folder: Path) -> bool:
    if folder.name.startswith(".") or not folder.is_dir() or (folder / MERGED_NAME).exists():
        return False
    return any((folder / name).exists() for name in (SCORES_NAME, DETECTIONS_NAME))


def _check_alike(tiles: Sequence[ScoredTile]) -> None:
    """Raise UsageError unless the tiles are answers to one question, each of them another tile."""
    first = tiles[0]
    for tile in tiles[1:]:
        for tag in SHARED_TAGS:
            one, other = (each.tags[tag] or "not stated" for each in (first, tile))
            if one != other:
                raise UsageError(
                    f"{tag} is {one} in {first.folder} and {other} in {tile.folder}, so their results do not add up; "
                    f"merge runs of one {_OPTIONS[tag]} only, each in a folder of its own"
                )
    for tile, following in pairwise(tiles):
        if tile.id == following.id:
            folders = " and ".join(sorted((tile.folder, following.folder)))
            raise UsageError(f"{folders} hold the same tile {tile.id}; move one of them out of the folder")


def _by_ground(tiles: Sequence[ScoredTile]) -> list[CRS]:
    """The CRS of the tiles, the one with most scored ground first, then most ground, then by name."""
    crs = {tile.crs_name: tile.grid.crs for tile in tiles}

    def key(name: str) -> tuple[float, float, str]:
        own = [tile for tile in tiles if tile.crs_name == name]
        return -_m2(own, [crs[name]], NOTHING_SEEN), -_m2(own, [crs[name]], None), name

    return [crs[name] for name in sorted(crs, key=key)]


def _check_reachable(tiles: Sequence[ScoredTile], crs: CRS) -> None:
    """Raise UsageError if a tile has no sound place in the merged CRS."""
    for tile in tiles:
        corners = corners_m(tile.outline())
        there = transformed(corners, tile.grid.crs, crs)
        known = bool(np.isfinite(there).all())
        if not known or not 1 / _MAX_STRETCH < float((quad_area(there) / quad_area(corners))[0]) < _MAX_STRETCH:
            raise UsageError(
                f"{tile.folder} ({tile.crs_name}) lies too far from the other tiles ({crs.to_string()}) for one grid; "
                "keep regions of the world in folders of their own"
            )


def _totals(
    tiles: Sequence[ScoredTile], order: Sequence[CRS], findings: Sequence[Finding], failed: dict[str, str]
) -> dict[str, Any]:
    ground_km2 = round(_m2(tiles, order, None) / 1e6, 6)
    scored_ground_km2 = round(_m2(tiles, order, NOTHING_SEEN) / 1e6, 6)
    detections = [finding for finding in findings if finding.is_detection]
    return {
        "tiles": len(tiles),
        "failed": len(failed),
        "ground_km2": ground_km2,
        "scored_ground_km2": scored_ground_km2,
        # two CRS measure the same place a little differently
        "unseen_ground_km2": round(max(ground_km2 - scored_ground_km2, 0.0), 6),
        "detections_km2": round(_m2(tiles, order, POSSIBLE) / 1e6, 6),
        "detections": len(detections),
        "likely": sum(one.code == LIKELY for one in detections),
        "possible": sum(one.code == POSSIBLE for one in detections),
        "look": sum(one.code == LOOK_CLASS for one in findings),
        "joined": sum(len(one.also) for one in detections),
        "disputed": sum(one.is_disputed for one in detections),
    }


def _m2(tiles: Sequence[ScoredTile], order: Sequence[CRS], least: int | None) -> float:
    """Ground in m2 inside the patches of at least this class, or inside the tiles (None), each place once."""
    parts = []
    for crs in order:
        own = [tile for tile in tiles if tile.grid.crs == crs]
        boxes = [tile.outline() if least is None else _squares(tile, least) for tile in own]
        parts.append((crs, np.concatenate(boxes)))
    return ground_m2(parts)


def _squares(tile: ScoredTile, least: int) -> Boxes:
    return tile.boxes(*np.nonzero(tile.classes >= least))


def _unfinished(out: Path, known: set[str]) -> dict[str, str]:
    """Tiles that the summary of the last run calls failed and that no other run scored; none without a summary."""
    try:
        tiles = json.loads((out / "summary.json").read_text(encoding="utf-8"))["tiles"]
        failed = {str(tile["id"]): str(tile["error"]) for tile in tiles if tile["status"] == "failed"}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {tile: error for tile, error in sorted(failed.items()) if tile not in known}
