"""The text of a profile as weighted stretches of token ids: the middle step of compiling.

Stretches are written as in the table `spelling` (see `dft_stats.spelling`): a leading space, a leading blank line where they begin a
paragraph, a trailing one where they end it, and neither space nor blank line in front where they continue what stands before them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dft_stats.compiled import TokenTable
from dft_stats.counts import Counts, Exposure, rate, rate_sd
from dft_stats.doubts import CONTINUES, DIGIT_TAIL, LETTER_TAIL, LINKS, NO_TAIL
from dft_stats.encoding import FOLLOWERS, LINE, encode_between, encode_spaced, follower
from dft_stats.measures import jensen_shannon_bits
from dft_stats.spelling import opened
from dft_stats.statistics.surface import PARAGRAPH
from dft_stats.text import MARK_CLASSES
from dft_stats.tokenizer import special_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dft_stats.profile import Profile

PROBES = 100  # of the most frequent rows, to see whether a tokenizer cares where they stand

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stretches:
    """The text of a profile in stretches, each with its weight: what a tokenizer is applied to."""

    texts: list[str]  # as in the table `spelling`
    weights: Floats  # (stretches,), expected number of occurrences
    variance: Floats  # (stretches,), of the occurrences per word, between windows
    documents: Ints  # (stretches,), 0 where not known
    openings: int  # documents: so many of the stretches that begin a paragraph begin a document


@dataclass(frozen=True, slots=True)
class Chunks:
    """Stretches, encoded once in each context that makes a difference."""

    ids: Ints  # (tokens,), one stretch after another, special tokens left out unless they were asked for
    lengths: Ints  # (chunks,), in tokens
    weights: Floats  # (chunks,), expected number of occurrences
    variance: Floats  # (chunks,), of the occurrences per word, between windows
    documents: Ints  # (chunks,)
    texts: list[str]  # (chunks,), as in `Stretches`
    opening_bits: float = 0.0  # Jensen-Shannon: how far off the ids may be, since it is not known which stretches begin the documents

    @property
    def owner(self) -> Ints:
        """For each token, the index of its stretch."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def continues(self) -> NDArray[np.bool_]:
        """For each chunk, whether it continues the stretch before it."""
        return np.array([text[0] not in " \n" for text in self.texts], bool)

    @property
    def tokens(self) -> float:
        """Tokens in all."""
        return float(self.weights @ self.lengths)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the loss's reader of tokens sees in weighted stretches."""

    words: float
    marks: Floats  # (classes,)
    begins: NDArray[np.bool_]  # (tokens,): a word begins in this token


def read_stretches(profile: "Profile", window: int) -> Stretches:
    """Stretches of a profile: the table `surface`, and what it does not hold from the table `spelling`."""
    surface = profile.counts("surface")
    return join(surface, profile.table("spelling"), profile.exposure, window)


def join(surface: Counts, rest: pa.Table, exposure: Exposure, window: int) -> Stretches:
    """Stretches of the table `surface`, and behind them those that it does not hold.

    Args:
        surface: of a profile.
        rest: columns `spelling` and `count`.
        exposure: of the profile.
        window: words, a length for which second moments are counted.
    """
    documents = surface.table["documents"].to_numpy()
    variance = rate_sd(surface, exposure, window) ** 2
    # Rare stretches come in bursts as those do that are rare and have their moments stored.
    few = documents <= 2 * documents.min() if len(documents) else np.zeros(0, bool)
    independent = rate(surface, exposure)[few].sum() / window
    bursts = max(1.0, variance[few].sum() / independent) if independent else 1.0
    weights = rest["count"].to_numpy().astype(np.float64)
    return Stretches(
        [*map(opened, surface.table["surface"].to_pylist()), *rest["spelling"].to_pylist()],
        np.concatenate([surface.table["count"].to_numpy().astype(np.float64), weights]),
        np.concatenate([variance, bursts * weights / max(exposure.words, 1) / window]),
        np.concatenate([documents, np.zeros(len(rest), np.int64)]),
        exposure.documents,
    )


