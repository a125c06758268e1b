"""What steers lsd-bench besides the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from lsd.benchmarks.bench.windows import Rule
from lsd.runtime.cli.run_options import RunOptions
from lsd.runtime.errors import ConfigurationError
from lsd.runtime.nearest import did_you_mean

PARTS = ("single-stream", "multi-stream", "offline", "server", "stages", "backends", "tile", "fresh")
# options that lsd-run knows under the same name
_OF_RUN = ("backend", "encoders", "precision", "provider", "encoder_batch", "threads", "engines", "exit")


@dataclass(frozen=True)
class BenchOptions:
    """Everything that steers a measurement; keys of --config.

    backend .. exit: as in lsd-run. configuration: of the bundle, None for its first. parts: names separated by commas,
    None for all. patches: of a multi-stream query. batch_size: patches of an offline query. rate: arrivals a second in
    the server scenario, None for half of what the single stream answers. deadline_ms: within which 99 % of the server's
    answers should come. seed: of the arrivals. window_s, agreeing, most_windows, stability, warm_up_s: the stability
    rule (`windows.Rule`). processes: fresh ones, for cold start and memory. tile_side: patches along a side of the tile
    that lsd-run scores; tile_runs: how often.
    """

    backend: str = RunOptions.backend
    encoders: str = RunOptions.encoders
    precision: str = RunOptions.precision
    provider: str = RunOptions.provider
    encoder_batch: int = RunOptions.encoder_batch
    threads: int | None = RunOptions.threads
    engines: str | None = RunOptions.engines
    exit: str | None = RunOptions.exit
    configuration: str | None = None
    parts: str | None = None
    patches: int = 8
    batch_size: int = 128
    rate: float | None = None
    deadline_ms: float = 100.0
    seed: int = 0
    window_s: float = 2.0
    agreeing: int = 5
    most_windows: int = 15
    stability: float = 0.05
    warm_up_s: float = 1.0
    processes: int = 5
    tile_side: int = 16
    tile_runs: int = 5

    def __post_init__(self) -> None:
        for name in self.chosen:
            if name not in PARTS:
                hint = did_you_mean(name, PARTS) or ""
                raise ConfigurationError(f"unknown part {name!r}{hint} (known: {', '.join(PARTS)})")
        for key, most in (("patches", 4096), ("batch_size", 4096), ("processes", 100), ("tile_side", 172)):
            if not 1 <= getattr(self, key) <= most:
                raise ConfigurationError(f"{key} must be 1..{most}, is {getattr(self, key)}")
        for key in ("rate", "deadline_ms"):
            value = getattr(self, key)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigurationError(f"{key} must be above 0, is {value:g}")
        if self.tile_runs < 1 or self.seed < 0:
            raise ConfigurationError(
                f"tile_runs must be 1 or more and seed 0 or more, are {self.tile_runs} and {self.seed}"
            )
        _ = self.rule, self.run  # refuses what these refuse

    @property
    def chosen(self) -> Sequence[str]:
        """Names of the parts to measure."""
        return PARTS if self.parts is None else tuple(filter(None, self.parts.split(",")))

    @property
    def rule(self) -> Rule:
        """The stability rule of every scenario and stage."""
        return Rule(self.window_s, self.agreeing, self.most_windows, self.stability, self.warm_up_s)

    @property
    def run(self) -> RunOptions:
        """What lsd-run would be told."""
        return RunOptions(**{key: getattr(self, key) for key in _OF_RUN})

    @property
    def of_answers(self) -> dict[str, object]:
        """The options that say what answers, as plain JSON; `engines`, a place, is not among them."""
        return {key: getattr(self, key) for key in (*_OF_RUN, "configuration") if key != "engines"}

    @property
    def settings(self) -> dict[str, object]:
        """The options that say how it is measured, as plain JSON."""
        return {key: value for key, value in asdict(self).items() if key not in (*_OF_RUN, "configuration", "parts")}

    @property
    def words(self) -> list[str]:
        """What lsd-run would be told, as its command line; defaults are left out."""
        default = {field.name: field.default for field in fields(self)}
        given = {key: getattr(self, key) for key in _OF_RUN if getattr(self, key) != default[key]}
        return [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", str(value))]


# Seconds instead of minutes: for a first look and for tests. Windows are too short to mean much.
QUICK = {
    "window_s": 0.1,
    "agreeing": 2,
    "most_windows": 3,
    "warm_up_s": 0.05,
    "processes": 1,
    "tile_side": 4,
    "tile_runs": 1,
}
