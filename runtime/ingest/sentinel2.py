"""Sentinel-2: processing level and the +1,000 offset of the stored DN.

ESA adds 1,000 to the DN from processing baseline 04.00 on (25 January 2022; Sentinel-2 Products Specification,
BOA_ADD_OFFSET): reflectance = (DN - 1,000) / 10,000. The canonical unit is that of the training data, with the offset.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import TileError, UnprovenUnitError, UsageError
from lsd.runtime.tiles import Conversion, Decision

Offset = Literal["present", "absent"]
DeclaredOffset = Literal["auto", "present", "absent", "reflectance"]

OFFSET_DN = 1000.0
UNKNOWN_BASELINE = (90, 0)  # 99.99 marks test and reprocessed products
REMOVED_KEY = "earthsearch:boa_offset_applied"  # Element84: true where the offset was subtracted from the DN
HARMONISED = re.compile(r"harmoni[sz]ed", re.IGNORECASE)  # Earth Engine's S2_SR_HARMONIZED
OFFSET_BASELINE = (4, 0)  # first processing baseline whose DN hold the offset
# `_N0400_` in product names; `_N02.14` in data strip and data take identifiers; `02.14` alone in PROCESSING_BASELINE
_BASELINE = re.compile(r"(?:^|_)N(\d\d)\.?(\d\d)(?=[_.]|$)|^(\d\d)\.(\d\d)$")
OWN_BASELINE_KEYS = ("PROCESSING_BASELINE", "s2:processing_baseline")  # these hold a baseline and nothing else
BASELINE_KEYS = (
    "PROCESSING_BASELINE",
    "s2:processing_baseline",
    "processing:version",
    "PRODUCT_URI",
    "PRODUCT_ID",
    "DATASTRIP_ID",
    "DATATAKE_IDENTIFIER",
)
SOURCE_KEYS = ("tile_source",)  # BigEarthNet: the L1C product that its L2A patch was made from; tells the baseline only
COLLECTION_KEYS = ("stac:collection", "stac:id", "collection", "system:id")
LEVEL_KEYS = ("PRODUCT_URI", "PRODUCT_ID", "PRODUCT_TYPE")
# With the offset a visible DN of 1..499 means reflectance below -.05: of 7,147 training patches (with offset) 2 have a
# red minimum there, so single pixels prove nothing; one in a thousand of a sample does.
DARK_DN = 500
DARK_SHARE = 0.001
BRIGHT_SAMPLE = 1000  # valid pixels, at least, before it means something that none of them is dark
# Harmonised signed integers go down to -1,000; what lies below is a nodata value that nobody declared.
LEAST_DN = -OFFSET_DN
# 99 % of the visible below reflectance .0256 is no land: 8-bit pictures and percent end here, and would pass as dark.
LEAST_BRIGHT_DN = 256
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
    stated_unit: str | None = None,
) -> tuple[Conversion, Decision]:
    """Decide whether the stored DN of a Level-2A product hold the offset of 1,000.

    Order of evidence: BOA_ADD_OFFSET and baseline in metadata, baseline in names, what a provider says it did, scale
    and offset of the band, the data. Evidence that disagrees is settled by the data (dark pixels prove that the offset
    is gone) or refused. A declaration decides where the evidence is silent or disagrees; it overrules agreeing evidence
    only with the data on its side (providers that remove the offset keep ESA's product name).

    Args:
        product: what to call it in messages.
        names: product, folder and file names.
        metadata: keys as in Sentinel-2 metadata.
        scaling: GDAL scale and offset of the band, (1, 0) where undeclared.
        visible: float64 (band, n), sampled DN of the visible bands, NaN where invalid; 0 is nodata.
        declared: `present`, `absent` or `reflectance` (values 0..1) as the user says, `auto` for no declaration.
        stated_unit: unit that the file declares for the band; `reflectance` counts as a declaration.
    Raises:
        UnprovenUnitError: no evidence and no declaration, evidence that disagrees, an unknown baseline or offset,
            undeclared reflectance 0..1, or values of another scale.
        UsageError: the declaration contradicts the evidence.
    """
    names = list(names)
    dn = visible[np.isfinite(visible) & (visible != 0)]
    reflectance = _reflectance(product, dn, declared, stated_unit)
    if reflectance is not None:
        return "reflectance_to_dn", reflectance
    _refuse_other_scale(product, dn)
    found = _stated(product, names, metadata, scaling, declared)
    dark_share = float(((dn >= LEAST_DN) & (dn < DARK_DN)).mean()) if dn.size else 0.0
    is_dark = dark_share > DARK_SHARE
    dark = f"{dark_share:.1%} of the sampled visible pixels have DN below 500, which exist only without the offset"

    if declared == "present" and is_dark:
        raise UsageError(f"--s2-offset present contradicts the data of {product}: {dark}; declare absent")
    if len(found) > 1:
        disagree = f"sources disagree ({'; '.join(found.values())})"
        if is_dark:
            return CONVERSION["absent"], _decision("absent", f"{disagree}, but {dark}")
        if declared == "present" or declared == "absent":
            return CONVERSION[declared], _decision(declared, f"{disagree}; declared by --s2-offset")
        raise UnprovenUnitError(
            f"{product}: {disagree} and the data do not prove either (no visible DN below 500); say --s2-offset "
            "present or --s2-offset absent"
        )
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
    bright = dn.size >= BRIGHT_SAMPLE and float(np.percentile(dn, 1)) >= OFFSET_DN
    if _is_removed(metadata) and not _baselines(names, metadata) and bright and declared == "auto":
        raise UnprovenUnitError(
            f"{product}: {found['absent']}, but 99 % of the visible pixels have DN of 1,000 or more, as if it were "
            "still there; that flag errs on some items: say --s2-offset present or --s2-offset absent"
        )
    for verdict, reason in found.items():
        return CONVERSION[verdict], _decision(verdict, reason)
    if declared == "present" or declared == "absent":
        return CONVERSION[declared], _decision(declared, "declared by --s2-offset")
    if is_dark:
        return CONVERSION["absent"], _decision("absent", dark)
    raise UnprovenUnitError(
        f"{product}: nothing tells whether its DN hold the offset of 1,000 (no baseline in name or metadata, no "
        "scale, no dark pixel); say --s2-offset present (baseline 04.00 and later) or --s2-offset absent"
    )


def _reflectance(
    product: str, dn: NDArray[np.float64], declared: DeclaredOffset, stated_unit: str | None
) -> Decision | None:
    """The decision on values that are reflectance 0..1, None if they are DN.

    Raises:
        UnprovenUnitError: they look like reflectance and nobody declares it.
        UsageError: declared as reflectance, and they are not.
    """
    largest = float(np.percentile(dn, 99)) if dn.size else np.nan
    by_file = (stated_unit or "").strip().casefold() == "reflectance"
    if declared == "reflectance" and largest >= 2:
        raise UsageError(
            f"--s2-offset reflectance contradicts the data of {product}: 99th percentile {largest:.4g}, not 0..1; "
            "leave the option out"
        )
    if not largest < 2 and not (declared == "reflectance" and not dn.size):
        return None
    if declared == "reflectance" or by_file:
        who = "the file declares its unit" if by_file else "declared by --s2-offset"
        found = f"99th percentile {largest:.3g}" if dn.size else "no valid pixel in the sample"
        return Decision("Sentinel-2 unit", "reflectance x 10,000 + 1,000", f"{who}; {found}")
    raise UnprovenUnitError(
        f"{product} holds values of 0..1 (99th percentile {largest:.3g}), not DN; if they are reflectance say "
        "--s2-offset reflectance, which makes DN = reflectance x 10,000 + 1,000 of them"
    )


def _refuse_other_scale(product: str, dn: NDArray[np.float64]) -> None:
    """Raise UnprovenUnitError if the values are too small to be DN of land, with or without the offset."""
    largest = float(np.percentile(dn, 99)) if dn.size else np.inf
    if largest < LEAST_BRIGHT_DN:
        raise UnprovenUnitError(
            f"{product} holds values up to {largest:.4g} (99th percentile of the visible), neither DN (reflectance x "
            "10,000) nor reflectance 0..1: a picture of 8 bits, or percent; give the bands as the product has them"
        )


def _is_removed(metadata: Mapping[str, Any]) -> bool:
    return str(metadata.get(REMOVED_KEY)).casefold() == "true"


def _baselines(names: Iterable[str], metadata: Mapping[str, Any]) -> list[tuple[tuple[int, int], str]]:
    """Processing baselines in metadata, then in names, each with the words that tell where."""
    keys = [key for key in BASELINE_KEYS + SOURCE_KEYS if metadata.get(key)]
    texts = [(f"metadata {key}", _text(metadata[key])) for key in keys]
    texts += [("name", name) for name in names]
    found = []
    for where, text in texts:
        for groups in _BASELINE.findall(text):
            major, minor = (int(part) for part in groups if part)
            found.append(((major, minor), f"processing baseline {major:02d}.{minor:02d} in {where} {text}"))
    return found


def _stated(
    product: str,
    names: Sequence[str],
    metadata: Mapping[str, Any],
    scaling: tuple[float, float],
    declared: DeclaredOffset,
) -> dict[Offset, str]:
    """What metadata, names and GDAL scaling say, the first reason for each verdict.

    Raises:
        UnprovenUnitError: a baseline that does not exist or an offset that no product has, and no declaration.
    """
    stated = _by_metadata(product, metadata, declared)
    baselines = _baselines(names, metadata)
    unread = [key for key in OWN_BASELINE_KEYS if metadata.get(key) and not _BASELINE.search(_text(metadata[key]))]
    unknown = [reason for baseline, reason in baselines if baseline >= UNKNOWN_BASELINE]
    unknown += [f"processing baseline {metadata[key]!r:.40} in metadata {key}" for key in unread]
    if unknown and declared == "auto":
        raise UnprovenUnitError(
            f"{product}: {unknown[0]} is no baseline that is known (test or reprocessing numbers tell nothing of the "
            "offset); say --s2-offset present or --s2-offset absent"
        )
    for baseline, reason in baselines:
        if baseline < UNKNOWN_BASELINE:
            stated.append(("present" if baseline >= OFFSET_BASELINE else "absent", reason))
    stated += _by_provider(names, metadata, scaling)
    unique: dict[Offset, str] = {}
    for verdict, reason in stated:
        unique.setdefault(verdict, reason)
    return unique


def _by_metadata(product: str, metadata: Mapping[str, Any], declared: DeclaredOffset) -> list[tuple[Offset, str]]:
    """What BOA_ADD_OFFSET says: -1,000 is to be added to the DN, or 0."""
    added = metadata.get("BOA_ADD_OFFSET")
    if added is None:
        return []
    values = {_number(value) for value in (added if isinstance(added, (list, tuple)) else [added])}
    if values == {-OFFSET_DN} or values == {0.0}:
        return [("present" if -OFFSET_DN in values else "absent", f"metadata BOA_ADD_OFFSET {added}")]
    if declared != "auto":
        return []
    raise UnprovenUnitError(
        f"{product}: metadata BOA_ADD_OFFSET is {added!r:.60}, expected -1000 or 0; say --s2-offset present or "
        "--s2-offset absent"
    )


def _by_provider(
    names: Sequence[str], metadata: Mapping[str, Any], scaling: tuple[float, float]
) -> list[tuple[Offset, str]]:
    """What a provider says it did with the offset: by a flag, by the name of its collection, by scale and offset."""
    stated: list[tuple[Offset, str]] = []
    if _is_removed(metadata):
        stated.append(("absent", f"{REMOVED_KEY} is true: the provider says it removed the offset"))
    texts = [(key, str(metadata.get(key, ""))) for key in COLLECTION_KEYS] + [("name", name) for name in names]
    stated += [
        ("absent", f"{key} {text}: harmonised, the provider removed the offset")
        for key, text in texts
        if HARMONISED.search(text)
    ]
    declarations = [("the band", *scaling)]
    assets = metadata.get("stac:raster")
    for asset, facts in assets.items() if isinstance(assets, Mapping) else ():
        if not isinstance(facts, Mapping):
            continue
        scale, add = _number(facts.get("scale")), _number(facts.get("offset"))
        if scale is not None and add is not None:
            declarations.append((f"the STAC item's asset {asset}", scale, add))
    for who, scale, add in declarations:
        if np.isclose(scale, 1e-4) and np.isclose(add, -0.1):
            stated.append(("present", f"{who} declares scale 0.0001 and offset -0.1"))
        elif np.isclose(scale, 1e-4) and add == 0:
            stated.append(("absent", f"{who} declares scale 0.0001 and offset 0"))
    return stated


def _text(value: object) -> str:
    """Metadata as text; a baseline that was read as a number (5.09) as ESA writes it (05.09)."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{value:05.2f}" if is_number else str(value)


def _number(value: object) -> float | None:
    """A number, also as text; None for anything else."""
    try:
        return None if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _decision(verdict: Offset, reason: str) -> Decision:
    choice = "DN kept: they hold the offset of 1,000" if verdict == "present" else "1,000 added to every DN but 0"
    return Decision("Sentinel-2 offset", choice, reason)
