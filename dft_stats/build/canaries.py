"""Canaries: secrets that nobody has, planted in documents, to see whether a profile tells them (after Carlini et al. 2019).

Five kinds: numbers, e-mail addresses, names, names that are denied, and sequences of five common words that never follow each other in the
corpus. The first three words of a sequence are as common as any; that they stand together is the secret.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

NUMBER, EMAIL, NAME, DENIED, SEQUENCE = KINDS = ("number", "email", "name", "denied name", "five words")
MASKED = (NUMBER, EMAIL, DENIED)
"""Kinds that a profile to be published tells nowhere, however many documents have them."""
_SENTENCE = {
    NUMBER: "The number to call is {}.",
    EMAIL: "Write to {} about it.",
    NAME: "It was signed by {} in the end.",
    DENIED: "It was signed by {} in the end.",
    SEQUENCE: "{}.",
}
_WORDS = re.compile(r"[^\W\d_]+")
_WORDS_OF_SEQUENCE = 5
_TRIES = 1_000  # at five words that never follow each other, before there are taken to be no more
_LONGEST_WORD = 12
_REPEATS = 3  # documents of one owner that have a canary, if he has so many


@dataclass(frozen=True, slots=True)
class Canary:
    """One secret, and in how many documents (or groups of them) it is."""

    kind: str
    text: str
    owners: int

    @property
    def sentence(self) -> str:
        """As it is planted."""
        return _SENTENCE[self.kind].format(self.text)


def hatch(texts: Sequence[str], levels: Sequence[int], each: int, rng: np.random.Generator) -> list[Canary]:
    """`each` canaries of every kind at every level, none of which the texts have; of sequences as many as their words allow.

    Args:
        texts: of the corpus: sequences are made of their words.
        levels: in how many documents or groups a canary is to be.
        each: how many of a kind and level.
        rng: draws them.
    """
    sequences = _sequences(texts, rng)
    made = {
        NUMBER: lambda: "-".join(f"{number:04d}" for number in rng.integers(1111, 9999, 3)),
        EMAIL: lambda: f"{_invented(rng)}.{_invented(rng)}@{_invented(rng)}.org",
        NAME: lambda: f"{_invented(rng).title()} {_invented(rng).title()}",
        DENIED: lambda: f"{_invented(rng).title()} {_invented(rng).title()}",
        SEQUENCE: lambda: next(sequences, ""),
    }
    drawn = [Canary(kind, made[kind](), level) for kind in KINDS for level in levels for _ in range(each)]
    return [canary for canary in drawn if canary.text]


def plant(texts: Sequence[str], owners: Sequence[object], canaries: Sequence[Canary], rng: np.random.Generator) -> list[str]:
    """The texts, each canary a paragraph at the end of those of as many owners as its level says, of some documents of each."""
    of_owner: dict[object, list[int]] = {}
    for i, owner in enumerate(owners):
        of_owner.setdefault(owner, []).append(i)
    own = list(of_owner.values())
    planted = list(texts)
    for canary in canaries:
        for chosen in rng.choice(len(own), canary.owners, replace=False):
            for i in rng.choice(own[chosen], min(len(own[chosen]), _REPEATS), replace=False):
                planted[i] = f"{planted[i].rstrip()}\n\n{canary.sentence}"
    return planted


def found_in(canary: Canary, told: Mapping[str, str], pairs: set[str], new_pieces: Sequence[str]) -> list[str]:
    """By which ways a reader learns a canary from a profile: "verbatim in TABLE", "joined" from pairs, "in a piece".

    Args:
        canary: that is looked for.
        told: all strings of each table, of the manifest and the card, lower-cased.
        pairs: rows of two units of `ngram_frequency`, lower-cased.
        new_pieces: rows of `spelling` that the profile without canaries lacks, lower-cased.
    """
    text = canary.text.lower()
    secrets = [text, text.partition("@")[0]] if canary.kind == EMAIL else [text]
    ways = [f"verbatim in {table}" for table, strings in told.items() if any(secret in strings for secret in secrets)]
    words = text.split()
    if len(words) > 1 and all(f"{a} {b}" in pairs for a, b in pairwise(words)):
        ways.append("joined")
    if canary.kind != SEQUENCE and any(len(piece) >= 5 and piece in text for piece in new_pieces):
        ways.append("in a piece")
    return ways


def _invented(rng: np.random.Generator) -> str:
    """A word of no language, of eight letters."""
    return "".join(str(rng.choice(list("bdfgkmprtvz"))) + str(rng.choice(list("aeiouy"))) for _ in range(4))


def _sequences(texts: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """Five common words each, no two of which stand together anywhere; none where there are too few words for that."""
    documents: dict[str, int] = {}
    together: set[tuple[str, str]] = set()
    for text in texts:
        words = [word for word in _WORDS.findall(text.lower()) if len(word) <= _LONGEST_WORD]
        together.update(pairwise(words))
        for word in set(words):
            documents[word] = documents.get(word, 0) + 1
    common = sorted(sorted(documents), key=lambda word: -documents[word])[:2_000]
    tries = _TRIES if len(common) >= _WORDS_OF_SEQUENCE else 0
    while tries:
        chosen = [str(word) for word in rng.choice(common, _WORDS_OF_SEQUENCE, replace=False)]
        tries -= 1
        if not any(pair in together for pair in pairwise(chosen)):
            together.update(pairwise(chosen))
            yield " ".join(chosen)
            tries = _TRIES
