"""STAC catalogs: which items are reached, and which of them make which tiles."""

from __future__ import annotations

import pytest
from stac_items import BOX, write_catalog, write_item, write_optical_item, write_radar_item

from lsd.runtime.errors import SourceError, TileError
from lsd.runtime.ingest.times import utc_of
from lsd.runtime.sources import tiles_of
from lsd.runtime.sources.product import Candidate, SourceOptions, TileFailure
from lsd.runtime.sources.stac_catalog import candidate_of_item, candidates_of_catalog, is_stac_catalog

EAST = (16.0, 41.0, 16.2, 41.2)  # beside BOX
SLIVER = (15.19, 41.0, 15.39, 41.2)  # overlaps BOX by a twentieth
BEFORE, AFTER, LATER = "2022-06-26T05:08:00Z", "2022-07-08T05:08:00Z", "2022-07-20T05:08:00Z"
EVENT = SourceOptions(event_time=utc_of("2022-07-01T00:00:00Z", "test"))


def names(found):
    """Id -> ids of its products, or the failure."""
    return {
        one.id: [product.name for product in one.products] if isinstance(one, Candidate) else one.error for one in found
    }


def test_one_item_alone_is_a_tile(tmp_path):
    path = write_optical_item(tmp_path, "S2_a", AFTER)
    candidate = candidate_of_item(path, EVENT)
    assert candidate.id == "S2_a" and candidate.products[0].path == path


def test_optical_items_take_the_radar_that_overlaps_them_in_order_of_time(tmp_path):
    write_optical_item(tmp_path, "S2_west", AFTER)
    write_optical_item(tmp_path, "S2_east", LATER, EAST)
    write_radar_item(tmp_path, "S1_a_post", LATER)
    write_radar_item(tmp_path, "S1_b_pre", BEFORE)
    write_radar_item(tmp_path, "S1_c_east", AFTER, bbox=EAST)
    assert is_stac_catalog(tmp_path)
    found = candidates_of_catalog(tmp_path, EVENT)
    assert names(found) == {"S2_west": ["S2_west", "S1_b_pre", "S1_a_post"], "S2_east": ["S2_east", "S1_c_east"]}
    assert [(one.subject, one.choice) for one in found[0].decisions] == [
        ("S1_b_pre", "joined to S2_west"),
        ("S1_a_post", "joined to S2_west"),
    ]


def test_two_passes_of_one_track_and_an_optical_item_become_one_tile_with_changes(tmp_path):
    write_optical_item(tmp_path, "S2_a", AFTER)
    write_radar_item(tmp_path, "S1A_pre", BEFORE)
    write_radar_item(tmp_path, "S1A_post", AFTER)
    (tile,) = tiles_of([tmp_path], EVENT)
    assert tile.id == "S2_a" and set(tile.bands) == {"red", "green", "blue", "nir", "desc_dvv", "desc_dvh"}
    assert {scene.id: scene.role for scene in tile.scenes} == {"S2_a": "optical", "S1A_post": "post", "S1A_pre": "pre"}


def test_an_optical_item_before_the_event_is_no_tile_but_noted(tmp_path):
    write_optical_item(tmp_path, "S2_before", BEFORE)
    write_optical_item(tmp_path, "S2_after", AFTER)
    (candidate,) = candidates_of_catalog(tmp_path, EVENT)
    assert candidate.id == "S2_after"
    (note,) = candidate.decisions
    assert (note.subject, note.choice) == ("S2_before", "not used: before the event")
    assert "2022-06-26T05:08:00Z" in note.reason
    assert set(names(candidates_of_catalog(tmp_path, SourceOptions()))) == {"S2_before", "S2_after"}


def test_places_whose_optical_items_are_all_before_the_event_fail(tmp_path):
    write_optical_item(tmp_path, "S2_after", AFTER)
    write_optical_item(tmp_path, "S2_east_1", BEFORE, EAST)
    write_optical_item(tmp_path, "S2_east_2", BEFORE, EAST)
    found = names(candidates_of_catalog(tmp_path, EVENT))
    assert found["S2_after"] == ["S2_after"]
    for name in ("S2_east_1", "S2_east_2"):
        assert isinstance(found[name], TileError)
        assert "event time 2022-07-01T00:00:00Z is after every optical scene" in str(found[name])


def test_radar_that_no_optical_item_takes_is_grouped_by_orbit_and_frame(tmp_path):
    write_radar_item(tmp_path, "S1_pre", BEFORE)
    write_radar_item(tmp_path, "S1_post", AFTER)
    write_radar_item(tmp_path, "S1_later", LATER)
    write_radar_item(tmp_path, "S1_other_track", AFTER, track=173)
    write_radar_item(tmp_path, "S1_next_frame", AFTER, bbox=SLIVER)
    expected = ["S1_pre", "S1_post", "S1_later"]
    others = {"S1_other_track": ["S1_other_track"], "S1_next_frame": ["S1_next_frame"]}
    assert names(candidates_of_catalog(tmp_path, EVENT)) == {"S1_post": expected, **others}
    assert names(candidates_of_catalog(tmp_path, SourceOptions())) == {"S1_later": expected, **others}


