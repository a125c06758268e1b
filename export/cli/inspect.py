"""lsd-export inspect: what a bundle holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lsd.runtime.command import LsdCommand

if TYPE_CHECKING:
    from lsd.runtime.manifest import Manifest


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Check the hashes of BUNDLE and print what it holds."""
    from lsd.runtime.bundle import open_bundle

    opened = open_bundle(bundle)
    manifest = opened.manifest
    if as_json:
        click.echo(json.dumps({**manifest.to_json(), "sha256": opened.sha256}, indent=1))
        return
    lines = [
        f"{manifest.name}: {manifest.description}",
        f"licence {manifest.licence}; written by lsd-edge {manifest.lsd_version}; SHA-256 {opened.sha256}",
        "SYNTHETIC: trained on made-up data" if manifest.synthetic else "trained on real data",
    ]
    for configuration in manifest.configurations:
        f1 = configuration.metrics.get("nested", {}).get("all", {}).get("f1")
        measured = f", F1 {f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f})" if f1 else ""
        lines.append(f"configuration {configuration.name}: {', '.join(configuration.bands)}")
        lines.append(f"  p > {configuration.threshold:.4f}, calibration {configuration.calibration.method}{measured}")
        for part, share in zip(configuration.parts, configuration.combination.weights, strict=True):
            lines.append(f"  part {part.name}, weight {share:.3g}, combined by {configuration.combination.method}")
            for member, weight in zip(part.members, part.weights, strict=True):
                lines.append(f"    {member}: weight {weight:.3g}, {_member(manifest, member)}")
    lines += [f"{record.size_bytes:>10}  {record.sha256[:16]}  {name}" for name, record in manifest.files.items()]
    click.echo("\n".join(lines))


def _member(manifest: Manifest, key: str) -> str:
    """A forest or an encoder in one line."""
    if key in manifest.encoders:
        encoder = manifest.encoders[key]
        return (
            f"{' + '.join(encoder.backbones)}, {encoder.parameters:,} parameters, {len(encoder.graphs['fp32'])} "
            f"graph(s), at {', '.join(encoder.graphs)}"
        )
    record = manifest.members[key]
    one = manifest.feature_sets[record.feature_set]
    compiled = f"; compiled for {', '.join(record.compiled)}" if record.compiled else ""
    return (
        f"{record.trees} trees of {record.library}, features {one.name} v{one.version} ({len(one.features)}, "
        f"{one.definition_sha256[:12]}){compiled}"
    )
