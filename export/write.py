"""Write a bundle: hashes into the manifest, files into a folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lsd.runtime.bundle import Bundle
from lsd.runtime.commit import write_bytes
from lsd.runtime.manifest import MANIFEST_NAME, FileRecord, Manifest


def sealed(manifest: Manifest, contents: Mapping[str, bytes]) -> Manifest:
    """The manifest with size and SHA-256 of every file."""
    files = {name: FileRecord(hashlib.sha256(data).hexdigest(), len(data)) for name, data in contents.items()}
    return replace(manifest, files=files)


def bundle_in_memory(manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """The bundle as `open_bundle` would give it, before anything is written; its path is its name."""
    complete = sealed(manifest, contents)
    return Bundle(Path(manifest.name), complete, hashlib.sha256(complete.to_bytes()).hexdigest(), dict(contents))


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write the files of a bundle into an existing, empty folder.

    Raises:
        OutputError: the disk refuses.
    """
    for name, data in {**bundle.contents, MANIFEST_NAME: bundle.manifest.to_bytes()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / name, data)
