"""The loss in LLaMA-Factory, its `run_exp` started as docs/trainers.md tells: make test-trainer NAME=llamafactory.

It imports torchaudio whether or not there is sound, and torchaudio from PyPI needs a GPU's torch; here an empty module stands in for it.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("llamafactory")

from safetensors.torch import load_file
from transformers import LlamaForCausalLM

import dft_stats
from dft_stats.adapters.transformers import NAMES, STATE_FILE
from dft_stats.loss import DistributionLoss
from tests.by_hand import distance, instructions, steps_of, train
from tests.recipes import TEMPERATURE, recipe
from tests.tokenizers_for_tests import gpt2_like

RATE, WEIGHT = 0.5, 2.0
TEXTS = instructions(6)
SETTINGS = {
    **{"model_name_or_path": "./model", "stage": "sft", "do_train": True, "finetuning_type": "full", "output_dir": "out", "use_cpu": True},
    **{"dataset": "texts", "dataset_dir": ".", "template": "empty", "cutoff_len": 400, "disable_shuffling": True, "report_to": "none"},
    **{"optim": "sgd", "learning_rate": RATE, "lr_scheduler_type": "constant", "max_grad_norm": 0, "disable_gradient_checkpointing": True},
    **{"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 2, "logging_steps": 1, "save_steps": 1},
}


@pytest.fixture
def place(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With texts."""
    (place / "texts.json").write_text(json.dumps([{"instruction": prompt, "input": "", "output": text} for prompt, text in TEXTS]))
    (place / "dataset_info.json").write_text(json.dumps({"texts": {"file_name": "texts.json"}}))
    (place / "modules").mkdir()
    (place / "modules" / "torchaudio.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place / "modules"), os.environ.get("PYTHONPATH", "")]))
    return place


def run(place: Path, weight: float | None, **others: Any) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Parameters after a run, and what it logged; without a weight LLaMA-Factory's own."""
    ours = recipe("my_llamafactory.py").replace('"news"', '"./profile"').replace("weight=0.1", f"weight={weight}")
    alone = "from llamafactory.train.tuner import run_exp\n\nrun_exp()\n"
    (place / "my_llamafactory.py").write_text(alone if weight is None else ours)
    settings = {**SETTINGS, **others}
    (place / "config.yaml").write_text(json.dumps(settings))  # 0.9.5 cannot open a .json
    done = subprocess.run([sys.executable, "my_llamafactory.py", "config.yaml"], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    saved = place / "out" / f"checkpoint-{settings['max_steps']}"
    assert (saved / STATE_FILE).is_file() == (weight is not None)
    logs = json.loads((saved / "trainer_state.json").read_text())["log_history"]
    parameters = load_file(saved / "model.safetensors")
    shutil.rmtree(place / "out")
    return parameters, [log for log in logs if "loss" in log]


def by_hand(place: Path, weight: float, *, batch: int = 8, pieces: int = 2) -> dict[str, Tensor]:
    """Parameters after the same steps in plain PyTorch."""
    made = LlamaForCausalLM.from_pretrained(place / "model")
    loss = DistributionLoss(dft_stats.load(str(place / "profile")).compile(gpt2_like()), temperature=TEMPERATURE, accumulation_steps=0)
    rows = [(gpt2_like().encode(prompt).ids, gpt2_like().encode(text).ids) for prompt, text in TEXTS]
    how = {"weight": weight, "optimizer": torch.optim.SGD(made.parameters(), lr=RATE), "read_prompts": True}
    train(steps_of(rows, batch, pieces), loss, logits_of=lambda ids, mask: made(input_ids=ids, attention_mask=mask).logits, **how)
    return made.state_dict()


def test_it_trains_as_plain_pytorch_does(place: Path) -> None:
    """Prompts masked, rows padded, two micro-batches of other numbers of labels in each of two steps; and it is logged and saved."""
    start = load_file(place / "model" / "model.safetensors")
    plain, _ = run(place, None)
    none, _ = run(place, 0.0)
    found, logs = run(place, WEIGHT)
    moved, effect = distance(start, plain), distance(found, plain)
    assert distance(none, plain) < 1e-4 * moved
    assert distance(by_hand(place, 0.0), plain) < 1e-4 * moved
    assert effect > 0.05 * moved
    assert distance(by_hand(place, WEIGHT), found) < 1e-3 * effect
    assert len(logs) == 2
    assert all(name in log for log in logs for name in NAMES)


def test_packed_documents_stay_apart(place: Path) -> None:
    """A step on all texts, packed into rows of several: as if each had its own row."""
    settings = {"packing": True, "neat_packing": True, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "max_steps": 1}
    found, _ = run(place, WEIGHT, **settings)
    plain, wanted = (by_hand(place, weight, batch=16, pieces=1) for weight in (0.0, WEIGHT))
    assert distance(found, wanted) < 1e-3 * distance(wanted, plain)


def test_dynamic_fine_tuning_composes(place: Path) -> None:
    """`use_dft_loss` is another loss of that name: ours is added to it, and without weight it is what it was."""
    theirs, _ = run(place, None, use_dft_loss=True)
    none, _ = run(place, 0.0, use_dft_loss=True)
    both, _ = run(place, WEIGHT, use_dft_loss=True)
    start = load_file(place / "model" / "model.safetensors")
    assert distance(none, theirs) < 1e-4 * distance(theirs, start)
    assert distance(both, theirs) > 0.05 * distance(theirs, start)


def test_a_loss_that_gives_no_logits_is_not_passed_over(place: Path) -> None:
    with pytest.raises(AssertionError, match="LogitsMissing"):
        run(place, WEIGHT, use_asft_loss=True)
