from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsd.runtime.errors import UnprovenUnitError, UsageError
from lsd.runtime.ingest.radar_products import RadarFacts
from lsd.runtime.ingest.sentinel1 import unit

DB = np.random.default_rng(0).normal(-12, 4, 1000)
POWER = 10 ** (DB / 10)
FILE = Path("vv.tif")


def facts(unit_of_product: str | None) -> RadarFacts:
    return RadarFacts("a product", "gamma0", unit_of_product, "", 10.0, None, None, None, "")  # type: ignore[arg-type]


def of(stated=None, product=None, declared=None, values=DB):
    return unit("desc_vv", FILE, stated, facts(product) if product else None, declared, values)


def test_negative_median_is_db_and_stated_units_are_taken():
    assert of()[0] == "none"
    assert of("dB")[0] == "none"
    assert of("power", values=POWER)[0] == "linear_to_db"
    assert of("amplitude", values=POWER**0.5)[0] == "amplitude_to_db"
    assert of("furlong")[0] == "none"


def test_the_file_answers_before_the_product_and_the_product_before_the_user():
    assert of("power", product="power", declared="power", values=POWER)[1].reason == "the file declares unit 'power'"
    assert of(product="power", declared="power", values=POWER)[1].reason == "a product holds power"
    assert of(declared="power", values=POWER)[1].reason == "declared as power"
    assert of(product="amplitude", values=POWER)[0] == "amplitude_to_db"


@pytest.mark.parametrize(
    ("stated", "values"), [(None, POWER), ("dB", POWER), ("power", DB), ("amplitude", DB), ("furlong", POWER)]
)
def test_other_units_are_refused(stated, values):
    with pytest.raises(UnprovenUnitError, match=r"vv\.tif"):
        of(stated, values=values)


@pytest.mark.parametrize(("declared", "values"), [("db", POWER), ("power", DB), ("amplitude", DB)])
def test_a_declaration_that_the_data_disprove_is_refused(declared, values):
    with pytest.raises(UnprovenUnitError, match=rf"declared as {declared}"):
        of(declared=declared, values=values)
    with pytest.raises(UnprovenUnitError, match="a product holds"):
        of(product=declared, values=values)


def test_few_values_below_zero_are_noise_of_power_and_many_are_not():
    noisy = POWER.copy()
    noisy[:5] = -1e-4
    assert of("power", values=noisy)[0] == "linear_to_db"
    noisy[:50] = -1e-4
    with pytest.raises(UnprovenUnitError, match="correct the unit"):
        of("power", values=noisy)


def test_undeclared_power_is_told_both_factors_and_the_option():
    with pytest.raises(UnprovenUnitError, match=r"--radar-unit power .*10 log10.*--radar-unit amplitude .*20 log10"):
        of(values=POWER)


def test_contradictions_are_refused():
    with pytest.raises(UsageError, match=r"--radar-unit power contradicts vv\.tif: the file declares unit 'dB'"):
        of("dB", declared="power")
    with pytest.raises(UsageError, match="a product holds power"):
        of(product="power", declared="db", values=POWER)
    with pytest.raises(UnprovenUnitError, match="told twice"):
        of("dB", product="power")


def test_a_sample_without_valid_pixels_proves_nothing():
    empty = np.array([np.nan, 0.0])
    assert of(values=empty)[0] == "none"
    assert of("power", values=empty)[0] == "linear_to_db"
    with pytest.raises(UsageError):
        of("dB", declared="power", values=empty)
