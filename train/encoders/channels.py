"""From raw bands to the channels that encoders see, as part of the network: invalid pixels, scaling, indices."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lsd.runtime.bands import INDEX_BY_NAME
from lsd.train.encoders.scaling import Scaling

LIMIT = 60_000.0  # FP16 holds 65,504; indices of scaled bands reach 6e6 (METHOD, trap 1)


class Channels(nn.Module):
    """float32 (n, band, y, x), raw, NaN = invalid -> float32 (n, channel, y, x) within +-60,000, always in FP32.

    An invalid pixel takes the location of its band (the mean; the median where scaling is robust) and so becomes 0: a
    band that is absent altogether is 0 everywhere. Indices are (a - b) / (a + b + 1e-10) + .5 of the stored values and
    not scaled, or of the scaled bands as in the paper; those of scaled bands divide by sums that cross zero, hence the
    limit. Stored values are never negative (lsd-run masks what is), so |a - b| is at most a + b and their indices are
    held to -.5..1.5: that changes nothing on real data, and keeps impossible pixels out of FP16's way. Nothing of it is
    learned or part of the state dict. Plain operations only, so that it can be exported.

    Args:
        bands: canonical names along axis 1 of the input.
        names: of the channels, along axis 1 of the output: bands, then indices (`CHANNEL_NAMES`).
        scaling: of every band.
        index_order: `stored` or `scaled`.
    """

    location: Tensor
    spread: Tensor
    picked: Tensor
    numerator: Tensor
    denominator: Tensor
    offset: Tensor
    epsilon: Tensor

    def __init__(self, bands: Sequence[str], names: Sequence[str], scaling: Scaling, index_order: str) -> None:
        super().__init__()
        at = {band: position for position, band in enumerate(bands)}
        indices = [INDEX_BY_NAME[name] for name in names if name not in at]
        self.has_indices = bool(indices)
        self.indices_of_scaled = index_order == "scaled"
        offsets = [one.offset for one in indices] or [0.0]
        self.index_limits = (-LIMIT, LIMIT) if self.indices_of_scaled else (min(offsets) - 1, max(offsets) + 1)
        self._constant("location", _column([scaling.location[band] for band in bands]))
        self._constant("spread", _column([scaling.spread[band] for band in bands]))
        self._constant("picked", torch.tensor([at[name] for name in names if name in at], dtype=torch.long))
        self._constant("numerator", torch.tensor([at[one.numerator] for one in indices], dtype=torch.long))
        self._constant("denominator", torch.tensor([at[one.denominator] for one in indices], dtype=torch.long))
        self._constant("offset", _column([one.offset for one in indices]))
        self._constant("epsilon", _column([one.epsilon for one in indices]))

    def forward(self, patches: Tensor) -> Tensor:
        """The channels; mixed precision is off in here."""
        with _full_precision(patches.device.type):
            raw = patches.float()
            valid = torch.where(torch.isnan(raw), self.location, raw)
            scaled = (valid - self.location) / self.spread
            channels = scaled.index_select(1, self.picked)
            if self.has_indices:
                source = scaled if self.indices_of_scaled else valid
                a, b = source.index_select(1, self.numerator), source.index_select(1, self.denominator)
                ratio = (a - b) / (a + b + self.epsilon) + self.offset
                channels = torch.cat([channels, ratio.clamp(*self.index_limits)], dim=1)
            return channels.clamp(-LIMIT, LIMIT)

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)


def _column(values: Sequence[float]) -> Tensor:
    """float32 (1, n, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)


def _full_precision(device_type: str) -> AbstractContextManager[Any]:
    """No autocast; nothing at all where it is off, because exporters stumble over the context."""
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
