"""Open a bundle: a folder, or the same as a zip. Hashes are checked before anything is used.

Graphs of encoders may be larger than memory: their hash is checked when the bundle is opened, and again when one is
read to be used. Everything else is read once.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.backends.base import EncoderGraph, Precision
from lsd.runtime.errors import BackendError, BundleError, BundleHashError
from lsd.runtime.forest.table import ForestTable, forest_from_bytes
from lsd.runtime.manifest import MANIFEST_NAME, Manifest, manifest_from_bytes

GOLDEN_NAME = "golden.npz"
CERTIFICATE_NAME = "certificate.json"
ENCODERS_FOLDER = "encoders"  # read when they are used
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: every file had the hash that the manifest states. Threads may share it.

    sha256: of manifest.json, which holds the hash of every other file: it names the whole bundle. contents: every file
    but those of encoders, unless the bundle was made in memory.
    """

    path: Path
    manifest: Manifest
    sha256: str
    contents: dict[str, bytes]

    def forest(self, member: str) -> ForestTable:
        """The forest of a member; raises BundleError if it is malformed or has other columns than its features."""
        record = self.manifest.members[member]
        forest = forest_from_bytes(self.contents[record.table], f"{self.path}: {record.table}")
        columns = len(self.manifest.feature_sets[record.feature_set].features)
        if forest.n_features != columns:
            raise BundleError(
                f"{self.path}: {record.table} takes {forest.n_features} features, its feature set has {columns}; "
                "export the bundle again"
            )
        return forest

    def graphs(self, member: str, precision: Precision) -> tuple[EncoderGraph, ...]:
        """The graphs of an encoder, one a fold.

        Raises:
            BackendError: the bundle does not hold this precision. BundleError, BundleHashError: see `read`.
        """
        encoder = self.manifest.encoders[member]
        if precision not in encoder.graphs:
            raise BackendError(
                f"{self.path} holds {member!r} in {', '.join(encoder.graphs)}, not in {precision}; use one of these or "
                f"export again with lsd-export build --precision {precision}"
            )
        return tuple(
            EncoderGraph(
                name=f"{self.path}: {path}",
                content=self.read(path),
                external={PurePosixPath(one).name: self.read(one) for one in encoder.external.get(path, ())},
                sha256=self.manifest.files[path].sha256,
                bands=encoder.bands,
                precision=precision,
            )
            for path in encoder.graphs[precision]
        )

    def read(self, name: str) -> bytes:
        """A file that the manifest lists, its hash checked now unless it is in `contents`.

        Raises:
            BundleError: it is gone. BundleHashError: it was changed since the bundle was opened.
        """
        if name in self.contents:
            return self.contents[name]
        try:
            with _files(self.path) as files:
                content = files.read(name)
        except (OSError, zipfile.BadZipFile) as error:
            raise BundleError(f"{self.path}: {name} cannot be read ({error})") from error
        _check_hash(self.path, self.manifest, name, hashlib.sha256(content).hexdigest())
        return content

    def golden(self) -> dict[str, NDArray[np.generic]]:
        """Golden patches with the expected output of every stage (see lsd.runtime.parity)."""
        if GOLDEN_NAME not in self.contents:
            raise BundleError(f"{self.path}: {GOLDEN_NAME} is not there; export the bundle again")
        with np.load(io.BytesIO(self.contents[GOLDEN_NAME]), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def open_bundle(path: Path, without_encoders: bool = False) -> Bundle:
    """Read a bundle and check it: manifest, paths, size and SHA-256 of every file it lists.

    Args:
        without_encoders: the graphs are elsewhere, such as in a server; those listed here are not looked for.
    Raises:
        BundleError: not a bundle, unknown schema version, a missing file, a path that leaves the bundle.
        BundleHashError: a file differs from what the manifest states.
    """
    if not path.exists():
        raise BundleError(f"{path}: there is no bundle here; make one with lsd-export build RUN... -o {path}")
    contents = {}
    try:
        with _files(path) as files:
            manifest_bytes = files.read(MANIFEST_NAME)
            manifest = manifest_from_bytes(manifest_bytes, str(path))
            for name in manifest.files:
                _refuse_outside(path, name)
                if name.startswith(f"{ENCODERS_FOLDER}/"):
                    if without_encoders:
                        continue
                    found = files.sha256(name)
                else:
                    contents[name] = files.read(name)
                    found = hashlib.sha256(contents[name]).hexdigest()
                _check_hash(path, manifest, name, found)
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: cannot be read as a bundle ({error})") from error
    return Bundle(path, manifest, hashlib.sha256(manifest_bytes).hexdigest(), contents)


def _check_hash(path: Path, manifest: Manifest, name: str, found: str) -> None:
    wanted = manifest.files[name].sha256
    if found != wanted:
        raise BundleHashError(
            f"{path}: {name} was changed since export: SHA-256 is {found[:12]}..., the manifest states "
            f"{wanted[:12]}...; copy the bundle again from its source"
        )


def _refuse_outside(path: Path, name: str) -> None:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name or not parts.parts:
        raise BundleError(f"{path}: the manifest lists {name!r}, a path that leaves the bundle; do not trust it")


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path, self.root = path, path.resolve()

    def open(self, name: str) -> IO[bytes]:
        file = (self.path / name).resolve()
        if self.root not in file.parents:
            raise BundleError(f"{self.path}: {name} is a link that leaves the bundle; do not trust it")
        if not file.is_file():
            raise BundleError(f"{self.path}: {name} is missing; copy the bundle again from its source")
        return file.open("rb")


class _Zip:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive = path, archive

    def open(self, name: str) -> IO[bytes]:
        try:
            return self.archive.open(name)
        except KeyError as error:
            raise BundleError(f"{self.path}: {name} is missing; copy the bundle again from its source") from error


@dataclass(frozen=True)
class _Files:
    source: _Folder | _Zip

    def read(self, name: str) -> bytes:
        with self.source.open(name) as file:
            return file.read()

    def sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        with self.source.open(name) as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()


@contextmanager
def _files(path: Path) -> Iterator[_Files]:
    if path.is_dir():
        yield _Files(_Folder(path))
        return
    with zipfile.ZipFile(path) as archive:
        yield _Files(_Zip(path, archive))
