"""The files that `lsd-train cascade` adds to the run folder of an ensemble, and the exit that is read from them.

cascade.json   the chosen exit, the named policies and the whole ladder, with the SHA-256 of the run.json it is about
cascade.md     the same to read
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lsd.runtime.calibration import Calibration
from lsd.runtime.commit import write_bytes, writing
from lsd.runtime.errors import LsdError, OutputError, RunFolderError
from lsd.runtime.exits import Exit
from lsd.train.cascade.choose import SCHEMA_VERSION
from lsd.train.cascade.text import text_of
from lsd.train.run import RUN_NAME
from lsd.train.samples import sha256_of
from lsd.train.save import json_bytes

CASCADE_NAME, TEXT_NAME = "cascade.json", "cascade.md"


def refuse_to_replace(run: Path, overwrite: bool) -> None:
    """Raise OutputError where a cascade is there already and must stay."""
    if (run / CASCADE_NAME).exists() and not overwrite:
        raise OutputError(f"{run / CASCADE_NAME} is there already; give --overwrite to replace it")


def save_cascade(run: Path, report: dict[str, Any]) -> None:
    """Write both files, each whole or not at all.

    Raises:
        OutputError: the run folder cannot be written.
    """
    for name, content in ((TEXT_NAME, text_of(report).encode()), (CASCADE_NAME, json_bytes(report))):
        partial = run / f".{name}.partial"
        write_bytes(partial, content)
        with writing(run / name):
            partial.replace(run / name)


def exit_of_run(run: Path) -> tuple[Exit | None, str | None]:
    """The exit of an ensemble's run, and why there is none although a cascade was chosen.

    An exit is about one ensemble only: members, weights and thresholds. If run.json is another one since, the exit is
    dropped.

    Raises:
        RunFolderError: cascade.json cannot be read.
    """
    file = run / CASCADE_NAME
    if not file.is_file():
        return None, None
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["kind"] != "cascade" or document["schema_version"] != SCHEMA_VERSION:
            raise RunFolderError(
                f"{file}: expected kind 'cascade' and schema version {SCHEMA_VERSION}, found {document['kind']!r} and "
                f"{document['schema_version']!r}; lsd-train cascade makes one"
            )
        stored = document["exit"]
        if document["ensemble_run_sha256"] != sha256_of(run / RUN_NAME):
            return None, "the ensemble is another one since its exits were chosen; run lsd-train cascade again"
        if stored is None:
            return None, f"no exits meet policy {document['policy']!r}"
        return Exit(**{**stored, "calibration": Calibration.from_json(stored["calibration"])}), None
    except LsdError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise RunFolderError(
            f"{file}: incomplete ({type(error).__name__}: {error}); run lsd-train cascade --overwrite"
        ) from error
