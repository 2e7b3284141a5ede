"""The loss in TRL: in `SFTTrainer`, which builds no logits, and as a reward in `GRPOTrainer` and `RLOOTrainer`. Tiny models."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer

from dft_stats.adapters.transformers import NAMES, STATE_FILE, attach
from dft_stats.compiled import CompiledProfile
from dft_stats.loss import TERMS, DistributionLoss, DistributionReward
from tests.causal_models import KINDS, model
from tests.profiles import profile_of
from tests.prose import documents
from tests.tokenizers_for_tests import gpt2_like

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=gpt2_like(), eos_token="<|endoftext|>", pad_token="<|endoftext|>")


@pytest.fixture(scope="module")
def compiled(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> CompiledProfile:
    return profile_of(documents(60), tmp_path_factory.mktemp("trl") / "profile").compile(tokenizer)


def sft(
    folder: Path, tokenizer: Any, *, kind: str = "llama", rows: int = 8, peft: Any = None, kind_of: Any = SFTTrainer, **settings: Any
) -> Any:
    base = {"per_device_train_batch_size": 4, "max_steps": 2, "learning_rate": 1e-3, "report_to": [], "logging_steps": 1}
    base |= {"save_strategy": "no", "use_cpu": True, "bf16": False, "max_length": 48, "disable_tqdm": True, "seed": 0}
    base |= {"gradient_checkpointing": False, "max_grad_norm": 0.0}
    data = Dataset.from_list([{"text": text} for text in documents(rows)])
    arguments = SFTConfig(output_dir=str(folder), **(base | settings))
    return kind_of(model=model(kind), args=arguments, train_dataset=data, eval_dataset=data, processing_class=tokenizer, peft_config=peft)


def gradients(made: Any) -> dict[str, Tensor]:
    """Of the first optimizer step, before it."""
    found: dict[str, Tensor] = {}

    def keep(optimizer: Any, *_: Any) -> None:
        if not found:
            found.update({name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None})

    made.create_optimizer()
    made.optimizer.register_step_pre_hook(keep)
    made.train()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_with_one_forward_a_batch_and_logs(kind: str, compiled: CompiledProfile, tokenizer: Any, tmp_path: Path) -> None:
    made = sft(tmp_path, tokenizer, kind=kind, gradient_accumulation_steps=2)
    forwards: list[bool] = []
    attach(made, DistributionLoss(compiled), weight=0.1)
    made.model.base_model.register_forward_hook(lambda *_: forwards.append(torch.is_grad_enabled()))
    made.train()
    assert forwards == [True] * 4
    logs = [log for log in made.state.log_history if "loss" in log]
    assert len(logs) == 2
    assert all(name in log for log in logs for name in NAMES)
    assert "entropy" in logs[0]
    metrics = made.evaluate()
    assert all(f"eval_{name}" in metrics for name in NAMES)


def test_without_weight_training_is_the_same_and_with_it_another(compiled: CompiledProfile, tokenizer: Any, tmp_path: Path) -> None:
    plain = gradients(sft(tmp_path, tokenizer))
    same = gradients(attach(sft(tmp_path, tokenizer), DistributionLoss(compiled), weight=0))
    other = gradients(attach(sft(tmp_path, tokenizer), DistributionLoss(compiled), weight=1.0))
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    assert not any(torch.equal(plain[name], other[name]) for name in plain)


@pytest.mark.parametrize("settings", [{}, {"packing": True, "max_length": 200}, {"padding_free": True, "max_length": None}])
def test_the_gradient_is_that_of_the_logits(settings: dict[str, Any], compiled: CompiledProfile, tokenizer: Any, tmp_path: Path) -> None:
    """What the adapter takes through the head, against the loss on the logits of the same batch."""
    weight, settings = 1.0, {"per_device_train_batch_size": 8, "max_steps": 1, **settings}
    plain = gradients(sft(tmp_path, tokenizer, **settings))
    made = attach(sft(tmp_path, tokenizer, **settings), DistributionLoss(compiled), weight=weight)
    start = {name: p.detach().clone() for name, p in made.model.named_parameters()}
    seen: list[dict[str, Any]] = []
    inner = made.compute_loss
    vars(made)["compute_loss"] = lambda m, inputs, *rest, **named: (seen.append(dict(inputs)), inner(m, inputs, *rest, **named))[1]
    found = gradients(made)
    (inputs,) = seen
    again = model()
    again.load_state_dict(start)
    keys = ("input_ids", "attention_mask", "position_ids")
    logits = again(**{key: inputs[key] for key in keys if key in inputs}, use_cache=False).logits
    starts = inputs["position_ids"] == 0 if "position_ids" in inputs else None
    value, _ = DistributionLoss(compiled)(logits, inputs["labels"], input_ids=inputs["input_ids"], document_starts=starts)
    value.backward()
    for name, p in again.named_parameters():
        wanted = plain[name] + weight * p.grad
        torch.testing.assert_close(found[name], wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()), msg=name)


def test_the_gradient_does_not_depend_on_accumulation(compiled: CompiledProfile, tokenizer: Any, tmp_path: Path) -> None:
    """In the second step, whose witness is made of the first: statistics that are the same whatever the batch is cut into."""
    results = []
    for size, steps in ((8, 1), (2, 4)):
        settings = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "max_steps": 1}
        made = sft(tmp_path, tokenizer, **settings)
        loss = DistributionLoss(compiled)
        ids = torch.randint(1, 600, (4, 40), generator=torch.Generator().manual_seed(0))
        loss(torch.zeros(4, 40, 700).requires_grad_(), ids)
        results.append(gradients(attach(made, loss, weight=1.0)))
    whole, pieces = (torch.cat([g.flatten().double() for g in result.values()]) for result in results)
    assert float(torch.cosine_similarity(whole, pieces, dim=0)) > 0.9999
    assert float(pieces.norm() / whole.norm()) == pytest.approx(1, abs=1e-3)


def test_low_rank_adapters_are_trained(compiled: CompiledProfile, tokenizer: Any, tmp_path: Path) -> None:
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    found = [
        gradients(attach(sft(tmp_path, tokenizer, peft=lora, max_steps=1), DistributionLoss(compiled), weight=weight)) for weight in (0, 1)
    ]
    assert found[0].keys() == found[1].keys()
    assert all("lora" in name for name in found[1])
    assert any(not torch.equal(found[0][name], found[1][name]) for name in found[1])


class Anchored(SFTTrainer):
    """With a forward of its own before that of TRL, to compare with."""

    def compute_loss(self, module: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        with torch.no_grad():
            module(input_ids=inputs["input_ids"])
        return super().compute_loss(module, inputs, return_outputs, num_items_in_batch)


@pytest.mark.parametrize("peft", [None, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")])
def test_a_forward_before_the_one_that_is_trained_changes_nothing(
    peft: Any, compiled: CompiledProfile, tokenizer: Any, tmp_path: Path
) -> None:
    plain, other = (
        gradients(attach(sft(tmp_path, tokenizer, peft=peft, kind_of=kind), DistributionLoss(compiled), weight=1.0))
        for kind in (SFTTrainer, Anchored)
    )
    assert plain.keys() == other.keys()
    for name in plain:
        torch.testing.assert_close(plain[name], other[name], msg=name)


def test_prompts_that_are_learnt_stand_before_the_text(compiled: CompiledProfile, tokenizer: Any, tmp_path: Path) -> None:
    found = []
    for weight in (0, 1):
        torch.manual_seed(0)
        made = sft(tmp_path, tokenizer, peft=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5), max_steps=1)
        found.append(gradients(attach(made, DistributionLoss(compiled), weight=weight)))
        logged = made.state.log_history[0]["dist/loss"]
    batch = made.data_collator([made.train_dataset[i] for i in range(8)])
    logits = made.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 5:]
    assert made.state.log_history[0]["dist/loss"] == logged
    assert any(not torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert logits.shape[:2] == batch["labels"].shape


def test_it_is_saved_and_resumed(compiled: CompiledProfile, tokenizer: Any, tmp_path: Path) -> None:
    settings = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    whole = DistributionLoss(compiled, decay=0.9)
    attach(sft(tmp_path / "a", tokenizer, **settings), whole).train()
    assert (tmp_path / "a" / "checkpoint-2" / STATE_FILE).is_file()
    resumed = DistributionLoss(compiled, decay=0.9)
    attach(sft(tmp_path / "a", tokenizer, **settings), resumed).train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    for name, value in whole.state_dict().items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


def rewarded(kind: str, folder: Path, reward: DistributionReward, tokenizer: Any, *, causal: str = "llama", **settings: Any) -> Any:
    """A trainer that learns from the reward, as docs/trainers.md has it, without an anchor."""
    base: dict[str, Any] = {"per_device_train_batch_size": 16, "num_generations": 16, "max_completion_length": 24, "learning_rate": 2e-2}
    base |= {"report_to": [], "logging_steps": 1, "save_strategy": "no", "use_cpu": True, "bf16": False, "disable_tqdm": True, "seed": 0}
    base |= {"gradient_checkpointing": False, "beta": 0.0, "max_grad_norm": 0.0}
    base |= {"scale_rewards": "none", "loss_type": "dr_grpo"} if kind == "grpo" else {}
    config, trainer = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}[kind]
    data = Dataset.from_list([{"prompt": "The"} for _ in range(32)])
    arguments = config(output_dir=str(folder), **(base | settings))
    return trainer(model=model(causal), reward_funcs=reward, args=arguments, train_dataset=data, processing_class=tokenizer)


TOKENS_ALONE = {term: float(term == "token_frequency") for term in TERMS}


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_the_reward_trains_a_policy(kind: str, compiled: CompiledProfile, tokenizer: Any, tmp_path: Path) -> None:
    """A random model writes noise; with the reward its tokens come nearer to the profile's, and the components are logged."""
    settings = {"max_grad_norm": 1.0, "max_steps": 30}
    made = rewarded(kind, tmp_path, DistributionReward(compiled, weights=TOKENS_ALONE), tokenizer, **settings)
    made.train()
    logs = [log for log in made.state.log_history if "reward" in log]
    assert all("dist/token_frequency" in log for log in logs)
    assert all(log["frac_reward_zero_std"] == 0 for log in logs)
    first, last = ([log["dist/token_frequency"] for log in part] for part in (logs[:3], logs[-3:]))
    assert sum(last) < 0.8 * sum(first)


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        ("grpo", {}, None),
        ("rloo", {}, None),
        ("grpo", {"scale_rewards": "group", "loss_type": "grpo"}, r"scale_rewards is 'group' and should be 'none'; loss_type is 'grpo'"),
        ("rloo", {"normalize_advantages": True}, r"normalize_advantages is True and should be False"),
        ("grpo", {"multi_objective_aggregation": "normalize_then_sum"}, r"multi_objective_aggregation is 'normalize_then_sum'"),
        ("grpo", {"loss_type": "sapo"}, r"loss_type is 'sapo', which divides by each completion's length"),
    ],
)
def test_settings_that_rewards_are_not_made_for_are_told_once(
    kind: str, settings: dict[str, Any], told: str | None, compiled: CompiledProfile, tokenizer: Any, tmp_path: Path
) -> None:
    made = rewarded(kind, tmp_path, DistributionReward(compiled), tokenizer, max_steps=2, **settings)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        made.train()
    found = [str(one.message) for one in seen if "not followed as they are" in str(one.message)]
    assert len(found) == (told is not None)
    assert told is None or re.search(told, found[0])


