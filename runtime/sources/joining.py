"""Scenes that lie apart, joined by place and time: each optical scene after the event takes the radar over it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from rasterio.io import DatasetReader

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.times import acquired, iso
from lsd.runtime.sources.alignment import grid_of
from lsd.runtime.sources.memo import Memo, ask
from lsd.runtime.sources.product import Candidate, Product, SourceOptions, TileFailure
from lsd.runtime.tiles import Decision, outline_deg

Bbox = tuple[float, float, float, float]  # west, south, east, north in degrees; west > east across 180 degrees
# Frames of one track overlap their neighbours by a few per cent; two passes over one frame nearly all of it.
SAME_FRAME_SHARE = 0.5
TOUCHING_SHARE = 1e-6  # boxes that share an edge overlap by a rounding error
SAME_PASS = timedelta(minutes=30)
_LAST = datetime.max.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class FoundScene:
    """One product that can be used, with what decides where it goes."""

    product: Product
    bbox: Bbox | None
    time: datetime | None
    is_optical: bool


def joined(found: Sequence[FoundScene], options: SourceOptions) -> tuple[list[Candidate], list[TileFailure]]:
    """One tile for each optical scene after the event, with all radar that overlaps it, whatever its track.

    Of the radar frames of one pass only the one that covers the optical scene best is taken. Radar that no optical
    scene takes makes tiles of its own, one for each relative orbit and frame. Without an event time every optical scene
    is a tile; those before it, at a place with none after it, are failures.
    """
    scenes = sorted(found, key=lambda one: (one.time or _LAST, _id(one)))
    optical = [scene for scene in scenes if scene.is_optical]
    radar = [scene for scene in scenes if not scene.is_optical]
    early = [scene for scene in optical if _is_before(scene, options.event_time)]
    used = [scene for scene in optical if scene not in early]
    candidates = [_with_radar(scene, radar, early, options) for scene in used]
    alone = [scene for scene in radar if not _overlaps_any(scene, used)]
    candidates += [_of_group(group, options) for group in _groups(alone)]
    return candidates, [_too_early(scene, options) for scene in early if not _overlaps_any(scene, used)]


def _with_radar(
    scene: FoundScene, radar: Sequence[FoundScene], early: Iterable[FoundScene], options: SourceOptions
) -> Candidate:
    over = [one for one in radar if _overlap(scene.bbox, one.bbox)]
    taken = [one for one in over if _best_of_pass(one, over, scene) is one]
    decisions = [Decision(_id(one), f"joined to {_id(scene)}", "their boxes overlap") for one in taken]
    decisions += [
        Decision(_id(one), "not used", f"another frame of its pass covers {_id(scene)} better")
        for one in over
        if one not in taken
    ]
    decisions += [_not_used(one, options) for one in early if _overlap(scene.bbox, one.bbox)]
    return Candidate(_id(scene), (scene.product, *(one.product for one in taken)), tuple(decisions))


def _best_of_pass(one: FoundScene, others: Iterable[FoundScene], optical: FoundScene) -> FoundScene:
    """Of the frames of the same pass the one that has most in common with the optical scene; the first of equals."""
    if one.time is None or one.bbox is None or optical.bbox is None:
        return one
    frames = [
        other
        for other in others
        if other.time is not None and abs(other.time - one.time) < SAME_PASS and _orbit(other) == _orbit(one)
    ]
    return max(frames, key=lambda frame: _common(frame.bbox, optical.bbox))


def _not_used(scene: FoundScene, options: SourceOptions) -> Decision:
    assert scene.time is not None and options.event_time is not None
    reason = f"taken at {iso(scene.time)}, before the event ({iso(options.event_time)})"
    return Decision(_id(scene), "not used: before the event", reason)


def _too_early(scene: FoundScene, options: SourceOptions) -> TileFailure:
    assert scene.time is not None and options.event_time is not None
    reason = TileError(
        f"{scene.product.path}: taken at {iso(scene.time)}, and event time {iso(options.event_time)} is after every "
        "optical scene of this place; add a later scene, or correct --event-time"
    )
    return TileFailure(_id(scene), reason)


def _groups(radar: Sequence[FoundScene]) -> list[list[FoundScene]]:
    """Radar scenes by relative orbit and frame, in order of time."""
    groups: list[list[FoundScene]] = []
    for scene in radar:
        for group in groups:
            if _orbit(group[0]) == _orbit(scene) and _share(group[0].bbox, scene.bbox) >= SAME_FRAME_SHARE:
                group.append(scene)
                break
        else:
            groups.append([scene])
    return groups


def _of_group(group: Sequence[FoundScene], options: SourceOptions) -> Candidate:
    """A tile of radar alone, named by the first scene after the event, by the last one without an event time."""
    after = [scene for scene in group if not _is_before(scene, options.event_time)]
    named = after[0] if after and options.event_time is not None else group[-1]
    joined = (
        Decision(_id(one), f"joined to {_id(named)}", "same orbit and frame") for one in group if one is not named
    )
    return Candidate(_id(named), tuple(scene.product for scene in group), tuple(joined))


def _orbit(scene: FoundScene) -> tuple[Any, ...]:
    metadata = scene.product.metadata
    return metadata.get("sat:relative_orbit"), str(metadata.get("sat:orbit_state", "")).casefold()


def _is_before(scene: FoundScene, event_time: datetime | None) -> bool:
    return event_time is not None and scene.time is not None and scene.time <= event_time


def _overlaps_any(scene: FoundScene, others: Iterable[FoundScene]) -> bool:
    return any(_overlap(scene.bbox, other.bbox) for other in others)


def _overlap(one: Bbox | None, other: Bbox | None) -> bool:
    """True if two boxes overlap, or the place of one is unknown: then the grids decide."""
    return one is None or other is None or _share(one, other) > TOUCHING_SHARE


def _common(one: Bbox | None, other: Bbox | None) -> float:
    """Area that two boxes have in common, in square degrees; 0 if one is unknown."""
    if one is None or other is None:
        return 0.0
    width, width_2 = (one[2] - one[0]) % 360, (other[2] - other[0]) % 360  # across 180 degrees west > east
    # the second box starts `apart` degrees east of the first one, or the first starts 360 - apart east of it
    apart = (other[0] - one[0]) % 360
    common = max(min(width - apart, width_2), min(width_2 - (360 - apart), width), 0.0)
    return common * max(min(one[3], other[3]) - max(one[1], other[1]), 0.0)


def _share(one: Bbox | None, other: Bbox | None) -> float:
    """Area that two boxes have in common over that of the smaller one, 0..1; 0 if one is unknown."""
    if one is None or other is None:
        return 0.0
    smaller = min((box[2] - box[0]) % 360 * (box[3] - box[1]) for box in (one, other))
    return _common(one, other) / smaller if smaller > 0 else 0.0


def _id(scene: FoundScene) -> str:
    return scene.product.name


def loose_scene(candidate: Candidate, memo: Memo | None = None) -> FoundScene | None:
    """The one product of a candidate as a scene, None if it is neither optical alone nor radar without direction alone.

    Raises:
        TileError: its first file cannot be opened.
    """
    (product,) = candidate.products
    bands = [file for file in product.files if not file.is_ignored and file.cloud_kind is None]
    is_optical = bool(bands) and all(file.is_optical for file in bands)
    if not bands or not (is_optical or all(file.needs_orbit for file in bands)):
        return None
    time = product.declared.time or acquired(product.metadata, product.names)
    return FoundScene(product, ask(bands[0].path, _bbox_of, memo), time, is_optical)


def _bbox_of(dataset: DatasetReader) -> Bbox:
    longitude, latitude = zip(*outline_deg(grid_of(dataset)), strict=True)
    return min(longitude), min(latitude), max(longitude), max(latitude)
