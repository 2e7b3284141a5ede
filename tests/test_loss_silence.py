"""What must not go wrong in silence: recomputing, second derivatives, default types, labels without likelihood, states, devices."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dft_stats.errors import NotFinite, VocabularyMismatch
from dft_stats.guard import pinning
from dft_stats.loss import DistributionLoss, DistributionReward, LogitsMissing, through_head
from tests.compiled_for_tests import compiled, handmade, text_rows

SIZE = handmade().vocab_size


def scores(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that are leaves, and labels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 20, SIZE, generator=generator).requires_grad_(), torch.randint(1, SIZE, (2, 20), generator=generator)


def test_there_are_no_second_derivatives_and_no_second_pass_without_being_asked_for() -> None:
    logits, labels = scores()
    value, _ = DistributionLoss(handmade())(logits.square(), labels)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(value, logits, create_graph=True)
    value, _ = DistributionLoss(handmade())(logits, labels)
    value.backward(retain_graph=True)
    value.backward()
    with pytest.raises(RuntimeError, match=r"retain_graph=True"):
        value.backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputing_the_loss_is_refused(reentrant: bool) -> None:
    """It would count a batch twice."""
    loss, (logits, labels) = DistributionLoss(handmade(), accumulation_steps=0), scores()
    with pytest.raises(RuntimeError, match=r"inside a backward pass.*twice"):
        checkpoint(lambda given: loss(given, labels)[0], logits, use_reentrant=reentrant).backward()


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_type_changes_nothing(default: torch.dtype) -> None:
    """Models are often made under a default of bfloat16."""
    states, values, rewards = [], [], []
    for dtype in (torch.float32, default):
        logits, labels = scores()
        torch.set_default_dtype(dtype)
        try:
            loss = DistributionLoss(handmade(), warmup_steps=3, dual_rate=0.1)
            reward = DistributionReward(handmade(), decay=0.5)
            for _ in range(3):
                value, _ = loss(logits, labels)
                rewards.append(reward(completion_ids=labels.tolist()))
        finally:
            torch.set_default_dtype(torch.float32)
        states.append({name: value for name, value in loss.state_dict().items() if isinstance(value, Tensor)})
        values.append(value.detach())
    assert rewards[:3] == rewards[3:]
    assert torch.equal(*values)
    for name, value in states[0].items():
        assert value.dtype == states[1][name].dtype
        assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize("steady", [False, True])
def test_labels_without_likelihood_leave_the_batch_out(steady: bool) -> None:
    """The probabilities are numbers, the cross-entropy is infinite."""
    losses = [DistributionLoss(handmade(), accumulation_steps=0) for _ in range(2)]
    logits, labels = scores()
    for loss in losses:
        if steady:
            loss(logits, labels)
            loss.step()
        loss(*scores(1))
    forbidden = logits.detach().clone()
    forbidden[0, 3, labels[0, 4]] = -torch.inf
    with pytest.raises(NotFinite, match="cross-entropy"):
        through_head(losses[0], forbidden.requires_grad_(), nn.Identity(), labels, cross_entropy=1.0)
    torch.testing.assert_close(*(dict(loss.named_buffers()) for loss in losses), rtol=1e-5, atol=1e-5)
    assert int(losses[0].forwards) == 1


def test_a_state_for_other_tokens_says_so() -> None:
    made = handmade()
    pinned = pinning(made, [3], np.full(SIZE, 0.1))
    for there, here, told in (
        (DistributionLoss(made, exclude=[3]), DistributionLoss(made), r"excluded \(3, here \)"),
        (DistributionLoss(made, exclude=[5, 3]), DistributionLoss(made, exclude=[4]), r"excluded \(3,5, here 4\)"),
        (DistributionLoss(pinned), DistributionLoss(made), "with other tokens pinned"),
    ):
        with pytest.raises(VocabularyMismatch, match=told):
            here.load_state_dict(there.state_dict())
    old = DistributionLoss(made).state_dict()
    identity = json.loads(bytes(old["_extra_state"].tolist()))
    fewer = json.dumps({name: identity[name] for name in ("profile_sha256", "tokenizer_sha256")})
    old["_extra_state"] = torch.tensor(list(fewer.encode()), dtype=torch.uint8)
    DistributionLoss(made).load_state_dict(old)


def test_a_model_with_the_loss_inside_is_kept_as_safetensors(tmp_path: Path) -> None:
    made = handmade()
    model, again = (nn.ModuleDict({"head": nn.Linear(4, SIZE), "loss": DistributionLoss(made)}) for _ in range(2))
    model["loss"](*scores())
    save_model(model, str(tmp_path / "model.safetensors"))
    load_model(again, str(tmp_path / "model.safetensors"))
    for name, values in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], values)
    other = nn.ModuleDict({"head": nn.Linear(4, SIZE), "loss": DistributionLoss(made, exclude=[3])})
    with pytest.raises(VocabularyMismatch, match="with other tokens excluded"):
        load_model(other, str(tmp_path / "model.safetensors"))


def test_all_that_is_read_goes_to_the_device_of_the_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, (_, labels) = DistributionLoss(handmade()), scores()
    seen: dict[str, Any] = {}
    monkeypatch.setattr(loss, "read", lambda labels, **given: seen.update(labels=labels, **given))
    with pytest.raises(AttributeError):
        loss.reading(torch.zeros(2, 20, SIZE, device="meta"), labels, input_ids=labels, document_starts=labels == 1, shifted=True)
    assert {name: value.device.type for name, value in seen.items() if isinstance(value, Tensor)} == dict.fromkeys(
        ("labels", "input_ids", "document_starts"), "meta"
    )


@pytest.mark.parametrize("made", [DistributionLoss, DistributionReward])
@pytest.mark.parametrize("given", ["news", None, object()])
def test_what_is_not_compiled_is_refused(made: Any, given: Any) -> None:
    with pytest.raises(TypeError, match=rf"profile\.compile\(tokenizer\), a CompiledProfile, not of a {type(given).__name__}"):
        made(given)


def test_labels_that_are_none_say_what_they_should_be() -> None:
    loss, (logits, labels) = DistributionLoss(handmade()), scores()
    for wrong in (None, labels.tolist(), labels.float()):
        with pytest.raises(TypeError, match=r"labels are a tensor \[B, T\] of ids, not (None|a list|a tensor .*float32)") as caught:
            loss(logits, wrong)
        assert not isinstance(caught.value, LogitsMissing)
    for shape in (labels[0], labels[:, :0]):
        with pytest.raises(ValueError, match=r"labels are \[B, T\] and not empty"):
            loss(logits, shape)
    with pytest.raises(TypeError, match="input_ids are a tensor"):
        loss(logits, labels, input_ids=labels.tolist())


def test_a_state_without_the_loss_is_told() -> None:
    model = nn.ModuleDict({"head": nn.Linear(2, 2), "loss": DistributionLoss(handmade())})
    with pytest.warns(UserWarning, match=r"nothing of the distribution loss \(no key begins with 'loss\.'\)"):
        model.load_state_dict({"head.weight": torch.zeros(2, 2), "head.bias": torch.zeros(2)}, strict=False)
    model.load_state_dict(model.state_dict())


def test_rewards_are_float32_whatever_the_model_runs_in() -> None:
    texts = text_rows("gpt2", 4, 50)
    plain = DistributionReward(compiled("gpt2"), dead_zone=0.0)(completion_ids=texts)
    with torch.autocast("cpu", torch.bfloat16):
        assert DistributionReward(compiled("gpt2"), dead_zone=0.0)(completion_ids=texts) == plain
