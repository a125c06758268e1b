"""The key of an engine: its file name, back again, and what a mismatch says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lsd.runtime.engine_key import EngineKey, key_from_file_name, mismatch
from lsd.runtime.errors import BackendError

SOURCE = "0123456789abcdef" * 4
JETSON = EngineKey("tensorrt", "10.3.0", "sm87", "fp16", (1, 8, 32), SOURCE)
RTX = EngineKey("tensorrt-rtx", "1.7.1.116", "any", "fp16", (1, 8, 32), SOURCE)


def test_the_file_name_says_it_all():
    assert RTX.file_name("NAME") == "NAME.tensorrt-rtx-1.7.1.116.any.fp16.b1-8-32.0123456789ab.plan"
    assert JETSON.file_name("all-net.0") == "all-net.0.tensorrt-10.3.0.sm87.fp16.b1-8-32.0123456789ab.plan"


@pytest.mark.parametrize("key", [JETSON, RTX, replace(JETSON, version="10.3.0+", compute_capability="sm80+")])
@pytest.mark.parametrize("name", ["vit", "all-net.0", "a.tensorrt-9.1.sm70.b"])
def test_a_file_name_reads_back(key, name):
    assert key_from_file_name(key.file_name(name)) == (name, replace(key, source_sha256=SOURCE[:12]))


@pytest.mark.parametrize(
    "wrong",
    [
        "vit.plan",
        "vit.tensorrt-10.3.0.sm87.fp16.b1-8-32.0123456789ab.plan.json",
        "vit.tensorrt-10.3.0.sm87.fp64.b1-8-32.0123456789ab.plan",
        "vit.tensorrt-10.3.0.sm87.fp16.b1-8.0123456789ab.plan",
        ".tensorrt-10.3.0.sm87.fp16.b1-8-32.0123456789ab.plan",
    ],
)
def test_other_names_are_refused(wrong):
    with pytest.raises(BackendError, match=r"is not the name of an engine .*lsd-export engine BUNDLE"):
        key_from_file_name(wrong)


def test_an_equal_key_fits_and_so_does_a_key_read_from_a_name():
    assert mismatch(JETSON, JETSON) is None
    assert mismatch(key_from_file_name(JETSON.file_name("vit"))[1], JETSON) is None


@pytest.mark.parametrize(
    "change",
    [
        {"flavour": "tensorrt-rtx"},
        {"version": "10.3.1"},
        {"compute_capability": "sm90"},
        {"precision": "fp32"},
        {"profile": (2, 8, 32)},
        {"profile": (1, 8, 31)},
        {"source_sha256": "f" * 64},
    ],
)
def test_any_difference_that_matters_is_a_mismatch(change):
    assert mismatch(replace(JETSON, **change), JETSON) is not None


def test_a_mismatch_says_built_for_here_and_how_to_rebuild():
    here = EngineKey("tensorrt", "10.13.2", "sm90", "fp16", (1, 8, 64), SOURCE)
    text = mismatch(JETSON, here)
    assert text == (
        "engine was built for TensorRT 10.3.0, sm87, fp16, batch 1 to 32, source 0123456789ab; here is TensorRT "
        "10.13.2, sm90, fp16, batch 1 to 64, source 0123456789ab. "
        "Rebuild: lsd-export engine BUNDLE --precision fp16 --batch 1,8,64"
    )


def test_a_wider_profile_and_another_best_batch_fit():
    assert mismatch(replace(JETSON, profile=(1, 64, 256)), JETSON) is None


@pytest.mark.parametrize(
    ("built", "here", "fits"),
    [
        ("10.3.0+", "10.13.2", True),
        ("10.3.0+", "10.3.0", True),
        ("10.13.2+", "10.3.0", False),
        ("10.3.0+", "11.4.0", False),
        ("10.3.0", "10.13.2", False),
    ],
)
def test_only_a_version_compatible_plan_serves_later_versions_of_its_major(built, here, fits):
    found = mismatch(replace(JETSON, version=built), replace(JETSON, version=here))
    assert (found is None) is fits


@pytest.mark.parametrize(
    ("built", "here", "fits"), [("sm80+", "sm87", True), ("sm80+", "sm120", True), ("sm80+", "sm75", False)]
)
def test_only_a_hardware_compatible_plan_serves_newer_gpus(built, here, fits):
    found = mismatch(replace(JETSON, compute_capability=built), replace(JETSON, compute_capability=here))
    assert (found is None) is fits
