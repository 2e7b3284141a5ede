"""Who has a text: counted document by document, and as sets of owners, which is the same where each document is of another owner."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.build.events import Part
from dft_stats.build.hashing import Hashes, hash_texts, mix
from dft_stats.build.job import Job
from dft_stats.build.owners import Ints, owners_of, owners_of_rows
from dft_stats.errors import CorpusError
from dft_stats.sentences import documents
from dft_stats.statistics import SURFACE

WORDS = ("a", "b", "a-b", "(a)", "b.", "A")
corpora = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join), min_size=1, max_size=9)
MEMORY = 1 << 20


def keys_of(texts: pa.LargeStringArray) -> Hashes:
    """As rows have them."""
    _, offsets, letters = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1] if len(texts) else np.zeros(1, np.int64)
    return np.asarray(mix(hash_texts(np.frombuffer(letters or b"", np.uint8), ends)[0]), np.uint64)


def parts_of(corpus: Sequence[str], batch: int) -> list[Part]:
    return [Job().count(corpus[i : i + batch]) for i in range(0, len(corpus), batch)]


def of_authors(parts: Sequence[Part], authors: Sequence[int]) -> list[Part]:
    ends = np.cumsum([part.exposure.documents for part in parts])
    return [
        replace(part, owners=np.array(authors[end - part.exposure.documents : end], np.int64))
        for part, end in zip(parts, ends.tolist(), strict=True)
    ]


@given(corpora, st.integers(1, 9), st.integers(1, 4))
def test_documents_are_owners_like_others(corpus: list[str], batch: int, most: int) -> None:
    parts = parts_of(corpus, batch)
    wanted: dict[str, Hashes] = {}
    for name in parts[0].texts:
        wanted[name] = np.unique(np.concatenate([rows for part in parts for rows in (part.texts[name].key, part.texts[name].single_key)]))
    own, theirs = (owners_of(wanted, given_, most, MEMORY) for given_ in (parts, of_authors(parts, range(len(corpus)))))
    assert {name: number.tolist() for name, number in own.items()} == {name: number.tolist() for name, number in theirs.items()}


@given(
    corpora,
    st.integers(1, 9),
    st.integers(1, 4),
    st.lists(st.integers(0, 3), min_size=9, max_size=9) | st.none(),
    st.sets(st.sampled_from(WORDS)),
)
def test_owners_of_what_stretches_count_for(corpus: list[str], batch: int, most: int, authors: list[int] | None, listed: set[str]) -> None:
    """Each stretch counts for its first character, and for its length."""
    parts = parts_of(corpus, batch)

    def rows_of(stretches: pa.LargeStringArray, keys: Hashes) -> tuple[Ints, Ints]:
        assert keys.tolist() == keys_of(stretches).tolist()
        texts = [text.strip() for text in stretches.to_pylist()]
        return 2 * np.arange(len(texts) + 1), np.array([row for text in texts for row in (ord(text[0]), len(text))], np.int64)

    have: dict[int, set[int]] = defaultdict(set)
    for number, document in enumerate(documents(corpus)):
        for (text,), _ in SURFACE.events(document):
            if text not in stretches_of(listed):
                for row in (ord(text.strip()[0]), len(text.strip())):
                    have[row].add(number if authors is None else authors[number])
    given_ = parts if authors is None else of_authors(parts, authors)
    keys = keys_of(pa.array(stretches_of(listed), pa.large_string()))
    found = owners_of_rows(rows_of, 128, keys, given_, most, MEMORY)
    assert {row: number for row, number in enumerate(found.tolist()) if number} == {row: min(len(own), most) for row, own in have.items()}


def stretches_of(words: set[str]) -> list[str]:
    return [space + word for word in sorted(words) for space in ("", " ")]


def test_more_owners_than_there_is_room_for() -> None:
    parts = parts_of(["a b", "b c"], 1)
    wanted = {"token_frequency": keys_of(pa.array(["a", "b", "c"], pa.large_string()))}
    assert owners_of(wanted, parts, 1000, memory=300)["token_frequency"].tolist() == [1, 2, 1]  # of documents the last one is enough
    with pytest.raises(CorpusError, match=r"of 3 rows 1,000 owners each .* more \(--memory\)"):
        owners_of(wanted, of_authors(parts, [0, 1]), 1000, memory=300)
