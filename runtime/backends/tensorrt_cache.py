"""The execution contexts of an engine and, where the library compiles when it runs, the cache of what it compiled.

TensorRT-RTX makes its kernels for a GPU at the first run. They are kept beside the plan, so that the next start need
not wait for them; the library itself refuses a cache of another version, driver or GPU. Like a plan it holds machine
code: never take one from a stranger.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lsd.runtime.commit import write_bytes
from lsd.runtime.errors import BackendError, OutputError

_LOG = logging.getLogger(__name__)


def cache_path(plan: Path, compute_capability: str) -> Path:
    """Where the compiled kernels of a plan lie, for one kind of GPU."""
    return plan.with_name(f"{plan.name}.{compute_capability}.cache")


class CompiledKernels:
    """What an engine's contexts compiled, and the contexts. Holds the engine; not for two threads at once."""

    def __init__(self, trt: Any, engine: Any, path: Path) -> None:
        """Start with what `path` holds of an earlier run."""
        self._path = path
        self._engine = engine
        self._stored = path.read_bytes() if path.is_file() else b""
        config: Any = engine.create_runtime_config() if hasattr(engine, "create_runtime_config") else None
        self._cache = config.create_runtime_cache() if hasattr(config, "create_runtime_cache") else None
        self._config = config if self._cache is not None else None
        if self._cache is not None:
            if self._stored and not self._cache.deserialize(self._stored):
                _LOG.info("%s is of another driver, library or GPU: kernels are compiled again", path)
            config.set_runtime_cache(self._cache)
            # The default runs a fallback kernel until the one for this shape was compiled in the background: the same
            # patch would get other bits before and after
            config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER

    def context(self) -> Any:
        """A new context; it must not outlive the engine.

        Raises:
            BackendError: the library makes none (most often: no memory left).
        """
        given = () if self._config is None else (self._config,)
        context = self._engine.create_execution_context(*given)
        if context is None:
            raise BackendError("TensorRT made no execution context; free memory of the GPU")
        return context

    def keep(self) -> None:
        """Write the compiled kernels, if there are new ones. A folder that cannot be written costs time, no result."""
        if self._cache is None:
            return
        compiled = bytes(self._cache.serialize())
        if not compiled or compiled == self._stored:
            return
        partial = self._path.with_name(f".{self._path.name}.partial")
        try:
            write_bytes(partial, compiled)
            partial.replace(self._path)
            self._stored = compiled
        except OSError as error:  # OutputError is one
            reason = error if isinstance(error, OutputError) else error.strerror
            _LOG.warning("compiled kernels are not kept: %s", reason)
            partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the engine, after its contexts."""
        self._config = self._cache = self._engine = None
