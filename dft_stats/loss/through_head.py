"""The loss from hidden states and the head that makes logits of them, a few rows at a time: the logits never exist as a whole.

Every term is linear in the probabilities and its witness is known before the batch is seen (it is made of the steps before), so what each
probability weighs is known too, and value and gradient come out of one pass, as in Liger's fused linear cross entropy (Hsu et al. 2024)
and Cut Cross-Entropy (Wijmans et al. 2024). The exceptions are the first optimizer step and losses in evaluation mode, whose witness is
made of the batch itself: they take one pass more.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from dft_stats.loss import graph
from dft_stats.loss.batch import Batch, LogitsMissing, describe
from dft_stats.loss.credit import slopes
from dft_stats.loss.one_pass import Head, OnePass

if TYPE_CHECKING:
    from dft_stats.loss.distribution_loss import DistributionLoss

CHUNK = 2**25  # logits at once


def through_head(
    loss: "DistributionLoss",
    hidden_states: Tensor,
    head: nn.Module,
    labels: Tensor | Batch,
    *,
    weight: float = 1.0,
    cross_entropy: float = 0.0,
    input_ids: Tensor | None = None,
    shifted: bool = False,
    num_items: int | Tensor | None = None,
    document_starts: Tensor | None = None,
    chunk_size: int | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """`cross_entropy` times the cross-entropy of the labels plus `weight` times the loss.

    Gradients are computed in the forward pass and kept, for `hidden_states` and for the head's parameters, in float32. Rows without a
    label never meet the head.

    Args:
        loss: for the profile, compiled for the model's tokenizer.
        hidden_states: [B, T, H], the input of the head.
        head: [N, H] -> [N, V]; a linear layer with or without bias or LoRA, tied or not. `torch.nn.Identity()` if logits are given in
            place of hidden states: then this is the loss and the cross-entropy of logits, in one pass over them.
        labels: int64 [B, T], or a `Batch`, as in `DistributionLoss.forward`.
        weight: of the loss.
        cross_entropy: of the cross-entropy, which is the sum over labels divided by `num_items`. With 0 it is not computed.
        input_ids: as in `DistributionLoss.forward`.
        shifted: as there: `hidden_states[:, t]` predict `labels[:, t]`.
        num_items: as there.
        document_starts: as there.
        chunk_size: rows whose logits exist at once; None: some 32 million logits.
        softcap: logits are `softcap * tanh(logits / softcap)`, as in Gemma 2.
        logit_scale: logits are multiplied by it before, as in Cohere and Granite (there 1 / `logits_scaling`).

    Returns:
        A scalar, and `{"dist/<term>": ..., "dist/loss": ...}` as `DistributionLoss.forward` returns; and, if it is computed,
        "dist/cross_entropy", before `cross_entropy` times it.

    Raises:
        LogitsMissing: no hidden states.
        TypeError: the labels are no tensor of whole numbers.
        VocabularyMismatch: the head or the ids do not fit the tokenizer that the profile was compiled for.
        NotFinite: NaN or infinite logits.
        ValueError: shapes do not fit; a weight, `chunk_size`, `softcap` or `logit_scale` cannot be; or the head is sharded.
    """
    if not isinstance(hidden_states, Tensor) or not hidden_states.numel() or not hidden_states.is_floating_point():
        raise LogitsMissing(f"through_head needs the hidden states that the head reads, [B, T, H], not {describe(hidden_states)}")
    if (chunk_size is not None and chunk_size < 1) or (softcap is not None and not softcap > 0) or not logit_scale > 0:
        raise ValueError(f"chunk_size, softcap and logit_scale are more than 0, not {chunk_size}, {softcap} and {logit_scale}")
    if not (0 <= weight < math.inf and 0 <= cross_entropy < math.inf):
        raise ValueError(f"weight and cross_entropy are numbers from 0 up, not {weight} and {cross_entropy}")
    if any(type(parameter).__name__ == "DTensor" for parameter in head.parameters()):
        raise ValueError(
            "the head's parameters are sharded (FSDP2 or tensor parallelism), and its gradients cannot be taken outside the model's own"
            " forward; give the logits to the loss, or leave the head out of the sharding"
        )
    reading: dict[str, Any] = {"input_ids": input_ids, "shifted": shifted, "document_starts": document_starts}
    if torch.compiler.is_compiling() and type(head) in (nn.Linear, nn.Identity):
        numbers = [weight, cross_entropy, softcap or 0.0, logit_scale]
        linear = head if isinstance(head, nn.Linear) else None
        return graph.call(loss, hidden_states, linear, labels, factors=numbers, num_items=num_items, chunk_size=chunk_size or 0, **reading)
    run = _outside if torch.compiler.is_compiling() else _read_and_evaluate
    factors = {"weight": weight, "cross_entropy": cross_entropy, "num_items": num_items, "chunk_size": chunk_size}
    return run(loss, hidden_states, Head(head, softcap, logit_scale), labels, reading, factors)


def _read_and_evaluate(
    loss: "DistributionLoss", hidden_states: Tensor, head: Head, labels: Tensor | Batch, reading: dict[str, Any], factors: dict[str, Any]
) -> tuple[Tensor, dict[str, Tensor]]:
    return evaluate(loss, hidden_states, head, loss.reading(hidden_states, labels, **reading), **factors)


_outside = _disable_dynamo(_read_and_evaluate)  # torch.compiler.disable, which takes a second to import


def evaluate(
    loss: "DistributionLoss",
    hidden_states: Tensor,
    head: Head,
    batch: Batch,
    *,
    weight: float,
    cross_entropy: float,
    num_items: int | Tensor | None,
    chunk_size: int | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """As `through_head`, of a batch that was read. With a head that changes nothing the hidden states are logits.

    Raises:
        NotFinite: NaN or infinite logits, or cross-entropy.
        RuntimeError: in a backward pass.
    """
    if loss.learns and torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            "the loss is called inside a backward pass, as by `torch.utils.checkpoint` around it, which would count the batch twice; leave"
            " the loss outside: it keeps no activations, and `through_head` no logits"
        )
    rows = OnePass(loss, hidden_states, head, batch, chunk_size or loss.chunk_size)
    learns, tokens = loss.learns, batch.items(num_items)

    known = None
    if not (learns and loss.steady):
        with torch.no_grad():
            known = loss.count(loss.kinds.arrange(rows.sums(), batch.stream, batch.pairs), batch.stream)
            loss.observe(known, batch.stream, learns)
    witnesses, components = loss.witnesses(known, batch.stream, learns)
    if known is not None and not torch.is_grad_enabled() and not cross_entropy:
        value = loss.value(witnesses, known, tokens)
        return weight * value, {**components, "dist/loss": value}

    rates = slopes(loss, witnesses, batch.stream, batch.pairs, tokens, rows.empty())
    sums, nll = rows.backward(rates, weight, cross_entropy / tokens if cross_entropy else None)
    with torch.no_grad():
        counts = known or loss.count(loss.kinds.arrange(sums, batch.stream, batch.pairs), batch.stream)
        lost = nll if cross_entropy else None
        loss.observe(counts, batch.stream, learns, lost) if known is None else loss.withdraw(counts, batch.stream, learns, lost)
        value = loss.value(witnesses, counts, tokens)
        total = weight * value
        components["dist/loss"] = value
        if cross_entropy:
            components["dist/cross_entropy"] = nll / tokens
            total = total + cross_entropy * components["dist/cross_entropy"]
    loss.close(learns)
    if rows.gradients:
        total = _Known.apply(total, list(rows.gradients.values()), *rows.gradients)  # type: ignore[no-untyped-call]
    return total, components


class _Known(torch.autograd.Function):
    """A value whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # `create_graph`
            raise RuntimeError("the loss has no second derivatives: its gradients were computed with its value")
        if ctx.gradients is None:
            raise RuntimeError(
                "the gradients of this loss were given away in its first backward pass; for another one, use `retain_graph=True` in it"
            )
        if _kept():  # there may be another pass
            return None, None, *(gradient * upstream[0] for gradient in ctx.gradients)
        gradients, ctx.gradients = ctx.gradients, None  # let go of, so that they become `.grad` without a copy
        return None, None, *(gradients.pop(0).mul_(upstream[0]) for _ in range(len(gradients)))


def _kept() -> bool:
    """Whether the present backward pass keeps its graph (`retain_graph`), so that there may be another one; if torch tells."""
    told = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if told is None else bool(told())
