"""The few sums over the vocabulary that all terms are made of, with one gradient buffer for all of them.

Every statistic is linear in the probabilities p [rows, vocab], and sees of them no more than: the sum over rows, the mass of words that
begin, the masses of the kinds of marks and sentence ends, and single entries p[row, id]. Taken apart into autograd's own operations each
of these would allocate a gradient of the size of p.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dft_stats.compiled import CompiledProfile
from dft_stats.loss.reading import Stream, table_arrays
from dft_stats.stream import NO_END

Pairs = tuple[Tensor, Tensor]
"""Rows and ids of single probabilities, int64 [pairs] each."""


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Sums of the probabilities [rows, vocab], all differentiable."""

    tokens: Tensor  # (vocab,): sum over the counted rows
    begins: Tensor  # (rows,): mass of the tokens that begin a word there
    kinds: Tensor  # (rows, kinds): mass of the tokens of one `Kinds` row
    single: Mapping[str, Tensor]  # term -> p[row, id] of its pairs


class Kinds(nn.Module):
    """Tokens with a mark or a sentence end, grouped by what they do: the columns of `Probabilities.kinds`."""

    ids: Tensor  # (members,): the tokens that have a mark or an end
    membership: Tensor  # (members, kinds): 0 or 1
    word_begins: Tensor  # (2, kinds), as in TokenReader
    end: Tensor  # (kinds,)
    first_mark: Tensor
    last_mark: Tensor
    begins: Tensor  # (vocab, 2): 1 where the token begins a word, after a token that did not or did end inside a word

    def __init__(self, compiled: CompiledProfile) -> None:
        super().__init__()
        table = table_arrays(compiled)
        columns = np.stack([*table["word_begins"], table["end"], table["first_mark"], table["last_mark"]], 1)
        ids = np.flatnonzero((table["end"] != NO_END) | (table["first_mark"] >= 0))
        kinds, group = np.unique(columns[ids], axis=0, return_inverse=True)
        membership = np.zeros((len(ids), len(kinds)), np.float32)
        membership[np.arange(len(ids)), group.reshape(-1)] = 1
        begins = (table["word_begins"] + table["words_after"] > 0) & (table["types"] >= 0)
        arrays = {
            "ids": ids,
            "membership": membership,
            "word_begins": kinds[:, :2].T.copy(),
            "end": kinds[:, 2].copy(),
            "first_mark": kinds[:, 3].copy(),
            "last_mark": kinds[:, 4].copy(),
            "begins": begins.T.astype(np.float32),
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def reduce(self, p: Tensor, stream: Stream, pairs: Mapping[str, Pairs]) -> Probabilities:
        """Sums of p [rows, vocab or more]; ids beyond the compiled vocabulary count nothing."""
        names = list(pairs)
        rows, ids = (torch.cat([pairs[name][i] for name in names]) for i in (0, 1))
        begins, membership = self.begins.to(p.dtype), self.membership.to(p.dtype)
        index = rows * p.shape[1] + ids
        reduced = _Reduce.apply(p, stream.counted.to(p.dtype), begins, self.ids, membership, index)  # type: ignore[no-untyped-call]
        tokens, by_opening, kinds, single = reduced
        split = single.split([len(pairs[name][0]) for name in names])
        begun = by_opening.gather(1, stream.open_before[:, None])[:, 0]
        return Probabilities(tokens, begun, kinds, dict(zip(names, split, strict=True)))


class _Reduce(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, p: Tensor, counted: Tensor, begins: Tensor, ids: Tensor, membership: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.save_for_backward(counted, begins, ids, membership, index)
        ctx.shape = p.shape
        text = p[:, : len(begins)]
        with _without_autocast(p):
            return counted @ text, text @ begins, text.index_select(1, ids) @ membership, p.reshape(-1)[index]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        counted, begins, ids, membership, index = ctx.saved_tensors
        tokens, by_opening, kinds, single = gradients
        left, right = torch.cat([counted[:, None], by_opening], 1), torch.cat([tokens[None], begins.T])
        gradient = left.new_zeros(ctx.shape) if ctx.shape[1] > len(begins) else left.new_empty(ctx.shape)
        text = gradient[:, : len(begins)]
        with _without_autocast(left):
            torch.mm(left, right, out=text) if text.is_contiguous() else text.copy_(left @ right)
            text[:, ids] += kinds @ membership.T
        gradient.view(-1).index_add_(0, index, single)
        return gradient, None, None, None, None, None


def _without_autocast(values: Tensor) -> AbstractContextManager[object]:
    """Statistics are sums of very small numbers: no half precision for them, whatever the model runs in."""
    kind = values.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
