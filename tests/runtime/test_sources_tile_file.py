"""The tile file: its parts, its schema, its page in docs, and one line for everything that can be wrong in it."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from stac_items import write_optical_item, write_radar_item
from tiles import L2A_NEW, optical, radar, write_band_folder, write_tiff

from lsd.runtime.errors import BandError, LsdError, SourceError, TileError, UsageError
from lsd.runtime.ingest.times import iso, utc_of
from lsd.runtime.sources import tile_file, tile_table, tiles_of
from lsd.runtime.sources.part import product_of
from lsd.runtime.sources.product import Declared, SourceOptions
from lsd.runtime.sources.tile_file import candidate_of_tile_file, is_tile_file

PROJECT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(resources.files("lsd.runtime").joinpath("data/tile.schema.json").read_text(encoding="utf-8"))
EXAMPLES = dict(re.findall(r"```(toml|json)\n(.*?)```", (PROJECT / "docs" / "tile_file.md").read_text(), re.DOTALL))
NOTHING = SourceOptions()
EVENT = "2024-04-02T23:58:00Z"
HYP3 = "S1A_IW_20240406T100000_DVP_RTC10_G_gpuned_3C4D"
GRANULE = "S1A_IW_GRDH_1SDV_20240406T100000_20240406T100025_053310_0676C5_1A2B"
needs_toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no TOML reader")


@pytest.fixture
def place(tmp_path):
    """A folder with parts: an optical stack, two radar folders and a zip, a difference band, cloud layers."""
    write_tiff(tmp_path / f"{L2A_NEW}.tif", optical(), ["red", "green", "blue", "nir"])
    for name in ("before", "after"):
        write_band_folder(tmp_path / name, dict(zip(("VV", "VH"), radar(), strict=True)))
    write_band_folder(tmp_path / "zipped", {f"{HYP3}_{name}": radar()[0] for name in ("VV", "VH", "dem")})
    with zipfile.ZipFile(tmp_path / f"{HYP3}.zip", "w") as archive:
        for path in sorted((tmp_path / "zipped").iterdir()):
            archive.write(path, f"{HYP3}/{path.name}")
        archive.writestr(f"{HYP3}/{HYP3}.README.md.txt", f"made from {GRANULE}")
    write_tiff(tmp_path / "change.tif", radar()[0])
    write_tiff(tmp_path / "two.tif", radar())
    write_tiff(tmp_path / "x_SCL.tif", np.full((80, 96), 4, np.uint8))
    return tmp_path


def write(folder, keys, name="slope.tile.json"):
    path = folder / name
    path.write_text(keys if isinstance(keys, str) else json.dumps({"schema_version": 1, **keys}), encoding="utf-8")
    return path


def read(folder, keys, options=NOTHING):
    return candidate_of_tile_file(write(folder, keys), options)


def test_parts_with_what_is_declared_about_them(place):
    keys = {
        "event_time": "2024-04-03T01:58:00+02:00",
        "bbox": [15, 41, 15.01, 41.5],
        "optical": {"path": f"{L2A_NEW}.tif", "s2_offset": "present", "time": "2024-04-10T02:25:29Z"},
        "radar": [f"{HYP3}.zip"],
        "radar_pre": ["before"],
        "radar_post": [{"path": "after", "orbit": "ascending", "relative_orbit": 69, "radar_unit": "db"}],
    }
    candidate = read(place, keys)
    assert candidate.id == "slope" and iso(candidate.event_time) == EVENT and candidate.bbox == (15, 41, 15.01, 41.5)
    s2, zipped, before, after = candidate.products
    assert s2.declared == Declared(s2_offset="present", time=utc_of("2024-04-10T02:25:29Z", "test"))
    assert zipped.declared == Declared()
    assert before.declared == Declared(role="pre")
    assert after.declared == Declared(radar_unit="db", orbit="ascending", relative_orbit=69, role="post")
    assert [file.name for file in s2.files] == ["red", "green", "blue", "nir"]


def test_a_tile_file_becomes_a_tile_cut_to_its_bbox(tmp_path):
    write_optical_item(tmp_path, "S2_a", "2024-04-10T02:25:29Z")
    for name, time in (("S1A_pre", "2024-03-25T05:00:00Z"), ("S1A_post", "2024-04-06T05:00:00Z")):
        write_radar_item(tmp_path, name, time)
    keys = {"event_time": EVENT, "optical": "S2_a.json", "radar": ["S1A_post.json", "S1A_pre.json"]}
    write(tmp_path, keys)
    (tile,) = tiles_of([tmp_path])
    assert tile.id == "slope" and tile.event_time == EVENT and (tile.grid.width_px, tile.grid.height_px) == (96, 80)
    assert set(tile.bands) == {"red", "green", "blue", "nir", "desc_dvv", "desc_dvh"}
    write(tmp_path, {**keys, "bbox": [15.0, 41.0, 15.01, 41.6]})
    (tile,) = tiles_of([tmp_path])
    assert tile.grid.width_px < 96 and tile.grid.height_px == 80


def test_a_zip_is_read_in_place(place):
    product = product_of(place / f"{HYP3}.zip", NOTHING)
    assert product.name == HYP3 and [file.name for file in product.files] == ["VH", "VV"]
    assert product.metadata == {"text:granules": [GRANULE], "skipped": [f"{HYP3}_dem.tif"]}


@needs_toml
def test_toml_with_its_own_times(place):
    text = f'''
        schema_version = 1
        id = "north"
        event_time = 2024-04-03T01:58:00+02:00
        optical = "{L2A_NEW}.tif"
        [[radar]]
        path = "after"
        time = "2024-04-06T10:00:00Z"
    '''
    candidate = candidate_of_tile_file(write(place, text, "a.tile.toml"), NOTHING)
    assert candidate.id == "north" and iso(candidate.event_time) == EVENT
    assert iso(candidate.products[1].declared.time) == "2024-04-06T10:00:00Z"


def test_toml_on_an_old_python_says_what_to_do(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "tomllib", None)
    with pytest.raises(TileError, match=r"give it as JSON \(\*\.tile\.json\), or use Python 3\.11"):
        candidate_of_tile_file(write(place, "schema_version = 1", "a.tile.toml"), NOTHING)


def test_single_bands_under_canonical_names(place):
    keys = {"bands": {"dvv_desc": "change.tif", "desc_dvh": {"path": "two.tif", "band": 2}}}
    (product,) = read(place, keys).products
    assert [(file.name, file.path.name, file.index) for file in product.files] == [
        ("desc_dvv", "change.tif", 1),
        ("desc_dvh", "two.tif", 2),
    ]


def test_a_cloud_layer_takes_the_place_of_the_products_own(place):
    bands = [*optical(), np.zeros((80, 96))]
    write_tiff(place / "own.tif", np.stack(bands).astype(np.float32), ["red", "green", "blue", "nir", "SCL"])
    candidate = read(place, {"optical": "own.tif", "clouds": "x_SCL.tif"})
    (layer,) = [file for file in candidate.products[0].files if file.cloud_kind]
    assert layer.path.name == "x_SCL.tif" and layer.cloud_kind == "scl"
    assert [one.choice for one in candidate.decisions] == ["x_SCL.tif read as SCL", "own layer SCL not used"]
    candidate = read(place, {"optical": "own.tif", "clouds": {"path": "change.tif", "kind": "mask"}})
    assert [file.cloud_kind for file in candidate.products[0].files][-1] == "mask"


def test_a_stac_item_and_a_folder_with_one_are_parts(place):
    write_optical_item(place / "item", "S2_a", "2024-04-10T02:25:29Z")
    for path in ("item", "item/S2_a.json"):
        assert read(place, {"optical": path}).products[0].name == "S2_a"
    write_optical_item(place / "item", "S2_b", "2024-04-10T02:25:29Z")
    with pytest.raises(SourceError, match="holds 2 STAC items, one is expected"):
        read(place, {"optical": "item"})


def test_the_event_time_of_the_command_line_must_agree(place):
    keys = {"event_time": EVENT, "radar": ["after"]}
    assert read(place, keys, SourceOptions(event_time=utc_of(EVENT, "test"))).event_time is not None
    with pytest.raises(UsageError, match="--event-time 2024-04-01T00:00:00Z differs from event_time 2024-04-02T23:58"):
        read(place, keys, SourceOptions(event_time=utc_of("2024-04-01T00:00:00Z", "test")))


RADAR = {"radar": ["after"]}
WRONG = [
    ("{", TileError, r"slope\.tile\.json is no JSON \(.*line 1"),
    ('{"schema_version": 1, "radar": ["before"], "radar": ["after"]}', TileError, "key 'radar' stands twice"),
    ("[1]", TileError, "should hold a JSON object"),
    ({"schema_version": 2, **RADAR}, TileError, "schema_version should be 1, is 2; update"),
    ({"schema_version": True, **RADAR}, TileError, "schema_version should be a whole number"),
    ({"radar_befor": ["before"]}, TileError, "radar_befor is no key of a tile file, did you mean 'radar_pre'|'radar"),
    ({"radar": [{"path": "after", "orbits": 1}]}, TileError, r"radar\[0\]\.orbits is no key .*did you mean 'orbit'"),
    ({"radar": [{"path": "after", "s2_offset": "present"}]}, TileError, r"radar\[0\]\.s2_offset is no key"),
    ({"radar": "after"}, TileError, "radar should be a list, is 'after'"),
    ({"radar": []}, TileError, "radar is empty"),
    ({"radar": [5]}, TileError, r"radar\[0\] should be a path or a table with a path, is 5"),
    ({"radar": [{"orbit": "ascending"}]}, TileError, r"radar\[0\]\.path is missing; it should be a string"),
    ({"radar": [{"path": "after", "orbit": "up"}]}, TileError, "orbit should be one of ascending, descending, is 'up'"),
    ({"radar": [{"path": "after", "relative_orbit": 176}]}, TileError, r"relative_orbit should be 1\.\.175, is 176"),
    ({"radar": [{"path": "after", "time": "2024-04-06"}]}, TileError, r"radar\[0\]\.time must be ISO 8601 with a zone"),
    ({"radar": ["after", "./after"]}, TileError, "after is named twice"),
    ({"radar": ["gone"]}, SourceError, r"slope\.tile\.json: radar\[0\] is missing: .*gone; fetch it"),
    ({"radar": ["https://example.com/a"]}, TileError, r"radar\[0\]\.path should be a path on this machine"),
    ({"optical": "x.xyz"}, SourceError, r"x\.xyz is no product"),
    ({"radar": ["S1A_x.SAFE"]}, TileError, r"S1A_x\.SAFE is a Sentinel-1 Level-1 product"),
    ({"optical": "empty"}, SourceError, "empty holds no SAFE, no STAC item and no GeoTIFF"),
    ({"optical": "bad.zip"}, SourceError, r"bad\.zip cannot be read as zip"),
    ({"event_time": "2024-04-02T23:58:00", **RADAR}, TileError, "event_time must be ISO 8601 with a zone"),
    ({"event_time": 5, **RADAR}, TileError, "event_time should be a string, is 5"),
    ({"bbox": [15, 41, 14, 42], **RADAR}, TileError, "bbox should be west, south, east, north"),
    ({"bbox": [15, 41, "16", 42], **RADAR}, TileError, "bbox should be west, south, east, north"),
    ({"id": "../up", **RADAR}, TileError, "id should be at most 100 letters"),
    ({"id": "", **RADAR}, TileError, "id should be at most 100 letters"),
    ({}, TileError, "no part is named; give optical, radar, radar_pre, radar_post or bands"),
    ({"bands": {}}, TileError, "bands is empty"),
    ({"bands": {"VV": "change.tif"}}, TileError, r"bands\.VV does not say the direction of flight; name it desc_VV"),
    ({"bands": {"desc_dv": "change.tif"}}, TileError, r"bands\.desc_dv is no band, did you mean 'desc_dv"),
    ({"bands": {"red": "change.tif", "B04": "change.tif"}}, TileError, r"bands\.B04 gives red a second time"),
    ({"bands": {"desc_dvv": "two.tif"}}, TileError, r"bands\.desc_dvv has 2 bands in .*say which"),
    ({"bands": {"desc_dvv": {"path": "two.tif", "band": 3}}}, TileError, r"desc_dvv\.band should be 1\.\.2, is 3"),
    ({"clouds": "x_SCL.tif", **RADAR}, TileError, "clouds are given without optical bands"),
    ({"optical": f"{L2A_NEW}.tif", "clouds": "change.tif"}, TileError, r"clouds\.kind is missing, and change\.tif"),
    ({"optical": "after/VV.tif", "radar_pre": ["two.tif"]}, BandError, "no name for band 1, 2 of 2"),
]


@pytest.mark.parametrize(("keys", "error", "text"), WRONG, ids=[text for _, _, text in WRONG])
def test_what_is_wrong_is_one_line(place, keys, error, text):
    (place / "x.xyz").write_text("")
    for folder in ("empty", "S1A_x.SAFE"):
        (place / folder).mkdir()
    (place / "bad.zip").write_bytes(b"PK")
    with pytest.raises(error, match=text) as found:
        read(place, keys)
    assert "\n" not in str(found.value) and str(place) in str(found.value)


@needs_toml
@pytest.mark.parametrize("text", ["schema_version = ", "event_time = 2024-04-02T23:58:00\nschema_version = 1"])
def test_wrong_toml_is_one_line(place, text):
    with pytest.raises(TileError, match=r"a\.tile\.toml( is no TOML \(|: event_time must be ISO 8601)"):
        candidate_of_tile_file(write(place, text, "a.tile.toml"), NOTHING)


def test_text_that_is_not_utf8_is_an_error_of_the_file(place):
    (place / "a.tile.json").write_bytes(b'{"id": "\xff"}')
    with pytest.raises(LsdError, match="is no JSON"):
        candidate_of_tile_file(place / "a.tile.json", NOTHING)


@pytest.mark.parametrize(
    ("name", "answer"),
    [("a.tile.toml", True), ("A.TILE.JSON", True), ("a.json", False), (".a.tile.json", False), ("tile.json", False)],
)
def test_a_tile_file_is_told_by_its_name(tmp_path, name, answer):
    assert is_tile_file(tmp_path / name) is answer


def properties(definition):
    return set(SCHEMA["$defs"][definition]["properties"])


def test_code_and_schema_have_the_same_keys_and_choices():
    assert set(SCHEMA["properties"]) == set(tile_file.TOP_KEYS)
    assert SCHEMA["properties"]["schema_version"]["const"] == tile_file.SCHEMA_VERSION
    assert properties("optical_part") == set(tile_file.OPTICAL_KEYS)
    assert properties("radar_part") == set(tile_file.RADAR_KEYS)
    assert properties("band") == set(tile_file.BAND_KEYS)
    assert properties("clouds_part") == set(tile_file.CLOUD_KEYS)
    assert SCHEMA["properties"]["id"]["pattern"] == f"^{tile_file.ID.pattern}$"
    stated = {}
    for definition in SCHEMA["$defs"].values():
        stated.update({key: one["enum"] for key, one in definition.get("properties", {}).items() if "enum" in one})
    assert {key: tuple(values) for key, values in stated.items()} == tile_table.CHOICES
    assert SCHEMA["$defs"]["radar_part"]["properties"]["relative_orbit"]["maximum"] == tile_file.RELATIVE_ORBITS


def test_every_key_of_the_schema_is_described_in_it_and_in_the_page():
    page = (PROJECT / "docs" / "tile_file.md").read_text()
    for holder in (SCHEMA, *(one for one in SCHEMA["$defs"].values() if "properties" in one)):
        for key, one in holder["properties"].items():
            assert "description" in one or "$ref" in one, key
            assert f"`{key}`" in page, key


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


# what no schema can tell: files, order of corners, bands and times that only code knows, keys given twice
CODE_ONLY = (
    "gone", "named twice", "no product", "Level-1", "no SAFE", "as zip", "no JSON", "stands twice",
    "bbox should be west, south", "did you mean 'desc_dv", "a second time", "has 2 bands", "is 3", "kind is missing",
    "no name for band",
)  # fmt: skip
FOR_THE_SCHEMA = [keys for keys, _, text in WRONG if not any(part in text for part in CODE_ONLY)]


@pytest.mark.parametrize("keys", FOR_THE_SCHEMA, ids=str)
def test_the_schema_refuses_what_the_code_refuses(validator, keys):
    assert not validator.is_valid(json.loads(keys) if isinstance(keys, str) else {"schema_version": 1, **keys})


def test_examples_of_the_page_follow_the_schema(validator):
    validator.validate(json.loads(EXAMPLES["json"]))
    if sys.version_info >= (3, 11):
        import tomllib

        found = tomllib.loads(EXAMPLES["toml"])
        validator.validate({**found, "event_time": found["event_time"].isoformat()})


@needs_toml
def test_examples_of_the_page_are_read_once_their_files_are_there(place):
    examples = {"toml": "a.tile.toml", "json": "b.tile.json"}
    for kind, name in examples.items():
        with pytest.raises(SourceError, match="optical is missing"):
            candidate_of_tile_file(write(place, EXAMPLES[kind], name), NOTHING)
