"""What a Sentinel-1 product is: recognisers as a table, and the facts about one scene with the reason for each.

A new provider is one entry of `RECOGNISERS`: how to know its products, what their values are, and where a name or tag
says more, a small function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from lsd.runtime.bands import Orbit
from lsd.runtime.errors import TileError, UsageError
from lsd.runtime.ingest.sentinel1 import RadarUnit
from lsd.runtime.ingest.times import acquired, iso
from lsd.runtime.ingest.tracks import direction, granules, relative_orbit
from lsd.runtime.tiles import Decision

if TYPE_CHECKING:
    from lsd.runtime.sources.product import Declared, SourceOptions

Backscatter = Literal["sigma0", "gamma0"]
COARSE_M = 30.0  # METHOD: radar of 10 to 20 m, 30 m only if the user insists
_SAME_TIME_S = 86_400  # a tile file may round; a day off is another scene


@dataclass(frozen=True)
class RadarFacts:
    """What is known about one radar scene.

    product: what it was recognised as. unit, spacing_m, acquired (UTC), orbit, relative_orbit: None where unknown; the
    unit is then declared or decided by the data. processing: equal for two scenes that may be compared. flattened: by
    terrain, whatever the backscatter is called.
    """

    product: str
    backscatter: Backscatter
    unit: RadarUnit | None
    unit_reason: str
    spacing_m: float | None
    acquired: datetime | None
    orbit: Orbit | None
    relative_orbit: int | None
    processing: str
    decisions: tuple[Decision, ...] = ()
    flattened: bool = False

    @property
    def gives_levels(self) -> bool:
        """True for ellipsoid sigma0, as in training; flattening cancels in a difference only."""
        return self.backscatter == "sigma0" and not self.flattened


@dataclass(frozen=True)
class Details:
    """What the names and tags of one product add to its recogniser's entry. track: number and where it stands."""

    backscatter: Backscatter
    unit: RadarUnit | None
    spacing_m: float | None
    processor: str
    filtered: bool = False
    dual_vertical: bool = True
    mode: str | None = None
    track: tuple[int, str] | None = None


Detailer = Callable[[Details, "re.Match[str] | None", Mapping[str, Any]], Details]


def _as_entered(details: Details, match: re.Match[str] | None, metadata: Mapping[str, Any]) -> Details:
    return details


@dataclass(frozen=True)
class Recogniser:
    """One kind of product.

    names: pattern of the name of the product or a file. collections: pattern of the STAC collection. keys: metadata of
    which one is enough. backscatter, unit, spacing_m, processor, flattened (by terrain): what the provider documents.
    detailer: what a name or tag says beyond it. refuse: why it cannot be used and what to do, None if it can.
    """

    name: str
    names: re.Pattern[str] | None = None
    collections: re.Pattern[str] | None = None
    keys: tuple[str, ...] = ()
    backscatter: Backscatter = "sigma0"
    unit: RadarUnit | None = None
    spacing_m: float | None = None
    processor: str = ""
    flattened: bool = False
    detailer: Detailer = _as_entered
    refuse: str | None = None

    def recognise(self, names: Sequence[str], metadata: Mapping[str, Any]) -> tuple[str, re.Match[str] | None] | None:
        """The evidence in words and the match of a name, None if the product is of another kind."""
        for name in names:
            match = self.names.search(name) if self.names else None
            if match:
                return f"name {name}", match
        collection = str(metadata.get("stac:collection", ""))
        if self.collections and self.collections.search(collection):
            return f"STAC collection {collection}", None
        for key in self.keys:
            if key in metadata:
                return f"metadata {key}", None
        return None


