"""Writes a tile with slides of known size, and the same labels as raster and as polygons."""

from __future__ import annotations

import numpy as np
import pyogrio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform
from tiles import L2A_NEW, ORIGIN, UTM, optical, write_tiff

ROWS, COLUMNS = 4, 5
HEIGHT, WIDTH = ROWS * 64 + 30, COLUMNS * 64 + 7  # what is left at the edges is no patch of the grid
NAME = L2A_NEW


def moved(columns, rows):
    return Affine(10, 0, ORIGIN.c + 10 * columns, 0, -10, ORIGIN.f - 10 * rows)


def write_tile(folder, name=NAME, seed=0, at=(0, 0), height=HEIGHT, width=WIDTH, crs=UTM):
    """An optical tile in canonical units and its pixels (4, y, x), blue first."""
    pixels = optical(height, width, seed)
    write_tiff(folder / f"{name}.tif", pixels, ["blue", "green", "red", "nir"], crs, moved(*at))
    return pixels


def slide_mask():
    """uint8 (y, x): slides of 60, 10 and 9 pixels, the first across two patches."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:16, 60:70] = 1  # 24 px in patch (0, 0), 36 in (0, 1)
    mask[100:102, 200:205] = 1  # 10 px in (1, 3)
    mask[210:213, 80:83] = 1  # 9 px in (3, 1)
    mask[ROWS * 64 + 5 :, :64] = 1  # outside of the grid of patches
    return mask


def outlines(mask, crs=UTM):
    """One square a pixel would be many: one polygon a run of pixels of a row, in a CRS."""
    found = []
    for row, column in zip(*np.nonzero(mask), strict=True):
        east, north = ORIGIN.c + 10 * column, ORIGIN.f - 10 * row
        found.append(shapely.box(east, north - 10, east + 10, north))
    whole = shapely.get_parts(shapely.union_all(found))

    def to(places):
        return np.column_stack(transform(CRS.from_string(UTM), CRS.from_string(crs), places[:, 0], places[:, 1]))

    return shapely.transform(whole, to)


def write_outlines(path, geometries, crs=UTM, layer=None, kind="Polygon"):
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.asarray(geometries, object)),
        [np.arange(len(geometries))],
        ["number"],
        geometry_type=kind,
        crs=crs,
        layer=layer,
        append=path.exists(),
    )
    return path


def labels_of(dataset):
    return dict(zip(dataset.ids, dataset.labels.tolist(), strict=True))


def write_place(folder):
    """A folder `tiles` with one tile, its labels as raster, in a folder of rasters, and as polygons in two CRS."""
    np.save(folder / "pixels.npy", write_tile(folder / "tiles"))
    write_tiff(folder / "mask.tif", slide_mask())
    write_tiff(folder / "masks" / f"{NAME}.tif", slide_mask() * 7.0)
    write_outlines(folder / "utm.gpkg", outlines(slide_mask()))
    write_outlines(folder / "degrees.geojson", outlines(slide_mask(), "EPSG:4326"), "EPSG:4326")
    return folder
