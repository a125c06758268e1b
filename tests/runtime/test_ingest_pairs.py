from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsd.runtime.errors import LsdError, TileError, UsageError
from lsd.runtime.ingest.pairs import RadarScene, choose
from lsd.runtime.ingest.radar_products import RadarFacts, radar_facts
from lsd.runtime.sources.product import Declared, SourceOptions

EVENT = datetime(2024, 4, 2, 23, 58, tzinfo=timezone.utc)


def scene(name, days, track=107, orbit="descending", product="P", backscatter="sigma0", processing="p", role=None):
    """A scene so many days after the event; None for an unknown time."""
    time = None if days is None else EVENT + timedelta(days=days)
    return RadarScene(
        name, RadarFacts(product, backscatter, None, "", 10.0, time, orbit, track, f"{product} {processing}"), role
    )


def chosen(*scenes, event=EVENT, pre_scenes=1):
    tracks, decisions, warnings = choose("tile", scenes, event, pre_scenes)
    used = {one.id for track in tracks for one in (track.post, *track.pre)}
    unused = {decision.subject: decision.reason for decision in decisions if decision.choice == "not used"}
    assert used | set(unused) == {one.id for one in scenes}
    assert not used & set(unused)
    return {track.orbit: (track.post.id, [pre.id for pre in track.pre]) for track in tracks}, unused, warnings


def test_a_pair_is_the_first_after_and_the_last_before_the_event():
    scenes = [scene("a", -18), scene("b", -6), scene("c", 6), scene("d", 18)]
    tracks, unused, warnings = chosen(*scenes)
    assert tracks == {"descending": ("c", ["b"])}
    assert "--pre-scenes" in unused["a"]
    assert "farther from the event than c" in unused["d"]
    assert warnings == []


def test_every_direction_has_its_own_pair():
    scenes = [scene("a", -6), scene("b", 6), scene("c", -5, 88, "ascending"), scene("d", 7, 88, "ascending")]
    assert chosen(*scenes)[0] == {"descending": ("b", ["a"]), "ascending": ("d", ["c"])}
    assert [track.orbit for track in choose("tile", scenes, EVENT)[0]] == ["descending", "ascending"]


@pytest.mark.parametrize(
    ("pre", "reason"),
    [
        (scene("a", -6, 34), "a: track 34, not 107 as b"),
        (scene("a", -6, None), "the relative orbit of a is unknown"),
        (scene("a", -6, product="Q"), "a: Q, not P as b"),
        (scene("a", -6, processing="q"), "a: processing 'P q', not 'P p' as b"),
    ],
)
def test_what_does_not_match_is_not_subtracted_and_a_warning_says_why(pre, reason):
    tracks, unused, warnings = chosen(pre, scene("b", 6))
    assert tracks == {"descending": ("b", [])}
    assert reason in warnings[0]
    assert unused["a"] in warnings[0]


def test_a_direction_is_never_compared_with_the_other():
    tracks, _, warnings = chosen(scene("a", -6), scene("b", 6, 107, "ascending"))
    assert tracks == {"ascending": ("b", [])}
    assert [line for line in warnings if "descending radar scene after the event" in line]


def test_an_unknown_track_after_the_event_pairs_with_nothing():
    tracks, _, warnings = chosen(scene("a", -6, None), scene("b", 6, None))
    assert tracks == {"descending": ("b", [])}
    assert "relative_orbit in a tile file" in warnings[0]


def test_a_track_with_a_pair_goes_before_an_earlier_scene_without():
    tracks, unused, _ = chosen(scene("a", -6, 34), scene("b", 2, 107), scene("c", 6, 34))
    assert tracks == {"descending": ("c", ["a"])}
    assert unused["b"] == "track 107, not 34 as c"


def test_of_two_pairs_the_scene_nearest_after_the_event_wins_then_the_smaller_gap():
    scenes = [scene("a", -2, 34), scene("b", -6, 107), scene("c", 6, 107), scene("d", 10, 34)]
    assert chosen(*scenes)[0] == {"descending": ("c", ["b"])}
    scenes = [scene("a", -7, 34), scene("b", -6, 107), scene("c", 6, 107), scene("d", 6, 34)]
    assert chosen(*scenes)[0] == {"descending": ("c", ["b"])}
    same = [
        scene("flat a", -6, product="R", backscatter="gamma0"),
        scene("flat b", 6, product="R", backscatter="gamma0"),
        scene("a", -6),
        scene("b", 6),
    ]
    assert chosen(*same)[0] == {"descending": ("b", ["a"])}


