"""The table `spelling` of a profile that is to be published: no row that fewer than `floor` owners have.

Pieces of rare words lie inside words that many documents have, and yet say much where little is rare: of one name in one document, " Ko",
"wal", "ski" are all that there is to put together. So a piece is told only if the rare stretches of `floor` owners have it, with its case,
its marks and the space before it. What is not told is cut into pieces that are, and single characters; and characters that fewer than
`floor` owners bring along become `PLACEHOLDER`: one cell that says how many there were, and nothing else. Every stretch still begins once.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dft_stats.build.events import Part
from dft_stats.build.hashing import Hashes
from dft_stats.build.owners import Wanted, owners_of
from dft_stats.build.spelling import Spelling, sorted_table
from dft_stats.spelling import in_told_parts, masked_character
from dft_stats.statistics import SURFACE

Ints = NDArray[np.int64]


def guarded(spelling: Spelling, stretches: Hashes, parts: Sequence[Part], floor: int) -> pa.Table:
    """The table, sorted.

    Args:
        spelling: of all stretches that `surface` lacks, recorded.
        stretches: their keys, in the order in which they were added.
        parts: all of the corpus.
        floor: owners of a row.
    """
    texts, count = spelling.rows()
    begins, rows = spelling.recorded()
    enough = _owners(stretches, begins, rows, len(count), parts, floor) >= floor
    spelt = texts.to_pylist()
    told = {text for text, is_told in zip(spelt, enough.tolist(), strict=True) if is_told}
    number: dict[str, int] = {}
    pieces = [[text] if text in told else in_told_parts(text, told) for text in spelt]
    into = [[number.setdefault(piece, len(number)) for piece in own] for own in pieces]
    sizes = np.array([len(own) for own in into], np.int64)
    flat, starts = np.fromiter((row for own in into for row in own), np.int64, int(sizes.sum())), np.cumsum(sizes) - sizes
    # The rows of each stretch, each in place of its own.
    wide = sizes[rows]
    ends = np.cumsum(wide)
    cut = flat[np.repeat(starts[rows] - (ends - wide), wide) + np.arange(int(wide.sum()))]
    cut_begins = np.concatenate([[0], ends])[begins]
    owners = _owners(stretches, cut_begins, cut, len(number), parts, floor)
    total = np.zeros(len(number), np.int64)
    np.add.at(total, flat, np.repeat(count, sizes))
    found: dict[str, int] = {}
    for text, own, have in zip(number, total.tolist(), owners.tolist(), strict=True):
        name = text if have >= floor else masked_character(text)
        found[name] = found.get(name, 0) + own
    return sorted_table(pa.array(list(found), pa.large_string()), np.array(list(found.values()), np.int64))


def _owners(stretches: Hashes, begins: Ints, rows: Ints, size: int, parts: Sequence[Part], floor: int) -> Ints:
    return owners_of({SURFACE.name: Wanted(stretches, begins, rows, size)}, parts, floor)[SURFACE.name]