def _hyp3(details: Details, match: re.Match[str] | None, metadata: Mapping[str, Any]) -> Details:
    """HyP3 RTC product guide, naming convention: S1x_yy_aaaaaaaaTbbbbbb_ppo_RTCzz_u_defklm_ssss."""
    if match is None:
        return details
    scales: dict[str, RadarUnit] = {"p": "power", "d": "db", "a": "amplitude"}
    matching = "DEM matching" if match["matching"] == "m" else "dead reckoning"
    return replace(
        details,
        backscatter="gamma0" if match["radiometry"] == "g" else "sigma0",
        unit=scales[match["scale"]],
        spacing_m=float(match["spacing"]),
        processor=f"{'GAMMA' if match['software'] == 'G' else match['software']}, {matching}",
        filtered=match["filter"] == "f",
        dual_vertical=match["polarisation"] == "DV",
        mode=match["mode"],
    )


def _opera(details: Details, match: re.Match[str] | None, metadata: Mapping[str, Any]) -> Details:
    """OPERA RTC-S1 product specification (JPL D-108758), file names and GeoTIFF tags."""
    expression = str(metadata.get("PROCESSING_INFORMATION_OUTPUT_BACKSCATTER_EXPRESSION_CONVENTION", "")).casefold()
    filtered = str(metadata.get("PROCESSING_INFORMATION_FILTERING_APPLIED", "")).casefold() in ("true", "1", "yes")
    details = replace(details, filtered=filtered, unit="db" if "decibel" in expression else details.unit)
    if match is None:
        return details
    return replace(
        details, spacing_m=float(match["spacing"]), track=(int(match["track"]), f"track in the name {match.group()}")
    )


# In this order: the first that recognises a product answers.
RECOGNISERS: tuple[Recogniser, ...] = (
    Recogniser(
        "ASF HyP3 RTC",
        re.compile(
            r"S1[A-D]_(?P<mode>IW|EW|SM|S[1-6]|WV)_\d{8}T\d{6}_(?P<polarisation>[DS][HV])[PRO]_RTC(?P<spacing>\d+)_"
            r"(?P<software>[A-Z])_(?P<radiometry>[gs])(?P<scale>[pda])[uw](?P<filter>[nf])[ec](?P<matching>[dm])"
        ),
        backscatter="gamma0",
        flattened=True,
        processor="GAMMA",
        detailer=_hyp3,
    ),
    Recogniser(
        "OPERA RTC-S1",
        re.compile(
            r"OPERA_L2_RTC-S1_T(?P<track>\d{3})-\d+-IW[123]_\d{8}T\d{6}Z_\d{8}T\d{6}Z_S1[A-D]_(?P<spacing>\d+)_v"
        ),
        re.compile(r"(?i)^OPERA_L2_RTC-S1"),
        ("PROCESSING_INFORMATION_OUTPUT_BACKSCATTER_NORMALIZATION_CONVENTION",),
        backscatter="gamma0",
        flattened=True,
        unit="power",
        spacing_m=30.0,
        processor="ISCE3",
        detailer=_opera,
    ),
    Recogniser(  # Planetary Computer, collection sentinel-1-rtc: float32 gamma0 in linear power, 10 m
        "Planetary Computer Sentinel-1 RTC",
        re.compile(r"^S1[A-D]_[A-Z0-9]{2}_GRD.*_rtc(_v[vh])?$"),
        re.compile(r"^sentinel-1-rtc$"),
        backscatter="gamma0",
        flattened=True,
        unit="power",
        spacing_m=10.0,
    ),
    Recogniser(  # names of the agency's folders and of the measurements in them; the plain product name proves nothing
        "Sentinel-1 Level-1",
        re.compile(r"(?i)^S1[A-D]_.*\.SAFE(\.zip)?$|^s1[a-d]-(iw|ew|wv|s[1-6])\d?-(grd|slc|raw)-[a-z0-9-]+$"),
        re.compile(r"(?i)^(sentinel-1-(grd|slc|raw)|sentinel-1[a-d]?_[ds]p_(grd|slc))"),
        refuse=(
            "it is neither calibrated nor geocoded: make sigma0 on a 10 m grid of it first (SNAP: Calibration, then "
            "Range-Doppler Terrain Correction), or fetch an RTC product of the scene"
        ),
    ),
    Recogniser(  # Sumbul et al., BigEarthNet-MM, IEEE GRSM 9(3), 2021: SNAP, sigma0 in dB
        "BigEarthNet Sentinel-1",
        re.compile(r"^S1[A-D]_IW_GRDH_1S[A-Z]{2}_\d{8}T\d{6}_\d{2}[A-Z]{3}_\d+_\d+"),
        keys=("corresponding_s2_patch",),
        unit="db",
        spacing_m=10.0,
        processor="SNAP",
    ),
    Recogniser(  # flattened by terrain, whoever made it: SNAP's suffix TF, pyroSAR's gamma0-rtc, NRB of the CEOS
        "terrain-flattened Sentinel-1",
        re.compile(r"(?<![A-Za-z0-9])((?i:rtc|gamma-?0|nrb)|TF)(?![A-Za-z0-9])"),
        re.compile(r"(?i)(?<![a-z])(rtc|gamma-?0|nrb)(?![a-z])"),
        backscatter="gamma0",
        flattened=True,
    ),
    Recogniser(  # Earth Engine's COPERNICUS/S1_GRD and products of the Sentinel-1 Toolbox: calibrated, orthorectified
        "Sentinel-1 GRD, terrain-corrected by SNAP",
        keys=("S1TBX_Calibration_vers", "SNAP_Graph_Processing_Framework_GPF_vers"),
        spacing_m=10.0,
        processor="SNAP",
    ),
    Recogniser("Sentinel-1 of unknown processing"),
)
_SPECKLE = re.compile(r"(?i)(?<![a-z])(spk|spkl|speckle|refinedlee|leesigma)(?![a-z])")
_NOT_IW = re.compile(r"(?:^|/)S1[A-D]_(?:EW|SM|WV|S[1-6])_")


