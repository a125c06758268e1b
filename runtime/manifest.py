"""The manifest of a bundle: the one schema that export writes and the runtime reads, in plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from lsd.runtime.backends.base import PRECISIONS
from lsd.runtime.bands import BY_NAME, PATCH_GSD_M, PATCH_SIZE_PX, in_order
from lsd.runtime.calibration import Calibration
from lsd.runtime.combination import Combination
from lsd.runtime.errors import BandError, BundleError
from lsd.runtime.exits import Exit
from lsd.runtime.features.sets import FeatureSet
from lsd.runtime.nearest import did_you_mean

if TYPE_CHECKING:
    from lsd.runtime.acquisition.ranges import Ranges

SCHEMA_VERSION = 3
MANIFEST_NAME = "manifest.json"
MIN_VALID_FRACTION = 0.9  # METHOD: a patch with less is "not scored"


@dataclass(frozen=True)
class FileRecord:
    """What the manifest promises about one file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Member:
    """One forest. `compiled`: machine (as `platform.machine()` says) -> path of Treelite-compiled C, if exported."""

    library: str
    feature_set: str
    table: str
    trees: int
    compiled: dict[str, str]


@dataclass(frozen=True)
class EncoderMember:
    """One network, trained once a fold.

    bands: along axis 1 of its graphs. served: sets of these that it was trained to do with, in canonical order; the
    others are NaN then. backbones: what it is made of, in words. parameters: of one fold. graphs: precision -> paths of
    ONNX files, one a fold (or one, if the folds are averaged inside); the probabilities of several are averaged. plans:
    precision below fp32 -> path of the JSON that says what runs in it and what stays fp32, and why. external: path of a
    graph -> paths of the data files beside it, only for graphs above 2 GiB.
    """

    bands: tuple[str, ...]
    served: tuple[tuple[str, ...], ...]
    backbones: tuple[str, ...]
    parameters: int
    graphs: dict[str, tuple[str, ...]]
    plans: dict[str, str]
    external: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Part:
    """What one training run adds to a configuration: its forests, averaged with `weights` (sum 1), or one encoder."""

    name: str
    members: tuple[str, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Configuration:
    """One combination of bands and the members trained for exactly these.

    parts: each gives a probability; `combination` makes one of them, in this order. threshold: positive is calibrated
    p > threshold. look_threshold: at most that; a patch between both is worth a look. prevalence: share of positives in
    the training data, which the probabilities assume. metrics: measured out-of-fold, each {"value", "low", "high"} with
    a 95 % bootstrap interval. exit: where patches leave after the first forest part; None: nowhere.
    """

    name: str
    bands: tuple[str, ...]
    parts: tuple[Part, ...]
    combination: Combination
    calibration: Calibration
    threshold: float
    look_threshold: float
    prevalence: float
    metrics: dict[str, Any]
    exit: Exit | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """Ids of all members, forests and encoders, in order."""
        return tuple(member for part in self.parts for member in part.members)

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        parts = [asdict(part) for part in self.parts]
        combined = {"combination": self.combination.to_json(), "calibration": self.calibration.to_json()}
        document = {**vars(self), "parts": parts, **combined}
        if self.exit is None:  # as every bundle was before there were exits
            del document["exit"]
        else:
            document["exit"] = self.exit.to_json()
        return document


@dataclass(frozen=True)
class Manifest:
    """Everything a runtime must know, in one document; configurations in order of preference."""

    name: str
    description: str
    licence: str
    synthetic: bool
    lsd_version: str
    min_valid_fraction: float
    feature_sets: dict[str, FeatureSet]
    members: dict[str, Member]
    encoders: dict[str, EncoderMember]
    configurations: tuple[Configuration, ...]
    training: dict[str, Any]
    files: dict[str, FileRecord]

    @cached_property
    def ranges(self) -> Ranges | None:
        """Canonical band name -> range of the training data, from `training`; None where it has none.

        Raises:
            BundleError: of an unknown schema, an unknown band, or no rising finite numbers.
        """
        from lsd.runtime.acquisition.ranges import ranges_of

        return ranges_of(self.training)

    def to_json(self) -> dict[str, Any]:
        """The document, with the units of every band and the patch geometry spelled out."""
        names = in_order(band for configuration in self.configurations for band in configuration.bands)
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "description": self.description,
            "licence": self.licence,
            "synthetic": self.synthetic,
            "lsd_version": self.lsd_version,
            "patch": {"size_px": PATCH_SIZE_PX, "gsd_m": PATCH_GSD_M, "min_valid_fraction": self.min_valid_fraction},
            "bands": [{"name": n, "unit": BY_NAME[n].unit, "modality": BY_NAME[n].modality} for n in names],
            "feature_sets": {key: value.to_json() for key, value in self.feature_sets.items()},
            "members": {key: asdict(value) for key, value in self.members.items()},
            "encoders": {key: asdict(value) for key, value in self.encoders.items()},
            "configurations": [configuration.to_json() for configuration in self.configurations],
            "training": self.training,
            "files": {key: asdict(value) for key, value in sorted(self.files.items())},
        }

    def to_bytes(self) -> bytes:
        """The file `manifest.json`; the same manifest gives the same bytes."""
        return (json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n").encode()


def manifest_from_bytes(data: bytes, where: str) -> Manifest:
    """Read and check a manifest.

    Args:
        data: content of `manifest.json`.
        where: how messages call the bundle.
    Raises:
        BundleError: not JSON, another schema version, unknown or missing keys, or parts that do not fit together.
    """
    try:
        document = json.loads(data)
    except (ValueError, UnicodeDecodeError) as error:
        raise BundleError(f"{where}: {MANIFEST_NAME} is not JSON ({error}); export the bundle again") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{where}: manifest schema version is {version!r}, this lsd-edge reads {SCHEMA_VERSION}; "
            "install the lsd-edge that wrote it, or export the bundle again"
        )
    try:
        return _manifest(document, where)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, (BundleError, BandError)):
            raise BundleError(f"{where}: {error}") from error
        raise BundleError(f"{where}: manifest is malformed ({type(error).__name__}: {error})") from error


