"""Versions of installed packages, for reports, cards and certificates."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Name -> version of those that are installed, in the given order."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
