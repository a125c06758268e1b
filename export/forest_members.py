"""Forests of a run -> members of a bundle, with what the certificate checks them with."""

from __future__ import annotations

import platform

from lsd.export.certificate import Evidence
from lsd.export.compile_c import compiled_forests
from lsd.export.forest_from_treelite import forest_from_file, treelite_from_file
from lsd.runtime.forest.compiled import CompiledForest
from lsd.runtime.forest.table import ForestTable, forest_to_bytes
from lsd.runtime.manifest import Member
from lsd.train.run import Run, TrainedMember


def forest_key(run: Run, member: TrainedMember) -> str:
    """Id of a forest in the bundle."""
    return f"{run.configuration}-{member.id}"


def converted_forest(
    run: Run, member: TrainedMember, machines: tuple[str, ...]
) -> tuple[Member, dict[str, bytes], Evidence]:
    """The record of a forest, its files by their paths in the bundle, and its evidence.

    Args:
        machines: for which to add Treelite-compiled C.
    Raises:
        BundleError: it cannot be converted.
    """
    key = forest_key(run, member)
    forest: ForestTable = forest_from_file(member.model, member.library)
    model = treelite_from_file(member.model, member.library)
    table = f"forests/{key}.forest"
    files = {table: forest_to_bytes(forest)}
    compiled, probe = {}, None
    for machine, library in compiled_forests(model, machines).items() if machines else ():
        compiled[machine] = f"forests/{key}.{machine}.so"
        files[compiled[machine]] = library
        if machine == platform.machine():
            probe = CompiledForest(library, member.library, compiled[machine])
    record = Member(member.library, f"{run.configuration}-{member.feature_set}", table, forest.n_trees, compiled)
    features, rows = run.feature_sets[member.feature_set], run.rows[member.feature_set]
    return record, files, Evidence(member.library, member.model, features, model, forest, rows, probe)
