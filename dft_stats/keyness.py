"""Keyness: which units and n-grams a text uses more, or less, than its reference does.

Words come in clusters: a word of which one document is full differs between any two texts, and says nothing of either. So the likelihood
ratio of each is divided by its *design effect*, the variance of its count between windows over that of independent occurrences, as in tests
of tables from cluster samples. The first-order correction of Rao and Scott (1981) is a mean of the effects of both sides; the larger, which
is taken here, bounds it, and serves where one side has no row or too little text to tell.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats.cells import Cells, align
from dft_stats.counts import WINDOWS, Counts, Exposure, design_effect
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
    log_likelihood: float  # ratio G2, signed: positive is over-use
    design_effect: float  # 1 or more: the larger of the two sides
    keyness: float  # the ratio over the effect


def key_items(
    reference: Counts,
    other: Counts,
    exposures: tuple[Exposure, Exposure],
    groups: Iterable[tuple[int | str, ...]] = ((),),
) -> list[KeyItem]:
    """All significant items of a categorical statistic, the greatest over-use first.

    What only one of several documents has is that document's topic, and left out: for over-use in the other, for under-use in the
    reference.

    Args:
        reference: counts of the reference.
        other: counts of what is judged.
        exposures: of both.
        groups: of the statistic, see `Counts.rows`.
    """
    items: list[KeyItem] = []
    ours, theirs = exposures
    for group in groups:
        cells = align(reference, other, *group)
        if not cells.reference_total or not cells.other_total:
            continue
        g2 = log_likelihood(cells.other, cells.other_total, cells.reference, cells.reference_total)
        chosen = np.flatnonzero(is_spread(cells, g2, exposures) & (np.abs(g2) >= SIGNIFICANT))
        keys = cells.keys.take(pa.array(chosen))
        effects = larger_effects(reference, other, exposures, keys, group)
        for text, i, effect in zip(keys.to_pylist(), chosen.tolist(), effects.tolist(), strict=True):
            if abs(g2[i]) / effect >= SIGNIFICANT:
                count, reference_count = int(cells.other[i]), int(cells.reference[i])
                rates = 1000 * count / max(theirs.words, 1), 1000 * reference_count / max(ours.words, 1)
                items.append(KeyItem(text, count, reference_count, *rates, float(g2[i]), effect, float(g2[i]) / effect))
    return sorted(items, key=lambda item: (-item.keyness, item.text))


def is_spread(cells: Cells, g2: NDArray[np.float64], exposures: tuple[Exposure, Exposure]) -> NDArray[np.bool_]:
    """Whether two documents, if there are two, of the side that uses it more have the row."""
    least, least_other = (min(2, exposed.documents) for exposed in exposures)
    found: NDArray[np.bool_] = np.where(g2 > 0, cells.other_documents >= least_other, cells.reference_documents >= least)
    return found


def larger_effects(
    reference: Counts, other: Counts, exposures: tuple[Exposure, Exposure], keys: pa.Array, group: tuple[int | str, ...]
) -> NDArray[np.float64]:
    """Design effect of each key on the side where it is larger, 1 at the least and where no side has the row, (keys,)."""
    found = np.ones(len(keys))
    for counts, exposed in zip((reference, other), exposures, strict=True):
        rows = counts.rows(*group)
        place = pc.index_in(rows[counts.statistic.text_key].combine_chunks(), value_set=keys)
        own = place.drop_null().to_numpy()
        found[own] = np.maximum(found[own], design_effect(counts, exposed, WINDOWS[-1], rows.filter(place.is_valid())))
    return found


def overused(items: list[KeyItem], top: int) -> tuple[KeyItem, ...]:
    """The first `top` items, those that are over-used, the greatest first."""
    return tuple(item for item in items[:top] if item.keyness > 0)


def underused(items: list[KeyItem], top: int) -> tuple[KeyItem, ...]:
    """The last `top` items, those that are under-used, the greatest first."""
    return tuple(item for item in items[::-1][:top] if item.keyness < 0)
