"""Typed reading of a tile file: every error is one line that names the file and the place in it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from lsd.runtime.errors import SourceError, TileError, UsageError
from lsd.runtime.ingest.times import utc_of
from lsd.runtime.nearest import did_you_mean

TOML_SUFFIX, JSON_SUFFIX = ".tile.toml", ".tile.json"
CHOICES: dict[str, tuple[str, ...]] = {
    "s2_offset": ("auto", "present", "absent", "reflectance"),
    "radar_unit": ("db", "power", "amplitude"),
    "orbit": ("ascending", "descending"),
    "kind": ("scl", "mask"),
}
KINDS: dict[type, str] = {str: "a string", int: "a whole number", list: "a list", dict: "a table"}


@dataclass(frozen=True)
class Table:
    """A table of the file with its place in it, for messages: `radar[1].orbit`."""

    file: Path
    place: str
    values: Mapping[str, Any]

    def error(self, key: str, text: str) -> TileError:
        """What is wrong with a key, to be raised."""
        return TileError(f"{self.file}: {self.within(key)} {text}")

    def within(self, key: str) -> str:
        """A key with its place in the file."""
        return f"{self.place}.{key}" if self.place else key

    def refuse_unknown(self, known: Sequence[str]) -> None:
        """Raise TileError if a key is none of the known ones."""
        for key in self.values:
            if key not in known:
                raise self.error(key, f"is no key of a tile file{did_you_mean(key, known)} (keys: {', '.join(known)})")

    def optional(self, key: str, kind: type) -> Any:
        """The value of a key, None if it is not there; TileError if it is of another type."""
        value = self.values.get(key)
        if key in self.values and (not isinstance(value, kind) or isinstance(value, bool)):
            raise self.error(key, f"should be {KINDS[kind]}, is {shown(value)}")
        return value

    def required(self, key: str, kind: type) -> Any:
        """The value of a key; TileError if it is not there or of another type."""
        if key not in self.values:
            raise self.error(key, f"is missing; it should be {KINDS[kind]}")
        return self.optional(key, kind)

    def choice(self, key: str) -> Any:
        """The value of a key of `CHOICES`, None if it is not there."""
        value = self.optional(key, str)
        if value is not None and value not in CHOICES[key]:
            raise self.error(key, f"should be one of {', '.join(CHOICES[key])}, is {value!r}")
        return value

    def time(self, key: str) -> datetime | None:
        """A time with zone in UTC: text in ISO 8601, or TOML's own date-time."""
        value = self.values.get(key)
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(timezone.utc)
        text = value.isoformat() if isinstance(value, date) else self.optional(key, str)
        if text is None:
            return None
        try:
            return utc_of(text, f"{self.file}: {self.within(key)}")
        except UsageError as error:
            raise TileError(str(error)) from error

    def part(self, key: str, known: tuple[str, ...]) -> Part:
        """The part under a key that is there; TileError if it has a key that is not `known`."""
        return self._part(key, self.values[key], known)

    def parts(self, key: str, known: tuple[str, ...]) -> list[Part]:
        """The parts of a list, [] if the key is not there."""
        found = self.optional(key, list)
        if found == []:
            raise self.error(key, "is empty; name a path, or leave it out")
        return [self._part(f"{key}[{i}]", value, known) for i, value in enumerate(found or [])]

    def _part(self, key: str, value: Any, known: tuple[str, ...]) -> Part:
        """A part from its table, or from its path alone."""
        if not isinstance(value, (str, dict)):
            raise self.error(key, f"should be a path or a table with a path, is {shown(value)}")
        part = Part(self.file, self.within(key), {"path": value} if isinstance(value, str) else value)
        part.refuse_unknown(known)
        return part


@dataclass(frozen=True)
class Part(Table):
    """A table that names a path."""

    @property
    def path(self) -> Path:
        """Where the part is, relative paths from the tile file on; it exists."""
        text = self.required("path", str)
        if not text or "\0" in text or re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
            raise self.error("path", f"should be a path on this machine, is {text!r}; fetch the product first")
        path: Path = self.file.parent / text
        if not path.exists():
            raise SourceError(f"{self.file}: {self.place} is missing: {path}; fetch it, or correct the path")
        return path


def shown(value: Any) -> str:
    """A value as a message quotes it."""
    return f"{value!r:.60}"


def read_table(path: Path) -> dict[str, Any]:
    """The content of a tile file.

    Raises:
        SourceError: it cannot be read.
        TileError: it is no TOML or JSON table, or TOML on Python 3.10.
    """
    parse: Callable[[str], Any] = _parse_toml if path.name.casefold().endswith(TOML_SUFFIX) else _parse_json
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"tile file {path} cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:  # both parsers' errors, and text that is not UTF-8
        name = "TOML" if parse is _parse_toml else "JSON"
        raise TileError(f"{path} is no {name} ({str(error).splitlines()[0]}); correct it there") from error
    except ModuleNotFoundError as error:
        raise TileError(
            f"{path} is TOML, which this Python {sys.version_info.major}.{sys.version_info.minor} cannot read; give it "
            "as JSON (*.tile.json), or use Python 3.11"
        ) from error
    if not isinstance(content, dict):
        raise TileError(f"{path} should hold a JSON object, holds {shown(content)}")
    return content


def _parse_toml(text: str) -> Any:
    import tomllib  # from Python 3.11 on

    return tomllib.loads(text)


def _parse_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys stand once, as TOML demands: the first of two would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"key {next(key for key in found if sum(key == one for one, _ in pairs) > 1)!r} stands twice")
    return found
