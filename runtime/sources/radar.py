"""From radar scenes to bands: levels after the event and changes since before it, one track a direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from lsd.runtime.acquisition.finding import Finding
from lsd.runtime.acquisition.gate import Verdict, decisions_of, refuse_certain
from lsd.runtime.acquisition.names import SWAPPED
from lsd.runtime.acquisition.radar import swapped_text
from lsd.runtime.bands import Orbit, resolve
from lsd.runtime.errors import BandError, TileError
from lsd.runtime.ingest import sentinel1, times, tracks
from lsd.runtime.sources.alignment import centre_deg, pixel_m
from lsd.runtime.sources.opening import OpenFile, OpenProduct
from lsd.runtime.sources.product import SourceOptions
from lsd.runtime.tiles import BandSource, Conversion, Decision, Role, Scene

if TYPE_CHECKING:
    from lsd.runtime.ingest.pairs import RadarScene
    from lsd.runtime.ingest.radar_products import RadarFacts

COARSEST_M = 20.0  # METHOD: radar of 10 to 20 m is near enough to the 10 m of training; 30 m only if the user insists
SHORT: dict[Orbit, str] = {"descending": "desc", "ascending": "asc"}
Levels = dict[str, OpenFile]  # `vv`, `vh` -> open file


@dataclass
class RadarBands:
    """What the radar scenes give: bands with their files and sources, the scenes used, and what was decided."""

    files: dict[str, OpenFile] = field(default_factory=dict)
    sources: dict[str, BandSource] = field(default_factory=dict)
    before: list[OpenFile] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def radar_bands(
    where: str, products: Sequence[OpenProduct], event_time: datetime | None, options: SourceOptions
) -> RadarBands:
    """Bands of the products that hold `VV`, `VH`, `dVV` or `dVH`.

    Args:
        where: the tile, for messages.
    Raises:
        BandError: a direction of flight is unknown, or a band is given twice by one product.
        TileError: a product cannot be used (mode, polarisation, level, 30 m), or the scenes make no sense in time.
        UnprovenUnitError: the unit of a level is neither proved nor declared.
        UsageError: a declaration contradicts a product.
    """
    found = RadarBands()
    scenes: dict[str, tuple[RadarScene, OpenProduct, Levels]] = {}
    for product in products:
        facts = _facts(product, options)
        found.decisions += facts.decisions
        if facts.orbit is None:
            raise BandError(tracks.unknown_direction(product.product.name, facts.acquired, _longitude(product)))
        levels: Levels = {}
        for file in product.directed:
            _refuse_coarse(file, options)
            channel = file.file.name.casefold()
            if channel in levels or resolve(channel, facts.orbit) in found.files:
                raise BandError(f"{file.file.path}: {channel} of {product.product.name} is given twice; remove one")
            if channel in ("vv", "vh"):
                levels[channel] = file
            else:
                _ready_made(found, file, channel, facts)
        if levels:
            from lsd.runtime.ingest.pairs import RadarScene

            key = product.product.name if product.product.name not in scenes else f"{product.product.path}"
            scenes[key] = RadarScene(key, facts, product.product.declared.role), product, levels
    if not scenes:
        return found
    from lsd.runtime.ingest.pairs import choose

    chosen, decisions, warnings = choose(
        where, [scene for scene, _, _ in scenes.values()], event_time, options.pre_scenes
    )
    found.decisions += decisions
    found.warnings += warnings
    for track in chosen:
        if track.post is None:
            continue
        _, product, levels = scenes[track.post.id]
        _add_track(found, where, track.post, levels, [(pre, scenes[pre.id][2]) for pre in track.pre], options)
    return found


def _longitude(product: OpenProduct) -> float:
    """Of the middle of a product, in degrees."""
    first = product.directed[0]
    return centre_deg(first.file.path, first.grid)[0]


def _facts(product: OpenProduct, options: SourceOptions) -> RadarFacts:
    from lsd.runtime.ingest.radar_products import radar_facts

    first = product.directed[0]
    longitude = _longitude(product)
    metadata = {**first.dataset.tags(), **product.product.metadata}
    return radar_facts(
        str(product.product.path), product.product.names, metadata, product.product.declared, options, longitude
    )


def _ready_made(found: RadarBands, file: OpenFile, channel: str, facts: RadarFacts) -> None:
    """A difference that somebody made already."""
    assert facts.orbit is not None
    name = resolve(channel, facts.orbit)
    found.files[name], found.sources[name] = file, file.source(name, "none")
    found.scenes.append(_scene(file.product.name, facts, "post", (name,)))


def _add_track(
    found: RadarBands,
    where: str,
    post: RadarScene,
    levels: Levels,
    before: Sequence[tuple[RadarScene, Levels]],
    options: SourceOptions,
) -> None:
    """Levels of the scene after the event, where they are of the training domain, and changes against those before."""
    assert post.facts.orbit is not None
    short = SHORT[post.facts.orbit]
    given: list[str] = []
    compared: list[str] = []
    for channel, file in levels.items():
        level, difference = f"{short}_{channel}", f"{short}_d{channel}"
        conversion, note = _converted(level, file, post.facts, options)
        found.decisions.append(note)
        if post.facts.gives_levels:
            found.files[level], found.sources[level] = file, file.source(level, conversion)
            given.append(level)
        if not before:
            continue
        lacking = [scene.id for scene, others in before if channel not in others]
        if lacking:
            found.warnings.append(f"no {difference}: {', '.join(lacking)} has no {channel.upper()}")
            continue
        earlier = []
        for scene, others in before:
            pre_conversion, note = _converted(level, others[channel], scene.facts, options)
            found.decisions.append(note)
            found.before.append(others[channel])
            earlier.append(others[channel].source(level, pre_conversion))
        found.files[difference] = file
        found.sources[difference] = file.source(difference, conversion, tuple(earlier))
        compared.append(difference)
    if not post.facts.gives_levels:  # levels are looked at with the other bands of the tile
        for scene, channels in ((post, levels), *before):
            _judge_channels(found, where, scene, channels, options)
        found.decisions.append(
            Decision(
                post.id,
                "level bands not used",
                "terrain-flattened radar is not the sigma0 of the training data; that cancels in a difference",
            )
        )
    if given or compared:
        found.scenes.append(_scene(post.id, post.facts, "post", (*given, *compared)))
        found.scenes += [_scene(scene.id, scene.facts, "pre", tuple(compared)) for scene, _ in before if compared]


def _judge_channels(found: RadarBands, where: str, scene: RadarScene, channels: Levels, options: SourceOptions) -> None:
    """Refuse a scene whose VH lies above its VV, unless that is forced: no other check sees its levels."""
    if set(channels) != {"vv", "vh"} or channels["vv"].grid != channels["vh"].grid:
        return
    levels = []
    for channel in ("vv", "vh"):
        conversion, _ = _converted(channel, channels[channel], scene.facts, options)
        factor = {"linear_to_db": 10.0, "amplitude_to_db": 20.0}.get(conversion)
        values = channels[channel].values
        with np.errstate(invalid="ignore", divide="ignore"):
            levels.append(values if factor is None else factor * np.log10(np.where(values > 0, values, np.nan)))
    text = swapped_text(levels[0], levels[1])
    if text is not None:
        verdict = Verdict((Finding(SWAPPED, "certain", f"{scene.id}: {text}"),))
        refuse_certain(verdict, where, options.force)
        found.decisions += decisions_of(verdict, options.force)
        found.warnings += verdict.warnings


def _converted(band: str, file: OpenFile, facts: RadarFacts, options: SourceOptions) -> tuple[Conversion, Decision]:
    """What brings a level to dB, from the file, the product, the user or the data."""
    declared = file.product.declared.radar_unit or options.radar_unit
    conversion, note = sentinel1.unit(band, file.file.path, file.unit, facts, declared, file.values)
    return conversion, Decision(f"{file.product.name} {file.file.name}", note.choice, note.reason)


def _scene(name: str, facts: RadarFacts, role: Role, bands: tuple[str, ...]) -> Scene:
    acquired = None if facts.acquired is None else times.iso(facts.acquired)
    return Scene(name, "sentinel-1", role, facts.product, acquired, bands, facts.orbit, facts.relative_orbit)


def _refuse_coarse(file: OpenFile, options: SourceOptions) -> None:
    size_m = pixel_m(file.file.path, file.grid)
    if size_m > 1.25 * COARSEST_M and not options.force_coarse_radar:
        raise TileError(
            f"{file.file.path} has pixels of {size_m:.3g} m; expected at most {COARSEST_M:g} m (slides of a patch blur "
            "beyond it): fetch a finer product, or give --force-coarse-radar"
        )
