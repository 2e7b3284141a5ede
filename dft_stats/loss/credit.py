"""The loss of a text that is there, token by token: what each token adds to it.

The loss is linear in the predictions, so a text is a prediction that is certain, and its loss is a sum over tokens.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dft_stats.loss.probabilities import Pairs, Sums, together
from dft_stats.loss.reading import Stream
from dft_stats.loss.term import SoftCounts

if TYPE_CHECKING:
    from dft_stats.loss.distribution_loss import DistributionLoss

Given = TypeVar("Given")


def certain(loss: "DistributionLoss", stream: Stream, tokens: Tensor, pairs: Mapping[str, Pairs]) -> Sums:
    """Sums of the probabilities that are one for `tokens` int64 (rows,), without the probabilities themselves."""
    kinds = loss.kinds
    rows, ids = together(pairs)
    kind = torch.cat([kinds.kind_of, kinds.kind_of.new_full((1,), len(kinds.end))])[kinds.member[tokens]]  # the last is none
    count = torch.zeros(loss.vocab_size, device=tokens.device, dtype=torch.float32).index_add(0, tokens, stream.predicted.float())
    by_class, by_kind = one_hot(kinds.class_of[tokens].long(), len(kinds.classes)), one_hot(kind, len(kinds.end) + 1)[:, :-1]
    return count, by_class.float(), by_kind.float(), (tokens[rows] == ids).float()


def hard_count(loss: "DistributionLoss", stream: Stream, tokens: Tensor, pairs: Mapping[str, Pairs]) -> SoftCounts:
    """Counts of all families in a text: (numerator, denominator) by name of family."""
    return loss.count(loss.kinds.arrange(certain(loss, stream, tokens, pairs), stream, pairs), stream)


def slopes(
    loss: "DistributionLoss", witnesses: Mapping[str, Tensor], stream: Stream, pairs: Mapping[str, Pairs], items: Tensor, zeros: Sums
) -> Sums:
    """What the loss changes by with each of the sums of the probabilities. It is linear in them, so any place will do: `zeros`."""
    with torch.inference_mode(False), torch.enable_grad():
        witnesses, stream, pairs = ordinary(witnesses), ordinary(stream), ordinary(pairs)
        items, zeros = ordinary(items), ordinary(zeros)
        tokens, by_class, kinds, single = (values.requires_grad_() for values in zeros)
        counts = loss.count(loss.kinds.arrange((tokens, by_class, kinds, single), stream, pairs), stream)
        value = loss.value(witnesses, counts, items)
        if not value.requires_grad:
            return zeros
        found = torch.autograd.grad(value, zeros, allow_unused=True)
    a, b, c, d = (torch.zeros_like(leaf) if slope is None else slope for slope, leaf in zip(found, zeros, strict=True))
    return a, b, c, d


def ordinary(given: Given) -> Given:
    """The same with copies of the tensors that `torch.inference_mode` made, which autograd refuses."""
    found: Any = given
    if isinstance(given, Tensor):
        found = given.clone() if given.is_inference() else given
    elif is_dataclass(given) and not isinstance(given, type):
        found = replace(given, **{field.name: ordinary(getattr(given, field.name)) for field in fields(given)})
    elif isinstance(given, Mapping):
        found = {name: ordinary(value) for name, value in given.items()}
    elif isinstance(given, tuple):
        found = tuple(ordinary(value) for value in given)
    return found  # type: ignore[no-any-return]


@torch.no_grad()
def credit(
    loss: "DistributionLoss",
    witnesses: Mapping[str, Tensor],
    stream: Stream,
    tokens: Tensor,
    pairs: Mapping[str, Pairs],
    items: Tensor,
    rates: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """What each token adds to the loss of the text, (rows,), by what it is counted as; and by the chances that it takes.

    The difference of the two sums to the loss.

    Args:
        loss: for the profile.
        witnesses: by family, as `DistributionLoss.witnesses` gives them.
        stream: the text.
        tokens: int64 (rows,), the token of each row.
        pairs: `DistributionLoss.pairs` of the stream.
        items: labels in the whole step.
        rates: by family, what a rate is compared with; None: the profile's. For the gradient of a ratio with respect to a text, which
            changes its denominator too, it is the present rate.
    """
    known = certain(loss, stream, tokens, pairs)
    a, b, c, d = (torch.zeros_like(values) for values in known)
    by_token, by_class, by_kind, single = slopes(loss, witnesses, stream, pairs, items, (a, b, c, d))
    found = by_token[tokens] * stream.predicted + (by_class * known[1]).sum(1) + (by_kind * known[2]).sum(1)
    found = found.index_add(0, together(pairs)[0], single * known[3])
    families = loss.families()
    weights = {name: torch.zeros_like(family.target) for name, family in families.items()}
    weights |= {name: witness / families[name].per_token / items for name, witness in witnesses.items()}
    levels = {name: weight * (families[name].target if rates is None else rates[name]) for name, weight in weights.items()}
    chances = torch.zeros_like(found)
    for term in loss.terms.values():
        found = found + term.given(stream, weights)
        chances = chances + term.chances(stream, levels)
    return found, chances
