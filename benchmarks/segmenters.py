"""What the choice of segmenter does to every statistic of a profile.

python benchmarks/segmenters.py CORPORA [--characters 2000000]

CORPORA is a folder of domains, each a folder of Parquet files with a column text. Of each domain so many characters are read, an equal
share of each file, the documents with the lowest hashes. One table a domain: by how much the profile of each segmenter differs from the
rule's, in the measure of the statistic, and in brackets as a multiple of the human-human floor: what two random samples of 64,000 words of
the domain differ by, read by the rule (document features: two random halves of the documents). `other domains`: the least and the largest
difference to the three other domains, read by the rule too. Mean, SD, CV and lag-1 have signs: the segmenter's less the rule's.

`spacy, its units` is spaCy's tokenizer with its sentencizer. In all other columns the units are ours, and only the sentence ends are the
segmenter's, those of blingfire, sentencex, nupunkt and pysbd found paragraph by paragraph in the normalised text. Then what looks at units
alone must not differ at all, which is checked. Of these four those run that are installed.
"""

import argparse
import functools
import hashlib
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dft_stats.build.engine import count_corpus
from dft_stats.build.features import features_of
from dft_stats.build.floor import draw
from dft_stats.build.sample import Sample
from dft_stats.build.spacy_segmenter import spacy_segmenter
from dft_stats.cells import align, jensen_shannon_of
from dft_stats.compare import UNITS, discrepancies
from dft_stats.counts import Counts
from dft_stats.features import FEATURES
from dft_stats.measures import wasserstein_1
from dft_stats.sentences import RULE, Segmenter
from dft_stats.statistics.ngram_frequency import ORDERS
from dft_stats.summary import sentence_lengths
from dft_stats.text import Unit, units

OF_UNITS = ("token_frequency", "punctuation_rhythm", "entropy", "surface")
"""Tables that no sentence end changes."""
OF_SENTENCES = ("sentences", "sentence_length_mean", "sentence_length_cv", "sentence_length_lag1")
FLOOR_WORDS = 64_000  # a side: what excerpts of 2 million characters of novels are enough for
REPEATS = 16
ROUNDING = 1e-9  # a distance of equal distributions comes out as this or less
SPACY_UNITS = "spacy, its units"
LENGTHS = {"mean": "mean, words", "sd": "SD, words", "cv": "CV", "lag1": "lag-1 correlation"}

