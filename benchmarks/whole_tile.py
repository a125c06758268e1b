"""A Sentinel-2-sized tile through lsd-run: seconds by stage and peak memory of the whole process.

    python -m lsd.benchmarks.whole_tile bundles/reference --size 10980 --folder /tmp/tile
    python -m lsd.benchmarks.whole_tile bundles/reference --layout safe --radar --folder /tmp/tile

Layout `folder`: 12 bands, one GeoTIFF each, tiled, 512 px, ZSTD. Layout `safe`: a SAFE folder with four JPEG 2000 bands
of 10 m in blocks of 1,024 px and a scene classification of 20 m; with --radar a tile file joins it with a VV and VH
scene before and one after an event. The content is made up (one block of correlated noise, repeated): it measures
reading, statistics, forests and writing, and says nothing about detections. Files stay in the folder for the next run.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.windows import Window

from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES, BANDS
from lsd.runtime.command import LsdCommand
from lsd.runtime.doctor import facts
from lsd.runtime.errors import UsageError

LAYOUTS = ("folder", "safe")
BLOCK_PX = 512
JP2_BLOCK_PX = 1024  # as ESA writes them
TIME = "20220706T085611"
NAME = f"S2A_MSIL2A_{TIME}_N0400_R007_T33NZA_20220706T153419"  # the baseline that holds the offset
SAFE_BANDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}
SCL_PX = 64  # the scene classification alternates between vegetation and, one block in 16, cloud
VEGETATION, CLOUD = 4, 9
EVENT_TIME = "2022-07-01T00:00:00Z"
RADAR = {
    "pre": "S1A_IW_20220624T100000_DVP_RTC10_G_gpuned_1A2B",
    "post": "S1A_IW_20220706T100000_DVP_RTC10_G_gpuned_3C4D",
}
METADATA = f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
 <n1:General_Info>
  <Product_Info>
   <PRODUCT_START_TIME>2022-07-06T08:56:11.024Z</PRODUCT_START_TIME>
   <PRODUCT_URI>{NAME}.SAFE</PRODUCT_URI>
   <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
   <PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
   <PROCESSING_BASELINE>04.00</PROCESSING_BASELINE>
  </Product_Info>
  <Product_Image_Characteristics>
   <QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
   </QUANTIFICATION_VALUES_LIST>
   <BOA_ADD_OFFSET_VALUES_LIST>
{{offsets}}
   </BOA_ADD_OFFSET_VALUES_LIST>
  </Product_Image_Characteristics>
 </n1:General_Info>
</n1:Level-2A_User_Product>
"""


