"""How many words does keyness call typical where nothing is? Two random halves of the documents of one corpus, compared with each other.

python benchmarks/keyness.py CORPUS [--text-column text] [--documents 4000] [--draws 3]

Documents are dealt to two sides by chance, so that every word that is used more on one of them is a false alarm. Of units, and of bigrams,
that occur ten times or more: the share that exceeds 10.83, which one in a thousand should, by the log-likelihood ratio as it is (Dunning
1993); by that ratio of what two documents of the side that uses it more have; and over the design effect, of such, as `compare` has it.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dft_stats.build import build
from dft_stats.build.corpus import read
from dft_stats.cells import align
from dft_stats.keyness import SIGNIFICANT, is_spread, larger_effects
from dft_stats.measures import log_likelihood
from dft_stats.profile import Profile

LEAST = 10  # occurrences
TABLES: dict[str, tuple[str, tuple[int, ...]]] = {"units": ("token_frequency", ()), "bigrams": ("ngram_frequency", (2,))}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--text-column")
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=3)
    given = parser.parse_args()
    texts = [text for batch in read(given.corpus, text_column=given.text_column) for text in batch]
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in TABLES}
    for draw in range(given.draws):
        chosen = np.random.default_rng(draw).permutation(len(texts))[: given.documents]
        halves = np.array_split(chosen, 2)
        with tempfile.TemporaryDirectory() as folder:
            one, two = (_profile([texts[i] for i in half], Path(folder) / str(side)) for side, half in enumerate(halves))
            for name, (statistic, group) in TABLES.items():
                found[name].append(_false_alarms(one, two, statistic, group))
    print(f"{given.documents:,} of {len(texts):,} documents, {given.draws} draws\n")
    columns = ("rows", "log-likelihood", "in two documents", "over the design effect", "design effect, median", "99 %")
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, draws in found.items():
        rows, plain, spread, ours, median, most = np.mean(draws, 0)
        print(f"| {name} | {rows:,.0f} | {plain:.2%} | {spread:.2%} | {ours:.2%} | {median:.2f} | {most:.1f} |")


def _profile(texts: list[str], out: Path) -> Profile:
    return build([{"text": text} for text in texts], privacy="none", out=out, name="half")


def _false_alarms(reference: Profile, other: Profile, statistic: str, group: tuple[int, ...]) -> NDArray[np.float64]:
    ours, theirs = reference.counts(statistic), other.counts(statistic)
    cells = align(ours, theirs, *group)
    often = np.flatnonzero(cells.reference + cells.other >= LEAST)
    g2 = log_likelihood(cells.other, cells.other_total, cells.reference, cells.reference_total)
    exposures = reference.exposure, other.exposure
    spread, g2 = is_spread(cells, g2, exposures)[often], np.abs(g2[often])
    effect = larger_effects(ours, theirs, exposures, cells.keys.take(pa.array(often)), group)
    shares = [np.mean(values >= SIGNIFICANT) for values in (g2, g2 * spread, g2 * spread / effect)]
    return np.array([len(often), *shares, np.median(effect), np.quantile(effect, 0.99)])


if __name__ == "__main__":
    main()
