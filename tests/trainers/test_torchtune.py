"""The loss in torchtune's own recipes, started by `tune run`, with what docs/trainers.md tells: make test-trainer NAME=torchtune."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("torchtune")

from torchtune.models.llama3_2 import llama3_2

import dft_stats
from dft_stats.loss import TERMS, DistributionLoss
from tests.by_hand import distance, instructions, steps_of, train
from tests.profiles import profile_of
from tests.prose import documents
from tests.recipes import TEMPERATURE, recipe
from tests.tokenizers_for_tests import gpt2_like

SIZES = {"vocab_size": 700, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "embed_dim": 32, "max_seq_len": 512}
SIZES |= {"intermediate_dim": 64, "scale_factor": 1, "tie_word_embeddings": False}
RATE, WEIGHT, END = 0.5, 2.0, 0
TEXTS = instructions(6)

TOKENIZER = '''
from torchtune.modules.transforms.tokenizers import HuggingFaceBaseTokenizer


class Plain(HuggingFaceBaseTokenizer):
    """Every message as it is, and an end of text."""

    max_seq_len, pad_id = 400, 0

    def __call__(self, sample, inference=False):
        tokens, mask = [], []
        for message in sample.pop("messages"):
            found = self.encode(message.text_content, add_bos=False, add_eos=message.role == "assistant")
            tokens, mask = tokens + found, mask + [message.masked] * len(found)
        return {**sample, "tokens": tokens, "mask": mask}
'''

CONFIG = """
output_dir: out
model: {{_component_: torchtune.models.llama3_2.llama3_2, {sizes}}}
tokenizer:
  _component_: plain_tokenizer.Plain
  tokenizer_json_path: tokenizer.json
  tokenizer_config_json_path: tokenizer_config.json
dataset: {{_component_: torchtune.datasets.instruct_dataset, source: json, data_files: texts.json, packed: False}}
seed: 0
shuffle: False
checkpointer:
  _component_: torchtune.training.FullModelTorchTuneCheckpointer
  checkpoint_dir: model
  checkpoint_files: [model.pt]
  recipe_checkpoint: null
  output_dir: out
  model_type: LLAMA3_2
resume_from_checkpoint: False
batch_size: {batch_size}
epochs: 1
max_steps_per_epoch: {steps}
gradient_accumulation_steps: {accumulation}
optimizer: {{_component_: torch.optim.SGD, lr: {rate}, fused: False}}
optimizer_in_bwd: False
clip_grad_norm: null
compile: False
device: cpu
enable_activation_checkpointing: False
enable_activation_offloading: False
dtype: fp32
log_every_n_steps: 1
log_peak_memory_stats: False
profiler: {{_component_: torchtune.training.setup_torch_profiler, enabled: False}}
"""
PLAIN = """
loss: {_component_: torchtune.modules.loss.CEWithChunkedOutputLoss}
metric_logger: {_component_: torchtune.training.metric_logging.DiskLogger, log_dir: out/logs}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its tokenizer, texts and a profile of them."""
    monkeypatch.setenv("DFT_STATS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.manual_seed(0)
    (tmp_path / "model").mkdir()
    torch.save(llama3_2(**SIZES).state_dict(), tmp_path / "model" / "model.pt")
    gpt2_like().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}))
    (tmp_path / "plain_tokenizer.py").write_text(TOKENIZER)
    (tmp_path / "texts.json").write_text(json.dumps([{"input": prompt, "output": text} for prompt, text in TEXTS]))
    (tmp_path / "my_torchtune.py").write_text(recipe("my_torchtune.py"))
    profile_of(documents(60), tmp_path / "profile")
    return tmp_path


def loss_settings(weight: float = WEIGHT) -> str:
    """The lines of the configuration, as told."""
    return recipe("loss.torchtune.yaml").replace("profile: news", "profile: ./profile").replace("weight: 0.1", f"weight: {weight}")


def tune(place: Path, loss: str, *, batch_size: int = 4, accumulation: int = 2, steps: int = 2) -> tuple[dict[str, Tensor], str]:
    """Parameters after `tune run`, and what it logged."""
    sizes = ", ".join(f"{name}: {value}" for name, value in SIZES.items())
    given = {"sizes": sizes, "batch_size": batch_size, "accumulation": accumulation, "steps": steps, "rate": RATE}
    (place / "config.yaml").write_text(CONFIG.format(**given) + loss)
    script = Path(sys.executable).with_name("tune")
    command = [script, "run", "full_finetune_single_device", "--config", "config.yaml"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    logs = "".join(path.read_text() for path in (place / "out" / "logs").iterdir())
    saved: dict[str, Tensor] = torch.load(next((place / "out" / "epoch_0").glob("*.bin")), weights_only=True)
    shutil.rmtree(place / "out")
    return saved, logs


def by_hand(place: Path, weight: float, *, pieces: int = 1) -> dict[str, Tensor]:
    """Parameters after the same two steps in plain PyTorch."""
    model = llama3_2(**SIZES)
    model.load_state_dict(torch.load(place / "model" / "model.pt", weights_only=True))
    loss = DistributionLoss(dft_stats.load(str(place / "profile")).compile(gpt2_like()), temperature=TEMPERATURE, accumulation_steps=0)
    rows = [(gpt2_like().encode(prompt).ids, [*gpt2_like().encode(text).ids, END]) for prompt, text in TEXTS]
    how = {"weight": weight, "optimizer": torch.optim.SGD(model.parameters(), lr=RATE), "read_prompts": False}
    train(steps_of(rows, 8, pieces), loss, logits_of=lambda ids, mask: model(ids), **how)
    return model.state_dict()


def test_it_trains_as_plain_pytorch_does(place: Path) -> None:
    """Prompts masked, rows padded, two micro-batches of other numbers of labels in each of two steps; and it is logged."""
    start = torch.load(place / "model" / "model.pt", weights_only=True)
    plain, _ = tune(place, PLAIN)
    none, _ = tune(place, loss_settings(0.0))
    found, logs = tune(place, loss_settings())
    moved, effect = distance(start, plain), distance(found, plain)
    assert distance(none, plain) < 1e-4 * moved
    assert distance(by_hand(place, 0.0), plain) < 1e-4 * moved
    assert effect > 0.05 * moved
    assert distance(by_hand(place, WEIGHT, pieces=2), found) < 1e-3 * effect
    assert all(logs.count(f"dist/{term}:") == 2 for term in (*TERMS, "loss", "cross_entropy"))


def test_a_step_in_one_piece(place: Path) -> None:
    found, _ = tune(place, loss_settings(), batch_size=8, accumulation=1)
    assert distance(by_hand(place, WEIGHT), found) < 1e-3 * distance(by_hand(place, 0.0), found)
