"""The loss in torchtitan's trainer, with what docs/trainers.md tells: make test-trainer NAME=torchtitan.

It trains on a GPU alone, and 0.3 calls what torch 2.13 lacks. So here a few functions stand in for those of a device, its attention is
not compiled, and a timeout is not set; all else is its own: configuration, data, model, FSDP, loop, optimizer, checkpoints.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torchtitan")
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # before its attention is imported

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.nn.attention import flex_attention

import dft_stats
from dft_stats.loss import TERMS, DistributionLoss
from tests.by_hand import IGNORED, Row, distance, instructions, train
from tests.profiles import profile_of
from tests.prose import documents
from tests.recipes import TEMPERATURE, recipe
from tests.tokenizers_for_tests import gpt2_like

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
WEIGHT = 2.0
TEXTS = instructions(30)

CONFIG = """
from torchtitan.components.checkpoint import CheckpointManager
from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss
from torchtitan.components.metrics import MetricsProcessor
from torchtitan.components.optimizer import LRSchedulersContainer, default_adamw
from torchtitan.config import TrainingConfig
from torchtitan.hf_datasets.text_datasets import ChatDataLoader
from torchtitan.models.llama3 import model_registry
from torchtitan.trainer import Trainer

from my_torchtitan import CEWithDistribution


def messages(sample):
    return [{"role": "user", "content": sample["prompt"]}, {"role": "assistant", "content": sample["text"]}]


def trainer(loss):
    spec = model_registry("debugmodel")
    spec.model.layers = spec.model.layers[:2]
    return Trainer.Config(
        loss=loss,
        hf_assets_path="assets",
        model_spec=spec,
        optimizer=default_adamw(lr=1.0, betas=(0.0, 0.0), eps=1.0, weight_decay=0.0),  # all but linear in the gradient
        lr_scheduler=LRSchedulersContainer.Config(warmup_steps=0, decay_ratio=0.0),
        training=TrainingConfig(
            local_batch_size=2,
            global_batch_size=4,
            seq_len=400,
            steps=2,
            max_norm=1e9,
            mixed_precision_param="float32",
            disable_cuda_graphs=True,
        ),
        dataloader=ChatDataLoader.Config(
            dataset_path="json", load_dataset_kwargs={"data_files": "texts.json", "split": "train"}, sample_processor=messages
        ),
        metrics=MetricsProcessor.Config(log_freq=1),
        checkpoint=CheckpointManager.Config(enable=True, interval=100, last_save_model_only=True),
        activation_checkpoint=None,
    )


def plain():
    return trainer(CrossEntropyLoss.Config())


def tuned(weight=WEIGHT):
    return trainer(CEWithDistribution.Config(profile="./profile", tokenizer="assets", weight=weight))


def none():
    return tuned(0.0)


def pieces():
    return trainer(ChunkedLossWrapper.Config(num_chunks=4, loss_fn=tuned().loss))
""".replace("WEIGHT", str(WEIGHT))

LAUNCH = """
from types import SimpleNamespace

import torch
from torch.nn.attention import flex_attention

torch._utils._get_available_device_type = lambda: "cpu"
torch.cpu.get_device_name = lambda _: "CPU"
torch.cpu.get_device_properties = lambda _: SimpleNamespace(total_memory=2**34)
torch.cpu.memory_stats = lambda _: {}
torch.cpu.current_device = lambda: 0
torch.cpu.reset_peak_memory_stats = torch.cpu.empty_cache = lambda: None
torch.distributed.set_timeout = lambda *_: None
flex_attention._validate_device = lambda *_: None

from torchtitan.train import main

