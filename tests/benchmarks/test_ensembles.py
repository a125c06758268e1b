"""The measurement of ensembles runs on made-up members; only what is known of them is asserted."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from out_of_fold import evidence, write_external, write_run

from lsd.benchmarks import ensembles


def test_every_subset_with_the_network_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(ensembles, "SEEDS", (1, 2))
    p, labels, _ = evidence(300)
    runs = [write_run(tmp_path / "forest", p[:, 0], labels), write_run(tmp_path / "noise", p[:, 2], labels)]
    network = write_external(tmp_path / "net.csv", p[:, 1], labels)
    words = [*map(str, runs), "--network", str(network), "-o", str(tmp_path / "out.json")]
    done = CliRunner().invoke(ensembles.main, words)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out.json").read_text())["ensembles"]
    assert list(result) == ["forest+network", "noise+network", "forest+noise+network"]
    assert len(done.stdout.splitlines()) == 3 and "could go: noise" in done.stdout.splitlines()[2]
    three = result["forest+noise+network"]
    assert three["pruning"]["steps"][1]["removed"] == "noise"
    assert three["seeds"]["chosen, pruned"]["unasked"] == ["noise"] and three["seeds"]["mean"]["unasked"] == []
    seeds = three["seeds"]["chosen"]
    assert seeds["by_seed"]["f1"]["1"] == pytest.approx(three["ways"]["ensemble"]["nested"]["f1"]["value"])
    assert seeds["mean"]["f1"] == pytest.approx(sum(seeds["by_seed"]["f1"].values()) / 2)
