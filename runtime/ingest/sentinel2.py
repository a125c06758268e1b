"""Sentinel-2: processing level and the +1,000 offset of the stored DN.

ESA adds 1,000 to the DN from processing baseline 04.00 on (25 January 2022; Sentinel-2 Products Specification,
BOA_ADD_OFFSET): reflectance = (DN - 1,000) / 10,000. The canonical unit is that of the training data, with the offset.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import TileError, UnprovenUnitError, UsageError
from lsd.runtime.tiles import Conversion, Decision

Offset = Literal["present", "absent"]
DeclaredOffset = Literal["auto", "present", "absent", "reflectance"]

OFFSET_BASELINE = (4, 0)  # first processing baseline whose DN hold the offset
# `_N0400_` in product names; `_N02.14` in data strip and data take identifiers; `02.14` alone in PROCESSING_BASELINE
_BASELINE = re.compile(r"(?:^|_)N(\d\d)\.?(\d\d)(?=[_.]|$)|^(\d\d)\.(\d\d)$")
BASELINE_KEYS = ("PROCESSING_BASELINE", "PRODUCT_URI", "PRODUCT_ID", "DATASTRIP_ID", "DATATAKE_IDENTIFIER")
SOURCE_KEYS = ("tile_source",)  # BigEarthNet: the L1C product that its L2A patch was made from; tells the baseline only
LEVEL_KEYS = ("PRODUCT_URI", "PRODUCT_ID", "PRODUCT_TYPE")
# With the offset a visible DN of 1..499 means reflectance below -.05: of 7,147 training patches (with offset) 2 have a
# red minimum there, so single pixels prove nothing; one in a thousand of a sample does.
DARK_DN = 500
DARK_SHARE = 0.001
CONVERSION: dict[Offset, Conversion] = {"present": "none", "absent": "add_1000"}


def refuse_level_1c(product: str, names: Iterable[str], metadata: Mapping[str, Any], bands: Iterable[str]) -> None:
    """Raise TileError if a product is Level-1C (top of atmosphere), by its names, its metadata or its band B10."""
    stated = [*names, *(str(metadata.get(key, "")) for key in LEVEL_KEYS)]
    named = next((text for text in stated if "MSIL1C" in text or "S2MSI1C" in text), None)
    if named is not None or "B10" in {band.upper() for band in bands}:
        why = f"its name says so: {named}" if named else "it holds band B10, which Level-2A products do not have"
        raise TileError(
            f"{product} is Sentinel-2 Level-1C, top of atmosphere ({why}); the models need surface reflectance: "
            "fetch the Level-2A product of the same scene"
        )


def offset(
    product: str,
    names: Iterable[str],
    metadata: Mapping[str, Any],
    scaling: tuple[float, float],
    visible: NDArray[np.float64],
    declared: DeclaredOffset = "auto",
) -> tuple[Conversion, Decision]:
    """Decide whether the stored DN of a Level-2A product hold the offset of 1,000.

    Order of evidence: baseline in metadata and names, GDAL scale and offset of the band, the data. Evidence that
    disagrees is refused. A declaration decides where the evidence is silent; it overrules a name only with the data on
    its side (providers that remove the offset keep ESA's product name).

    Args:
        product: what to call it in messages.
        names: product, folder and file names.
        metadata: keys as in Sentinel-2 metadata.
        scaling: GDAL scale and offset of the band, (1, 0) where undeclared.
        visible: float64 (band, n), sampled DN of the visible bands, NaN where invalid; 0 is nodata.
        declared: `present` or `absent` as the user says, `auto` for no declaration.
    Raises:
        UnprovenUnitError: no evidence and no declaration, evidence that disagrees, or float reflectance 0..1.
        UsageError: the declaration contradicts the evidence.
    """
    dn = visible[np.isfinite(visible) & (visible != 0)]
    if dn.size and np.percentile(dn, 99) < 2:
        raise UnprovenUnitError(
            f"{product} holds values of 0..1 (99th percentile {np.percentile(dn, 99):.3g}), not DN; "
            "convert it first: DN = reflectance x 10,000 + 1,000, 0 where there is no data"
        )
    stated = _stated(names, metadata, scaling)
    found: dict[Offset, str] = dict(stated)
    if len({verdict for verdict, _ in stated}) > 1:
        raise UnprovenUnitError(
            f"{product}: sources disagree on the offset of 1,000 ({'; '.join(reason for _, reason in stated)}); "
            "correct the metadata or names"
        )
    dark_share = float(((dn > 0) & (dn < DARK_DN)).mean()) if dn.size else 0.0
    is_dark = dark_share > DARK_SHARE
    dark = f"{dark_share:.1%} of the sampled visible pixels have DN 1..499, which exist only without the offset"

    if declared == "present" and is_dark:
        raise UsageError(f"--s2-offset present contradicts the data of {product}: {dark}; declare absent")
    if declared != "auto" and found and declared not in found:
        if not (declared == "absent" and is_dark):
            raise UsageError(
                f"--s2-offset {declared} contradicts {product}: {'; '.join(found.values())}; leave the option out"
            )
        return CONVERSION["absent"], _decision("absent", f"declared by --s2-offset, and {dark}")
    if "present" in found and is_dark:
        raise UnprovenUnitError(
            f"{product}: {found['present']}, but {dark}; if the provider removed the offset, say --s2-offset absent"
        )
    for verdict, reason in found.items():
        return CONVERSION[verdict], _decision(verdict, reason)
    if declared != "auto":
        return CONVERSION[declared], _decision(declared, "declared by --s2-offset")
    if is_dark:
        return CONVERSION["absent"], _decision("absent", dark)
    raise UnprovenUnitError(
        f"{product}: nothing tells whether its DN hold the offset of 1,000 (no baseline in name or metadata, no "
        "scale, no dark pixel); say --s2-offset present (baseline 04.00 and later) or --s2-offset absent"
    )


def _stated(
    names: Iterable[str], metadata: Mapping[str, Any], scaling: tuple[float, float]
) -> list[tuple[Offset, str]]:
    """What metadata, names and GDAL scaling say, each with its reason."""
    texts = [(f"metadata {key}", str(metadata[key])) for key in BASELINE_KEYS + SOURCE_KEYS if metadata.get(key)]
    texts += [("name", name) for name in names]
    stated: list[tuple[Offset, str]] = []
    for where, text in texts:
        for groups in _BASELINE.findall(text):
            baseline = tuple(int(part) for part in groups if part)
            verdict: Offset = "present" if baseline >= OFFSET_BASELINE else "absent"
            stated.append((verdict, f"processing baseline {baseline[0]:02d}.{baseline[1]:02d} in {where} {text}"))
    scale, add = scaling
    if np.isclose(scale, 1e-4):
        if np.isclose(add, -0.1):
            stated.append(("present", "the band declares scale 0.0001 and offset -0.1"))
        elif add == 0:
            stated.append(("absent", "the band declares scale 0.0001 and offset 0"))
    unique: dict[Offset, str] = {}
    for verdict, reason in stated:
        unique.setdefault(verdict, reason)
    return list(unique.items())


def _decision(verdict: Offset, reason: str) -> Decision:
    choice = "DN kept: they hold the offset of 1,000" if verdict == "present" else "1,000 added to every DN above 0"
    return Decision("Sentinel-2 offset", choice, reason)
