"""Whether what a profile calls frequent is frequent in the domain, or in one document.

Counted exactly, from the texts: of each kept row the share of its occurrences that its richest document has. And from the profile alone,
as a build could do it: the chance that two random occurrences of a row stand in the same window of 1,024 words,
`(square_1024 - count) / (count * (count - 1))`, an unbiased estimate of the sum of squared shares of windows (Simpson 1949). Where
documents are shorter than a window it is the chance of the same document.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dft_stats.build.corpus import batched
from dft_stats.build.hashing import hash_texts
from dft_stats.build.ngrams import ngrams
from dft_stats.build.scan import OPENS
from dft_stats.build.units import read_units
from dft_stats.profile import Profile
from dft_stats.sentences import RULE

HALF = 0.5
BATCH_CHARACTERS = 4_000_000


@dataclass(frozen=True, slots=True)
class Dispersion:
    """Of the kept rows of one order: how many lean on one document."""

    n: int
    rows: int
    in_one_document: int  # rows with more than half of their occurrences in one document
    coincident: int  # rows whose occurrences coincide in a window with a chance of more than half
    both: int
    mass: float  # share of the kept occurrences that the rows `in_one_document` have
    worst: tuple[tuple[str, int, int, float], ...]  # (text, count, documents, share of the richest document), the most frequent first


def dispersion(profile: Profile, texts: Iterable[str], *, worst: int = 5, max_words: int = 3) -> list[Dispersion]:
    """Of each order n of the profile, 1 being words and marks.

    Args:
        profile: built from `texts`.
        texts: all of them.
        worst: how many rows to name.
        max_words: longest n-grams to name.
    """
    orders = int(profile.manifest["keep"]["max_order"])
    rows = {1: profile.table("token_frequency")} | {n: profile.counts("ngram_frequency").rows(n) for n in range(2, orders + 1)}
    numbers = {n: _numbers(table["unit" if n == 1 else "ngram"]) for n, table in rows.items()}
    richest = _richest(texts, numbers)
    found = []
    for n, table in rows.items():
        count, documents = table["count"].to_numpy(), table["documents"].to_numpy()
        share = richest[n] / count
        leans = share > HALF
        coincides = coincidence(count, table["square_1024"].to_numpy()) > HALF
        order = np.flatnonzero(leans)[np.argsort(-count[leans], kind="stable")][: worst if n <= max_words else 0].tolist()
        names = table["unit" if n == 1 else "ngram"]
        found.append(
            Dispersion(
                n,
                len(table),
                int(leans.sum()),
                int(coincides.sum()),
                int((leans & coincides).sum()),
                float(count[leans].sum() / max(count.sum(), 1)),
                tuple((names[i].as_py(), int(count[i]), int(documents[i]), float(share[i])) for i in order),
            )
        )
    return found


def coincidence(count: NDArray[np.int64], square: NDArray[np.int64]) -> NDArray[np.float64]:
    """The chance that two occurrences of a row stand in one window; 0 for a row that occurs once."""
    found: NDArray[np.float64] = (square - count) / np.maximum(count * (count - 1), 1)
    return found


def _numbers(texts: pa.ChunkedArray) -> NDArray[np.uint64]:
    """(rows,), as the build knows them."""
    array = texts.cast(pa.large_string()).combine_chunks()
    offsets, letters = array.buffers()[1:]
    numbers: NDArray[np.uint64] = hash_texts(np.frombuffer(letters or b"", np.uint8), np.frombuffer(offsets, np.int64)[: len(array) + 1])[0]
    return numbers


def _richest(texts: Iterable[str], numbers: dict[int, NDArray[np.uint64]]) -> dict[int, NDArray[np.int64]]:
    """By order: (rows,), the most occurrences that any document has of each row."""
    orders = {n: np.argsort(own) for n, own in numbers.items()}
    most = {n: np.zeros(len(own), np.int64) for n, own in numbers.items()}
    for batch in batched(iter(texts), BATCH_CHARACTERS):
        units = read_units(batch, RULE)
        owner = np.cumsum((units.flags & OPENS) > 0)
        for n, hashes, counted, _ in ngrams(units, max(numbers)):
            own, order = numbers[n], orders[n]
            place = np.minimum(np.searchsorted(own, hashes, sorter=order), max(len(own) - 1, 0))
            row = order[place]
            known = counted & (own[row] == hashes)
            pairs, times = np.unique(row[known] * (int(owner[-1]) + 1) + owner[known], return_counts=True)
            np.maximum.at(most[n], pairs // (int(owner[-1]) + 1), times)
    return most
