"""Tokens of a batch counted in its running text: what `dft_stats.statistics.tokenised` says a token at a time."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats.build.events import owned, owners_of_rows, rows_of
from dft_stats.build.scan import BROKEN, OPENS, SPACED
from dft_stats.build.units import Units
from dft_stats.build.windows import read_windows
from dft_stats.compiled import TokenTable
from dft_stats.sentences import RULE, Segmenter
from dft_stats.statistics import TOKEN_IDS, TOKEN_PAIRS
from dft_stats.statistics.surface import PARAGRAPH
from dft_stats.text import normalise
from dft_stats.token_counts import READING, read_streams, reader_sha256
from dft_stats.token_table import token_table
from dft_stats.tokenizer import readable, special_ids, surfaces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

READING_TABLE = "token_reading"
"""Table of a part beside those of statistics: what the reader saw, added up by event."""
_READING_SCHEMA = pa.schema([("event", pa.string()), ("count", pa.int64())])
_READ_AT_ONCE = 1 << 20  # tokens, about

Ints = NDArray[np.int64]


@lru_cache(maxsize=1)
def opened(tokenizer: str) -> "tuple[Tokenizer, TokenTable]":
    """A tokenizer and its token table from its JSON text: once a process."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(tokenizer)
    return made, token_table(surfaces(made), special_ids(made))


@lru_cache(maxsize=1)
def identity(tokenizer: str) -> str:
    """Hash of all that the tables depend on but the texts."""
    _, table = opened(tokenizer)
    return hashlib.sha256((tokenizer + reader_sha256(table)).encode()).hexdigest()


def count_tokens(
    texts: Sequence[str],
    units: Units,
    tokenizer: str,
    segmenter: Segmenter,
    *,
    typography: str = "fold",
    owners: NDArray[np.int64] | None = None,
) -> dict[str, pa.Table]:
    """Tables `token_ids`, `token_pairs` and `READING_TABLE` of a batch; if owners are given, who has which token and pair, too.

    Args:
        texts: raw.
        units: of these texts.
        tokenizer: JSON text.
        segmenter: that made the units.
        typography: as in `dft_stats.text.normalise`.
        owners: (documents with a unit,), whose each is.
    """
    made, table = opened(tokenizer)
    special = np.array(special_ids(made), np.int64)
    ids, at, opens = _encode([normalise(text, typography=typography) for text in texts], units, made, segmenter)
    is_text = ~np.isin(ids, special)
    run = np.cumsum(opens | ~is_text, dtype=np.int32)[is_text]  # nothing reaches over a special token
    ids, at = ids[is_text], at[is_text]
    begins = np.flatnonzero(np.diff(run, prepend=-1))
    first = np.flatnonzero(run[1:] == run[:-1])
    pairs = ids[first].astype(np.int64), ids[first + 1].astype(np.int64)
    windows, seen = read_windows(units), _read(ids, begins, table)
    events = ((TOKEN_IDS, [([ids.astype(np.int64)], at)]), (TOKEN_PAIRS, [([pairs[0], pairs[1]], at[first])]))
    found = {statistic.name: rows_of(statistic, blocks, windows, {}) for statistic, blocks in events}
    if owners is not None:
        found |= {owned(statistic.name): owners_of_rows(statistic, blocks, windows, {}, owners) for statistic, blocks in events}
    return found | {READING_TABLE: pa.table([list(seen), list(seen.values())], schema=_READING_SCHEMA)}


def _read(ids: NDArray[np.int32], begins: Ints, table: TokenTable) -> Counter[str]:
    """What the reader sees in streams that begin so, some at a time: it takes much memory."""
    seen: Counter[str] = Counter(dict.fromkeys(READING, 0))
    ends, first = np.append(begins[1:], len(ids)), 0
    while first < len(begins):
        behind = max(first + 1, int(np.searchsorted(ends, begins[first] + _READ_AT_ONCE, side="right")))
        part = ids[begins[first] : ends[behind - 1]].astype(np.int64)
        seen.update(read_streams(part, ends[first:behind] - begins[first:behind], table))
        first = behind
    return seen


@readable()
def _encode(
    texts: Sequence[str], units: Units, tokenizer: "Tokenizer", segmenter: Segmenter
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    """Of each token of normalised texts: its id, the unit in which it begins, whether it opens a document."""
    ids, at, opens = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [np.zeros(0, np.bool_)]
    begin = 0
    for text, ends in zip(texts, _unit_ends(texts, units, segmenter), strict=True):
        if not len(ends):
            continue
        encoding = tokenizer.encode(text, add_special_tokens=False)
        starts = np.array(encoding.offsets, np.int64).reshape(-1, 2)[:, 0]
        unit = np.searchsorted(ends, np.maximum.accumulate(starts), side="right")  # behind white space the next one
        ids.append(np.array(encoding.ids, np.int32))
        at.append((begin + np.minimum(unit, len(ends) - 1)).astype(np.int32))
        opens.append(np.arange(len(starts)) == 0)
        begin += len(ends)
    return np.concatenate(ids), np.concatenate(at), np.concatenate(opens)


def _unit_ends(texts: Sequence[str], units: Units, segmenter: Segmenter) -> Iterator[Ints]:
    """Of each text, where its units end, in characters."""
    if segmenter.identity != RULE.identity:  # its units may leave out what they like: it is asked once more
        for text in texts:
            yield np.array([unit.end for sentence in segmenter.sentences(text) for unit in sentence], np.int64)
        return
    opens = (units.flags & OPENS) > 0
    size = pc.utf8_length(units.vocabulary).to_numpy()[units.id] + ((units.flags & SPACED) > 0)
    ends = np.cumsum(size + len(PARAGRAPH) * (((units.flags & BROKEN) > 0) & ~opens))
    bounds = [*np.flatnonzero(opens).tolist(), len(ends)]
    number = 0
    for text in texts:
        if not text:
            yield ends[:0]
            continue
        first, behind = bounds[number : number + 2]
        before = ends[first - 1] if first else 0
        number += 1
        yield ends[first:behind] - before
