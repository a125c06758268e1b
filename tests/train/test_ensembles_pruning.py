from __future__ import annotations

import numpy as np
import pytest
from out_of_fold import evidence

from lsd.train.ensembles.nesting import Nesting
from lsd.train.ensembles.pruning import Step, kept, removal_path


def path_of(p, labels, fold):
    return Nesting(p, labels, fold).path()


def test_noise_goes_first_and_what_is_needed_stays():
    p, labels, fold = evidence()
    path = path_of(p, labels, fold)
    assert [step.removed for step in path][:2] == [None, 2]
    assert not path[1].hurts and path[2].hurts and kept(path) == (0, 1)
    assert path[2].change == pytest.approx(path[2].log_loss - path[0].log_loss) and path[2].change > 0.1


def test_of_two_that_are_the_same_one_goes_first():
    p, labels, fold = evidence()
    path = path_of(p[:, [0, 1, 0]], labels, fold)
    assert path[1].removed == 2 and not path[1].hurts and kept(path) == (0, 1)
    nearly = np.clip(p[:, 0] + np.random.default_rng(1).normal(0, 0.02, len(p)), 1e-4, 1 - 1e-4)
    assert path_of(np.c_[nearly, p[:, :2]], labels, fold)[1].removed == 0


def test_a_badly_calibrated_member_that_knows_something_stays():
    p, labels, fold = evidence()
    distorted = p[:, 1] ** 6
    assert kept(path_of(np.c_[p[:, 0], distorted, p[:, 2]], labels, fold)) == (0, 1)


def test_a_harmful_step_ends_pruning_even_if_a_later_one_does_not_hurt():
    steps = (
        Step((0, 1, 2, 3), None, 0.3, 0.0, 0.0),
        Step((0, 1, 2), 3, 0.3, 0.001, 0.001),  # as much as its standard error: no harm
        Step((0, 1), 2, 0.4, 0.1, 0.01),
        Step((0,), 1, 0.3, 0.0, 0.01),
    )
    assert kept(steps) == (0, 1, 2)


def test_the_path_compares_with_all_members():
    values = {(0, 1, 2): 1.0, (0, 1): 1.1, (0, 2): 1.2, (1, 2): 1.3, (0,): 1.5, (1,): 1.4}
    spread = np.array([-0.1, 0.1, -0.1, 0.1])

    def losses_of(members):
        return np.full(4, values[members]) + spread * (3 - len(members))

    path = removal_path(losses_of, (0, 1, 2))
    assert [step.removed for step in path] == [None, 2, 0]
    np.testing.assert_allclose([step.change for step in path], [0, 0.1, 0.4])
    sd = np.std([-0.2, 0.2, -0.2, 0.2], ddof=1)
    np.testing.assert_allclose(path[2].standard_error, sd / 2)
