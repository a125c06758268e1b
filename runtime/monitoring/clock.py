"""Times as people and logs read them."""

from __future__ import annotations

from datetime import datetime, timezone


def utc(seconds: float) -> str:
    """`2024-04-03T01:02:03.456Z` from seconds since 1970."""
    text = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
    return f"{text.removesuffix('+00:00')}Z"
