"""Recipes of networks: which backbone sees which channels, how they are joined and fitted. Data, one JSON file each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from lsd.runtime.bands import PATCH_SIZE_PX
from lsd.runtime.errors import RecipeError
from lsd.runtime.nearest import did_you_mean
from lsd.train.encoders.channel_names import bands_of_channels, channels_of, channels_within
from lsd.train.fitting.settings import Fitting
from lsd.train.groups import bands_of_groups

HEADS = {"single": 1, "two": 2, "three-a": 3, "three-c": 3}  # head -> number of encoders that it joins (METHOD, heads)
STEMS = ("resize", "folded")
SCALINGS = ("standard", "robust")
CONSTANTS = ("paper", "data")
INDEX_ORDERS = ("stored", "scaled")
GALILEO = "galileo-nano"
# arguments of timm.create_model that are this package's business, or that fetch or open files
RESERVED_ARGUMENTS = (
    "cache_dir", "checkpoint_path", "exportable", "features_only", "in_chans", "no_jit", "num_classes", "pretrained",
    "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "scriptable",
)  # fmt: skip


@dataclass(frozen=True)
class EncoderSettings:
    """One encoder. backbone: a name of timm, or `galileo-nano`. channels: names, in the order of `CHANNEL_NAMES`.

    arguments: of the backbone's constructor, by its own names.
    """

    backbone: str
    channels: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkSettings:
    """Encoders and the head that joins them.

    features: that every encoder gives to the head (a single encoder gives the logit). input_px: side to which the 64 px
    patch is resized, bilinearly; 64 is not at all. stem: `resize` does so; `folded` has the resize folded into the
    patch embedding, which then sees the raw patch (lsd.train.encoders.stem).
    """

    encoders: tuple[EncoderSettings, ...]
    head: str
    features: int = 256
    input_px: int = 256
    stem: str = "resize"


@dataclass(frozen=True)
class ScalingSettings:
    """kind: `standard` is (x - mean) / std, `robust` (x - q50) / (q95 - q05). constants: of the paper or the data."""

    kind: str
    constants: str


@dataclass(frozen=True)
class EncoderRecipe:
    """A network and how it is fitted.

    indices: computed from the `stored` DN, or from `scaled` bands as in the paper.
    """

    name: str
    description: str
    network: NetworkSettings
    scaling: ScalingSettings
    indices: str = "stored"
    fitting: Fitting = field(default_factory=Fitting)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of all channels that any encoder sees, in the order of `CHANNEL_NAMES`."""
        return channels_of((name for one in self.network.encoders for name in one.channels), self.name)

    @property
    def bands(self) -> tuple[str, ...]:
        """Canonical names of the bands that the channels need: the input of the network, in canonical order."""
        return bands_of_channels(self.channels)

    def for_bands(self, bands: Iterable[str]) -> EncoderRecipe:
        """The recipe with the channels that these bands allow.

        Subsets of its modality dropout that would leave none or all of the remaining bands are taken out.

        Raises:
            RecipeError: an encoder would be left without channels.
        """
        have = tuple(bands)
        kept = [replace(one, channels=channels_within(one.channels, have)) for one in self.network.encoders]
        for before, after in zip(self.network.encoders, kept, strict=True):
            if not after.channels:
                raise RecipeError(
                    f"recipe {self.name!r}: the encoder of {', '.join(before.channels)} has no channel left with the "
                    f"bands {', '.join(have)}; give more bands or a recipe with fewer encoders"
                )
        fewer = replace(self, network=replace(self.network, encoders=tuple(kept)))
        left = set(fewer.bands)
        dropout = {
            groups: probability
            for groups, probability in self.fitting.modality_dropout.items()
            if left.intersection(bands_of_groups(groups)) and left.difference(bands_of_groups(groups))
        }
        return replace(fewer, fitting=replace(self.fitting, modality_dropout=dropout))

    def to_json(self) -> dict[str, Any]:
        """The resolved recipe, for the run folder; `encoder_recipe_of` reads it again."""
        return {**asdict(replace(self, fitting=Fitting())), "fitting": self.fitting.to_json()}


