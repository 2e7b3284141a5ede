"""A recipe: which sources make a profile, how they are cleaned, and in what mixture. The files are `registry/recipes/*.toml`."""

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dft_stats.build.corpus import read
from pipelines.cleaning import STEPS


@dataclass(frozen=True, slots=True)
class Source:
    """One corpus of a recipe."""

    name: str
    file: str  # relative to the corpora folder
    licence: str
    origin: str
    clean: tuple[str, ...] = ()
    words_share: float = 1.0  # at most this share of the words of the profile

    def texts(self, corpora: Path) -> Iterator[str]:
        """Documents, cleaned, in the order of their hashes, so that a share of them is a random sample."""
        found = []
        for batch in read(corpora / self.file, text_column="text"):
            for text in batch:
                for step in self.clean:
                    text = STEPS[step](text)
                if text.strip():
                    found.append((hashlib.sha256(text.encode()).digest(), text))
        yield from (text for _, text in sorted(found))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `registry/recipes/NAME.toml` says."""

    facts: dict[str, Any]
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What a source gave to the mixture."""

    source: Source
    documents: int
    words_share: float


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; a misspelt key or cleaning step is an error."""
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    sources = tuple(Source(**{**entry, "clean": tuple(entry.get("clean", ()))}) for entry in facts.pop("sources"))
    for source in sources:
        if unknown := set(source.clean) - STEPS.keys():
            raise ValueError(f"{path}: {source.name} asks for the cleaning steps {sorted(unknown)}; there are {sorted(STEPS)}")
    return Recipe(facts, sources)


def mix(recipe: Recipe, corpora: Path, *, leave_out: int = 0) -> tuple[list[str], list[Share], list[str]]:
    """Documents of a profile, what each source gave, and the documents held out for a test.

    Args:
        recipe: see `read_recipe`.
        corpora: folder that the files of the sources are relative to.
        leave_out: every so many-th document of each source is held out; 0 holds out none.
    """
    pools: list[list[str]] = []
    held_out: list[str] = []
    for source in recipe.sources:
        texts = list(source.texts(corpora))
        if leave_out:
            held_out += texts[::leave_out]
            texts = [text for i, text in enumerate(texts) if i % leave_out]
        pools.append(texts)
    sizes = [sum(map(_words, texts)) for texts in pools]
    limits = _limits([source.words_share for source in recipe.sources], sizes)
    chosen = [_first(texts, limit) for texts, limit in zip(pools, limits, strict=True)]
    words = [sum(map(_words, texts)) for texts in chosen]
    shares = [Share(s, len(texts), n / sum(words)) for s, texts, n in zip(recipe.sources, chosen, words, strict=True)]
    return [text for texts in chosen for text in texts], shares, held_out


def _words(text: str) -> int:
    return text.count(" ") + text.count("\n\n") + 1


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


def _first(texts: list[str], words: float) -> list[str]:
    taken, chosen = 0, []
    for text in texts:
        if taken >= words:
            break
        chosen.append(text)
        taken += _words(text)
    return chosen
