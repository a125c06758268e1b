from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from lsd.train.encoders import torchvision as shim


def test_timm_is_imported_whether_or_not_torchvision_has_its_operators():
    timm = shim.import_timm()
    assert timm.is_model("resnet18")
    assert shim.ensure_torchvision() == shim.ensure_torchvision()


def test_missing_operators_are_passed_over_in_a_fresh_process():
    """A torchvision whose import fails as a CUDA build does beside a CPU torch, and succeeds without registrations."""
    script = """
import importlib, sys
from types import ModuleType
real = importlib.import_module
def fake(name, *rest):
    if name == "torchvision":
        if "torchvision._meta_registrations" not in sys.modules:
            sys.modules["torchvision.half"] = ModuleType("torchvision.half")
            raise RuntimeError("operator torchvision::nms does not exist")
        assert "torchvision.half" not in sys.modules
        return ModuleType("torchvision")
    return real(name, *rest)
from lsd.train.encoders.torchvision import ensure_torchvision
importlib.import_module = fake
assert ensure_torchvision() is False
assert ensure_torchvision() is False
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_another_failure_of_torchvision_is_not_hidden(monkeypatch):
    def fails(name):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(shim, "_is_without_operators", lambda: False)
    monkeypatch.setattr(importlib, "import_module", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        shim.ensure_torchvision()
