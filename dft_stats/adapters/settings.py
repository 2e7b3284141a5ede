"""One configuration of the loss, flat, in three forms: keyword arguments, a dataclass for argument parsers, a YAML file.

`LossSettings` has the arguments of `DistributionLoss` by their own names; `LossArguments` is the same with `dist_` before each name, for a
parser or a file that has other settings beside these: `warmup_steps` is the trainer's too, and `temperature` that of `GRPOConfig`.
"""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from dft_stats.compiled import CompiledProfile
from dft_stats.loss import TERMS, DistributionLoss
from dft_stats.loss.discrepancy import CHOICES
from dft_stats.mixing import mix
from dft_stats.registry import load

PREFIX = "dist_"
"""Before each name of `LossArguments`."""


def _said(default: Any, text: str) -> Any:
    """A field with its text of help."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class LossSettings:
    """What a loss is made of, in simple types. Ranges are checked where the loss is made.

    Raises:
        TypeError: values of another type than their fields', all of them named.
        ValueError: no profile, or another number of shares than of profiles.
    """

    profile: list[str] | str = field(metadata={"help": "name or folder of a profile, or several"})
    shares: list[float] = field(default_factory=list, metadata={"help": "of the words, one for each profile; equal if there are none"})
    inexact: bool = _said(False, "compile for a tokenizer that joins words, too")
    weight: float = _said(0.1, "of the loss beside the trainer's own")
    token_frequency_weight: float = _said(1.0, "of this term; 0 measures without steering")
    ngram_frequency_weight: float = _said(1.0, "of this term")
    sentence_length_weight: float = _said(1.0, "of this term")
    punctuation_rhythm_weight: float = _said(1.0, "of this term")
    entropy_weight: float = _said(1.0, "of this term")
    token_frequency_discrepancy: str = _said("whitened", "or l2, jensen_shannon: the distance that this term follows")
    ngram_frequency_discrepancy: str = _said("whitened", "likewise")
    sentence_length_discrepancy: str = _said("whitened", "or cramer, wasserstein")
    punctuation_rhythm_discrepancy: str = _said("whitened", "or cramer, wasserstein")
    decay: float = _said(0.0, "of the running rates, per optimizer step; 0: those of the last step alone")
    dead_zone: float = _said(1.0, "standard errors, of 1,024 words at the most, up to which a rate is left alone")
    clip: float = _said(4.0, "standard errors beyond the dead zone that count at most")
    lead: float = _said(5.0, "steps, at the most, by which large steps take z ahead on its trend, against swings; 0: as it is")
    dual_rate: float = _said(0.0, "growth per optimizer step, at the most, of the dual variables; 0 for a penalty alone")
    dual_limit: float = _said(20.0, "most that a dual variable may be")
    warmup_steps: int = _said(0, "optimizer steps over which the loss rises to its full strength")
    every: int = _said(1, "the loss acts in every so-manieth optimizer step")
    exclude: list[int] = field(default_factory=list, metadata={"help": "token ids that are measured and never steered"})
    temperature: float = _said(1.0, "of the sampling that the statistics are meant for")
    top_p: float = _said(1.0, "of the same sampling")
    ignore_index: int = _said(-100, "label of positions that are not counted")
    accumulation_steps: int = _said(1, "training forwards in an optimizer step, 0 to call `step`; `attach` sees to it itself")

    def __post_init__(self) -> None:
        """Check the types and put them right: one name is a list of one, 1 is 1.0."""
        faults = []
        for name, kind in get_type_hints(type(self)).items():
            try:
                object.__setattr__(self, name, _taken(getattr(self, name), kind))
            except ValueError:
                faults.append(f"`{name}` is {_described(kind)}, not {getattr(self, name)!r}")
        if faults:
            raise TypeError("; ".join(faults))
        if not self.profile:
            raise ValueError("`profile` names none; give at least one, such as `profile: news`")
        if self.shares and len(self.shares) != len(self.profile):
            raise ValueError(f"`shares` has {len(self.shares)} numbers for {len(self.profile)} of `profile`; give one for each, or none")

    @classmethod
    def read(cls, path: str | Path) -> "LossSettings":
        """Settings from a YAML, JSON or TOML file, by its suffix. Folders of profiles in it are as seen from the working directory.

        Raises:
            ImportError: YAML, and there is no PyYAML.
            ValueError: the file cannot be parsed, or its content is wrong: see `of`.
        """
        path = Path(path)
        return cls.of(_parsed(path), where=str(path))

    @classmethod
    def of(cls, values: Any, *, where: str = "settings") -> "LossSettings":
        """Settings from a mapping, such as a block of a trainer's own configuration.

        Args:
            values: by name of the field.
            where: they come from, for errors.

        Raises:
            ValueError: it is no mapping; names are unknown, `profile` is missing, values are of wrong types. All that is wrong is named.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"{where} holds {type(values).__name__}, not names and values, such as `profile: news`")
        names = [known.name for known in fields(cls)]
        faults = [_unknown(name, names) for name in values if name not in names]
        faults += [] if "profile" in values else ["`profile` is missing, such as `profile: news`"]
        try:
            found = cls(**{"profile": "", **{name: value for name, value in values.items() if name in names}})
        except (TypeError, ValueError) as error:
            faults.append(str(error))
        if faults:
            raise ValueError(f"{where}: {'; '.join(faults)}")
        return found

    def compile(self, tokenizer: Any) -> CompiledProfile:
        """The profile, or the mixture of several, as arrays for a tokenizer; errors as of `load`, `Profile.compile` and `mix`."""
        compiled = [load(name).compile(tokenizer, inexact=self.inexact) for name in self.profile]
        return compiled[0] if len(compiled) == 1 else mix(compiled, self.shares or [1.0] * len(compiled))

    def loss(self, tokenizer: Any) -> DistributionLoss:
        """The loss for a tokenizer; errors as of `compile` and `DistributionLoss`. `weight` is left to who adds it.

        Raises:
            ValueError: besides, a weight that would push away from the profile.
        """
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"`weight` is a number from 0 up, not {self.weight}: one below 0 would push away from the profile")
        terms = {f"{term}_weight": term for term in TERMS}
        distances = {f"{term}_discrepancy": term for term, names in CHOICES.items() if len(names) > 1}
        others = {"profile", "shares", "inexact", "weight", *terms, *distances}
        options = {known.name: getattr(self, known.name) for known in fields(self) if known.name not in others}
        by_term: dict[str, Any] = {
            "weights": {term: getattr(self, name) for name, term in terms.items()},
            "discrepancies": {term: getattr(self, name) for name, term in distances.items()},
        }
        return DistributionLoss(self.compile(tokenizer), **by_term, **options)


