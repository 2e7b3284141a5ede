"""How well sentence ends are found, and how fast. What the choice of segmenter does to the statistics: `segmenters.py`.

python benchmarks/sentences.py GOLD [--spacy]
python benchmarks/sentences.py --corpora CORPORA [--spacy]

GOLD is a Parquet file with the columns text and sentence_ends (character offsets), and corpus and genre where known. A sentence end counts
as found if it is one of the segmenter's, white space aside; ends that fall together with a paragraph's are left out, since every segmenter
gets these from the blank lines. Prints precision, recall and F1 by corpus and genre, and millions of characters a CPU-second.

`--corpora` does so on passages of the corpora of the official profiles, by `sentence_gold.json`: offsets into the texts of the Parquet
files of CORPORA/<domain>, no text. docs/sentences.md has the rules by which the ends were decided, by whom, and what the three sets are.
Of the third set it has the stops that were marked, and the ends among them as other readers decided them: how many alike is printed.
"""

import argparse
import json
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dft_stats.sentences import RULE, Segmenter, sentence_spans


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("gold", nargs="?", help="Parquet file of gold sentence ends")
    parser.add_argument("--corpora", type=Path, help="folder of the corpora, with a folder for each domain")
    parser.add_argument("--spacy", action="store_true", help="spaCy's sentencizer as well")
    given = parser.parse_args()
    segmenters = [RULE]
    if given.spacy:
        from dft_stats.build.spacy_segmenter import spacy_segmenter

        segmenters.append(spacy_segmenter())
    if given.gold:
        show_accuracy([(row, _parts(row)) for row in pq.read_table(given.gold).to_pylist()], segmenters)
    if given.corpora:
        show_accuracy(list(_of_corpora(given.corpora)), segmenters)
        show_agreement(_passages())


def show_accuracy(rows: Sequence[tuple[dict[str, Any], Sequence[str]]], segmenters: Iterable[Segmenter]) -> None:
    """Precision, recall and F1 of each segmenter, by part; a row has text and sentence_ends, and the parts that it counts for."""
    print("| segmenter | part | gold ends | precision | recall | F1 |")
    print("|---|---|---|---|---|---|")
    for segmenter in segmenters:
        began = time.process_time()
        hits: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for row, parts in rows:
            ends = {end for _, end in sentence_spans(row["text"], segmenter)}
            found, gold = _inner(row["text"], ends) - set(row.get("undecided", ())), _inner(row["text"], set(row["sentence_ends"]))
            for part in parts:
                for i, number in enumerate((len(found & gold), len(found), len(gold))):
                    hits[part][i] += number
        for part, (both, of_found, of_gold) in sorted(hits.items()):
            precision, recall = both / max(of_found, 1), both / max(of_gold, 1)
            f1 = 2 * both / max(of_found + of_gold, 1)
            print(f"| {segmenter.name} | {part} | {of_gold:,} | {100 * precision:.1f} | {100 * recall:.1f} | {100 * f1:.1f} |")
        speed = sum(len(row["text"]) for row, _ in rows) / 1e6 / (time.process_time() - began)
        print(f"\n{segmenter.name} {segmenter.version}: {speed:.2f} million characters a CPU-second (the reference, not the fast path)\n")


def show_agreement(passages: Iterable[dict[str, Any]]) -> None:
    """How many of the marked stops two readings decided alike; `read_again` and `undecided_again` are their numbers in the passage."""
    stops = alike = 0
    for passage in passages:
        marks = passage.get("stops", [])
        ends, open_ = ({bisect_right(marks, end) - 1 for end in passage.get(name, ())} for name in ("sentence_ends", "undecided"))
        decided = set(range(len(marks))) - open_ - set(passage.get("undecided_again", ()))
        stops += len(decided)
        alike += len(decided) - len(decided & (ends ^ set(passage.get("read_again", ()))))
    print(f"decided twice: {stops:,} stops, {alike:,} of them alike")


def _parts(row: dict[str, Any]) -> list[str]:
    corpus = row.get("corpus") or "all"
    return [corpus, f"{corpus} {row['genre']}"] if row.get("genre") else [corpus]


def _passages() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path(__file__).with_name("sentence_gold.json").read_text())
    return found


def _of_corpora(folder: Path) -> Iterable[tuple[dict[str, Any], Sequence[str]]]:
    passages = _passages()
    texts: dict[tuple[str, str], str] = {}
    for domain, source in {(passage["domain"], passage["source"]) for passage in passages}:
        table = pq.read_table(folder / domain / f"{source}.parquet", columns=["doc_id", "text"])
        texts |= {(source, row["doc_id"]): row["text"] for row in table.to_pylist()}
    for passage in passages:
        start, number, source = passage["start"], passage["set"], passage["source"]
        text = texts[source, passage["doc_id"]][start : passage["end"]]
        ends, undecided = ([end - start for end in passage.get(name, ())] for name in ("sentence_ends", "undecided"))
        part = f"{number} {passage['domain']}"
        yield {"text": text, "sentence_ends": ends, "undecided": undecided}, (number, part, f"{part} {source}")


def _inner(text: str, ends: set[int]) -> set[int]:
    """Ends that are not those of a paragraph."""
    stripped = {len(text[:end].rstrip()) for end in ends}
    return {end for end in stripped if (rest := text[end:].lstrip(" ")) and not rest.startswith("\n\n")}


if __name__ == "__main__":
    main()