@pytest.mark.parametrize("causal", KINDS)
@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_a_smaller_reward_moves_the_policy_less(kind: str, causal: str, compiled: CompiledProfile, tokenizer: Any, tmp_path: Path) -> None:
    """By so much. Were advantages divided by their standard deviation, rewards of noise would move it as much as others."""
    norms = []
    for scale in (1.0, 0.01):
        made = rewarded(kind, tmp_path, DistributionReward(compiled, scale=scale), tokenizer, causal=causal, max_steps=1)
        norms.append(float(torch.stack([g.norm() for g in gradients(made).values()]).norm()))
    assert norms[0] > 0
    assert norms[1] == pytest.approx(0.01 * norms[0], rel=1e-3)


@pytest.mark.parametrize(("kind", "settings"), [("grpo", {"scale_rewards": "group"}), ("rloo", {"normalize_advantages": True})])
def test_with_the_wrong_settings_it_moves_as_much(
    kind: str, settings: dict[str, Any], compiled: CompiledProfile, tokenizer: Any, tmp_path: Path
) -> None:
    norms = []
    for scale in (1.0, 0.01):
        made = rewarded(kind, tmp_path, DistributionReward(compiled, scale=scale), tokenizer, max_steps=1, **settings)
        norms.append(float(torch.stack([g.norm() for g in gradients(made).values()]).norm()))
    assert norms[1] > 0.5 * norms[0]
