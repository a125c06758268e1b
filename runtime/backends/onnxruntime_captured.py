"""Calls of ONNX Runtime on a GPU as captured CUDA graphs: the kernels of a call are launched at once, not one by one.

ONNX Runtime captures the first call of each `gpu_graph_id` and replays it later, from and to the same addresses
(onnxruntime.ai, "CUDA Execution Provider", Using CUDA Graphs). Values, shapes and order of the kernels stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.backends.contract import INPUT, OUTPUT

OPTION = "enable_cuda_graph"  # of the CUDA provider
MOST_GRAPHS = 8  # a run asks for one batch size; each further one keeps memory of its own on the GPU
_NO_GRAPH = -1


@dataclass(frozen=True)
class _Bound:
    """What a call of one batch size reads and writes, always at the same place."""

    patches: Any
    logits: Any
    binding: Any
    run_options: Any


class CapturedCalls:
    """Calls of one session that was opened with `OPTION`; for one thread at a time."""

    def __init__(self, ort: Any, session: Any, device: str = "cuda") -> None:
        """Keep the session.

        Args:
            ort: the module onnxruntime.
            session: InferenceSession of a graph that keeps the contract.
            device: where patches and logits lie during a call.
        """
        self._ort, self._session, self._device = ort, session, device
        self._bound: dict[int, _Bound] = {}

    def __call__(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits float32 (n,) of contiguous patches float32 (n, band, 64, 64); what ONNX Runtime raises passes on."""
        bound = self._bound.get(len(patches)) or self._bind(patches.shape)
        bound.patches.update_inplace(patches)
        self._session.run_with_iobinding(bound.binding, bound.run_options)
        logits: NDArray[np.float32] = bound.logits.numpy().copy()  # on a CPU it is the place itself
        return logits

    def _bind(self, shape: tuple[int, ...]) -> _Bound:
        """Memory for n patches and their logits."""
        n = shape[0]
        values = (
            self._ort.OrtValue.ortvalue_from_shape_and_type(one, np.float32, self._device) for one in (shape, (n,))
        )
        patches, logits = values
        binding, run_options = self._session.io_binding(), self._ort.RunOptions()
        binding.bind_ortvalue_input(INPUT, patches)
        binding.bind_ortvalue_output(OUTPUT, logits)
        graph = n if len(self._bound) < MOST_GRAPHS else _NO_GRAPH
        run_options.add_run_config_entry("gpu_graph_id", str(graph))
        self._bound[n] = _Bound(patches, logits, binding, run_options)
        return self._bound[n]
