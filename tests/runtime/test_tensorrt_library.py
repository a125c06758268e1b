"""Which TensorRT is found, and what each can and cannot do. Fakes stand for versions that are not installed here."""

from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest

from lsd.runtime.backends import tensorrt_library
from lsd.runtime.backends.tensorrt_library import LibraryLog, TensorRTLibrary, find_library
from lsd.runtime.errors import BackendError


class Builder:
    def create_network(self, flags):
        return flags


def fake(version, **attributes):
    module = ModuleType("tensorrt")
    module.__version__ = version
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def install(monkeypatch, **modules):
    """Only these are there; a value that is an exception is raised when it is imported."""

    def importing(name):
        found = modules.get(name)
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(tensorrt_library.importlib, "import_module", importing)


def test_tensorrt_comes_before_tensorrt_rtx(monkeypatch):
    install(monkeypatch, tensorrt=fake("10.3.0"), tensorrt_rtx=fake("1.7.1.116"))
    found = find_library()
    assert (found.flavour, found.version, found.title) == ("tensorrt", "10.3.0", "TensorRT 10.3.0")


def test_tensorrt_rtx_is_found_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # import raises ModuleNotFoundError
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake("1.7.1.116"))
    assert find_library().title == "TensorRT-RTX 1.7.1.116"


def test_without_either_the_message_says_how_to_get_one(monkeypatch):
    install(monkeypatch)
    with pytest.raises(BackendError) as caught:
        find_library()
    text = str(caught.value)
    assert "tensorrt: not installed; tensorrt_rtx: not installed" in text
    assert "pip install tensorrt-rtx" in text and "JetPack" in text and "\n" not in text


def test_one_that_is_too_old_is_refused_with_both_versions(monkeypatch):
    install(monkeypatch, tensorrt=fake("8.6.1"))
    with pytest.raises(BackendError, match=r"tensorrt: is 8\.6\.1, at least 10\.0 is needed"):
        find_library()


def test_bindings_without_their_library_are_named_before_the_other_is_used(monkeypatch, caplog):
    broken = ImportError("libnvonnxparser.so.11: cannot open shared object file")
    install(monkeypatch, tensorrt=broken)
    with pytest.raises(BackendError, match=r"tensorrt: cannot be loaded \(libnvonnxparser\.so\.11"):
        find_library()
    install(monkeypatch, tensorrt=broken, tensorrt_rtx=fake("1.7.1.116"))
    with caplog.at_level(logging.WARNING, "lsd"):
        assert find_library().flavour == "tensorrt-rtx"
    assert "libnvonnxparser.so.11" in caplog.text


def test_networks_are_strongly_typed_where_there_is_a_choice():
    ten = TensorRTLibrary(
        fake("10.3.0", NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=3)), "tensorrt", "10.3.0"
    )
    assert ten.network(Builder()) == 1 << 3
    later = TensorRTLibrary(fake("12.0.0", NetworkDefinitionCreationFlag=SimpleNamespace()), "tensorrt", "12.0.0")
    assert later.network(Builder()) == 0


def test_tensorrt_is_for_the_gpu_that_is_there(monkeypatch):
    library = TensorRTLibrary(fake("10.3.0"), "tensorrt", "10.3.0")
    monkeypatch.setattr(tensorrt_library, "compute_capability", lambda: "sm87")
    assert library.target() == "sm87"
    monkeypatch.setattr(tensorrt_library, "compute_capability", lambda: None)
    with pytest.raises(BackendError, match=r"TensorRT 10\.3\.0 builds for the GPU in this machine, found none"):
        library.target()
    assert TensorRTLibrary(fake("1.7"), "tensorrt-rtx", "1.7").target() == "any"


FLAGS = SimpleNamespace(VERSION_COMPATIBLE=1, TF32=2)


@pytest.mark.parametrize(
    ("flavour", "attributes", "options", "message"),
    [
        ("tensorrt-rtx", {"BuilderFlag": FLAGS}, (True, False), "drop --version-compatible"),
        ("tensorrt-rtx", {"BuilderFlag": FLAGS}, (False, True), "drop the option"),
        ("tensorrt", {"BuilderFlag": SimpleNamespace()}, (True, False), "drop --version-compatible"),
        ("tensorrt", {"BuilderFlag": FLAGS}, (False, True), "drop --hardware-compatible"),
    ],
)
def test_what_a_library_lacks_is_refused(flavour, attributes, options, message):
    library = TensorRTLibrary(fake("10.3.0", **attributes), flavour, "10.3.0")
    library.refuse_unsupported(False, False)
    with pytest.raises(BackendError, match=message):
        library.refuse_unsupported(*options)


