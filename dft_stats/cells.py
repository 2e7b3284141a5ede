"""Two categorical tables side by side, and which of several references a text is nearest to.

A profile may have been pruned. A row that a pruned table lacks may or may not occur there, so a *cell* is known to a table if the row is
there, or the table is unpruned, when its absence means zero. What is not known to both goes to one cell for the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats.counts import Counts
from dft_stats.measures import jensen_shannon_bits

UNSEEN = 0.5
"""A row that a pruned reference lacks counts as this share of the smallest count that it keeps."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Counts of the cells that both tables know, each array of shape (cells,), without the cell for the rest."""

    keys: pa.Array
    reference: NDArray[np.int64]
    other: NDArray[np.int64]
    reference_documents: NDArray[np.int64]
    other_documents: NDArray[np.int64]
    reference_total: int
    other_total: int


def align(reference: Counts, other: Counts, *group: str | int) -> Cells:
    """The cells known to both, for one group of a categorical statistic (n of n-grams)."""
    a, b = _columns(reference, *group), _columns(other, *group)
    in_b = pc.fill_null(pc.index_in(a.keys, value_set=b.keys), -1).to_numpy(zero_copy_only=False)
    shared_a = in_b >= 0
    only_b = np.ones(len(b.keys), bool)
    only_b[in_b[shared_a]] = False
    # Rows of the one that the other lacks are cells if the other is unpruned.
    take_a = np.flatnonzero(shared_a | (not b.pruned))
    take_b = np.flatnonzero(only_b & (not a.pruned))
    match = in_b[take_a]

    def column(own: NDArray[np.int64], joined: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        matched = np.where(match >= 0, joined[match], 0) if len(joined) else np.zeros(len(match), np.int64)
        return np.concatenate([own[take_a], np.zeros(len(take_b), np.int64)]), np.concatenate([matched, joined[take_b]])

    counts, documents = column(a.count, b.count), column(a.documents, b.documents)
    keys = pa.concat_arrays([a.keys.take(pa.array(take_a)), b.keys.take(pa.array(take_b))])
    return Cells(keys, *counts, *documents, reference.total(*group), other.total(*group))


def jensen_shannon_of(cells: Cells) -> float | None:
    """Jensen-Shannon divergence in bits, the rest of each side in one cell; None if one side has no event at all."""
    if not cells.reference_total or not cells.other_total:
        return None
    reference = np.append(cells.reference, cells.reference_total - cells.reference.sum())
    other = np.append(cells.other, cells.other_total - cells.other.sum())
    return jensen_shannon_bits(reference, other)


def known_cells(references: Sequence[Counts]) -> pa.Array:
    """The cells on which several references are judged alike: the rows of any of them."""
    return pc.unique(pa.chunked_array([_columns(counts).keys for counts in references], pa.string()))


def domain_distance(other: Counts, reference: Counts, cells: pa.Array) -> float:
    """How far a text is from one of several references: Jensen-Shannon divergence in bits over `cells` and one cell for the rest.

    A cell that a pruned reference lacks counts there as `UNSEEN` times the smallest count that it keeps: less than any row it has, and
    not nothing, so that a reference is not punished for being pruned.
    """
    ours, theirs = _on(cells, reference), _on(cells, other)
    if not ours.sum() or not theirs.sum():
        return 1.0  # nothing in common to judge by
    rests = [max(counts.total() - on.sum(), 0) for counts, on in ((reference, ours), (other, theirs))]
    return jensen_shannon_bits(np.append(ours, rests[0]), np.append(theirs, rests[1]))


def _on(cells: pa.Array, counts: Counts) -> NDArray[np.float64]:
    columns = _columns(counts)
    index = pc.fill_null(pc.index_in(cells, value_set=columns.keys), -1).to_numpy(zero_copy_only=False)
    if not len(columns.count):
        return np.zeros(len(cells))
    absent = UNSEEN * columns.count.min() if columns.pruned else 0.0
    found: NDArray[np.float64] = np.where(index >= 0, columns.count[index], absent)
    return found


@dataclass(frozen=True, slots=True)
class _Columns:
    keys: pa.Array
    count: NDArray[np.int64]
    documents: NDArray[np.int64]
    pruned: bool


def _columns(counts: Counts, *group: str | int) -> _Columns:
    (key,) = [name for name in counts.statistic.keys if name not in counts.statistic.groups]
    rows = counts.rows(*group)
    pruned = counts.types(*group) > len(rows)
    return _Columns(rows[key].combine_chunks(), rows["count"].to_numpy(), rows["documents"].to_numpy(), pruned)
