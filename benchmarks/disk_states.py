"""What a disk may hold after a power cut: only what was forced to it is sure.

fsync(2) of a file forces its data, fsync of a folder the names in it (fsync(2): "does not necessarily ensure that the
entry in the directory containing the file has also reached disk"). What was not forced may be there or not, in part and
in any order. Each model takes one such liberty everywhere at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, get_args

from lsd.benchmarks.write_log import Step

Model = Literal["killed", "only_forced", "names_without_data", "torn_data", "last_data_first", "last_name_first"]
MODELS: tuple[Model, ...] = get_args(Model)
MEANING: dict[Model, str] = {
    "killed": "everything before the cut is there (the process died, the machine did not)",
    "only_forced": "only what was forced: data as of the file's last fsync, names as of the folder's last fsync",
    "names_without_data": "all names; data that was not forced is not there",
    "torn_data": "all names; of a file's writes since its last fsync the last one is there by half",
    "last_data_first": "all names; of a file's writes since its last fsync only the last one is there",
    "last_name_first": "forced data; of a folder's changes since its last fsync only the last one is there",
}
_NOT_KEPT = "-shm"  # SQLite's index of its log: memory shared between processes, made anew at every first opening


class _File:
    def __init__(self, content: bytes = b"") -> None:
        self.shown, self.kept = bytearray(content), content
        self.since: list[Step] = []  # writes and resizes since the last forced write

    def change(self, step: Step) -> None:
        _apply(self.shown, step)
        self.since.append(step)

    def force(self) -> None:
        self.kept, self.since = bytes(self.shown), []

    def as_of(self, model: Model) -> bytes:
        if model == "killed":
            return bytes(self.shown)
        content = bytearray(self.kept)
        if self.since and model in ("torn_data", "last_data_first"):
            *before, last = self.since
            if model == "torn_data":
                for step in before:
                    _apply(content, step)
                if last.kind == "write":  # a file's length changes at once
                    last = replace(last, data=last.data[: len(last.data) // 2])
            _apply(content, last)
        return bytes(content)


class _Folder:
    def __init__(self) -> None:
        self.shown: dict[str, _Node] = {}
        self.kept: dict[str, _Node] = {}
        self.last: dict[str, _Node | None] = {}  # names of the last change since the folder was forced; None is removed

    def change(self, names: Mapping[str, _Node | None]) -> None:
        _rename(self.shown, names)
        self.last = dict(names)

    def force(self) -> None:
        self.kept, self.last = dict(self.shown), {}

    def as_of(self, model: Model) -> dict[str, _Node]:
        if model == "only_forced":
            return self.kept
        if model == "last_name_first":
            names = dict(self.kept)
            _rename(names, self.last)
            return names
        return self.shown


_Node = _File | _Folder


def _apply(content: bytearray, step: Step) -> None:
    if step.kind == "resize":
        del content[step.offset :]
        content.extend(bytes(step.offset - len(content)))
    else:
        content.extend(bytes(max(step.offset - len(content), 0)))
        content[step.offset : step.offset + len(step.data)] = step.data


def _rename(names: dict[str, _Node], changes: Mapping[str, _Node | None]) -> None:
    for name, node in changes.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """A folder and what of it is sure, step by step.

    Args:
        tree: what the folder holds at first, all of it forced: relative path -> content, None is a folder.
    """

    def __init__(self, tree: Mapping[str, bytes | None]) -> None:
        self._root = _Folder()
        for path, content in sorted(tree.items()):
            self._change_name(path, _Folder() if content is None else _File(content))
        _force_all(self._root)

    def apply(self, step: Step) -> None:
        """Take one more step of the log.

        Raises:
            KeyError: it does not fit what is there.
        """
        if step.kind in ("folder", "file"):
            if step.kind == "folder" or self._node(step.path, missing_ok=True) is None:
                self._change_name(step.path, _Folder() if step.kind == "folder" else _File())
        elif step.kind == "remove":
            self._node(step.path)
            self._change_name(step.path, None)
        elif step.kind == "move":
            (source, old), (target, new) = self._place(step.path), self._place(step.target)
            node = source.shown[old]
            if source is target:
                source.change({old: None, new: node})
            else:
                raise KeyError(f"{step.path} is moved to another folder: {step.target}")
        else:
            node = self._node(step.path) or _File()
            if step.kind == "force":
                node.force()
            elif isinstance(node, _File):
                node.change(step)

    def tree(self, model: Model) -> dict[str, bytes | None]:
        """What is there after a cut at this point, as `lsd.benchmarks.write_log.write_tree` writes it."""
        found: dict[str, bytes | None] = {}
        _collect(self._root, "", model, found)
        return found

    def _place(self, path: str) -> tuple[_Folder, str]:
        *above, name = path.split("/")
        folder = self._root
        for part in above:
            inner = folder.shown[part]
            if not isinstance(inner, _Folder):
                raise KeyError(f"{path}: {part} is a file")
            folder = inner
        return folder, name

    def _node(self, path: str, missing_ok: bool = False) -> _Node | None:
        if path == ".":
            return self._root
        folder, name = self._place(path)
        return folder.shown.get(name) if missing_ok else folder.shown[name]

    def _change_name(self, path: str, node: _Node | None) -> None:
        folder, name = self._place(path)
        folder.change({name: node})


def _force_all(folder: _Folder) -> None:
    folder.force()
    for node in folder.shown.values():
        if isinstance(node, _Folder):
            _force_all(node)


def _collect(folder: _Folder, above: str, model: Model, found: dict[str, bytes | None]) -> None:
    for name, node in folder.as_of(model).items():
        path = f"{above}{name}"
        if isinstance(node, _Folder):
            found[path] = None
            _collect(node, f"{path}/", model, found)
        elif not name.endswith(_NOT_KEPT):
            found[path] = node.as_of(model)
