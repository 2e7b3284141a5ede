"""What a profile that is to be published may tell, the slow way: owners as sets, everything looked up in the text itself."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
import pyarrow as pa

from dft_stats.counts import Counts, count, prune
from dft_stats.masking import Masks
from dft_stats.sentences import documents
from dft_stats.spelling import Known, in_told_parts, masked_character, opened
from dft_stats.statistics import COUNTED, SURFACE, TOKEN_FREQUENCY, Statistic
from dft_stats.text import Document


def owners_of(statistic: Statistic, segmented: Sequence[Document], owners: Sequence[Hashable]) -> dict[tuple, set]:  # type: ignore[type-arg]
    found: dict[tuple, set] = defaultdict(set)  # type: ignore[type-arg]
    for document, owner in zip(segmented, owners, strict=True):
        for key, _ in statistic.events(document):
            found[key].add(owner)
    return found


def enough(counts: Counts, segmented: Sequence[Document], owners: Sequence[Hashable], floor: int) -> np.ndarray:  # type: ignore[type-arg]
    have = owners_of(counts.statistic, segmented, owners)
    keys = zip(*(counts.table[name].to_pylist() for name in counts.statistic.keys), strict=True)
    return np.array([len(have[key]) >= floor for key in keys], bool)


def published(texts: Sequence[str], owners: Sequence[Hashable], floor: int, names: Sequence[str] = ()) -> dict[str, Counts]:
    """Categorical tables of masked texts, rows of fewer owners pruned; the spectrum as it is."""
    segmented = documents(Masks(tuple(names)).apply(texts)[0])
    found = {}
    for statistic in COUNTED:
        whole = count(statistic, segmented)
        found[statistic.name] = (
            prune(whole, pa.array(enough(whole, segmented, owners, floor))) if statistic.kind == "categorical" else whole
        )
    return found


def spelling(
    texts: Sequence[str], owners: Sequence[Hashable], floor: int, names: Sequence[str] = (), surface_documents: int = 1
) -> dict[str, int]:
    """The table `spelling`: what `surface` has not although owners enough have it, pieces that enough have, characters, placeholders."""
    segmented = documents(Masks(tuple(names)).apply(texts)[0])
    surface = owners_of(SURFACE, segmented, owners)
    common = [key[0] for key, own in [*surface.items(), *owners_of(TOKEN_FREQUENCY, segmented, owners).items()] if len(own) >= floor]
    known = Known(common)
    counts = Counter(key[0] for document in segmented for key, _ in SURFACE.events(document))
    documents_of = owners_of(SURFACE, segmented, range(len(texts)))
    cut = {text: known.parts(text) for (text,), own in surface.items() if len(own) < floor}
    cut |= {
        text: [opened(text)] for (text,), own in surface.items() if len(own) >= floor and len(documents_of[(text,)]) < surface_documents
    }
    assert all("".join(parts) == opened(text) for text, parts in cut.items())

    def have(parts: dict[str, list[str]]) -> dict[str, set]:  # type: ignore[type-arg]
        found: dict[str, set] = defaultdict(set)  # type: ignore[type-arg]
        for text, own in parts.items():
            for piece in own:
                found[piece] |= surface[(text,)]
        return found

    of_piece = have(cut)
    told = {piece for piece, who in of_piece.items() if len(who) >= floor}
    finer = {
        text: [row for piece in own for row in ([piece] if len(of_piece[piece]) >= floor else in_told_parts(piece, told))]
        for text, own in cut.items()
    }
    of_row = have(finer)
    total: Counter[str] = Counter()
    for text, own in finer.items():
        for row in own:
            total[row if len(of_row[row]) >= floor else masked_character(row)] += counts[text]
    return dict(total)
