"""Where units stand: the windows of 128 and 1,024 words of `dft_stats.counts`, numbered over all documents of a batch."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.scan import ENDS, OPENS
from dft_stats.build.units import Units
from dft_stats.counts import WINDOWS, Exposure
from dft_stats.text import WORD

SMALL, LARGE = WINDOWS
IN_LARGE, DOCUMENT, WORDS, LARGE_WORDS = range(4)
"""Columns of `Windows.facts`."""
Numbers = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Windows:
    """A small window belongs to one large window, that to one document. Only windows with a unit in them are numbered."""

    of_unit: Numbers  # (units,), small window
    words_before: Numbers  # (units + 1,), words of the batch before each unit
    facts: Numbers  # (small windows, 4): its large window, its document, its words, words of the large window; looked up together

    @property
    def document(self) -> Numbers:
        """(small windows,)."""
        return self.facts[:, DOCUMENT]


def read_windows(units: Units) -> Windows:
    """The windows of a batch."""
    if LARGE % SMALL:
        raise ValueError(f"a window of {LARGE} words is no multiple of one of {SMALL}")
    is_word = units.kind == WORD
    of_unit, words_before = np.empty(len(units.id), np.int32), np.zeros(len(units.id) + 1, np.int32)
    most = int(is_word.sum()) // SMALL + 2 * int(((units.flags & OPENS) > 0).sum()) + 1
    facts, large_words = np.zeros((most, 4), np.int32), np.zeros(most, np.int32)
    small = _read(is_word, units.flags, of_unit, words_before, facts, large_words)
    facts[:small, LARGE_WORDS] = large_words[facts[:small, IN_LARGE]]
    return Windows(of_unit, words_before, facts[:small])


@njit(cache=True, nogil=True)
def _read(
    is_word: NDArray[np.bool_],
    flags: NDArray[np.uint8],
    of_unit: Numbers,
    words_before: Numbers,
    facts: Numbers,
    large_words: Numbers,
) -> int:
    small = number = opened = -1
    position = 0
    for i in range(flags.size):
        opens = flags[i] & OPENS
        if opens:
            position = 0
            opened += 1
        if opens or (position % SMALL == 0 and position != 0 and is_word[i - 1]):
            small += 1
            if opens or position % LARGE == 0:
                number += 1
            facts[small, IN_LARGE], facts[small, DOCUMENT] = number, opened
        of_unit[i] = small
        words_before[i + 1] = words_before[i] + is_word[i]
        if is_word[i]:
            facts[small, WORDS] += 1
            large_words[number] += 1
            position += 1
    return small + 1


def exposure(units: Units, windows: Windows) -> Exposure:
    """How much text a batch is."""
    is_word = units.kind == WORD
    is_first = np.diff(windows.facts[:, IN_LARGE], prepend=-1) > 0
    words = {SMALL: windows.facts[:, WORDS].astype(np.int64), LARGE: windows.facts[is_first, LARGE_WORDS].astype(np.int64)}
    return Exposure(
        units.documents,
        int(is_word.sum()),
        _sentences(is_word, units.flags),
        {size: int((found > 0).sum()) for size, found in words.items()},
        {size: int((found**2).sum()) for size, found in words.items()},
    )


@njit(cache=True, nogil=True)
def _sentences(is_word: NDArray[np.bool_], flags: NDArray[np.uint8]) -> int:
    """Sentences with a word."""
    found, has_word = 0, False
    for i in range(flags.size):
        has_word |= is_word[i]
        if flags[i] & ENDS:
            found += has_word
            has_word = False
    return found
