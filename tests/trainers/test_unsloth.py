"""The loss in Unsloth, as docs/trainers.md tells: make test-trainer NAME=unsloth.

Where there is no GPU, Unsloth trains by a backend for CPUs. What it does on a GPU is tried as far as it goes without one: the SFTTrainer
that it writes and puts in TRL's place, with a model of transformers. Unsloth's own kernels are not.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("unsloth")

from datasets import Dataset
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel

from dft_stats.adapters.transformers import NAMES, STATE_FILE, attach
from dft_stats.compiled import CompiledProfile
from dft_stats.loss import DistributionLoss
from tests.causal_models import IGNORED, flat, model, same_direction
from tests.profiles import profile_of
from tests.prose import documents
from tests.recipes import TEMPERATURE
from tests.tokenizers_for_tests import gpt2_like

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]
RATE, WEIGHT, BATCH, STEPS = 0.1, 1.0, 8, 2
TEXTS = [(f"Write number {i}." + " Go on." * (i % 3), text[: 60 + 15 * (i % 7)]) for i, text in enumerate(documents(BATCH * STEPS))]
PROFILE = 60


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    model().save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=gpt2_like(), eos_token="<|endoftext|>", pad_token="<|endoftext|>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> CompiledProfile:
    return profile_of(documents(PROFILE), tmp_path_factory.mktemp("profile") / "profile").compile(gpt2_like())


def loss_of(compiled: CompiledProfile) -> DistributionLoss:
    """With a step behind it: the witness of the very first is made of what was seen so far, and so depends on how it is cut."""
    loss = DistributionLoss(compiled, temperature=TEMPERATURE)
    ids = torch.randint(1, 600, (4, 40), generator=torch.Generator().manual_seed(0))
    loss(torch.zeros(4, 40, 700, requires_grad=True), ids)
    return loss


def settings(folder: Path, pieces: int) -> dict[str, Any]:
    found: dict[str, Any] = {"output_dir": str(folder), "per_device_train_batch_size": BATCH // pieces, "max_steps": STEPS, "seed": 0}
    found |= {"gradient_accumulation_steps": pieces, "optim": "sgd", "learning_rate": RATE, "lr_scheduler_type": "constant"}
    found |= {"max_grad_norm": 0.0, "logging_steps": 1, "save_steps": STEPS, "report_to": [], "disable_tqdm": True, "use_cpu": True}
    found |= {"bf16": False, "fp16": False, "gradient_checkpointing": False, "train_sampling_strategy": "sequential"}
    return found


def sft(model: Any, tokenizer: Any, folder: Path, pieces: int = 2) -> Any:
    data = Dataset.from_list([{"prompt": prompt, "completion": text} for prompt, text in TEXTS])
    arguments = SFTConfig(**settings(folder, pieces), max_length=256)
    return SFTTrainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer)


def fast(saved: Path, *, lora: bool = False) -> tuple[Any, Any]:
    how = {"max_seq_length": 256, "load_in_4bit": False, "full_finetuning": not lora, "dtype": torch.float32}
    made, tokenizer = FastLanguageModel.from_pretrained(str(saved), **how)
    if lora:
        made = FastLanguageModel.get_peft_model(made, r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"])
    return made, tokenizer


def by_hand(loss: DistributionLoss, weight: float) -> Tensor:
    """Parameters after the same run: plain PyTorch, a step in one batch, prompts masked and read."""
    made, encode = model(), gpt2_like().encode
    loss.accumulation_steps = 0
    optimizer = torch.optim.SGD(made.parameters(), lr=RATE)
    for begin in range(0, len(TEXTS), BATCH):
        rows = [(encode(prompt).ids, [*encode(prompt + text).ids, 0]) for prompt, text in TEXTS[begin : begin + BATCH]]
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(whole) for _, whole in rows], batch_first=True)
        place = torch.arange(ids.shape[1])
        mask = place < torch.tensor([len(whole) for _, whole in rows])[:, None]
        labels = ids.masked_fill(~mask | (place < torch.tensor([len(prompt) for prompt, _ in rows])[:, None]), IGNORED)
        logits = made(input_ids=ids, attention_mask=mask.long()).logits
        cross_entropy = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        (cross_entropy + weight * loss(logits, labels, input_ids=ids)[0]).backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.step()
    return flat(made.parameters())


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_it_trains_as_plain_pytorch_does(pieces: int, saved: Path, compiled: CompiledProfile, tmp_path: Path) -> None:
    loss, start = loss_of(compiled), flat(model().parameters())
    made, tokenizer = fast(saved)
    trainer = attach(sft(made, tokenizer, tmp_path, pieces), loss, weight=WEIGHT)
    trainer.train()
    assert same_direction(flat(made.parameters()) - start, by_hand(loss_of(compiled), WEIGHT) - start)
    assert (tmp_path / f"checkpoint-{STEPS}" / STATE_FILE).is_file()
    assert int(loss.commits) == 1 + STEPS
    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert len(logs) == STEPS
    assert all(set(NAMES) <= set(log) for log in logs)


def test_without_the_loss_it_trains_otherwise_and_with_no_weight_alike(saved: Path, compiled: CompiledProfile, tmp_path: Path) -> None:
    ends = []
    for weight in (None, 0.0, WEIGHT):
        made, tokenizer = fast(saved)
        trainer = sft(made, tokenizer, tmp_path)
        if weight is not None:
            attach(trainer, loss_of(compiled), weight=weight)
        trainer.train()
        ends.append(flat(made.parameters()))
    start = flat(model().parameters())
    assert torch.equal(ends[0], ends[1])
    assert not same_direction(ends[0] - start, ends[2] - start)


def test_adapters_are_trained(saved: Path, compiled: CompiledProfile, tmp_path: Path) -> None:
    ends = []
    for weight in (0.0, WEIGHT):
        made, tokenizer = fast(saved, lora=True)
        attach(sft(made, tokenizer, tmp_path), loss_of(compiled), weight=weight).train()
        ends.append(flat(p for p in made.parameters() if p.requires_grad))
    assert 0 < ends[0].numel() < flat(model().parameters()).numel()
    assert not torch.allclose(*ends, atol=1e-4)


def test_a_trainer_of_transformers_takes_its_models(saved: Path, compiled: CompiledProfile, tmp_path: Path) -> None:
    made, tokenizer = fast(saved)
    rows = [gpt2_like().encode(text).ids[:30] for _, text in TEXTS]
    data = [{"input_ids": row[:12], "labels": row[:12]} for row in rows]
    trainer = Trainer(made, TrainingArguments(**settings(tmp_path, 2)), train_dataset=data, processing_class=tokenizer)
    attach(trainer, loss_of(compiled), weight=WEIGHT).train()
    assert trainer.state.log_history[0]["dist/loss"] != 0


REWRITTEN = """
import sys
from pathlib import Path
import unsloth
import torch
from unsloth.models import rl
from unsloth.models._utils import patch_gradient_accumulation_fix

