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
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, are_among
from dft_stats.build.owners import Ints, RowsOf, owners_of_rows
from dft_stats.build.parts import AnyPart
from dft_stats.build.spelling import Spelling, sorted_table
from dft_stats.build.told_parts import in_told_parts
from dft_stats.errors import CorpusError
from dft_stats.spelling import masked_character
from dft_stats.statistics.surface import PARAGRAPH


def guarded(spelling: Spelling, listed: Hashes, whole: Hashes, parts: Sequence[AnyPart], floor: int, memory: int) -> pa.Table:
    """The table, sorted.

    Args:
        spelling: of all stretches that `surface` lacks.
        listed: keys of the stretches that `surface` has.
        whole: keys of others, that `spelling` does not cut.
        parts: all of the corpus.
        floor: owners of a row.
        memory: bytes, for these.

    Raises:
        CorpusError: they do not fit into `memory`; the parts say something else than when their rows were added.
    """
    texts, count = spelling.rows()
    whole = np.sort(whole)

    def rows_of(stretches: pa.LargeStringArray, keys: Hashes) -> tuple[Ints, Ints]:
        found = spelling.rows_of(stretches, are_among(keys, whole))
        if len(spelling) > len(count):
            raise CorpusError("the texts of parts are not those that were counted: delete the parts (of --parts), and build again")
        return found

    told: NDArray[np.bool_] = owners_of_rows(rows_of, len(count), listed, parts, floor, memory) >= floor
    finer, starts, into = in_told_parts(texts, told)
    enough = np.zeros(len(finer), bool)
    enough[into[starts[:-1][told]]] = True  # told rows are whole; the others are made of them, and of characters
    if not enough.all():
        enough |= owners_of_rows(_into(rows_of, finer, starts, into, ~enough), len(finer), listed, parts, floor, memory) >= floor
    total = np.zeros(len(finer), np.int64)
    np.add.at(total, into, np.repeat(count, np.diff(starts)))
    own = pl.Series(finer.filter(pa.array(enough)))
    hidden = pl.Series([masked_character(text) for text in finer.filter(pa.array(~enough)).to_pylist()], dtype=pl.String)
    found = pl.DataFrame({"text": pl.concat([own, hidden]), "count": np.concatenate([total[enough], total[~enough]])})
    found = found.group_by("text").agg(pl.col("count").sum())
    return sorted_table(found["text"].to_arrow(), found["count"].to_numpy())


def _opened(stretches: pa.LargeStringArray) -> pl.Series:
    """As `dft_stats.spelling.opened`: their rows, one behind the other."""
    texts = pl.Series("text", stretches)
    return pl.select(pl.when(texts.str.starts_with(" ")).then(texts).otherwise(PARAGRAPH + texts)).to_series()


def _into(rows_of: RowsOf, texts: pa.LargeStringArray, starts: Ints, into: Ints, asked: NDArray[np.bool_]) -> RowsOf:
    """Of stretches the parts of their rows, those that are asked for.

    Args:
        rows_of: stretches count for.
        texts: (parts,).
        starts: (rows + 1,), where the parts of each row begin.
        into: parts of the rows.
        asked: (parts,).
    """
    is_asked = asked[into]
    before = np.concatenate([[0], np.cumsum(is_asked)])
    starts, into = before[starts], into[is_asked]
    wanted = texts.filter(pa.array(asked)).to_pylist()

    def parts_of(stretches: pa.LargeStringArray, keys: Hashes) -> tuple[Ints, Ints]:
        may_have = _opened(stretches).str.contains_any(wanted).to_numpy()  # few do, and to cut the others would take long
        begins, rows = rows_of(stretches.filter(pa.array(may_have)), keys[may_have])
        sizes = starts[rows + 1] - starts[rows]
        ends = np.cumsum(sizes)
        own = into[np.repeat(starts[rows] - (ends - sizes), sizes) + np.arange(int(sizes.sum()))]
        numbers = np.zeros(len(stretches), np.int64)
        numbers[may_have] = np.diff(np.concatenate([[0], ends])[begins])
        return np.concatenate([[0], np.cumsum(numbers)]), own

    return parts_of
