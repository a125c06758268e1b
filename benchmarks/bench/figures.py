"""What a result says about a scenario or a stage, in plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lsd.benchmarks.bench.percentiles import LEAST_BEYOND, NotMeasured, curve, is_measured, percentiles, samples_needed
from lsd.benchmarks.bench.windows import Window, Windows


def latency_figures(windows: Windows, patches: int) -> dict[str, Any]:
    """Figures of a scenario whose question is latency; `patches` of a query."""
    latencies = windows.latencies_s
    return {
        "patches_per_query": patches,
        **_common(windows),
        "queries": len(latencies),
        "mean_s": float(latencies.mean()),
        "percentiles": percentiles(latencies),
        "curve": curve(latencies),
    }


def throughput_figures(windows: Windows, batch: int) -> dict[str, Any]:
    """Figures of a scenario or stage whose question is throughput; `batch` patches a call."""
    counted = windows.counted
    spent_s, patches = sum(one.end_s - one.begin_s for one in counted), sum(one.patches for one in counted)
    return {
        "patches_per_query": batch,
        **_common(windows),
        "patches": patches,
        "seconds_per_patch": spent_s / patches,
        "patches_per_s": patches / spent_s,
    }


def server_figures(windows: Windows, rate_per_s: float, deadline_ms: float) -> dict[str, Any]:
    """Figures of the server scenario. met: 99 % of the answers came within the deadline, by the percentile p99.

    With too few answers for that percentile the deadline may be missed still: where as many were late as the percentile
    needs samples beyond it.
    """
    found = latency_figures(windows, 1)
    p99, late = found["percentiles"]["p99"], windows.latencies_s > deadline_ms / 1000
    met: Any = p99["s"] <= deadline_ms / 1000 if is_measured(p99) else p99
    if not is_measured(p99) and late.sum() >= LEAST_BEYOND:
        met = False
    return {
        **found,
        "rate_per_s": rate_per_s,
        "deadline_ms": deadline_ms,
        "late_share": float(late.mean()),
        "met": False if windows.overloaded else met,
        "overloaded": windows.overloaded,
    }


def fastest(found: Mapping[str, Any], size: str) -> str | None:
    """The backend of `backends.measure_backends` with the least time a patch at a size; None: none was measured."""
    times = {name: one[size]["seconds_per_patch"] for name, one in found.items() if is_measured(one)}
    return min(times, key=times.__getitem__, default=None)


def values_of_repeats(values: list[float]) -> dict[str, Any]:
    """Median and extremes of a figure that was measured a few times."""
    if not values:
        return NotMeasured("no repeat").to_json()
    return {"median": float(np.median(values)), "low": min(values), "high": max(values), "values": values}


def _common(windows: Windows) -> dict[str, Any]:
    begin_s = windows.every[0].begin_s
    return {
        "stable": windows.stable,
        "spread": windows.spread,
        "median_s": float(np.median(windows.latencies_s)),
        "windows": [_window(one, begin_s, one in windows.counted) for one in windows.every],
    }


def _window(window: Window, begin_s: float, is_counted: bool) -> dict[str, Any]:
    """One window; percentiles that it has too few samples for are left out."""
    latencies = window.latencies_s
    tails = {f"p{share}_s": share / 100 for share in (90, 99)}
    return {
        "begin_s": window.begin_s - begin_s,
        "seconds": window.end_s - window.begin_s,
        "queries": len(latencies),
        "counted": is_counted,
        "seconds_per_patch": window.seconds_per_patch,
        "p50_s": window.median_s,
        **{
            name: float(np.quantile(latencies, share, method="inverted_cdf"))
            for name, share in tails.items()
            if len(latencies) >= samples_needed(share)
        },
    }
