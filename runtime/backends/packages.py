"""Optional packages of the backends: imported when used, and one line saying how to get them where they are absent."""

from __future__ import annotations

import importlib
from types import ModuleType

from lsd.runtime.errors import BackendError


def required(module: str, extra: str) -> ModuleType:
    """Import an optional package; nothing is ever installed here.

    Args:
        module: to import, such as `onnxruntime`.
        extra: of this distribution that brings the package.
    Raises:
        BackendError: it is not installed, or is installed and does not load.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = error.name or module
        if name.split(".")[0] != module.split(".")[0]:
            raise BackendError(f'{module} is installed but needs {name}: pip install "lsd-edge[{extra}]"') from error
        raise BackendError(f'{module} is not installed: pip install "lsd-edge[{extra}]"') from error
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise BackendError(
            f"{module} is installed but does not load ({reason}); check that its libraries fit"
        ) from error
