"""The few sums over the vocabulary that all terms are made of.

Every statistic is linear in the probabilities p [rows, vocab], and sees of them no more than: the sum over rows, the masses of the heads
(how tokens begin) and of words that begin, the masses of the kinds of marks and sentence ends, and single entries p[row, id].
`dft_stats.loss.one_pass` takes these sums, and knows their gradient.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dft_stats import doubts
from dft_stats.compiled import CompiledProfile
from dft_stats.loss.reading import Stream, table_arrays
from dft_stats.stream import NO_END, OTHER_STOP

Sums = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of p [rows, vocab]: over the predicted rows (vocab,), by class (rows, classes), by kind (rows, kinds), single entries (pairs,)."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Single probabilities p[row, id] that a term needs. How many they are depends on the text, so they are found once, as it is read."""

    rows: Tensor  # int64 (pairs,)
    ids: Tensor  # int64 (pairs,)
    detail: tuple[Tensor, ...] = ()  # what the term makes of them


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Sums of the probabilities [rows, vocab], all differentiable."""

    tokens: Tensor  # (vocab,): sum over the predicted rows
    heads: Tensor  # (rows, heads): mass of the tokens that begin so, see `dft_stats.doubts`
    begins: Tensor  # (rows,): mass of the tokens that begin a word there
    kinds: Tensor  # (rows, kinds): mass of the tokens of one `Kinds` row
    single: Mapping[str, tuple[Tensor, Pairs]]  # term -> p[row, id] of its pairs, and these


class Kinds(nn.Module):
    """Tokens with a mark or a sentence end, grouped by what they do: the columns of `Probabilities.kinds`. And all, by how they begin."""

    ids: Tensor  # (members,): the tokens that have a mark or an end
    kind_of: Tensor  # (members,): the kind of each
    member: Tensor  # (vocab,): place of the token among `ids`, their number if it is none of them
    word_begins: Tensor  # (2, kinds), as in TokenReader
    end: Tensor  # (kinds,): NO_END, PERIOD, or OTHER_STOP for all that is certain
    first_mark: Tensor
    last_mark: Tensor
    head: Tensor
    classes: Tensor  # (classes, vocab): 0 or 1, tokens by head and by whether they begin a word
    class_of: Tensor  # int32 (vocab,): the row of `classes`
    class_head: Tensor  # (classes,)
    class_begins: Tensor  # (2, classes): 1 where the tokens begin a word, after a token that did not or did end inside a word
    continues: Tensor  # doubts.CONTINUES

    def __init__(self, compiled: CompiledProfile) -> None:
        super().__init__()
        table = table_arrays(compiled)
        end = np.minimum(table["end"], OTHER_STOP)
        # Heads that prove the same are one.
        proofs = np.concatenate([doubts.TURNS.reshape(-1, doubts.HEADS), doubts.CONTINUES])
        _, first, alike = np.unique(proofs, axis=1, return_index=True, return_inverse=True)
        head = first[alike.reshape(-1)][table["head"]]
        columns = np.stack([*table["word_begins"], end, table["first_mark"], table["last_mark"], head], 1)
        ids = np.flatnonzero((end != NO_END) | (table["first_mark"] >= 0))
        kinds, kind_of = _grouped(columns[ids])
        begins = (table["word_begins"] + table["words_after"] > 0) & (table["types"] >= 0)
        classes, class_of = _grouped(np.stack([head, *begins.astype(np.int64)], 1))
        arrays = {
            "ids": ids,
            "kind_of": kind_of,
            "member": np.where(np.isin(np.arange(len(end)), ids), np.searchsorted(ids, np.arange(len(end))), len(ids)),
            "word_begins": kinds[:, :2].T,
            **{name: kinds[:, i] for i, name in enumerate(("end", "first_mark", "last_mark", "head"), 2)},
            "classes": (np.arange(len(classes))[:, None] == class_of).astype(np.float32),
            "class_of": class_of.astype(np.int32),
            "class_head": classes[:, 0],
            "class_begins": classes[:, 1:].T.astype(np.float32),
            "continues": doubts.CONTINUES,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.array(array, order="C")), persistent=False)

    def by_kind(self, members: Tensor) -> Tensor:
        """Masses of the kinds, (rows, kinds), from those of `ids`, (rows, members)."""
        return members.new_zeros(len(members), len(self.end)).index_add_(1, self.kind_of, members)

    def arrange(self, sums: Sums, stream: Stream, pairs: Mapping[str, Pairs]) -> Probabilities:
        """What the terms read, from the sums: over predicted rows, by class, by kind, and single entries."""
        tokens, by_class, kinds, single = sums
        split = single.split([len(pair.rows) for pair in pairs.values()])
        heads = by_class.new_zeros(len(by_class), doubts.HEADS).index_add(1, self.class_head, by_class)
        inside = (stream.open_before[:, None] > 0) | self.continues[stream.link][:, self.class_head]
        begun = (by_class * torch.where(inside, self.class_begins[1], self.class_begins[0]).to(by_class.dtype)).sum(1)
        return Probabilities(tokens, heads, begun, kinds, dict(zip(pairs, zip(split, pairs.values(), strict=True), strict=True)))


def together(pairs: Mapping[str, Pairs]) -> tuple[Tensor, Tensor]:
    """Rows and ids of all terms, one after the other."""
    return torch.cat([pair.rows for pair in pairs.values()]), torch.cat([pair.ids for pair in pairs.values()])


def _grouped(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, and which of them each is, (rows,)."""
    distinct, group = np.unique(rows, axis=0, return_inverse=True)
    return distinct, group.reshape(-1)


def without_autocast(values: Tensor) -> AbstractContextManager[object]:
    """Statistics are sums of very small numbers: no half precision for them, whatever the model runs in."""
    kind = values.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
