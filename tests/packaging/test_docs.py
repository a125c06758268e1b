"""Docs that can go stale are compared with the code."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path

import click
import pytest

from lsd.runtime import errors

PROJECT = Path(__file__).resolve().parents[2]
COMMANDS = runpy.run_path(str(PROJECT / "docs" / "commands.py"))
EVERY = COMMANDS["every_command"]()


def test_the_reference_page_is_what_help_says():
    assert (PROJECT / "docs" / "commands.md").read_text() == COMMANDS["page"](), "run make docs"


@pytest.mark.parametrize(("name", "command"), EVERY, ids=[name for name, _ in EVERY])
def test_every_option_has_help_and_every_command_stands_in_the_readme(name, command):
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name}"
    assert command.help
    assert name in (PROJECT / "README.md").read_text()


def test_every_error_class_is_explained():
    page = (PROJECT / "docs" / "errors.md").read_text()
    classes = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.LsdError) and kind is not errors.LsdError
    }
    assert set(re.findall(r"^## (\w+)", page, re.MULTILINE)) == set(classes)
    for name, kind in classes.items():
        section = page.split(f"## {name}\n")[1].split("\n## ")[0]
        assert f"Exit code {kind.exit_code}" in section, name
        assert "How to fix" in section, name


def test_makefile_targets_named_in_the_readme_exist():
    makefile = (PROJECT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z0-9-]+)`", (PROJECT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
