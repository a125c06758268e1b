"""Writes small SAFE folders in the layout that ESA delivers; nothing of them is real ground."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from tiles import L2A_NEW, ORIGIN, UTM, optical

BANDS = ("B04", "B03", "B02", "B08")  # in the order of `tiles.optical`: red, green, blue, nir
CLEAR = 4  # vegetation
NAMESPACE = "https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd"
SENTINEL_1 = "S1A_IW_GRDH_1SDV_20220706T050800_20220706T050825_043985_054021_D457"


def write_jp2(path: Path, pixels: np.ndarray, size_m: float = 10.0, crs: str = UTM, origin: Affine = ORIGIN) -> Path:
    """Write (y, x) pixels as lossless JPEG 2000 with the upper left corner of `origin`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pixels.shape
    transform = Affine(size_m, 0, origin.c, 0, -size_m, origin.f)
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        width=width,
        height=height,
        count=1,
        dtype=pixels.dtype,
        crs=crs,
        transform=transform,
        QUALITY="100",
        REVERSIBLE="YES",
    ) as dataset:
        dataset.write(pixels, 1)
    return path


def write_safe(
    parent: Path,
    name: str = L2A_NEW,
    pixels: np.ndarray | None = None,
    scl: np.ndarray | None = None,
    baseline: str | None = "04.00",
    boa_add_offset: int | Sequence[int] | None = None,
    bands: Sequence[str] = BANDS,
    folder: str | None = None,
    quantification: int = 10_000,
    prefix: str = "",
) -> Path:
    """Write a Level-2A SAFE folder and return its path.

    Args:
        name: of the product, without `.SAFE`.
        pixels: uint16 (4, y, x) red, green, blue, nir at 10 m; noise of 128 x 192 px if None.
        scl: uint8 classes at 20 m; all clear if None; an array of no size leaves the layer out.
        baseline: None leaves it out of the metadata.
        boa_add_offset: one number for all bands, one each of the 13, or none; from baseline 04.00 on -1000 if None.
        bands: those of `BANDS` that are there.
        folder: its name, NAME.SAFE if None.
        prefix: of the names of images, `L2A_` in products before baseline 02.07.
    """
    pixels = optical(128, 192) if pixels is None else pixels
    _, height, width = pixels.shape
    scl = np.full((height // 2, width // 2), CLEAR, np.uint8) if scl is None else scl
    safe = parent / (folder or f"{name}.SAFE")
    _, _, start, _, _, tile, _ = name.split("_")
    images = safe / "GRANULE" / f"L2A_{tile}_A036755_{start}" / "IMG_DATA"
    for band, values in zip(BANDS, pixels, strict=True):
        if band in bands:
            write_jp2(images / "R10m" / f"{prefix}{tile}_{start}_{band}_10m.jp2", values)
    if scl.size:
        write_jp2(images / "R20m" / f"{prefix}{tile}_{start}_SCL_20m.jp2", scl, 20.0)
    if boa_add_offset is None and baseline is not None and baseline >= "04.00":
        boa_add_offset = -1000
    (safe / "GRANULE").mkdir(parents=True, exist_ok=True)
    (safe / "manifest.safe").write_text("<xfdu:XFDU xmlns:xfdu='urn:ccsds:schema:xfdu:1'/>", encoding="utf-8")
    text = metadata_xml(name, start, baseline, boa_add_offset, quantification)
    (safe / "MTD_MSIL2A.xml").write_text(text, encoding="utf-8")
    return safe


def metadata_xml(
    name: str, start: str, baseline: str | None, boa_add_offset: int | Sequence[int] | None, quantification: int
) -> str:
    """MTD_MSIL2A.xml in the shape of its schema, cut to what a reader may want."""
    time = f"{start[:4]}-{start[4:6]}-{start[6:11]}:{start[11:13]}:{start[13:15]}.024Z"
    stated = "" if baseline is None else f"<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>"
    added = ""
    if boa_add_offset is not None:
        offsets = [boa_add_offset] * 13 if isinstance(boa_add_offset, int) else boa_add_offset
        values = "".join(f'<BOA_ADD_OFFSET band_id="{i}">{value}</BOA_ADD_OFFSET>' for i, value in enumerate(offsets))
        added = f"<BOA_ADD_OFFSET_VALUES_LIST>{values}</BOA_ADD_OFFSET_VALUES_LIST>"
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_User_Product xmlns:n1="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <!-- written by a test -->
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{time}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{time}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{name}.SAFE</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
      {stated}
      <Datatake datatakeIdentifier="GS2A_{start}_036755">
        <SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>
        <SENSING_ORBIT_NUMBER>7</SENSING_ORBIT_NUMBER>
        <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
      </Datatake>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <QUANTIFICATION_VALUES_LIST>
        <BOA_QUANTIFICATION_VALUE unit="none">{quantification}</BOA_QUANTIFICATION_VALUE>
        <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>
      {added}
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-2A_User_Product>
"""


def write_level_1c(parent: Path, name: str = L2A_NEW.replace("L2A", "L1C"), folder: str | None = None) -> Path:
    """Write a Level-1C SAFE folder of one band and return its path."""
    safe = parent / (folder or f"{name}.SAFE")
    _, _, start, _, _, tile, _ = name.split("_")
    images = safe / "GRANULE" / f"L1C_{tile}_A036755_{start}" / "IMG_DATA"
    write_jp2(images / f"{tile}_{start}_B02.jp2", optical(128, 192)[2])
    (safe / "MTD_MSIL1C.xml").write_text("<Level-1C_User_Product/>", encoding="utf-8")
    return safe


def write_sentinel1(parent: Path, name: str = SENTINEL_1, folder: str | None = None) -> Path:
    """Write what tells a Sentinel-1 Level-1 SAFE folder and return its path; its images are empty."""
    safe = parent / (folder or f"{name}.SAFE")
    (safe / "measurement").mkdir(parents=True)
    (safe / "manifest.safe").write_text("<xfdu:XFDU xmlns:xfdu='urn:ccsds:schema:xfdu:1'/>", encoding="utf-8")
    (safe / "measurement" / "s1a-iw-grd-vv.tiff").write_bytes(b"")
    return safe


def zipped(folder: Path, path: Path | None = None, root: str | None = None) -> Path:
    """A zip of a folder, beside it and named as it without `.SAFE`; `root`: folder in the zip, FOLDER if None."""
    path = path or folder.with_name(folder.name.removesuffix(".SAFE") + ".zip")
    root = folder.name if root is None else root
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, Path(root) / file.relative_to(folder))
    return path
