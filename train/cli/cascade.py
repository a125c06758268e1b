"""lsd-train cascade: which patches a forest may answer alone, chosen from out-of-fold predictions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lsd.runtime.command import LsdCommand, options_from, progress_option, set_verbosity, verbosity_options
from lsd.runtime.errors import ConfigurationError, GateError
from lsd.train.cli.forest import check_libraries

POLICIES = ("certified", "by-point", "exit-75", "exit-85", "exit-90")


@dataclass(frozen=True)
class CascadeOptions:
    """Everything that steers the choice of exits; keys of --config.

    first: id of the forest in the ensemble. policy: what the exits must do. forest_us, encoder_us: measured
    microseconds a patch of the forest asked first and of everything else, both or none.
    """

    first: str | None = None
    policy: str = "certified"
    forest_us: float | None = None
    encoder_us: float | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ConfigurationError(f"policy must be one of {', '.join(POLICIES)}, is {self.policy!r}")
        given = [one for one in (self.forest_us, self.encoder_us) if one is not None]
        if len(given) == 1 or any(not 0 < one < 1e12 for one in given):
            raise ConfigurationError(
                f"forest_us and encoder_us must both be given and above 0, found {self.forest_us} and {self.encoder_us}"
            )


@click.command(cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--first", metavar="NAME", help="Forest of the ensemble to ask first.  [default: the only one]")
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    help="certified: at most .1 % label changes and .3 % of the found slides lost, by upper bounds; by-point: by what "
    "was seen; exit-N: N % of the patches leave.  [default: certified]",
)
@click.option("--forest-us", type=float, help="Measured microseconds a patch of that forest.  [default: unknown]")
@click.option(
    "--encoder-us", type=float, help="Measured microseconds a patch of all other members.  [default: unknown]"
)
@click.option("--overwrite", is_flag=True, default=None, help="Replace a cascade that was chosen before.")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file with these options; flags win.")
@click.option("--json", "as_json", is_flag=True, help="Print cascade.json instead of the report.")
@progress_option
@verbosity_options
def cascade(
    run: Path, config: Path | None, as_json: bool, progress: Any, verbose: int, quiet: int, **flags: Any
) -> None:
    """Choose the exits of the ensemble in RUN: patches that its forest answers alone, networks unasked.

    From out-of-fold predictions, nested by fold, by K-fold and with whole regions left out. Leaves cascade.json and
    cascade.md in RUN; lsd-export build carries the exits into the bundle. Bounds are in-distribution. Exit code 3: no
    exits meet the policy; the files are there all the same, and the bundle will have none.
    """
    from lsd.runtime.progress import Mode, Progress
    from lsd.train.cascade.choose import STEPS, choose
    from lsd.train.cascade.inputs import read_inputs
    from lsd.train.cascade.judged import Costs
    from lsd.train.cascade.run import CASCADE_NAME, refuse_to_replace, save_cascade
    from lsd.train.cascade.text import text_of
    from lsd.train.save import json_bytes

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    check_libraries()
    options = options_from(CascadeOptions, config, flags)
    refuse_to_replace(run, options.overwrite)
    costs = None
    if options.forest_us is not None and options.encoder_us is not None:
        costs = Costs(options.forest_us, options.encoder_us)
    inputs = read_inputs(run, options.first)
    mode: Mode = progress if quiet == 0 else "off"
    with Progress(mode, STEPS) as shown:
        chosen = choose(inputs, options.policy, costs, lambda: shown.advance(1, "shares measured"))
    save_cascade(run, chosen.report)
    click.echo(json_bytes(chosen.report).decode() if as_json else text_of(chosen.report), nl=False)
    if chosen.exit is None:
        raise GateError(
            f"{run}: no exits meet policy {options.policy!r}; see {CASCADE_NAME}, or choose another --policy"
        )
    runtime_s = time.perf_counter() - started_s
    click.echo(f"DONE | Runtime: {runtime_s:.1f} s | {len(inputs.views[0])} samples", err=True)