Ends = Callable[[str], Sequence[int]]
Differences = dict[str, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one segmenter makes of a sample."""

    counts: Mapping[str, Counts]
    documents: pa.Table


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--characters", type=int, default=2_000_000, help="of each domain")
    given = parser.parse_args()
    segmenters = installed_segmenters()
    print("Segmenters:", ", ".join(f"{segmenter.name} ({segmenter.version})" for segmenter in (RULE, *segmenters)))
    domains = {path.name: sample(path, given.characters) for path in sorted(given.corpora.iterdir()) if path.is_dir()}
    references = {name: read(texts, RULE) for name, texts in domains.items()}
    for name, texts in domains.items():
        reference = references[name]
        others = [differences(reference, other) for domain, other in references.items() if domain != name]
        readings = {segmenter.name: read(texts, segmenter) for segmenter in segmenters}
        found = {segmenter: differences(reference, reading) for segmenter, reading in readings.items()}
        print(f"\n### {name}: {len(texts):,} documents, {sum(map(len, texts)):,} characters\n")
        _show(reference, human_floor(texts, reference), others, found)
        for segmenter, reading in readings.items():
            changed = set(OF_UNITS) - _equal_tables(reference, reading)
            if changed and segmenter != SPACY_UNITS:
                raise SystemExit(f"{segmenter} changes {changed}, which it should not: its units are ours")
        print(f"\nEqual row for row where the units are ours: {', '.join(OF_UNITS)}.", flush=True)


def sample(domain: Path, characters: int) -> list[str]:
    """An equal share of each source: the documents with the lowest hashes."""
    sources = sorted(domain.glob("*.parquet"))
    chosen: list[str] = []
    for source in sources:
        texts = pq.read_table(source, columns=["text"])["text"].to_pylist()
        missing = characters // len(sources)
        for text in sorted(texts, key=lambda text: hashlib.blake2b(text.encode()).digest()):
            if missing <= 0:
                break
            chosen.append(text)
            missing -= len(text)
    return chosen


# --- segmenters -------------------------------------------------------------------------------------------------------------------


def installed_segmenters() -> list[Segmenter]:
    """The one of spaCy twice, with its units and with ours; and every peer that can be imported."""
    spacy = spacy_segmenter()
    found = [replace(spacy, name=SPACY_UNITS), with_ends_of(spacy.name, spacy.version, lambda text: _ends(spacy, text))]
    for name, make in PEERS.items():
        try:
            ends = make()
        except ImportError as error:
            print(f"Without {name}, which is not installed ({error})")
            continue
        found.append(with_ends_of(name, version(name), functools.partial(_by_paragraph, ends)))
    return found


def with_ends_of(name: str, version: str, ends: Ends) -> Segmenter:
    """A segmenter with our units and someone's sentence ends; a sentence ends at every break, too.

    Args:
        name: of the segmenter.
        version: of it.
        ends: from a normalised text to character offsets behind its sentences. One inside a unit ends the sentence behind this unit.
    """
    remembered = functools.cache(ends)  # a text is read twice: for counts and for features

    def sentences(text: str) -> list[list[Unit]]:
        found = units(text)
        starts = [unit.start for unit in found]
        begins = {bisect_left(starts, end) for end in remembered(text)} | {i for i, unit in enumerate(found) if unit.break_before} | {0}
        edges = [*sorted(begins - {len(found)}), len(found)]
        return [found[begin:end] for begin, end in pairwise(edges)]

    return Segmenter(name, version, f"ends of {name} {version}", sentences)


def _ends(segmenter: Segmenter, text: str) -> list[int]:
    return [sentence[-1].end for sentence in segmenter.sentences(text)]


def _by_paragraph(ends: Ends, text: str) -> list[int]:
    found: list[int] = []
    begin = 0
    for paragraph in text.split("\n\n"):
        found += [begin + end for end in ends(paragraph)] if paragraph else []
        begin += len(paragraph) + 2
    return found


def _blingfire() -> Ends:
    find = import_module("blingfire").text_to_sentences_and_offsets
    return lambda text: [end for _, end in find(text)[1]]


def _sentencex() -> Ends:
    find = import_module("sentencex").get_sentence_boundaries
    return lambda text: [boundary["end_index"] for boundary in find("en", text)]


def _nupunkt() -> Ends:
    find = import_module("nupunkt").sent_spans
    return lambda text: [end for _, end in find(text)]


def _pysbd() -> Ends:
    find = import_module("pysbd").Segmenter(language="en", clean=False, char_span=True).segment
    return lambda text: [span.end for span in find(text)]


PEERS: Mapping[str, Callable[[], Ends]] = {"blingfire": _blingfire, "sentencex": _sentencex, "nupunkt": _nupunkt, "pysbd": _pysbd}


# --- differences ------------------------------------------------------------------------------------------------------------------


def read(texts: Sequence[str], segmenter: Segmenter) -> Reading:
    """Counts and document features, as `build` has them of an unpruned profile."""
    return Reading(count_corpus([texts], segmenter=segmenter).counts, features_of(texts, segmenter))


def differences(reference: Reading, other: Reading) -> Differences:
    """By row of the table."""
    return count_differences(reference.counts, other.counts) | document_differences(reference.documents, other.documents)


def count_differences(reference: Mapping[str, Counts], other: Mapping[str, Counts]) -> Differences:
    """What `dft_stats.compare` says, n-grams by order, and what the lengths' characteristics differ by."""
    known = discrepancies({name: reference[name] for name in UNITS}, {name: other[name] for name in UNITS})
    found = {"token frequency, JS bits": known["token_frequency"]}
    for n in ORDERS:
        bits = jensen_shannon_of(align(reference["ngram_frequency"], other["ngram_frequency"], n))
        found[f"{n}-grams, JS bits"] = np.nan if bits is None else bits
    found["sentence length, W1 words"] = known["sentence_length"]
    ours, theirs = _lengths(reference), _lengths(other)
    found |= {name: theirs[name] - value for name, value in ours.items()}
    found["punctuation rhythm, JS bits"] = known["punctuation_rhythm"]
    found |= {f"entropy of {words} words, W1 bits": known[name] for words, name in ((32, "entropy_32"), (128, "entropy"))}
    return found


def _lengths(counts: Mapping[str, Counts]) -> Differences:
    numbers = sentence_lengths(counts["sentence_length"])
    return {f"sentence length, {label}": np.nan if (value := numbers[name]) is None else value for name, label in LENGTHS.items()}


def document_differences(reference: pa.Table, other: pa.Table) -> Differences:
    """Wasserstein-1 of documents' features; of those that are not of sentences the largest, in SD between documents of the reference."""
    found, rest = {}, []
    for name in FEATURES:
        ours, theirs = (table[name].drop_null().to_numpy().astype(float) for table in (reference, other))
        distance = wasserstein_1(ours, np.ones(len(ours)), theirs, np.ones(len(theirs)))
        if name in OF_SENTENCES:
            found[f"documents: {name}, W1"] = distance
        elif ours.std():
            rest.append(distance / ours.std())
    return found | {"documents: other features, largest W1 / SD": max(rest, default=0.0)}


def human_floor(texts: Sequence[str], reference: Reading) -> Differences:
    """Mean absolute difference of two samples that share no document, drawn as `dft_stats.build.floor` draws them."""
    drawn = Sample()
    drawn.add(texts)
    excerpts = drawn.excerpts()
    owner = np.unique([excerpt.document for excerpt in excerpts], return_inverse=True)[1]
    words = np.array([excerpt.text.count(" ") + 1 for excerpt in excerpts])
    found: dict[str, list[float]] = {}
    for repeat in range(REPEATS):
        sides = draw(owner, words, FLOOR_WORDS, seed=(FLOOR_WORDS, repeat))
        if sides is None:
            raise ValueError(f"{sum(words):,} words of excerpts are too few for two samples of {FLOOR_WORDS:,}; read more characters")
        counts = [count_corpus([[excerpts[i].text for i in side]]).counts for side in sides]
        order = np.random.default_rng(repeat).permutation(len(reference.documents))
        halves = [reference.documents.take(order[first::2]) for first in (0, 1)]
        for row, value in (count_differences(*counts) | document_differences(*halves)).items():
            found.setdefault(row, []).append(abs(value))
    return {row: float(np.mean(values)) for row, values in found.items()}


def _equal_tables(reference: Reading, other: Reading) -> set[str]:
    """Tables that are the same row for row, document frequencies and second moments included."""
    return {name for name in OF_UNITS if reference.counts[name].table.equals(other.counts[name].table)}


# --- tables -----------------------------------------------------------------------------------------------------------------------


def _show(reference: Reading, floor: Differences, others: Sequence[Differences], found: Mapping[str, Differences]) -> None:
    print(f"| | rule | floor | other domains | {' | '.join(found)} |")
    print("|---" * (4 + len(found)) + "|")
    own = _lengths(reference.counts)
    for row, least in floor.items():
        apart = sorted(abs(other[row]) for other in others)
        cells = [_cell(values[row], least, signed=row in own) for values in found.values()]
        rule = _number(own[row]) if row in own else ""
        print(f"| {row} | {rule} | {_number(least)} | {_number(apart[0])} to {_number(apart[-1])} | {' | '.join(cells)} |")


def _cell(value: float, floor: float, *, signed: bool) -> str:
    if abs(value) <= ROUNDING:
        return "0"
    sign, multiple = "+" if signed and value > 0 else "", abs(value) / floor
    return f"{sign}{_number(value)} ({'< 0.01' if multiple < 0.01 else _number(multiple, 2)})"


def _number(value: float, digits: int = 3) -> str:
    """To so many digits, but five decimal places at most; never in powers of ten."""
    places = max(0, min(digits - 1 - int(np.floor(np.log10(abs(value)))), 5)) if value else 0
    return f"{value:.{places}f}"


if __name__ == "__main__":
    main()
