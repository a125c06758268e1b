"""lsd-train import-checkpoints: the weights that the paper's author saved, as a run folder."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from lsd.runtime.command import LsdCommand, options_from, set_verbosity, verbosity_options
from lsd.runtime.errors import ConfigurationError
from lsd.train.cli.encoder import check_libraries
from lsd.train.cli.forest import check_output


@dataclass(frozen=True)
class ImportOptions:
    """Everything that steers an import; keys of --config.

    recipe: of encoders, name or .json file; None finds it by the weights. prefix: what stands before
    `_Fold{k}_last.pt`. data_name, licence: of what the networks were trained on, for the model card.
    """

    recipe: str | None = None
    prefix: str | None = None
    folds: int = 5
    data_name: str = "not stated"
    licence: str = "not stated"
    synthetic: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.folds < 1:
            raise ConfigurationError(f"expected folds >= 1, found {self.folds}")


@click.command("import-checkpoints", cls=LsdCommand, context_settings={"max_content_width": 100})
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Run folder to make.")
@click.option("--recipe", help="Name of an encoder recipe, or a .json file.  [default: by the weights, if one fits]")
@click.option("--prefix", help="What stands before _Fold0_last.pt, where FOLDER holds several networks.")
@click.option("--folds", type=int, help="Number of folds that must be there.  [default: 5]")
@click.option("--data-name", help="What the networks were trained on, for the model card.")
@click.option("--licence", help="Licence of these data, for the model card.")
@click.option("--synthetic", is_flag=True, default=None, help="These data were made up: recorded, and said everywhere.")
@click.option("--overwrite", is_flag=True, default=None, help="Replace a run folder that is there already.")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file with these options; flags win.")
@click.option("--json", "as_json", is_flag=True, help="Print what was imported as JSON instead of text.")
@verbosity_options
def import_checkpoints(
    folder: Path, output: Path, config: Path | None, as_json: bool, verbose: int, quiet: int, **flags: Any
) -> None:
    """Make a run folder of the checkpoints NAME_Fold{k}_last.pt in FOLDER.

    Tensors are read and nothing else: a file that would have to run code is refused. Names and shapes must be those of
    the recipe's network. lsd-train evaluate and lsd-export then take the run like any other.
    """
    check_libraries()
    from lsd.runtime.commit import prepare_output, whole_folder
    from lsd.train import checkpoints
    from lsd.train.encoder_save import write_imported_run
    from lsd.train.encoders.recipe import read_encoder_recipe
    from lsd.train.run import RUN_NAME
    from lsd.train.save import json_bytes

    started_s = time.perf_counter()
    set_verbosity(verbose, quiet)
    options = options_from(ImportOptions, config, flags)
    check_output(output, options.overwrite)
    files = checkpoints.find_checkpoints(folder, options.prefix, options.folds)
    if options.recipe is None:
        recipe = checkpoints.recipe_of_checkpoint(files[0])
    else:
        recipe = read_encoder_recipe(options.recipe)
    scaling, states = checkpoints.import_checkpoints(files, recipe)
    data = {
        "name": options.data_name,
        "licence": options.licence,
        "synthetic": options.synthetic,
        "source": folder.resolve().name,
        "checkpoints": {file.name: _sha256(file) for file in files.values()},
    }
    prepare_output(output.resolve().parent)
    with whole_folder(output.resolve(), options.overwrite, RUN_NAME) as made:
        write_imported_run(made, recipe, scaling, states, data)
    parameters = sum(value.numel() for value in states[0].values())
    if as_json:
        click.echo(json_bytes({"recipe": recipe.name, **data, "options": asdict(options)}).decode(), nl=False)
    else:
        click.echo(
            f"recipe {recipe.name}: {len(files)} folds of {parameters:,} numbers, bands {', '.join(recipe.bands)}"
        )
        click.echo(f"run folder: {output}")
    click.echo(f"DONE | Runtime: {time.perf_counter() - started_s:.1f} s | {len(files)} checkpoints", err=True)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
