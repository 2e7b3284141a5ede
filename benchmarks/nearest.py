"""Whether held-out documents are nearest to their own domain.

python benchmarks/nearest.py CORPORA [--words 300 1000 3000]

Builds the four profiles from nine tenths of each source, then takes stretches of the held-out tenth, each a profile of its own, and
asks `nearest`. Prints the share of stretches that are nearest to their own domain, by domain, source and length.
"""

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from dft_stats.build import build
from dft_stats.compare import nearest
from dft_stats.profile import Profile
from pipelines.official import RECIPES, build_mixture
from pipelines.recipe import plan, read_recipe

LEAVE_OUT = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--words", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--stretches", type=int, default=20, help="by source and length")
    given = parser.parse_args()
    paths = sorted(RECIPES.glob("*.toml"))
    mixtures = {path.stem: plan(read_recipe(path), given.corpora, leave_out=LEAVE_OUT) for path in paths}
    with tempfile.TemporaryDirectory() as folder:
        references = [build_mixture(mixture, Path(folder)) for mixture in mixtures.values()]
        print("| domain | source | words | nearest is right |")
        print("|---|---|---|---|")
        for domain, mixture in mixtures.items():
            for i, share in enumerate(mixture.shares):
                held_out = list(mixture.held_out(i))
                for words in given.words:
                    _row(domain, share.source.name, words, stretches(held_out, words, given.stretches), references, Path(folder))


def _row(domain: str, source: str, words: int, texts: list[list[str]], references: list[Profile], folder: Path) -> None:
    found: dict[str, int] = defaultdict(int)
    for i, documents in enumerate(texts):
        other = build(documents, privacy="none", out=folder / "stretch", name="stretch", overwrite=i >= 0, max_order=3)
        found[nearest(other, references)[0][0]] += 1
    wrong = ", ".join(f"{name} {number}" for name, number in found.items() if name != domain)
    print(f"| {domain} | {source} | {words} | {found[domain]} of {len(texts)}{f' ({wrong})' if wrong else ''} |", flush=True)


def stretches(texts: list[str], words: int, number: int) -> list[list[str]]:
    """Lists of documents of about so many words together; a longer document gives its first words."""
    order = np.random.default_rng(0).permutation(len(texts))
    found: list[list[str]] = [[]]
    missing = words
    for i in order:
        piece = " ".join(texts[i].split(" ")[:missing])
        found[-1].append(piece)
        missing -= piece.count(" ") + 1
        if missing <= 0:
            if len(found) == number:
                return found
            found.append([])
            missing = words
    return found[:-1]


if __name__ == "__main__":
    main()
