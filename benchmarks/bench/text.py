"""A result, or a comparison, as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lsd.benchmarks.bench.comparison import GATED, Comparison, Ratio
from lsd.benchmarks.bench.energy import PATCH_KM2
from lsd.benchmarks.bench.figures import fastest
from lsd.benchmarks.bench.percentiles import QUANTILES, is_measured

MOST_OVERHEAD = 0.01  # of a latency, that lsd-bench itself may take
_RUN_STAGES = ("read", "wait", "score", "encode", "write")  # of lsd-run, as a patch meets them
_METRICS = {"f1": "F1", "auc": "AUC", "ece": "calibration error"}


def seconds(value: float) -> str:
    """`1.23 s`, `45.6 ms`, `7.89 us`, three digits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{_digits(value / scale)} {unit}"
    return f"{_digits(value * 1e6)} us"


def quantity(value: float, unit: str) -> str:
    """A value in its unit, with a prefix where it is seconds."""
    return seconds(value) if unit == "s" else f"{_digits(value)} {unit}"


def figure(value: Any, unit: str) -> str:
    """A figure of a result, or that it was not measured."""
    return quantity(value, unit) if is_measured(value) else "not measured"


def result_text(document: Mapping[str, Any]) -> str:
    """Every figure of a result, and the reason for each that was not measured."""
    lines = [heading(document), when(document), ""]
    if document["scenarios"]:
        lines += [*aligned(scenario_rows(document)), ""]
    for rows in (stage_rows(document), backend_rows(document)):
        lines += [*aligned(rows), ""] if rows else []
    told = [*facts(document), *accuracy_facts(document), *machine_facts(document)]
    lines += [f"{name}: {value}" for name, value in told]
    if missing := reasons(document):
        lines += ["", "not measured", *(f"  {name}: {reason}" for name, reason in missing)]
    return "\n".join(lines)


def heading(document: Mapping[str, Any]) -> str:
    """What was measured, on what."""
    conditions = document["conditions"]
    where, answers = conditions["machine"], conditions["options"]
    gpus = "".join(f", {name}" for name in where["gpus"])
    networks = f", networks by {answers['encoders']} {answers['precision']} on {answers['provider']}"
    return (
        f"{conditions['bundle']['name']} {conditions['bundle']['sha256'][:12]}, configuration "
        f"{conditions['configuration']}: forests by {answers['backend']}{networks if document['encoders'] else ''}; "
        f"{where['processor']}, {where['cores']} cores{gpus}; {conditions['content']}"
    )


def when(document: Mapping[str, Any]) -> str:
    """When it was measured, and how long that took."""
    begun = document["begun"]
    return f"measured {begun[:10]} {begun[11:16]} UTC in {document['seconds']:.0f} s"


def scenario_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Heading, then a row for each scenario."""
    rows = [("scenario", "patches a query", *QUANTILES, "samples", "patches/s", "windows")]
    for name, one in document["scenarios"].items():
        if name == "offline":
            figures, samples = ["-"] * len(QUANTILES), "-"
            rate = _digits(one["patches_per_s"])
        else:
            figures = [_percentile(one["percentiles"][key]) for key in QUANTILES]
            samples = f"{one['queries']:,}"
            rate = _digits(one["rate_per_s"] if name == "server" else one["patches_per_query"] / one["mean_s"])
        agreed, spread = agreement(one)
        rows.append((name, str(one["patches_per_query"]), *figures, samples, rate, f"{agreed} ({spread})"))
    return rows


def agreement(scenario: Mapping[str, Any]) -> tuple[str, str]:
    """How many windows count and whether they agree, and how much they differ."""
    windows = f"{sum(window['counted'] for window in scenario['windows'])} of {len(scenario['windows'])}"
    return (
        f"{windows} {'agree' if scenario['stable'] else 'DO NOT AGREE'}",
        f"spread {_digits(100 * scenario['spread'])} %",
    )


def stage_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Heading, then a row for each stage, also of lsd-run over a tile; [] where none was measured."""
    rows: list[tuple[str, ...]] = [("stage", "a patch", "what")]
    for name, one in (document["stages"] or {}).items():
        mark = "" if one["stable"] else f" (windows DO NOT AGREE, {100 * one['spread']:.0f} %)"
        rows.append((name, seconds(one["seconds_per_patch"]), one["about"] + mark))
    if tile := document["tile"]:
        whole = {**run_stages(tile), "whole process": tile["whole_s"]}
        rows += [
            (f"lsd-run {name}", seconds(one["median"] / tile["patches"]), f"{seconds(one['median'])} a tile of "
             f"{tile['patches']:,} patches, median of {len(one['values'])}")
            for name, one in whole.items()
        ]  # fmt: skip
    return rows if len(rows) > 1 else []


