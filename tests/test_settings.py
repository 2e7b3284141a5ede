"""One configuration in three forms: the same settings, the same loss; what is wrong is named; no default differs from the loss's own."""

import inspect
import json
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import HfArgumentParser, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments

import dft_stats
from dft_stats.adapters.settings import PREFIX, LossArguments, LossSettings
from dft_stats.adapters.transformers import DistributionLossCallback, attach
from dft_stats.compiling import compile_profile
from dft_stats.errors import ProfileNotFound
from dft_stats.loss import TERMS, DistributionLoss
from dft_stats.loss.discrepancy import CHOICES
from dft_stats.mixing import mix
from tests.profiles import profile_of
from tests.prose import documents
from tests.tokenizers_for_tests import gpt2_like

OTHERS: dict[str, Any] = {
    "profile": ["news", "fiction"], "shares": [3.0, 1.0], "inexact": True, "weight": 0.25, "token_frequency_weight": 2.0,
    "ngram_frequency_weight": 0.5, "sentence_length_weight": 3.0, "punctuation_rhythm_weight": 0.25, "entropy_weight": 0.0, "decay": 0.5,
    "token_frequency_discrepancy": "l2", "ngram_frequency_discrepancy": "jensen_shannon", "sentence_length_discrepancy": "cramer",
    "punctuation_rhythm_discrepancy": "wasserstein",
    "dead_zone": 2.0, "clip": 3.0, "lead": 4.0, "dual_rate": 0.125, "dual_limit": 10.0, "warmup_steps": 7, "every": 2, "exclude": [3, 5],
    "temperature": 0.75, "top_p": 0.875, "ignore_index": -1, "accumulation_steps": 4,
}  # fmt: skip
"""Every setting at another value than its default."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=gpt2_like(), eos_token="<|endoftext|>", pad_token="<|endoftext|>")


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("settings")
    return [profile_of(documents(n), folder / f"p{n}", name=f"p{n}").path.as_posix() for n in (30, 60)]


pytestmark = pytest.mark.usefixtures("own_cache")


def flags(values: dict[str, Any], prefix: str = "") -> list[str]:
    words = ((name, value if isinstance(value, list) else [value]) for name, value in values.items())
    return [word for name, given in words for word in (f"--{prefix}{name}", *map(str, given))]


# --- no drift


def defaults(function: Any) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(function).parameters.items() if p.default is not inspect.Parameter.empty}


def test_the_fields_are_the_arguments_of_the_loss_with_its_defaults() -> None:
    found = asdict(LossSettings("news"))
    assert {f.name for f in fields(LossSettings)} == set(found) == set(OTHERS)
    assert found.pop("profile") == ["news"]
    assert (found.pop("shares"), found.pop("weight")) == ([], 0.1)
    assert found.pop("inexact") is defaults(compile_profile)["inexact"] is defaults(dft_stats.Profile.compile)["inexact"]
    assert {found.pop(f"{term}_weight") for term in TERMS} == {1.0}
    assert {found.pop(f"{term}_discrepancy") for term, names in CHOICES.items() if len(names) > 1} == {"whitened"}
    wanted = defaults(DistributionLoss.__init__)
    assert (wanted.pop("weights"), wanted.pop("discrepancies")) == (None, None)  # which is 1.0 and "whitened" for each
    assert found == {name: list(value) if isinstance(value, tuple) else value for name, value in wanted.items()}
    assert {name: type(value) for name, value in found.items()} == {
        name: list if isinstance(value, tuple) else type(value) for name, value in wanted.items()
    }


def test_the_weight_is_that_of_a_loss_without_settings(tokenizer: Any, profiles: list[str], tmp_path: Path) -> None:
    of_loss, of_settings = (trainer(tmp_path, tokenizer) for _ in range(2))
    attach(of_loss, LossSettings(profiles[0]).loss(tokenizer))
    attach(of_settings, LossSettings(profiles[0]))
    assert callback(of_loss).weight == callback(of_settings).weight == LossSettings("news").weight


def test_every_setting_reaches_the_loss(tokenizer: Any, profiles: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "dft_stats.adapters.settings.DistributionLoss", lambda compiled, **options: seen.append({"of": compiled, **options})
    )
    settings = LossSettings(**{**OTHERS, "profile": profiles, "inexact": False})
    settings.loss(tokenizer)
    (options,) = seen
    parts = [dft_stats.load(path).compile(tokenizer) for path in profiles]
    assert options.pop("of").profile_sha256 == mix(parts, [3, 1]).profile_sha256
    assert options.pop("weights") == {term: OTHERS[f"{term}_weight"] for term in TERMS}
    distances = {term: OTHERS[f"{term}_discrepancy"] for term in TERMS if term != "entropy"}
    assert options.pop("discrepancies") == distances
    assert set(options) == set(defaults(DistributionLoss.__init__)) - {"weights", "discrepancies"}
    assert all(options[name] == OTHERS[name] for name in options)


# --- three forms


@pytest.mark.parametrize("values", [{"profile": ["news"]}, OTHERS], ids=["defaults", "others"])
def test_the_forms_give_equal_settings(values: dict[str, Any], tmp_path: Path) -> None:
    wanted = LossSettings(**values)
    toml = "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
    for suffix, text in (("yaml", yaml.safe_dump(values)), ("yml", yaml.safe_dump(values)), ("json", json.dumps(values)), ("toml", toml)):
        (tmp_path / f"loss.{suffix}").write_text(text)
        assert LossSettings.read(tmp_path / f"loss.{suffix}") == wanted, suffix
    assert LossSettings.of(values) == LossSettings.of(asdict(wanted)) == wanted
    assert HfArgumentParser(LossSettings).parse_args_into_dataclasses(flags(values)) == (wanted,)
    assert HfArgumentParser(LossArguments).parse_args_into_dataclasses(flags(values, PREFIX))[0].settings() == wanted
    assert replace(wanted, weight=1) == LossSettings(**{**values, "weight": 1.0})


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # of TRL, about what it sets itself
def test_arguments_stand_beside_those_of_trainers(tmp_path: Path) -> None:
    from trl import GRPOConfig, ModelConfig, RLOOConfig, SFTConfig, TrlParser

    for kind in (TrainingArguments, SFTConfig, GRPOConfig, RLOOConfig):
        assert not {f.name for f in fields(kind)} & {f.name for f in fields(LossArguments)}
    file = tmp_path / "all.yaml"
    common = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False}
    file.write_text(yaml.safe_dump({**common, "warmup_steps": 3, "dist_profile": "news", "dist_warmup_steps": 5, "dist_decay": 0.5}))
    arguments, _, ours = TrlParser((SFTConfig, ModelConfig, LossArguments)).parse_args_and_config(
        ["--config", str(file), "--dist_every", "2"]
    )
    assert arguments.warmup_steps == 3
    assert ours.settings() == LossSettings("news", warmup_steps=5, decay=0.5, every=2)


def test_a_number_is_a_number_however_it_is_written() -> None:
    assert yaml.safe_load("1e-3") == "1e-3"  # YAML 1.1 wants a point, and a sign in the exponent
    assert LossSettings.of(yaml.safe_load("{profile: news, weight: 1e-3, clip: 4, shares: [1]}")) == LossSettings(
        ["news"], weight=0.001, clip=4.0, shares=[1.0]
    )


# --- what is wrong


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profile: news\nwieght: 0.1", "there is no `wieght`; the nearest is `weight`"),
        ("profile: news\ndeadzone: 1", "there is no `deadzone`; the nearest is `dead_zone`"),
        ("profile: news\n7: 1", "there is no `7`"),
        ("weight: 0.1", "`profile` is missing"),
        ("profile: []", "`profile` names none"),
        ("profile: 3", "`profile` is the name of a profile, or a list of them, not 3"),
        ("profile: [news, 3]", "`profile` is the name of a profile, or a list of them"),
        ("profile: news\ndecay: high", "`decay` is a number, not 'high'"),
        ("profile: news\ndecay: true", "`decay` is a number, not True"),
        ("profile: news\nweight:", "`weight` is a number, not None"),
        ("profile: news\nevery: 2.0", "`every` is a whole number, not 2.0"),
        ("profile: news\nevery: true", "`every` is a whole number, not True"),
        ("profile: news\nexclude: 3", "`exclude` is a list of whole numbers, not 3"),
        ("profile: news\nshares: [a]", "`shares` is a list of numbers"),
        ("profile: news\ninexact: 1", "`inexact` is true or false, not 1"),
        ("profile: [news, fiction]\nshares: [1.0]", "`shares` has 1 numbers for 2 of `profile`"),
        ("- profile", "holds list, not names and values"),
        ("", "holds NoneType"),
        ("profile: [news", "is no valid YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "loss.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"loss\.yaml") as caught:
        LossSettings.read(path)
    assert message in str(caught.value)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"run\.yaml: there is no `wieght`.*`profile` is missing.*`decay` is a number.*`every` is a whole"):
        LossSettings.of({"wieght": 1, "decay": "high", "every": "often"}, where="run.yaml")
    with pytest.raises(TypeError, match=r"`decay` is a number, not 'high'; `every` is a whole number"):
        LossSettings("news", decay="high", every=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("loss.json", "{", ValueError, r"loss\.json is no valid JSON"),
        ("loss.toml", "=", ValueError, r"loss\.toml is no valid TOML"),
        ("loss.ini", "", ValueError, r"loss\.ini is no \.yaml, \.yml, \.json or \.toml file"),
        ("loss.yaml", None, FileNotFoundError, r"loss\.yaml"),
    ],
)
def test_other_files(name: str, text: str | None, error: type[Exception], message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        LossSettings.read(tmp_path / name)


def test_ranges_and_names_are_checked_where_the_loss_is_made(tokenizer: Any, profiles: list[str]) -> None:
    with pytest.raises(ValueError, match="decay is at least 0 and less than 1"):
        LossSettings(profiles[0], decay=1.0).loss(tokenizer)
    with pytest.raises(ValueError, match="shares are more than 0"):
        LossSettings(profiles, shares=[1, 0]).loss(tokenizer)
    with pytest.raises(ProfileNotFound, match="did you mean 'news'"):
        LossSettings("newss").loss(tokenizer)


def test_without_pyyaml_the_command_is_named(tmp_path: Path) -> None:
    (tmp_path / "loss.yaml").write_text("profile: news")
    (tmp_path / "loss.json").write_text('{"profile": "news"}')
    program = "import sys\nsys.modules['yaml'] = None\nfrom dft_stats.adapters.settings import LossSettings\n" + "\n".join(
        f"print(LossSettings.read({str(tmp_path / 'loss')!r} + '.{suffix}').weight)" for suffix in ("json", "yaml")
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "0.1\n"
    assert "pip install pyyaml" in done.stderr


# --- the loss


def test_the_loss_is_that_of_its_profile_or_their_mixture(tokenizer: Any, profiles: list[str]) -> None:
    parts = [dft_stats.load(path).compile(tokenizer) for path in profiles]
    cases = [
        (LossSettings(profiles[0]), parts[0]),
        (LossSettings(profiles[0], shares=[2.0]), parts[0]),
        (LossSettings(profiles, shares=[3, 1]), mix(parts, [3, 1])),
        (LossSettings(profiles), mix(parts, [1, 1])),
    ]
    for settings, compiled in cases:
        wanted = DistributionLoss(compiled).state_dict()
        found = settings.loss(tokenizer).state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], value) for name, value in wanted.items() if isinstance(value, torch.Tensor))
        assert settings.loss(tokenizer).identity == DistributionLoss(compiled).identity


def trainer(folder: Path, tokenizer: Any, **named: Any) -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=700, **sizes))
    arguments = TrainingArguments(output_dir=str(folder), report_to=[], use_cpu=True)
    return Trainer(model=model, args=arguments, processing_class=tokenizer, **named)


def callback(made: Any) -> DistributionLossCallback:
    (found,) = (c for c in made.callback_handler.callbacks if isinstance(c, DistributionLossCallback))
    return found


def test_attach_takes_settings_and_the_tokenizer_of_the_trainer(tokenizer: Any, profiles: list[str], tmp_path: Path) -> None:
    settings = LossSettings(profiles[0], weight=0.25, decay=0.5, accumulation_steps=3)
    made = callback(attach(trainer(tmp_path, tokenizer), settings))
    assert made.weight == 0.25
    assert made.loss.decay == 0.5
    assert made.loss.accumulation_steps == 0  # the optimizer step closes it
    assert made.loss.identity == settings.loss(tokenizer).identity
    assert callback(attach(trainer(tmp_path, tokenizer), settings, weight=0.0)).weight == 0.0
    with pytest.raises(ValueError, match="`processing_class`"):
        attach(trainer(tmp_path, None), settings)


def test_a_weight_that_is_no_number() -> None:
    with pytest.raises(TypeError, match="`weight` is a number, not nan"):
        LossSettings(profile=["news"], weight=float("nan"))
