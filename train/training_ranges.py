"""The ranges of the training card: what the training patches held, band by band."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from lsd.runtime.acquisition.ranges import QUANTILES, SCHEMA_VERSION, STATISTICS
from lsd.runtime.bands import BAND_NAMES, in_order
from lsd.train.samples import Samples


def band_ranges(table: Samples, of_bands: Collection[str] = BAND_NAMES) -> dict[str, Any]:
    """Quantiles over the rows of each band's mean, minimum and maximum in a patch, as plain JSON.

    A band counts where the table has all three statistics with a value in some row; rows without a value (a patch
    without a valid pixel of the band) do not count. `lsd.runtime.acquisition.ranges.ranges_of` reads it.

    Returns:
        `schema_version`, `quantiles`, `rows` (of the table), `bands`: canonical name -> `mean`, `min`, `max` -> the
        quantiles, in canonical units.
    """
    bands = {}
    for band in in_order(of_bands):
        columns = {name: table.statistics.get(f"{band}_{name}") for name in STATISTICS}
        finite = {name: column[np.isfinite(column)] for name, column in columns.items() if column is not None}
        if len(finite) == len(STATISTICS) and all(column.size for column in finite.values()):
            bands[band] = {
                name: [float(f"{value:.7g}") for value in np.quantile(column.astype(np.float64), QUANTILES)]
                for name, column in finite.items()
            }
    return {"schema_version": SCHEMA_VERSION, "quantiles": list(QUANTILES), "rows": len(table), "bands": bands}