def _settings(arguments: Any) -> LossSettings:
    """The `LossSettings` that these arguments say; errors as there."""
    return LossSettings(**{known.name: getattr(arguments, PREFIX + known.name) for known in fields(LossSettings)})


def _prefixed(known: Any) -> tuple[str, Any, Any]:
    default = {"default": known.default} if known.default_factory is MISSING else {"default_factory": known.default_factory}
    return PREFIX + known.name, known.type, field(**default, metadata=known.metadata)


LossArguments: Any = make_dataclass(
    "LossArguments",
    map(_prefixed, fields(LossSettings)),
    frozen=True,
    namespace={"__module__": __name__, "__doc__": "`LossSettings` with `dist_` before each name.", "settings": _settings},
)
"""`LossSettings` with `dist_` before each name; `.settings()` gives them."""


def _taken(value: Any, kind: Any) -> Any:
    """A value as this type. Text is a number where it looks like one: to PyYAML 1e-3 is text.

    Raises:
        ValueError: it is another type.
    """
    if kind == list[str] | str:
        return _taken([value] if isinstance(value, str) else value, list[str])
    if get_origin(kind) is list and isinstance(value, list | tuple):
        return [_taken(item, get_args(kind)[0]) for item in value]
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        if math.isnan(number := float(value)):
            raise ValueError
        return number
    if type(value) is not kind:
        raise ValueError
    return value


def _described(kind: Any) -> str:
    words = {str: "text", float: "a number", int: "a whole number", bool: "true or false", list[float]: "a list of numbers"}
    return {**words, list[int]: "a list of whole numbers"}.get(kind, "the name of a profile, or a list of them")


def _unknown(name: Any, names: list[str]) -> str:
    close = get_close_matches(str(name), names, n=1, cutoff=0.0)
    return f"there is no `{name}`; the nearest is `{close[0]}`"


def _parsed(path: Path) -> Any:
    text, suffix = path.read_text(encoding="utf-8"), path.suffix.lower()
    if suffix not in (".yaml", ".yml", ".json", ".toml"):
        raise ValueError(f"{path} is no .yaml, .yml, .json or .toml file, and settings are read from one of these")
    parse, wrong = (
        _yaml() if suffix in (".yaml", ".yml") else (json.loads, ValueError) if suffix == ".json" else (tomllib.loads, ValueError)
    )
    try:
        return parse(text)
    except wrong as error:
        raise ValueError(f"{path} is no valid {suffix[1:].upper()}: {error}") from error


def _yaml() -> tuple[Any, type[Exception]]:
    try:
        import yaml
    except ImportError as error:
        raise ImportError("settings in YAML need PyYAML: pip install pyyaml (transformers brings it), or write JSON or TOML") from error
    return yaml.safe_load, yaml.YAMLError
