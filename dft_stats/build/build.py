"""`build`: a corpus in, a profile out."""

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dft_stats.build.card import card_of
from dft_stats.build.corpus import read
from dft_stats.build.engine import Keep, count_corpus
from dft_stats.build.floor import human_floor
from dft_stats.build.sample import Sample
from dft_stats.counts import Counts
from dft_stats.errors import CorpusError, ProfileFormatError
from dft_stats.features import SCHEMA as FEATURES_SCHEMA
from dft_stats.features import document_features
from dft_stats.profile import MANIFEST, Profile, check_name, write_profile
from dft_stats.text import NORMALISER, RULE, Segmenter, documents

Corpus = str | Path | Iterable[Any]


def build(
    paths: Corpus,
    *,
    out: str | Path,
    name: str,
    version: str = "1.0.0",
    text_column: str | None = None,
    segmenter: Segmenter | str = "rule",
    typography: str = "fold",
    min_documents: int = 1,
    min_count: int = 1,
    max_order: int = 5,
    max_rows: Mapping[str, int] | None = None,
    workers: int = 1,
    memory: str = "2GB",
    title: str = "",
    licence: str = "unspecified",
    facts: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
    overwrite: bool = False,
) -> Profile:
    """Count a corpus and write a profile of it, whole or not at all.

    Args:
        paths: a file, folder or glob, or several; or texts; or rows of a Hugging Face dataset. Files may be .txt, .md, .rst (one document
            each), .jsonl (also .gz, .zst) or .parquet.
        out: folder of the profile.
        name: of the profile: a-z, 0-9, _ and -.
        version: three numbers.
        text_column: column or field that holds the text; found by itself where there is no doubt.
        segmenter: "rule", "spacy", "spacy:MODEL", or a `Segmenter`.
        typography: "fold" counts quotes and dashes by what they are, "keep" by how they are typeset.
        min_documents: keep rows of words, n-grams and stretches that this many documents have; 1 keeps all.
        min_count: keep such rows that occur this often.
        max_order: longest n-grams that are counted, 2 to 5.
        max_rows: largest number of rows by table, the most frequent are kept; n-grams by order, as "ngram_frequency/2".
        workers: processes.
        memory: bound for merging, as DuckDB reads it.
        title: one line for the card.
        licence: of the corpus, for the card.
        facts: more entries of the manifest, such as sources.
        progress: called with a line of text as the work goes on.
        overwrite: replace a profile that lies in `out`.

    Raises:
        CorpusError: nothing to read, or unreadable.
        ProfileFormatError: `out` is taken.
    """
    check_name(name, version)
    target = Path(out)
    if (target / MANIFEST).exists() and not overwrite:
        raise ProfileFormatError(f"{target} holds a profile already; give another folder, or overwrite it (`--overwrite`)")
    if target.exists() and not (target / MANIFEST).exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ProfileFormatError(f"{target} exists and is no profile; give another folder")
    chosen = resolve_segmenter(segmenter)
    keep = Keep(min_documents=min_documents, min_count=min_count, max_rows=dict(max_rows or {}), max_order=max_order)
    tell = progress or (lambda line: None)

    def advance(characters: int) -> None:
        tell(f"counted {characters / 1e6:,.1f} million characters")

    sample = Sample()
    batches = sample.watch(read(paths, text_column=text_column))
    counted = count_corpus(batches, segmenter=chosen, typography=typography, workers=workers, memory=memory, keep=keep, progress=advance)
    if not counted.exposure.words:
        raise CorpusError(f"{counted.exposure.documents} documents were read and not one word found in them; is this the text column?")

    def count_sample(texts: Sequence[str]) -> tuple[int, dict[str, Counts]]:
        found = count_corpus([list(texts)], segmenter=chosen, typography=typography, keep=Keep(max_order=3))
        return found.exposure.words, dict(found.counts)

    floor = human_floor(sample.excerpts(), counted.counts, count_sample, progress=tell)
    tell("features of sampled documents")
    features = [document_features(document) for document in documents(sample.documents(), chosen, typography=typography)]
    manifest = {
        "name": name,
        "version": version,
        "title": title,
        "licence": licence,
        "language": "en",
        "segmenter": chosen.identity,
        "normaliser": NORMALISER,
        "typography": typography,
        "keep": {
            "min_documents": min_documents,
            "min_count": min_count,
            "max_order": max_order,
            "max_rows": dict(sorted((max_rows or {}).items())),
        },
        "built_with": f"dft-stats {importlib.metadata.version('dft-stats')}",
        **(facts or {}),
    }
    profile = write_profile(
        target,
        facts=manifest,
        exposure=counted.exposure,
        counts=counted.counts,
        documents=pa.Table.from_pylist(features, schema=FEATURES_SCHEMA),
        floor=floor,
        card=card_of(manifest, counted.counts, counted.exposure, floor),
    )
    tell(f"wrote {profile!r} to {target}")
    return profile


def resolve_segmenter(segmenter: Segmenter | str) -> Segmenter:
    """A segmenter by name: "rule", "spacy" (its tokenizer and sentencizer) or "spacy:MODEL" (an installed model)."""
    if isinstance(segmenter, Segmenter):
        return segmenter
    if segmenter == "rule":
        return RULE
    kind, _, model = segmenter.partition(":")
    if kind == "spacy":
        from dft_stats.build.spacy_segmenter import spacy_segmenter

        return spacy_segmenter(model or None)
    raise ValueError(f'segmenter {segmenter!r} is not known; use "rule", "spacy" or "spacy:MODEL"')