def test_several_scenes_before_are_averaged_on_demand_nearest_first():
    scenes = [scene(name, days) for name, days in (("a", -30), ("b", -18), ("c", -6), ("d", 6))]
    assert chosen(*scenes, pre_scenes=2)[0] == {"descending": ("d", ["c", "b"])}
    assert chosen(*scenes, pre_scenes=9)[0] == {"descending": ("d", ["c", "b", "a"])}
    decisions = choose("tile", scenes, EVENT, 2)[1]
    (pair,) = [decision for decision in decisions if decision.subject == "change of descending 107"]
    assert pair.choice == "d minus the mean power of 2: c, b"
    assert "12.0, 24.0 days apart" in pair.reason
    with pytest.raises(UsageError, match="--pre-scenes"):
        choose("tile", scenes, EVENT, 0)


def test_slices_of_a_pass_count_once_and_the_one_over_the_same_ground_is_taken():
    slice_days = 25 / 86_400
    scenes = [scene("a1", -6), scene("a2", -6 + slice_days), scene("b1", 6), scene("b2", 6 + slice_days)]
    tracks, unused, _ = chosen(*scenes, pre_scenes=2)
    assert tracks == {"descending": ("b1", ["a1"])}
    assert unused["a2"] == "slice of the same pass as a1: slices are not mosaicked, join them before"
    assert unused["b2"] == "slice of the same pass as b1: slices are not mosaicked, join them before"


def test_without_event_time_and_roles_the_latest_counts_and_nothing_is_differenced():
    tracks, unused, warnings = chosen(scene("a", -6), scene("b", 6), scene("c", 1, 88, "ascending"), event=None)
    assert tracks == {"descending": ("b", []), "ascending": ("c", [])}
    assert "latest descending scene counts, b" in unused["a"]
    assert len(warnings) == 1
    assert "state --event-time" in warnings[0]
    assert chosen(scene("a", 0), scene("c", 1, 88, "ascending"), event=None)[2] == []


def test_all_before_the_event_is_refused_and_all_after_gives_levels():
    with pytest.raises(TileError, match=r"event time outside: .* the last 2024-03-27T23:58:00Z \(a\)"):
        choose("tile", [scene("a", -6), scene("b", -18)], EVENT)
    tracks, _, warnings = chosen(scene("a", 6), scene("b", 18))
    assert tracks == {"descending": ("a", [])}
    assert warnings == ["no descending change: no descending scene before the event"]


def test_a_scene_at_the_time_of_the_event_is_neither():
    tracks, unused, _ = chosen(scene("a", 0), scene("b", 6))
    assert tracks == {"descending": ("b", [])}
    assert "at the time of the event" in unused["a"]


def test_unknown_times_among_several_are_refused_alone_they_are_taken():
    with pytest.raises(TileError, match="a has no time of acquisition"):
        choose("tile", [scene("a", None), scene("b", 6)], EVENT)
    with pytest.raises(TileError, match="a has no time of acquisition"):
        choose("tile", [scene("a", None), scene("b", 6)], None)
    assert chosen(scene("a", None), event=None)[0] == {"descending": ("a", [])}
    assert "is assumed" in chosen(scene("a", None))[2][0]
    assert chosen(scene("a", None), scene("b", 6, 88, "ascending"))[0] == {
        "descending": ("a", []),
        "ascending": ("b", []),
    }


def test_roles_make_a_pair_without_an_event_time():
    scenes = [scene("a", -6, role="pre"), scene("b", 6, role="post")]
    assert chosen(*scenes, event=None)[0] == {"descending": ("b", ["a"])}
    untimed = [scene("a", None, role="pre"), scene("b", None, role="post")]
    tracks, _, warnings = chosen(*untimed, event=None)
    assert tracks == {"descending": ("b", ["a"])}
    assert "only stated" in warnings[0]
    _, unused, _ = chosen(*scenes, scene("c", 9), event=None)
    assert "neither a role nor an event time" in unused["c"]


@pytest.mark.parametrize(
    ("scenes", "event", "words"),
    [
        ([("a", 6, "pre"), ("b", -6, "post")], None, r"pre not before post: a \(2024-04-08T23:58:00Z\).*2024-03-27"),
        ([("a", 6, "pre"), ("b", 6, "post")], None, "pre not before post"),
        ([("a", 1, "pre"), ("b", 6, "post")], EVENT, "stated as pre, but 2024-04-03T23:58:00Z is not before the event"),
        ([("a", 0, "pre"), ("b", 6, "post")], EVENT, "not before the event"),
        ([("a", -6, "pre"), ("b", -1, "post")], EVENT, "stated as post, but .* is not after the event"),
        ([("a", -6, "pre")], None, "every radar scene is stated as pre"),
    ],
)
def test_roles_against_the_times_are_refused(scenes, event, words):
    with pytest.raises(TileError, match=words):
        choose("tile", [scene(name, days, role=role) for name, days, role in scenes], event)


