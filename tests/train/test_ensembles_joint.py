from __future__ import annotations

import numpy as np
import pytest
from out_of_fold import evidence, member

from lsd.runtime.errors import TableError, UsageError
from lsd.train.ensembles.joint import join

P, LABELS, _ = evidence(40)
IDS = [f"ID_{at:05d}" for at in range(40)]


def test_rows_are_matched_by_id_whatever_their_order():
    order = np.random.default_rng(1).permutation(40)
    turned = member("b", P[order, 1], LABELS[order], [IDS[at] for at in order])
    joint = join([member("a", P[:, 0], LABELS), turned, member("c", P[:, 2], None)])
    assert joint.ids == tuple(IDS) and joint.names == ("a", "b", "c") and len(joint) == 40
    np.testing.assert_array_equal(joint.probability, P)
    np.testing.assert_array_equal(joint.labels, LABELS)
    assert joint.left_out == {"a": 0, "b": 0, "c": 0}


def test_what_is_not_common_is_left_out_and_counted():
    joint = join([member("a", P[:, 0], LABELS), member("b", P[2:, 1], LABELS[2:], IDS[2:])])
    assert joint.ids == tuple(IDS[2:]) and joint.left_out == {"a": 2, "b": 0}
    np.testing.assert_array_equal(joint.probability, P[2:, :2])


def test_too_few_in_common_need_a_word():
    members = [member("a", P[:30, 0], LABELS[:30], IDS[:30]), member("b", P[5:, 1], LABELS[5:], IDS[5:])]
    line = r"only 25 of 40 IDs are common to all members \(a 30, b 35\), expected 90% or more.*--allow-partial"
    with pytest.raises(TableError, match=line):
        join(members)
    assert join(members, allow_partial=True).left_out == {"a": 5, "b": 10}
    apart = [member("a", P[:9, 0], LABELS[:9], IDS[:9]), member("b", P[9:, 1], LABELS[9:], IDS[9:])]
    with pytest.raises(TableError, match="only 0 of 40"):
        join(apart, allow_partial=True)


def test_labels_must_agree_where_there_are_some():
    other = LABELS.copy()
    other[7] = 1 - other[7]
    with pytest.raises(TableError, match=rf"1 labels differ between a and b, the first is '{IDS[7]}': {LABELS[7]} and"):
        join([member("a", P[:, 0], LABELS), member("b", P[:, 1], other)])
    with pytest.raises(UsageError, match="no member has labels"):
        join([member("a", P[:, 0], None), member("b", P[:, 1], None)])
    second_only = join([member("a", P[:, 0], None), member("b", P[:, 1], LABELS)])
    np.testing.assert_array_equal(second_only.labels, LABELS)


def test_names_tell_members_apart():
    with pytest.raises(UsageError, match=r"2 members are called 'a'; name them apart: NAME=RUN"):
        join([member("a", P[:, 0], LABELS), member("a", P[:, 1], LABELS)])
    with pytest.raises(UsageError, match="cannot be called 'mean'"):
        join([member("a", P[:, 0], LABELS), member("mean", P[:, 1], LABELS)])
    with pytest.raises(UsageError, match="two members or more, found 1"):
        join([member("a", P[:, 0], LABELS)])
