"""BigEarthNet: a Sentinel-1 folder joins the Sentinel-2 folder that its metadata name, wherever both lie.

Layout: G. Sumbul et al., BigEarthNet-MM, IEEE GRSM 9(3), 2021: one folder a patch, `*_labels_metadata.json` in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lsd.runtime.sources.product import Candidate
from lsd.runtime.tiles import Decision

PARTNER_KEY = "corresponding_s2_patch"


def pair(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Join Sentinel-1 folders to their Sentinel-2 folders; all others stay as they are, in their order.

    A Sentinel-1 folder whose partner is not among the candidates stays a tile of its own, with a note.
    """
    partners: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        partner = _partner(candidate)
        if partner is not None:
            partners.setdefault(partner, []).append(candidate)
    here = {candidate.id for candidate in candidates if _partner(candidate) is None}
    paired: list[Candidate] = []
    for candidate in candidates:
        partner = _partner(candidate)
        if partner is None:
            for radar in partners.get(candidate.id, ()):
                candidate = _join(candidate, radar)
            paired.append(candidate)
        elif partner not in here:
            reason = f"its Sentinel-2 patch {partner} is not among the sources"
            note = Decision(candidate.id, "a tile of its own", reason)
            paired.append(replace(candidate, decisions=(*candidate.decisions, note)))
    return paired


def _partner(candidate: Candidate) -> str | None:
    partner = candidate.products[0].metadata.get(PARTNER_KEY)
    return partner if isinstance(partner, str) else None


def _join(optical: Candidate, radar: Candidate) -> Candidate:
    note = Decision(radar.id, f"joined to {optical.id}", f"its metadata name it as {PARTNER_KEY}")
    return Candidate(optical.id, optical.products + radar.products, (*optical.decisions, *radar.decisions, note))
