"""How far what is compiled from a profile is from what tokenised text says.

python benchmarks/compile_error.py PROFILE TEXTS TOKENIZER... [--corpora FOLDER] [--megabytes 4] [--full-only] [--tokens-only]

PROFILE is a name or folder, TEXTS the corpus that it was built from (files that `dft-stats build` reads, or a recipe's name with
--corpora), TOKENIZER paths of tokenizer.json or their folders. Two rows a tokenizer: a full profile, built here from every so many-th
document, up to --megabytes, nothing pruned, and measured on these; and PROFILE, measured on all texts.

    compile, s     process time of compiling, nothing cached
    JS             Jensen-Shannon divergence (bits) of token frequencies, compiled against counted on the tokenised text
    noise          the same between two halves of the text
    TV pairs       total variation of pairs of neighbouring tokens, on what the profile covers: pairs inside a stretch, or inside a part
                   of one that is told in parts, and pairs across a space whose two units are a row of `ngram_frequency`; `coverage`, the
                   share of all pairs that this is
    W1 lengths     Wasserstein-1 (words) between the sentence lengths that `count_stream` reads from the ids and those of the text
    W1 gaps        the same for gaps between marks (words, within the buckets of the compiled profile)
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats import load
from dft_stats.build import build
from dft_stats.build.corpus import read
from dft_stats.compiled import CompiledProfile
from dft_stats.compiling import compile_profile
from dft_stats.counts import count
from dft_stats.measures import jensen_shannon_bits
from dft_stats.profile import Profile
from dft_stats.sentences import documents, rule_sentences
from dft_stats.spelling import Known, opened
from dft_stats.statistics import PUNCTUATION_RHYTHM, SENTENCE_LENGTH
from dft_stats.stream import count_stream
from dft_stats.text import normalise
from dft_stats.token_bigrams import token_bigrams
from dft_stats.tokenizer import resolve
from pipelines.recipe import plan, read_recipe

Floats = NDArray[np.float64]
READ = 2_000_000
"""Characters that `count_stream` reads: it is the slow reference."""
LONGEST_GAP = 60


@dataclass(frozen=True, slots=True)
class Places:
    """Stretches of a text, or the parts in which a profile tells them: line ends belong to the one before, spaces to the one behind."""

    begins: NDArray[np.int64]  # (places,), character
    covered: NDArray[np.bool_]  # (places,), whether the profile has the pair of units across the space before it


class Cuts:
    """Where a profile cuts stretches that few documents have."""

    def __init__(self, profile: Profile, whole: Profile) -> None:
        """`whole`: of the same texts, nothing pruned."""
        keep = profile.manifest["keep"]
        self.least = {"documents": max(keep["min_documents"], keep["surface_documents"]), "count": keep["min_count"]}
        self.floor = keep["spelling_documents"]
        surface, units = whole.table("surface"), whole.table("token_frequency")
        self.rows = dict(zip(surface["surface"].to_pylist(), surface.select(["documents", "count"]).to_pylist(), strict=True))
        common = [text for text, row in self.rows.items() if row["documents"] >= self.floor]
        common += units.filter(pc.greater_equal(units["documents"], self.floor))["unit"].to_pylist()
        self.known = Known(common)

    def inside(self, stretch: str) -> list[int]:
        """Offsets at which its parts begin, but for the first."""
        row = self.rows[stretch]
        is_kept = all(row[name] >= least for name, least in self.least.items())
        if is_kept or row["documents"] >= self.floor:
            return []
        before = len(opened(stretch)) - len(stretch)
        return [end - before for end in accumulate(map(len, self.known.parts(stretch)))][:-1]


def places_of(texts: Sequence[str], profile: Profile, cuts: Cuts | None = None) -> list[Places]:
    """The places of normalised texts."""
    rows = {ngram for ngram in profile.counts("ngram_frequency").rows(2)["ngram"].to_pylist() if " " in ngram}
    return [_places(text, rows, cuts) for text in texts]


def _places(text: str, rows: set[str], cuts: Cuts | None) -> Places:
    begins, covered = list[int](), list[bool]()
    for sentence in rule_sentences(text):
        for i, unit in enumerate(sentence):
            if unit.space or unit.break_before:
                begins.append(unit.start - unit.space)
                covered.append(unit.space and i > 0 and f"{sentence[i - 1].text} {unit.text}" in rows)
    if cuts is not None:
        for begin, end in list(pairwise([*begins, len(text)])):
            inside = cuts.inside(text[begin:end])
            begins += [begin + offset for offset in inside]
            covered += [False] * len(inside)
    order = np.argsort(begins, kind="stable")
    return Places(np.array(begins, np.int64)[order], np.array(covered, bool)[order])


def main() -> None:
    parser = argparse.ArgumentParser(description="How far what is compiled from a profile is from what tokenised text says.")
    parser.add_argument("profile")
    parser.add_argument("texts", help="files, or with --corpora the name of a recipe")
    parser.add_argument("tokenizers", nargs="+", type=Path)
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--tokens-only", action="store_true", help="leave out pairs, lengths and gaps, which take nearly all of the time")
    parser.add_argument("--full-only", action="store_true", help="leave out PROFILE, which takes a minute per 10 MB of text and tokenizer")
    given = parser.parse_args()
    if given.corpora:
        recipe = read_recipe(Path(__file__).parents[1] / "registry" / "recipes" / f"{given.texts}.toml")
        texts = list(plan(recipe, given.corpora).texts())
    else:
        texts = [text for batch in read(given.texts) for text in batch]
    texts = [normalise(text) for text in texts]
    some = texts[:: max(1, round(sum(map(len, texts)) / given.megabytes / 1e6))]
    profile = load(given.profile)
    print(f"{profile!r}, {sum(map(len, texts)) / 1e6:.1f} MB of text, {sum(map(len, some)) / 1e6:.1f} MB for the full profile\n")
    print("| tokenizer | profile | compile, s | JS, bits | noise | TV pairs | coverage | W1 lengths | W1 gaps | exactness |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        full = build(some, privacy="none", out=Path(folder) / "full", name="full", max_order=3)
        measured = [("full", full, some, None if given.tokens_only else places_of(some, full))]
        if given.tokens_only and not given.full_only:
            measured.append(("given", profile, texts, None))
        elif not given.full_only:
            cuts = Cuts(profile, build(texts, privacy="none", out=Path(folder) / "all", name="all", max_order=2))
            measured.append(("given", profile, texts, places_of(texts, profile, cuts)))
        for path in given.tokenizers:
            for which, chosen, own, covered in measured:
                row = measure(chosen, path, own, covered, some)
                name = path.parent.name if path.name == "tokenizer.json" else path.name
                print(f"| {name} | {which} | " + " | ".join(row) + " |", flush=True)


def measure(profile: Profile, path: Path, texts: Sequence[str], covered: Sequence[Places] | None, some: Sequence[str]) -> list[str]:
    """One row: tokens and, with what is covered, their pairs on `texts`, lengths and gaps on `some` of them."""
    began = time.process_time()
    compiled = compile_profile(profile, path, cache=False, inexact=True)
    seconds = time.process_time() - began
    tokenizer = resolve(path)
    halves = np.zeros((2, compiled.vocab_size))
    for begin in range(0, len(texts), 1000):
        for i, encoding in enumerate(tokenizer.encode_batch(texts[begin : begin + 1000], add_special_tokens=False)):
            halves[i % 2] += np.bincount(compiled.tokens.fold[encoding.ids], minlength=compiled.vocab_size)
    halves[:, compiled.tokens.special] = 0
    divergence = jensen_shannon_bits(halves.sum(0), compiled.token_frequency)
    more = ["", "", "", ""]
    if covered is not None:
        (variation, coverage), (lengths, gaps) = pair_variation(profile, tokenizer, texts, covered), distances(compiled, tokenizer, some)
        more = [f"{variation:.4f}", f"{coverage:.3f}", f"{lengths:.2f}", f"{gaps:.2f}"]
    noise = jensen_shannon_bits(halves[0], halves[1])
    return [f"{seconds:.1f}", f"{divergence:.5f}", f"{noise:.5f}", *more, f"{compiled.exactness:.4f}"]


def pair_variation(profile: Profile, tokenizer: Any, texts: Sequence[str], places: Sequence[Places]) -> tuple[float, float]:
    """Total variation of covered pairs, and which share of all pairs is covered."""
    found = token_bigrams(profile, tokenizer)
    size = len(found.rests[0].first)
    keys, everything = [], 0
    for text, own in zip(texts, places, strict=True):
        ids, covered = covered_pairs(text, tokenizer, own)
        keys.append((ids[:-1] * size + ids[1:])[covered])
        everything += len(covered)
    key, number = np.unique(np.concatenate(keys), return_counts=True)
    direct = number / number.sum()
    compiled = found.covered / found.coverage
    own_key = found.pairs[:, 0].astype(np.int64) * size + found.pairs[:, 1]
    both = np.union1d(key, own_key)
    difference = np.zeros(len(both))
    difference[np.searchsorted(both, key)] += direct
    difference[np.searchsorted(both, own_key)] -= compiled
    return float(np.abs(difference).sum() / 2), float(number.sum() / everything)


def covered_pairs(text: str, tokenizer: Any, places: Places) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Ids of a text, and for each pair of neighbours whether it lies in one place or across a covered begin of one."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    ids = np.array(encoding.ids, np.int64)
    last = np.array([end - 1 for _, end in encoding.offsets], np.int64)
    home = np.searchsorted(places.begins, np.maximum(last, 0), side="right")
    inside, follows = home[1:] == home[:-1], home[1:] == home[:-1] + 1
    return ids, inside | (follows & np.concatenate([[False], places.covered])[home[1:]])


def distances(compiled: CompiledProfile, tokenizer: Any, texts: Sequence[str]) -> tuple[float, float]:
    """Wasserstein-1 distance, in words, of sentence lengths and of gaps between marks: read from ids, and counted on the text."""
    sizes = np.cumsum([len(text) for text in texts])
    chosen = texts[: 1 + int(np.searchsorted(sizes, READ))]
    streams = [count_stream(compiled, tokenizer.encode(text, add_special_tokens=False).ids) for text in chosen]
    found = documents(chosen)
    ends = sum(streams[1:], streams[0]).ends
    lengths = count(SENTENCE_LENGTH, found).rows("words")
    wanted = np.bincount(lengths["length"].to_numpy(), lengths["count"].to_numpy())
    longest = max(len(ends), len(wanted))
    gaps = count(PUNCTUATION_RHYTHM, found).rows("gaps")
    edges = compiled.gap_edges
    bucket = np.searchsorted(edges, gaps["gap"].to_numpy(), side="right") - 1
    width = np.diff(np.minimum(edges, LONGEST_GAP))
    read_gaps = sum(stream.rhythm.sum((0, 2)) for stream in streams)
    return (
        wasserstein(np.pad(ends, (0, longest - len(ends))), np.pad(wanted, (0, longest - len(wanted))), np.ones(longest)),
        wasserstein(np.asarray(read_gaps), np.bincount(bucket, gaps["count"].to_numpy(), len(edges) - 1), width),
    )


def wasserstein(a: NDArray[Any], b: NDArray[Any], width: NDArray[Any]) -> float:
    """Between two histograms on the same line; `width` of each step of it."""
    return float((np.abs(np.cumsum(a / a.sum() - b / b.sum())) * width).sum())


if __name__ == "__main__":
    main()
