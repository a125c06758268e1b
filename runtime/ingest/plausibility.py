"""What ingest refuses by the pixels alone, of scenes that no later look at the tile sees (lsd.runtime.acquisition)."""

from __future__ import annotations

from lsd.runtime.acquisition.radar import swapped_text
from lsd.runtime.acquisition.sample import Array
from lsd.runtime.errors import TileError


def refuse_swapped_channels(vv_db: Array, vh_db: Array, where: str) -> None:
    """Raise TileError if VH lies above VV: the cross-polarised echo of ground is the weaker one, whatever the product.

    Args:
        vv_db, vh_db: float64 (n,) of the same pixels, NaN where invalid.
        where: scene, for the message.
    """
    text = swapped_text(vv_db, vh_db)
    if text is not None:
        raise TileError(f"{where}: {text}")
