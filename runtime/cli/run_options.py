"""What steers a run of lsd-run besides bundle, sources and output."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lsd.runtime.acquisition.names import FORCIBLE
from lsd.runtime.backends.base import PRECISIONS
from lsd.runtime.backends.registry import BACKENDS as ENCODER_BACKENDS
from lsd.runtime.cli.encoder_options import PROVIDERS
from lsd.runtime.cli.feed_options import STDIN
from lsd.runtime.errors import ConfigurationError, UsageError
from lsd.runtime.forest.backends import BACKENDS

S2_OFFSETS = ("auto", "present", "absent", "reflectance")
RADAR_UNITS = ("db", "power", "amplitude")
ORBITS = ("ascending", "descending")
EXTRAS = ("kml", "geoparquet")
WHEN_OUTPUT_FAILS = ("stop", "wait")
_NOT_OF_PRODUCTS = frozenset(
    {
        "threads",
        "engines",
        "batch_size",
        "window_rows",
        "window_columns",
        "max_memory",
        "allow_fallback",
        "remote",
        "overwrite",
        "rescore",
        "reload",
        "when_output_fails",
        "watch",
        "quiet_s",
        "poll_s",
        "done_suffix",
        "no_notify",
        "list_file",
        "mqtt",
        "publish",
        "listen",
        "log",
    }
)


def plain_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as a JSON file would state them: paths as text, options given again as names separated by commas."""
    return {key: _plain(value) for key, value in flags.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return ",".join(value) or None
    return str(value) if isinstance(value, Path) else value


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (text or "").split(",")))


@dataclass(frozen=True)
class RunOptions:
    """Everything that steers a run besides bundle, sources and output; keys of --config.

    stride: px between patches, 1..64. batch_size, window_rows, window_columns: patches scored and read together; they
    bound memory and never change a result. extra, force: names separated by commas. The others: see --help.
    """

    stride: int = 64
    backend: str = "auto"
    encoders: str = "onnxruntime"
    precision: str = "fp32"
    provider: str = "cpu"
    encoder_batch: int = 8
    threads: int | None = None
    engines: str | None = None
    exit: str | None = None
    force: str | None = None
    s2_offset: str = "auto"
    radar_unit: str | None = None
    orbit: str | None = None
    event_time: str | None = None
    pre_scenes: int = 1
    prevalence: float | None = None
    force_coarse_radar: bool = False
    remote: bool = False
    extra: str | None = None
    batch_size: int = 128
    window_rows: int = 1
    window_columns: int = 64
    max_memory: int | None = None
    allow_fallback: bool = False
    overwrite: bool = False
    rescore: bool = False
    reload: bool = False
    when_output_fails: str | None = None
    watch: bool = False
    quiet_s: float | None = None
    poll_s: float | None = None
    done_suffix: str | None = None
    no_notify: bool | None = None
    list_file: str | None = None
    mqtt: str | None = None
    publish: str | None = None
    listen: str | None = None
    log: str | None = None

    def __post_init__(self) -> None:
        from lsd.runtime.exits import exits_of_text

        choices = {
            "backend": BACKENDS,
            "encoders": ENCODER_BACKENDS,
            "precision": PRECISIONS,
            "provider": PROVIDERS,
            "s2_offset": S2_OFFSETS,
            "radar_unit": (None, *RADAR_UNITS),
            "orbit": (None, *ORBITS),
            "when_output_fails": (None, *WHEN_OUTPUT_FAILS),
        }
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                raise ConfigurationError(
                    f"{key} must be one of {', '.join(map(str, allowed))}, is {getattr(self, key)!r}"
                )
        if self.prevalence is not None and not 0 < self.prevalence < 1:
            raise ConfigurationError(f"prevalence must be above 0 and below 1, is {self.prevalence:g}")
        exits_of_text(self.exit)
        for check in self.forced:
            if check not in FORCIBLE:
                raise ConfigurationError(f"force must be of {', '.join(FORCIBLE)}, is {check!r}")
        for extra in self.extras:
            if extra not in EXTRAS:
                raise ConfigurationError(f"extra must be of {', '.join(EXTRAS)}, is {extra!r}")
        if "geoparquet" in self.extras and importlib.util.find_spec("pyarrow") is None:
            raise UsageError("--extra geoparquet needs pyarrow: pip install 'lsd-edge[geoparquet]'")
        for key, most in (
            ("stride", 64),
            ("pre_scenes", 100),
            ("batch_size", 4096),
            ("encoder_batch", 4096),
            ("window_rows", 4096),
            ("window_columns", 4096),
        ):
            if not 1 <= getattr(self, key) <= most:
                raise ConfigurationError(f"{key} must be 1..{most}, is {getattr(self, key)}")

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the products to write beside the usual ones."""
        return _names(self.extra)

    @property
    def forced(self) -> tuple[str, ...]:
        """Acquisition checks to overrule."""
        return _names(self.force)

    def goes_on(self, sources: Sequence[Path]) -> bool:
        """Whether tiles come until the run is stopped, or its input ends."""
        return self.watch or self.mqtt is not None or STDIN in map(str, sources)

    def of_products(self) -> dict[str, Any]:
        """The options that change products, as plain JSON: they go into the key of a tile.

        Of forest backends only `compiled` may differ in the last bits.
        """
        stated = {key: value for key, value in asdict(self).items() if key not in _NOT_OF_PRODUCTS}
        return {**stated, "backend": "compiled" if self.backend == "compiled" else "table"}
