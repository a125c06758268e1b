"""The folder in which a run is trained: beside the run folder until all is done, so that a killed run can go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lsd.runtime.commit import write_bytes
from lsd.runtime.errors import RunFolderError
from lsd.train.save import json_bytes

IDENTITY_NAME = "begun.json"


def workplace_of(output: Path) -> Path:
    """`runs/mine` is trained in `runs/mine.training`."""
    final = output.resolve()
    return final.with_name(f"{final.name}.training")


def begin(folder: Path, identity: dict[str, Any], restart: bool) -> bool:
    """Make the folder, or find the one of a run that was stopped; returns True if it goes on.

    Args:
        identity: everything that decides the result: a run only goes on with the same.
        restart: throw away what is there.
    Raises:
        RunFolderError: the run that was stopped had other options or data, or its folder is no such one.
    """
    file = folder / IDENTITY_NAME
    wanted = json.loads(json_bytes(identity))
    if folder.exists() and not file.is_file() and any(folder.iterdir()):
        raise RunFolderError(
            f"{folder} is there already and is no training that was stopped; remove it or choose another -o"
        )
    if restart and folder.exists():
        shutil.rmtree(folder)
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        differing = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
        if differing:
            raise RunFolderError(
                f"{folder} holds a training that was stopped, of other {', '.join(differing)}; give the same options "
                "to go on with it, or --restart to throw it away"
            )
        return True
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(file, json_bytes(identity))
    return False