def backend_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Heading, then a row for each backend of forests; [] where none was measured."""
    found = document.get("backends") or {}  # older results have none
    if not any(is_measured(one) for one in found.values()):
        return []
    batch = document["settings"]["batch_size"]
    words = {"one": "one patch", "batch": f"batch of {batch}, a patch"}
    best = {size: fastest(found, size) for size in words}
    rows: list[tuple[str, ...]] = [("forests by", *words.values(), "")]
    for name, one in found.items():
        if not is_measured(one):
            rows.append((name, *["not measured"] * len(words), ""))
            continue
        wins = [words[size].split(",")[0] for size in words if best[size] == name]
        notes = ["in use"] if name == document["conditions"]["options"]["backend"] else []
        notes += [f"fastest: {', '.join(wins)}"] if wins else []
        notes += [] if all(one[size]["stable"] for size in words) else ["windows DO NOT AGREE"]
        rows.append((name, *(seconds(one[size]["seconds_per_patch"]) for size in words), "; ".join(notes)))
    return rows


def run_stages(tile: Mapping[str, Any]) -> dict[str, Any]:
    """Stage of lsd-run -> its repeats, in the order of the work."""
    order = (*_RUN_STAGES, *tile["seconds"])
    return {name: tile["seconds"][name] for name in dict.fromkeys(order) if name in tile["seconds"]}


def facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of what is measured and no table: area, cold start, memory, energy, overhead, how it answered."""
    found = []
    if offline := document["scenarios"].get("offline"):
        rate = offline["patches_per_s"]
        area = f"{_digits(rate * PATCH_KM2)} km2/s ({_digits(rate)} patches/s of {PATCH_KM2:.4f} km2), pixels in memory"
        found.append(("offline", area))
    if fresh := document["fresh"]:
        phases = ", ".join(f"{name} {seconds(one['median'])}" for name, one in fresh["seconds"].items())
        again = seconds(fresh["self_test_s"]["median"])
        repeats = len(fresh["self_test_s"]["values"])
        found.append(("cold start to the first patch", f"{phases} (median of {repeats}; self-test again: {again})"))
        if is_measured(fresh["peak_mb"]):
            peaks = ", ".join(f"{name} {_digits(one['median'])} MB" for name, one in fresh["peak_mb"].items())
            found.append(("peak memory", f"{peaks}, of these {fresh['patches_mb']:.0f} MB patches of lsd-bench"))
    if document["tile"] and is_measured(document["tile"]["peak_mb"]):
        found.append(("peak memory of lsd-run", f"{_digits(document['tile']['peak_mb']['median'])} MB"))
    if is_measured(used := document["energy"]):
        meters = ", ".join(
            f"{name} {_digits(one['watts'])} W (at rest {_digits(one['idle_watts'])} W)"
            for name, one in used["meters"].items()
        )
        per = f"{_digits(used['joules_per_patch'])} J a patch, {_digits(used['joules_per_km2'])} J a km2"
        found.append(("energy, offline", f"{per}, rest included: {meters}"))
    else:
        found.append(("energy, offline", "not measured"))
    if server := document["scenarios"].get("server"):
        found.append(("server", _server_text(server)))
    found.append(("lsd-bench's own overhead", _overhead_text(document["overhead"])))
    answers = "; ".join(
        ", ".join(f"{number} {text}" for text, number in counts.items()) for counts in document["answers"].values()
    )
    return [*found, ("answers to the patches", answers)]


def accuracy_facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the bundle states about its accuracy."""
    accuracy = document["accuracy"]
    found = []
    if is_measured(metrics := accuracy["metrics"]):
        told = (f"{text} {_with_interval(metrics[key])}" for key, text in _METRICS.items() if key in metrics)
        found.append(("accuracy stated by the bundle", f"{', '.join(told)}, out of fold"))
    if is_measured(certificate := accuracy["certificate"]):
        stages = certificate["stages"]
        flips = sum(stage["flips"] or 0 for stage in stages)
        outcome = "passed" if certificate["passed"] else "NOT PASSED"
        text = (
            f"{outcome}, {len(stages)} stages of this configuration, {flips} decisions flipped; self-test here passed"
        )
        found.append(("export certificate", text))
    if accuracy["synthetic"]:
        found.append(("accuracy", "none: the bundle was trained on SYNTHETIC data"))
    return found


def machine_facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Power mode, clocks before and after, throttling, disturbances."""
    state, mode = document["machine"], document["conditions"]["machine"]["power_mode"]
    known = ", ".join(f"{name} {value}" for name, value in mode.items() if is_measured(value))
    clocks = " -> ".join(_clocks(state[when]) for when in ("before", "after"))
    return [
        ("power mode", known or "not measured"),
        ("clocks before -> after", clocks),
        ("throttling", _throttling(state["throttling"])),
        ("disturbances", "; ".join(state["disturbances"]) or "none that the system tells"),
    ]


