"""What the choice of segmenter does to every statistic of a profile.

python benchmarks/segmenters.py CORPORA [--megabytes 2]

From each domain of CORPORA (a folder of folders of Parquet files) an equal share of each source, --megabytes of text together, is built
into a profile with the rule and with each peer. The peers give the ends of sentences alone, and their units are those of the rule, so that
what differs is the sentences; spaCy comes twice, the second time with the units of its own tokenizer. blingfire, sentencex and nupunkt are
left out where they are not installed.

First table: `dft_stats.compare.discrepancies` from the rule's profile, beside it the multiple of the human-human floor at this size, and in
its last rows the same between domains, for scale. Second table: sentence lengths in words.
"""

import argparse
import importlib.metadata
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dft_stats.build import build
from dft_stats.build.spacy_segmenter import spacy_segmenter
from dft_stats.compare import compared_counts, discrepancies, floor_at, floor_words
from dft_stats.profile import Profile
from dft_stats.sentences import RULE, Segmenter
from dft_stats.text import Unit, units

Ends = Callable[[str], Iterable[int]]
STATISTICS = ("token_frequency", "ngram_frequency", "sentence_length", "punctuation_rhythm", "entropy")


def main() -> None:
    parser = argparse.ArgumentParser(description="What the choice of segmenter does to every statistic.")
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--megabytes", type=float, default=2)
    given = parser.parse_args()
    segmenters = [RULE, *peers()]
    profiles: dict[tuple[str, str], Profile] = {}
    with tempfile.TemporaryDirectory() as folder:
        for domain in sorted(path.name for path in given.corpora.iterdir() if path.is_dir()):
            texts = list(sample(given.corpora / domain, given.megabytes * 1e6))
            for segmenter in segmenters:
                out = Path(folder) / f"{domain}-{segmenter.name}"
                profiles[domain, segmenter.name] = build(texts, out=out, name=domain, segmenter=segmenter)
        show(profiles, [segmenter.name for segmenter in segmenters])


def sample(domain: Path, characters: float) -> Iterator[str]:
    """An equal share of each source, from documents spread evenly over it; at most 20,000 characters of one, to a paragraph's end."""
    sources = sorted(domain.glob("*.parquet"))
    for source in sources:
        texts = pq.read_table(source, columns=["text"])["text"].to_pylist()
        missing, step = characters / len(sources), max(len(texts) // 97, 1)
        for text in (text for first in range(step) for text in texts[first::step]):
            if missing <= 0:
                break
            most = int(min(20_000, max(missing, 1)))
            part = text if len(text) <= most else text[: text.rfind("\n\n", 0, most)] if "\n\n" in text[:most] else text[:most]
            missing -= len(part) + 1
            yield part


# --- segmenters -------------------------------------------------------------------------------------------------------------------


def peers() -> Iterator[Segmenter]:
    """SpaCy's sentencizer and what else is installed."""
    spacy = spacy_segmenter()
    yield with_ends("sentencizer", spacy.version, lambda text: [sentence[-1].end for sentence in spacy.sentences(text) if sentence])
    for name, ends in (("blingfire", blingfire_ends), ("sentencex", sentencex_ends), ("nupunkt", nupunkt_ends)):
        try:
            yield with_ends(name, importlib.metadata.version(name), ends)
        except importlib.metadata.PackageNotFoundError:
            print(f"{name} is not installed and left out")
    yield spacy


def blingfire_ends(text: str) -> list[int]:
    from blingfire import text_to_sentences_and_offsets

    return [end for _, end in text_to_sentences_and_offsets(text)[1]]


def sentencex_ends(text: str) -> list[int]:
    from sentencex import get_sentence_boundaries

    return [found["end_index"] for found in get_sentence_boundaries("en", text)]


def nupunkt_ends(text: str) -> list[int]:
    from nupunkt import sent_spans

    return [end for _, end in sent_spans(text)]


def with_ends(name: str, version: str, ends: Ends) -> Segmenter:
    """A segmenter with the units of the rule, and sentences that end where `ends` says, and with each paragraph."""

    def sentences(text: str) -> list[list[Unit]]:
        found = units(text)
        behind = np.array([unit.end for unit in found])
        last = set(np.searchsorted(behind, [len(text[:end].rstrip()) for end in ends(text)]).tolist()) if found else set()
        made: list[list[Unit]] = [[]]
        for i, unit in enumerate(found):
            if made[-1] and (i - 1 in last or unit.break_before):
                made.append([])
            made[-1].append(unit)
        return made if found else []

    return Segmenter(name, version, "", sentences)


# --- tables -----------------------------------------------------------------------------------------------------------------------


def show(profiles: dict[tuple[str, str], Profile], names: Sequence[str]) -> None:
    """Both tables."""
    domains = sorted({domain for domain, _ in profiles})
    print(f"\n| domain | segmenter | {' | '.join(STATISTICS)} |\n|---|---|{'---|' * len(STATISTICS)}")
    for domain in domains:
        for name in names[1:]:
            print(f"| {domain} | {name} | {' | '.join(_cells(profiles[domain, RULE.name], profiles[domain, name]))} |")
    for a, b in combinations(domains, 2):
        print(f"| {a} | against {b} | {' | '.join(_cells(profiles[a, RULE.name], profiles[b, RULE.name]))} |")
    print("\n| domain | segmenter | sentences | mean | SD | CV | lag-1 correlation |\n|---|---|---|---|---|---|---|")
    for domain in domains:
        for name in names:
            profile = profiles[domain, name]
            length: dict[str, Any] = profile.summary()["sentence_length"]
            numbers = f"{length['mean']:.2f} | {length['sd']:.2f} | {length['cv']:.3f} | {length['lag1']:.3f}"
            print(f"| {domain} | {name} | {profile.exposure.sentences:,} | {numbers} |")


def _cells(reference: Profile, other: Profile) -> list[str]:
    found = discrepancies(compared_counts(reference), compared_counts(other))
    words = floor_words(reference.exposure.words, other.exposure.words)
    cells = []
    for statistic in STATISTICS:
        value, floor = found[statistic], floor_at(reference.table("floor"), statistic, words)
        cells.append("0" if value < 1e-9 else f"{value:.4f}" + (f" ({value / floor:.2f})" if floor else ""))
    return cells


if __name__ == "__main__":
    main()
