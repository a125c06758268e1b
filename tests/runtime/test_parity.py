from __future__ import annotations

import numpy as np
import pytest

from bundles import random_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.parity import PROBABILITY_ABSOLUTE, check_golden, compare


class Counted:
    """A forest that notes the rows it is asked about."""

    def __init__(self, forest):
        self.forest, self.asked = forest, []

    def margins(self, rows):
        self.asked.append(rows)
        return self.forest.margins(rows)


def counted(bundle):
    chain = Chain(bundle)
    chain.forests = {member: Counted(forest) for member, forest in chain.forests.items()}
    return chain


def test_forests_are_asked_once_where_features_equal_the_reference():
    bundle = random_bundle()
    chain = counted(bundle)
    results = check_golden(bundle, chain)
    assert [len(forest.asked) for forest in chain.forests.values()] == [1] * 4
    assert all(result.passed and result.max_error == 0 for result in results)


def test_the_probability_is_that_of_the_features_of_this_machine(monkeypatch):
    """Features that differ are asked about too: the margins of the reference's would hide what they lead to."""
    bundle = random_bundle()
    chain, plain = counted(bundle), Chain(bundle)
    monkeypatch.setattr(
        chain, "features", lambda *words: {key: rows * 2 for key, rows in plain.features(*words).items()}
    )
    results = {(one.configuration, one.stage): one for one in check_golden(bundle, chain)}
    assert [len(forest.asked) for forest in chain.forests.values()] == [2] * 4
    golden, configuration = bundle.golden(), bundle.manifest.configurations[0]
    bands = tuple(map(str, golden["bands"]))
    margins = {
        key: plain.forests[key].margins(rows)
        for key, rows in chain.features(configuration, golden["pixels"], bands).items()
    }
    p = plain.probabilities(configuration, margins)
    error = np.abs(p - golden[f"{configuration.name}/probability"]).max()
    assert error > PROBABILITY_ABSOLUTE
    assert results[configuration.name, "probability"].max_error == error
    assert not results[configuration.name, "probability"].passed


@pytest.mark.parametrize(
    ("found", "most", "p99_9"),
    [
        ([1.0, 2.0, np.nan], 0.0, 0.0),
        ([1.0, 3.0, np.nan], 1.0, np.quantile([0.0, 1.0], 0.999)),
    ],
    ids=["equal", "another"],
)
def test_the_errors_of_a_comparison(found, most, p99_9):
    result = compare("c", "s", np.array(found), np.array([1.0, 2.0, np.nan]), 0.5)
    assert (result.max_error, result.nan_mismatches) == (most, 0)
    assert result.p99_9_error == pytest.approx(p99_9)
    assert result.passed == (most <= 0.5)


def test_infinities_of_both_signs_fail_a_relative_comparison():
    result = compare("c", "s", np.array([np.inf, 1.0]), np.array([-np.inf, 1.0]), 0.5, relative=True)
    assert np.isnan(result.max_error)
    assert not result.passed
