"""Surrogate patches: pixels made up so that their statistics are those of a row of a feature table.

The real patches of the published table are not to be had, their statistics are. A surrogate has the row's minimum and
maximum exactly, its mean, standard deviation, skew and kurtosis to rounding, and a made-up texture. Values: a start
from the sinh-arcsinh family (M. C. Jones and A. Pewsey, Biometrika 96(4), 2009) of about the wanted skew and kurtosis,
then Gauss-Newton steps of least norm onto the four moments within the range (J. Portilla and E. P. Simoncelli,
International Journal of Computer Vision 40(1), 2000, section 3: projection onto statistical constraints). Places: the
values are put in the rank order of a random field of power-law spectrum, as surrogates of time series are made
(J. Theiler et al., Physica D 58, 1992: amplitude adjusted). A surrogate is no ground: it serves to test, not to train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import BAND_NAMES, BY_NAME, INDEX_BY_NAME, PATCH_SIZE_PX, in_order
from lsd.runtime.errors import TableError

STATISTICS = ("mean", "std", "min", "max", "skew", "kurtosis")  # order along the last axis of rows
# the spread of NDVI fixes how nir and blue go together, that of NDWI how green and nir do, where a row has them
INDICES = ("ndvi", "ndwi")
PIXELS = PATCH_SIZE_PX * PATCH_SIZE_PX

Array = NDArray[np.float64]

_STEPS = 80
_TOLERANCE = 1e-8  # of the standardised moments, relative to their size where that is above 1
_CHUNK = 256  # channels solved together: some 70 MB
# Lag-1 correlation of pixels in the one real raw patch: .9 in optical bands and radar levels, .45 in differences
_SLOPE, _CORNER = 1.6, 0.03  # spectrum (k^2 + corner^2)^-slope, k in cycles a pixel
_DIFFERENCE_BLUR_PX = 0.56
_VISIBLE_CORRELATION, _CHANNEL_CORRELATION, _DIFFERENCE_CORRELATION = 0.97, 0.85, 0.12  # the same patch
_HALVINGS = 10  # of the half circle between two fields: to 0.2 degrees, 0.05 % of the spread of NDVI (median)


def surrogate_patch(
    statistics: Mapping[str, Sequence[float]], rng: np.random.Generator, texture: NDArray[np.floating] | None = None
) -> NDArray[np.float32]:
    """One patch from the statistics of its bands.

    Args:
        statistics: canonical band name -> (mean, std, min, max, skew, kurtosis) as `lsd.runtime.features` defines them;
            `ndvi` and `ndwi` may be there too.
        texture: (band, 64, 64), bands in canonical order; only its rank order counts. None: a random field.
    Returns:
        float32 (band, 64, 64), bands in canonical order; optical bands hold whole numbers.
    Raises:
        TableError: see `surrogates`.
    """
    bands = in_order(name for name in statistics if name not in INDICES)
    rows = np.array([[statistics[name] for name in bands]], np.float64)
    indices = {name: np.array([statistics[name]], np.float64) for name in INDICES if name in statistics}
    textures = None if texture is None else np.asarray(texture)[None]
    patch: NDArray[np.float32] = surrogates(rows, bands, rng, textures, indices)[0]
    return patch


def surrogates(
    rows: Array,
    bands: Sequence[str],
    rng: np.random.Generator,
    textures: NDArray[np.floating] | None = None,
    indices: Mapping[str, Array] | None = None,
) -> NDArray[np.float32]:
    """n patches at once, about 5 ms a band.

    Args:
        rows: float64 (n, band, 6), the statistics in the order of `STATISTICS`.
        bands: canonical names along axis 1, in canonical order.
        textures: (n, band, 64, 64), None for random fields.
        indices: `ndvi`, `ndwi` -> float64 (n, 6): their spread decides how the bands go together; used with random
            fields only.
    Returns:
        float32 (n, band, 64, 64).
    Raises:
        TableError: statistics that no pixels can have: not finite, or mean outside of min..max.
    """
    n = len(rows)
    whole = np.array([BY_NAME[band].modality == "optical" for band in bands])
    values = marginals(rows.reshape(-1, 6), np.tile(whole, n)).reshape(n, len(bands), PIXELS)
    fields = random_textures(n, bands, rng) if textures is None else np.array(textures, np.float64)
    fields = fields.reshape(n, len(bands), PIXELS)
    if textures is None and indices:
        _couple(fields, values, bands, indices)
    placed = _placed(values, fields).reshape(n, len(bands), PATCH_SIZE_PX, PATCH_SIZE_PX)
    return np.asarray(placed, np.float32)


def _placed(values: Array, fields: Array) -> Array:
    """Sorted values (..., pixel) in the rank order of fields of the same shape."""
    out = np.empty_like(values)
    np.put_along_axis(out, np.argsort(fields, axis=-1), values, axis=-1)
    return out


# --- values of a channel --------------------------------------------------------------------------------------------


def marginals(rows: Array, whole: NDArray[np.bool_]) -> Array:
    """Sorted pixel values of channels.

    Args:
        rows: float64 (m, 6), see `STATISTICS`; skew and kurtosis are not read where min = max.
        whole: bool (m,), values are whole numbers.
    Returns:
        float64 (m, 4096), ascending; the first is the minimum and the last the maximum. Moments that no pixels within
        the range can have are met as nearly as the steps come.
    Raises:
        TableError: not finite, or mean outside of min..max.
    """
    mean, std, least, most = rows[:, :4].T
    constant = (std <= 0) | (least == most)
    bad = ~np.isfinite(rows[:, :4]).all(axis=1) | (mean < least) | (mean > most)
    bad |= ~constant & ~np.isfinite(rows[:, 4:]).all(axis=1)
    if bad.any():
        raise TableError(
            f"no pixels have the statistics {dict(zip(STATISTICS, rows[bad][0].tolist(), strict=True))}; expected "
            "finite numbers with min <= mean <= max"
        )
    values = np.repeat(mean[:, None], PIXELS, axis=1)
    values[constant] = least[constant, None]
    varied = np.flatnonzero(~constant)
    # rounding to whole numbers adds a variance of 1/12, which is taken off before
    spread = np.sqrt(np.maximum(std**2 - whole / 12.0, 0.25 * std**2))
    for first in range(0, len(varied), _CHUNK):
        some = varied[first : first + _CHUNK]
        lowest, highest = ((edge[some] - mean[some]) / spread[some] for edge in (least, most))
        standard = _standardised(lowest, highest, rows[some, 4], rows[some, 5])
        values[some] = mean[some, None] + spread[some, None] * standard
    values.sort(axis=1)
    _round(values, np.flatnonzero(whole & ~constant), mean)
    values[~constant, 0], values[~constant, -1] = least[~constant], most[~constant]
    return values


def _standardised(lowest: Array, highest: Array, skew: Array, kurtosis: Array) -> Array:
    """float64 (m, pixel) of mean 0 and variance 1 with this skew and kurtosis, in lowest..highest and reaching both."""
    starts, shapes = _starts()
    wanted = _shape(skew, kurtosis)
    nearest = np.argmin(((wanted[:, None] - shapes) ** 2).sum(axis=-1), axis=1)
    x: Array = np.clip(starts[nearest], lowest[:, None], highest[:, None])
    x[:, 0], x[:, -1] = lowest, highest
    target = np.stack([np.zeros_like(skew), np.ones_like(skew), skew, kurtosis + 3.0], axis=1)
    scale = np.maximum(np.abs(target), 1.0)
    active = np.arange(len(x))
    for _ in range(_STEPS):
        now = x[active]
        square = now * now
        powers = np.stack([now, square, square * now, square * square], axis=1)
        miss = powers.mean(axis=2) - target[active]
        far = (np.abs(miss) / scale[active]).max(axis=1) > _TOLERANCE
        if not far.any():
            break
        active, now, miss, powers = active[far], now[far], miss[far], powers[far]
        step = _least_step(now, miss, powers, lowest[active, None], highest[active, None])
        largest = (np.abs(step) / (0.3 * (1.0 + np.abs(now)))).max(axis=1)
        now = now + step * np.minimum(1.0, 1.0 / np.maximum(largest, 1e-12))[:, None]
        x[active] = np.clip(now, lowest[active, None], highest[active, None])
    return x


def _least_step(x: Array, miss: Array, powers: Array, lowest: Array, highest: Array) -> Array:
    """The smallest change of pixels (m, pixel) that takes away the miss of four moments to first order.

    The extremes stay, and so do pixels at an end of the range that the step would push out of it.
    """
    slopes = np.stack([np.ones_like(x), 2 * x, 3 * powers[:, 1], 4 * powers[:, 2]], axis=1) / PIXELS
    slopes[:, :, 0] = slopes[:, :, -1] = 0.0
    step = np.zeros_like(x)
    for _ in range(3):
        gram = slopes @ slopes.transpose(0, 2, 1)
        size = np.sqrt(np.einsum("mii->mi", gram)) + 1e-150
        scaled = gram / size[:, :, None] / size[:, None] + 1e-10 * np.eye(4)
        weights = np.linalg.solve(scaled, (miss / size)[..., None])[..., 0] / size
        step = -(weights[:, :, None] * slopes).sum(axis=1)
        pushed = ((x <= lowest) & (step < 0)) | ((x >= highest) & (step > 0))
        if not pushed.any():
            break
        slopes *= ~pushed[:, None]
    return step


@cache
def _starts() -> tuple[Array, Array]:
    """Standardised sinh-arcsinh quantiles (shape, pixel), and their skew and kurtosis as `_shape` scales them."""
    z = np.array([NormalDist().inv_cdf((i + 0.5) / PIXELS) for i in range(PIXELS)])
    skews = np.geomspace(0.02, 2.0, 14)
    found = []
    for tail in np.geomspace(0.25, 6.0, 28):
        for skew in (*-skews, 0.0, *skews):
            x = np.sinh((np.arcsinh(z) + skew) / tail)
            found.append((x - x.mean()) / x.std())
    starts = np.array(found)
    return starts, _shape((starts**3).mean(axis=1), (starts**4).mean(axis=1) - 3.0)


def _shape(skew: Array, kurtosis: Array) -> Array:
    """(m, 2), a scale on which equal distances of skew and kurtosis look alike; kurtosis >= skew^2 - 2 always."""
    return np.stack([np.arcsinh(skew), 0.7 * np.log(np.maximum(kurtosis - skew * skew + 2.0, 0.05))], axis=1)


def _round(values: Array, at: NDArray[np.intp], mean: Array) -> None:
    """Round channels to whole numbers in place, then move single pixels by one until the mean is right."""
    for i in at:
        rounded = np.rint(values[i])
        excess = int(rounded.sum() - np.rint(mean[i] * PIXELS))
        inner = np.flatnonzero((rounded > rounded[0] + 1) & (rounded < rounded[-1] - 1))
        count = min(abs(excess), len(inner))
        rounded[inner[np.linspace(0, len(inner) - 1, count).astype(int)] if count else []] -= np.sign(excess)
        values[i] = np.sort(rounded)


# --- texture --------------------------------------------------------------------------------------------------------


def random_textures(n: int, bands: Sequence[str], rng: np.random.Generator) -> Array:
    """float64 (n, band, 64, 64): random fields of mean 0 and variance 1, alike where bands of real patches are alike.

    Visible bands go together, VV and VH of one direction less so; near-infrared is on its own.
    """
    out = np.empty((n, len(bands), PATCH_SIZE_PX, PATCH_SIZE_PX))
    shared: dict[str, Array] = {}
    for i, band in enumerate(bands):
        facts = BY_NAME[band]
        fine = facts.modality == "sar_diff"
        correlation = {"optical": _VISIBLE_CORRELATION, "sar": _CHANNEL_CORRELATION}.get(
            facts.modality, _DIFFERENCE_CORRELATION
        )
        if band == "nir":
            correlation = 0.0
        common = shared.setdefault(f"{facts.orbit} {fine}", _fields(n, fine, rng))
        out[:, i] = correlation * common + np.sqrt(1 - correlation**2) * _fields(n, fine, rng)
    return out


def _fields(n: int, fine: bool, rng: np.random.Generator) -> Array:
    """float64 (n, 64, 64), mean 0 and variance 1; fine: correlated over a pixel or two only, as speckle is."""
    k = np.fft.fftfreq(PATCH_SIZE_PX)
    square = k[:, None] ** 2 + k[None, : PATCH_SIZE_PX // 2 + 1] ** 2
    gain = np.exp(-2 * (np.pi * _DIFFERENCE_BLUR_PX) ** 2 * square) if fine else (square + _CORNER**2) ** (-_SLOPE / 2)
    spectrum = np.fft.rfft2(rng.standard_normal((n, PATCH_SIZE_PX, PATCH_SIZE_PX)))
    field = np.fft.irfft2(spectrum * gain, s=(PATCH_SIZE_PX, PATCH_SIZE_PX))
    field -= field.mean(axis=(1, 2), keepdims=True)
    return np.asarray(field / field.std(axis=(1, 2), keepdims=True))


def _couple(fields: Array, values: Array, bands: Sequence[str], indices: Mapping[str, Array]) -> None:
    """Turn the fields of nir, then of green, in place, until the spread of NDVI, then of NDWI, is the row's.

    A field turns from its own by -90..90 degrees, towards that of the index's other band or against it: sin(turn) other
    + cos(turn) own. The spread falls on the way, as bands that rise together keep their ratio, so halving finds the
    turn. Green's own field goes with the visible bands and keeps as much of that as NDWI lets it.

    Args:
        fields: float64 (n, band, pixel), of mean 0 and variance 1.
        values: float64 (n, band, pixel), ascending.
        indices: as in `surrogates`; a spread that is NaN or out of reach leaves the field own, or as near as it comes.
    """
    for index, band in zip(INDICES, ("nir", "green"), strict=True):
        facts = INDEX_BY_NAME[index]
        if index not in indices or not {facts.numerator, facts.denominator} <= set(bands):
            continue
        at = bands.index(band)
        other = bands.index(facts.denominator if band == facts.numerator else facts.numerator)
        own, partner = fields[:, at].copy(), fields[:, other]
        fixed, wanted = _placed(values[:, other], partner), indices[index][:, STATISTICS.index("std")]
        low, high = np.full(len(fields), -np.pi / 2), np.full(len(fields), np.pi / 2)
        nearest, miss = np.zeros(len(fields)), np.full(len(fields), np.inf)
        for _ in range(_HALVINGS):
            turn = (low + high) / 2
            moving = _placed(values[:, at], _turned(own, partner, turn))
            a, b = (moving, fixed) if band == facts.numerator else (fixed, moving)
            excess = ((a - b) / (a + b + facts.epsilon)).std(axis=1) - wanted
            nearer = np.abs(excess) < miss
            nearest[nearer], miss[nearer] = turn[nearer], np.abs(excess[nearer])
            low, high = np.where(excess > 0, turn, low), np.where(excess > 0, high, turn)
        fields[:, at] = _turned(own, partner, nearest)


def _turned(own: Array, partner: Array, turn: Array) -> Array:
    """Fields (n, pixel) between their own and the partner's: 0 is own, pi/2 the partner's, -pi/2 its negative."""
    return np.asarray(np.sin(turn)[:, None] * partner + np.cos(turn)[:, None] * own)


def rows_of(statistics: Mapping[str, NDArray[np.floating]], bands: Sequence[str] = BAND_NAMES) -> Array:
    """float64 (n, band, 6) of named statistics (`red_mean`), as `surrogates` takes them."""
    return np.stack(
        [np.stack([statistics[f"{band}_{name}"] for name in STATISTICS], axis=-1) for band in bands], axis=1
    ).astype(np.float64)
