"""Metrics: what Prometheus' own parser reads is what happened, under names that follow its rules, in bounded number."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from finished_runs import done_tile, failed_tile
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from lsd.runtime import __version__
from lsd.runtime.monitoring.exposition import MOST_SERIES, OTHER, Family, Histogram, number_text
from lsd.runtime.monitoring.metrics import STAGE_BOUNDS_S, Metrics
from lsd.runtime.sinks.summary import TileResult
from lsd.runtime.stream.events import (
    BundleChanged,
    BundleRefused,
    Drifted,
    Paused,
    Queued,
    Resumed,
    Stopping,
    TileBegun,
    TileEnded,
    TileKnown,
    TilesWaiting,
)

DOCS = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) -> value, by Prometheus' Python parser."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def value(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    return parsed(metrics.render()).get((name, frozenset(labels.items())))


def test_tiles_and_patches_are_counted():
    metrics = Metrics(clock=lambda: 1_700_000_000.5)
    for event in (
        TileBegun("a"),
        TileEnded(done_tile("a")),
        TileEnded(done_tile("b")),
        TileEnded(failed_tile("c")),
        TileKnown(done_tile("d")),
    ):
        metrics(event)
    found = {status: value(metrics, "lsd_tiles_total", status=status) for status in ("done", "failed", "known")}
    assert found == {"done": 2, "failed": 1, "known": 1}
    outcomes = ("slide", "look", "no_slide", "not_scored")
    patches = [value(metrics, "lsd_patches_total", outcome=outcome) for outcome in outcomes]
    assert patches == [10, 14, 156, 20]  # a known tile was scored by another run
    assert value(metrics, "lsd_patches_not_scored_total", reason="cloud") == 12
    assert value(metrics, "lsd_patches_not_scored_total", reason="no_configuration") == 0
    assert value(metrics, "lsd_patches_by_configuration_total", configuration="all") == 120
    assert value(metrics, "lsd_patches_by_configuration_total", configuration="optical") == 60
    assert value(metrics, "lsd_last_tile_timestamp_seconds") == 1_700_000_000.5
    assert value(metrics, "lsd_build_info", version=__version__) == 1


def test_exits_are_told_only_where_the_chain_tells_them():
    metrics = Metrics()
    metrics(TileEnded(done_tile("a")))
    assert "lsd_patches_by_stage_total" not in metrics.render()
    metrics(TileEnded(done_tile("b", exited=72)))
    assert value(metrics, "lsd_patches_by_stage_total", stage="exit") == 72
    assert value(metrics, "lsd_patches_by_stage_total", stage="ensemble") == 18


def test_states_are_gauges():
    metrics = Metrics()
    assert value(metrics, "lsd_paused") == 0 and value(metrics, "lsd_tiles_waiting") == 0
    metrics(Paused("disk full"))
    metrics(TilesWaiting((Path("a"), Path("b"))))
    assert value(metrics, "lsd_paused") == 1 and value(metrics, "lsd_tiles_waiting") == 2
    metrics(Resumed(12.5))
    metrics(TilesWaiting(()))
    metrics(Stopping("SIGTERM"))
    assert value(metrics, "lsd_paused") == 0 and value(metrics, "lsd_tiles_waiting") == 0
    assert value(metrics, "lsd_pauses_total") == 1 and value(metrics, "lsd_paused_seconds_total") == 12.5
    metrics(Queued({"write": 3}))
    metrics(Drifted({"B02": 4.0, "B03": math.nan}, ("B02 moved",)))
    assert value(metrics, "lsd_drift", band="B02") == 4
    metrics.drift("B02", -0.25)
    assert value(metrics, "lsd_queue_depth", queue="write") == 3
    assert value(metrics, "lsd_drift", band="B02") == -0.25
    assert math.isnan(value(metrics, "lsd_drift", band="B03") or 0.0)


def test_one_bundle_answers_at_a_time():
    metrics = Metrics()
    metrics.bundle("old", "aa", {"eva02": "onnxruntime fp32"})
    assert value(metrics, "lsd_bundle_info", name="old", sha256="aa") == 1
    assert value(metrics, "lsd_engine_info", member="eva02", engine="onnxruntime fp32") == 1
    metrics(BundleRefused("self-test failed"))
    metrics(BundleChanged("new", "bb"))
    assert value(metrics, "lsd_bundle_info", name="old", sha256="aa") is None
    assert value(metrics, "lsd_bundle_info", name="new", sha256="bb") == 1
    swaps = [value(metrics, "lsd_bundle_swaps_total", outcome=outcome) for outcome in ("changed", "refused")]
    assert swaps == [1, 1]


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=40))
def test_the_histogram_counts_what_numpy_counts(seconds: list[float]):
    metrics = Metrics()
    for spent_s in [*seconds, *STAGE_BOUNDS_S[::5]]:  # bounds belong to their own bucket
        metrics(TileEnded(TileResult("a", "done", seconds={"read": spent_s})))
    seen = np.array([*seconds, *STAGE_BOUNDS_S[::5]])
    found = parsed(metrics.render())
    for bound in (*STAGE_BOUNDS_S, math.inf):
        key = "lsd_tile_stage_seconds_bucket", frozenset({("stage", "read"), ("le", number_text(bound))})
        assert found[key] == (seen <= bound).sum()
    labels = frozenset({("stage", "read")})
    assert found["lsd_tile_stage_seconds_count", labels] == len(seen)
    assert found["lsd_tile_stage_seconds_sum", labels] == pytest.approx(seen.sum())


@given(st.text(), st.text(min_size=1))
def test_any_name_is_read_back_as_it_was(name: str, configuration: str):
    metrics = Metrics()
    metrics.bundle(name, "ab")
    metrics(TileEnded(TileResult("a", "done", {}, {configuration: 3})))
    found = parsed(metrics.render())
    assert found["lsd_bundle_info", frozenset({("name", name), ("sha256", "ab")})] == 1
    assert found["lsd_patches_by_configuration_total", frozenset({("configuration", configuration)})] == 3


def test_a_lone_surrogate_does_not_break_the_page():
    metrics = Metrics()
    metrics.bundle("a\udcff", "ab")
    assert 'name="a?"' in metrics.render().encode().decode()


@given(st.floats() | st.integers(-(2**70), 2**70))
def test_a_number_is_read_back_as_it_was(number: float):
    read = float(number_text(number).replace("Inf", "inf"))
    assert read == float(number) or (math.isnan(read) and math.isnan(number))


def test_labels_never_grow_without_bound():
    metrics = Metrics()
    for number in range(3 * MOST_SERIES):
        metrics(TileEnded(TileResult("a", "done", {}, {f"c{number}": 1}, seconds={f"s{number}": 1.0})))
    found = parsed(metrics.render())
    configurations = [key for key in found if key[0] == "lsd_patches_by_configuration_total"]
    assert len(configurations) == MOST_SERIES + 1
    assert value(metrics, "lsd_patches_by_configuration_total", configuration=OTHER) == 2 * MOST_SERIES
    assert value(metrics, "lsd_tile_stage_seconds_count", stage=OTHER) == 2 * MOST_SERIES


def full() -> Metrics:
    """Metrics with a sample in every family."""
    metrics = Metrics()
    metrics.bundle("b", "ab", {"m": "table"})
    metrics(TileEnded(done_tile("a", exited=1)))
    metrics(Queued({"write": 1}))
    metrics.drift("B02", 0.1)
    return metrics


def test_names_follow_the_rules_of_prometheus():
    """https://prometheus.io/docs/practices/naming/: prefix, base units, `_total` for counters and for nothing else."""
    metrics = full()
    families = list(text_string_to_metric_families(metrics.render()))
    assert len(families) == len(metrics.names())  # each has a sample here, and none comes twice
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name in metrics.names()
        assert re.fullmatch(r"(lsd|process)_[a-z0-9]+(_[a-z0-9]+)*", name), name
        assert (family.type == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|percent|count|sum|bucket)(_|$)", name), name
        assert family.documentation.endswith(".") and family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in sample.labels)


