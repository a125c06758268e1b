"""What a line on stdin or a message of a broker announces: a path, bare or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from lsd.runtime.errors import SourceError, UsageError
from lsd.runtime.nearest import did_you_mean

KEYS = ("path",)
MAX_BYTES = 64 * 1024  # Linux takes paths of 4,096 bytes; whatever is longer than this is something else


def announced(content: bytes) -> Path | None:
    """The path that is announced, None for a blank text. `{"path": "..."}`, `"..."` or the path as it is.

    Raises:
        UsageError: it is too long, not UTF-8, malformed JSON, or JSON of another shape.
        SourceError: the path does not exist.
    """
    if len(content) > MAX_BYTES:
        raise UsageError(f"expected at most {MAX_BYTES} bytes, found more; give one path or JSON object")
    try:
        text = content.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"expected UTF-8, found other bytes ({error.reason} at byte {error.start})") from error
    if not text:
        return None
    named = _of_json(text) if text[0] in '{"' else text
    if not named or "\0" in named:
        raise UsageError(f"expected a path, found {named!r:.60}")
    path = Path(named)
    if not _exists(path):
        raise SourceError(f"{path} does not exist; announce a tile when it is in place, under its final name")
    return path


def _of_json(text: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f'expected {{"path": "..."}} or a path, found malformed JSON ({error})') from error
    if isinstance(found, dict):
        for key in found:
            if key not in KEYS:
                raise UsageError(f"unknown key {key!r}{did_you_mean(key, KEYS) or ' (known: ' + ', '.join(KEYS) + ')'}")
        found = found.get("path")
    if not isinstance(found, str):
        raise UsageError(f'expected {{"path": "..."}}, found {text:.60}')
    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name longer than the file system takes
        return False