def test_roles_of_two_tracks_are_refused_and_both_tracks_are_named():
    with pytest.raises(TileError, match=r"a \(descending 107\), .*b \(descending 34\), makes no pair"):
        choose("tile", [scene("a", -6, role="pre"), scene("b", 6, 34, role="post")], None)
    with pytest.raises(TileError, match=r"a \(descending 107\), .*b \(ascending 173\), makes no pair"):
        choose("tile", [scene("a", -6, role="pre"), scene("b", 6, 173, "ascending", role="post")], EVENT)
    with pytest.raises(TileError, match="relative orbit of a is unknown"):
        choose("tile", [scene("a", -6, None, role="pre"), scene("b", 6, role="post")], None)


def test_flattened_radar_gives_changes_only():
    pair = [scene("a", -6, backscatter="gamma0"), scene("b", 6, backscatter="gamma0")]
    tracks, _, warnings = chosen(*pair)
    assert tracks == {"descending": ("b", ["a"])}
    assert "no levels" in warnings[0]
    tracks, _, warnings = chosen(pair[1])
    assert tracks == {"descending": ("b", [])}
    assert "it gives no descending band" in warnings[-1]
    tracks, unused, _ = chosen(pair[1], scene("c", 9))
    assert tracks == {"descending": ("c", [])}
    assert "flattened" in unused["b"]


def test_a_long_gap_is_told():
    assert chosen(scene("a", -50), scene("b", 9))[2] == []
    assert "62.0 days" in chosen(scene("a", -50), scene("b", 12))[2][0]


def test_a_scene_of_unknown_direction_is_not_used():
    assert "direction" in chosen(scene("a", 6, orbit=None), scene("b", 6))[1]["a"]


SCENES = st.lists(
    st.builds(
        lambda days, track, orbit, product, backscatter, role: (days, track, orbit, product, backscatter, role),
        st.one_of(st.none(), st.sampled_from([-30, -18, -6, -5, 0, 1, 6, 18])),
        st.sampled_from([107, 34, None]),
        st.sampled_from(["descending", "ascending"]),
        st.sampled_from(["P", "Q"]),
        st.sampled_from(["sigma0", "gamma0"]),
        st.sampled_from([None, None, None, "pre", "post"]),
    ),
    max_size=7,
)


def outcome(scenes, event, pre_scenes):
    try:
        tracks, decisions, warnings = choose("tile", scenes, event, pre_scenes)
    except LsdError as error:
        return type(error), str(error)
    return tracks, sorted((d.subject, d.choice, d.reason) for d in decisions), sorted(warnings)


@given(SCENES, st.randoms(use_true_random=False), st.sampled_from([EVENT, None]), st.integers(1, 3))
def test_the_order_of_the_scenes_does_not_matter(described, random, event, pre_scenes):
    scenes = [scene(f"s{i}", *rest[:5], role=rest[5]) for i, rest in enumerate(described)]
    shuffled = random.sample(scenes, len(scenes))
    assert outcome(scenes, event, pre_scenes) == outcome(shuffled, event, pre_scenes)


@given(SCENES, st.sampled_from([EVENT, None]), st.integers(1, 3))
def test_what_is_subtracted_is_always_of_one_track_and_before(described, event, pre_scenes):
    scenes = [scene(f"s{i}", *rest[:5], role=rest[5]) for i, rest in enumerate(described)]
    try:
        tracks, decisions, _ = choose("tile", scenes, event, pre_scenes)
    except LsdError:
        return
    assert len({track.orbit for track in tracks}) == len(tracks)
    used = [one for track in tracks for one in (track.post, *track.pre)]
    unused = [decision.subject for decision in decisions if decision.choice == "not used"]
    assert sorted([one.id for one in used] + unused) == sorted(one.id for one in scenes)
    for track in tracks:
        assert len(track.pre) <= pre_scenes
        post = track.post.facts
        for pre in (one.facts for one in track.pre):
            assert pre.relative_orbit is not None
            assert (pre.relative_orbit, pre.orbit, pre.processing) == (
                post.relative_orbit,
                post.orbit,
                post.processing,
            )
            assert pre.acquired is None or post.acquired is None or pre.acquired < post.acquired


def test_orbits_107_and_173_of_ssl4eo_are_never_differenced(shared_data):
    scenes = []
    for path in sorted((shared_data / "ssl4eo-0000200" / "s1").glob("*/metadata.json")):
        name, metadata = path.parent.name, json.loads(path.read_text())
        found = radar_facts(str(path.parent), [name], metadata, Declared(), SourceOptions(), 73.0)
        scenes.append(RadarScene(name, found))
    assert sorted(one.facts.relative_orbit for one in scenes) == [107, 173]
    between = datetime(2020, 7, 15, tzinfo=timezone.utc)
    early = datetime(2020, 5, 1, tzinfo=timezone.utc)
    for event in (between, early, None):
        tracks, _, _ = choose("0000200", scenes, event)
        assert tracks
        assert all(not track.pre for track in tracks)
    stated = [RadarScene(one.id, one.facts, role) for one, role in zip(scenes, ("pre", "post"), strict=True)]
    with pytest.raises(TileError, match=r"descending 107.*ascending 173"):
        choose("0000200", stated, None)
