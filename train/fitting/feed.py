"""Batches from disk: the next ones are read while one is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsd.train.datasets.base import PatchDataset

AHEAD = 3  # batches in memory beside the one in use


def read_batch(dataset: PatchDataset, positions: NDArray[np.intp]) -> Tensor:
    """float32 (n, band, 64, 64), raw; (0, ...) for no positions."""
    if not len(positions):
        return torch.empty((0, len(dataset.bands), 64, 64))
    return torch.from_numpy(np.stack([dataset.read(int(position)) for position in positions]))


def batches(
    dataset: PatchDataset, plan: Sequence[NDArray[np.intp]], workers: int
) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
    """(positions, patches) in the order of the plan, whatever thread reads them.

    Raises:
        PatchFileError: a patch cannot be read any more.
    """
    pending: deque[tuple[NDArray[np.intp], Future[Tensor]]] = deque()
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        try:
            for positions in plan:
                pending.append((positions, pool.submit(read_batch, dataset, positions)))
                if len(pending) > AHEAD:
                    first, patches = pending.popleft()
                    yield first, patches.result()
            while pending:
                first, patches = pending.popleft()
                yield first, patches.result()
        finally:
            for _, waiting in pending:
                waiting.cancel()