def radar_facts(
    product_path: str,
    names: Sequence[str],
    metadata: Mapping[str, Any],
    declared: Declared,
    options: SourceOptions,
    longitude_deg: float | None,
) -> RadarFacts:
    """Recognise a radar product and gather what tells its scenes apart.

    Args:
        product_path: for messages; a folder or zip name in it counts as a name.
        names: of the product, then of its files, without suffix; a STAC id stands in the metadata as `stac:id`.
        metadata: JSON beside the files, STAC properties with `stac:collection` and `stac:id`, GDAL tags.
        longitude_deg: of the scene, for the local solar time; None if unknown.
    Raises:
        TileError: not IW, not VV + VH, speckle-filtered, Level-1, or 30 m without `force_coarse_radar`.
        UsageError: a declaration contradicts the product.
    """
    product = names[0] if names else PurePath(product_path).name
    stac_id = metadata.get("stac:id")
    known = [*names, *([stac_id] if isinstance(stac_id, str) else []), *_parts(product_path)]
    kind, evidence, match = _kind(known, metadata)
    if kind.refuse:
        raise TileError(f"{product_path} is {kind.name} ({evidence}); {kind.refuse}")
    entered = Details(kind.backscatter, kind.unit, kind.spacing_m, kind.processor)
    details = kind.detailer(entered, match, metadata)
    _refuse_mode(product_path, known, metadata, details)
    _refuse_polarisation(product_path, known, metadata, details)
    _refuse_filtered(product_path, known, details)
    spacing = details.spacing_m
    if spacing is not None and spacing >= COARSE_M and not options.force_coarse_radar:
        raise TileError(
            f"{product_path} is {kind.name} of {spacing:g} m; expected 10 to 20 m (slides of a patch blur beyond it): "
            "fetch a finer product, or give --force-coarse-radar"
        )
    time, time_reason = _time(product, names, metadata, declared)
    orbit, orbit_note = direction(product, metadata, time, longitude_deg, declared.orbit or options.orbit)
    track, track_note = relative_orbit(product, metadata, known, declared.relative_orbit, details.track)
    unit_reason = f"{kind.name} holds it" if details.unit else f"{kind.name} does not tell it"
    backscatter_reason = f"{kind.name}{', flattened by terrain' if kind.flattened else ''}"
    grid = "unknown spacing" if spacing is None else f"{spacing:g} m"
    decisions = (
        Decision(f"product of {product}", kind.name, evidence),
        Decision(f"backscatter of {product}", details.backscatter, backscatter_reason),
        Decision(f"unit of {product}", details.unit or "by file, declaration or data", unit_reason),
        Decision(f"spacing of {product}", grid, f"{kind.name}, {evidence}"),
        Decision(f"time of {product}", "unknown" if time is None else iso(time), time_reason),
        orbit_note,
        track_note,
    )
    processing = ", ".join(part for part in (kind.name, details.backscatter, grid, details.processor) if part)
    return RadarFacts(
        kind.name,
        details.backscatter,
        details.unit,
        unit_reason,
        spacing,
        time,
        orbit,
        track,
        processing,
        decisions,
        kind.flattened,
    )


