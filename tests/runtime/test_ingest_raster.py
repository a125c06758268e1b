"""Rasters on disk, in zips and at web addresses; every failure is one line that says where and what."""

from __future__ import annotations

import http.server
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safe import write_jp2
from tiles import optical, truncate, write_tiff

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.raster import gdal_name, in_zip, on_disk, open_raster, read_window, remote, samples

PIXELS = optical(128, 192)[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a web server that answers ranges, and the folder that it serves; `requests.log` lists what was asked.

    In a process of its own: rasterio keeps the interpreter's lock while it waits, so a thread would never answer.
    """
    folder = tmp_path_factory.mktemp("served")
    command = [sys.executable, str(Path(__file__).parent.parent / "data" / "range_server.py"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", folder
        process.terminate()


def asked(folder):
    log = folder / "requests.log"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


@pytest.mark.parametrize("name", ["x.tif", "x.jp2", "X.JP2"])
def test_both_formats_open_by_their_suffix(tmp_path, name):
    write_jp2(tmp_path / "x.jp2", PIXELS).rename(tmp_path / name) if name.casefold().endswith("jp2") else write_tiff(
        tmp_path / name, PIXELS
    )
    with open_raster(tmp_path / name) as dataset:
        np.testing.assert_array_equal(dataset.read(1), PIXELS)


@pytest.mark.parametrize(("name", "form"), [("x.tif", "GeoTIFF"), ("x.jp2", "JPEG 2000")])
def test_what_is_not_of_its_format_says_which_was_expected(tmp_path, name, form):
    (tmp_path / name).write_bytes(b"neither")
    with pytest.raises(TileError, match=rf"{name} cannot be read as {form} .*Fetch or copy it again") as caught:
        open_raster(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_truncated_jpeg_2000_is_no_picture_with_a_grey_end(tmp_path):
    path = truncate(write_jp2(tmp_path / "x.jp2", PIXELS))
    with pytest.raises(TileError, match=r"x\.jp2 cannot be read as JPEG 2000"), open_raster(path) as dataset:
        samples(dataset, [1])


@pytest.mark.parametrize("archive_name", ["x.zip", "with blank.zip", "pair{of}braces.zip", "no_suffix"])
def test_a_file_in_a_zip_is_read_in_place(tmp_path, archive_name):
    write_jp2(tmp_path / "x.jp2", PIXELS)
    archive = tmp_path / archive_name
    with zipfile.ZipFile(archive, "w") as file:
        file.write(tmp_path / "x.jp2", "A.SAFE/IMG_DATA/x.jp2")
    path = in_zip(archive, "A.SAFE/IMG_DATA/x.jp2")
    assert (path.name, path.stem, on_disk(path)) == ("x.jp2", "x", archive.resolve())
    with open_raster(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), PIXELS)
        assert on_disk(Path(dataset.name)) == archive.resolve()


def test_a_file_that_a_zip_does_not_hold_is_named_with_its_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.txt", "a")
    with pytest.raises(TileError, match=r"^b\.tif in .*x\.zip cannot be read as GeoTIFF"):
        open_raster(in_zip(tmp_path / "x.zip", "b.tif"))


def test_paths_keep_what_gdal_needs():
    url = "https://example.org/a//b.tif"
    assert gdal_name(remote("https://example.org/a/b.tif")) == "/vsicurl/https://example.org/a/b.tif"
    assert gdal_name(remote("http://example.org/a.jp2")) == "/vsicurl/http://example.org/a.jp2"
    assert remote("https://example.org/a/S2_B04.tif?sig=x").name.startswith("S2_B04.tif")
    # what follows the question mark may hold slashes, which a path would merge
    assert gdal_name(remote("https://example.org/a.tif?at=s3://b//c")).endswith("a.tif?at=s3:%2F%2Fb%2F%2Fc")
    assert on_disk(remote(url)) is None
    assert on_disk(Path("a/b.tif")) == Path("a/b.tif")
    assert gdal_name(Path("a/b.tif")) == str(Path("a/b.tif"))


@pytest.mark.parametrize("name", ["x.tif", "x.jp2"])
def test_a_remote_file_is_read_and_nothing_else_is_asked_for(server, name):
    address, folder = server
    write = write_tiff if name.endswith("tif") else write_jp2
    write(folder / name, PIXELS)
    asked(folder)
    with open_raster(remote(f"{address}/{name}?token=secret")) as dataset:
        np.testing.assert_array_equal(read_window(dataset, [1], None)[0], PIXELS)
    assert asked(folder), "nothing was asked of the server"
    with open_raster(remote(f"{address}/{name}")) as dataset:
        dataset.read()
    assert {line.split()[1] for line in asked(folder)} == {f"/{name}"}


def test_a_remote_file_that_is_missing_is_one_line_without_the_token(server):
    with pytest.raises(TileError, match=r"none\.tif is remote and cannot be reached .*404.*fetch it first") as caught:
        open_raster(remote(f"{server[0]}/none.tif?token=secret"))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_closed_port_is_given_up_at_once():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    with pytest.raises(TileError, match=rf"http://127.0.0.1:{port}/a/x\.jp2 is remote and cannot be reached"):
        open_raster(remote(f"http://127.0.0.1:{port}/a/x.jp2"))