def encode_stretches(stretches: Stretches, tokenizer: "Tokenizer", *, specials: bool = False) -> Chunks:
    """Stretches with their token ids; special ones, of unknown characters, if they are asked for.

    Where the tokenizer cares, a stretch is encoded in each context and weighted by how often the context occurs: the first stretch of a
    document may get a space in front that paragraphs inside do not get, and the line ends behind a paragraph may be one token or two,
    depending on whether a letter, a digit or a mark follows.
    """
    texts, weights = stretches.texts, stretches.weights
    opens = np.array([text[0] == "\n" for text in texts], bool)
    closes = np.array([text[-1] == "\n" for text in texts], bool)
    before = ["a" if text[0] == " " else LINE if text[0] == "\n" else "a" if text[0].isdecimal() else "1" for text in texts]
    after = np.where(closes, FOLLOWERS[0], "").tolist()
    bare = [text.removeprefix(PARAGRAPH) for text in texts]
    heavy = np.argsort(-weights, kind="stable")

    def encode(rows: Ints, fronts: Sequence[str], ends: Sequence[str]) -> list[list[int]]:
        return encode_between(tokenizer, fronts, [bare[i] for i in rows], ends)

    def cares(rows: Ints, front: str | None, end: str | None) -> bool:
        probes = rows[:PROBES]
        usual = encode(probes, [before[i] for i in probes], [after[i] for i in probes])
        fronts = [before[i] if front is None else front for i in probes]
        return encode(probes, fronts, [after[i] if end is None else end for i in probes]) != usual

    # Variants: (rows, weight of each, what stands before, what behind).
    between = np.array([text[0] == " " for text in texts], bool) & ~closes
    rest = np.flatnonzero(~between)
    variants: list[tuple[Ints, Floats, list[str], list[str]]] = [
        (rest, weights[rest], [before[i] for i in rest], [after[i] for i in rest]),
    ]
    closing, opening = heavy[closes[heavy]], heavy[opens[heavy]]
    if any(cares(closing, None, end) for end in FOLLOWERS[1:]):
        shares = _followers(stretches, opens)
        variants[0][1][closes[rest]] *= shares[0]
        variants += [
            (closing, weights[closing] * share, [before[i] for i in closing], [end] * len(closing))
            for share, end in zip(shares[1:], FOLLOWERS[1:], strict=True)
        ]
    usual = len(variants)  # behind these, the same at the beginning of a document
    if cares(opening, "", None):
        share = min(1.0, stretches.openings / max(weights[opens].sum(), 1e-9))
        for rows, weight, _, ends in list(variants):
            first = np.flatnonzero(opens[rows])
            variants.append((rows[first], weight[first] * share, [""] * len(first), [ends[i] for i in first]))
            weight[first] *= 1 - share
    easy = np.flatnonzero(between)
    flat, lengths = encode_spaced(tokenizer, [texts[i] for i in easy])
    ids = [row for rows, _, fronts, ends in variants for row in encode(rows, fronts, ends)]
    flat = np.concatenate([flat, np.array([id for row in ids for id in row], np.int64)])
    lengths = np.concatenate([lengths, np.array(list(map(len, ids)), np.int64)])
    index = np.concatenate([easy, *(rows for rows, *_ in variants)])
    special = np.isin(flat, special_ids(tokenizer))
    if special.any() and not specials:  # an unknown character, say: no text
        lengths -= np.bincount(np.repeat(np.arange(len(index)), lengths), special, len(index)).astype(np.int64)
        flat = flat[~special]
    weight = np.concatenate([weights[easy], *(weight for _, weight, *_ in variants)])
    is_first = np.zeros(len(index), np.bool_)
    is_first[len(easy) + sum(len(rows) for rows, *_ in variants[:usual]) :] = True
    return Chunks(
        ids=flat,
        lengths=lengths,
        weights=weight,
        variance=stretches.variance[index] * np.divide(weight, weights[index], out=np.zeros(len(index)), where=weights[index] > 0),
        documents=stretches.documents[index],
        texts=[texts[i] for i in index],
        opening_bits=_opening_bits(flat, lengths, weight, index, is_first) if is_first.any() else 0.0,
    )