main()
"""
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{{ '\\n' if message['role'] == 'user' else '' }}{% endfor %}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a model, its tokenizer, texts and a profile of them."""
    place = tmp_path_factory.mktemp("torchtitan")
    (place / "assets").mkdir()
    gpt2_like().save(str(place / "assets" / "tokenizer.json"))
    settings = {"eos_token": "<|endoftext|>", "chat_template": TEMPLATE}
    (place / "assets" / "tokenizer_config.json").write_text(json.dumps(settings))
    (place / "texts.json").write_text(json.dumps([{"prompt": prompt, "text": text} for prompt, text in TEXTS]))
    (place / "my_torchtitan.py").write_text(recipe("my_torchtitan.py"))
    (place / "my_config.py").write_text(CONFIG)
    (place / "launch.py").write_text(LAUNCH)
    profile_of(documents(60), place / "profile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFT_STATS_CACHE", str(place / "cache"))
        patch.setenv("HF_HOME", str(place / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.syspath_prepend(place)
        patch.chdir(place)
        patch.setattr(flex_attention, "_validate_device", lambda *_: None)
        titan(place, "plain", "--checkpoint.create_seed_checkpoint")
        shutil.move(place / "outputs" / "checkpoint" / "step-0", place / "start")
        yield place


@pytest.fixture(scope="module")
def plain(place: Path) -> dict[str, Tensor]:
    return run(place, "plain")[0]


@pytest.fixture(scope="module")
def tuned(place: Path) -> tuple[dict[str, Tensor], str]:
    return run(place, "tuned")


def titan(place: Path, config: str, *given: str) -> str:
    """What a run logs."""
    shutil.rmtree(place / "outputs", ignore_errors=True)
    if (place / "start").is_dir():
        shutil.copytree(place / "start", place / "outputs" / "checkpoint" / "step-0")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1", "launch.py"]
    done = subprocess.run([*command, "--module", "my_config", "--config", config, *given], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def made() -> Any:
    import my_config

    with torch.device("meta"):
        model = my_config.plain().model_spec.model.build()
    model.to_empty(device="cpu")
    model.init_weights(buffer_device=None)
    return model


def saved(folder: Path) -> dict[str, Tensor]:
    parameters = made().state_dict()
    dcp.load(parameters, checkpoint_id=folder, no_dist=True)
    return parameters


def run(place: Path, config: str) -> tuple[dict[str, Tensor], str]:
    """Parameters after a run, and its log."""
    log = titan(place, config)
    return saved(place / "outputs" / "checkpoint" / "step-2"), log


def batches(place: Path) -> Iterator[list[Row]]:
    """What its loader gives, micro-batch by micro-batch, as documents each in a row of its own."""
    import my_config
    from torchtitan.components.tokenizer import HuggingFaceTokenizer

    tokenizer = HuggingFaceTokenizer.Config().build(tokenizer_path=str(place / "assets"))
    settings = {"dp_world_size": 1, "dp_rank": 0, "seq_len": 400, "local_batch_size": 2}
    for inputs, labels in my_config.plain().dataloader.build(tokenizer=tokenizer, **settings):
        yield documents_of(inputs, labels)


def documents_of(inputs: dict[str, Tensor], labels: Tensor) -> list[Row]:
    found = []
    for ids, positions, wanted in zip(inputs["input"], inputs["positions"], labels, strict=True):
        bounds = [*(positions == 0).nonzero().flatten().tolist(), len(ids)]
        for begin, end in pairwise(bounds):
            learned = int((wanted[begin:end] != IGNORED).sum())
            whole = [*ids[begin:end].tolist(), int(wanted[end - 1])]
            if learned:  # not padding
                found.append((whole[:-learned], whole[-learned:]))
    return found


def by_hand(place: Path, weight: float) -> dict[str, Tensor]:
    """Parameters after the same two steps, without its trainer and its loss."""
    model = made()
    model.load_state_dict(saved(place / "start"))
    loss = DistributionLoss(dft_stats.load("./profile").compile(gpt2_like()), temperature=TEMPERATURE, accumulation_steps=0)

    def logits_of(ids: Tensor, mask: Tensor) -> Tensor:
        positions = torch.arange(ids.shape[1]).expand_as(ids)
        found: Tensor = model(ids, positions=positions, attention_masks=model.get_attention_masks(positions=positions))
        return found

    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.0, 0.0), eps=1.0, weight_decay=0.0)
    micro = list(islice(batches(place), 4))
    train([micro[:2], micro[2:]], loss, weight=weight, optimizer=optimizer, read_prompts=False, logits_of=logits_of)
    return model.state_dict()


def test_it_trains_as_plain_pytorch_does(place: Path, plain: dict[str, Tensor], tuned: tuple[dict[str, Tensor], str]) -> None:
    """Prompts masked, several documents to a row, two micro-batches of other numbers of labels in each of two steps; and it is logged."""
    start, (found, log) = saved(place / "start"), tuned
    none, _ = run(place, "none")
    moved, effect = distance(start, plain), distance(found, plain)
    assert distance(none, plain) < 1e-4 * moved
    assert distance(by_hand(place, 0.0), plain) < 1e-4 * moved
    assert effect > 0.05 * moved
    assert distance(by_hand(place, WEIGHT), found) < 1e-3 * effect
    assert all(log.count(f"dist/{term} ") == 2 for term in (*TERMS, "loss", "cross_entropy"))


def test_pieces_of_the_sequence(place: Path, plain: dict[str, Tensor], tuned: tuple[dict[str, Tensor], str]) -> None:
    """Inside `ChunkedLossWrapper` each piece is read alone: near the whole, and not the same."""
    found, _ = run(place, "pieces")
    assert 0 < distance(found, tuned[0]) < 0.5 * distance(tuned[0], plain)


def test_the_configuration_is_one(place: Path) -> None:
    (place / "my_titan_config.py").write_text(recipe("my_titan_config.py"))
    import my_titan_config
    from my_torchtitan import CEWithDistribution

    made = my_titan_config.tuned()
    assert isinstance(made.loss, CEWithDistribution.Config)
    assert made.training.disable_cuda_graphs
