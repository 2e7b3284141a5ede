"""A sample of a corpus that does not depend on the order or the batches in which it is read: the documents with the lowest hashes."""

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MAX_DOCUMENTS = 1_000
MAX_CHARACTERS = 6_000_000  # of all of them
DOCUMENT_CHARACTERS = 50_000  # of one: features are those of its beginning
MAX_EXCERPTS = 4_096
EXCERPT_WORDS = 256
EXCERPT_CHARACTERS = 20_000  # of a paragraph that never ends
EXCERPTS_A_DOCUMENT = 8


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Whole paragraphs of one document, `EXCERPT_WORDS` words or a little more; all of it if the document is shorter."""

    document: int  # hash
    text: str


@dataclass(slots=True)
class Sample:
    """Collects while a corpus passes by: whole documents for their features, excerpts for the floor."""

    _documents: list[tuple[int, str]] = field(default_factory=list)  # heaps, largest hash first
    _excerpts: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, texts: Sequence[str]) -> None:
        """Take documents into account."""
        documents = sorted(((_hash(text), text) for text in texts), key=lambda pair: pair[0])
        for document, text in documents:
            if len(self._documents) >= MAX_DOCUMENTS and -self._documents[0][0] < document:
                break  # as are all that follow
            _keep(self._documents, (-document, text[:DOCUMENT_CHARACTERS]), MAX_DOCUMENTS)
        # Few excerpts of many documents before many of few: the rank of an excerpt is the higher, the later it is drawn.
        drawn: list[Iterator[str]] = []  # of the documents that have been asked
        for i in range(EXCERPTS_A_DOCUMENT):
            for own, (document, text) in enumerate(documents):
                key = (document >> 8) + (i << 52)
                if len(self._excerpts) >= MAX_EXCERPTS and -self._excerpts[0][0] <= key:
                    break
                if own == len(drawn):
                    drawn.append(excerpts(text))
                excerpt = next(drawn[own], None)
                if excerpt is not None:
                    _keep(self._excerpts, (-key, document, excerpt), MAX_EXCERPTS)

    def write(self, path: Path) -> None:
        """Write what was collected."""
        rows: list[tuple[int, int | None, str]] = []
        size = 0
        for negative, text in sorted(self._documents, reverse=True):
            if size > MAX_CHARACTERS:  # the one that exceeds it is kept, since there the documents of all parts end, or before
                break
            rows.append((-negative, None, text))
            size += len(text)
        rows += [(-key, document, excerpt) for key, document, excerpt in self._excerpts]
        columns = {
            "key": pa.array([key for key, _, _ in rows], pa.int64()),
            "document": pa.array([document for _, document, _ in rows], pa.int64()),
            "text": pa.array([text.encode("utf-8", "surrogatepass") for _, _, text in rows], pa.large_binary()),
        }
        pq.write_table(pa.table(columns), path, compression="lz4")

    def read(self, path: Path) -> None:
        """Take over what another one wrote."""
        rows = pq.read_table(path)
        texts = rows["text"]
        for i, (key, document) in enumerate(zip(rows["key"].to_pylist(), rows["document"].to_pylist(), strict=True)):
            heap: list[Any] = self._documents if document is None else self._excerpts
            limit = MAX_DOCUMENTS if document is None else MAX_EXCERPTS
            if len(heap) < limit or -key > heap[0][0]:
                text = texts[i].as_py().decode("utf-8", "surrogatepass")
                _keep(heap, (-key, text) if document is None else (-key, document, text), limit)

    def documents(self) -> list[str]:
        """Whole documents in the order of their hashes, as many as `MAX_DOCUMENTS` and `MAX_CHARACTERS` allow, one at least."""
        chosen: list[str] = []
        size = 0
        for _, text in sorted(self._documents, reverse=True):
            size += len(text)
            if chosen and size > MAX_CHARACTERS:
                break
            chosen.append(text)
        return chosen

    def excerpts(self) -> list[Excerpt]:
        """Excerpts in the order of their hashes."""
        return [Excerpt(document, text) for _, document, text in sorted(self._excerpts, reverse=True)]


def excerpts(text: str) -> Iterator[str]:
    """Excerpts spread over the document: one from the first paragraph in each of `EXCERPTS_A_DOCUMENT` equal parts of it.

    An excerpt begins behind the one before, and has `EXCERPT_WORDS` words at least; of a document that is shorter there is one, all of it.
    """
    text = text.replace("\r\n", "\n")
    end = 0
    for i in range(EXCERPTS_A_DOCUMENT):
        begin = 0
        if i:
            begin = text.find("\n\n", max(end, i * len(text) // EXCERPTS_A_DOCUMENT)) + 2
            if begin < 2:
                return
        words, paragraph, end = 0, begin, begin
        while words < EXCERPT_WORDS and end < len(text):
            end = text.find("\n\n", paragraph)
            end = len(text) if end < 0 else end
            words += text.count(" ", paragraph, end) + 1
            paragraph = end + 2
        if i == 0 or words >= EXCERPT_WORDS:
            yield text[begin : min(end, begin + EXCERPT_CHARACTERS)]


def _keep(heap: list, item: tuple, limit: int) -> None:  # type: ignore[type-arg]
    if len(heap) < limit:
        heapq.heappush(heap, item)
    elif item > heap[0]:
        heapq.heapreplace(heap, item)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=7).digest(), "big")