def known_encoder_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("lsd.train").joinpath("recipes/encoders")
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def read_encoder_recipe(name: str) -> EncoderRecipe:
    """A recipe that comes with the package, by name, or one's own, by the path of a .json file.

    Raises:
        RecipeError: unknown name, unreadable file, unknown or missing keys, values out of range.
    """
    if name.endswith(".json"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{name}: cannot be read ({error}); expected JSON in UTF-8") from error
    elif name in known_encoder_recipes():
        text = resources.files("lsd.train").joinpath(f"recipes/encoders/{name}.json").read_text(encoding="utf-8")
    else:
        known = known_encoder_recipes()
        raise RecipeError(
            f"unknown encoder recipe {name!r}{did_you_mean(name, known)} (known: {', '.join(known)}; or a .json file)"
        )
    try:
        stored = json.loads(text)
    except ValueError as error:
        raise RecipeError(f"{name}: is not JSON ({error})") from error
    return encoder_recipe_of(stored, name)


def encoder_recipe_of(stored: Any, where: str) -> EncoderRecipe:
    """The recipe of a JSON object.

    Raises:
        RecipeError: unknown or missing keys, values out of range; the message begins with `where`.
    """
    values = _object(stored, EncoderRecipe, where)
    for key in ("name", "description"):
        if not isinstance(values[key], str):
            raise RecipeError(f"{where}: {key} must be text, is {values[key]!r}")
    scaling = ScalingSettings(**_object(values["scaling"], ScalingSettings, f"{where}: scaling"))
    _one_of(scaling.kind, SCALINGS, f"{where}: scaling: kind")
    _one_of(scaling.constants, CONSTANTS, f"{where}: scaling: constants")
    _one_of(values.get("indices", "stored"), INDEX_ORDERS, f"{where}: indices")
    network = _network(values["network"], f"{where}: network")
    fitting = _fitting(values.get("fitting", {}), where)
    return EncoderRecipe(**{**values, "network": network, "scaling": scaling, "fitting": fitting})


def _fitting(stored: Any, where: str) -> Fitting:
    if not isinstance(stored, dict):
        raise RecipeError(f"{where}: fitting must be an object, is {stored!r}")
    try:
        return Fitting.from_json(stored)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _network(stored: Any, where: str) -> NetworkSettings:
    values = _object(stored, NetworkSettings, where)
    if not isinstance(values["encoders"], (list, tuple)):
        raise RecipeError(f"{where}: encoders must be a list, is {values['encoders']!r}")
    encoders = tuple(_encoder(one, f"{where}: encoder {i}") for i, one in enumerate(values["encoders"], start=1))
    network = NetworkSettings(**{**values, "encoders": encoders})
    _one_of(network.head, HEADS, f"{where}: head")
    _one_of(network.stem, STEMS, f"{where}: stem")
    for key, least in (("features", 1), ("input_px", 32)):
        value = getattr(network, key)
        if type(value) is not int or value < least:
            raise RecipeError(f"{where}: {key} must be a whole number >= {least}, is {value!r}")
    if len(encoders) != HEADS[network.head]:
        raise RecipeError(
            f"{where}: the head {network.head!r} joins {HEADS[network.head]} encoder(s), found {len(encoders)}"
        )
    if network.stem == "folded" and (network.input_px % PATCH_SIZE_PX or network.input_px == PATCH_SIZE_PX):
        raise RecipeError(
            f"{where}: a folded stem needs an input_px of 2, 3, ... x {PATCH_SIZE_PX}, is {network.input_px}"
        )
    if network.input_px != PATCH_SIZE_PX and any(one.backbone == GALILEO for one in encoders):
        raise RecipeError(f"{where}: {GALILEO} takes the raw patch: input_px must be 64, is {network.input_px}")
    return network


def _encoder(stored: Any, where: str) -> EncoderSettings:
    values = {"arguments": {}, **_object(stored, EncoderSettings, where)}
    backbone, channels, arguments = values["backbone"], values["channels"], values["arguments"]
    if not isinstance(backbone, str) or not re.fullmatch(r"\w[\w.-]*", backbone):
        raise RecipeError(f"{where}: backbone must be a name of timm's list, or {GALILEO}, is {backbone!r}")
    if not isinstance(channels, (list, tuple)) or not channels or not all(isinstance(one, str) for one in channels):
        raise RecipeError(f"{where}: channels must be a list of at least one name, is {channels!r}")
    if not isinstance(arguments, dict):
        raise RecipeError(f"{where}: arguments must be an object, is {arguments!r}")
    for key in arguments:
        if key in RESERVED_ARGUMENTS or not key.isidentifier():
            raise RecipeError(f"{where}: argument {key!r} cannot be set by a recipe")
    return EncoderSettings(backbone, channels_of(channels, where), arguments)


def _object(stored: Any, kind: type, where: str) -> dict[str, Any]:
    """`stored`, if it is an object with the fields of a dataclass for keys."""
    if not isinstance(stored, dict):
        raise RecipeError(f"{where}: expected a JSON object, found {type(stored).__name__}")
    known = {one.name: one for one in fields(kind)}
    for key in sorted(set(stored) - set(known)):
        raise RecipeError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}")
    for key, one in known.items():
        if key not in stored and one.default is MISSING and one.default_factory is MISSING:
            raise RecipeError(f"{where}: lacks the key {key!r}")
    return stored


def _one_of(value: Any, known: Iterable[str], where: str) -> None:
    if value not in tuple(known):
        raise RecipeError(f"{where} {value!r} is none of {', '.join(known)}")
