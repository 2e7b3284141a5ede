"""The text of a profile as weighted stretches of token ids: the middle step of compiling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dft_stats.compiled import TokenTable
from dft_stats.counts import rate_sd
from dft_stats.text import MARK_CLASSES, WORD, unit_kind, units
from dft_stats.tokenizer import encode_in_context

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dft_stats.profile import Profile

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chunks:
    """Stretches between white space, encoded once each."""

    ids: NDArray[np.int64]  # (tokens,), one stretch after another
    lengths: NDArray[np.int64]  # (chunks,), in tokens
    weights: Floats  # (chunks,), expected number of occurrences
    variance: Floats  # (chunks,), of the occurrences per word, between windows
    documents: NDArray[np.int64]  # (chunks,)

    @property
    def owner(self) -> NDArray[np.int64]:
        """For each token, the index of its stretch."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def tokens(self) -> float:
        """Tokens in all."""
        return float(self.weights @ self.lengths)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the loss's reader of tokens sees in weighted stretches."""

    words: float
    ends: float
    marks: Floats  # (classes,)
    begins: NDArray[np.bool_]  # (tokens,): a word begins in this token


def encode_profile(profile: "Profile", tokenizer: "Tokenizer", window: int) -> Chunks:
    """Stretches of a profile with their weights.

    What pruning took from the table `surface` comes back unit by unit from `token_frequency`, which is pruned less; the mass of the units
    that were pruned as well goes to the rarest words that were kept.
    """
    surface, tokens = profile.counts("surface"), profile.counts("token_frequency")
    stretches: list[str] = surface.table["surface"].to_pylist()
    names: list[str] = tokens.table["unit"].to_pylist()
    count, unit_count = (counts.table["count"].to_numpy().astype(np.float64) for counts in (surface, tokens))
    left = np.maximum(unit_count - _covered(stretches, count, names), 0)
    is_word = np.array([unit_kind(name) == WORD for name in names], bool)
    unseen = tokens.total() - unit_count.sum()
    if unseen > 0 and is_word.any():
        rare = is_word & (unit_count <= 2 * unit_count[is_word].min())
        left[rare] += unseen * unit_count[rare] / unit_count[rare].sum()
    rest = np.flatnonzero(left > 0)
    # A word follows a space, a mark is glued to the word before it.
    spelt = [" " + names[i] if is_word[i] else names[i] for i in rest]
    ids = encode_in_context(tokenizer, stretches) + encode_in_context(tokenizer, spelt)
    share = np.minimum(left[rest] / np.maximum(unit_count[rest], 1), 1)
    return Chunks(
        ids=np.array([id for row in ids for id in row], np.int64),
        lengths=np.array([len(row) for row in ids], np.int64),
        weights=np.concatenate([count, left[rest]]),
        variance=np.concatenate(
            [rate_sd(surface, profile.exposure, window) ** 2, share * rate_sd(tokens, profile.exposure, window)[rest] ** 2]
        ),
        documents=np.concatenate([surface.table["documents"].to_numpy(), tokens.table["documents"].to_numpy()[rest]]),
    )


def _covered(stretches: Sequence[str], count: Floats, names: Sequence[str]) -> Floats:
    """How many occurrences of each unit lie in the listed stretches."""
    index = {name: i for i, name in enumerate(names)}
    covered = np.zeros(len(names))
    for stretch, number in zip(stretches, count.tolist(), strict=True):
        for unit in units(stretch):
            position = index.get(unit.text)
            if position is not None:
                covered[position] += number
    return covered


def read_chunks(chunks: Chunks, table: TokenTable) -> Reading:
    """Words, sentence ends and marks by the rules of `dft_stats.stream`, each stretch read as if it followed a word and a space."""
    before, after, glues, opened = (getattr(table, n).tolist() for n in ("words_before", "words_after", "glues", "open_ended"))
    first, last, end, abbreviation = (getattr(table, n).tolist() for n in ("first_mark", "last_mark", "end", "abbreviation"))
    words, ends = np.zeros(len(chunks.lengths)), np.zeros(len(chunks.lengths))
    marks = np.zeros((len(chunks.lengths), len(MARK_CLASSES)))
    begins = np.zeros(len(chunks.ids), bool)
    ids, position = chunks.ids.tolist(), 0
    for row, length in enumerate(chunks.lengths.tolist()):
        previous, age = -1, 1
        for id in ids[position : position + length]:
            begun = max(0, before[id] - (glues[id] and previous >= 0 and opened[previous]))
            words[row] += begun + after[id]
            begins[position] = begun + after[id] > 0
            age += begun
            if first[id] >= 0:
                marks[row, first[id]] += 1
                if last[id] != first[id]:
                    marks[row, last[id]] += 1
            if age and (end[id] == 2 or (end[id] == 1 and not (previous >= 0 and abbreviation[previous]))):
                ends[row], age = ends[row] + 1, 0
            age += after[id]
            previous, position = id, position + 1
    return Reading(float(chunks.weights @ words), float(chunks.weights @ ends), chunks.weights @ marks, begins)
