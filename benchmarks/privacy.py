"""What privacy costs: how far a private profile is from the exact one of the same texts, by floor k and by epsilon.

python benchmarks/privacy.py CORPORA [--domain news] [--tokenizer PATH] [--k 5 10 20 50] [--epsilon 1 2 4 8 16] [--plot FILE.svg]

The texts are those of an official domain, made from CORPORA by its recipe. Each row is a profile of them. Its columns: by what multiple of
the human-human floor the statistics differ from the exact profile's (`compare`; below 1 is less than two samples of the corpus differ by);
what share of all words and marks, and of all bigrams and trigrams, stands in a table, not in its rare cell; and by how many bits of
Jensen-Shannon divergence the tokens of a model come out differently when both are compiled. The first row has the masks and no floor. The
row of epsilon 100 has hardly any noise: it shows what the limits on what a document may give cost by themselves. Needs matplotlib for the
plot.
"""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from dft_stats.build import build
from dft_stats.compare import UNITS, compare
from dft_stats.masking import Masks
from dft_stats.measures import jensen_shannon_bits
from dft_stats.profile import Profile
from pipelines.official import RECIPES
from pipelines.plots import STYLE
from pipelines.recipe import plan, read_recipe

STATISTICS = tuple(UNITS)
MOST_EPSILON = 100.0  # as good as no noise


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--domain", default="news")
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--k", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--epsilon", type=float, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    rows = [{"text": text} for text in plan(read_recipe(RECIPES / f"{given.domain}.toml"), given.corpora).texts()]
    with tempfile.TemporaryDirectory() as folder:
        exact = build(rows, out=Path(folder) / "exact", name="exact", privacy="none", max_order=3)
        masked = [{"text": text} for text in Masks().apply([row["text"] for row in rows])[0]]
        settings: list[tuple[str, dict[str, Any]]] = [("masked, no floor", {"privacy": "none"})]
        settings += [(f"k = {k}", {"min_documents": k}) for k in given.k]
        settings += [("clamped, epsilon 100", {"epsilon": MOST_EPSILON})] if given.epsilon else []
        settings += [(f"epsilon = {epsilon:g}", {"epsilon": epsilon}) for epsilon in given.epsilon]
        print(f"{exact.exposure.documents:,} documents, {exact.exposure.words:,} words\n")
        print(f"| | {' | '.join(STATISTICS)} | words told | bigrams, trigrams told | tokens, bits |")
        print(f"|---|{'---|' * (len(STATISTICS) + 3)}")
        found = []
        for i, (name, how) in enumerate(settings):
            private = build(rows if i else masked, out=Path(folder) / str(i), name="private", max_order=3, **how)
            multiples = {d.statistic: d.multiple for d in compare(exact, private).differences}
            told = [_told(private, "token_frequency"), _told(private, "ngram_frequency", 2), _told(private, "ngram_frequency", 3)]
            bits = _bits(exact, private, given.tokenizer) if given.tokenizer else None
            found.append((name, multiples, told[0], bits))
            cells = " | ".join("-" if multiples[s] is None else f"{multiples[s]:.2f}" for s in STATISTICS)
            said = "-" if bits is None else f"{bits:.4f}"
            print(f"| {name} | {cells} | {told[0]:.1%} | {told[1]:.1%}, {told[2]:.1%} | {said} |")
            sys.stdout.flush()
    if given.plot:
        plot(found, exact.exposure.documents, given.domain, given.plot)


def _told(profile: Profile, name: str, *group: int) -> float:
    counts = profile.counts(name)
    return (pc.sum(counts.rows(*group)["count"]).as_py() or 0) / max(counts.total(*group), 1)


def _bits(exact: Profile, private: Profile, tokenizer: Path) -> float:
    ours, theirs = (profile.compile(str(tokenizer), cache=False).token_frequency for profile in (exact, private))
    return jensen_shannon_bits(ours * 1e12, theirs * 1e12)


def plot(found: Sequence[tuple[str, Any, float, float | None]], documents: int, domain: str, path: Path) -> None:
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    at = np.arange(len(found))
    with pyplot.rc_context(STYLE):
        figure, (above, below) = pyplot.subplots(2, 1, figsize=(7, 6), sharex=True, height_ratios=(3, 1))
        scale: Callable[[float | None], float] = lambda value: np.nan if value is None else max(value, 0.01)  # noqa: E731
        for statistic, marker in zip(STATISTICS, "osD^v", strict=False):
            above.plot(at, [scale(multiples[statistic]) for _, multiples, _, _ in found], marker=marker, label=statistic)
        above.axhline(1, color="black", linewidth=1)
        above.set_yscale("log")
        above.set_ylabel("times the human-human floor")
        above.set_title(f"{domain}, {documents:,} documents: distance from the exact profile")
        above.legend(fontsize=8)
        below.bar(at, [100 * told for _, _, told, _ in found], color="#4477aa")
        below.set_ylabel("% of words told")
        below.set_xticks(at, [name for name, *_ in found], rotation=35, ha="right")
        figure.tight_layout()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
