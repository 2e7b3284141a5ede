"""The human-human floor: by how much two random samples of one corpus differ, by statistic and sample size.

Two disjoint samples of `words` words each are drawn, document by document, never the same document on both sides; they differ by what
`dft_stats.compare.discrepancies` says. A distance is then read as a multiple of this: 1 is what two humans' texts differ by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dft_stats.build.events import entropies, marks, ngrams, sentence_lengths
from dft_stats.build.hashing import Hashes, hash_texts
from dft_stats.build.sample import Excerpt
from dft_stats.build.scan import OPENS
from dft_stats.build.units import Units, read_units
from dft_stats.build.windows import read_windows
from dft_stats.compare import COMPARED_ORDERS, LONG, LONGEST_GAP, SHORT
from dft_stats.counts import Counts
from dft_stats.measures import jensen_shannon_bits, wasserstein_1
from dft_stats.profile import FLOOR_SCHEMA
from dft_stats.sentences import Segmenter
from dft_stats.statistics import NGRAM_FREQUENCY, TOKEN_FREQUENCY
from dft_stats.text import MARK_CLASSES

SIZES = tuple(1000 * 2**k for k in range(9))  # words a side
MAX_REPEATS = 16
BUDGET_WORDS = 800_000  # read for one size, all repeats together
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one statistic in all excerpts."""

    value: Integers  # (events,): number of the cell, or the value itself where values are ordered
    begins: Integers  # (excerpts + 1,)
    cells: int  # 0 where values are ordered

    def of(self, excerpts: Integers) -> Integers:
        """Values of some excerpts."""
        size = self.begins[excerpts + 1] - self.begins[excerpts]
        first = np.repeat(self.begins[excerpts] - (np.cumsum(size) - size), size)
        return self.value[first + np.arange(len(first))]


