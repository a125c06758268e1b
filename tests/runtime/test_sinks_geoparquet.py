"""GeoParquet: the metadata of 1.1, every patch in its place, nulls where nothing is known, a line without pyarrow."""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from contexts import context
from rasterio.crs import CRS
from scored_tiles import SCENES, answer, make_scores, make_tile

from lsd.runtime.errors import OutputError, UsageError
from lsd.runtime.scores import CLOUD, NOT_SCORED, SLIDE
from lsd.runtime.sinks.geoparquet import refuse_without_pyarrow, write_geoparquet

CONTEXT = context()
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    tile = make_tile(200, 128)
    scores = make_scores(tile)
    answer(scores, 1, 3, SLIDE)
    answer(scores, 0, 1, NOT_SCORED, CLOUD)
    write_geoparquet(tmp_path / "t.parquet", tile, scores, CONTEXT)
    return tmp_path / "t.parquet"


def test_the_metadata_is_geoparquet_1_1(written: Path):
    geo = json.loads(pq.read_schema(written).metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert geo["version"] == "1.1.0" and column["encoding"] == "WKB" and column["geometry_types"] == ["Polygon"]
    assert CRS.from_user_input(json.dumps(column["crs"])) == CRS.from_epsg(32633)
    assert column["bbox"] == [500_000, 5_198_720, 502_000, 5_200_000]
    about = json.loads(pq.read_schema(written).metadata[b"lsd"])
    assert about["note"].startswith("1 of 8 patches (12.5 %) were not scored")
    assert about["warnings"] == ["cloud unchecked"]
    assert [source["id"] for source in about["sources"]] == [scene.id for scene in SCENES]
    assert about["bundle"]["sha256"] == "ab" * 32


def test_every_patch_is_a_row_in_its_place(written: Path):
    rows = pq.read_table(written).to_pylist()
    assert [(row["row"], row["column"]) for row in rows] == list(np.ndindex(2, 4))
    assert [row["class"] for row in rows].count("nothing seen") == 6
    assert (rows[1]["class"], rows[1]["reason"], rows[1]["probability"]) == ("not observed", "cloud", None)
    last = rows[7]
    assert last["class"] == "likely" and last["time_pre"] == datetime(2022, 6, 26, 5, 8, tzinfo=timezone.utc)
    assert last["source_ids"] == [scene.id for scene in SCENES] and last["validated"] is False
    assert rows[0]["validated"] is None and rows[0]["tile"] == last["tile"] == "T33TVM_20220706"
    head, points = last["geometry"][:13], last["geometry"][13:]
    assert struct.unpack("<BIII", head) == (1, 3, 1, 5)
    left, top = 500_000 + 1360, 5_200_000 - 640
    corners = [(left, top), (left, top - 640), (left + 640, top - 640), (left + 640, top), (left, top)]
    assert np.frombuffer(points).reshape(5, 2).tolist() == [list(corner) for corner in corners]


def test_the_same_scores_give_the_same_bytes_or_an_output_error(tmp_path: Path):
    tile = replace(make_tile(200, 128), id="\udcfc")
    for name in "ab":
        write_geoparquet(tmp_path / name, tile, make_scores(tile, 32, SLIDE), CONTEXT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(OutputError, match=r"cannot write .*: No such file or directory; "):
        write_geoparquet(tmp_path / "absent" / "t.parquet", tile, make_scores(tile), CONTEXT)


def test_without_pyarrow_the_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    tile = make_tile(64, 64)
    with pytest.raises(UsageError, match=r"pip install 'lsd-edge\[geoparquet\]'"):
        write_geoparquet(tmp_path / "t.parquet", tile, make_scores(tile), CONTEXT)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="needs pyarrow"):
        refuse_without_pyarrow()
