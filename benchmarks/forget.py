"""What `--forget` costs in accuracy: a profile of a corpus whose n-grams were forgotten by groups, against the exact one.

python benchmarks/forget.py CORPUS [--text-column text] [--forget 25MB] [--min-documents 5 10 20 50] [--shuffle SEED]

A row of the table is what profiles of so many documents at least would have: how many rows the exact one keeps, what share of them is
missed and of their occurrences, and how many occurrences a row that is kept lacks, on average and at the most. Below it: by how much the
types of n-grams are too many, and the distance of both profiles. In the order of the files a group is about one domain where a corpus has
several; --shuffle puts the documents in another order.
"""

import argparse
import random
import tempfile
from pathlib import Path

import polars as pl

from dft_stats.build import build
from dft_stats.build.corpus import read
from dft_stats.compare import compare
from dft_stats.profile import Profile


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("--text-column")
    parser.add_argument("--forget", default="25MB")
    parser.add_argument("--min-documents", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--shuffle", type=int, metavar="SEED")
    given = parser.parse_args()
    texts = [text for batch in read(given.corpus, text_column=given.text_column) for text in batch]
    if given.shuffle is not None:
        random.Random(given.shuffle).shuffle(texts)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.parquet"
        pl.DataFrame({"text": texts}).write_parquet(corpus, row_group_size=500)
        least = min(given.min_documents)
        exact, other = (
            build(corpus, privacy="none", out=Path(folder) / name, name=name, min_documents=least, memory="2GB", forget=forget)
            for name, forget in (("exact", None), ("forgetful", given.forget))
        )
        print(f"{sum(map(len, texts)) / 1e6:.0f} million characters, --forget {given.forget}, undercount {other.manifest['undercount']}\n")
        _rows(exact, other, given.min_documents)
        for order, types in _types(exact).items():
            print(f"types of {order}-grams: {100 * (_types(other)[order] / types - 1):.1f} % too many")
        for difference in compare(exact, other).differences:
            print(f"{difference.statistic}: {difference.value:.5f} {difference.unit}")


def _ngrams(profile: Profile) -> pl.DataFrame:
    found: pl.DataFrame = pl.from_arrow(profile.counts("ngram_frequency").table)  # type: ignore[assignment]
    return found.select("n", "ngram", "count", "documents")


def _rows(exact: Profile, other: Profile, levels: list[int]) -> None:
    both = _ngrams(exact).join(_ngrams(other), on=["n", "ngram"], how="left", suffix="_kept")
    print("| min_documents | rows, exact | missed | their share of the occurrences | lost a kept row, mean | largest |")
    print("|---|---|---|---|---|---|")
    for level in levels:
        own = both.filter(pl.col("documents") >= level)
        is_missed = pl.col("documents_kept").is_null() | (pl.col("documents_kept") < level)
        missed, kept = own.filter(is_missed), own.filter(~is_missed)
        lost = (kept["count"] - kept["count_kept"]).to_numpy()
        share = int(missed["count"].sum()) / int(own["count"].sum())
        print(f"| {level} | {len(own):,} | {len(missed) / len(own):.1%} | {share:.1%} | {lost.mean():.2f} | {lost.max()} |")


def _types(profile: Profile) -> dict[int, int]:
    totals = profile.counts("ngram_frequency").totals
    return dict(zip(totals["n"].to_pylist(), totals["types"].to_pylist(), strict=True))


if __name__ == "__main__":
    main()
