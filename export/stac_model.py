"""A bundle as a STAC 1.1.0 Item with the Machine Learning Model extension (MLM) v1.5.2.

Spec: https://github.com/stac-extensions/mlm/tree/v1.5.2; hashes by the file extension v2.1.0. Fields of our own begin
with `lsd:`. The item stands in the bundle, so it cannot hold the hash of the manifest, which holds its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from lsd.runtime.bands import BY_NAME, PATCH_GSD_M, PATCH_SIZE_PX, in_order
from lsd.runtime.bundle import CERTIFICATE_NAME, GOLDEN_NAME
from lsd.runtime.manifest import MANIFEST_NAME, Manifest
from lsd.runtime.scores import DECISION_TEXT

STAC_NAME = "stac-item.json"
MLM = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
TASK = "scene-classification"  # one answer a patch, no outline
# library of a member -> name of the framework and, in `training.*.versions`, of its package
FRAMEWORKS = {
    "lightgbm": ("LightGBM", "lightgbm"),
    "xgboost": ("XGBoost", "xgboost-cpu"),
    "torch": ("PyTorch", "torch"),
}
# licences in the words of bundles that have an SPDX identifier; STAC says `other` for the rest
SPDX = frozenset({"Apache-2.0", "MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0"})
# A model holds for no stretch of time of its own, but STAC needs one: MLM, best practices, proposes 1900 and an open
# end, which STAC does not allow; the end is the last second that RFC 3339 can write.
_ALWAYS = {"datetime": None, "start_datetime": "1900-01-01T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"}
_SHA256_MULTIHASH = "1220"  # multihash, as the file extension asks: 0x12 is SHA-256, 0x20 its length in bytes
_SEMVER = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}")
# file -> key, title, media type, roles
_FILES = {
    "MODEL_CARD.md": ("card", "Model card: data, metrics, limits", "text/markdown", ["metadata"]),
    CERTIFICATE_NAME: ("certificate", "How the export was checked", "application/json", ["metadata"]),
    GOLDEN_NAME: ("golden", "Patches with expected answers", "application/octet-stream", ["data"]),
}


def stac_bytes(manifest: Manifest) -> bytes:
    """The file `stac-item.json`; the same manifest gives the same bytes."""
    return f"{json.dumps(model_item(manifest), indent=1, allow_nan=False)}\n".encode()


def model_item(manifest: Manifest) -> dict[str, Any]:
    """The Item of a bundle: one model that takes up to 12 bands and answers with the configuration that fits.

    geometry is null: where the training data lie is not published. An input that lacks bands is no error: see
    `lsd:configurations`. Hashes and sizes are those in `manifest.files`; a file that is not listed there has none.
    """
    name = f"lsd-edge {_plain(manifest.name)}".strip()
    bands = in_order(band for configuration in manifest.configurations for band in configuration.bands)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM, FILE],
        "id": name.replace(" ", "-"),
        "geometry": None,
        "properties": {
            **_ALWAYS,
            "title": manifest.name,
            "description": manifest.description,
            "license": _licence(manifest.licence),
            "mlm:name": name,
            "mlm:architecture": _architecture(manifest),
            "mlm:tasks": [TASK],
            **_framework(manifest),
            "mlm:pretrained": False,
            "mlm:pretrained_source": None,
            "mlm:input": [_input(bands, manifest.min_valid_fraction)],
            "mlm:output": _outputs(),
            "bands": [_band(band) for band in bands],
            "lsd:licence": manifest.licence,
            "lsd:synthetic": manifest.synthetic,
            "lsd:version": manifest.lsd_version,
            "lsd:configurations": [
                {
                    "name": one.name,
                    "bands": list(one.bands),
                    "parts": [
                        {"name": part.name, "members": dict(zip(part.members, part.weights, strict=True))}
                        for part in one.parts
                    ],
                    "combination": one.combination.to_json(),
                    "threshold": one.threshold,
                    "look_threshold": one.look_threshold,
                    "prevalence": one.prevalence,
                }
                for one in manifest.configurations
            ],
        },
        "links": [],
        "assets": dict(_assets(manifest)),
    }


def _plain(name: str) -> str:
    """A name that the pattern of `mlm:name` takes."""
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", name).strip("-_.")


def _licence(words: str) -> str:
    identifier = words.replace(" ", "-")
    return identifier if identifier in SPDX else "other"


def _architecture(manifest: Manifest) -> str:
    trees = ["gradient boosted trees"] if manifest.members else []
    return " and ".join([*trees, *dict.fromkeys(b for one in manifest.encoders.values() for b in one.backbones)])


def _framework(manifest: Manifest) -> dict[str, str]:
    """The libraries that trained the members; the runtime needs none of them."""
    libraries = sorted({member.library for member in manifest.members.values()})
    libraries += ["torch"] if manifest.encoders else []
    found = {"mlm:framework": " and ".join(FRAMEWORKS[library][0] for library in libraries)}
    versions = {
        training["versions"].get(FRAMEWORKS[library][1], "")
        for library in libraries
        for training in manifest.training.values()
    }
    if len(libraries) == 1 and len(versions) == 1 and _SEMVER.fullmatch(*versions):
        found["mlm:framework_version"] = versions.pop()
    return found


def _band(name: str) -> dict[str, Any]:
    band = BY_NAME[name]
    what = {"optical": "reflectance", "sar": "level", "sar_diff": "level after the event minus level before"}
    flight = f", {band.orbit}" if band.orbit else ""
    return {
        "name": name,
        "description": f"{band.sensor} {band.product_band}{flight}: {what[band.modality]}",
        "unit": "reflectance x 10,000 + 1,000" if band.unit == "DN" else band.unit,
        "data_type": "float32",
        "nodata": "nan",
    }


def _input(bands: tuple[str, ...], min_valid_fraction: float) -> dict[str, Any]:
    return {
        "name": "patch",
        "description": (
            f"Squares of {PATCH_SIZE_PX} x {PATCH_SIZE_PX} px of {PATCH_GSD_M:g} m in units of the bands, NaN where "
            "a band is not valid. A band that is not there is NaN throughout: the first of lsd:configurations answers "
            f"whose bands are all valid in at least {min_valid_fraction:g} of the pixels."
        ),
        "bands": list(bands),
        "input": {
            "shape": [-1, len(bands), PATCH_SIZE_PX, PATCH_SIZE_PX],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": None,
        "resize_type": None,
        "pre_processing_function": None,
    }


def _outputs() -> list[dict[str, Any]]:
    return [
        {
            "name": "probability",
            "description": "Calibrated probability of a landslide in the patch, 0..1; NaN where not scored.",
            "tasks": [TASK],
            "result": {"shape": [-1], "dim_order": ["batch"], "data_type": "float32"},
        },
        {
            "name": "decision",
            "description": (
                "slide: probability above the threshold of the configuration; look: above its look threshold; "
                "not scored: never a negative."
            ),
            "tasks": [TASK],
            "result": {"shape": [-1], "dim_order": ["batch"], "data_type": "uint8"},
            "classification:classes": [
                {"value": value, "name": text.replace(" ", "_"), "description": text}
                for value, text in DECISION_TEXT.items()
            ],
        },
    ]


def _assets(manifest: Manifest) -> Iterator[tuple[str, dict[str, Any]]]:
    yield (
        "manifest",
        {
            "href": f"./{MANIFEST_NAME}",
            "title": "Manifest: features, forests, calibration, thresholds, hash of every file",
            "type": "application/json",
            "roles": ["mlm:model", "metadata"],
            "mlm:artifact_type": "lsd.bundle",
        },
    )
    for key, member in manifest.members.items():
        title = f"Forest {key}, {member.trees} trees"
        # MLM wants bands in the properties, STAC 1.1 allows them there only where an asset has bands too
        bands = {"bands": [{"name": band} for band in manifest.feature_sets[member.feature_set].bands]}
        yield f"forest-{key}", {**_model(manifest, member.table, title, "mlm:weights", "lsd.forest"), **bands}
        for machine, path in member.compiled.items():
            yield (
                f"forest-{key}-{machine}",
                _model(manifest, path, f"{title}, compiled for {machine}", "mlm:compiled", "tl2cgen"),
            )
    for key, encoder in manifest.encoders.items():
        bands = {"bands": [{"name": band} for band in encoder.bands]}
        for precision, paths in encoder.graphs.items():
            for number, path in enumerate(paths):
                title = f"Network {key}, graph {number}, {precision}"
                model = _model(manifest, path, title, "mlm:compiled", "onnx")
                yield f"encoder-{key}-{number}-{precision}", {**model, **bands}
    for path, (key, title, media_type, roles) in _FILES.items():
        if path in manifest.files:
            yield (
                key,
                {"href": f"./{path}", "title": title, "type": media_type, "roles": roles, **_hash(manifest, path)},
            )


def _model(manifest: Manifest, path: str, title: str, role: str, artifact: str) -> dict[str, Any]:
    return {
        "href": f"./{path}",
        "title": title,
        "type": "application/octet-stream",
        "roles": ["mlm:model", role],
        "mlm:artifact_type": artifact,
        **_hash(manifest, path),
    }


def _hash(manifest: Manifest, path: str) -> dict[str, Any]:
    record = manifest.files.get(path)
    if record is None:
        return {}
    return {"file:size": record.size_bytes, "file:checksum": _SHA256_MULTIHASH + record.sha256}
