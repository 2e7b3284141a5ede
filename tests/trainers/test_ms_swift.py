"""The loss in ms-swift, started by `swift sft`, with what docs/trainers.md tells: make test-trainer NAME=ms-swift."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("swift")

from safetensors.torch import load_file
from transformers import LlamaForCausalLM

import dft_stats
from dft_stats.adapters.transformers import NAMES, STATE_FILE
from dft_stats.loss import DistributionLoss
from tests.by_hand import distance, instructions, steps_of, train
from tests.recipes import TEMPERATURE, recipe
from tests.tokenizers_for_tests import gpt2_like

RATE, WEIGHT, END = 0.5, 2.0, 0
TEXTS = instructions(6)
OURS = ("--external_plugins", "my_swift.py", "--callbacks", "distribution", "--use_logits_to_keep", "false")
SETTINGS = {
    **{"model": "./model", "model_type": "llama", "template": "default", "system": "", "tuner_type": "full", "check_model": "false"},
    **{"dataset": "texts.jsonl", "split_dataset_ratio": 0, "dataset_shuffle": "false", "train_dataloader_shuffle": "false"},
    **{"use_cpu": "true", "torch_dtype": "float32", "bf16": "false", "fp16": "false", "gradient_checkpointing": "false"},
    **{"optim": "sgd", "learning_rate": RATE, "lr_scheduler_type": "constant", "warmup_ratio": 0, "max_grad_norm": 0, "weight_decay": 0},
    **{"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 2, "logging_steps": 1, "save_steps": 2},
    **{"output_dir": "out", "add_version": "false", "report_to": "none", "use_hf": "true"},
    **{"dataset_num_proc": 1, "dataloader_num_workers": 0},
}


@pytest.fixture
def place(place: Path) -> Path:
    """With texts."""
    spoken = [[{"role": "user", "content": prompt}, {"role": "assistant", "content": text}] for prompt, text in TEXTS]
    (place / "texts.jsonl").write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in spoken))
    return place


def swift(place: Path, *given: str, weight: float = WEIGHT) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Parameters after `swift sft`, and what it logged."""
    plugin = recipe("my_swift.py").replace('"news"', '"./profile"').replace("weight=0.1", f"weight={weight}")
    (place / "my_swift.py").write_text(plugin)
    script = Path(sys.executable).with_name("swift")
    settings = [part for name, value in SETTINGS.items() for part in (f"--{name}", str(value))]
    done = subprocess.run([script, "sft", *settings, *given], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    saved = place / "out" / "checkpoint-2"
    assert (saved / STATE_FILE).is_file() == bool(given)
    logs = json.loads((saved / "trainer_state.json").read_text())["log_history"]
    parameters = load_file(saved / "model.safetensors")
    shutil.rmtree(place / "out")
    return parameters, [log for log in logs if "loss" in log]


def by_hand(place: Path, weight: float, *, pieces: int = 2) -> dict[str, Tensor]:
    """Parameters after the same two steps in plain PyTorch."""
    made = LlamaForCausalLM.from_pretrained(place / "model")
    loss = DistributionLoss(dft_stats.load(str(place / "profile")).compile(gpt2_like()), temperature=TEMPERATURE, accumulation_steps=0)
    encode = gpt2_like().encode
    rows = [(encode(f"### Human:\n{prompt}\n\n### Assistant:\n").ids, [*encode(text).ids, END]) for prompt, text in TEXTS]
    how = {"weight": weight, "optimizer": torch.optim.SGD(made.parameters(), lr=RATE), "read_prompts": True}
    train(steps_of(rows, 8, pieces), loss, logits_of=lambda ids, mask: made(input_ids=ids, attention_mask=mask).logits, **how)
    return made.state_dict()


def test_it_trains_as_plain_pytorch_does(place: Path) -> None:
    """Prompts masked, rows padded, two micro-batches of other numbers of labels in each of two steps; and it is logged and saved."""
    start = load_file(place / "model" / "model.safetensors")
    plain, _ = swift(place)
    none, _ = swift(place, *OURS, weight=0.0)
    found, logs = swift(place, *OURS)
    moved, effect = distance(start, plain), distance(found, plain)
    assert distance(none, plain) < 1e-4 * moved
    assert distance(by_hand(place, 0.0), plain) < 1e-4 * moved
    assert effect > 0.05 * moved
    assert distance(by_hand(place, WEIGHT), found) < 1e-3 * effect
    assert len(logs) == 2
    assert all(name in log for log in logs for name in NAMES)


def test_cut_labels_are_refused(place: Path) -> None:
    """As ms-swift cuts them, if it is not told otherwise."""
    with pytest.raises(AssertionError, match="--use_logits_to_keep false"):
        swift(place, *OURS[:4])