def human_floor(
    excerpts: Sequence[Excerpt],
    kept: Mapping[str, Counts],
    segmenter: Segmenter,
    *,
    typography: str = "fold",
    progress: Callable[[str], None] | None = None,
) -> pa.Table:
    """Rows (statistic, words, mean, sd) of the discrepancy of two samples, over repeated draws.

    Args:
        excerpts: from `Sample.excerpts`.
        kept: the counts of the profile; what it pruned is pooled, as it will be when a text is compared with the profile.
        segmenter: of the profile.
        typography: of the profile.
        progress: told when it begins.
    """
    documents = np.array(sorted({excerpt.document for excerpt in excerpts}))
    words = np.array([excerpt.text.count(" ") + 1 for excerpt in excerpts])
    if len(documents) < 4 or 2.2 * SIZES[0] > words.sum():
        return FLOOR_SCHEMA.empty_table()
    if progress:
        progress(f"human-human floor: samples of {len(excerpts):,} excerpts")
    owner = np.searchsorted(documents, [excerpt.document for excerpt in excerpts])
    events = read_events([excerpt.text for excerpt in excerpts], kept, segmenter, typography)
    rows = []
    for size in SIZES:
        if 2.2 * size > words.sum():
            break
        repeats = int(np.clip(BUDGET_WORDS // (2 * size), 2, MAX_REPEATS))
        found: dict[str, list[float]] = {}
        for repeat in range(repeats):
            halves = draw(owner, words, size, seed=(size, repeat))
            if halves is None:
                break
            for statistic, value in discrepancies_of(events, *halves).items():
                found.setdefault(statistic, []).append(value)
        rows += [
            {"statistic": statistic, "words": size, "mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
            for statistic, values in sorted(found.items())
            if len(values) >= 2
        ]
    return pa.Table.from_pylist(rows, schema=FLOOR_SCHEMA)


def draw(owner: Integers, words: Integers, size: int, *, seed: tuple[int, int]) -> tuple[Integers, Integers] | None:
    """Two lists of excerpts of at least `size` words each, no document on both sides; None if one side runs out.

    Args:
        owner: (excerpts,), index of the document of each.
        words: (excerpts,).
        size: words of a side.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    side = (generator.permutation(int(owner.max()) + 1) % 2)[owner]
    order = generator.permutation(len(owner))
    halves = []
    for own in (0, 1):
        mine = order[side[order] == own]
        needed = int(np.searchsorted(np.cumsum(words[mine]), size)) + 1
        if needed > len(mine):
            return None
        halves.append(mine[:needed])
    return halves[0], halves[1]


def read_events(texts: Sequence[str], kept: Mapping[str, Counts], segmenter: Segmenter, typography: str) -> dict[str, Events]:
    """The events of all excerpts, by the names of `dft_stats.compare.discrepancies`; of n-grams "ngram_frequency/N"."""
    units = read_units(texts, segmenter, typography=typography)
    windows = read_windows(units)
    begins = _openings(units, texts, segmenter, typography)
    found = {}
    for n, hashes, counted in ngrams(units, max(COMPARED_ORDERS)):
        at = np.flatnonzero(counted)
        if n == 1 or n in COMPARED_ORDERS:
            name = TOKEN_FREQUENCY.name if n == 1 else f"{NGRAM_FREQUENCY.name}/{n}"
            counts = kept[TOKEN_FREQUENCY.name if n == 1 else NGRAM_FREQUENCY.name]
            found[name] = _categories(_pooled(hashes[at], counts, *([n] if n > 1 else [])), at, begins)
    first, lengths, _ = sentence_lengths(units, windows)
    found["sentence_length"] = Events(lengths, np.searchsorted(first, begins), 0)
    at, previous, gap, mark = marks(units, windows)
    gaps = (previous * (LONGEST_GAP + 1) + np.minimum(gap, LONGEST_GAP)) * len(MARK_CLASSES) + mark
    found["punctuation_rhythm"] = _categories(gaps, at, begins)
    by_window = entropies(units, windows)
    for name, window in (("entropy", LONG), ("entropy_32", SHORT)):
        first, _, centibits = by_window[window]
        found[name] = Events(centibits, np.searchsorted(first, begins), 0)
    return found


def discrepancies_of(events: Mapping[str, Events], reference: Integers, other: Integers) -> dict[str, float]:
    """`dft_stats.compare.discrepancies` of the counts of two lists of excerpts."""
    found: dict[str, float] = {}
    orders = []
    for name, own in events.items():
        a, b = own.of(reference), own.of(other)
        if not len(a) or not len(b):
            continue
        if not own.cells:
            scale = 100 if name.startswith("entropy") else 1
            found[name] = wasserstein_1(a / scale, np.ones(len(a)), b / scale, np.ones(len(b)))
            continue
        cells = np.bincount(a, minlength=own.cells), np.bincount(b, minlength=own.cells)
        seen = (cells[0] + cells[1]) > 0
        value = jensen_shannon_bits(cells[0][seen], cells[1][seen])
        if "/" in name:
            orders.append(value)
        else:
            found[name] = value
    if orders:
        found[NGRAM_FREQUENCY.name] = float(np.mean(orders))
    return found


def _openings(units: Units, texts: Sequence[str], segmenter: Segmenter, typography: str) -> Integers:
    """(excerpts + 1,): unit with which each excerpt begins."""
    opened = np.flatnonzero(units.flags & OPENS)
    if len(opened) == len(texts):
        return np.append(opened, len(units.id))
    has_units = [len(read_units([text], segmenter, typography=typography).id) > 0 for text in texts]  # the others open nothing
    begins = np.full(len(texts) + 1, len(units.id))
    begins[:-1][has_units] = opened
    found: Integers = np.minimum.accumulate(begins[::-1])[::-1]
    return found


def _categories(values: NDArray[np.generic], at: Integers, begins: Integers) -> Events:
    distinct, cell = np.unique(values, return_inverse=True)
    return Events(cell.astype(np.int64), np.searchsorted(at, begins), len(distinct))


def _pooled(hashes: Hashes, kept: Counts, *group: int) -> Hashes:
    """The numbers, 0 for all rows that the profile pruned."""
    if not len(kept.spectrum):
        return hashes
    (key,) = [name for name in kept.statistic.keys if name not in kept.statistic.groups]
    texts = pa.array(kept.rows(*group)[key].to_pylist(), pa.large_string())
    offsets, letters = texts.buffers()[1:]
    numbers = np.sort(hash_texts(np.frombuffer(letters or b"", np.uint8), np.frombuffer(offsets, np.int64)[: len(texts) + 1])[0])
    place = np.minimum(np.searchsorted(numbers, hashes), max(len(numbers) - 1, 0))
    known = numbers[place] == hashes if len(numbers) else np.zeros(len(hashes), bool)
    return np.where(known, hashes, np.uint64(0))
