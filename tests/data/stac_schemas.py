"""Validates STAC documents offline: the core by the schemas within pystac, extensions by a folder of schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

# `proj:projjson` and `proj:geometry` are not written, so anything does for what they refer to
STAND_INS = ("https://proj.org/schemas/v0.7/projjson.schema.json",)
DRAFT_7 = "http://json-schema.org/draft-07/schema"


def validate(document: Mapping[str, Any], schemas: Path) -> list[str]:
    """Check a document against the core and every extension that it names; skips where pystac is not installed.

    Returns:
        the schemas that it was checked against.
    Raises:
        STACValidationError: it does not fit one of them.
        LookupError: an extension has no schema in the folder; nothing is fetched.
    """
    pystac = pytest.importorskip("pystac", reason="pystac is not installed (extra dev)")
    pytest.importorskip("jsonschema", reason="jsonschema is not installed (extra dev)")
    from pystac.validation.stac_validator import JsonSchemaSTACValidator

    class Offline(JsonSchemaSTACValidator):
        def _get_schema(self, schema_uri: str) -> dict[str, Any]:
            if schema_uri not in self.schema_cache:
                raise LookupError(f"no schema {schema_uri} in {schemas}")
            return self.schema_cache[schema_uri]

    validator = Offline()
    for path in schemas.glob("*.json"):
        schema = json.loads(path.read_text(encoding="utf-8"))
        validator.schema_cache[schema["$id"].removesuffix("#")] = schema
    for uri in STAND_INS:
        validator.schema_cache[uri] = {"$schema": f"{DRAFT_7}#", "$id": uri}
    kind = pystac.STACObjectType.ITEM if document["type"] == "Feature" else pystac.STACObjectType.COLLECTION
    checked: list[str] = validator.validate(dict(document), kind, document["stac_version"], document["stac_extensions"])
    return checked
