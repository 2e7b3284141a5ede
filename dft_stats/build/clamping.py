"""What one document, or one group, may contribute to a differentially private profile, and the sums of these contributions.

An owner gives the first `UNITS` units of his texts, in whole sentences, and `SENTENCES` of these at the most. From them come the events of
every table; of each table, no row gets more than `per_row` of one owner, and the owner's rows together no Euclidean norm above `norm`. So
adding an owner or taking one away changes a table by no more than its `Bound`: that is all that the noise has to hide.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from dft_stats.build.events import STREAM_FLAGS, number_blocks
from dft_stats.build.formats import Signed
from dft_stats.build.hashing import mix
from dft_stats.build.ngrams import ngrams, stretches
from dft_stats.build.places import STRETCH, Places, Read, texts_at
from dft_stats.build.scan import ENDS, OPENS
from dft_stats.build.units import Units, read_units
from dft_stats.build.windows import read_windows
from dft_stats.masking import Masks
from dft_stats.sentences import Segmenter
from dft_stats.statistics import ENTROPY, NGRAM_FREQUENCY, PUNCTUATION_RHYTHM, SENTENCE_LENGTH, SURFACE, TOKEN_FREQUENCY
from dft_stats.text import MARK_CLASSES, WORD

UNITS, SENTENCES = 256, 32
CHARACTERS = 12 * UNITS  # of an owner's texts that are looked at
TOTALS = "totals"
_SERIES = {SENTENCE_LENGTH.name: ("pairs", "units", "words"), PUNCTUATION_RHYTHM.name: ("gaps", "marks")}
_OWNERS = 4_000  # read at once
Ints = NDArray[np.int64]
Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """By how much one owner changes a table: rows, Euclidean norm, and any one row."""

    rows: int
    norm: int
    per_row: int


def bounds(max_order: int) -> dict[str, Bound]:
    """By table; of n-grams and series "TABLE/GROUP". Of `TOTALS`, six sums or more, each of `UNITS` at the most."""
    found = {TOKEN_FREQUENCY.name: Bound(UNITS, 32, 16), SURFACE.name: Bound(UNITS, 28, 16)}
    found |= {f"{NGRAM_FREQUENCY.name}/{n}": Bound(UNITS, 20, 8) for n in range(2, max_order + 1)}
    found |= {f"{SENTENCE_LENGTH.name}/{series}": Bound(SENTENCES, 8, 4) for series in _SERIES[SENTENCE_LENGTH.name]}
    found |= {f"{PUNCTUATION_RHYTHM.name}/gaps": Bound(UNITS, 12, 6), f"{PUNCTUATION_RHYTHM.name}/marks": Bound(len(MARK_CLASSES), 24, 16)}
    found[ENTROPY.name] = Bound(UNITS // 32 + UNITS // 128, 8, 6)
    totals = max_order + 2  # words, units, n-grams, stretches
    return found | {TOTALS: Bound(totals, int(np.ceil(UNITS * totals**0.5)), UNITS)}


def owned_texts(
    texts: Iterable[str], masks: Masks, *, typography: str, masked: dict[str, int] | None = None
) -> tuple[list[str], list[bool]]:
    """The beginning of what each owner wrote, masked, as one text, and whether it was cut. A text that nobody signed is an owner's own.

    What was replaced is added to `masked`.
    """
    found: dict[object, list[str]] = {}
    for i, text in enumerate(texts):
        pieces = found.setdefault(("", i) if not isinstance(text, Signed) else text.owner, [])
        if sum(map(len, pieces)) <= CHARACTERS:
            own, number = masks.apply([text], typography=typography)
            pieces += [piece[: CHARACTERS + 1] for piece in own]
            if masked is not None:
                masked.update({kind: masked.get(kind, 0) + more for kind, more in number.items()})
    whole = ["\n\n".join(filter(None, pieces)) for pieces in found.values()]
    return [text[:CHARACTERS] for text in whole], [len(text) > CHARACTERS for text in whole]


def sums(
    texts: Sequence[str], is_cut: Sequence[bool], segmenter: Segmenter, *, typography: str, max_order: int
) -> dict[str, dict[Key, int]]:
    """Clamped sums over owners, by table and key; of `TOTALS` the sums that are named there, and how many owners have a text.

    Args:
        texts: of one owner each.
        is_cut: whether it goes on, so that its last sentence may not be whole.
        segmenter: finds units and sentences.
        typography: of the texts.
        max_order: longest n-grams.
    """
    bound, found = bounds(max_order), dict[str, dict[Key, int]]()
    frames: dict[str, list[pl.DataFrame]] = {name: [] for name in bound}
    for begin in range(0, len(texts), _OWNERS):
        some = slice(begin, begin + _OWNERS)
        units = clipped(read_units(texts[some], segmenter, typography=typography), is_cut[some], texts[some])
        for name, columns, owner in _events(units, max_order):
            events = pl.DataFrame({**columns, "owner": owner}).group_by(*columns, "owner").len("count")
            clamped = _clamped(events, bound[name])
            frames[name].append(clamped.group_by(*columns).agg(pl.col("count").sum()))
    for name, parts in frames.items():
        rows = pl.concat(parts) if parts else pl.DataFrame({"key": [], "count": []})
        keys = [column for column in rows.columns if column != "count"]
        added = rows.group_by(*keys).agg(pl.col("count").sum())
        found[name] = {tuple(row[:-1]): int(row[-1]) for row in added.select(*keys, "count").iter_rows()}
    return found


def clipped(units: Units, is_cut: Sequence[bool], texts: Sequence[str]) -> Units:
    """The units that owners give: whole sentences, not too many."""
    opens = (units.flags & OPENS) > 0
    document = np.cumsum(opens) - 1
    first = np.flatnonzero(opens)
    ends = (units.flags & ENDS) > 0
    sentence: Ints = np.cumsum(ends) - ends  # of the batch
    last = np.append(np.flatnonzero(ends), len(units.id))[sentence]  # unit with which its sentence ends
    inside = last - first[document] < UNITS if len(first) else np.zeros(0, bool)
    inside &= sentence - sentence[first][document] < SENTENCES if len(first) else True
    cut = np.array([own for own, text in zip(is_cut, texts, strict=True) if text], bool)
    behind = np.append(first[1:], len(units.id))[document] if len(first) else np.zeros(0, np.int64)
    inside &= ~(cut[document] & (last + 1 == behind)) if len(first) else True
    return Units(units.documents, units.vocabulary, units.numbers, units.factors, units.id[inside], units.kind[inside], units.flags[inside])


def _clamped(rows: pl.DataFrame, bound: Bound) -> pl.DataFrame:
    """Counts of rows and owners, within the bound: too much is cut off each row, then all of an owner are scaled down, to whole numbers."""
    rows = rows.with_columns(pl.col("count").cast(pl.Int64).clip(upper_bound=bound.per_row))
    norm = (pl.col("count") ** 2).sum().over("owner").sqrt()
    scaled = (pl.col("count") * pl.min_horizontal(pl.lit(1.0), bound.norm / norm) + 1e-9).floor().cast(pl.Int64)
    return rows.with_columns(scaled.alias("count")).filter(pl.col("count") > 0)


def _events(units: Units, max_order: int) -> Iterator[tuple[str, dict[str, object], Ints]]:
    """(table, key columns, owner) of the events of each table."""
    document = (np.cumsum((units.flags & OPENS) > 0) - 1).astype(np.int64)
    stream = (units.id.astype(np.uint32) << np.uint32(STREAM_FLAGS)) | units.flags.astype(np.uint32)
    totals: list[tuple[str, Ints]] = [("words", document[units.kind == WORD])]

    def texts(name: str, at: Ints, hashes: NDArray[np.uint64], size: int) -> tuple[str, dict[str, object], Ints]:
        _, where, index = np.unique(mix(hashes[at]), return_index=True, return_inverse=True)
        places = Places(Read(units.vocabulary, stream), at[where].astype(np.uint32), np.arange(len(where)))
        spelt = texts_at([places], len(where), size)
        totals.append((name, document[at]))
        return name, {"key": pl.Series(spelt.cast(pa.large_string())).gather(index.reshape(-1))}, document[at]

    for n, hashes, counted, _ in ngrams(units, max_order):
        yield texts(TOKEN_FREQUENCY.name if n == 1 else f"{NGRAM_FREQUENCY.name}/{n}", np.flatnonzero(counted), hashes, n)
    hashes, counted = stretches(units)
    yield texts(SURFACE.name, np.flatnonzero(counted), hashes, STRETCH)
    for statistic, blocks, names in number_blocks(units, read_windows(units)):
        parts = (
            list(blocks)
            if statistic.name in _SERIES
            else [([np.concatenate(c) for c in zip(*(k for k, _ in blocks), strict=True)], np.concatenate([at for _, at in blocks]))]
        )
        for i, (columns, at) in enumerate(parts):
            series = _SERIES.get(statistic.name)
            name = f"{statistic.name}/{series[i]}" if series else statistic.name
            keys: dict[str, object] = {
                key: pl.Series(names[key].take(pa.array(c))) if key in names else _coarse(name, key, c)
                for key, c in zip(statistic.keys, columns, strict=True)
            }
            yield name, keys, document[at]
    owner = np.concatenate([at for _, at in totals])
    yield TOTALS, {"key": np.repeat([name for name, _ in totals], [len(at) for _, at in totals])}, owner


def _coarse(name: str, key: str, values: Ints) -> Ints:
    """Lengths and gaps on a grid of so many an octave, entropies and types by tens: a cell has to have many owners to be told."""
    if key == "window":
        return values
    if name == ENTROPY.name:
        step = 10 if key == "centibits" else 2
        return np.asarray(values // step * step + step // 2)
    an_octave = 4 if name.endswith("pairs") else 16
    grid = np.rint(np.log2(np.maximum(values, 0) + 1.0) * an_octave) / an_octave
    return np.where(values < 0, values, np.rint(2**grid - 1)).astype(np.int64)
