"""timm, on every machine: of torchvision it needs the Python part only, also where the compiled part does not load."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_REGISTRATIONS = "torchvision._meta_registrations"


def ensure_torchvision() -> bool:
    """Make `import torchvision` work; to be called before the first import of timm.

    Package indexes carry torchvision built for CUDA, whose compiled operators do not load beside a torch for CPUs; the
    import then fails while shapes of these operators are registered ("operator torchvision::nms does not exist"). No
    encoder uses such an operator, so this registration is left out there.

    Returns:
        True if the compiled operators are there.
    Raises:
        RuntimeError: torchvision fails for another reason.
        ModuleNotFoundError: it is not installed.
    """
    if _is_without_operators():
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return True
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    sys.modules[_REGISTRATIONS] = ModuleType(_REGISTRATIONS)
    importlib.import_module("torchvision")
    return False


def import_timm() -> Any:
    """The module `timm`: the one place where it is imported."""
    ensure_torchvision()
    return importlib.import_module("timm")


def _is_without_operators() -> bool:
    """True where an earlier call has left the registration out."""
    found = sys.modules.get(_REGISTRATIONS)
    return found is not None and getattr(found, "__file__", None) is None
