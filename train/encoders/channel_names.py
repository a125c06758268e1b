"""Names of the channels that an encoder sees: 12 bands, then six indices, in the order of the paper's numbers."""

from __future__ import annotations

from collections.abc import Iterable

from lsd.runtime.bands import BAND_NAMES, INDEX_BY_NAME, INDICES, in_order, of_modality
from lsd.runtime.errors import RecipeError
from lsd.runtime.nearest import did_you_mean

# the paper's six indices carry an offset (METHOD, task); ndvi and ndwi, columns of the published table, do not
INDEX_CHANNELS: tuple[str, ...] = tuple(index.name for index in INDICES if index.offset)
CHANNEL_NAMES: tuple[str, ...] = (*BAND_NAMES, *INDEX_CHANNELS)
# the modalities of METHOD: `sar` is the level after the event, `sar_diff` its change since before the event
CHANNEL_GROUPS: dict[str, tuple[str, ...]] = {
    "optical": of_modality("optical"),
    "sar": of_modality("sar"),
    "sar_diff": of_modality("sar_diff"),
    "indices": INDEX_CHANNELS,
}


def channels_of(entries: Iterable[str], where: str) -> tuple[str, ...]:
    """Channel names of groups, bands and indices, without repeats, in the order of `CHANNEL_NAMES`.

    Args:
        where: what the message begins with.
    Raises:
        RecipeError: an entry names neither a group nor a channel.
    """
    wanted: set[str] = set()
    for entry in entries:
        if entry not in CHANNEL_GROUPS and entry not in CHANNEL_NAMES:
            hint = did_you_mean(entry, [*CHANNEL_GROUPS, *CHANNEL_NAMES])
            raise RecipeError(
                f"{where}: unknown channel {entry!r}{hint} (known: {', '.join((*CHANNEL_GROUPS, *CHANNEL_NAMES))})"
            )
        wanted.update(CHANNEL_GROUPS.get(entry, (entry,)))
    return tuple(name for name in CHANNEL_NAMES if name in wanted)


def bands_of_channel(name: str) -> tuple[str, ...]:
    """The bands a channel is made of: itself, or the two of an index."""
    index = INDEX_BY_NAME.get(name)
    return (name,) if index is None else (index.numerator, index.denominator)


def bands_of_channels(names: Iterable[str]) -> tuple[str, ...]:
    """The bands that these channels need, in canonical order."""
    return in_order(band for name in names for band in bands_of_channel(name))


def channels_within(names: Iterable[str], bands: Iterable[str]) -> tuple[str, ...]:
    """Those of the channels that these bands allow."""
    have = set(bands)
    return tuple(name for name in names if have.issuperset(bands_of_channel(name)))