def _opening_bits(ids: Ints, lengths: Ints, weights: Floats, stretch: Ints, first: NDArray[np.bool_]) -> float:
    """How far off tokens are, Jensen-Shannon, if documents begin with the stretches that begin paragraphs most often, or with the rarest.

    The first is so with questions and answers ("Question:" begins all of the documents), the second with titled lists ("-" begins none).

    Args:
        ids: (tokens,).
        lengths: (chunks,).
        weights: (chunks,), where documents begin with all alike.
        stretch: (chunks,), index of the stretch that each is one context of.
        first: (chunks,), whether it begins a document.
    """
    begins, size = np.isin(stretch, stretch[first]), int(stretch.max()) + 1
    known, total = (np.bincount(stretch[rows], weights[rows], size) for rows in (first, begins))
    rising, found = np.argsort(total, kind="stable"), []
    for order in (rising[::-1], rising):
        taken, other = np.zeros(size), weights.copy()
        taken[order] = np.clip(known.sum() - np.cumsum(total[order]) + total[order], 0, total[order])
        for rows, before, after in ((first, known, taken), (begins & ~first, total - known, total - taken)):
            other[rows] *= np.divide(after, before, out=np.zeros(size), where=before > 0)[stretch[rows]]
        found.append(jensen_shannon_bits(*(np.bincount(ids, np.repeat(each, lengths)) for each in (weights, other))))
    return max(found)


def _followers(stretches: Stretches, opens: NDArray[np.bool_]) -> Floats:
    """How often a paragraph begins with each of `FOLLOWERS`."""
    shares = np.zeros(len(FOLLOWERS))
    for i in np.flatnonzero(opens):
        shares[FOLLOWERS.index(follower(stretches.texts[i][len(PARAGRAPH) :]))] += stretches.weights[i]
    total: Floats = shares / shares.sum() if shares.sum() else np.array([1.0, 0.0, 0.0])
    return total


def encode_profile(profile: "Profile", tokenizer: "Tokenizer", window: int, *, specials: bool = False) -> Chunks:
    """Stretches of a profile with their token ids and weights; `specials` as in `encode_stretches`."""
    return encode_stretches(read_stretches(profile, window), tokenizer, specials=specials)


def read_chunks(chunks: Chunks, table: TokenTable) -> Reading:
    """Words and marks by the rules of `dft_stats.stream`, with all that it takes back: no stretch takes back what the one before counted.

    Each stretch is read as if it followed a word: directly if it continues one, otherwise behind white space.
    """
    ids, owner = chunks.ids, chunks.owner

    def before(values: NDArray[Any]) -> NDArray[Any]:
        shifted = np.zeros_like(values)
        shifted[1:] = np.where(owner[1:] == owner[:-1], values[:-1], 0)
        return shifted

    first = np.diff(owner, prepend=-1) != 0
    opens_with_digit = np.array([text[0].isdecimal() for text in chunks.texts], bool)
    outside = np.where(chunks.continues, np.where(opens_with_digit, LETTER_TAIL, DIGIT_TAIL), NO_TAIL)  # as `encode_stretches` has it
    tail = np.where(first, outside[owner], before(table.tail[ids]))
    continues = CONTINUES[before(LINKS[table.joiner[ids], tail]), table.head[ids]]
    begun = np.maximum(0, table.words_before[ids] - (table.glues[ids] & ((tail > 0) | continues))).astype(np.int64)
    begun += table.words_after[ids]
    stands = np.ones(len(ids), bool)
    stands[:-1] = ~continues[1:]
    marks = np.zeros(len(MARK_CLASSES))
    weights = chunks.weights[owner]
    for column in (table.first_mark, table.last_mark):
        chosen = (column[ids] >= 0) & stands
        marks += np.bincount(column[ids[chosen]], weights[chosen], len(MARK_CLASSES))
    return Reading(words=float(weights @ begun), marks=marks, begins=begun > 0)
