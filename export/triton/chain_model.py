"""The chain of a bundle as a model of Triton's python backend; copied into a model repository as 1/model.py.

Forests, features, choice of configuration, calibration and decision are those of lsd.runtime, which must be installed
in the server's Python. Encoders are models of their own and are asked by requests inside the server (business logic
scripting), in batches of one fixed size. Not run in a server here: tests run it with a stand-in for Triton's module.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bundle import Bundle, open_bundle
from lsd.runtime.chain import Chain
from lsd.runtime.encoders import Encoder, EncoderOptions
from lsd.runtime.errors import BackendError, BundleHashError, GateError, LsdError, UsageError
from lsd.runtime.parity import check_golden, require
from lsd.runtime.patches import PatchBatch

OUTPUTS = ("probability", "decision", "configuration", "status")


class ServedSession:
    """An encoder that is a model of the same server; an `EncoderSession`. Not for two threads at once."""

    def __init__(self, triton: Any, model: str, precision: str) -> None:
        self._triton = triton
        self._model = model
        self._precision = precision

    def run(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits float32 (n,); see `EncoderSession`.

        Raises:
            BackendError: the server does not answer, or not with one logit a patch.
        """
        triton = self._triton
        request = triton.InferenceRequest(
            model_name=self._model,
            requested_output_names=["logit"],
            inputs=[triton.Tensor("patches", patches)],
            preferred_memory=triton.PreferredMemory(triton.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            raise BackendError(f"model {self._model!r} of this server failed: {response.error().message()}")
        logits = np.array(triton.get_output_tensor_by_name(response, "logit").as_numpy(), np.float32)
        if logits.size != len(patches):
            raise BackendError(
                f"model {self._model!r} of this server: expected {len(patches)} logits, found {logits.size}; make the "
                "repository again with lsd-export triton"
            )
        return logits.reshape(-1)

    def start(self, patches: NDArray[np.float32]) -> Callable[[], NDArray[np.float32]]:
        """See `EncoderSession`; the logits are there when this returns."""
        logits = self.run(patches)
        return lambda: logits

    def describe(self) -> dict[str, str]:
        """See `EncoderSession`; the server's own report says more."""
        return {"backend": "triton", "model": self._model, "precision": self._precision}

    def close(self) -> None:
        """Nothing to release: the model is the server's."""


class TritonPythonModel:
    """What Triton loads; it calls each instance from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle beside this file.

        Args:
            args: from Triton; `model_config` (JSON), `model_repository` (folder of this model) and `model_version` are
                used.
        Raises:
            BundleHashError: the bundle is not the one that the repository was made from.
            BundleError: it cannot be read by the installed lsd-edge.
        """
        import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found,unused-ignore]  # server only

        self._triton: Any = pb_utils
        stated = {key: str(one["string_value"]) for key, one in json.loads(args["model_config"])["parameters"].items()}
        path = Path(args["model_repository"], args["model_version"], "bundle")
        self._bundle = open_bundle(path, without_encoders=True)
        if self._bundle.sha256 != stated["bundle_sha256"]:
            raise BundleHashError(
                f"{path}: its SHA-256 is {self._bundle.sha256[:12]}..., config.pbtxt states "
                f"{stated['bundle_sha256'][:12]}...; make the repository again with lsd-export triton"
            )
        self._bands = tuple(stated["bands"].split(","))
        self._chain = _chain(pb_utils, self._bundle, stated)
        self._proven = False
        self._refused: GateError | None = None

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, each with its own error if there is one.

        Before the first answer the golden patches of the bundle are scored; where they do not come out as at export,
        nothing is answered. Triton allows no request between models earlier than here.
        """
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Nothing to release."""

    def _answer(self, request: Any) -> Any:
        triton = self._triton
        try:
            self._prove()
            patches = triton.get_input_tensor_by_name(request, "patches").as_numpy()
            scores = self._chain.score(_batch(patches, self._bands))
        except LsdError as error:
            return triton.InferenceResponse(output_tensors=[], error=triton.TritonError(" ".join(str(error).split())))
        return triton.InferenceResponse([triton.Tensor(name, getattr(scores, name)) for name in OUTPUTS])

    def _prove(self) -> None:
        """Score the golden patches once; raises what that raised, GateError for good."""
        if self._refused is not None:
            raise self._refused
        if self._proven:
            return
        try:
            require(check_golden(self._bundle, self._chain), f"{self._bundle.path} in this server")
        except GateError as error:
            self._refused = error
            raise
        self._proven = True


def _chain(triton: Any, bundle: Bundle, stated: dict[str, str]) -> Chain:
    """The chain of the bundle, its encoders being models of this server."""
    options = EncoderOptions("triton", stated["precision"], int(stated["max_batch_size"]))  # type: ignore[arg-type]
    models: dict[str, list[str]] = json.loads(stated["encoders"])
    opened = {
        member: Encoder(
            [ServedSession(triton, model, options.precision) for model in models[member]],
            record.bands,
            options.batch_size,
            record.served,
        )
        for member, record in bundle.manifest.encoders.items()
    }
    return Chain(bundle, encoders=options, opened=opened)


def _batch(patches: NDArray[Any], bands: tuple[str, ...]) -> PatchBatch:
    if patches.dtype != np.float32 or patches.ndim != 4 or patches.shape[1] != len(bands):
        raise UsageError(
            f"expected patches float32 (n, {len(bands)}, 64, 64) of the bands {', '.join(bands)}, found "
            f"{patches.dtype} {patches.shape}"
        )
    place = np.arange(len(patches))
    return PatchBatch(patches, bands, place * 0, place)