def write_tile(folder: Path, size_px: int) -> Path:
    """One GeoTIFF a band; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for band in BANDS:
        _write(
            folder / f"{band.name}.tif",
            _block(band.name),
            size_px,
            "uint16" if band.modality == "optical" else "float32",
        )
    return folder


def write_safe(folder: Path, size_px: int) -> Path:
    """A SAFE folder as ESA delivers it, as far as lsd-run reads it; returns the folder."""
    images = folder / "GRANULE" / f"L2A_T33NZA_A000000_{TIME}" / "IMG_DATA"
    for band, name in SAFE_BANDS.items():
        _write_jp2(images / "R10m" / f"T33NZA_{TIME}_{band}_10m.jp2", _block(name), size_px, "uint16", 10)
    classes = np.full((4 * SCL_PX, 4 * SCL_PX), VEGETATION)
    classes[:SCL_PX, :SCL_PX] = CLOUD
    _write_jp2(images / "R20m" / f"T33NZA_{TIME}_SCL_20m.jp2", classes, size_px // 2, "uint8", 20)
    offsets = "\n".join(f'    <BOA_ADD_OFFSET band_id="{band}">-1000</BOA_ADD_OFFSET>' for band in range(13))
    (folder / "MTD_MSIL2A.xml").write_text(METADATA.format(offsets=offsets), encoding="utf-8")
    return folder


def write_radar(folder: Path, size_px: int) -> Path:
    """Two scenes of terrain-corrected linear power, and the tile file that joins them with the SAFE; returns that."""
    for role, change in (("pre", 0.0), ("post", 1.0)):
        for channel in ("VV", "VH"):
            level = _block(f"desc_{channel.lower()}") + change * _block(f"desc_d{channel.lower()}")
            path = folder / RADAR[role] / f"{RADAR[role]}_{channel}.tif"
            _write(path, 10 ** (level / 10), size_px, "float32")
    parts = [{"path": RADAR[role], "orbit": "descending", "relative_orbit": 7} for role in RADAR]
    joined = {"schema_version": 1, "event_time": EVENT_TIME, "optical": f"{NAME}.SAFE", "radar": parts}
    tile = folder / "whole.tile.json"
    tile.write_text(json.dumps(joined), encoding="utf-8")
    return tile


def _block(band: str) -> NDArray[np.float64]:
    """Made-up content of one band, (512, 512), repeated over the tile."""
    patches = simulated_patches((BLOCK_PX // 64) ** 2, seed=1)  # (64, 12, 64, 64)
    rows = patches[:, BAND_NAMES.index(band)].reshape(BLOCK_PX // 64, BLOCK_PX // 64, 64, 64)
    return np.asarray(rows.transpose(0, 2, 1, 3).reshape(BLOCK_PX, BLOCK_PX), np.float64)


def _write(path: Path, block: NDArray[Any], size_px: int, dtype: str, gsd_m: int = 10) -> None:
    """A tiled GeoTIFF of a repeated block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "width": size_px, "height": size_px, "count": 1, "crs": "EPSG:32633", "dtype": dtype,
        "transform": from_origin(399_960, 5_300_040, gsd_m, gsd_m), "tiled": True,
        "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "compress": "ZSTD", "zstd_level": 1,
    }  # fmt: skip
    height, width = (max(BLOCK_PX // side, 1) * side for side in block.shape)
    whole = np.tile(block, (height // block.shape[0], width // block.shape[1])).astype(dtype)
    with rasterio.open(path, "w", **profile) as file:
        for y in range(0, size_px, height):
            for x in range(0, size_px, width):
                window = Window(x, y, min(width, size_px - x), min(height, size_px - y))
                file.write(np.ascontiguousarray(whole[: window.height, : window.width]), 1, window=window)


def _write_jp2(path: Path, block: NDArray[Any], size_px: int, dtype: str, gsd_m: int) -> None:
    """The same as lossless JPEG 2000."""
    plain = path.with_suffix(".tif")
    _write(plain, block, size_px, dtype, gsd_m)
    side = str(min(JP2_BLOCK_PX, size_px))
    options = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": side, "BLOCKYSIZE": side}
    rasterio.shutil.copy(plain, path, driver="JP2OpenJPEG", **options)
    plain.unlink()
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)


def written(place: Path, write: Callable[[Path, int], Path], size_px: int) -> Path:
    """What `write` makes at `place`, made once: an interrupted try does not count."""
    if not place.exists():
        partial = place.with_name(f"{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        write(partial, size_px)
        partial.rename(place)
    return place


def inputs(folder: Path, layout: str, radar: bool, size_px: int) -> tuple[Path, int]:
    """Source to run on, written if need be, and the number of bands it stores."""
    if layout == "folder":
        return written(folder / NAME, write_tile, size_px), len(BANDS)
    if not radar:
        return written(folder / f"{NAME}.SAFE", write_safe, size_px), len(SAFE_BANDS)
    joined = written(folder / "joined", _write_joined, size_px)
    return joined / "whole.tile.json", len(SAFE_BANDS) + 2 * len(RADAR)


def _write_joined(folder: Path, size_px: int) -> Path:
    write_safe(folder / f"{NAME}.SAFE", size_px)
    return write_radar(folder, size_px)


@click.command(cls=LsdCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--size", "size_px", default=10_980, show_default=True, help="Width and height of the tile in pixels.")
@click.option(
    "--layout", type=click.Choice(["folder", "safe"]), default="folder", show_default=True, help="Of the input."
)
@click.option("--radar", is_flag=True, help="With --layout safe: a radar scene before and one after an event, too.")
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Where tile and products go.")
def main(bundle: Path, size_px: int, layout: str, radar: bool, folder: Path) -> None:
    """Time lsd-run on a made-up tile; prints JSON."""
    if radar and layout != "safe":
        raise UsageError("--radar needs --layout safe: layout folder holds radar bands already")
    tile, bands = inputs(folder / str(size_px), layout, radar, size_px)
    code = "from lsd.runtime.cli.run import main; main()"
    words = [str(bundle), str(tile), "-o", str(folder / "products"), "--overwrite", "--json", "--progress", "off"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"lsd-run ended with exit code {done.returncode}: {done.stderr.strip() or 'no message'}")
    summary = json.loads(done.stdout)
    measured = {
        "size_px": size_px,
        "layout": f"{layout} and radar" if radar else layout,
        "bands": bands,
        "patches": summary["totals"]["patches"],
        "configurations": summary["tiles"][0]["configurations"],
        "seconds": summary["totals"]["seconds"],
        "last_line": done.stderr.strip().splitlines()[-1],
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "conditions": facts(),
    }
    click.echo(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
