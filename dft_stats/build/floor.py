"""The human-human floor: by how much two random samples of one corpus differ, by statistic and sample size.

Two disjoint samples of `words` words each are drawn, document by document, never the same document on both sides; they are compared by
the very functions that compare profiles. A distance is then read as a multiple of this: 1 is what two humans' texts differ by.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats.build.sample import Excerpt
from dft_stats.compare import discrepancies
from dft_stats.counts import COUNTS, Counts, of_table, schema
from dft_stats.profile import FLOOR_SCHEMA

SIZES = tuple(1000 * 2**k for k in range(9))  # words a side
MAX_REPEATS = 16
BUDGET_WORDS = 800_000  # read for one size, all repeats together
REST = "\x00"
"""Key of all rows that the profile pruned: no text has it."""


def human_floor(
    excerpts: Sequence[Excerpt],
    kept: Mapping[str, Counts],
    count: Callable[[Sequence[str]], tuple[int, dict[str, Counts]]],
    *,
    progress: Callable[[str], None] | None = None,
) -> pa.Table:
    """Rows (statistic, words, mean, sd) of the discrepancy of two samples, over repeated draws.

    Args:
        excerpts: from `Sample.excerpts`.
        kept: the counts of the profile; what it pruned is pooled, as it will be when a text is compared with the profile.
        count: texts -> (words, counts), with the segmenter and normaliser of the profile.
        progress: told what is being drawn.
    """
    documents = np.array(sorted({excerpt.document for excerpt in excerpts}))
    estimated = sum(excerpt.text.count(" ") + 1 for excerpt in excerpts)
    rows = []
    for words in SIZES:
        if len(documents) < 4 or 2.2 * words > estimated:
            break
        if progress:
            progress(f"human-human floor: samples of {words:,} words")
        repeats = int(np.clip(BUDGET_WORDS // (2 * words), 2, MAX_REPEATS))
        found: dict[str, list[float]] = {}
        for repeat in range(repeats):
            halves = draw(excerpts, documents, words, seed=(words, repeat))
            if halves is None:
                break
            tables = [pool(count(half)[1], kept) for half in halves]
            for statistic, value in discrepancies(*tables).items():
                found.setdefault(statistic, []).append(value)
        rows += [
            {"statistic": statistic, "words": words, "mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
            for statistic, values in sorted(found.items())
            if len(values) >= 2
        ]
    return pa.Table.from_pylist(rows, schema=FLOOR_SCHEMA)


def draw(
    excerpts: Sequence[Excerpt],
    documents: NDArray[np.int64],
    words: int,
    *,
    seed: tuple[int, int],
) -> tuple[list[str], list[str]] | None:
    """Two lists of excerpts of at least `words` words each, no document on both sides; None if one side runs out."""
    generator = np.random.default_rng(seed)
    sides = dict(zip(documents.tolist(), (generator.permutation(len(documents)) % 2).tolist(), strict=True))
    halves: tuple[list[str], list[str]] = ([], [])
    missing = [words, words]
    for i in generator.permutation(len(excerpts)):
        side = sides[excerpts[i].document]
        if missing[side] > 0:
            halves[side].append(excerpts[i].text)
            missing[side] -= excerpts[i].text.count(" ") + 1
    return halves if max(missing) <= 0 else None


def pool(counts: Mapping[str, Counts], kept: Mapping[str, Counts]) -> dict[str, Counts]:
    """The counts with all rows that the profile does not have made one row a group."""
    return {name: _pool(counts[name], kept[name]) if len(kept[name].spectrum) else counts[name] for name in counts}


def _pool(counts: Counts, kept: Counts) -> Counts:
    keys, groups, columns = list(counts.statistic.keys), list(counts.statistic.groups), schema(counts.statistic)
    marked = kept.table.select(keys).append_column("known", pa.repeat(pa.scalar(True), len(kept.table)))
    joined = counts.table.join(marked, keys=keys, join_type="left outer")
    known = pc.fill_null(joined["known"], False)
    rest = joined.filter(pc.invert(known)).select([*groups, *COUNTS])
    rest = rest.append_column("rest", pa.repeat(pa.scalar(REST), len(rest)))
    rest = rest.group_by([*groups, "rest"]).aggregate([(column, "sum") for column in COUNTS])
    pooled = pa.table(
        [rest[key if key in groups else "rest"] for key in keys] + [rest[f"{column}_sum"] for column in COUNTS], schema=columns
    )
    table = pa.concat_tables([joined.filter(known).select(columns.names).cast(columns), pooled])
    return of_table(counts.statistic, table.sort_by([(key, "ascending") for key in keys]))
