"""How often each tracked n-gram is completed, per counted token: its first tokens stand in the text, its last is predicted."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from dft_stats.compiled import CompiledProfile
from dft_stats.loss.family import Family
from dft_stats.loss.probabilities import Pairs, Probabilities
from dft_stats.loss.reading import Stream, table_arrays
from dft_stats.loss.term import SoftCounts, Term, expand


class NgramFrequency(Term):
    """Rates of the tracked n-grams on folded ids."""

    def __init__(self, compiled: CompiledProfile) -> None:
        super().__init__(
            {
                "ngram_frequency": Family(
                    compiled.ngram_frequency,
                    compiled.ngram_sd,
                    tracked=True,
                    per_word=compiled.tokens_per_word,
                    tokens_per_word=compiled.tokens_per_word,
                    window_words=compiled.window_words,
                )
            }
        )
        self.features = len(compiled.ngrams)
        sizes = (compiled.ngrams >= 0).sum(1)
        self.orders = nn.ModuleList(_Order(compiled, np.flatnonzero(sizes == n), int(n)) for n in np.unique(sizes[sizes > 0]))

    def pairs(self, stream: Stream) -> Pairs:
        """Where a tracked n-gram can be completed, by which token, and which n-gram it is."""
        found = [order.entries(stream) for order in self.orders if isinstance(order, _Order)]
        if not found:
            nothing = torch.zeros(0, dtype=torch.long, device=stream.age.device)
            return Pairs(nothing, nothing, (nothing,))
        rows, ids, features = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Pairs(rows, ids, (features,))

    def chances(self, stream: Stream, weights: Mapping[str, Tensor]) -> Tensor:
        """One for each counted token."""
        return weights["ngram_frequency"].sum() * stream.counted

    def soft_count(self, probabilities: Probabilities, stream: Stream) -> SoftCounts:
        """Expected counts of n-grams, (features,)."""
        single, pairs = probabilities.single["ngram_frequency"]
        count = single.new_zeros(self.features).index_add(0, pairs.detail[0], single)
        return {"ngram_frequency": (count, stream.counted.sum().to(count.dtype).expand(self.features))}


class _Order(nn.Module):
    """The tracked n-grams of one n: prefixes as paths of a trie, from prefixes to (last id, feature) as ragged lists."""

    starts: Tensor  # (prefixes,)
    lengths: Tensor  # (prefixes,)
    ids: Tensor  # (entries,): the last token, in every typography
    features: Tensor  # (entries,)

    def __init__(self, compiled: CompiledProfile, features: np.ndarray, n: int) -> None:
        super().__init__()
        self.n, self.vocab_size = n, compiled.vocab_size
        grams = compiled.ngrams[features, -n:].astype(np.int64)
        node = np.zeros(len(grams), np.int64)
        for i in range(n - 1):
            keys, node = np.unique(node * self.vocab_size + grams[:, i], return_inverse=True)
            self.register_buffer(f"keys_{i}", torch.from_numpy(keys), persistent=False)
        node = node.reshape(-1)
        table = table_arrays(compiled)
        spellings: dict[int, list[int]] = {}
        for id in np.flatnonzero(~table["special"]).tolist():
            spellings.setdefault(int(table["fold"][id]), []).append(id)
        lists: list[list[tuple[int, int]]] = [[] for _ in range(int(node.max()) + 1)]
        for prefix, feature, last in zip(node.tolist(), features.tolist(), grams[:, -1].tolist(), strict=True):
            lists[prefix] += [(id, feature) for id in spellings.get(last, [])]
        lengths = np.array([len(entries) for entries in lists], np.int64)
        flat = np.array([entry for entries in lists for entry in entries], np.int64).reshape(-1, 2)
        arrays = {"starts": lengths.cumsum() - lengths, "lengths": lengths, "ids": flat[:, 0].copy(), "features": flat[:, 1].copy()}
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def entries(self, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, ids and features of all n-grams that can be completed."""
        rows = stream.predicted.nonzero()[:, 0]
        node = torch.zeros_like(rows)
        for i in range(self.n - 1):
            keys = self.get_buffer(f"keys_{i}")
            token = stream.context[self.n - 2 - i, rows]  # context is nearest first
            key = node * self.vocab_size + token
            node = torch.searchsorted(keys, key).clamp_max(len(keys) - 1)
            hit = (keys[node] == key) & (token >= 0)
            rows, node = rows[hit], node[hit]
        index, owner = expand(self.starts[node], self.lengths[node])
        return rows[owner], self.ids[index], self.features[index]
