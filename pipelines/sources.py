"""The sources of a recipe: where their documents lie, what is done to each, and by what number a document is known.

A source is streamed: it is read as often as needed, a batch at a time, and never held in memory.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dft_stats.build.corpus import read
from pipelines.cleaning import STEPS

KEYS = 2**64
BATCH_CHARACTERS = 4_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """One corpus of a recipe: an entry of its `[[sources]]`."""

    name: str
    file: str  # a file, folder or glob, relative to the root
    licence: str
    origin: str
    clean: tuple[str, ...] = ()  # names of `cleaning.STEPS`
    words_share: float = 1.0  # at most this share of the words of the profile
    text_column: str = "text"
    sample: float = 1.0  # share of the documents that are taken up at all: those whose key is lowest before they are cleaned
    shingles: float = 1.0  # share of the n-grams by which near-duplicates are found
    boilerplate: bool = True  # whether repeated paragraphs are removed

    def batches(self, root: str | Path) -> Iterator[list[tuple[int, str]]]:
        """(key, cleaned text) of the documents that are sampled, a batch at a time, in the order of the files.

        Args:
            root: a folder, or anything that fsspec reaches, such as "hf://datasets".
        """
        for texts in read(f"{root}/{self.file}", text_column=self.text_column, batch_characters=BATCH_CHARACTERS):
            sampled = (text for text in texts if self.sample == 1 or document_key(text) < self.sample * KEYS)
            yield [(document_key(text), text) for text in map(self._cleaned, sampled) if text]

    def _cleaned(self, text: str) -> str:
        for step in self.clean:
            text = STEPS[step](text)
        return text.strip()


def document_key(text: str) -> int:
    """The number of a document, of 64 bits: documents in the order of their keys are in random order, whatever the files' order."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def count_words(text: str) -> int:
    """Words of a text, about: white space and one."""
    return text.count(" ") + text.count("\n\n") + 1
