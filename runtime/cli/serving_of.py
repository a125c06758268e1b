"""The chain that the options ask for, tried on this machine; another only where the user allows it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from lsd.runtime.bundle import Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.cli.encoder_options import encoders_of
from lsd.runtime.cli.exit_options import exits_of
from lsd.runtime.cli.run_options import RunOptions
from lsd.runtime.errors import BackendError, GateError
from lsd.runtime.sinks.context import RunContext
from lsd.runtime.stream.serving import Serving

SAFEST = {
    "backend": "table",
    "encoders": "onnxruntime",
    "precision": "fp32",
    "provider": "cpu",
    "encoder_batch": 8,
    "engines": None,
}


def serving_of(path: Path, options: RunOptions, event_time: str | None) -> tuple[Serving, str | None]:
    """What answers, after its self-test here; and why it is not what was asked for, None if it is.

    With `--allow-fallback`, what cannot be opened here or differs from the bundle's reference gives way to tables and
    ONNX Runtime in FP32 on the CPU, which must pass the same test. The reason goes into every product.

    Raises:
        BundleError: the bundle cannot be opened. BackendError, GateError: what was asked for does not work here, and
            nothing else is allowed, or that does not work either.
    """
    safest = replace(options, **SAFEST)  # type: ignore[arg-type]
    try:
        return _serving(path, options, event_time, None), None
    except (BackendError, GateError) as error:
        if not options.allow_fallback or safest == options:
            raise
        asked = (
            f"forests by {options.backend}, networks by {options.encoders} {options.precision} on {options.provider}"
        )
        found = " ".join(str(error).split())
        reason = f"fell back to tables and ONNX Runtime in FP32 on the CPU; asked for {asked}: {found}"
    return _serving(path, safest, event_time, reason), reason


def _serving(path: Path, options: RunOptions, event_time: str | None, fallback: str | None) -> Serving:
    encoders, exits = encoders_of(asdict(options)), exits_of(options.exit)

    def chain_of(bundle: Bundle) -> Chain:
        chain = Chain(bundle, options.backend, options.prevalence, encoders, exits=exits)  # type: ignore[arg-type]
        chain.lay_out_forests()
        # rasterio and all that reads and writes: a fifth of a second of Python, while the library lays out the forests
        import lsd.runtime.run  # noqa: F401

        return chain

    def context_of(bundle: Bundle, chain: Chain) -> RunContext:
        from lsd.runtime.run import context_of

        return context_of(bundle, chain, event_time, fallback)

    return Serving(path, chain_of, context_of)
