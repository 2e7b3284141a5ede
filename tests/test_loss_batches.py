"""Law 5, the gradient does not depend on how a batch is cut; precision, state, and what is refused."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor

from dft_stats.errors import NotFinite, VocabularyMismatch
from dft_stats.loss import TERMS, DistributionLoss, LogitsMissing
from tests.compiled_for_tests import handmade

SIZE = handmade().vocab_size
IGNORED = -100


def batch(seed: int, rows: int = 6, length: int = 24) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, length, SIZE, generator=generator) * 1.5
    labels = torch.randint(0, SIZE, (rows, length), generator=generator)
    labels[torch.rand(rows, length, generator=generator) < 0.1] = IGNORED
    return logits, labels


def ready(**options: Any) -> DistributionLoss:
    """A loss whose witness is fixed by a step before; the next step is open."""
    loss = DistributionLoss(handmade(), accumulation_steps=0, dead_zone=0.1, decay=0.9, **options)
    loss(*batch(0), shifted=True)
    loss.step()
    return loss


def slope(loss: DistributionLoss, logits: Tensor, labels: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    given = logits.clone().requires_grad_()
    value, _ = loss(given, labels, **{"shifted": True, **options})
    value.backward()
    assert given.grad is not None
    return value.detach(), given.grad


def rates(loss: DistributionLoss) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in loss.state_dict().items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("cuts", [[6], [1] * 6, [2, 3, 1], [5, 1]])
def test_micro_batches_add_up(cuts: list[int]) -> None:
    logits, labels = batch(1)
    items = int((labels != IGNORED).sum())
    whole = ready()
    value, gradient = slope(whole, logits, labels)
    whole.step()
    cut = ready()
    parts = [slope(cut, *pair, num_items=items) for pair in zip(logits.split(cuts), labels.split(cuts), strict=True)]
    cut.step()
    torch.testing.assert_close(sum(part for part, _ in parts), value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat([part for _, part in parts]), gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()))
    for name, wanted in rates(whole).items():
        if name != "forwards":
            torch.testing.assert_close(rates(cut)[name], wanted, rtol=1e-4, atol=1e-5, msg=name)


def test_an_open_step_that_closes_itself_is_one_that_is_closed() -> None:
    itself, closed = (DistributionLoss(handmade(), accumulation_steps=n, dead_zone=0.1, decay=0.9) for n in (2, 0))
    for seed in range(6):
        for loss in (itself, closed):
            slope(loss, *batch(seed))
        if seed % 2:
            closed.step()
    assert all(torch.equal(rates(itself)[name], rates(closed)[name]) for name in rates(itself))
    assert int(itself.commits) == 3


def test_rows_may_come_in_any_order() -> None:
    logits, labels = batch(1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    (value, gradient), (other, moved) = slope(ready(), logits, labels), slope(ready(), logits[order], labels[order])
    torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient[order], moved, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()))


def test_padding_and_a_wider_head_change_nothing() -> None:
    logits, labels = batch(1)
    value, gradient = slope(ready(), logits, labels)
    wide = torch.cat([logits, torch.full((*logits.shape[:2], 9), float("-inf"))], 2)
    wide = torch.nn.functional.pad(wide.masked_fill(wide.isinf(), -1e4), (0, 0, 0, 7))
    padded = torch.nn.functional.pad(labels, (0, 7), value=IGNORED)
    other, padded_gradient = slope(ready(), wide, padded)
    torch.testing.assert_close(other, value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded_gradient[:, :24, :SIZE], gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()))
    assert not padded_gradient[:, 24:].any()


def test_unshifted_logits_predict_the_next_label() -> None:
    logits, labels = batch(1)
    labels[:, 0] = IGNORED
    value, gradient = slope(ready(), logits, labels, shifted=False)
    other, moved = slope(ready(), logits[:, :-1], labels[:, 1:], shifted=True)
    torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient[:, :-1], moved, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()))


def test_another_ignore_index() -> None:
    logits, labels = batch(1)
    value, _ = slope(ready(), logits, labels)
    loss = DistributionLoss(handmade(), accumulation_steps=0, dead_zone=0.1, ignore_index=-1)
    first, others = batch(0)
    loss(first, others.masked_fill(others == IGNORED, -1), shifted=True)
    loss.step()
    assert slope(loss, logits, labels.masked_fill(labels == IGNORED, -1))[0] == value


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    loss, (logits, labels) = ready_alone(), batch(1)
    mine = slice(0, 2) if rank == 0 else slice(2, 6)
    _, gradient = slope(loss, logits[mine], labels[mine], num_items=int((labels != IGNORED).sum()))
    loss.step()
    torch.save((gradient, rates(loss)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def ready_alone() -> DistributionLoss:
    """As `ready`, by the first rank's half of the text and the other's."""
    loss = DistributionLoss(handmade(), accumulation_steps=0, dead_zone=0.1, decay=0.9)
    logits, labels = batch(0)
    if dist.is_initialized():
        mine = slice(0, 3) if dist.get_rank() == 0 else slice(3, 6)
        logits, labels = logits[mine], labels[mine]
    loss(logits.requires_grad_(), labels, shifted=True)
    loss.step()
    return loss


def test_two_ranks_are_one_process(tmp_path: Path) -> None:
    processes.spawn(_rank, (str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    loss, (logits, labels) = ready_alone(), batch(1)
    _, gradient = slope(loss, logits, labels)
    loss.step()
    torch.testing.assert_close(torch.cat([part for part, _ in found]), gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()))
    for name, wanted in rates(loss).items():
        for _, state in found:
            torch.testing.assert_close(state[name], wanted, rtol=1e-4, atol=1e-5, msg=name)


# --- precision and state


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.005), (torch.float64, 1e-4)])
def test_statistics_are_float32_whatever_the_logits_are(dtype: torch.dtype, tolerance: float) -> None:
    logits, labels = batch(1)
    value, _ = slope(ready(), logits, labels)
    loss = ready()
    other, gradient = slope(loss, logits.to(dtype), labels)
    assert gradient.dtype == dtype
    assert other.item() == pytest.approx(value.item(), rel=tolerance)
    assert {value.dtype for value in rates(loss).values() if value.is_floating_point()} == {torch.float32}


def test_state_goes_on_where_it_was_saved() -> None:
    loss = ready()
    loss(*batch(1), shifted=True)  # in the middle of a step
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    again = DistributionLoss(handmade(), accumulation_steps=0, dead_zone=0.1, decay=0.9)
    again.load_state_dict(torch.load(file, weights_only=True))
    for one in (loss, again):
        one(*batch(2), shifted=True)
        one.step()
    (value, gradient), (other, copied) = slope(loss, *batch(3)), slope(again, *batch(3))
    assert torch.equal(value, other)
    assert torch.equal(gradient, copied)


def test_the_state_of_another_profile_is_refused() -> None:
    other = DistributionLoss(replace(handmade(), profile_sha256="2" * 64))
    with pytest.raises(VocabularyMismatch, match="of another profile"):
        other.load_state_dict(DistributionLoss(handmade()).state_dict())


def test_evaluation_changes_nothing_and_depends_on_the_batch_alone() -> None:
    loss, fresh = ready(), DistributionLoss(handmade(), dead_zone=0.1, decay=0.9).eval()
    before = rates(loss)
    loss.eval()
    evaluated = loss(*batch(5), shifted=True)[1]
    loss.train()
    with torch.no_grad():
        without = loss(*batch(5), shifted=True)[1]
    assert all(torch.equal(before[name], value) for name, value in rates(loss).items())
    for other in (without, fresh(*batch(5), shifted=True)[1]):
        assert all(torch.equal(evaluated[name], other[name]) for name in other)


def test_a_term_of_weight_zero_is_measured_and_does_not_steer() -> None:
    loss = ready(weights=dict.fromkeys(TERMS, 0.0))
    logits, labels = batch(1)
    value, components = loss(logits.requires_grad_(), labels, shifted=True)
    assert value == 0
    assert all(components[f"dist/{term}"] > 0 for term in TERMS)


@pytest.mark.parametrize("shape", [(2, 5), (1, 1)])
def test_a_batch_without_labels_is_a_finite_zero(shape: tuple[int, int]) -> None:
    for loss in (ready(), DistributionLoss(handmade())):
        value, gradient = slope(loss, torch.randn(*shape, SIZE), torch.full(shape, IGNORED))
        assert value == 0
        assert not gradient.any()


def test_a_step_without_labels_leaves_the_next_one_steered() -> None:
    logits, labels = batch(1)
    whole, torn = DistributionLoss(handmade()), DistributionLoss(handmade())
    expected = [whole(logits, labels, shifted=True)[0] for _ in range(3)]
    found = [torn(logits, given, shifted=True)[0] for given in (labels, torch.full_like(labels, IGNORED), labels, labels)]
    assert found[1] == 0
    torch.testing.assert_close([found[0], *found[2:]], expected)
    assert int(torn.commits) == 3
    late = DistributionLoss(handmade())  # a first step of nothing is none
    late(logits, torch.full_like(labels, IGNORED), shifted=True)
    torch.testing.assert_close(late(logits, labels, shifted=True)[0], expected[0])


# --- what is refused


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda logits, labels: (None, labels), LogitsMissing, "needs logits .* not None"),
        (lambda logits, labels: (logits[..., 0], labels), ValueError, "do not fit"),
        (lambda logits, labels: (logits[:, :0], labels[:, :0]), LogitsMissing, r"a tensor of shape \(6, 0, "),
        (lambda logits, labels: (logits, labels[:, 1:]), ValueError, r"do not fit: \(6, 24, .*\(6, 23\)"),
        (lambda logits, labels: (logits.long(), labels), LogitsMissing, "torch.int64"),
        (lambda logits, labels: (logits[..., :-1], labels), VocabularyMismatch, f"{SIZE - 1} entries, .* tokenizer of {SIZE} ids"),
        (lambda logits, labels: (logits, labels.masked_fill(labels == 3, SIZE)), VocabularyMismatch, f"to {SIZE}, "),
        (lambda logits, labels: (logits, labels.masked_fill(labels == 3, -7)), VocabularyMismatch, "from -7"),
        (lambda logits, labels: (logits.index_fill(1, torch.tensor([3]), float("nan")), labels), NotFinite, "NaN or infinity"),
        (lambda logits, labels: (logits.index_fill(2, torch.tensor([3]), float("inf")), labels), NotFinite, "learning rate"),
    ],
)
def test_what_does_not_fit_is_named(change: Callable[..., Any], error: type[Exception], message: str) -> None:
    loss = ready()
    before = rates(loss)
    with pytest.raises(error, match=message):
        loss(*change(*batch(1)), shifted=True)
    assert all(torch.equal(before[name], value) for name, value in rates(loss).items())  # nothing half done


def test_nan_where_nothing_is_counted_is_not_read() -> None:
    """As with cross-entropy: attention that is masked away altogether leaves NaN in rows of padding."""
    logits, labels = batch(1)
    labels[0, 5] = IGNORED
    expected, _ = ready()(logits, labels, shifted=True)
    broken = logits.clone()
    broken[0, 5, 2] = float("nan")
    value, _ = ready()(broken.requires_grad_(), labels, shifted=True)
    value.backward()
    assert value.item() == expected.item()
    assert broken.grad is not None
    assert not broken.grad[0, 5].any()
    assert torch.isfinite(broken.grad).all()


def test_input_ids_must_be_aligned() -> None:
    logits, labels = batch(1)
    with pytest.raises(ValueError, match=r"input_ids and labels are aligned"):
        ready()(logits, labels, input_ids=labels[:, 1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"entropy": float("nan")}}, "weights are numbers from 0 up, not {'entropy': nan}"),
        ({"weights": {"entropy": -1.0}}, "would push away from the profile"),
        ({"weights": {"rhythm": 1.0}}, "no term is called rhythm; the terms are token_frequency"),
        ({"decay": 1.0}, "decay is at least 0 and less than 1"),
        ({"dead_zone": -1.0}, "not negative"),
        ({"clip": 0.0}, "clip is more than 0"),
        ({"accumulation_steps": -1}, "not negative"),
        ({"accumulation_steps": 1.5}, "a whole number and not negative, it is 1.5"),
        ({"temperature": 0.0}, "temperature is more than 0"),
        ({"top_p": 0.0}, "top_p is more than 0"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistributionLoss(handmade(), **options)


@pytest.mark.parametrize("name", ["decay", "dead_zone", "clip", "lead", "dual_rate", "temperature", "top_p", "accumulation_steps"])
def test_settings_that_are_no_numbers(name: str) -> None:
    with pytest.raises(TypeError, match=f"settings of the loss are numbers; {name} is '0.5'"):
        DistributionLoss(handmade(), **{name: "0.5"})
    with pytest.raises(TypeError, match=f"{name} is None"):
        DistributionLoss(handmade(), **{name: None})


def test_words_are_no_ids() -> None:
    with pytest.raises(TypeError, match=r"exclude are token ids .*ids_of\(tokenizer, words\)"):
        DistributionLoss(handmade(), exclude=["the"])  # type: ignore[list-item]


def test_what_was_never_seen_has_noise_all_the_same() -> None:
    """A rate of zero with no variance: as if seen once in a window, so one event in a window's text is one standard error, not 10^11."""
    made = handmade()
    loss = DistributionLoss(replace(made, hazard=made.hazard * 0, hazard_sd=made.hazard_sd * 0)).eval()
    family = loss.families()["sentence_length"]
    torch.testing.assert_close(family.sd, torch.full_like(family.sd, 5 / 128))
