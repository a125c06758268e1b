"""Training runs -> one bundle with a certificate. A gate that is not met leaves no bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lsd.export.card import model_card
from lsd.export.certificate import Evidence, certificate_bytes, certify
from lsd.export.encoder_gate import Gate, certify_encoders
from lsd.export.encoder_members import EncoderEvidence, GraphOptions, converted_encoder, encoder_key
from lsd.export.forest_members import converted_forest, forest_key
from lsd.export.golden import golden_outputs, golden_patches
from lsd.export.sources import Source, Trained, sources_of
from lsd.export.stac_model import STAC_NAME, stac_bytes
from lsd.export.write import bundle_in_memory, sealed
from lsd.runtime import __version__
from lsd.runtime.bundle import CERTIFICATE_NAME, GOLDEN_NAME, Bundle
from lsd.runtime.chain import Chain
from lsd.runtime.errors import UsageError
from lsd.runtime.features.sets import FeatureSet
from lsd.runtime.manifest import MIN_VALID_FRACTION, Configuration, EncoderMember, Manifest, Member, Part
from lsd.runtime.npz import npz_bytes
from lsd.runtime.parity import StageResult, require
from lsd.train.encoder_run import EncoderRun

CARD_NAME = "MODEL_CARD.md"
CALIBRATION_PATCHES = 64  # of usual ground, beside the hard ones


@dataclass(frozen=True)
class BundleText:
    """What a person says about the bundle."""

    name: str
    description: str
    licence: str


@dataclass(frozen=True)
class _Converter:
    """How members are made."""

    machines: tuple[str, ...]
    graphs: GraphOptions
    gate: Gate
    say: Callable[[str], object]


@dataclass
class _Collected:
    """Members so far, each once although several configurations may ask it."""

    forests: dict[str, Member] = field(default_factory=dict)
    encoders: dict[str, EncoderMember] = field(default_factory=dict)
    feature_sets: dict[str, FeatureSet] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    encoder_evidence: dict[str, EncoderEvidence] = field(default_factory=dict)
    origin: dict[str, Path] = field(default_factory=dict)


def bundle_from_runs(
    runs: Sequence[Path],
    text: BundleText,
    machines: tuple[str, ...] = (),
    graphs: GraphOptions | None = None,
    gate: Gate | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[Bundle, list[StageResult]]:
    """Convert, certify and seal.

    Args:
        runs: folders of lsd-train, in order of preference: the first configuration whose bands are valid answers.
        machines: for which to add Treelite-compiled C (`x86_64`, `aarch64`); none by default.
        graphs: how networks become graphs. gate: what they are checked on.
        say: told what is being done.
    Returns:
        the bundle, not yet written, and what the gate measured.
    Raises:
        RunFolderError: a folder is no run that can be exported.
        UsageError: two configurations or members have the same name, one would never answer, or one knows other units.
        BundleError, RecipeError: a member cannot be converted. GateError: parity is not met.
    """
    sources = [source for run in runs for source in sources_of(run)]
    _check(sources)
    for source in sources:
        if source.exit_dropped is not None:
            say(f"{source.path}: no early exits: {source.exit_dropped}")
    collected = _Collected()
    converter = _Converter(machines, graphs or GraphOptions(), gate or Gate(), say)
    parts = {source.name: _parts(source, collected, converter) for source in sources}
    manifest = _manifest(sources, parts, text, collected)
    chain = Chain(bundle_in_memory(manifest, collected.contents))
    say(f"certifying {len(collected.forests)} forests and {len(collected.encoders)} networks")
    exits = {source.name: source.exit for source in sources if source.exit is not None}
    results = certify(chain, collected.evidence, collected.encoder_evidence, exits)
    results += certify_encoders(chain, collected.encoder_evidence, converter.gate, say)
    require(results, text.name)
    contents = collected.contents
    contents[GOLDEN_NAME] = npz_bytes(golden_outputs(chain, collected.encoder_evidence))
    contents[CERTIFICATE_NAME] = certificate_bytes(
        results, collected.evidence, collected.encoder_evidence, converter.gate.checked if collected.encoders else 0
    )
    contents[CARD_NAME] = model_card(manifest).encode()
    contents[STAC_NAME] = stac_bytes(sealed(manifest, contents))
    return bundle_in_memory(manifest, contents), results


def _check(sources: Sequence[Source]) -> None:
    for source in sources:
        if source.units != "canonical":
            raise UsageError(
                f"{source.path}: trained on {source.units} units, but lsd-run reads DN and dB; train on patches in "
                "these"
            )
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two runs are configuration {name!r}; train one of them with another --name")
    for i, source in enumerate(sources):
        for later in sources[i + 1 :]:
            if set(source.bands) <= set(later.bands):
                raise UsageError(
                    f"configuration {source.name!r} stands before {later.name!r} and would always "
                    "answer in its place, since its bands are among those; give the runs in order of preference, "
                    "those of more bands first"
                )


def _parts(source: Source, collected: _Collected, how: _Converter) -> tuple[Part, ...]:
    """The parts of a configuration; members that are not collected yet are converted."""
    found = []
    for part in source.parts:
        run = part.run
        if isinstance(run, EncoderRun):
            _collect_encoder(run, collected, how)
            found.append(Part(part.id, (encoder_key(run),), (1.0,)))
            continue
        for member in run.members:
            key = forest_key(run, member)
            if not _is_new(key, run, collected):
                continue
            how.say(f"converting {key}: {member.rounds} trees of {member.library}")
            collected.forests[key], files, collected.evidence[key] = converted_forest(run, member, how.machines)
            collected.contents |= files
        collected.feature_sets |= {f"{run.configuration}-{name}": one for name, one in run.feature_sets.items()}
        found.append(Part(part.id, tuple(forest_key(run, member) for member in run.members), run.weights))
    return tuple(found)


def _collect_encoder(run: EncoderRun, collected: _Collected, how: _Converter) -> None:
    key = encoder_key(run)
    if _is_new(key, run, collected):
        _, hard = golden_patches([run.scaling])
        ordinary = how.gate.ordinary(CALIBRATION_PATCHES)
        collected.encoders[key], files, collected.encoder_evidence[key] = converted_encoder(
            run, how.graphs, np.concatenate([hard, ordinary]), ordinary, how.say
        )
        collected.contents |= files


def _is_new(key: str, run: Trained, collected: _Collected) -> bool:
    """Whether a member is met for the first time; two runs must not give members of one name."""
    path = run.path.resolve()
    other = collected.origin.setdefault(key, path)
    if other != path:
        raise UsageError(f"{other} and {path} both hold a member {key!r}; rename one folder, or train it with --name")
    return key not in collected.forests and key not in collected.encoders


def _manifest(
    sources: Sequence[Source], parts: dict[str, tuple[Part, ...]], text: BundleText, collected: _Collected
) -> Manifest:
    configurations = tuple(
        Configuration(
            name=source.name,
            bands=source.bands,
            parts=parts[source.name],
            combination=source.combination,
            calibration=source.calibration,
            threshold=source.threshold,
            look_threshold=source.look_threshold,
            prevalence=source.prevalence,
            metrics=source.metrics,
            exit=source.exit,
        )
        for source in sources
    )
    return Manifest(
        name=text.name,
        description=text.description,
        licence=text.licence,
        synthetic=any(source.synthetic for source in sources),
        lsd_version=__version__,
        min_valid_fraction=MIN_VALID_FRACTION,
        feature_sets=collected.feature_sets,
        members=collected.forests,
        encoders=collected.encoders,
        configurations=configurations,
        training={source.name: source.training for source in sources},
        files={},
    )