def reasons(document: Any, within: str = "") -> list[tuple[str, str]]:
    """Where in a result something was not measured, and why."""
    if isinstance(document, Mapping):
        if "not_measured" in document:
            return [(within, document["not_measured"])]
        return [
            pair
            for key, value in document.items()
            for pair in reasons(value, f"{within} {key}".strip().replace("_", " "))
        ]
    return []


def flattened(value: Any, none: str, within: str = "") -> list[tuple[str, str]]:
    """Every value of a nested document with its path in words; `none` stands for None."""
    if is_measured(value) and isinstance(value, Mapping | list) and value:
        parts = value.items() if isinstance(value, Mapping) else enumerate(value, start=1)
        paths = ((f"{within} {key}".strip().replace("_", " "), one) for key, one in parts)
        return [pair for path, one in paths for pair in flattened(one, none, path)]
    if isinstance(value, Mapping):
        return [(within, f"not measured: {value['not_measured']}" if value else "none")]
    if isinstance(value, list):
        return [(within, "none")]
    text = none if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return [(within, text)]


def comparison_text(comparison: Comparison, names: tuple[str, str]) -> str:
    """Ratios with intervals, what differs, and what was left out."""
    lines = [f"second / first; above 1: the second is slower. first: {names[0]}; second: {names[1]}", ""]
    lines += aligned(ratio_rows(comparison.ratios))
    for title, found in (
        ("CONDITIONS DIFFER", comparison.differences),
        ("versions differ", comparison.versions),
        ("not compared", comparison.left_out),
        ("READ WITH CARE", comparison.cautions),
    ):
        if found:
            lines += ["", title, *(f"  {one}" for one in found)]
    return "\n".join(lines)


def ratio_rows(ratios: Sequence[Ratio]) -> list[tuple[str, ...]]:
    """Heading, then a row for each figure."""
    rows: list[tuple[str, ...]] = [("figure", "first", "second", "ratio", "95 % interval", "gated")]
    for one in ratios:
        interval = "too few values" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
        gated = "yes" if one.name in GATED else ""
        values = quantity(one.first, one.unit), quantity(one.second, one.unit)
        rows.append((one.name, *values, f"{one.ratio:.3f}", interval, gated))
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns, the first and the last to the left, numbers between them to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if column in (0, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def interval(found: Any) -> str:
    """95 % interval of a percentile; "" where it was not measured."""
    return f"{seconds(found['low_s'])} to {seconds(found['high_s'])}" if is_measured(found) else ""


def _percentile(found: Any) -> str:
    return seconds(found["s"]) if is_measured(found) else "not measured"


def _throttling(found: Mapping[str, Any]) -> str:
    cpu, gpu = found["cpu"], found["gpu"]
    told = [f"processor {cpu['events']} times"] if is_measured(cpu) else []
    told += [f"GPU {', '.join(gpu['reasons']) or 'none'}"] if is_measured(gpu) else []
    return "; ".join(told) or "not measured"


def _server_text(server: Mapping[str, Any]) -> str:
    if server["overloaded"]:
        return f"OVERLOADED at {_digits(server['rate_per_s'])} patches/s: the queue grows, latencies mean nothing"
    late = f"{100 * server['late_share']:.2f} % later than {server['deadline_ms']:g} ms"
    met = server["met"]
    verdict = "too few answers to tell" if not is_measured(met) else "met" if met else "NOT MET"
    return f"{_digits(server['rate_per_s'])} patches/s at random, {late}; deadline for 99 % of them: {verdict}"


def _overhead_text(overhead: Mapping[str, Any]) -> str:
    shares = overhead["share"]
    told = ", ".join(f"{name} {100 * share:.3f} %" for name, share in shares.items())
    too_much = [name for name, share in shares.items() if share > MOST_OVERHEAD]
    warning = f"; MORE THAN {100 * MOST_OVERHEAD:g} %: {', '.join(too_much)}" if too_much else ""
    handed = f"handing a batch to the chain, {seconds(overhead['hand_over_s'])} a query, is counted as the answer's"
    return f"{told or 'no scenario was measured'}{warning}; {handed}"


def _clocks(state: Mapping[str, Any]) -> str:
    cpu = state["cpu_mhz"]
    told = [] if cpu is None else [f"CPU {cpu['min']:.0f}..{cpu['max']:.0f} MHz"]
    told += [f"GPU {state['gpu_mhz']:.0f} MHz"] if state["gpu_mhz"] is not None else []
    told += [f"GPU {gpu['graphics_mhz']} MHz" for gpu in state["gpus"] if gpu["graphics_mhz"] is not None]
    told += [f"{state['hottest_c']:.0f} C"] if state["hottest_c"] is not None else []
    return ", ".join(told) or "not told"


def _with_interval(metric: Mapping[str, Any]) -> str:
    interval = f" ({metric['low']:.3f} to {metric['high']:.3f})" if {"low", "high"} <= set(metric) else ""
    return f"{metric['value']:.3f}{interval}"


def _digits(value: float) -> str:
    """Three digits that count, whole numbers above 100."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