rl._patch_trl_rl_trainers("sft_trainer")  # what it does on import where there is a GPU
from transformers import AutoTokenizer, LlamaForCausalLM
from dft_stats.adapters.transformers import attach
from dft_stats.loss import DistributionLoss
from tests.causal_models import flat
from tests.trainers import test_unsloth as here

saved, profile, end = map(Path, sys.argv[1:])
assert here.SFTTrainer.__name__ == "UnslothSFTTrainer"
torch.set_num_threads(1)
made = LlamaForCausalLM.from_pretrained(saved)
made.max_seq_length = 256
trainer = here.sft(made, AutoTokenizer.from_pretrained(saved), Path("out"))
patch_gradient_accumulation_fix(type(trainer))
compiled = here.profile_of(here.documents(here.PROFILE), profile).compile(here.gpt2_like())
attach(trainer, here.loss_of(compiled), weight=here.WEIGHT).train()
torch.save(flat(made.parameters()), end)
"""


def test_the_trainer_that_it_writes_for_gpus_takes_the_loss_in(
    saved: Path, compiled: CompiledProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNSLOTH_ALLOW_CPU", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    given = [str(saved), str(tmp_path / "profile"), str(tmp_path / "end.pt")]
    done = subprocess.run([sys.executable, "-c", REWRITTEN, *given], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    start = flat(LlamaForCausalLM.from_pretrained(saved).parameters())
    found = torch.load(tmp_path / "end.pt", weights_only=True)
    assert same_direction(found - start, by_hand(loss_of(compiled), WEIGHT) - start)
