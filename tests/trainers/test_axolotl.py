"""The loss in Axolotl, from a YAML file as docs/trainers.md tells: make test-trainer NAME=axolotl."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("axolotl")
os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"  # read on import of what follows

import yaml
from axolotl.cli.args import TrainerCliArgs
from axolotl.cli.config import load_cfg
from axolotl.common.datasets import load_datasets
from axolotl.train import train
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

import dft_stats
from dft_stats.adapters.transformers import NAMES, STATE_FILE
from dft_stats.loss import DistributionLoss
from tests.causal_models import IGNORED, flat, model, same_direction
from tests.profiles import profile_of
from tests.prose import documents
from tests.recipes import TEMPERATURE, recipe
from tests.tokenizers_for_tests import gpt2_like

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]  # of Axolotl and what it imports
RATE, WEIGHT, BATCH, STEPS = 0.1, 1.0, 8, 2
TEXTS = [(f"Write number {i}." + " Go on." * (i % 3), text[: 60 + 15 * (i % 7)]) for i, text in enumerate(documents(BATCH * STEPS))]
OURS = {"trainer_cls": "my_axolotl.Distribution"}
SETTINGS: dict[str, Any] = {
    **{"base_model": "./model", "datasets": [{"path": "texts.jsonl", "ds_type": "json", "type": "alpaca"}], "output_dir": "out"},
    **{"special_tokens": {"pad_token": "<|endoftext|>"}, "sequence_len": 512, "curriculum_sampling": True, "seed": 0},
    **{"micro_batch_size": BATCH // 2, "gradient_accumulation_steps": 2, "max_steps": STEPS, "num_epochs": 1, "logging_steps": 1},
    **{"optimizer": "sgd", "learning_rate": RATE, "lr_scheduler": "constant", "warmup_steps": 0, "max_grad_norm": 0},
    **{"save_steps": STEPS, "bf16": False, "fp16": False, "tf32": False, "attn_implementation": "sdpa", "use_tensorboard": False},
    **{"dataset_num_proc": 1, "dataloader_num_workers": 0, "dataset_prepared_path": "prepared"},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its tokenizer, texts, a profile of them, and the file that the docs tell of."""
    monkeypatch.setenv("DFT_STATS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_axolotl", raising=False)
    model().save_pretrained("model")
    PreTrainedTokenizerFast(
        tokenizer_object=gpt2_like(), **dict.fromkeys(("bos_token", "eos_token", "pad_token"), "<|endoftext|>")
    ).save_pretrained("model")
    Path("texts.jsonl").write_text("".join(json.dumps({"instruction": prompt, "output": text}) + "\n" for prompt, text in TEXTS))
    profile_of(documents(60), tmp_path / "profile")
    Path("my_axolotl.py").write_text(recipe("my_axolotl.py").replace('"news"', '"./profile"').replace("weight=0.1", f"weight={WEIGHT}"))
    return tmp_path


def run(**others: Any) -> Any:
    """The trainer after what `axolotl train` does in its process."""
    Path("config.yaml").write_text(yaml.safe_dump({**SETTINGS, **others}))
    cfg = load_cfg("config.yaml")
    _, _, trainer = train(cfg=cfg, dataset_meta=load_datasets(cfg=cfg, cli_args=TrainerCliArgs()))
    return trainer