def _parts(path: str) -> list[str]:
    """Names of the folders and archives of a path that may be a product: a part with S1 or OPERA in front."""
    return [part for part in reversed(PurePath(path).parts) if part.upper().startswith(("S1", "OPERA_L2"))]


def _kind(names: Sequence[str], metadata: Mapping[str, Any]) -> tuple[Recogniser, str, re.Match[str] | None]:
    for kind in RECOGNISERS:
        found = kind.recognise(names, metadata)
        if found:
            return kind, *found
    return RECOGNISERS[-1], "neither name, STAC collection nor metadata of a known product", None


def _refuse_mode(path: str, names: Sequence[str], metadata: Mapping[str, Any], details: Details) -> None:
    stated = [details.mode, *(metadata.get(key) for key in ("instrumentMode", "sar:instrument_mode"))]
    stated += [match["mode"] for match in granules(metadata, names)]
    stated += [match.group().strip("/")[4:-1] for match in map(_NOT_IW.search, names) if match]
    for mode in stated:
        if isinstance(mode, str) and mode.upper() != "IW":
            raise TileError(
                f"{path} is Sentinel-1 of mode {mode}; the models need IW: fetch an IW scene or leave it out"
            )


def _refuse_polarisation(path: str, names: Sequence[str], metadata: Mapping[str, Any], details: Details) -> None:
    found = None if details.dual_vertical else "the name"
    for match in granules(metadata, names):
        if match["polarisation"] != "DV":
            found = f"name {match.group()}"
    found = next((f"name {name}" for name in names if re.match(r"S1[A-D]_\w{2}_\w{4}_\dS(SV|SH|DH)_", name)), found)
    for key in ("sar:polarizations", "transmitterReceiverPolarisation"):
        stated = metadata.get(key)
        if isinstance(stated, (list, tuple)) and not {"VV", "VH"} <= {str(one).upper() for one in stated}:
            found = f"{key} {', '.join(map(str, stated))}"
    if found:
        raise TileError(
            f"{path} does not hold VV and VH ({found}); the models need both: fetch a dual scene 1SDV or leave it out"
        )


def _refuse_filtered(path: str, names: Sequence[str], details: Details) -> None:
    if details.filtered or any(_SPECKLE.search(name.replace("_", " ")) for name in names):
        raise TileError(
            f"{path} is speckle-filtered; the models were trained on unfiltered radar: fetch or make it without filter"
        )


def _time(
    product: str, names: Sequence[str], metadata: Mapping[str, Any], declared: Declared
) -> tuple[datetime | None, str]:
    """Time of acquisition and where it stands.

    Raises:
        UsageError: the tile file names another day than the metadata.
    """
    told = acquired(metadata, ())
    found = acquired(metadata, names)
    if declared.time is None:
        return found, "nothing tells it" if found is None else "metadata" if told is not None else "name"
    if told is not None and abs((told - declared.time).total_seconds()) > _SAME_TIME_S:
        raise UsageError(
            f"time {iso(declared.time)} contradicts {product}: its metadata say {iso(told)}; leave the time out"
        )
    other = found is not None and abs((found - declared.time).total_seconds()) > _SAME_TIME_S
    return declared.time, "declared" + (f"; the name says {iso(found)}" if found is not None and other else "")