def ten():
    return TensorRTLibrary(
        fake(
            "10.3.0",
            BuilderFlag=FLAGS,
            ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
            MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
            HardwareCompatibilityLevel=SimpleNamespace(AMPERE_PLUS="ampere"),
            ITimingCache=object,
        ),
        "tensorrt",
        "10.3.0",
    )


class Config:
    """Records what is set; timing caches are their bytes, and only those that begin with `good` are taken."""

    def __init__(self):
        self.set, self.cleared, self.limits, self.cache = [], [], {}, None

    def set_flag(self, flag):
        self.set.append(flag)

    def clear_flag(self, flag):
        self.cleared.append(flag)

    def set_memory_pool_limit(self, pool, size_bytes):
        self.limits[pool] = size_bytes

    def create_timing_cache(self, stored):
        return stored

    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False
        taken = not cache or cache.startswith(b"good")
        self.cache = cache if taken else self.cache
        return taken


def test_the_options_reach_the_builder():
    config = Config()
    ten().configure(config, 256, version_compatible=True, hardware_compatible=True)
    assert config.limits == {"workspace": 256 * 1024 * 1024}
    assert config.set == [FLAGS.VERSION_COMPATIBLE] and config.hardware_compatibility_level == "ampere"
    assert config.profiling_verbosity == "detailed"
    plain = Config()
    ten().configure(plain, None, version_compatible=False, hardware_compatible=False)
    assert plain.limits == {} and plain.set == [] and not hasattr(plain, "hardware_compatibility_level")


def test_fp32_is_not_tf32():
    config = Config()
    ten().configure(config, None, version_compatible=False, hardware_compatible=False)
    assert config.cleared == [FLAGS.TF32]


@pytest.mark.parametrize(
    ("stored", "taken", "cache"), [(b"good", True, b"good"), (b"bad", False, b""), (b"", False, b"")]
)
def test_timings_of_another_version_are_not_taken(stored, taken, cache):
    config = Config()
    assert ten().attach_timing_cache(config, stored) is taken
    assert config.cache == cache


def test_only_tensorrt_keeps_timings():
    assert ten().has_timing_cache
    assert not TensorRTLibrary(fake("1.7", ITimingCache=object), "tensorrt-rtx", "1.7").has_timing_cache


def test_a_library_without_a_progress_monitor_is_not_watched():
    assert ten().watch(Config(), listener=None) is None


class Runtime:
    engine = "engine"
    allowed = None

    def __init__(self, logger):
        self.logger, self.engine_host_code_allowed = logger, False

    def deserialize_cuda_engine(self, plan):
        Runtime.allowed = self.engine_host_code_allowed
        if plan == b"bad":
            self.logger.log(SimpleNamespace(name="ERROR"), "wrong\nversion")
            return None
        return self.engine


def test_a_plan_that_is_refused_says_why_and_host_code_runs_only_where_it_must():
    library = TensorRTLibrary(fake("10.3.0", Runtime=Runtime, ILogger=object), "tensorrt", "10.3.0")
    with pytest.raises(BackendError, match=r"TensorRT 10\.3\.0 cannot load the plan: wrong version"):
        library.load(b"bad", LibraryLog())
    assert library.load(b"good", LibraryLog()) == "engine" and Runtime.allowed is False
    library.load(b"good", LibraryLog(), version_compatible=True)
    assert Runtime.allowed is True


def test_the_log_keeps_warnings_the_last_errors_and_the_listing():
    lines = []
    log = LibraryLog(lines.append)
    assert log.last_error() == "the library gave no reason"
    for number in range(30):
        log.keep("ERROR", f"error {number}")
    log.keep("INTERNAL_ERROR", "the\nlast")
    log.keep("WARNING", "beware")
    log.keep("VERBOSE", "Layers:\nName: x")
    log.keep("VERBOSE", "chatter")
    assert len(log.errors) == 20 and log.last_error() == "the last"
    assert log.warnings == ["beware"] and log.listing == "Layers:\nName: x"
    assert lines[-1] == "WARNING beware" and not any("chatter" in line for line in lines)


def test_without_a_driver_there_is_no_compute_capability(monkeypatch):
    def absent(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(tensorrt_library.ctypes, "CDLL", absent)
    assert tensorrt_library.compute_capability() is None


def test_the_compute_capability_is_the_drivers(monkeypatch):
    class Driver:
        def cuInit(self, flags):  # noqa: N802
            return 0

        def cuDeviceGet(self, device, ordinal):  # noqa: N802
            return 0

        def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
            value._obj.value = {75: 8, 76: 7}[attribute]
            return 0

    monkeypatch.setattr(tensorrt_library.ctypes, "CDLL", lambda name: Driver())
    assert tensorrt_library.compute_capability() == "sm87"
    monkeypatch.setattr(Driver, "cuInit", lambda self, flags: 100)  # CUDA_ERROR_NO_DEVICE
    assert tensorrt_library.compute_capability() is None
