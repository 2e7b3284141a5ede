"""A guard against bias: words that matching leaves alone or holds where the model had them, and what it changed among them.

A profile repeats what its corpus says, also of whom it speaks. Which words that concerns is the user's to say.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dft_stats.compiled import CompiledProfile
from dft_stats.tokenizer import resolve, special_ids, surfaces

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def ids_of(tokenizer: "Tokenizer | Any", words: Iterable[str]) -> dict[str, list[int]]:
    """Of each word the tokens that spell it whole, in any case, with or without a space before it.

    A word that is always cut into several tokens has none: exclude or pin its first token, if it begins no other word.

    Raises:
        ValueError: a word is empty, or has white space in it: hundreds of tokens spell nothing but white space.
    """
    if isinstance(words, str):
        raise ValueError(f"words are given as a list, such as [{words!r}], not as one string")
    words = list(words)
    for word in words:
        if not word or word.split() != [word]:
            raise ValueError(f"{word!r} is not a word; give words without white space, each as one item")
    found = resolve(tokenizer)
    special = set(special_ids(found))
    by_word: dict[str, list[int]] = {}
    for id, spelt in enumerate(surfaces(found)):
        if id not in special:
            by_word.setdefault(spelt.strip(" \n").lower(), []).append(id)
    return {word: by_word.get(word.lower(), []) for word in words}


def pinning(compiled: CompiledProfile, ids: Iterable[int], rates: ArrayLike) -> CompiledProfile:
    """The same, but that these token ids are held at other rates than the profile's, such as those of the model before training.

    Args:
        compiled: for the tokenizer of the ids.
        ids: in any typography.
        rates: (vocab,), per counted token: `DistributionLoss.rates()["token_frequency"]` of text that the model wrote.

    Raises:
        TypeError: an id is no whole number.
        ValueError: there is no such id, as many rates are not given, or one cannot be.
    """
    chosen, given = np.unique(np.fromiter(map(operator.index, ids), np.int64)), np.asarray(rates, np.float64)
    if given.shape != compiled.token_frequency.shape:
        raise ValueError(f"there are rates for {given.shape} ids, and the tokenizer has {compiled.vocab_size}")
    if len(chosen) and (chosen[0] < 0 or chosen[-1] >= compiled.vocab_size):
        raise ValueError(f"ids to pin are from 0 to {compiled.vocab_size - 1}; given are {chosen[0]} to {chosen[-1]}")
    folded = np.isin(np.arange(compiled.vocab_size), compiled.tokens.fold[chosen])
    if not (np.isfinite(given[folded]) & (given[folded] >= 0)).all():
        raise ValueError(f"rates of tokens are numbers from 0 up, not {given[folded]}")
    return replace(
        compiled,
        token_frequency=np.where(folded, given, compiled.token_frequency),
        token_tracked=compiled.token_tracked | folded,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """How often a group of tokens is written, per million tokens."""

    group: str
    profile: float
    before: float
    after: float
    z: float  # of the change, in standard errors of human text of as many words

    def __str__(self) -> str:
        return f"{self.group}: {self.before:.0f} -> {self.after:.0f} a million ({self.profile:.0f} in the profile), {self.z:+.1f} SE"


def changes(
    compiled: CompiledProfile, groups: Mapping[str, Sequence[int]], before: ArrayLike, after: ArrayLike, *, words: float
) -> list[Change]:
    """What matching changed among groups of tokens, the most certain change first.

    Args:
        compiled: whose profile is shown beside, and whose noise between documents the change is measured by.
        groups: name -> token ids, from `ids_of` for one.
        before: (vocab,), rates per counted token of text that the model wrote before.
        after: likewise.
        words: of the smaller of the two texts.
    """
    rates = [np.asarray(values, np.float64) for values in (before, after)]
    found = []
    for name, ids in groups.items():
        chosen: NDArray[np.int64] = np.unique(compiled.tokens.fold[np.asarray(ids, np.int64)])
        old, new = (float(values[chosen].sum()) for values in rates)
        noise = float(np.sqrt((compiled.token_sd[chosen] ** 2).sum() * 2 * compiled.window_words / max(words, 1.0)))
        profile = float(compiled.token_frequency[chosen].sum())
        found.append(Change(name, 1e6 * profile, 1e6 * old, 1e6 * new, (new - old) / noise if noise > 0 else 0.0))
    return sorted(found, key=lambda change: -abs(change.z))