Record = TypeVar("Record")


def _record(kind: type[Record], stored: Mapping[str, Any], where: str) -> Record:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    _refuse_unknown(set(stored), known, where)
    missing = {field.name for field in fields(kind) if field.default is MISSING} - set(stored)  # type: ignore[arg-type]
    if missing:
        raise BundleError(f"{where} lacks {', '.join(sorted(missing))}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()})


def _refuse_unknown(found: set[str], known: set[str], where: str) -> None:
    for name in sorted(found - known):
        raise BundleError(f"{where} has the unknown key {name!r}{did_you_mean(name, known)}")


def _manifest(document: dict[str, Any], where: str) -> Manifest:
    plain = {"name", "description", "licence", "synthetic", "lsd_version", "training"}
    known = plain | {
        "schema_version",
        "patch",
        "bands",
        "feature_sets",
        "members",
        "encoders",
        "configurations",
        "files",
    }
    _refuse_unknown(set(document), known, "manifest")
    patch = document["patch"]
    if (patch["size_px"], patch["gsd_m"]) != (PATCH_SIZE_PX, PATCH_GSD_M):
        raise BundleError(
            f"patches are {patch['size_px']} px at {patch['gsd_m']} m, expected {PATCH_SIZE_PX} px at {PATCH_GSD_M} m"
        )
    for band in document["bands"]:
        ours = BY_NAME.get(band["name"])
        if ours is None or ours.unit != band["unit"]:
            raise BundleError(f"band {band['name']!r} in {band['unit']!r} is not a band of this version")
    found = Manifest(
        **{key: document[key] for key in plain},
        min_valid_fraction=float(patch["min_valid_fraction"]),
        feature_sets={key: FeatureSet.from_json(value) for key, value in document["feature_sets"].items()},
        members={key: _record(Member, value, f"member {key!r}") for key, value in document["members"].items()},
        encoders={key: _encoder(value, f"encoder {key!r}") for key, value in document["encoders"].items()},
        configurations=tuple(_configuration(stored) for stored in document["configurations"]),
        files={key: _record(FileRecord, value, f"file {key!r}") for key, value in document["files"].items()},
    )
    _check_references(found)
    return found


def _encoder(stored: Mapping[str, Any], where: str) -> EncoderMember:
    several = {key: {name: tuple(paths) for name, paths in stored[key].items()} for key in ("graphs", "external")}
    return _record(EncoderMember, {**stored, **several, "served": tuple(map(tuple, stored["served"]))}, where)


def _configuration(stored: Mapping[str, Any]) -> Configuration:
    read: dict[str, Any] = {
        "parts": tuple(_record(Part, part, "part of a configuration") for part in stored["parts"]),
        "combination": Combination.from_json(stored["combination"]),
        "calibration": Calibration.from_json(stored["calibration"]),
    }
    if "exit" in stored:
        read["exit"] = _exit(stored["exit"])
    return _record(Configuration, {**stored, **read}, "configuration")


def _exit(stored: Mapping[str, Any]) -> Exit:
    limits = {key: float(stored[key]) for key in ("low", "high") if key in stored}
    read = {**stored, **limits, "calibration": Calibration.from_json(stored["calibration"])}
    return _record(Exit, read, "exit of a configuration")


def _check_references(manifest: Manifest) -> None:
    for key, member in manifest.members.items():
        if member.feature_set not in manifest.feature_sets:
            raise BundleError(f"member {key!r} names the feature set {member.feature_set!r}, which is not there")
        _check_files(manifest, key, (member.table, *member.compiled.values()))
    for key, encoder in manifest.encoders.items():
        if key in manifest.members:
            raise BundleError(f"{key!r} is a forest and an encoder; every member has a name of its own")
        _check_encoder(manifest, key, encoder)
    if not 0 < manifest.min_valid_fraction <= 1:
        raise BundleError(f"min_valid_fraction is {manifest.min_valid_fraction:g}, expected above 0 and at most 1")
    if not manifest.configurations:
        raise BundleError("the bundle holds no configuration")
    for configuration in manifest.configurations:
        in_order(configuration.bands)
        _check_parts(manifest, configuration)
        if not 0 <= configuration.look_threshold <= configuration.threshold <= 1:
            raise BundleError(
                f"configuration {configuration.name!r}: expected 0 <= look_threshold <= threshold <= 1, found "
                f"{configuration.look_threshold:g} and {configuration.threshold:g}"
            )
        if configuration.exit is not None:
            _check_exit(manifest, configuration, configuration.exit)


def _check_files(manifest: Manifest, key: str, paths: Iterable[str]) -> None:
    for path in paths:
        if path not in manifest.files:
            raise BundleError(f"member {key!r} names the file {path!r}, which is not listed")


def _check_encoder(manifest: Manifest, key: str, encoder: EncoderMember) -> None:
    in_order(encoder.bands)
    for precision, paths in encoder.graphs.items():
        if precision not in PRECISIONS:
            raise BundleError(f"encoder {key!r}: precision {precision!r} is none of {', '.join(PRECISIONS)}")
        if not paths or len(paths) != len(encoder.graphs.get("fp32", ())):
            raise BundleError(
                f"encoder {key!r}: {precision} has {len(paths)} graphs, expected as many as fp32, 1 or more"
            )
        _check_files(manifest, key, paths)
    if not encoder.graphs:
        raise BundleError(f"encoder {key!r} has no graph")
    _check_files(manifest, key, (*encoder.plans.values(), *(p for paths in encoder.external.values() for p in paths)))


def _check_parts(manifest: Manifest, configuration: Configuration) -> None:
    where = f"configuration {configuration.name!r}"
    if len(configuration.combination.weights) != len(configuration.parts):
        raise BundleError(f"{where}: weights and parts differ in number")
    for part in configuration.parts:
        if len(part.weights) != len(part.members) or not part.members:
            raise BundleError(f"{where}: weights and members of {part.name!r} differ in number")
        if abs(sum(part.weights) - 1) > 1e-9:
            raise BundleError(f"{where}: weights of {part.name!r} sum to {sum(part.weights):g}, expected 1")
    for key in configuration.members:
        if key in manifest.members:
            needed = manifest.feature_sets[manifest.members[key].feature_set].bands
            if not set(needed) <= set(configuration.bands):
                raise BundleError(f"{where} lacks bands that its member {key!r} needs")
        elif key not in manifest.encoders:
            raise BundleError(f"{where} names the member {key!r}, which is not there")
        else:
            encoder = manifest.encoders[key]
            shown = tuple(band for band in in_order(encoder.bands) if band in configuration.bands)
            if shown not in encoder.served:
                raise BundleError(f"{where} shows its member {key!r} bands that it was not trained with alone")


def _check_exit(manifest: Manifest, configuration: Configuration, exit: Exit) -> None:
    where = f"configuration {configuration.name!r}"
    members = next((part.members for part in configuration.parts if part.name == exit.part), ())
    if not members or not set(members) <= set(manifest.members) or len(configuration.parts) < 2:
        raise BundleError(f"{where}: its exit asks {exit.part!r} first, expected one of two parts or more, of forests")
    if not exit.conforms(configuration.look_threshold, configuration.threshold):
        raise BundleError(
            f"{where}: the calibration of its exit takes patches across the thresholds "
            f"{configuration.look_threshold:g} and {configuration.threshold:g}; choose the exits again with lsd-train "
            "cascade"
        )
