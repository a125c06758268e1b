"""Names of configurations: they name files and columns."""

from __future__ import annotations

import re

from lsd.runtime.errors import ConfigurationError

NAME = re.compile(r"\w[\w.+-]*")


def check_name(name: str | None) -> None:
    """Raise ConfigurationError for a name that cannot name a file; None is no name."""
    if name is not None and not NAME.fullmatch(name):
        raise ConfigurationError(f"name must be letters, digits and _.+- (it names files), is {name!r}")
