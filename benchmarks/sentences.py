"""How well sentence ends are found, and how fast.

python benchmarks/sentences.py GOLD [--spacy]

GOLD is a Parquet file with the columns text and sentence_ends (character offsets), and corpus and genre where known. A sentence end counts
as found if it is one of the segmenter's, white space aside; ends that fall together with a paragraph's are left out, since every segmenter
gets these from the blank lines. Prints F1 by corpus and genre, and millions of characters a CPU-second.
"""

import argparse
import time
from collections import defaultdict

import pyarrow.parquet as pq

from dft_stats.text import RULE, Segmenter, sentence_spans


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("gold")
    parser.add_argument("--spacy", action="store_true", help="spaCy's sentencizer as well")
    given = parser.parse_args()
    rows = pq.read_table(given.gold).to_pylist()
    segmenters = [RULE]
    if given.spacy:
        from dft_stats.build.spacy_segmenter import spacy_segmenter

        segmenters.append(spacy_segmenter())
    print("| segmenter | part | gold ends | precision | recall | F1 |")
    print("|---|---|---|---|---|---|")
    for segmenter in segmenters:
        began = time.process_time()
        hits: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for row in rows:
            found, gold = _inner(row["text"], _ends(row["text"], segmenter)), _inner(row["text"], set(row["sentence_ends"]))
            for part in filter(None, (row.get("corpus", "all"), row.get("genre") and f"{row.get('corpus', '')} {row['genre']}")):
                for i, number in enumerate((len(found & gold), len(found), len(gold))):
                    hits[part][i] += number
        for part, (both, of_found, of_gold) in sorted(hits.items()):
            precision, recall = both / max(of_found, 1), both / max(of_gold, 1)
            f1 = 2 * both / max(of_found + of_gold, 1)
            print(f"| {segmenter.name} | {part} | {of_gold:,} | {100 * precision:.1f} | {100 * recall:.1f} | {100 * f1:.1f} |")
        speed = sum(len(row["text"]) for row in rows) / 1e6 / (time.process_time() - began)
        print(f"\n{segmenter.name} {segmenter.version}: {speed:.2f} million characters a CPU-second (the reference, not the fast path)\n")


def _ends(text: str, segmenter: Segmenter) -> set[int]:
    return {end for _, end in sentence_spans(text, segmenter)}


def _inner(text: str, ends: set[int]) -> set[int]:
    """Ends that are not those of a paragraph."""
    stripped = {len(text[:end].rstrip()) for end in ends}
    return {end for end in stripped if (rest := text[end:].lstrip(" ")) and not rest.startswith("\n\n")}


if __name__ == "__main__":
    main()
