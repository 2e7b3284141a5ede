"""A recipe: which sources make a profile, how they are cleaned, and in what mixture. The files are `registry/recipes/**/*.toml`.

A mixture is planned from one reading of its sources and streamed in a second one, so that the same code serves a file of a megabyte and
data sets that would not fit into memory. What is chosen follows from the documents' keys alone, never from the order of files.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dft_stats.build.hashing import Hashes
from pipelines.cleaning import STEPS
from pipelines.duplicates import Survey, survey
from pipelines.sources import Source


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a recipe says."""

    facts: dict[str, Any]
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What a source gives to a mixture."""

    source: Source
    survey: Survey
    keys: Hashes  # of the documents that are taken
    held_out: Hashes
    words: int  # of those that are taken
    words_share: float

    @property
    def documents(self) -> int:
        """How many are taken."""
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which documents of which source make a profile."""

    recipe: Recipe
    root: str | Path
    shares: tuple[Share, ...]

    def texts(self, *indices: int) -> Iterator[str]:
        """The documents, source by source; of all sources, or of those with these indices."""
        for i in indices or range(len(self.shares)):
            yield from self.shares[i].survey.texts(self.root, self.shares[i].keys)

    def held_out(self, *indices: int) -> Iterator[str]:
        """The documents that were held out for a test."""
        for i in indices or range(len(self.shares)):
            yield from self.shares[i].survey.texts(self.root, self.shares[i].held_out)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; a misspelt key or cleaning step is an error."""
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    sources = tuple(Source(**{**entry, "clean": tuple(entry.get("clean", ()))}) for entry in facts.pop("sources"))
    for source in sources:
        if unknown := set(source.clean) - STEPS.keys():
            raise ValueError(f"{path}: {source.name} asks for the cleaning steps {sorted(unknown)}; there are {sorted(STEPS)}")
    return Recipe(facts, sources)


def plan(recipe: Recipe, root: str | Path, *, leave_out: int = 0) -> Mixture:
    """Read all sources once and choose their documents: of each the ones with the lowest keys, up to its share of the words.

    Args:
        recipe: see `read_recipe`.
        root: folder, or address for fsspec, that the files of the sources are relative to.
        leave_out: every so many-th document of each source is held out; 0 holds out none.
    """
    surveys = [survey(source, root) for source in recipe.sources]
    held = [np.arange(len(found.keys)) % leave_out == 0 if leave_out else np.zeros(len(found.keys), bool) for found in surveys]
    words = [found.kept_words[~out] for found, out in zip(surveys, held, strict=True)]
    limits = _limits([source.words_share for source in recipe.sources], [int(own.sum()) for own in words])
    taken = [own[: _reaching(own, limit)] for own, limit in zip(words, limits, strict=True)]
    total = max(sum(int(own.sum()) for own in taken), 1)
    shares = [
        Share(found.source, found, found.keys[~out][: len(own)], found.keys[out], int(own.sum()), int(own.sum()) / total)
        for found, out, own in zip(surveys, held, taken, strict=True)
    ]
    return Mixture(recipe, root, tuple(shares))


def _limits(shares: list[float], sizes: list[int]) -> list[float]:
    """The largest mixture in which no source has more than its share: what is not limited comes whole.

    The total solves total = sum of min(size, share * total). Once a source is found to be limited it stays so for every smaller total.
    """
    total, limited = float(sum(sizes)), [False] * len(sizes)
    for _ in sizes:
        limited = [known or size > share * total * (1 + 1e-9) for known, share, size in zip(limited, shares, sizes, strict=True)]
        whole = sum(size for size, known in zip(sizes, limited, strict=True) if not known)
        total = whole / (1 - sum(share for share, known in zip(shares, limited, strict=True) if known))
    return [min(size, share * total) for size, share in zip(sizes, shares, strict=True)]


def _reaching(words: np.ndarray[Any, np.dtype[np.int64]], limit: float) -> int:
    """How many of the documents, in their order, reach the limit."""
    return min(int(np.searchsorted(np.cumsum(words), limit - 1e-6)) + 1, len(words))
