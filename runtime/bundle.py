"""Open a bundle: a folder, or the same as a zip. Hashes are checked before anything is used."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import BundleError, BundleHashError
from lsd.runtime.forest.table import ForestTable, forest_from_bytes
from lsd.runtime.manifest import MANIFEST_NAME, Manifest, manifest_from_bytes

GOLDEN_NAME = "golden.npz"
CERTIFICATE_NAME = "certificate.json"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: every file in `contents` has the hash that the manifest states. Threads may share it.

    sha256: of manifest.json, which holds the hash of every other file: it names the whole bundle.
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

    def golden(self) -> dict[str, NDArray[np.generic]]:
        """Golden patches with the expected output of every stage (see lsd.runtime.parity)."""
        if GOLDEN_NAME not in self.contents:
            raise BundleError(f"{self.path}: {GOLDEN_NAME} is not there; export the bundle again")
        with np.load(io.BytesIO(self.contents[GOLDEN_NAME]), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def open_bundle(path: Path) -> Bundle:
    """Read a bundle and check it: manifest, paths, size and SHA-256 of every file it lists.

    Raises:
        BundleError: not a bundle, unknown schema version, a missing file, a path that leaves the bundle.
        BundleHashError: a file differs from what the manifest states.
    """
    if not path.exists():
        raise BundleError(f"{path}: there is no bundle here; make one with lsd-export build RUN... -o {path}")
    read = _from_folder if path.is_dir() else _from_zip
    try:
        manifest_bytes = read(path, [MANIFEST_NAME])[MANIFEST_NAME]
        manifest = manifest_from_bytes(manifest_bytes, str(path))
        for name in manifest.files:
            _refuse_outside(path, name)
        contents = read(path, list(manifest.files))
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: cannot be read as a bundle ({error})") from error
    for name, record in manifest.files.items():
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != record.sha256:
            raise BundleHashError(
                f"{path}: {name} was changed since export: SHA-256 is {found[:12]}..., the manifest states "
                f"{record.sha256[:12]}...; copy the bundle again from its source"
            )
    return Bundle(path, manifest, hashlib.sha256(manifest_bytes).hexdigest(), contents)


def _refuse_outside(path: Path, name: str) -> None:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name or not parts.parts:
        raise BundleError(f"{path}: the manifest lists {name!r}, a path that leaves the bundle; do not trust it")


def _from_folder(path: Path, names: list[str]) -> dict[str, bytes]:
    contents, root = {}, path.resolve()
    for name in names:
        file = (path / name).resolve()
        if root not in file.parents:
            raise BundleError(f"{path}: {name} is a link that leaves the bundle; do not trust it")
        if not file.is_file():
            raise BundleError(f"{path}: {name} is missing; copy the bundle again from its source")
        contents[name] = file.read_bytes()
    return contents


def _from_zip(path: Path, names: list[str]) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        missing = set(names) - set(archive.namelist())
        if missing:
            raise BundleError(f"{path}: {sorted(missing)[0]} is missing; copy the bundle again from its source")
        return {name: archive.read(name) for name in names}