def test_links_are_followed_through_collections_and_round_in_circles(tmp_path):
    write_optical_item(tmp_path / "optical" / "items", "S2_a", AFTER)
    write_radar_item(tmp_path / "radar", "S1_a", BEFORE)
    write_optical_item(tmp_path / "optical", "S2_unlinked", AFTER)
    write_catalog(tmp_path / "catalog.json", child=["./optical/collection.json", "radar/collection.json"])
    links = ["items/S2_a.json", "../catalog.json", "items/S2_a.json"]
    write_catalog(tmp_path / "optical" / "collection.json", "Collection", item=links)
    write_catalog(tmp_path / "radar" / "collection.json", "Collection", item=["S1_a.json"], parent=["../catalog.json"])
    for path in (tmp_path, tmp_path / "catalog.json"):
        assert is_stac_catalog(path)
        assert names(candidates_of_catalog(path, EVENT)) == {"S2_a": ["S2_a", "S1_a"]}
    assert names(candidates_of_catalog(tmp_path / "radar", EVENT)) == {"S1_a": ["S1_a"]}


@pytest.mark.parametrize(
    ("href", "text"),
    [
        ("gone.json", r"catalog\.json links .*gone\.json, which is missing; copy the catalog whole"),
        ("https://example.com/item.json", "which is remote: catalogs are followed on disk only"),
    ],
)
def test_a_link_to_nowhere_is_a_failure_and_the_others_go_on(tmp_path, href, text):
    write_optical_item(tmp_path, "S2_a", AFTER)
    write_catalog(tmp_path / "catalog.json", item=[href, "S2_a.json"])
    good, bad = candidates_of_catalog(tmp_path, EVENT)
    assert good.id == "S2_a"
    with pytest.raises(SourceError, match=text):
        raise bad.error


def test_an_item_that_cannot_be_used_is_a_failure_and_the_others_go_on(tmp_path):
    write_optical_item(tmp_path, "S2_a", AFTER)
    write_item(tmp_path / "b.json", "S2_b", {"red": {"href": "https://example.com/red.tif"}}, {"datetime": AFTER})
    good, bad = candidates_of_catalog(tmp_path, EVENT)
    assert good.id == "S2_a" and isinstance(bad, TileFailure) and bad.id == "S2_b"
    assert "--remote" in str(bad.error)


def test_broken_and_empty_catalogs_say_so(tmp_path):
    (tmp_path / "catalog.json").write_text("{")
    assert is_stac_catalog(tmp_path)
    (failure,) = candidates_of_catalog(tmp_path, EVENT)
    assert failure.id == tmp_path.name and "catalog.json cannot be read" in str(failure.error)
    write_catalog(tmp_path / "catalog.json")
    (failure,) = candidates_of_catalog(tmp_path, EVENT)
    assert "links no STAC item" in str(failure.error)


def test_other_folders_are_no_catalogs(tmp_path):
    assert not is_stac_catalog(tmp_path)
    write_optical_item(tmp_path, "S2_a", AFTER)
    assert not is_stac_catalog(tmp_path)  # one item is an item
    (tmp_path / "catalog.json").write_text('{"title": "of something else"}')
    assert not is_stac_catalog(tmp_path)


@pytest.mark.parametrize(
    ("bbox", "overlaps"),
    [
        ((179.9, 41.0, -179.9, 41.2), True),
        ((-179.95, 41.0, -179.0, 41.2), True),
        ((179.0, 41.0, 179.4, 41.2), False),
        ((179.5, 41.2, -179.9, 41.4), False),
        (None, True),
    ],
)
def test_boxes_across_180_degrees(tmp_path, bbox, overlaps):
    write_optical_item(tmp_path, "S2_a", AFTER, (179.5, 41.0, -179.5, 41.2))
    write_radar_item(tmp_path, "S1_a", AFTER, bbox=bbox)
    found = names(candidates_of_catalog(tmp_path, EVENT))
    assert (found["S2_a"] == ["S2_a", "S1_a"]) is overlaps


def test_a_box_touching_another_does_not_overlap_it(tmp_path):
    _, south, east, north = BOX
    write_optical_item(tmp_path, "S2_a", AFTER)
    write_radar_item(tmp_path, "S1_a", AFTER, bbox=(east, south, east + 1, north))
    assert names(candidates_of_catalog(tmp_path, EVENT)) == {"S2_a": ["S2_a"], "S1_a": ["S1_a"]}
