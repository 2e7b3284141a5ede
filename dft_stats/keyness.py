"""Keyness: which units and n-grams a text uses more, or less, than its reference does."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dft_stats.cells import Cells
from dft_stats.counts import Exposure
from dft_stats.measures import log_likelihood

SIGNIFICANT = 10.83  # p < 0.001 at one degree of freedom (Rayson, Berridge and Francis 2004)


@dataclass(frozen=True, slots=True)
class KeyItem:
    """A unit or n-gram that is used more, or less, than in the reference."""

    text: str
    count: int
    reference_count: int
    per_1000_words: float
    reference_per_1000_words: float
    log_likelihood: float  # signed: positive is over-use


def key_items(tables: Iterable[Cells], reference: Exposure, other: Exposure) -> list[KeyItem]:
    """All significant items of some aligned tables, the greatest over-use first.

    What only one of several documents has is that document's topic, and left out: for over-use in the other, for under-use in the
    reference.
    """
    items: list[KeyItem] = []
    for cells in tables:
        if not cells.reference_total or not cells.other_total:
            continue
        g2 = log_likelihood(cells.other, cells.other_total, cells.reference, cells.reference_total)
        spread = np.where(
            g2 > 0, cells.other_documents >= min(2, other.documents), cells.reference_documents >= min(2, reference.documents)
        )
        chosen = np.flatnonzero(spread & (np.abs(g2) >= SIGNIFICANT))
        for text, i in zip(cells.keys.take(pa.array(chosen)).to_pylist(), chosen.tolist(), strict=True):
            count, reference_count = int(cells.other[i]), int(cells.reference[i])
            rates = 1000 * count / max(other.words, 1), 1000 * reference_count / max(reference.words, 1)
            items.append(KeyItem(text, count, reference_count, *rates, float(g2[i])))
    return sorted(items, key=lambda item: (-item.log_likelihood, item.text))


def overused(items: list[KeyItem], top: int) -> tuple[KeyItem, ...]:
    """The first `top` items, those that are over-used, the greatest first."""
    return tuple(item for item in items[:top] if item.log_likelihood > 0)


def underused(items: list[KeyItem], top: int) -> tuple[KeyItem, ...]:
    """The last `top` items, those that are under-used, the greatest first."""
    return tuple(item for item in items[::-1][:top] if item.log_likelihood < 0)
