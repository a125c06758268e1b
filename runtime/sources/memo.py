"""What is known of files that did not change, so that a watched round opens only what is new."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from rasterio.io import DatasetReader

from lsd.runtime.ingest.raster import on_disk, open_raster

Answer = TypeVar("Answer")

# What GDAL reads beside a raster (GDAL documentation, GTiff and JP2OpenJPEG drivers): statistics, nodata and names of
# bands, overviews and masks in files named after it; its place in world files that take the place of its suffix.
SIDE_FILES = (".aux.xml", ".ovr", ".msk")
WORLD_FILES = (".tfw", ".tifw", ".tiffw", ".j2w", ".wld")


class Memo:
    """Keeps answers as long as all files that they come from stay as they are. Use it from one thread.

    A file is as it was if its size, times of change, and inode are: names are looked up and folders listed anew by
    whoever asks, so what is added or gone is seen. What lies on the network is never kept. Memory grows with the tiles
    of a round (docs/sources_over_time.md) and is given back when they go.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[bytes, Any]] = {}
        self._asked: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def begin(self) -> None:
        """A new round: what the last one did not ask for is forgotten."""
        self._kept = {key: kept for key, kept in self._kept.items() if key in self._asked}
        self._asked = set()

    def of(
        self,
        key: Hashable,
        files: Iterable[Path],
        make: Callable[[], Answer],
        lasts: Callable[[Answer], bool] = lambda answer: True,
    ) -> Answer:
        """What `make` gives, or gave when it was last asked and none of the files has changed since.

        Args:
            key: says what is asked; the same key stands for the same answer while the files are the same.
            files: all that the answer comes from, paths inside archives too.
            lasts: False for an answer that may be another next time though no file changes.
        Raises:
            LsdError: what `make` raises; that is not kept.
        """
        state = _state(files)  # before they are read: a change while they are is seen the next time
        self._asked.add(key)
        answer: Answer
        if state is not None and key in self._kept:
            before, answer = self._kept[key]
            if state == before:
                return answer
        self._kept.pop(key, None)
        answer = make()
        if state is not None and lasts(answer):
            self._kept[key] = state, answer
        return answer


def ask(path: Path, question: Callable[[DatasetReader], Answer], memo: Memo | None = None) -> Answer:
    """What an open raster answers; with a memo it is opened only if it has changed.

    Args:
        question: a function of its own, since it is a part of what the memo knows the answer by.
    Raises:
        TileError: the file cannot be opened.
    """

    def opened() -> Answer:
        with open_raster(path) as dataset:
            return question(dataset)

    return opened() if memo is None else memo.of((str(path), question), [path], opened)


def _state(paths: Iterable[Path]) -> bytes | None:
    """16 bytes that tell the states of rasters apart, side files included; None where one is out of reach."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        file = on_disk(path)
        if file is None:
            return None
        own = str(file)
        stem = own.removesuffix(file.suffix)
        for name in (own, *(own + end for end in SIDE_FILES), *(stem + end for end in WORLD_FILES)):
            try:
                status = os.stat(name)  # noqa: PTH116 - a Path for each of nine names takes half of a round
            except OSError:
                if name == own:
                    return None
                digest.update(b"-")
                continue
            described = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
            digest.update(b"%d %d %d %d\0" % described)
    return digest.digest()
