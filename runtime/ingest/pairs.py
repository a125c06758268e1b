"""Which radar scenes make the bands of a tile: for each direction one scene after the event and what came before it.

A difference is made of two scenes of one relative orbit, one kind of product and one processing; anything else would
show another look angle or another processor, not the ground (METHOD, S1 pair).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from lsd.runtime.bands import Orbit
from lsd.runtime.errors import TileError, UsageError
from lsd.runtime.ingest.radar_products import RadarFacts
from lsd.runtime.ingest.times import iso
from lsd.runtime.tiles import Decision

DIRECTIONS: tuple[Orbit, ...] = ("descending", "ascending")
SAME_PASS = timedelta(minutes=30)  # an orbit takes 98.6 minutes: closer scenes of a track are slices of one pass
LONG_GAP_DAYS = 60.0  # seasons change backscatter by more than a slide beyond it
SHORT_OF_TRACK = "state relative_orbit in a tile file"


@dataclass(frozen=True)
class RadarScene:
    """One radar acquisition. id: unique among those of a tile. role: what a tile file says, None if nothing."""

    id: str
    facts: RadarFacts
    role: Literal["pre", "post"] | None = None


@dataclass(frozen=True)
class Track:
    """What one direction gives: levels of `post`, and changes since `pre` (nearest before the event first)."""

    orbit: Orbit
    post: RadarScene | None
    pre: tuple[RadarScene, ...] = ()


@dataclass
class _Notes:
    """Decisions and warnings as they are made; a scene is noted once."""

    decisions: list[Decision]
    warnings: list[str]

    def unused(self, scene: RadarScene, reason: str) -> None:
        self.decisions.append(Decision(scene.id, "not used", reason))


def choose(
    where: str, scenes: Sequence[RadarScene], event_time: datetime | None, pre_scenes: int = 1
) -> tuple[list[Track], list[Decision], list[str]]:
    """Choose the scene after the event and those before it, for each direction of flight.

    A scene is before or after by its role, else by the event time; without either the latest scene of a direction
    counts as after the event and nothing is differenced. The order of `scenes` does not matter.

    Args:
        where: the tile, for messages.
        event_time: UTC; None if nobody stated it.
        pre_scenes: scenes before the event whose mean power is subtracted, at most.
    Returns:
        At most one track a direction, descending first; decisions, one for every scene that is not used among them;
        warnings.
    Raises:
        TileError: a scene without time among several; roles against the times; no scene after the event; stated roles
            of which nothing makes a pair.
        UsageError: pre_scenes below 1.
    """
    if pre_scenes < 1:
        raise UsageError(f"--pre-scenes must be 1 or more, is {pre_scenes}")
    ordered = sorted(scenes, key=_by_time)
    notes = _Notes([], [])
    _refuse_roles_against_times(where, ordered, event_time)
    before: list[RadarScene] = []
    after: list[RadarScene] = []
    for orbit in DIRECTIONS:
        here = [scene for scene in ordered if scene.facts.orbit == orbit]
        _refuse_unknown_times(where, here)
        pre, post = _divided(here, event_time, any(scene.role for scene in ordered), notes)
        before += pre
        after += post
    for scene in ordered:
        if scene.facts.orbit is None:
            notes.unused(scene, "its direction of flight is unknown")
    if before and not after:
        raise TileError(_all_before(where, before, event_time))
    tracks = [
        track
        for orbit in DIRECTIONS
        if (track := _track(where, orbit, _of(before, orbit), _of(after, orbit), event_time, pre_scenes, notes))
    ]
    if not any(track.pre for track in tracks) and _stated(before) and _stated(after):
        raise TileError(_no_pair(where, before, after, notes.warnings))
    return tracks, notes.decisions, notes.warnings


def _by_time(scene: RadarScene) -> tuple[bool, float, bool, str]:
    """Order in time, those of unknown time last; at one time, scenes that give levels first."""
    time = scene.facts.acquired
    return time is None, 0.0 if time is None else time.timestamp(), not scene.facts.gives_levels, scene.id


def _latest_first(scene: RadarScene) -> tuple[float, bool, str]:
    """Order from the latest on; only one scene is there where the time is unknown."""
    time = scene.facts.acquired
    return 0.0 if time is None else -time.timestamp(), not scene.facts.gives_levels, scene.id


def _of(scenes: Iterable[RadarScene], orbit: Orbit) -> list[RadarScene]:
    return [scene for scene in scenes if scene.facts.orbit == orbit]


def _stated(scenes: Iterable[RadarScene]) -> bool:
    return any(scene.role for scene in scenes)


def _when(scene: RadarScene) -> str:
    return "at an unknown time" if scene.facts.acquired is None else iso(scene.facts.acquired)


def _refuse_roles_against_times(where: str, scenes: Sequence[RadarScene], event_time: datetime | None) -> None:
    """Raise TileError if a stated role disagrees with the event time or with another role."""
    known = [scene for scene in scenes if scene.role and scene.facts.acquired]
    for scene in known:
        time = scene.facts.acquired
        if event_time is None or time is None:
            continue
        if time >= event_time if scene.role == "pre" else time <= event_time:
            side = "before" if scene.role == "pre" else "after"
            raise TileError(
                f"{where}: {scene.id} is stated as {scene.role}, but {_when(scene)} is not {side} the event "
                f"({iso(event_time)}); correct the role or the event time"
            )
    pre = [scene for scene in known if scene.role == "pre"]
    post = [scene for scene in known if scene.role == "post"]
    if pre and post:
        last, first = max(pre, key=_by_time), min(post, key=_by_time)
        if last.facts.acquired >= first.facts.acquired:  # type: ignore[operator]
            raise TileError(
                f"{where}: pre not before post: {last.id} ({_when(last)}) is stated as pre, {first.id} "
                f"({_when(first)}) as post; correct the roles"
            )


def _refuse_unknown_times(where: str, scenes: Sequence[RadarScene]) -> None:
    """Raise TileError if one of several scenes has neither time nor role."""
    for scene in scenes:
        if len(scenes) > 1 and scene.facts.acquired is None and scene.role is None:
            raise TileError(
                f"{where}: {scene.id} has no time of acquisition, and there are {len(scenes)} "
                f"{scene.facts.orbit} scenes; state its time or role in a tile file, or leave it out"
            )


def _divided(
    scenes: Sequence[RadarScene], event_time: datetime | None, roles: bool, notes: _Notes
) -> tuple[list[RadarScene], list[RadarScene]]:
    """The scenes of one direction before and after the event."""
    pre: list[RadarScene] = []
    post: list[RadarScene] = []
    undated: list[RadarScene] = []
    for scene in scenes:
        time = scene.facts.acquired
        role = scene.role
        if role and time is None:
            notes.warnings.append(f"{scene.id} has no time of acquisition: that it is {role} is only stated")
        if role is None and event_time is not None:
            if time == event_time:
                notes.unused(scene, "taken at the time of the event, neither before nor after it")
                continue
            if time is None:
                notes.warnings.append(f"{scene.id} has no time of acquisition: that it is after the event is assumed")
            role = "pre" if time is not None and time < event_time else "post"
        if role is None:
            undated.append(scene)
        else:
            (pre if role == "pre" else post).append(scene)
    if undated and roles:
        for scene in undated:
            notes.unused(scene, "neither a role nor an event time says whether it is before or after the event")
    elif undated:
        latest = min(undated, key=_latest_first)
        post = [latest]
        for scene in undated:
            if scene is not latest:
                notes.unused(scene, f"no event time: the latest {scene.facts.orbit} scene counts, {latest.id}")
        if len(undated) > 1:
            notes.warnings.append(
                f"{len(undated)} {latest.facts.orbit} radar scenes and no event time: only {latest.id} is used and "
                "nothing is differenced; state --event-time"
            )
    return pre, post


def _all_before(where: str, before: Sequence[RadarScene], event_time: datetime | None) -> str:
    last = max(before, key=_by_time)
    if event_time is None:
        return f"{where}: every radar scene is stated as pre; add one after the event, or leave the radar out"
    return (
        f"{where}: event time outside: every radar scene was taken before the event ({iso(event_time)}), the last "
        f"{_when(last)} ({last.id}); add one after the event, or correct the event time"
    )


def _no_pair(where: str, before: Sequence[RadarScene], after: Sequence[RadarScene], reasons: Sequence[str]) -> str:
    def told(scenes: Sequence[RadarScene]) -> str:
        return ", ".join(f"{scene.id} ({scene.facts.orbit} {scene.facts.relative_orbit})" for scene in scenes)

    return (
        f"{where}: what is stated as pre, {told(before)}, and as post, {told(after)}, makes no pair: "
        f"{'; '.join(reasons)}; give scenes of one track, product and processing"
    )


def _track(
    where: str,
    orbit: Orbit,
    before: Sequence[RadarScene],
    after: Sequence[RadarScene],
    event_time: datetime | None,
    pre_scenes: int,
    notes: _Notes,
) -> Track | None:
    """What one direction gives; both lists in the order of time."""
    if not after:
        for scene in before:
            notes.unused(scene, f"no {orbit} scene after the event to compare with")
        if before:
            notes.warnings.append(f"no {orbit} radar scene after the event; {len(before)} before it not used")
        return None
    pairs = [(post, earlier) for post in after if (earlier := [pre for pre in before if not _mismatch(pre, post)])]
    if not pairs:
        return _levels_only(where, orbit, before, after, event_time, notes)
    post, earlier = min(pairs, key=lambda pair: (_by_time(pair[0])[:2], _gap(pair[1][-1], pair[0]), _by_time(pair[0])))
    chosen = _nearest_passes(post, earlier, pre_scenes)
    _note_pair(orbit, post, chosen, notes)
    for scene in (*after, *before):
        if scene is not post and scene not in chosen:
            notes.unused(scene, _why_not(scene, post, chosen, scene in before))
    if not post.facts.gives_levels:
        notes.warnings.append(
            f"{post.id} is flattened by terrain ({post.facts.product}): it gives {orbit} changes, no levels"
        )
    return Track(orbit, post, tuple(chosen))


def _levels_only(
    where: str,
    orbit: Orbit,
    before: Sequence[RadarScene],
    after: Sequence[RadarScene],
    event_time: datetime | None,
    notes: _Notes,
) -> Track:
    """The first scene after the event whose levels count, with the reason why nothing before it can be subtracted."""
    post = min(after, key=lambda scene: (not scene.facts.gives_levels, _by_time(scene)))
    reasons = [f"{pre.id}: {_mismatch(pre, post)}" for pre in before]
    if before and _stated(before) and _stated(after):
        raise TileError(_no_pair(where, before, after, reasons))
    for pre in before:
        notes.unused(pre, str(_mismatch(pre, post)))
    for scene in after:
        if scene is not post:
            notes.unused(scene, _later(scene, post))
    if reasons:
        notes.warnings.append(f"no {orbit} change: {post.id} has no scene to compare with ({'; '.join(reasons)})")
    elif event_time is not None or post.role:
        notes.warnings.append(f"no {orbit} change: no {orbit} scene before the event")
    if not post.facts.gives_levels:
        notes.warnings.append(
            f"{post.id} is flattened by terrain ({post.facts.product}) and has no scene before the event to compare "
            f"with: it gives no {orbit} band"
        )
    notes.decisions.append(Decision(f"{orbit} radar", post.id, "after the event, nothing subtracted"))
    return Track(orbit, post)


def _mismatch(pre: RadarScene, post: RadarScene) -> str | None:
    """Why two scenes of one direction may not be subtracted, None if they may."""
    one, other = pre.facts, post.facts
    for scene in (pre, post):
        if scene.facts.relative_orbit is None:
            return f"the relative orbit of {scene.id} is unknown ({SHORT_OF_TRACK})"
    if one.relative_orbit != other.relative_orbit:
        return f"track {one.relative_orbit}, not {other.relative_orbit} as {post.id}"
    if one.product != other.product:
        return f"{one.product}, not {other.product} as {post.id}"
    if one.processing != other.processing:
        return f"processing {one.processing!r}, not {other.processing!r} as {post.id}"
    return None


def _gap(pre: RadarScene, post: RadarScene) -> float:
    """Seconds between two scenes; infinite where a time is unknown."""
    one, other = pre.facts.acquired, post.facts.acquired
    return float("inf") if one is None or other is None else (other - one).total_seconds()


def _same_pass(one: RadarScene, other: RadarScene) -> bool:
    return one.facts.relative_orbit == other.facts.relative_orbit and abs(_gap(one, other)) < SAME_PASS.total_seconds()


def _nearest_passes(post: RadarScene, earlier: Sequence[RadarScene], pre_scenes: int) -> list[RadarScene]:
    """One scene of each of the latest passes.

    Of the slices of a pass the one at the time of day of `post`: a track repeats after whole days, so it shows the
    same ground.
    """
    passes: list[list[RadarScene]] = []
    for scene in sorted(earlier, key=lambda scene: (_gap(scene, post), _by_time(scene))):
        if passes and _same_pass(passes[-1][-1], scene):
            passes[-1].append(scene)
        else:
            passes.append([scene])

    def off_s(scene: RadarScene) -> float:
        gap = _gap(scene, post)
        return 0.0 if gap == float("inf") else abs((gap + 43_200) % 86_400 - 43_200)

    return [min(slices, key=lambda scene: (off_s(scene), _by_time(scene))) for slices in passes[:pre_scenes]]


def _note_pair(orbit: Orbit, post: RadarScene, chosen: Sequence[RadarScene], notes: _Notes) -> None:
    track = f"{orbit} {post.facts.relative_orbit}"
    gaps = [_gap(pre, post) / 86_400 for pre in chosen]
    told = ", ".join(f"{gap:.1f}" if gap < float("inf") else "an unknown number of" for gap in gaps)
    subtracted = (
        chosen[0].id if len(chosen) == 1 else f"the mean power of {len(chosen)}: {', '.join(p.id for p in chosen)}"
    )
    notes.decisions.append(
        Decision(
            f"change of {track}",
            f"{post.id} minus {subtracted}",
            f"one track, product and processing; {told} days apart",
        )
    )
    if any(LONG_GAP_DAYS < gap < float("inf") for gap in gaps):
        notes.warnings.append(
            f"{track}: {told} days lie between the scenes before and after the event; the season may show as change"
        )


def _later(scene: RadarScene, post: RadarScene) -> str:
    if _same_pass(scene, post):
        return f"slice of the same pass as {post.id}: slices are not mosaicked, join them before"
    if not scene.facts.gives_levels and post.facts.gives_levels:
        return f"flattened by terrain, gives no levels; {post.id} does"
    return f"{_when(scene)} is farther from the event than {post.id}"


def _why_not(scene: RadarScene, post: RadarScene, chosen: Sequence[RadarScene], is_before: bool) -> str:
    """Why a scene of a direction that has a pair is not in it."""
    if not is_before:
        return _mismatch(scene, post) or _later(scene, post)
    mismatch = _mismatch(scene, post)
    if mismatch:
        return mismatch
    for pre in chosen:
        if _same_pass(scene, pre):
            return f"slice of the same pass as {pre.id}: slices are not mosaicked, join them before"
    return f"{_when(scene)} is farther from the event than the {len(chosen)} used (--pre-scenes)"
