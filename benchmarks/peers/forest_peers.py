"""The libraries that evaluate a forest, opened for one model and a number of threads: float32 rows in, margins out.

What is timed is what a program that holds a float32 row with NaN would call, the library's own conversions included.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.benchmarks.peers.forest_models import Model, Rows
from lsd.benchmarks.peers.forest_onnx import INPUT, onnx_of_forest
from lsd.benchmarks.peers.result import AbsentError
from lsd.export.forest_from_treelite import treelite_from_file
from lsd.runtime.forest.compiled import CompiledForest
from lsd.runtime.forest.native import NativeForest
from lsd.runtime.forest.walk import TableWalk

Margins = NDArray[np.floating[Any]]
Predict = Callable[[Rows], Margins]
SINGLE, BATCH = "single rows", "batch"
_C_API_DTYPE_FLOAT32, _C_API_PREDICT_RAW_SCORE = 0, 1  # include/LightGBM/c_api.h


def lightgbm(model: Model, threads: int) -> Predict:
    """Booster.predict."""
    booster = _lightgbm_booster(model)
    return lambda rows: np.asarray(booster.predict(rows, raw_score=True, num_threads=threads))


def lightgbm_single_row_fast(model: Model, threads: int) -> Predict:
    """LGBM_BoosterPredictForMatSingleRowFast of its C interface: the fastest that LightGBM has for one row."""
    import lightgbm as library

    booster = _lightgbm_booster(model)
    calls = library.basic._LIB
    config, out, length = ctypes.c_void_p(), np.zeros(1), ctypes.c_int64()
    library.basic._safe_call(
        calls.LGBM_BoosterPredictForMatSingleRowFastInit(
            booster._handle, _C_API_PREDICT_RAW_SCORE, 0, -1, _C_API_DTYPE_FLOAT32, booster.num_feature(),
            f"num_threads={threads}".encode(), ctypes.byref(config),
        )
    )  # fmt: skip
    predict, to, size = (
        calls.LGBM_BoosterPredictForMatSingleRowFast,
        ctypes.c_void_p(out.ctypes.data),
        ctypes.byref(length),
    )

    def margin(rows: Rows) -> Margins:
        if predict(config, ctypes.c_void_p(rows.ctypes.data), size, to):
            raise RuntimeError(calls.LGBM_GetLastError())
        assert booster is not None  # it owns what config points to
        return out.copy()

    return margin


def xgboost_dmatrix(model: Model, threads: int) -> Predict:
    """Booster.predict of a DMatrix that is made in each call, as a new row needs it."""
    import xgboost

    booster = _xgboost_booster(model, threads)
    return lambda rows: np.asarray(booster.predict(xgboost.DMatrix(rows, nthread=threads), output_margin=True))


def xgboost_inplace(model: Model, threads: int) -> Predict:
    """Booster.inplace_predict."""
    booster = _xgboost_booster(model, threads)
    return lambda rows: np.asarray(booster.inplace_predict(rows, predict_type="margin", missing=np.nan))


def treelite_gtil(model: Model, threads: int) -> Predict:
    """Treelite's general tree inference library, the reference of that project."""
    import treelite

    loaded = model.treelite

    def margins(rows: Rows) -> Margins:
        found = treelite.gtil.predict(loaded, rows, nthread=threads, pred_margin=True)
        return np.asarray(found).reshape(-1)

    try:
        margins(np.zeros((1, model.table.n_features), np.float32))
    except treelite.TreeliteError as error:  # more threads than OpenMP was allowed
        raise AbsentError(str(error).split(": ", 1)[-1]) from error
    return margins


def tl2cgen(model: Model, threads: int) -> Predict:
    """Treelite-compiled C through TL2cgen's own Predictor; its matrix has the compiled forest's type."""
    import tl2cgen as library

    try:
        predictor = library.Predictor(str(model.shared_library), nthread=threads)
    except library.TL2cgenError as error:  # more threads than OpenMP was allowed
        raise AbsentError(str(error).split(": ", 1)[-1]) from error
    dtype = np.float64 if model.library == "lightgbm" else np.float32

    def margins(rows: Rows) -> Margins:
        matrix = library.DMatrix(np.asarray(rows, dtype))  # TL2cgen 1.0 cannot convert under numpy 2
        return np.asarray(predictor.predict(matrix, pred_margin=True)).reshape(-1)

    return margins


