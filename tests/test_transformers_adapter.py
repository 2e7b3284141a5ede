"""The adapter for the Hugging Face Trainer: the same gradient however a step is cut, nothing else changed, nothing forgotten."""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.modeling_outputs import CausalLMOutputWithPast

from dft_stats.adapters.transformers import NAMES, STATE_FILE, attach, document_starts
from dft_stats.compiled import CompiledProfile
from dft_stats.errors import VocabularyMismatch
from dft_stats.loss import DistributionLoss, LogitsMissing
from tests.profiles import profile_of
from tests.prose import PARAGRAPHS, documents
from tests.tokenizers_for_tests import gpt2_like, llama3_like

pytestmark = pytest.mark.usefixtures("one_thread")
LENGTH = 48
PAD = 0


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=gpt2_like(), eos_token="<|endoftext|>", pad_token="<|endoftext|>")


@pytest.fixture(scope="module")
def compiled(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> CompiledProfile:
    found = profile_of(documents(60), tmp_path_factory.mktemp("adapter") / "profile").compile(tokenizer)
    # Ages at which no sentence of so small a corpus ends have no noise to measure by.
    return replace(found, at_risk=np.where(found.hazard > 0, found.at_risk, 0))


@pytest.fixture(scope="module")
def texts(tokenizer: Any) -> list[list[int]]:
    return [tokenizer(text)["input_ids"] for text in documents(40)]


@pytest.fixture(scope="module")
def rows(texts: list[list[int]]) -> list[list[int]]:
    """Rows of one length, so that means of micro-batches are the mean of the batch."""
    return [ids[:LENGTH] for ids in texts if len(ids) >= LENGTH]


def model(layers: int = 2, size: int = 700) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=size, num_hidden_layers=layers, max_position_embeddings=512, **sizes)
    made = LlamaForCausalLM(config)
    with torch.no_grad():
        made.lm_head.weight.mul_(8)  # far from uniform, so that the witness moves
    return made


