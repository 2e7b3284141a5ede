"""How stretches of text are encoded in the middle of a text: many short texts, each between stand-ins for its neighbours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LINE = "a\n\n"
"""Stand-in for the paragraph before."""
FOLLOWERS = ("a", "1", "(")
"""Stand-ins for what begins the next paragraph: a letter, a digit, anything else."""
BATCH = 20_000
JOINED = 50  # stretches put together to one text
PROBES = 100

Ints = NDArray[np.int64]


def encode_in_context(tokenizer: "Tokenizer", chunks: Sequence[str], followers: Sequence[str] | None = None) -> list[list[int]]:
    """Token ids of stretches between white space, as they are encoded inside a running text.

    A stretch with a leading space follows a word, one without begins a paragraph; a trailing paragraph break is followed by a word, or
    by that one of `followers`.
    """
    before = ["a" if chunk[0] == " " else LINE for chunk in chunks]
    after = [end if chunk[-1] == "\n" else "" for chunk, end in zip(chunks, followers or ["a"] * len(chunks), strict=True)]
    return encode_between(tokenizer, before, chunks, after)


def encode_between(tokenizer: "Tokenizer", before: Sequence[str], texts: Sequence[str], after: Sequence[str]) -> list[list[int]]:
    """Token ids of each text between what stands before and behind it.

    The neighbours are stand-ins (some tokenizers treat the two ends of a text differently); their own tokens are taken off again.
    """
    found: list[list[int]] = []
    alone = {text: _head(tokenizer, text) for text in {*before, ""}}
    behind = {text: _behind(tokenizer, text) for text in {*after, ""}}
    merged: list[int] = []
    for begin in range(0, len(texts), BATCH):
        part = slice(begin, begin + BATCH)
        whole = list(map("".join, zip(before[part], texts[part], after[part], strict=True)))
        encodings = tokenizer.encode_batch_fast(whole, add_special_tokens=False)
        for i, (left, right, encoding) in enumerate(zip(before[part], after[part], encodings, strict=True), begin):
            ids, head, tail = encoding.ids, alone[left], behind[right]
            size = len(ids) - len(tail)
            if ids[: len(head)] != head or ids[size:] != tail:
                merged.append(i)
            found.append(ids[len(head) : size])
    if merged:  # a stand-in became one token with its neighbour: go by the offsets
        whole = [before[i] + texts[i] + after[i] for i in merged]
        for i, encoding in zip(merged, tokenizer.encode_batch(whole, add_special_tokens=False), strict=True):
            begins, ends = len(before[i]), len(before[i]) + len(texts[i])
            last = begins + len(texts[i].rstrip()) if after[i] else ends  # white space that merged with what follows belongs to that
            places = zip(encoding.ids, encoding.offsets, strict=True)
            found[i] = [id for id, (start, end) in places if end > begins and (start < last or end <= ends)]
    return found


def follower(text: str) -> str:
    """The one of `FOLLOWERS` that stands for a paragraph."""
    return FOLLOWERS[0 if text[:1].isalpha() else 1 if text[:1].isdecimal() else 2]


def _head(tokenizer: "Tokenizer", text: str) -> list[int]:
    """Ids of `text` at the beginning of a longer one; where they do not spell just that, something that no encoding begins with."""
    if not text:
        return []
    encoding = tokenizer.encode(text + ("a" if text.endswith("\n") else " a"), add_special_tokens=False)
    return [id for id, (_, end) in zip(encoding.ids, encoding.offsets, strict=True) if end <= len(text)] or [-1]


def _behind(tokenizer: "Tokenizer", text: str) -> list[int]:
    """Ids of `text` at the beginning of a later paragraph; where they do not spell just that, something that no encoding ends with."""
    if not text:
        return []
    encoding = tokenizer.encode(LINE + text, add_special_tokens=False)
    ids = [id for id, (_, end) in zip(encoding.ids, encoding.offsets, strict=True) if end > len(LINE)]
    return ids or [-1]


def encode_spaced(tokenizer: "Tokenizer", texts: Sequence[str]) -> tuple[Ints, Ints]:
    """What `encode_in_context` gives for texts that begin with a space and end without a line end, several times faster.

    They are put together to longer texts, and each token belongs to the stretch in which its last character lies. If that makes a
    difference for the first or last `PROBES` of them, they are encoded one by one after all.

    Returns:
        Ids, one text after another, and (texts,), how many belong to each.
    """
    probes = [*texts[:PROBES], *texts[-PROBES:]]
    single = encode_in_context(tokenizer, probes)
    ids, lengths = _joined(tokenizer, probes)
    if ids.tolist() != [id for row in single for id in row] or lengths.tolist() != list(map(len, single)):
        rows = encode_in_context(tokenizer, texts)
        return np.array([id for row in rows for id in row], np.int64), np.array(list(map(len, rows)), np.int64)
    return _joined(tokenizer, texts)


def _joined(tokenizer: "Tokenizer", texts: Sequence[str]) -> tuple[Ints, Ints]:
    ids, owners = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    joined = ["a" + "".join(texts[begin : begin + JOINED]) for begin in range(0, len(texts), JOINED)]
    ends = np.cumsum([len(text) for text in texts])  # in all texts put together
    for number, encoding in enumerate(tokenizer.encode_batch(joined, add_special_tokens=False)):
        begin = number * JOINED
        offset = int(ends[begin - 1]) if begin else 0
        last = np.array([end for _, end in encoding.offsets], np.int64) - 2  # behind the "a"
        inside = last >= 0
        ids.append(np.array(encoding.ids, np.int64)[inside])
        owners.append(np.searchsorted(ends, last[inside] + offset, side="right"))
    return np.concatenate(ids), np.bincount(np.concatenate(owners), minlength=len(texts)).astype(np.int64)
