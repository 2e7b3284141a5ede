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
from dft_stats.measures import jensen_shannon_bits, kl_bits

UNSEEN = 0.5
"""A row that a reference lacks counts as this part of the rarest that the coarsest reference has."""


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


def domain_distances(other: Counts, references: Sequence[Counts]) -> list[float]:
    """How far a text is from each of several references: KL(text || reference) in bits a unit, so the nearest one expects it best.

    Cells are the units that any reference lists, and one for the rest. Below the resolution of the coarsest reference (`UNSEEN` times its
    rarest row) all references have the same share: a large corpus must not win by knowing more rare words, nor a pruned one lose.
    """
    columns = [_columns(reference) for reference in references]
    totals = [max(reference.total(), 1) for reference in references]
    shares = [own.count.min() / total for own, total in zip(columns, totals, strict=True) if len(own.count)]
    floor = UNSEEN * max(shares, default=1.0)
    cells = pc.unique(pa.chunked_array([own.keys for own in columns], pa.string()))
    text = _on(cells, _columns(other))
    text = np.append(text, max(other.total() - text.sum(), 0))
    if not text.sum():
        text[-1] = 1  # no unit at all: as far away as what no reference knows
    return [kl_bits(text, np.append(np.maximum(_on(cells, own) / total, floor), floor)) for own, total in zip(columns, totals, strict=True)]


def _on(cells: pa.Array, columns: "_Columns") -> NDArray[np.float64]:
    index = pc.fill_null(pc.index_in(cells, value_set=columns.keys), -1).to_numpy(zero_copy_only=False)
    found: NDArray[np.float64] = np.append(columns.count, 0).astype(np.float64)[index]
    return found


@dataclass(frozen=True, slots=True)
class _Columns:
    keys: pa.Array
    count: NDArray[np.int64]
    documents: NDArray[np.int64]
    pruned: bool


def _columns(counts: Counts, *group: str | int) -> _Columns:
    rows = counts.rows(*group)
    pruned = counts.types(*group) > len(rows)
    return _Columns(rows[counts.statistic.text_key].combine_chunks(), rows["count"].to_numpy(), rows["documents"].to_numpy(), pruned)
