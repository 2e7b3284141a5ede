"""A profile as the arrays that a loss needs, for one tokenizer: pure facts, NumPy only.

`dft_stats.compile` makes a `CompiledProfile`; `dft_stats.loss` reads it. How a token stream is read (words, marks, sentence ends) is
defined once, in plain Python, in `dft_stats.stream`.
"""

from __future__ import annotations

import json
import operator
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dft_stats.errors import CompiledProfileError
from dft_stats.whole_file import whole_file

FORMAT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTable:
    """What each token id does to the text, one row per id, shape (vocab,), and for pairs of them.

    A token is read as `words_before` word beginnings, then its marks, then `words_after` word beginnings. `glues` says that its
    first word continues the word of the token before, if that one has a `tail` (then it begins one word less).
    """

    words_before: NDArray[np.int16]
    words_after: NDArray[np.int16]
    glues: NDArray[np.bool_]
    head: NDArray[np.int8]  # how it begins, for what stands before it; values of this and the next four in `dft_stats.doubts`
    tail: NDArray[np.int8]  # its last character, if a word can go on behind it, otherwise 0
    joiner: NDArray[np.int8]  # it is a mark, or ends in one, that is part of a word if it stands inside one; 0: none
    abbreviation: NDArray[np.int8]  # what its last word says of a period behind it, if that word begins in it
    pairs: NDArray[np.int64]  # (pairs, 4), sorted: a token, one that ends its word, `abbreviation` and `numbering` of that word
    numbering: NDArray[np.int8]  # 1: a number, a letter or a Roman numeral, or the last of one, 2: a word such as "Section" before it
    first_mark: NDArray[np.int16]  # index into text.MARK_CLASSES, -1: no mark
    last_mark: NDArray[np.int16]  # if there are several, otherwise -1
    end: NDArray[np.int8]  # 0: none, 1: a period, 2: any other stop, 3: one that nothing takes back, such as a line end
    trails: NDArray[np.bool_]  # it ends in a space
    entropy_type: NDArray[np.int32]  # id that stands for the token's first word in windowed entropy, -1: begins no word
    fold: NDArray[np.int32]  # id of the token with plain typography (curly quote -> straight), usually itself
    special: NDArray[np.bool_]  # never counted: BOS, EOS, padding, chat markers


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledProfile:
    """The five statistics of one profile on the token ids of one tokenizer.

    Rates named `_frequency` are per counted token; `rhythm` and `marks` are per word. Every `*_sd` is the standard deviation of the
    rate between windows of `window_words` words of human text (the noise between documents), so the standard error of a rate measured
    on `m` words is `sd * sqrt(window_words / m)`.
    """

    profile: str  # name@version
    profile_sha256: str
    tokenizer_sha256: str
    vocab_size: int
    window_words: int
    tokens_per_word: float
    tokens: TokenTable
    token_frequency: NDArray[np.float64]  # (vocab,), sums to one
    token_sd: NDArray[np.float64]  # (vocab,)
    token_tracked: NDArray[np.bool_]  # (vocab,): enough documents to be steered by
    ngrams: NDArray[np.int32]  # (features, n_max) token ids, right-aligned, -1 in front of shorter n-grams
    ngram_frequency: NDArray[np.float64]  # (features,), per counted token
    ngram_sd: NDArray[np.float64]
    length_edges: NDArray[np.int64]  # (buckets + 1,): bucket b holds ages edges[b] <= words < edges[b + 1]
    hazard: NDArray[np.float64]  # (buckets,): P(sentence ends at age a | it has reached a), pooled over the bucket
    hazard_sd: NDArray[np.float64]
    at_risk: NDArray[np.float64]  # (buckets,): share of words whose age falls into the bucket
    marks: NDArray[np.float64]  # (classes,): marks of each class per word
    marks_sd: NDArray[np.float64]
    gap_edges: NDArray[np.int64]  # (gaps + 1,)
    rhythm: NDArray[np.float64]  # (classes + 1, gaps, classes): (previous mark or document opening, gap in words, mark) per word
    rhythm_sd: NDArray[np.float64]
    entropy_window: int  # words
    entropy_bits: float  # mean plug-in entropy of a window, on `entropy_type`
    entropy_sd: float  # between windows
    exactness: float = 1.0  # share of tokens that are the same whether a text is encoded whole or by stretches, see `dft_stats.exactness`
    exactness_bits: float = 0.0  # Jensen-Shannon divergence between the two
    opening_bits: float = 0.0  # and how far off tokens may be since nobody knows which words begin the documents, see `dft_stats.chunks`
    legibility: float = 1.0  # share of the words that ids spell as they are: less, and words, marks and ends cannot be read off them

    def save(self, path: str | Path) -> None:
        """Write one `.npz` file, atomically."""
        path = Path(path)
        header = {f.name: getattr(self, f.name) for f in fields(self) if f.type in ("str", "int", "float")}
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in header and f.name != "tokens"}
        arrays |= {f"tokens.{f.name}": getattr(self.tokens, f.name) for f in fields(self.tokens)}
        header_bytes = np.frombuffer(json.dumps({"format": FORMAT, **header}).encode(), np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.savez(file, header=header_bytes, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> CompiledProfile:
        """Read what `save` wrote.

        Raises:
            CompiledProfileError: the file is of another format or damaged.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                header = json.loads(archive["header"].tobytes())
                found = header.pop("format", None)
                if found != FORMAT:
                    raise CompiledProfileError(f"{path}: compiled-profile format {found}, this version reads {FORMAT}; delete the file")
                names = [name for name in archive.files if name != "header"]
                tokens = {n.removeprefix("tokens."): archive[n] for n in names if n.startswith("tokens.")}
                arrays = {n: archive[n] for n in names if not n.startswith("tokens.")}
            return cls(tokens=TokenTable(**tokens), **arrays, **header)
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise CompiledProfileError(f"{path} is not a readable compiled profile ({error}); delete it and compile again") from error


def excluding(compiled: CompiledProfile, ids: Iterable[int]) -> CompiledProfile:
    """The same, but that these token ids are not tracked, in any typography, nor are n-grams with one of them.

    Raises:
        TypeError: an id is no whole number.
        ValueError: there is no such id.
    """
    chosen = np.unique(np.fromiter(map(operator.index, ids), np.int64))
    if not len(chosen):
        return compiled
    if chosen[0] < 0 or chosen[-1] >= compiled.vocab_size:
        raise ValueError(f"ids to exclude are from 0 to {compiled.vocab_size - 1}; given are {chosen[0]} to {chosen[-1]}")
    folded = np.unique(compiled.tokens.fold[chosen])
    kept = ~np.isin(compiled.ngrams, folded).any(1)
    return replace(
        compiled,
        token_tracked=compiled.token_tracked & ~np.isin(np.arange(compiled.vocab_size), folded),
        ngrams=compiled.ngrams[kept],
        ngram_frequency=compiled.ngram_frequency[kept],
        ngram_sd=compiled.ngram_sd[kept],
    )