def test_the_text_has_the_shape_of_the_format():
    lines = full().render().split("\n")
    assert lines[-1] == ""  # the last line ends with a line feed
    for line in lines[:-1]:
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? (\S+)', line), line


def test_every_metric_is_explained():
    page = DOCS.read_text()
    for name in Metrics().names():
        assert f"`{name}" in page, name


def test_memory_and_cpu_are_those_of_this_process():
    """In a process of its own: in that of the tests memory of earlier ones may be given back meanwhile."""
    script = (
        "import json, numpy as np\nfrom lsd.runtime.monitoring.process import usage\nfound = [usage()]\n"
        "sum(number * number for number in range(2_000_000))\nheld = np.ones(40_000_000, np.uint8)\n"
        "found.append(usage())\nprint(json.dumps([vars(one) for one in found]))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = json.loads(ran.stdout)
    assert 20e6 < before["resident_bytes"] <= 1.05 * before["peak_bytes"]
    assert after["resident_bytes"] > before["resident_bytes"] + 0.9 * 40e6
    assert 0.02 < after["cpu_s"] - before["cpu_s"] < 20
    assert value(Metrics(), "process_resident_memory_bytes") > 20e6
    assert value(Metrics(), "process_cpu_seconds_total") > 0.02


def test_threads_lose_nothing():
    metrics = Metrics()
    texts: list[str] = []

    def work() -> None:
        for number in range(500):
            metrics(TileEnded(done_tile("a")))
            if number % 100 == 0:
                texts.append(metrics.render())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "lsd_tiles_total", status="done") == 4000
    assert value(metrics, "lsd_tile_stage_seconds_count", stage="read") == 4000
    for text in texts:  # each was rendered at one moment: all counts belong together
        found = parsed(text)
        tiles = found["lsd_tiles_total", frozenset({("status", "done")})]
        assert found["lsd_patches_total", frozenset({("outcome", "slide")})] == 5 * tiles
        assert found["lsd_tile_stage_seconds_count", frozenset({("stage", "write")})] == tiles


def test_a_family_refuses_a_wrong_number_of_labels():
    family = Family("gauge", "a", "A.", ("x",))
    family.put(1, "x", "y")
    with pytest.raises(ValueError, match="zip"):
        list(family.lines())
    assert list(Histogram("h", "H.", ("x",), (1.0,)).lines()) == []