def tl2cgen_ctypes(model: Model, threads: int) -> Predict:
    """The same C called as the backend `compiled` of our runtime does, row by row."""
    _one_thread(threads)
    return CompiledForest(model.shared_library.read_bytes(), model.library, model.name).margins


def onnxruntime(model: Model, threads: int) -> Predict:
    """ONNX Runtime's TreeEnsembleRegressor, in float32."""
    import onnxruntime as library

    options = library.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = library.InferenceSession(onnx_of_forest(model.table), options, providers=["CPUExecutionProvider"])
    return lambda rows: np.asarray(session.run(None, {INPUT: rows})[0]).reshape(-1)


def nvforest(model: Model, threads: int) -> Predict:
    """NVIDIA's nvForest on a GPU in the model's own precision, rows and answers copied; it needs no thread more."""
    loaded = treelite_from_file(model.file, model.library)
    loaded.get_header_accessor().set_field("postprocessor", "identity")  # margins, which it does not offer otherwise
    try:
        forest = importlib.import_module("nvforest").load_from_treelite_model(loaded, device="gpu", precision=None)
        forest = forest.optimize()
    except ImportError as error:
        raise AbsentError(f"{error}; pip install nvforest-cu13, on a machine with a GPU") from error
    except Exception as error:  # it passes on whatever CUDA raises
        raise AbsentError(f"nvForest: {(str(error).splitlines() or ['?'])[0]}") from error

    def margins(rows: Rows) -> Margins:
        found = forest.predict_proba(rows)
        return np.asarray(found.get() if hasattr(found, "get") else found).reshape(-1)

    return margins


def table_walk(model: Model, threads: int) -> Predict:
    """Ours without the native library: numpy."""
    _one_thread(threads)
    return TableWalk(model.table).margins


def native(model: Model, threads: int) -> Predict:
    """Ours: NativeForest of the runtime."""
    return NativeForest(model.table, threads).margins


OURS = "ours, native"
PEERS: dict[str, Callable[[Model, int], Predict]] = {
    OURS: native,
    "ours, numpy": table_walk,
    "LightGBM": lightgbm,
    "LightGBM single row fast": lightgbm_single_row_fast,
    "XGBoost DMatrix": xgboost_dmatrix,
    "XGBoost inplace": xgboost_inplace,
    "Treelite GTIL": treelite_gtil,
    "TL2cgen": tl2cgen,
    "TL2cgen through ctypes": tl2cgen_ctypes,
    "ONNX Runtime": onnxruntime,
    "nvForest": nvforest,
}
_ONLY: dict[str, str] = {
    "LightGBM": "lightgbm",
    "LightGBM single row fast": "lightgbm",
    "XGBoost DMatrix": "xgboost",
    "XGBoost inplace": "xgboost",
}


def names_for(model: Model, batch: str, asked: Collection[str] = ()) -> list[str]:
    """The peers that can be asked about this model and batch at all; of those `asked` for, if any, and ours."""
    wanted = {OURS, *asked} if asked else set(PEERS)
    names = [name for name in PEERS if name in wanted and _ONLY.get(name, model.library) == model.library]
    return [name for name in names if batch == SINGLE or "single row" not in name]


def _one_thread(threads: int) -> None:
    if threads != 1:
        raise AbsentError("works with one thread")


def _lightgbm_booster(model: Model) -> Any:
    import lightgbm as library

    return library.Booster(model_file=str(model.file))


def _xgboost_booster(model: Model, threads: int) -> Any:
    import xgboost

    booster = xgboost.Booster(model_file=str(model.file))
    booster.set_param({"nthread": threads})
    return booster