def by_hand(batches: list[dict[str, Tensor]], pieces: int) -> Tensor:
    """Parameters after steps of so many batches, in plain PyTorch: the mean of the batches, each of which is one of its labels."""
    made = LlamaForCausalLM.from_pretrained("model")
    loss = DistributionLoss(dft_stats.load("./profile").compile(gpt2_like()), temperature=TEMPERATURE, accumulation_steps=0)
    optimizer = torch.optim.SGD(made.parameters(), lr=RATE)
    for number, batch in enumerate(batches):
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logits = made(**inputs, use_cache=False).logits  # with a cache, packed documents are not told apart
        labels, starts = batch["labels"], batch["position_ids"] == 0 if "position_ids" in batch else None
        cross_entropy = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        penalty, _ = loss(logits, labels, input_ids=batch["input_ids"], document_starts=starts)
        ((cross_entropy + WEIGHT * penalty) / pieces).backward()
        if (number + 1) % pieces == 0:
            optimizer.step()
            optimizer.zero_grad()
            loss.step()
    return flat(made.parameters())


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_it_trains_as_plain_pytorch_does(pieces: int, place: Path) -> None:
    trainer = run(**OURS, micro_batch_size=BATCH // pieces, gradient_accumulation_steps=pieces)
    batches, start = list(trainer.get_train_dataloader()), flat(LlamaForCausalLM.from_pretrained("model").parameters())
    assert len(batches) == STEPS * pieces
    assert same_direction(flat(trainer.model.parameters()) - start, by_hand(batches, pieces) - start)
    for batch, (prompt, text) in zip(batches[0]["labels"], TEXTS, strict=False):  # what is learned is the answer
        assert gpt2_like().decode(batch[batch != IGNORED].tolist()) == text, prompt
    assert Path("out", f"checkpoint-{STEPS}", STATE_FILE).is_file()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert len(logs) == STEPS
    assert all(set(NAMES) <= set(log) for log in logs)


def test_packed_documents_are_apart(place: Path) -> None:
    packing = {"sample_packing": True, "sample_packing_sequentially": True, "micro_batch_size": 1, "max_steps": 1}
    trainer = run(**OURS, **packing)
    batches, start = list(trainer.get_train_dataloader())[:2], flat(LlamaForCausalLM.from_pretrained("model").parameters())
    assert all(int((batch["position_ids"] == 0).sum()) > 1 for batch in batches)
    assert same_direction(flat(trainer.model.parameters()) - start, by_hand(batches, 2) - start)


def test_without_it_the_run_is_another(place: Path) -> None:
    start = flat(LlamaForCausalLM.from_pretrained("model").parameters())
    plain, ours = run(), run(**OURS)
    assert not same_direction(flat(plain.model.parameters()) - start, flat(ours.model.parameters()) - start)
    assert "dist/loss" not in plain.state.log_history[0]


def test_chunked_cross_entropy_gives_logits_too(place: Path) -> None:
    ends = [flat(run(**OURS, chunked_cross_entropy=chunked).model.parameters()) for chunked in (False, True)]
    torch.testing.assert_close(*ends)


def test_evaluation_is_of_the_loss_alone(place: Path) -> None:
    trainer = run(**OURS, val_set_size=0.25, eval_steps=1, max_steps=1)
    *_, log = (log for log in trainer.state.log_history if "eval_loss" in log)
    assert {f"eval_{name}" for name in NAMES} <= set(log)
    with torch.no_grad():
        batches = [trainer.model(**batch).loss for batch in trainer.get_eval_dataloader()]
    assert log["eval_loss"] == pytest.approx(float(torch.stack(batches).mean()), rel=1e-2)


def test_a_file_that_cannot_be_imported_stops_the_run(place: Path) -> None:
    Path("my_axolotl.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(ValueError, match=r"my_axolotl\.Distribution"):
        run(**OURS)


def test_its_command_trains_with_it(place: Path) -> None:
    Path("config.yaml").write_text(yaml.safe_dump({**SETTINGS, **OURS}))
    scripts = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([f"{scripts}/axolotl", "train", "config.yaml"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (place / "out" / f"checkpoint-{STEPS}" / STATE_FILE).is_file()
    start, found = load_file("model/model.safetensors"), load_file("out/model.safetensors")
    trainer = run(**OURS)
    names = list(start)
    ours = {name: p.detach() for name, p in trainer.model.named_parameters()}
    assert same_direction(*(flat(end[name].float() - start[name] for name in names) for end in (found, ours)))
