"""What a TensorRT plan was built for, kept in its file name: it fits one library and one kind of GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lsd.runtime.backends.base import PRECISIONS, Precision
from lsd.runtime.backends.tensorrt_library import ANY_GPU, Flavour
from lsd.runtime.errors import BackendError

_SHORT = 12  # digits of the source's hash in a file name
_NAME = re.compile(
    r"(?P<name>.+)\.(?P<flavour>tensorrt-rtx|tensorrt)-(?P<version>\d+(\.\d+)*\+?)\.(?P<capability>any|sm\d+\+?)"
    rf"\.(?P<precision>{'|'.join(PRECISIONS)})\.b(?P<low>\d+)-(?P<best>\d+)-(?P<high>\d+)"
    rf"\.(?P<source>[0-9a-f]{{{_SHORT}}})\.plan"
)


@dataclass(frozen=True)
class EngineKey:
    """Everything a plan depends on.

    version: of the library; `10.3.0+` for a version-compatible plan, which later versions of the same major load too.
    compute_capability: `sm87`; `sm80+` for a hardware-compatible plan; `any` where the library
    builds for all it supports.
    profile: batch sizes (least, best, most), in patches. source_sha256: of the ONNX file, hexadecimal; the first 12
    digits where the key was read from a file name.
    """

    flavour: Flavour
    version: str
    compute_capability: str
    precision: Precision
    profile: tuple[int, int, int]
    source_sha256: str

    def file_name(self, name: str) -> str:
        """File name of the plan of encoder `name`, e.g. `vit.tensorrt-10.3.0.sm87.fp16.b1-8-32.0123456789ab.plan`."""
        batch = "-".join(map(str, self.profile))
        return (
            f"{name}.{self.flavour}-{self.version}.{self.compute_capability}.{self.precision}.b{batch}."
            f"{self.source_sha256[:_SHORT]}.plan"
        )

    def __str__(self) -> str:
        """For messages."""
        library = "TensorRT" if self.flavour == "tensorrt" else "TensorRT-RTX"
        gpu = "any GPU it supports" if self.compute_capability == ANY_GPU else self.compute_capability
        low, _, high = self.profile
        return (
            f"{library} {self.version}, {gpu}, {self.precision}, batch {low} to {high}, "
            f"source {self.source_sha256[:_SHORT]}"
        )


def key_from_file_name(file_name: str) -> tuple[str, EngineKey]:
    """Name of the encoder and key of a plan.

    Raises:
        BackendError: it is not the name of a plan of ours.
    """
    found = _NAME.fullmatch(file_name)
    if found is None:
        raise BackendError(
            f"{file_name!r} is not the name of an engine (NAME.LIBRARY-VERSION.GPU.PRECISION.bN-N-N.HASH.plan); "
            "do not rename engines; build it again with lsd-export engine BUNDLE"
        )
    key = EngineKey(
        found["flavour"],  # type: ignore[arg-type]  # the pattern allows these only
        found["version"],
        found["capability"],
        found["precision"],  # type: ignore[arg-type]
        (int(found["low"]), int(found["best"]), int(found["high"])),
        found["source"],
    )
    return found["name"], key


def mismatch(found: EngineKey, wanted: EngineKey) -> str | None:
    """Why a plan of key `found` cannot serve where `wanted` is asked for; None if it can.

    The best batch of both may differ: that costs speed only. The text says built-for, here, and the command to rebuild.
    """
    fits = (
        found.flavour == wanted.flavour
        and _version_fits(found.version, wanted.version)
        and _gpu_fits(found.compute_capability, wanted.compute_capability)
        and found.precision == wanted.precision
        and found.profile[0] <= wanted.profile[0]
        and found.profile[2] >= wanted.profile[2]
        and found.source_sha256[:_SHORT] == wanted.source_sha256[:_SHORT]
    )
    if fits:
        return None
    batch = ",".join(map(str, wanted.profile))
    return (
        f"engine was built for {found}; here is {wanted}. "
        f"Rebuild: lsd-export engine BUNDLE --precision {wanted.precision} --batch {batch}"
    )


def _version_fits(built: str, here: str) -> bool:
    if not built.endswith("+"):
        return built == here
    first, second = (tuple(int(part) for part in text.rstrip("+").split(".")) for text in (built, here))
    return first[0] == second[0] and first <= second


def _gpu_fits(built: str, here: str) -> bool:
    if not built.endswith("+") or here == ANY_GPU:
        return built == here
    return int(built[2:-1]) <= int(here[2:].rstrip("+"))
