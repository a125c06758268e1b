"""SSL4EO-S12: PLACE/{s1,s2a,s2c}/PRODUCT/BAND.tif, one tile for each Sentinel-2 Level-2A product of a place.

Layout: Y. Wang et al., SSL4EO-S12, IEEE GRSM 11(3), 2023: s1 is GRD in dB, s2a Level-2A, s2c (s2l1c in v1.1) Level-1C.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from lsd.runtime.errors import LsdError, TileError
from lsd.runtime.ingest.times import acquired
from lsd.runtime.sources.folder import product_from_folder
from lsd.runtime.sources.memo import Memo
from lsd.runtime.sources.product import Candidate, Product, TileFailure
from lsd.runtime.tiles import Decision

RADAR, LEVEL_2A, LEVEL_1C = "s1", "s2a", ("s2c", "s2l1c")


def is_place(folder: Path) -> bool:
    """True if the folder holds sensor folders of this layout with products in them."""
    return any(_products_in(folder / sensor) for sensor in (RADAR, LEVEL_2A, *LEVEL_1C))


def candidates_of_place(place: Path, memo: Memo | None = None) -> list[Candidate | TileFailure]:
    """One candidate for each Level-2A product, with the radar product of each direction that is nearest in time.

    Without a Level-2A product every radar product is a candidate. Level-1C products are failures with their reason.
    """
    found: list[Candidate | TileFailure] = []
    radar: list[Product] = []
    for folder in _products_in(place / RADAR):
        try:
            radar.append(product_from_folder(folder, memo=memo))
        except LsdError as error:
            found.append(TileFailure(f"{place.name}_{folder.name}", error))
    optical = _products_in(place / LEVEL_2A)
    for folder in optical:
        tile_id = f"{place.name}_{folder.name}"
        try:
            product = product_from_folder(folder, memo=memo)
        except LsdError as error:
            found.append(TileFailure(tile_id, error))
            continue
        joined, decisions = _nearest(product, radar)
        found.append(Candidate(tile_id, (product, *joined), decisions))
    if not optical:
        found += [Candidate(f"{place.name}_{product.name}", (product,)) for product in radar]
    for sensor in LEVEL_1C:
        for folder in _products_in(place / sensor):
            reason = TileError(
                f"{folder} is Sentinel-2 Level-1C, top of atmosphere (SSL4EO's {sensor}); the models need surface "
                f"reflectance: use the {LEVEL_2A} product of the same scene"
            )
            found.append(TileFailure(f"{place.name}_{sensor}_{folder.name}", reason))
    return found


def _products_in(sensor: Path) -> list[Path]:
    if not sensor.is_dir():
        return []
    return sorted(folder for folder in sensor.iterdir() if (folder / "metadata.json").is_file())


def _nearest(optical: Product, radar: Sequence[Product]) -> tuple[list[Product], tuple[Decision, ...]]:
    """For each direction of flight the radar product nearest in time to the optical one; undirected ones all."""
    by_direction: dict[str, list[Product]] = {}
    for product in radar:
        by_direction.setdefault(str(product.metadata.get("orbitProperties_pass", "?")).casefold(), []).append(product)
    reference = acquired(optical.metadata, optical.names)
    joined: list[Product] = []
    decisions: list[Decision] = []
    for orbit, products in sorted(by_direction.items()):
        best = min(products, key=lambda product: _distance_s(product, reference))
        days = _distance_s(best, reference) / 86400
        apart = f"{days:.1f} days from the optical scene" if days < float("inf") else "time unknown"
        reason = f"same place, {orbit}, {apart}, nearest of {len(products)}"
        decisions.append(Decision(best.name, f"joined to {optical.name}", reason))
        joined.append(best)
    return joined, tuple(decisions)


def _distance_s(product: Product, reference: datetime | None) -> float:
    time = acquired(product.metadata, product.names)
    return abs((time - reference).total_seconds()) if time and reference else float("inf")
