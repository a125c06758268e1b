"""Made-up tiles of the size of a Sentinel-2 one, and the content that fills them: all of it SYNTHETIC.

Layout `folder`: 12 bands, one GeoTIFF each, tiled, 512 px, ZSTD. Layout `safe`: a SAFE folder with four JPEG 2000 bands
of 10 m in blocks of 1,024 px and a scene classification of 20 m; with radar a tile file joins it with a VV and VH scene
before and one after an event. One block of content is repeated over the tile: simulated patches, or those of a folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES, BANDS, PATCH_SIZE_PX
from lsd.runtime.errors import UsageError

SIMULATED_SIDE, FOLDER_SIDE = 8, 32  # patches along a side of the block: 64 simulated ones, 1,024 of a folder at most
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


class Content:
    """What fills a tile: one block of patches, repeated. Made when first asked for.

    patches: folder of ID.npy with labels.csv, marked as synthetic; None: simulated ones.
    """

    def __init__(self, patches: Path | None = None) -> None:
        self.folder = patches

    @property
    def name(self) -> str:
        """What reports say about it."""
        return "SYNTHETIC: " + ("simulated patches" if self.folder is None else f"patches of {self.folder.name}")

    @cached_property
    def patches(self) -> NDArray[np.float32]:
        """float32 (n, 12, 64, 64), n a square number, optical bands in whole DN: as a tile stores them.

        Raises:
            UsageError: the folder is not marked as synthetic, or holds patches of other units.
        """
        found = self._simulated() if self.folder is None else self._of_folder(self.folder)
        optical = [at for at, band in enumerate(BANDS) if band.modality == "optical"]
        found[:, optical] = np.clip(np.round(found[:, optical]), 0, np.iinfo(np.uint16).max)
        return found

    def block(self, band: str) -> NDArray[np.float32]:
        """float32 (y, x) of one band: the patches, row by row of the block."""
        rows = self.patches[:, BAND_NAMES.index(band)]
        side = round(len(rows) ** 0.5)
        joined = rows.reshape(side, side, PATCH_SIZE_PX, PATCH_SIZE_PX).transpose(0, 2, 1, 3)
        return joined.reshape(side * PATCH_SIZE_PX, side * PATCH_SIZE_PX)

    def _simulated(self) -> NDArray[np.float32]:
        return simulated_patches(SIMULATED_SIDE**2, seed=1)

    def _of_folder(self, folder: Path) -> NDArray[np.float32]:
        from lsd.train.datasets.npy import npy_dataset

        dataset = npy_dataset(folder, None).arranged(BAND_NAMES)
        if not dataset.synthetic or dataset.units != "canonical":
            raise UsageError(
                f"{folder}: expected made-up patches in DN and dB (lsd-train surrogate makes some), found "
                f"{'made-up' if dataset.synthetic else 'real'} ones in {dataset.units} units"
            )
        side = min(int(len(dataset) ** 0.5), FOLDER_SIDE)
        chosen = np.linspace(0, len(dataset) - 1, side**2, dtype=int)
        found = np.stack([dataset.read(int(position)) for position in chosen])
        red, blue = BAND_NAMES.index("red"), BAND_NAMES.index("blue")
        # made-up texture that looks like haze (lsd.runtime.haze) is held below that: every patch is to be answered
        found[:, blue] = np.minimum(found[:, blue], np.floor(0.5 * np.round(found[:, red]) + 1290))
        return found


def write_tile(folder: Path, size_px: int, content: Content) -> Path:
    """One GeoTIFF a band; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for band in BANDS:
        _write(
            folder / f"{band.name}.tif",
            content.block(band.name),
            size_px,
            "uint16" if band.modality == "optical" else "float32",
        )
    return folder


def write_safe(folder: Path, size_px: int, content: Content) -> Path:
    """A SAFE folder as ESA delivers it, as far as lsd-run reads it; returns the folder."""
    images = folder / "GRANULE" / f"L2A_T33NZA_A000000_{TIME}" / "IMG_DATA"
    for band, name in SAFE_BANDS.items():
        _write_jp2(images / "R10m" / f"T33NZA_{TIME}_{band}_10m.jp2", content.block(name), size_px, "uint16", 10)
    classes = np.full((4 * SCL_PX, 4 * SCL_PX), VEGETATION)
    classes[:SCL_PX, :SCL_PX] = CLOUD
    _write_jp2(images / "R20m" / f"T33NZA_{TIME}_SCL_20m.jp2", classes, size_px // 2, "uint8", 20)
    offsets = "\n".join(f'    <BOA_ADD_OFFSET band_id="{band}">-1000</BOA_ADD_OFFSET>' for band in range(13))
    (folder / "MTD_MSIL2A.xml").write_text(METADATA.format(offsets=offsets), encoding="utf-8")
    return folder


def write_radar(folder: Path, size_px: int, content: Content) -> Path:
    """Two scenes of terrain-corrected linear power, and the tile file that joins them with the SAFE; returns that."""
    for role, change in (("pre", 0.0), ("post", 1.0)):
        for channel in ("VV", "VH"):
            name = channel.lower()
            level = content.block(f"desc_{name}") + change * content.block(f"desc_d{name}")
            path = folder / RADAR[role] / f"{RADAR[role]}_{channel}.tif"
            _write(path, 10 ** (level / 10), size_px, "float32")
    parts = [{"path": RADAR[role], "orbit": "descending", "relative_orbit": 7} for role in RADAR]
    joined = {"schema_version": 1, "event_time": EVENT_TIME, "optical": f"{NAME}.SAFE", "radar": parts}
    tile = folder / "whole.tile.json"
    tile.write_text(json.dumps(joined), encoding="utf-8")
    return tile


def _write(path: Path, block: NDArray[Any], size_px: int, dtype: str, gsd_m: int = 10) -> None:
    """A tiled GeoTIFF of a repeated block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "width": size_px, "height": size_px, "count": 1, "crs": "EPSG:32633", "dtype": dtype,
        "transform": Affine(gsd_m, 0, 399_960, 0, -gsd_m, 5_300_040), "tiled": True,
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


def inputs(folder: Path, layout: str, radar: bool, size_px: int, content: Content) -> tuple[Path, int]:
    """Source to run on, written if need be, and the number of bands it stores."""
    if content.folder is not None:
        folder = folder.with_name(f"{folder.name}-{content.folder.name}")
    if layout == "folder":
        return written(folder / NAME, lambda place, size: write_tile(place, size, content), size_px), len(BANDS)
    if not radar:
        place = folder / f"{NAME}.SAFE"
        return written(place, lambda place, size: write_safe(place, size, content), size_px), len(SAFE_BANDS)
    joined = written(folder / "joined", lambda place, size: _write_joined(place, size, content), size_px)
    return joined / "whole.tile.json", len(SAFE_BANDS) + 2 * len(RADAR)


def _write_joined(folder: Path, size_px: int, content: Content) -> Path:
    write_safe(folder / f"{NAME}.SAFE", size_px, content)
    return write_radar(folder, size_px, content)
