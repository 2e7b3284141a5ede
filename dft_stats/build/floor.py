"""The human-human floor: by how much two random samples of one corpus differ, by statistic and sample size.

Two disjoint samples of `words` words each are drawn, document by document, never the same document on both sides; they differ by what
`dft_stats.compare.discrepancies` says. A distance is then read as a multiple of this: 1 is what two humans' texts differ by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, log2, nan
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.events import entropies, marks, sentence_lengths
from dft_stats.build.hashing import Hashes, hash_texts, mix
from dft_stats.build.ngrams import ngrams
from dft_stats.build.sample import Excerpt
from dft_stats.build.scan import OPENS
from dft_stats.build.threads import ALONE, Threads
from dft_stats.build.units import Units, read_units
from dft_stats.build.windows import read_windows
from dft_stats.compare import COMPARED_ORDERS, LONG, LONGEST_GAP, SHORT
from dft_stats.counts import Counts
from dft_stats.measures import wasserstein_1
from dft_stats.sentences import Segmenter
from dft_stats.statistics import NGRAM_FREQUENCY, TOKEN_FREQUENCY
from dft_stats.tables import FLOOR_SCHEMA
from dft_stats.text import MARK_CLASSES

SIZES = tuple(1000 * 2**k for k in range(9))  # words a side
MAX_REPEATS = 16
BUDGET_WORDS = 800_000  # read for one size, all repeats together
Integers = NDArray[np.int64]
_FEW = 32
_ONE = np.uint64(1)


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
    threads: Threads = ALONE,
) -> pa.Table:
    """Rows (statistic, words, mean, sd) of the discrepancy of two samples, over repeated draws.

    Args:
        excerpts: from `Sample.excerpts`.
        kept: the counts of the profile; what it pruned is pooled, as it will be when a text is compared with the profile.
        segmenter: of the profile.
        typography: of the profile.
        progress: told when it begins.
        threads: to draw with.
    """
    documents = np.array(sorted({excerpt.document for excerpt in excerpts}))
    words = np.array([excerpt.text.count(" ") + 1 for excerpt in excerpts])
    if len(documents) < 4 or 2.2 * SIZES[0] > words.sum():
        return FLOOR_SCHEMA.empty_table()
    if progress:
        progress(f"human-human floor: samples of {len(excerpts):,} excerpts")
    owner = np.searchsorted(documents, [excerpt.document for excerpt in excerpts])
    events = read_events([excerpt.text for excerpt in excerpts], kept, segmenter, typography, threads=threads)
    sizes = [size for size in SIZES if 2.2 * size <= words.sum()]
    rows = [row for own in threads.each(lambda size: _of_size(size, events, owner, words), sizes) for row in own]
    return pa.Table.from_pylist(rows, schema=FLOOR_SCHEMA)


def _of_size(size: int, events: Mapping[str, Events], owner: Integers, words: Integers) -> list[dict[str, Any]]:
    """Rows of samples of `size` words. Others as in `draw`."""
    room = room_of(events)
    found: dict[str, list[float]] = {}
    for repeat in range(int(np.clip(BUDGET_WORDS // (2 * size), 2, MAX_REPEATS))):
        halves = draw(owner, words, size, seed=(size, repeat))
        if halves is None:
            break
        for statistic, value in discrepancies_of(events, *halves, room).items():
            found.setdefault(statistic, []).append(value)
    return [
        {"statistic": statistic, "words": size, "mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
        for statistic, values in sorted(found.items())
        if len(values) >= 2
    ]


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


def read_events(
    texts: Sequence[str], kept: Mapping[str, Counts], segmenter: Segmenter, typography: str, *, threads: Threads = ALONE
) -> dict[str, Events]:
    """The events of all excerpts, by the names of `dft_stats.compare.discrepancies`; of n-grams "ngram_frequency/N"."""
    units = read_units(texts, segmenter, typography=typography)
    windows = read_windows(units)
    begins = _openings(units, texts, segmenter, typography)
    found: dict[str, Callable[[], Events]] = {}
    for n, hashes, counted, _ in ngrams(units, max(COMPARED_ORDERS)):
        at = np.flatnonzero(counted)
        if n == 1 or n in COMPARED_ORDERS:
            name = TOKEN_FREQUENCY.name if n == 1 else f"{NGRAM_FREQUENCY.name}/{n}"
            counts = kept[TOKEN_FREQUENCY.name if n == 1 else NGRAM_FREQUENCY.name]
            found[name] = threads.start(_categories, hashes[at], at, begins, counts, *([n] if n > 1 else []))
    at, previous, gap, mark = marks(units, windows)
    gaps = (previous * (LONGEST_GAP + 1) + np.minimum(gap, LONGEST_GAP)) * len(MARK_CLASSES) + mark
    found["punctuation_rhythm"] = threads.start(_categories, gaps.astype(np.uint64), at, begins)
    first, lengths, _ = sentence_lengths(units, windows)
    ordered = {"sentence_length": Events(lengths, np.searchsorted(first, begins), 0)}
    by_window = entropies(units, windows)
    for name, window in (("entropy", LONG), ("entropy_32", SHORT)):
        first, _, centibits = by_window[window]
        ordered[name] = Events(centibits, np.searchsorted(first, begins), 0)
    return {name: own() for name, own in found.items()} | ordered


def room_of(events: Mapping[str, Events]) -> dict[str, NDArray[np.int32]]:
    """For one thread to count in: by name (cells, 2), zeros."""
    return {name: np.zeros((own.cells, 2), np.int32) for name, own in events.items()}


def discrepancies_of(
    events: Mapping[str, Events], reference: Integers, other: Integers, room: Mapping[str, NDArray[np.int32]]
) -> dict[str, float]:
    """`dft_stats.compare.discrepancies` of the counts of two lists of excerpts. `room`: from `room_of`."""
    found: dict[str, float] = {}
    orders = []
    for name, own in events.items():
        if own.cells:
            value = _jensen_shannon_bits(own.value, own.begins, reference, other, room[name])
            if isnan(value):
                continue
            if "/" in name:
                orders.append(value)
            else:
                found[name] = value
            continue
        a, b = own.of(reference), own.of(other)
        if len(a) and len(b):
            scale = 100 if name.startswith("entropy") else 1
            found[name] = wasserstein_1(a / scale, np.ones(len(a)), b / scale, np.ones(len(b)))
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


def _categories(values: Hashes, at: Integers, begins: Integers, counts: Counts | None = None, *group: int) -> Events:
    """Events by cells; those that a group of `counts`, if given, has pruned share one."""
    kept = None if counts is None else _kept(counts, *group)
    cell, cells = _cells(values, np.empty(0, np.uint64) if kept is None else kept, kept is not None)
    return Events(cell, np.searchsorted(at, begins), int(cells))


def _kept(counts: Counts, *group: int) -> Hashes | None:
    """Numbers of the texts that a table has; None if it has all."""
    if not len(counts.spectrum):
        return None
    texts = counts.column(counts.statistic.text_key, *group).cast(pa.large_string()).combine_chunks()
    texts = pa.concat_arrays(texts.chunks) if isinstance(texts, pa.ChunkedArray) else texts
    _, offsets, letters = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1] if len(texts) else np.zeros(1, np.int64)
    numbers: Hashes = hash_texts(np.frombuffer(letters or b"", np.uint8), ends)[0]
    return numbers


@njit(cache=True, nogil=True)
def _cells(values: Hashes, kept: Hashes, is_pruned: bool) -> tuple[Integers, int]:
    """Cells numbered as their values turn up, and how many there are; 0 is for what was pruned."""
    capacity = 16
    while capacity < 2 * values.size:
        capacity *= 2
    slots, mask = np.zeros(capacity, np.int32), np.uint64(capacity - 1)  # a slot has a cell, or 0
    of_cell = np.empty(values.size + 1, np.uint64)
    cell, cells = np.empty(values.size, np.int64), 0
    for i in range(values.size):
        place = _slot(slots, of_cell, values[i], mask)
        if not slots[place]:
            cells += 1
            slots[place], of_cell[cells] = cells, values[i]
        cell[i] = slots[place]
    is_kept = np.zeros(cells + 1, np.bool_)
    for i in range(kept.size):
        is_kept[slots[_slot(slots, of_cell, kept[i], mask)]] = True
    for i in range(values.size):
        if is_pruned and not is_kept[cell[i]]:
            cell[i] = 0
    return cell, cells + 1


@njit(cache=True, nogil=True)
def _slot(slots: NDArray[np.int32], of_cell: Hashes, value: np.uint64, mask: np.uint64) -> np.uint64:
    """The slot of a value, or the free one where it belongs."""
    place = mix(value) & mask
    while slots[place] and of_cell[slots[place]] != value:
        place = (place + _ONE) & mask
    return np.uint64(place)


@njit(cache=True, nogil=True)
def _jensen_shannon_bits(cell: Integers, begins: Integers, reference: Integers, other: Integers, counts: NDArray[np.int32]) -> float:
    """`measures.jensen_shannon_bits` of the events of two lists of excerpts, each given as its cell; NaN if one has none.

    Args:
        cell: (events,).
        begins: (excerpts + 1,).
        reference: excerpts.
        other: excerpts.
        counts: (cells, 2), zeros, and zeros again afterwards.
    """
    sizes = np.zeros(2, np.int64)
    for side, own in enumerate((reference, other)):
        for excerpt in own:
            sizes[side] += begins[excerpt + 1] - begins[excerpt]
            for i in range(begins[excerpt], begins[excerpt + 1]):
                counts[cell[i], side] += 1
    few = np.full((_FEW, _FEW), nan)  # of the two counts: most are small, and logarithms dear
    total = 0.0
    for own in (reference, other):
        for excerpt in own:
            for i in range(begins[excerpt], begins[excerpt + 1]):
                both = counts[cell[i]]  # a cell is looked at once: then both are 0
                a, b = both[0], both[1]
                both[0] = both[1] = 0
                if a and b:
                    is_few = a < _FEW and b < _FEW
                    value = few[a, b] if is_few else nan
                    if isnan(value):
                        p, q = a / sizes[0], b / sizes[1]
                        value = p * log2(2 * p / (p + q)) + q * log2(2 * q / (p + q))
                        if is_few:
                            few[a, b] = value
                    total += value
                elif a:
                    total += a / sizes[0]
                elif b:
                    total += b / sizes[1]
    return max(0.0, total / 2) if sizes[0] and sizes[1] else nan