def collate(examples: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Padded on the right; prompts are ignored by the labels."""
    longest = max(len(example["input_ids"]) for example in examples)
    ids = torch.full((len(examples), longest), PAD)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, example in enumerate(examples):
        tokens = torch.tensor(example["input_ids"])
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        labels[row, example.get("prompt", 0) : len(tokens)] = tokens[example.get("prompt", 0) :]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class Recorder(TrainerCallback):
    """Gradients of every optimizer step, and the logs as a reporter sees them."""

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []
        self.logs: list[dict[str, float]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.gradients.append(gradient(model))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.logs.append(dict(logs))


def gradient(module: Any) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).clone()


def weights(module: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def trainer(folder: Path, data: list[list[int]], *, prompt: int = 0, module: Any = None, kind: Any = Trainer, **settings: Any) -> Any:
    """A trainer, its batches in `.batches` and its `Recorder` in `.recorder`."""
    batches: list[dict[str, Tensor]] = []
    recorder = Recorder()

    def keep(examples: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        batches.append(collate(examples))
        return {name: tensor.clone() for name, tensor in batches[-1].items()}

    named = {name: settings.pop(name) for name in ("compute_loss_func", "callbacks", "eval_dataset") if name in settings}
    arguments = {
        "output_dir": str(folder), "report_to": [], "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1,
        "max_grad_norm": 0.0, "remove_unused_columns": False, "max_steps": 2, "learning_rate": 0.0, "per_device_train_batch_size": 4,
        "seed": 7, "lr_scheduler_type": "constant",
    }  # fmt: skip
    made = kind(
        model=model() if module is None else module,
        args=TrainingArguments(**{**arguments, **settings}),
        train_dataset=[{"input_ids": ids, "prompt": prompt} for ids in data],
        data_collator=keep,
        **{**named, "callbacks": [recorder, *named.get("callbacks", [])]},
    )
    made.batches, made.recorder = batches, recorder
    return made


def by_hand(compiled: CompiledProfile, batches: list[dict[str, Tensor]], weight: float) -> Tensor:
    """Gradient of the second of two steps of one batch each, without any trainer: cross entropy and the loss."""
    module, loss = model(), DistributionLoss(compiled)
    for batch in batches:
        module.zero_grad()
        logits = module(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        entropy = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
        starts = (batch["attention_mask"] == 0) | (batch["attention_mask"].cumsum(1) == 1)
        own, _ = loss(logits, batch["labels"], input_ids=batch["input_ids"], document_starts=starts)
        (entropy + weight * own).backward()
    return gradient(module)


def joined(batches: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """The micro-batches of two steps as two batches."""
    examples = [
        {"input_ids": ids[mask == 1].tolist(), "prompt": int((labels != -100).long().argmax())}
        for batch in batches
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True)
    ]
    return [collate(examples[: len(examples) // 2]), collate(examples[len(examples) // 2 :])]


@pytest.mark.parametrize(("batch", "accumulation"), [(4, 1), (2, 2), (1, 4)])
@pytest.mark.parametrize("prompt", [0, 11])
def test_the_gradient_is_the_same_however_a_step_is_cut(
    batch: int, accumulation: int, prompt: int, compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path
) -> None:
    data = [ids[: 30 + 7 * i] for i, ids in enumerate(texts[:8])]  # unequal, so padded
    made = trainer(tmp_path, data, prompt=prompt, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation)
    attach(made, DistributionLoss(compiled), weight=0.7).train()
    expected = by_hand(compiled, joined(made.batches), 0.7)
    assert (expected - by_hand(compiled, joined(made.batches), 0.0)).norm() > 0.1 * expected.norm()
    torch.testing.assert_close(made.recorder.gradients[1], expected, rtol=2e-4, atol=2e-6 * float(expected.abs().max()))


def one_of_two(rank: int, folder: Path, compiled: CompiledProfile, data: list[list[int]]) -> None:
    """A process of the test below."""
    torch.set_num_threads(1)
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"})
    loss, held_out = DistributionLoss(compiled), [{"input_ids": ids} for ids in data[:4]]
    made = trainer(folder, data, prompt=5, per_device_train_batch_size=2, ddp_backend="gloo", eval_dataset=held_out)
    attach(made, loss, weight=0.7).train()
    batches = list(made.batches)
    found = {"gradient": made.recorder.gradients[1], "batches": batches, "logs": made.state.log_history, "metrics": made.evaluate()}
    torch.save({**found, "state": loss.state_dict()}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_gradient_of_one(
    compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    data = [ids[: 30 + 7 * i] for i, ids in enumerate(texts[:8])]
    torch.multiprocessing.spawn(one_of_two, (tmp_path, compiled, data), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first["state"][name], value) for name, value in second["state"].items() if isinstance(value, Tensor))
    assert int(first["state"]["commits"]) == 2
    batches = joined([batch for pair in zip(first["batches"], second["batches"], strict=True) for batch in pair])
    expected = by_hand(compiled, batches, 0.7)
    for found in (first, second):
        torch.testing.assert_close(found["gradient"], expected, rtol=2e-4, atol=2e-6 * float(expected.abs().max()))
    assert [first["logs"][1][name] for name in NAMES] == [second["logs"][1][name] for name in NAMES]
    assert [first["metrics"][f"eval_{name}"] for name in NAMES] == [second["metrics"][f"eval_{name}"] for name in NAMES]


def doubled(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    return 2 * ForCausalLMLoss(outputs["logits"], labels, vocab_size=700, num_items_in_batch=num_items_in_batch)


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "number of items": ({}, {}),
    "a loss function of the user": ({"compute_loss_func": doubled}, {}),
    "label smoothing": ({"label_smoothing_factor": 0.1}, {}),
    "means of micro-batches": ({}, {"model_accepts_loss_kwargs": False}),
    "means, said to be scaled": ({}, {"model_accepts_loss_kwargs": False, "loss_is_scaled_for_ga": True}),
    "number of items, said to be unscaled": ({}, {"loss_is_scaled_for_ga": False}),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_loss_counts_once_whatever_the_trainer_does_to_its_own(
    way: str, compiled: CompiledProfile, rows: list[list[int]], tmp_path: Path
) -> None:
    settings, attributes = WAYS[way]

    def second_gradient(weight: float) -> tuple[Tensor, list[dict[str, Tensor]]]:
        made = trainer(tmp_path, rows[:8], per_device_train_batch_size=2, gradient_accumulation_steps=2, **settings)
        vars(made).update(attributes)
        attach(made, DistributionLoss(compiled), weight=weight).train()
        return made.recorder.gradients[1], joined(made.batches)

    (steered, batches), (plain, _) = second_gradient(0.7), second_gradient(0.0)
    expected = by_hand(compiled, batches, 0.7) - by_hand(compiled, batches, 0.0)
    torch.testing.assert_close(steered - plain, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("settings", [{}, {"compute_loss_func": doubled}], ids=["the model's loss", "the user's loss"])
def test_weight_0_changes_no_bit(settings: dict[str, Any], compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path) -> None:
    common = {"learning_rate": 1e-3, "max_steps": 4, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2, **settings}
    plain, watched = trainer(tmp_path, texts, **common), trainer(tmp_path, texts, **common)
    attach(watched, DistributionLoss(compiled), weight=0.0)
    plain.train(), watched.train()
    assert torch.equal(weights(plain.model), weights(watched.model))
    assert not torch.equal(weights(plain.model), weights(model()))
    losses = [[log["loss"] for log in made.state.log_history if "loss" in log] for made in (plain, watched)]
    assert losses[0] == losses[1]
    assert set(NAMES) <= set(watched.state.log_history[0])


def test_every_optimizer_step_closes_one_of_the_loss_also_the_short_one_of_an_epoch(
    compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path
) -> None:
    loss = DistributionLoss(compiled, accumulation_steps=3, decay=0.9)
    settings = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "max_steps": -1, "num_train_epochs": 2}
    made = attach(trainer(tmp_path, texts[:5], **settings), loss)
    made.train()
    assert loss.accumulation_steps == 0
    assert made.state.global_step == int(loss.commits) == 6
    assert int(loss.forwards) == 0
    assert float(loss.pending_words) == 0


def test_components_are_logged_as_means_over_steps_and_reporters_see_them(
    compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path
) -> None:
    logs = []
    for every in (1, 3):
        made = trainer(tmp_path, texts, logging_steps=every, max_steps=6, learning_rate=1e-3, gradient_accumulation_steps=2)
        attach(made, DistributionLoss(compiled), weight=0.5).train()
        seen = [log for log in made.recorder.logs if "loss" in log]
        assert [{name: log[name] for name in NAMES} for log in made.state.log_history if "loss" in log] == [
            {name: log[name] for name in NAMES} for log in seen
        ]
        assert not any(name in log for log in made.recorder.logs if "loss" not in log for name in NAMES)
        logs.append(seen)
    single, means = logs
    assert len(single) == 6
    assert len(means) == 2
    for name in NAMES:
        for number, mean in enumerate(means):
            assert mean[name] == pytest.approx(sum(log[name] for log in single[3 * number : 3 * number + 3]) / 3, rel=1e-4, abs=1e-5)


def test_the_logged_loss_is_what_was_added(compiled: CompiledProfile, rows: list[list[int]], tmp_path: Path) -> None:
    """At the second step weights are the same in both runs, for the learning rate is 0."""
    logs = {}
    for weight in (0.0, 0.5):
        made = trainer(tmp_path, rows, per_device_train_batch_size=2, gradient_accumulation_steps=2)
        attach(made, DistributionLoss(compiled), weight=weight).train()
        logs[weight] = made.recorder.logs[1]
    assert abs(logs[0.5]["dist/loss"]) > 0.01
    assert logs[0.5]["loss"] - logs[0.0]["loss"] == pytest.approx(0.5 * logs[0.5]["dist/loss"], abs=1e-4)
    assert logs[0.5]["dist/loss"] == pytest.approx(logs[0.0]["dist/loss"], rel=1e-5)


def test_evaluation_touches_nothing_and_is_logged(compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path) -> None:
    held_out = [{"input_ids": ids} for ids in texts[20:28]]
    plain = trainer(tmp_path, texts, eval_dataset=held_out, per_device_eval_batch_size=8)
    made = trainer(tmp_path, texts, eval_dataset={"news": held_out}, per_device_eval_batch_size=8)
    loss = DistributionLoss(compiled)
    attach(made, loss, weight=0.5).train()
    before = {name: buffer.clone() for name, buffer in loss.named_buffers()}
    metrics = made.evaluate()
    assert all(torch.equal(before[name], buffer) for name, buffer in loss.named_buffers())
    assert metrics["eval_news_loss"] == plain.evaluate()["eval_loss"]
    assert {f"eval_news_{name}" for name in NAMES} <= set(metrics)
    assert metrics.items() <= made.state.log_history[-1].items()

    batch = collate(held_out)
    with torch.no_grad():
        logits = made.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        _, alone = loss(logits, batch["labels"], input_ids=batch["input_ids"], document_starts=document_starts(batch))
    assert {name: metrics[f"eval_news_{name}"] for name in NAMES} == pytest.approx({name: float(alone[name]) for name in NAMES}, rel=1e-4)
    made.compute_loss(made.model, dict(batch))  # by hand, with gradients
    assert all(torch.equal(before[name], buffer) for name, buffer in loss.named_buffers())
    assert f"test_{NAMES[0]}" in made.predict(held_out, metric_key_prefix="test").metrics


def test_training_with_evaluation_between_is_the_same(compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path) -> None:
    ends = []
    for settings in ({}, {"eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True}):
        made = trainer(tmp_path, texts, eval_dataset=[{"input_ids": texts[0]}], learning_rate=1e-3, max_steps=3, **settings)
        attach(made, DistributionLoss(compiled), weight=0.5).train()
        ends.append(weights(made.model))
    assert torch.equal(*ends)


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            control.should_training_stop = True


RESUMED = {"learning_rate": 1e-3, "max_steps": 6, "save_strategy": "steps", "save_steps": 3, "gradient_accumulation_steps": 2}


@pytest.fixture(scope="module")
def interrupted(compiled: CompiledProfile, texts: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped after three of six steps."""
    folder = tmp_path_factory.mktemp("interrupted")
    attach(trainer(folder, texts, callbacks=[StopAt(3)], **RESUMED), DistributionLoss(compiled, decay=0.9), weight=0.5).train()
    return folder


@pytest.mark.parametrize("moved", [False, True])
def test_a_resumed_run_gives_the_numbers_of_an_uninterrupted_one(
    moved: bool, interrupted: Path, compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path
) -> None:
    whole_loss, loss = DistributionLoss(compiled, decay=0.9), DistributionLoss(compiled, decay=0.9)
    whole = attach(trainer(tmp_path / "whole", texts, **RESUMED), whole_loss, weight=0.5)
    whole.train()
    shutil.copytree(interrupted, tmp_path / "other")
    made = attach(trainer(tmp_path / ("new" if moved else "other"), texts, **RESUMED), loss, weight=0.5)
    made.train(resume_from_checkpoint=str(tmp_path / "other" / "checkpoint-3") if moved else True)
    assert torch.equal(weights(whole.model), weights(made.model))
    assert all(torch.equal(a, b) for a, b in zip(whole_loss.buffers(), loss.buffers(), strict=True))
    assert int(loss.commits) == 6
    histories = [[{name: log[name] for name in ("loss", *NAMES)} for log in m.state.log_history if "loss" in log] for m in (whole, made)]
    assert len(histories[0]) == 6
    assert histories[0] == histories[1]


def test_a_checkpoint_holds_the_state_and_no_remains(interrupted: Path) -> None:
    state = torch.load(interrupted / "checkpoint-3" / STATE_FILE, weights_only=True)
    assert int(state["commits"]) == 3
    assert not list(interrupted.rglob("*.part"))


def test_a_checkpoint_without_the_state_is_resumed_with_a_warning(
    interrupted: Path, compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path
) -> None:
    folder = shutil.copytree(interrupted, tmp_path / "run")
    (folder / "checkpoint-3" / STATE_FILE).unlink()
    loss = DistributionLoss(compiled)
    made = attach(trainer(folder, texts, **RESUMED), loss)
    with pytest.warns(UserWarning, match=r"distribution_loss\.pt is missing: the running rates .* start anew"):
        made.train(resume_from_checkpoint=True)
    assert int(loss.commits) == 3


def test_the_state_of_another_profile_is_refused(interrupted: Path, tokenizer: Any, texts: list[list[int]], tmp_path: Path) -> None:
    other = DistributionLoss(profile_of(documents(30), tmp_path / "profile").compile(tokenizer))
    folder = shutil.copytree(interrupted, tmp_path / "run")
    made = attach(trainer(folder, texts, **RESUMED), other)
    with pytest.raises(VocabularyMismatch, match="another profile"):
        made.train(resume_from_checkpoint=True)


def counted(compiled: CompiledProfile, folder: Path, batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What a model that looks at one token only is expected to count on batches."""
    loss = DistributionLoss(compiled)
    made = attach(trainer(folder, [], module=model(layers=0)), loss)
    made.model.train()
    for batch in batches:
        made.compute_loss(made.model, batch)
    return {name: buffer for name, buffer in loss.named_buffers() if "pending" in name}


def test_padding_on_either_side_counts_nothing(compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path) -> None:
    word = texts[0][1]  # padding that is no special token
    rows = [ids[: 20 + 9 * i] for i, ids in enumerate(texts[:4])]
    longest = len(rows[-1])

    def padded(side: str, labelled: bool) -> dict[str, Tensor]:
        def fill(ids: list[int], with_: int) -> list[int]:
            gap = [with_] * (longest - len(ids))
            return gap + ids if side == "left" else ids + gap

        return {
            "input_ids": torch.tensor([fill(ids, word) for ids in rows]),
            "attention_mask": torch.tensor([fill([1] * len(ids), 0) for ids in rows]),
            "labels": torch.tensor([fill(ids, word if labelled else -100) for ids in rows]),
        }

    expected = counted(compiled, tmp_path, [collate([{"input_ids": ids}]) for ids in rows])
    for side in ("left", "right"):
        for labelled in (False, True):
            torch.testing.assert_close(counted(compiled, tmp_path, [padded(side, labelled)]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bounds", ["position_ids", "cu_seq_lens_q", "attention_mask"])
def test_packed_documents_are_read_one_by_one(bounds: str, compiled: CompiledProfile, texts: list[list[int]], tmp_path: Path) -> None:
    rows = [ids[: 20 + 9 * i] for i, ids in enumerate(texts[:4])]
    lengths = torch.tensor([len(ids) for ids in rows])
    packed = {
        "input_ids": torch.tensor([list(chain(*rows))]),
        "labels": torch.tensor([list(chain.from_iterable([-100, *ids[1:]] for ids in rows))]),
    }
    said = {
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "cu_seq_lens_q": torch.cat([torch.zeros(1, dtype=torch.int32), lengths.cumsum(0).int()]),
        "attention_mask": torch.repeat_interleave(torch.arange(1, 5), lengths)[None],
    }
    expected = counted(compiled, tmp_path, [collate([{"input_ids": ids}]) for ids in rows])
    found = counted(compiled, tmp_path, [{**packed, bounds: said[bounds]}])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    blind = counted(compiled, tmp_path, [packed])
    assert any(not torch.allclose(blind[name], expected[name], rtol=1e-2) for name in expected)


def test_document_starts_of_a_batch() -> None:
    labels = torch.zeros(2, 5, dtype=torch.long)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
    assert document_starts({"labels": labels}) is None
    assert document_starts({"labels": labels, "attention_mask": mask[:, None, None]}) is None
    found = document_starts({"labels": labels, "attention_mask": mask, "position_ids": torch.tensor([[0, 1, 2, 3, 0]])})
    assert found is not None
    assert found.tolist() == [[True, True, True, False, True], [True, False, False, True, True]]
    found = document_starts({"labels": labels, "cu_seq_lens_q": torch.tensor([0, 3, 5, 10], dtype=torch.int32)})
    assert found is not None
    assert found.tolist() == [[True, False, False, True, False], [True, False, False, False, False]]


def test_training_with_the_loss_brings_the_statistics_nearer(compiled: CompiledProfile, tokenizer: Any, tmp_path: Path) -> None:
    """A model that learns a few untypical paragraphs by heart, with and without the pull of the profile of all."""
    paragraphs = [PARAGRAPHS[i] for i in (4, 6, 9)]
    data = [tokenizer("\n\n".join(paragraphs[i:] + paragraphs[:i]))["input_ids"] for i in range(3)] * 12
    ends = {}
    for weight in (0.0, 0.1):
        settings = {"learning_rate": 5e-3, "max_steps": 40, "max_grad_norm": 1.0}
        made = trainer(tmp_path, data, eval_dataset=[{"input_ids": ids} for ids in data[:8]], **settings)
        attach(made, DistributionLoss(compiled, decay=0.5), weight=weight).train()
        ends[weight] = made.evaluate()
    for name in ("token_frequency", "ngram_frequency", "sentence_length", "punctuation_rhythm", "loss"):
        assert ends[0.1][f"eval_dist/{name}"] < 0.95 * ends[0.0][f"eval_dist/{name}"]
    assert ends[0.1]["eval_dist/sentence_length"] < 0.5 * ends[0.0]["eval_dist/sentence_length"]


def test_what_cannot_be_right_is_refused(compiled: CompiledProfile, rows: list[list[int]], tmp_path: Path) -> None:
    loss = DistributionLoss(compiled)
    made = trainer(tmp_path, rows)
    with pytest.raises(TypeError, match=r"a transformers\.Trainer, not a SimpleNamespace"):
        attach(SimpleNamespace(), loss)
    with pytest.raises(TypeError, match="not a Linear"):
        attach(made, torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"weight is a number of at least 0, not '0\.1'"):
        attach(made, loss, weight="0.1")  # type: ignore[arg-type]
    for weight in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight"):
            attach(made, loss, weight=weight)
    with pytest.raises(ValueError, match="ignore_index=-100"):
        attach(made, DistributionLoss(compiled, ignore_index=-1))
    of_trl = type("GRPOTrainer", (Trainer,), {"__module__": "trl.trainer.grpo_trainer"})
    with pytest.raises(TypeError, match=r"Mine is a trainer of TRL.*DistributionReward"):
        attach(trainer(tmp_path, rows, kind=type("Mine", (of_trl,), {})), loss)
    sharded = trainer(tmp_path, rows)
    sharded.get_cp_size = lambda: 2
    with pytest.raises(ValueError, match="parallelism"):
        attach(sharded, loss)
    many = trainer(tmp_path, rows)
    many.args._n_gpu = 2
    with pytest.raises(ValueError, match="torchrun"):
        attach(many, loss)
    masking = trainer(tmp_path, rows)
    masking.data_collator = SimpleNamespace(mlm=True)
    with pytest.raises(TypeError, match="mlm=False"):
        attach(masking, loss)
    made.model.config.is_encoder_decoder = True
    with pytest.raises(TypeError, match="encoder"):
        attach(made, loss)
    made.model.config.is_encoder_decoder = False
    assert attach(made, loss) is made
    with pytest.raises(ValueError, match="already"):
        attach(made, loss)


def test_another_tokenizer_than_the_profile_was_compiled_for_is_refused(
    compiled: CompiledProfile, tokenizer: Any, rows: list[list[int]], tmp_path: Path
) -> None:
    """However the same one is loaded, and whatever is added behind its ids, it is the same; what cannot be looked into is let through."""
    other = trainer(tmp_path, rows)
    other.processing_class = PreTrainedTokenizerFast(tokenizer_object=llama3_like())
    with pytest.raises(VocabularyMismatch, match=r"another tokenizer than the trainer's `processing_class`: it reads [\d,]+ of 700 ids"):
        attach(other, DistributionLoss(compiled))
    again = PreTrainedTokenizerFast(tokenizer_object=gpt2_like())
    again.backend_tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    padded = PreTrainedTokenizerFast(tokenizer_object=gpt2_like(), pad_token="<|pad|>")
    for given in (tokenizer, again, padded, None, object(), SimpleNamespace(tokenizer=tokenizer)):
        made = trainer(tmp_path, rows)
        made.processing_class = given
        assert attach(made, DistributionLoss(compiled)) is made


class Fused(LlamaForCausalLM):
    """As a fused loss leaves it: a loss and no logits."""

    def forward(self, *arguments: Any, **named: Any) -> Any:
        return CausalLMOutputWithPast(loss=super().forward(*arguments, **named).loss)


def test_what_is_missing_in_training_is_named(compiled: CompiledProfile, rows: list[list[int]], tmp_path: Path) -> None:
    with pytest.raises(LogitsMissing, match="Liger"):
        attach(trainer(tmp_path, rows, module=Fused(model().config)), DistributionLoss(compiled)).train()
    small = [[token % 600 for token in ids] for ids in rows]
    with pytest.raises(VocabularyMismatch, match="600 entries"):
        attach(trainer(tmp_path, small, module=model(size=600)), DistributionLoss(compiled)).train()
    made = attach(trainer(tmp_path, rows), DistributionLoss(compiled))
    batch = collate([{"input_ids": rows[0]}])
    with pytest.raises(ValueError, match="needs `labels` in the batch"):
        made.compute_loss(made.model, {"input_ids": batch["input_ids"]})
    with pytest.raises(ValueError, match="--use_logits_to_keep false"):  # as ms-swift cuts them
        made.compute_loss(made.model, {**batch, "labels": batch["labels"][:, -5:]})
    with pytest.raises(ValueError, match=r"these \[1\]: a classifier's"):
        made.compute_loss(made.model, {**batch, "labels": torch.zeros(1, dtype=torch.long), "position_ids": batch["input_ids"]})
    with pytest.raises(ValueError, match="hyperparameter search"):
        made.callback_handler.on_train_begin(made.args, SimpleNamespace(is_hyper_param_search=True), made.control)


class ForMetrics(Trainer):
    """Its outputs are of another forward than its loss."""

    def compute_loss(self, module: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        value = module(**inputs).loss
        with torch.no_grad():
            outputs = module(**inputs)
        return (value, outputs) if return_outputs else value


class Lossy(Trainer):
    """It gives no outputs, though it is asked for them."""

    def compute_loss(self, module: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        return module(**inputs).loss


def test_logits_that_train_nothing_are_refused(compiled: CompiledProfile, rows: list[list[int]], tmp_path: Path) -> None:
    with pytest.raises(LogitsMissing, match="no gradient of the loss reaches the model"):
        attach(trainer(tmp_path, rows, kind=ForMetrics), DistributionLoss(compiled)).train()
    with pytest.raises(LogitsMissing, match=r"of Lossy was asked for its outputs .* gave a loss alone"):
        attach(trainer(tmp_path, rows, kind=Lossy), DistributionLoss(compiled)).train()
    made = attach(trainer(tmp_path, rows, kind=ForMetrics), DistributionLoss(compiled), weight=0)
    made.train()
    assert made.recorder.logs[0]["dist/loss"] != 0  # measured


def test_a_loss_that_has_been_used_says_so(compiled: CompiledProfile, rows: list[list[int]], tmp_path: Path) -> None:
    loss = DistributionLoss(compiled)
    attach(trainer(tmp_path, rows), loss).train()
    again = attach(trainer(tmp_path, rows), loss)
    with pytest.warns(UserWarning, match="has 2 optimizer steps behind it, and training begins anew"):
        again.train()


@pytest.mark.filterwarnings("ignore:Cannot enable progress bars")
def test_the_state_is_in_the_checkpoint_before_it_goes_anywhere(compiled: CompiledProfile, rows: list[list[int]], tmp_path: Path) -> None:
    """Such as to the Hub; and if a signal asks for a checkpoint, which no callback is told."""
    seen: list[bool] = []

    class Pushes(Trainer):
        def _push_from_checkpoint(self, folder: str) -> None:
            seen.append((Path(folder) / STATE_FILE).is_file())

    made = attach(trainer(tmp_path, rows, kind=Pushes, save_strategy="steps", save_steps=1), DistributionLoss(compiled))
    made.args.push_to_hub = True  # asked for after it was made, which would have made a repository
    made.train()
    assert seen == [True, True]
    made.args.push_to_hub = False
    shutil.rmtree(tmp_path / "checkpoint-2")
    made._save_checkpoint(made.model, None)
    assert (tmp_path / "checkpoint-2" / STATE_FILE).is_file()
    made.save_model(str(tmp_path / "final"))
    assert not list((tmp_path / "final").glob("distribution*"))


def test_a_token_that_was_added_later_counts_nothing(compiled: CompiledProfile, rows: list[list[int]], tmp_path: Path) -> None:
    """Padding, say: whatever its id, it is no text."""
    logits, found = torch.randn(2, 24, 768, generator=torch.Generator().manual_seed(0)), []
    for pad in (PAD, 700):
        labels = torch.tensor([row[:24] for row in rows[:2]])
        labels[:, 20:] = -100
        ids = torch.tensor([row[:20] + [pad] * 4 for row in rows[:2]])
        found.append(DistributionLoss(compiled)(logits, labels, input_ids=ids)[0])
    assert torch.equal(*found)
    with pytest.raises(VocabularyMismatch, match=r"ids reach from .* to 700, .* tokens that were added to it"):
        DistributionLoss(compiled)(logits, ids)


def test_a_trainer_that_computes_its_loss_elsewhere_is_noticed(compiled: CompiledProfile, rows: list[list[int]], tmp_path: Path) -> None:
    class Elsewhere(Trainer):
        def training_step(self, module: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
            loss = module(**inputs).loss
            loss.backward()
            return loss.detach()

    with pytest.raises(RuntimeError, match="without `compute_loss`"):
        attach(trainer(tmp_path, rows, kind=Elsewhere), DistributionLoss(compiled)).train()


def test_without_transformers_the_command_is_named() -> None:
    program = "import sys\nsys.modules['transformers'] = None\nimport dft_stats.adapters.transformers"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("pip install 'dft-stats[transformers]'")
