"""Training runs -> one bundle with a certificate. A gate that is not met leaves no bundle."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lsd.export.card import model_card
from lsd.export.certificate import Evidence, certificate_bytes, certify
from lsd.export.compile_c import compiled_forests
from lsd.export.forest_from_treelite import forest_from_file, treelite_from_file
from lsd.export.golden import golden_outputs
from lsd.export.stac_model import STAC_NAME, stac_bytes
from lsd.export.write import bundle_in_memory, sealed
from lsd.runtime import __version__
from lsd.runtime.bundle import CERTIFICATE_NAME, GOLDEN_NAME, Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.errors import UsageError
from lsd.runtime.forest.compiled import CompiledForest
from lsd.runtime.forest.table import ForestTable, forest_to_bytes
from lsd.runtime.manifest import MIN_VALID_FRACTION, Configuration, Manifest, Member
from lsd.runtime.npz import npz_bytes
from lsd.runtime.parity import StageResult, require
from lsd.train.run import Run, TrainedMember

CARD_NAME = "MODEL_CARD.md"


@dataclass(frozen=True)
class BundleText:
    """What a person says about the bundle."""

    name: str
    description: str
    licence: str


def bundle_from_runs(
    runs: Sequence[Run],
    text: BundleText,
    machines: tuple[str, ...] = (),
    say: Callable[[str], object] = lambda line: None,
) -> tuple[Bundle, list[StageResult]]:
    """Convert, certify and seal.

    Args:
        runs: one a configuration, in order of preference: the first whose bands are valid answers a patch.
        machines: for which to add Treelite-compiled C (`x86_64`, `aarch64`); none by default.
        say: told what is being done.
    Returns:
        the bundle, not yet written, and what the gate measured.
    Raises:
        UsageError: two runs have the same name, one would never answer, or one knows other units.
        BundleError: a forest cannot be converted. GateError: parity is not met.
    """
    _check(runs)
    members: dict[str, Member] = {}
    contents: dict[str, bytes] = {}
    evidence: dict[str, Evidence] = {}
    for run in runs:
        for member in run.members:
            key = f"{run.configuration}-{member.id}"
            say(f"converting {key}: {member.rounds} trees of {member.library}")
            members[key], files, evidence[key] = _converted(run, member, key, machines)
            contents |= files
    manifest = _manifest(runs, text, members)
    chain = Chain(bundle_in_memory(manifest, contents))
    say(f"certifying {len(members)} forests")
    results = certify(chain, evidence)
    require(results, text.name)
    contents[GOLDEN_NAME] = npz_bytes(golden_outputs(chain))
    contents[CERTIFICATE_NAME] = certificate_bytes(results, evidence)
    contents[CARD_NAME] = model_card(manifest).encode()
    contents[STAC_NAME] = stac_bytes(sealed(manifest, contents))
    return bundle_in_memory(manifest, contents), results


def _check(runs: Sequence[Run]) -> None:
    for run in runs:
        units = run.document["data"].get("units", "canonical")
        if units != "canonical":
            raise UsageError(
                f"{run.path}: trained on {units} units, but lsd-run reads DN and dB; train on patches in these"
            )
    names = [run.configuration for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two runs are configuration {name!r}; train one of them with another --name")
    for i, run in enumerate(runs):
        for later in runs[i + 1 :]:
            if set(run.bands) <= set(later.bands):
                raise UsageError(
                    f"configuration {run.configuration!r} stands before {later.configuration!r} and would always "
                    "answer in its place, since its bands are among those; give the runs in order of preference, "
                    "those of more bands first"
                )


def _converted(
    run: Run, member: TrainedMember, key: str, machines: tuple[str, ...]
) -> tuple[Member, dict[str, bytes], Evidence]:
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
    proof = Evidence(member.library, member.model, features, model, forest, rows, probe)
    return record, files, proof


def _manifest(runs: Sequence[Run], text: BundleText, members: dict[str, Member]) -> Manifest:
    configurations = tuple(
        Configuration(
            name=run.configuration,
            bands=run.bands,
            members=tuple(f"{run.configuration}-{member.id}" for member in run.members),
            weights=run.weights,
            calibration=run.calibration,
            threshold=run.threshold,
            look_threshold=run.look_threshold,
            prevalence=run.prevalence,
            metrics=run.document["metrics"],
        )
        for run in runs
    )
    kept = ("recipe", "data", "folds", "versions")
    training: dict[str, Any] = {run.configuration: {key: run.document[key] for key in kept} for run in runs}
    return Manifest(
        name=text.name,
        description=text.description,
        licence=text.licence,
        synthetic=any(bool(run.document["data"]["synthetic"]) for run in runs),
        lsd_version=__version__,
        min_valid_fraction=MIN_VALID_FRACTION,
        feature_sets={f"{run.configuration}-{name}": one for run in runs for name, one in run.feature_sets.items()},
        members=members,
        configurations=configurations,
        training=training,
        files={},
    )
