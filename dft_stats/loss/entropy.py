"""How much the words of a window of fixed length say: plug-in entropy in bits, mean over windows.

The expected entropy of a window changes, to first order, by what each of its words would change it alone: psi(v) = H(c - x + v) - H(c) for
the window's counts c with the word x replaced by v. With c log2 c = f(c), psi(v) = -(f(c_x - 1) - f(c_x) + f(c_v + 1) - f(c_v)) / N.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from dft_stats import doubts
from dft_stats.compiled import CompiledProfile
from dft_stats.loss.family import Family
from dft_stats.loss.probabilities import Pairs, Probabilities
from dft_stats.loss.reading import Stream, table_arrays
from dft_stats.loss.term import SoftCounts, Term, expand


class Entropy(Term):
    """Mean entropy of full windows of words. A token that begins no word in a place of one leaves the window as it is."""

    ids: Tensor  # (typed tokens,), ordered by type
    starts: Tensor  # (vocab,): type -> first of its ids
    lengths: Tensor  # (vocab,)
    begins: Tensor  # (2, vocab): 1 where the token begins a word, after a token that did not or did end inside a word
    head: Tensor  # (vocab,)
    continues: Tensor  # doubts.CONTINUES

    def __init__(self, compiled: CompiledProfile) -> None:
        super().__init__(
            {
                "entropy": Family(
                    [compiled.entropy_bits],
                    [compiled.entropy_sd],
                    tracked=True,
                    per_word=1 / compiled.entropy_window,
                    tokens_per_word=compiled.tokens_per_word,
                    window_words=None,
                )
            }
        )
        self.size = compiled.entropy_window
        table = table_arrays(compiled)
        types = table["types"]
        typed = np.flatnonzero(types >= 0)
        ids = typed[np.argsort(types[typed], kind="stable")]
        lengths = np.bincount(types[typed], minlength=compiled.vocab_size)
        arrays = {
            "ids": ids,
            "starts": lengths.cumsum() - lengths,
            "lengths": lengths,
            "begins": ((table["word_begins"] + table["words_after"] > 0) & (types >= 0)).astype(np.float32),
            "head": table["head"],
            "continues": doubts.CONTINUES.copy(),
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def pairs(self, stream: Stream) -> Pairs:
        """In each place of each window, the tokens that begin a word of the same window; and what windows are without prediction."""
        places, types, weights, own = _changes(stream)
        index, owner = expand(self.starts[types], self.lengths[types])
        rows, ids = places[owner], self.ids[index]
        inside = (stream.open_before[rows] > 0) | self.continues[stream.link[rows], self.head[ids]]
        return Pairs(rows, ids, (self.begins[inside.long(), ids] * weights[owner], *own))

    def chances(self, stream: Stream, weights: Mapping[str, Tensor]) -> Tensor:
        """One for each window, where it ends."""
        return self._ends(stream, weights["entropy"].expand(len(stream.windows)))

    def given(self, stream: Stream, weights: Mapping[str, Tensor]) -> Tensor:
        """The entropy of each window, where it ends."""
        types = stream.types[stream.windows.clamp_min(0)]
        counts = (types[:, :, None] == types[:, None, :]).sum(2).float()
        bits = np.log2(self.size) - counts.log2().sum(1) / self.size
        return self._ends(stream, weights["entropy"] * bits)

    def _ends(self, stream: Stream, values: Tensor) -> Tensor:
        """Values of windows in the rows of their last words, (rows,)."""
        rows = values.new_zeros(len(stream.age))
        full = (stream.windows >= 0).all(1) if len(stream.windows) else values.new_zeros(0, dtype=torch.bool)
        return rows.index_add(0, stream.windows[full].max(1).values, values[full]) if bool(full.any()) else rows

    def soft_count(self, probabilities: Probabilities, stream: Stream) -> SoftCounts:
        """Sum of expected entropies, (1,), and number of windows, (1,)."""
        single, pairs = probabilities.single["entropy"]
        weights, rows, surprise, windows, bits = pairs.detail
        change = (single * weights.to(single.dtype)).sum()
        change = change + (probabilities.begins[rows] * surprise.to(single.dtype)).sum()
        return {"entropy": ((bits.to(single.dtype) - change / self.size).reshape(1), windows.to(single.dtype).reshape(1))}


def _changes(stream: Stream) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """What a predicted word would change in each place of each window, times -N.

    Returns:
        rows, types and weights of (place, type of the window): f(c_v + 1) - f(c_v), and for the word that stands there what takes back
        the next; then rows and f(c_x - 1) - f(c_x) of each place, number of windows, and sum of their entropies in bits.
    """
    members = stream.windows[(stream.windows >= 0).all(1)] if len(stream.windows) else stream.windows
    size = stream.windows.shape[1]
    types = stream.types[members.clamp_min(0)]
    same = types[:, :, None] == types[:, None, :]
    counts = same.sum(2).to(torch.float32 if same.device.type == "mps" else torch.float64)
    leaving, joining = _f(counts - 1) - _f(counts), _f(counts + 1) - _f(counts)
    # One of equal words stands for its type.
    earlier = torch.ones(size, size, device=types.device, dtype=torch.bool).tril(-1)
    distinct = ~(same & earlier).any(2)
    weights = torch.where(same, -leaving[:, :, None], joining[:, None, :])
    window, place, other = distinct[:, None, :].expand_as(same).nonzero(as_tuple=True)
    bits = (np.log2(size) - counts.log2().sum(1) / size).sum()
    windows = torch.tensor(len(members), device=types.device)
    return (
        members[window, place],
        types[window, other],
        weights[window, place, other],
        (members.flatten(), leaving.flatten(), windows, bits),
    )


def _f(counts: Tensor) -> Tensor:
    bits: Tensor = torch.xlogy(counts, counts) / np.log(2)
    return bits
