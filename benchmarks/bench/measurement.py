"""All parts of a measurement, one after another, into one document of plain JSON."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from lsd.benchmarks.bench import content, figures, machine
from lsd.benchmarks.bench.accuracy import accuracy_of
from lsd.benchmarks.bench.backends import measure_backends
from lsd.benchmarks.bench.clock import Clock, SystemClock
from lsd.benchmarks.bench.conditions import versions
from lsd.benchmarks.bench.energy import Meter, drawn, energy, open_meters
from lsd.benchmarks.bench.fresh_process import first_patch, run_tile
from lsd.benchmarks.bench.nvml import Gpu
from lsd.benchmarks.bench.options import BenchOptions
from lsd.benchmarks.bench.percentiles import NotMeasured, is_measured
from lsd.benchmarks.bench.scenarios import offline, server, single_stream
from lsd.benchmarks.bench.stages import ABOUT, measure_stages
from lsd.benchmarks.bench.subject import Subject
from lsd.benchmarks.bench.windows import Rule
from lsd.runtime.errors import ConfigurationError, UsageError

SCHEMA_VERSION = 1
KIND = "lsd-bench"
_UTILISATION = 0.5  # of the server, where no rate of arrivals is given
Tell = Callable[[str], None]


class Measurement:
    """One run of lsd-bench over an opened bundle. For one thread."""

    def __init__(
        self,
        path: Path,
        subject: Subject,
        options: BenchOptions,
        folder: Path,
        gpus: tuple[Sequence[Gpu], str],
        tell: Tell,
        clock: Clock | None = None,
    ) -> None:
        """Nothing is measured yet.

        Args:
            path: of the bundle, for processes of their own. folder: a temporary one is made in it for the tile and its
                products. gpus: of `nvml.gpus`. tell: hears what is measured next.
        Raises:
            ConfigurationError: the server's rate follows from the single stream, which is not to be measured.
        """
        self.path, self.subject, self.options, self.folder, self.tell = path, subject, options, folder, tell
        self.clock = clock or SystemClock()
        self.gpus, self._gpu_reason = gpus
        if options.rate is None and "server" in options.chosen and "single-stream" not in options.chosen:
            raise ConfigurationError(
                "the server's rate follows from the single stream, which is not asked for; give --rate"
            )

    def document(self, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """Measure everything that the options ask for.

        Args:
            conditions: of `conditions_of`, kept as they are.
        """
        begun, begun_s = datetime.now(timezone.utc), time.monotonic()
        before = machine.snapshot(self.gpus)
        chosen = self.options.chosen
        fresh = self._fresh() if "fresh" in chosen else None  # first: other processes may fail where this one did not
        stages = whole = None
        if {"stages", "tile"} & set(chosen):
            with tempfile.TemporaryDirectory(prefix=".lsd-bench-", dir=self.folder) as place:
                tile = content.write_tile(Path(place), self.subject.configuration.bands, self.options.tile_side)
                whole = self._tile(tile, Path(place) / "products") if "tile" in chosen else None
                stages = self._stages(tile) if "stages" in chosen else None
        backends = self._backends() if "backends" in chosen else None
        scenarios, used = self._scenarios()
        overhead = self._overhead(scenarios)
        after, seconds = machine.snapshot(self.gpus), time.monotonic() - begun_s
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "begun": begun.isoformat(timespec="seconds"),
            "seconds": seconds,
            "conditions": dict(conditions),
            "settings": self.options.settings,
            "versions": versions(),
            "answers": self.subject.answers(),
            "encoders": {key: one.describe() for key, one in self.subject.chain.encoders.items()},
            "accuracy": accuracy_of(self.subject.bundle, self.subject.context, self.subject.configuration),
            "scenarios": scenarios,
            "stages": stages,
            "backends": backends,
            "tile": whole,
            "fresh": fresh,
            "energy": used,
            "overhead": overhead,
            "machine": {
                "before": before,
                "after": after,
                "throttling": machine.throttling(before, after),
                "disturbances": machine.disturbances(before, after, seconds),
            },
        }

    def _scenarios(self) -> tuple[dict[str, Any], Any]:
        """Figures of each scenario, and the energy drawn by the offline one."""
        found: dict[str, Any] = {}
        used: Any = NotMeasured("the offline scenario was not asked for").to_json()
        options, rule, subject = self.options, self.options.rule, self.subject
        for name in options.chosen:
            if name == "single-stream":
                self.tell("single-stream: one patch after another")
                found[name] = figures.latency_figures(single_stream(subject.query(1), self.clock, rule), 1)
            elif name == "multi-stream":
                self.tell(f"multi-stream: {options.patches} patches a query")
                windows = single_stream(subject.query(options.patches), self.clock, rule, options.patches)
                found[name] = figures.latency_figures(windows, options.patches)
            elif name == "offline":
                self.tell(f"offline: batches of {options.batch_size}")
                found[name], used = self._offline(rule)
        if "server" in options.chosen:  # last: its rate may follow from the single stream
            rate = options.rate or _UTILISATION / found["single-stream"]["mean_s"]
            self.tell(f"server: {rate:.4g} patches a second at random")
            windows = server(subject.query(1), self.clock, rule, rate, options.seed)
            found["server"] = figures.server_figures(windows, rate, options.deadline_ms)
        return found, used

    def _offline(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        batch = self.options.batch_size
        meters, reasons = open_meters(self.gpus, self._gpu_reason)
        try:
            asked = _Counted(self.subject.query(batch), batch)
            with drawn(meters) as idle:
                if meters:
                    time.sleep(rule.window_s)
            with drawn(meters) as busy:
                windows = offline(asked, self.clock, rule, batch)
        finally:
            _close(meters)
        return figures.throughput_figures(windows, batch), energy(meters, reasons, idle, busy, asked.patches)

    def _overhead(self, scenarios: Mapping[str, Any]) -> dict[str, Any]:
        """What lsd-bench itself takes: the same loops around a query that answers at once, with nothing.

        hand_over_s: making the batch that a query hands to the chain, beside the loop; lsd-run makes one too, so that
        it counts as the answer's. All are medians: on a busy machine a mean tells what other programs took.
        """
        self.tell("overhead: the same with queries that answer nothing")
        short = Rule(min(0.2, self.options.window_s), 2, 3, 0.5, 0.0)

        def empty(_: int) -> None:
            return None

        loop_s, handed_s = (
            float(np.median(single_stream(query, self.clock, short).latencies_s))
            for query in (empty, self.subject.query(1, empty))  # type: ignore[arg-type]
        )
        found: dict[str, Any] = {"closed_loop_s": loop_s, "hand_over_s": handed_s - loop_s, "share": {}}
        for name, one in scenarios.items():
            if name == "server":
                waiting = server(empty, self.clock, short, one["rate_per_s"], self.options.seed)
                found["server_s"] = float(np.median(waiting.latencies_s))
                found["share"][name] = found["server_s"] / one["median_s"]
            else:
                found["share"][name] = loop_s / one["median_s"]
        return found

    @property
    def _short_rule(self) -> Rule:
        """Of stages and backends, of which there are many."""
        rule = self.options.rule
        return replace(rule, window_s=rule.window_s / 4, warm_up_s=0.0)

    def _backends(self) -> dict[str, Any]:
        return measure_backends(
            self.subject, self.options.batch_size, self.clock, self._short_rule,
            lambda name: self.tell(f"backend {name}: forests, one patch and batches of {self.options.batch_size}"),
        )  # fmt: skip

    def _stages(self, tile: Path) -> dict[str, Any]:
        batch = self.options.batch_size
        windows = measure_stages(
            self.subject,
            tile,
            batch,
            self.clock,
            self._short_rule,
            lambda name: self.tell(f"stage {name}: {ABOUT[name]}"),
        )
        return {name: {"about": ABOUT[name], **figures.throughput_figures(one, batch)} for name, one in windows.items()}

    def _tile(self, tile: Path, output: Path) -> dict[str, Any]:
        """lsd-run over the tile, in processes of their own: seconds by stage, and memory."""
        runs = []
        for number in range(self.options.tile_runs):
            self.tell(
                f"tile: lsd-run over {self.options.tile_side**2} patches, {number + 1} of {self.options.tile_runs}"
            )
            runs.append(run_tile(self.path, tile, output, self.options.words))
        stages = list(runs[0]["seconds"])
        return {
            "patches": runs[0]["patches"],
            "scored": runs[0]["scored"],
            "seconds": {name: figures.values_of_repeats([one["seconds"][name] for one in runs]) for name in stages},
            "whole_s": figures.values_of_repeats([one["whole_s"] for one in runs]),
            "peak_mb": _repeats([one["peak_mb"] for one in runs]),
        }

    def _fresh(self) -> dict[str, Any]:
        """Cold start and memory, in processes of their own."""
        found = []
        for number in range(self.options.processes):
            self.tell(f"cold start: a fresh process, {number + 1} of {self.options.processes}")
            found.append(first_patch(self.path, self.options))
        phases, peaks = found[0]["seconds"], found[0]["peak_mb"]
        return {
            "seconds": {name: figures.values_of_repeats([one["seconds"][name] for one in found]) for name in phases},
            "self_test_s": figures.values_of_repeats([one["self_test_s"] for one in found]),
            "peak_mb": {name: _repeats([one["peak_mb"][name] for one in found]) for name in peaks}
            if is_measured(peaks)
            else peaks,
            "patches_mb": found[0]["patches_mb"],
        }


class _Counted:
    """A query that counts the patches it was asked for, warm-up included."""

    def __init__(self, query: Callable[[int], object], batch: int) -> None:
        self._query, self._batch, self.patches = query, batch, 0

    def __call__(self, patches: int) -> object:
        self.patches += self._batch
        return self._query(patches)


def _repeats(values: list[Any]) -> dict[str, Any]:
    missing = next((value for value in values if not is_measured(value)), None)
    return figures.values_of_repeats(values) if missing is None else dict(missing or NotMeasured("not told").to_json())


def _close(meters: Sequence[Meter]) -> None:
    for meter in meters:
        meter.close()


def checked(document: Any, where: str) -> dict[str, Any]:
    """A stored result, if it is one.

    Raises:
        UsageError: it is something else, or of another schema version.
    """
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise UsageError(f"{where} is no result of lsd-bench; give a JSON file that lsd-bench BUNDLE wrote")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(
            f"{where} has schema version {document.get('schema_version')}, this lsd-bench knows {SCHEMA_VERSION}; "
            "measure again with this version"
        )
    return document
