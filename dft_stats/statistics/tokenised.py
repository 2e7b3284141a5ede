"""Documents with their tokens: what the statistics of tokens are counted in. The reference, one token at a time.

A text is normalised, as everywhere, and encoded whole, without special tokens. Ids that are no text (an unknown character) are left out
and nothing reaches over them, as the loss reads them. A text without units has no tokens.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dft_stats.statistics.definition import words_before
from dft_stats.text import Document, Sentence, normalise

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dft_stats.sentences import Segmenter


class Token(NamedTuple):
    """A token of a text."""

    id: int
    position: int  # words before the unit in which its first character lies; before the next one if that is white space


class Tokenised(list[Sentence]):
    """A document, and its tokens in runs that no special token interrupts."""

    def __init__(self, document: Document, runs: Sequence[Sequence[Token]]) -> None:
        super().__init__(document)
        self.runs = runs


def runs_of(document: Document) -> Sequence[Sequence[Token]]:
    """Runs of tokens of a document.

    Raises:
        TypeError: it was not tokenised.
    """
    if not isinstance(document, Tokenised):
        raise TypeError(f"statistics of tokens are counted in documents from `tokenised`, this one is a {type(document).__name__}")
    return document.runs


def tokenised(
    texts: Iterable[str], tokenizer: "Tokenizer", segmenter: "Segmenter | None" = None, *, typography: str = "fold"
) -> list[Tokenised]:
    """Texts normalised, segmented and encoded.

    Args:
        texts: raw.
        tokenizer: from `dft_stats.tokenizer.resolve`.
        segmenter: finds units and sentences; the rule if None.
        typography: as in `dft_stats.text.normalise`.
    """
    from dft_stats.sentences import RULE
    from dft_stats.tokenizer import special_ids

    sentences, special = (segmenter or RULE).sentences, set(special_ids(tokenizer))
    return [_tokenised(plain, sentences(plain), tokenizer, special) for plain in (normalise(text, typography=typography) for text in texts)]


def _tokenised(text: str, document: Document, tokenizer: "Tokenizer", special: set[int]) -> Tokenised:
    units = [unit for sentence in document for unit in sentence]
    positions = [position for row in words_before(document) for position in row]
    if not units:
        return Tokenised(document, [])
    encoding = tokenizer.encode(text, add_special_tokens=False)
    runs: list[list[Token]] = [[]]
    i = 0
    for id, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
        while i + 1 < len(units) and units[i].end <= start:
            i += 1
        if id in special:
            runs.append([])
        else:
            runs[-1].append(Token(id, positions[i]))
    return Tokenised(document, [run for run in runs if run])
