"""Near-duplicates and boilerplate of a source: what is removed before it is counted, and how much that is.

Near-duplicates: two documents of which at least half of the distinct 5-grams of the shorter one stand in the other, and eight at least.
The n-grams are those that the profile counts, known by the same 64-bit numbers. N-grams of more than `COMMON` documents say nothing of a
pair and are left out. Of near-duplicates the one with the most words stays: documents are taken in that order (of equal ones the lower key
first), and each that is a near-duplicate of one that was taken is removed.

Boilerplate: of the documents that stay, paragraphs of eight words and more that stand in `BOILERPLATE_DOCUMENTS` of them, case, white space
and digits aside.

The overlap is counted, not estimated as by MinHash: DuckDB joins the n-grams on disk, so that a source need not fit into memory. Everything
is a function of the set of documents, whatever the order of files.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, unmix
from dft_stats.build.ngrams import ngrams
from dft_stats.build.scan import OPENS
from dft_stats.build.units import read_units
from dft_stats.sentences import RULE
from pipelines.cleaning import paragraph_key, without_paragraphs
from pipelines.sources import KEYS, Source, count_words

ORDER = 5
OVERLAP = 0.5  # of the n-grams of the shorter document
LEAST = 8  # shared n-grams
COMMON = 100  # documents
BOILERPLATE_DOCUMENTS = 5
MEMORY = "1GB"

_PAIRS = f"""
WITH spread AS (SELECT shingle, count(*) AS documents FROM shingles GROUP BY shingle),
telling AS (SELECT document, shingle, documents FROM shingles JOIN spread USING (shingle) WHERE documents <= {COMMON}),
size AS (SELECT document, count(*) AS size FROM telling GROUP BY document),
shared AS (SELECT document, shingle FROM telling WHERE documents > 1),
pairs AS (
    SELECT a.document AS a, b.document AS b, count(*) AS common FROM shared a JOIN shared b USING (shingle)
    WHERE a.document < b.document GROUP BY ALL HAVING common >= {LEAST}
)
SELECT a, b FROM pairs JOIN size x ON a = x.document JOIN size y ON b = y.document WHERE common >= {OVERLAP} * least(x.size, y.size)
ORDER BY a, b
"""
_BOILERPLATE = f"""
SELECT paragraph FROM paragraphs ANTI JOIN gone USING (document)
GROUP BY paragraph HAVING count(DISTINCT document) >= {BOILERPLATE_DOCUMENTS} ORDER BY paragraph
"""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken out of a source."""

    copies: int  # documents that are another one, to the letter
    near_duplicates: int  # documents
    paragraphs: int  # boilerplate, in documents that stay
    emptied: int  # documents that were nothing but boilerplate
    words: int  # of all that

    def to_dict(self) -> dict[str, int]:
        """For the manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Survey:
    """A source after one reading: which documents stay, what is cut out of them."""

    source: Source
    documents: int  # read
    words: int  # read
    keys: Hashes  # (kept,), ascending
    kept_words: NDArray[np.int64]  # (kept,), boilerplate cut
    boilerplate: frozenset[int]  # keys of paragraphs
    removed: Removed

    def pairs(self, root: str | Path, keys: Hashes) -> Iterator[tuple[int, str]]:
        """(key, text) of the documents of some keys, boilerplate cut, each once, in the order of the files."""
        wanted = set(keys.tolist())
        for batch in self.source.batches(root) if wanted else ():
            for key, text in batch:
                if key in wanted:
                    wanted.remove(key)
                    yield key, without_paragraphs(text, self.boilerplate)

    def texts(self, root: str | Path, keys: Hashes) -> Iterator[str]:
        """The texts of `pairs`."""
        yield from (text for _, text in self.pairs(root, keys))


def survey(source: Source, root: str | Path) -> Survey:
    """Read a source and decide what stays.

    Args:
        source: of a recipe.
        root: that its files are relative to.
    """
    with tempfile.TemporaryDirectory(prefix="survey-") as name, duckdb.connect() as engine:
        engine.execute("SET memory_limit = ?", [MEMORY])
        engine.execute("SET threads = 1")
        engine.execute("SET temp_directory = ?", [name])
        words, copies, copied_words = _scan(source, root, Path(name))
        for table in ("documents", "shingles", "paragraphs"):
            engine.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{name}/{table}-*.parquet')")
        pairs = engine.execute(_PAIRS).fetchall()
        gone = _near_duplicates(pairs, words)
        engine.register("gone", pa.table({"document": pa.array(sorted(gone), pa.uint64())}))
        boilerplate = [paragraph for (paragraph,) in engine.execute(_BOILERPLATE).fetchall()] if source.boilerplate else []
        engine.register("known", pa.table({"paragraph": pa.array(boilerplate, pa.uint64())}))
        cut = engine.execute(
            "SELECT document, count(*), sum(words)::BIGINT FROM paragraphs SEMI JOIN known USING (paragraph) "
            "ANTI JOIN gone USING (document) GROUP BY document"
        ).fetchall()
    left = {document: words[document] - gone_words for document, _, gone_words in cut}
    kept = sorted(key for key in words if key not in gone and left.get(key, words[key]) > 0)
    kept_words = np.array([left.get(key, words[key]) for key in kept], np.int64)
    read_words = sum(words.values()) + copied_words
    emptied = sum(number <= 0 for number in left.values())
    removed = Removed(copies, len(gone), sum(number for _, number, _ in cut), emptied, read_words - int(kept_words.sum()))
    keys = np.array(kept, np.uint64)
    return Survey(source, len(words) + copies, read_words, keys, kept_words, frozenset(boilerplate), removed)


def _scan(source: Source, root: str | Path, folder: Path) -> tuple[dict[int, int], int, int]:
    """Write the n-grams and long paragraphs of all documents; return the words of each, and the number and words of copies."""
    words: dict[int, int] = {}
    copies = copied_words = 0
    empty = pa.array([], pa.uint64())
    _write(folder, "documents", 0, document=empty, words=pa.array([], pa.int64()))
    _write(folder, "shingles", 0, document=empty, shingle=empty)
    _write(folder, "paragraphs", 0, document=empty, paragraph=empty, words=pa.array([], pa.int64()))
    for number, batch in enumerate(source.batches(root), start=1):
        new: dict[int, str] = {}
        for key, text in batch:
            if key in words:
                copies, copied_words = copies + 1, copied_words + words[key]
            elif any(map(str.isalnum, text)):
                new[key], words[key] = text, count_words(text)
        if not new:
            continue
        documents = np.array(list(new), np.uint64)
        owner, shingle = shingles(list(new.values()), share=source.shingles)
        _write(folder, "shingles", number, document=pa.array(documents[owner]), shingle=pa.array(shingle))
        rows = [
            (key, found, count_words(paragraph))
            for key, text in new.items()
            for paragraph in text.split("\n\n")
            if (found := paragraph_key(paragraph)) is not None
        ]
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        kinds = {"document": pa.uint64(), "paragraph": pa.uint64(), "words": pa.int64()}
        _write(folder, "paragraphs", number, **{name: pa.array(c, kind) for (name, kind), c in zip(kinds.items(), columns, strict=True)})
    return words, copies, copied_words


def shingles(texts: Sequence[str], *, share: float = 1.0) -> tuple[NDArray[np.int64], Hashes]:
    """(index of the text, number of the n-gram) of the distinct 5-grams of each text.

    Args:
        texts: each with a letter or digit at least.
        share: of the n-grams, those whose scrambled numbers are lowest; the same ones in every text.
    """
    units = read_units(texts, RULE)
    for _, hashes, counted, _ in ngrams(units, ORDER):  # noqa: B007  # the last ones are those of 5-grams
        pass
    owner = np.cumsum((units.flags & OPENS) > 0) - 1
    if share < 1:
        counted = counted & (unmix(hashes) < np.uint64(share * (KEYS - 1)))
    owner, hashes = owner[counted], hashes[counted]
    order = np.lexsort((hashes, owner))
    owner, hashes = owner[order], hashes[order]
    first = np.ones(len(owner), bool)
    first[1:] = (owner[1:] != owner[:-1]) | (hashes[1:] != hashes[:-1])
    return owner[first], hashes[first]


def _write(folder: Path, table: str, number: int, **columns: pa.Array) -> None:
    pq.write_table(pa.table(columns), folder / f"{table}-{number}.parquet")


def _near_duplicates(pairs: Sequence[tuple[int, int]], words: dict[int, int]) -> set[int]:
    """The documents to remove, so that no pair is left."""
    others: dict[int, list[int]] = {}
    for a, b in pairs:
        others.setdefault(a, []).append(b)
        others.setdefault(b, []).append(a)
    gone: set[int] = set()
    for document in sorted(others, key=lambda key: (-words[key], key)):
        if document not in gone:  # it stays
            gone.update(others[document])
    return gone
