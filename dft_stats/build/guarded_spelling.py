"""The table `spelling` of a profile that is to be published: no row that fewer than `floor` owners have.

Pieces of rare words lie inside words that many documents have, and yet say much where little is rare: of one name in one document, " Ko",
"wal", "ski" are all that there is to put together. So a piece is told only if the rare stretches of `floor` owners have it, with its case,
its marks and the space before it. What is not told is cut into pieces that are, and single characters; and characters that fewer than
`floor` owners bring along become `PLACEHOLDER`: one cell that says how many there were, and nothing else. Every stretch still begins once.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from dft_stats.build.hashing import Hashes
from dft_stats.build.owners import first_owners, owners_of_rows
from dft_stats.build.parts import AnyPart
from dft_stats.build.spelling import Spelling, sorted_table
from dft_stats.build.told_parts import in_told_parts
from dft_stats.spelling import masked_character
from dft_stats.statistics import SURFACE


def guarded(spelling: Spelling, stretches: Hashes, parts: Sequence[AnyPart], floor: int) -> pa.Table:
    """The table, sorted.

    Args:
        spelling: of all stretches that `surface` lacks, recorded.
        stretches: their keys, in the order in which they were added.
        parts: all of the corpus.
        floor: owners of a row.
    """
    texts, count = spelling.rows()
    begins, rows = spelling.recorded()
    first = first_owners({SURFACE.name: stretches}, parts, floor)[SURFACE.name]
    finer, starts, into = in_told_parts(texts, owners_of_rows(first, begins, rows, len(count)) >= floor)
    # The rows of each stretch, each in place of its own.
    sizes = np.diff(starts)
    wide = sizes[rows]
    ends = np.cumsum(wide)
    cut = into[np.repeat(starts[rows] - (ends - wide), wide) + np.arange(int(wide.sum()))]
    enough = owners_of_rows(first, np.concatenate([[0], ends])[begins], cut, len(finer)) >= floor
    total = np.zeros(len(finer), np.int64)
    np.add.at(total, into, np.repeat(count, sizes))
    told = pl.Series(finer.filter(pa.array(enough)))
    hidden = pl.Series([masked_character(text) for text in finer.filter(pa.array(~enough)).to_pylist()], dtype=pl.String)
    found = pl.DataFrame({"text": pl.concat([told, hidden]), "count": np.concatenate([total[enough], total[~enough]])})
    found = found.group_by("text").agg(pl.col("count").sum())
    return sorted_table(found["text"].to_arrow(), found["count"].to_numpy())
