"""The loss as one operator of `torch.compile`: what happens inside depends on the text, so a graph takes it as a whole.

Outside of compiled code nothing here is used. To the compiler the operator is a function; that the running rates change by the way is
none of its business, as long as it calls it once a step. It computes no foreign operator twice of its own accord.
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from dft_stats.loss.batch import Batch
from dft_stats.loss.term import TERMS

if TYPE_CHECKING:
    from dft_stats.loss.distribution_loss import DistributionLoss

SCALE = 2.0**10  # of gradients that are kept in float16 until the factor from above is known
_LOSSES: "WeakValueDictionary[int, DistributionLoss]" = WeakValueDictionary()


def number_of(loss: "DistributionLoss") -> int:
    """By which the operator finds the loss again."""
    _LOSSES[id(loss)] = loss
    return id(loss)


number_of._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch.compiler.assume_constant_result, which takes a second to import


@torch.library.custom_op("dft_stats::evaluate", mutates_args=())
def evaluate(
    predictions: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    labels: Tensor | None,
    input_ids: Tensor | None,
    document_starts: Tensor | None,
    ticket: Tensor | None,
    items: Tensor | None,
    number: int,
    factors: list[float],
    shifted: bool,
    chunk_size: int,
    learns: bool,
) -> list[Tensor]:
    """Value, components, and the gradients with respect to the predictions and the head's weight and bias (empty: none).

    Args:
        predictions: logits, or with a weight hidden states, [B, T, ...].
        weight: of the head.
        bias: of the head.
        labels: or a ticket.
        input_ids: as in `DistributionLoss.forward`.
        document_starts: as there.
        ticket: of a batch that was read.
        items: as `num_items` there.
        number: of the loss.
        factors: weight, cross-entropy, softcap (0: none), scale of the logits.
        shifted: as in `DistributionLoss.forward`.
        chunk_size: 0: the loss's own.
        learns: gradients are enabled.
    """
    from dft_stats.loss.through_head import through_head  # which imports this file

    loss = _LOSSES[number]
    batch: Tensor | Batch | None = labels if ticket is None else Batch.of(ticket)
    assert batch is not None
    module: nn.Module = nn.Identity()
    leaves = [predictions.detach().requires_grad_(learns)]
    if weight is not None:
        module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
        module.weight = nn.Parameter(weight.detach(), requires_grad=learns)
        if bias is not None:
            module.bias = nn.Parameter(bias.detach(), requires_grad=learns)
        leaves += list(module.parameters())
    strength, cross_entropy, softcap, scale = factors
    with _autograd(), torch.set_grad_enabled(learns):
        value, components = through_head(
            loss,
            leaves[0],
            module,
            batch,
            weight=strength,
            cross_entropy=cross_entropy,
            input_ids=input_ids,
            shifted=shifted,
            num_items=items,
            document_starts=document_starts,
            chunk_size=chunk_size or None,
            softcap=softcap or None,
            logit_scale=scale,
        )
        raised = torch.full_like(value, SCALE) if predictions.dtype == torch.float16 else None
        gradients = torch.autograd.grad(value, leaves, raised) if value.requires_grad else ()
    missing = [predictions.new_empty(0) for _ in range(3 - len(gradients))]
    return [value.detach().clone(), torch.stack([part.to(value.dtype) for part in components.values()]), *gradients, *missing]


def _autograd() -> AbstractContextManager[object]:
    """Inside of an operator there is no autograd; here is some."""
    hidden = torch._C._dispatch_tls_local_exclude_set()
    for key in (torch._C.DispatchKey.AutogradFunctionality, torch._C.DispatchKey.ADInplaceOrView):
        hidden = hidden.remove(key)
    guard: AbstractContextManager[object] = torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), hidden)
    return guard


@evaluate.register_fake
def _(predictions: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any) -> list[Tensor]:
    factors, learns = rest[-4], rest[-1]
    dtype = torch.promote_types(predictions.dtype, torch.float32)
    found = [predictions.new_empty((), dtype=dtype), predictions.new_empty(len(TERMS) + 1 + bool(factors[1]), dtype=dtype)]
    for leaf in (predictions, weight, bias):
        found.append(torch.empty_like(leaf) if learns and leaf is not None else predictions.new_empty(0))
    return found


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.there = [leaf is not None for leaf in inputs[:3]]
    ctx.save_for_backward(*output[2:])


def _backward(ctx: Any, upstream: list[Tensor]) -> tuple[Tensor | None, ...]:
    factor = upstream[0] / SCALE if ctx.saved_tensors[0].dtype == torch.float16 else upstream[0]
    found = [gradient * factor if there else None for gradient, there in zip(ctx.saved_tensors, ctx.there, strict=True)]
    return (*found, *[None] * 10)


evaluate.register_autograd(_backward, setup_context=_keep)


def call(
    loss: "DistributionLoss",
    predictions: Tensor,
    head: nn.Linear | None,
    labels: Tensor | Batch,
    *,
    factors: list[float],
    num_items: int | Tensor | None,
    chunk_size: int,
    input_ids: Tensor | None,
    shifted: bool,
    document_starts: Tensor | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """As `through_head`, in a graph; arguments of `evaluate`."""
    items = None if num_items is None else torch.as_tensor(num_items)
    value, components, *_ = evaluate(
        predictions,
        None if head is None else head.weight,
        None if head is None else head.bias,
        None if isinstance(labels, Batch) else labels,
        input_ids,
        document_starts,
        labels.ticket if isinstance(labels, Batch) else None,
        items,
        number_of(loss),
        factors,
        shifted,
        chunk_size,
        torch.is_grad_enabled(),
    )
    names = [*(f"dist/{term}" for term in loss.weights), "dist/loss", *(["dist/cross_entropy"] if factors[1] else [])]
    return value, dict(zip(names, components.detach().unbind(), strict=True))
