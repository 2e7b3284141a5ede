"""The card of a profile: what a reader should know before using it, in Markdown, with the numbers that characterise it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dft_stats.card import END, head
from dft_stats.counts import Counts, Exposure
from dft_stats.manifest import TOKENIZER
from dft_stats.spelling import DIGITS
from dft_stats.summary import summarise
from dft_stats.tables import SCHEMAS, TABLES

_BAR = 40  # characters of the longest bar
_LENGTHS = ((1, 5), (6, 10), (11, 15), (16, 20), (21, 25), (26, 30), (31, 40), (41, 60), (61, 61))
_GAPS = ((0, 0), (1, 2), (3, 5), (6, 9), (10, 14), (15, 19), (20, 29), (30, 30))


def card_of(facts: Mapping[str, Any], counts: Mapping[str, Counts], exposure: Exposure, floor: pa.Table) -> str:
    """Markdown with a YAML head, as the Hugging Face Hub shows it.

    `facts` may have, beside what `build` puts there: `is_for`, `is_not_for`, `problems` (text), `cut_off` (date), and `sources`, a list of
    {name, documents, words_share, licence, origin, note}.
    """
    summary = summarise(counts, exposure)
    length, marks = summary["sentence_length"], summary["marks_per_1000_words"]
    lines = [
        *head(facts, SCHEMAS if TOKENIZER in facts else TABLES),
        "",
        f"# {facts['name']} {facts['version']}",
        "",
        str(facts.get("title") or "Reference statistics of a corpus, for `dft_stats`."),
        "",
    ]
    for heading, key in (("What it is", "is_for"), ("What it is not", "is_not_for"), ("What is wrong with the sources", "problems")):
        if facts.get(key):
            lines += [f"## {heading}", "", str(facts[key]).strip(), ""]
    lines += [
        "## The numbers",
        "",
        f"{exposure.documents:,} documents, {exposure.sentences:,} sentences, {exposure.words:,} words.",
        "",
        "| | |",
        "|---|---|",
        f"| sentence length, words | mean {_number(length['mean'])}, SD {_number(length['sd'])}, CV {_number(length['cv'])} |",
        f"| correlation of successive sentence lengths | {_number(length['lag1'])} |",
        f"| entropy of words (Miller-Madow) | {_number(summary['entropy_bits'])} bits |",
        *(
            f"| entropy in windows of {key[7:]} words | {_number(bits)} bits |"
            for key, bits in summary["entropies_bits"].items()
            if key.startswith("window")
        ),
        *(f"| {name} per 1,000 words | {_number(rate)} |" for name, rate in marks.items()),
        f"| distinct units | {summary['tokens']['types']:,} |",
        f"| share of all units that stands in the table | {_number(100 * summary['tokens']['mass_in_table'])} % |",
        "",
    ]
    lines += _bars("Sentences", "words", counts["sentence_length"], "words", "length", _LENGTHS)
    lines += _bars("Marks", "words since the mark before", counts["punctuation_rhythm"], "gaps", "gap", _GAPS)
    if len(floor):
        sizes = sorted(set(floor["words"].to_pylist()))
        chosen = [sizes[0], sizes[len(sizes) // 2], sizes[-1]]
        found = {(row["statistic"], row["words"]): row["mean"] for row in floor.to_pylist()}
        lines += [
            "## The human-human floor",
            "",
            "By how much two disjoint samples of the corpus differ (mean over repeated draws; definitions: docs/statistics.md).",
            "",
            f"| statistic | {' | '.join(f'{size:,} words' for size in chosen)} |",
            f"|---|{'---|' * len(chosen)}",
            *(
                f"| {name} | {' | '.join(_number(found.get((name, size))) for size in chosen)} |"
                for name in sorted({name for name, _ in found})
            ),
            "",
        ]
    if facts.get("sources"):
        lines += ["## Provenance", "", "| source | documents | share of words | licence | origin | note |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {s['name']} | {s['documents']:,} | {100 * s['words_share']:.0f} % | {s['licence']} | {s['origin']} | {s.get('note', '')} |"
            for s in facts["sources"]
        ]
        lines += [""]
    lines += [
        "## Terms",
        "",
        f"Licence: {facts.get('licence', 'unspecified')}. The tables hold counts, no text longer than {facts['keep']['max_order']} words "
        "but for what is written without a space.",
        *_told(facts["keep"], facts.get("privacy", {"mode": "none"})),
        *([f"Text up to {facts['cut_off']}."] if facts.get("cut_off") else []),
        *_tokens(facts.get("tokenizer")),
        f"Counted by {facts['built_with']} with the segmenter {facts['segmenter']['name']} {facts['segmenter']['version']} "
        f"and the normaliser {facts['normaliser']} (typography: {facts['typography']}).",
        "",
        END,
        "",
    ]
    return "\n".join(lines)


def _bars(title: str, unit: str, counts: Counts, group: str, column: str, classes: Sequence[tuple[int, int]]) -> list[str]:
    """A histogram in letters, which every viewer of Markdown shows.

    Args:
        title: what is counted.
        unit: of the classes.
        counts: with a column of numbers.
        group: of its rows.
        column: the numbers.
        classes: first and last number of each; the last class takes what is beyond.
    """
    rows = counts.rows(group)
    numbers, count = (rows[name].to_numpy(zero_copy_only=False) for name in (column, "count"))
    ends = [last + 1 for _, last in classes[:-1]]
    found = np.bincount(np.searchsorted(ends, numbers, side="right"), weights=count, minlength=len(classes))
    if not found.sum():
        return []
    shares = found / found.sum()
    labels = [f"{first}" if first == last else f"{first} to {last}" for first, last in classes[:-1]] + [f"{classes[-1][0]} and more"]
    lines = (
        f"{label:>12}  {share:6.1%}  {'█' * round(_BAR * float(share / shares.max()))}".rstrip()
        for label, share in zip(labels, shares, strict=True)
    )
    return [f"{title}, share by {unit}:", "", "```text", *lines, "```", ""]


def _told(keep: Mapping[str, Any], privacy: Mapping[str, Any]) -> list[str]:
    """What rows of few documents there are."""
    if privacy["mode"] == "epsilon":
        return [
            f"Differentially private with respect to one {privacy['unit']}: epsilon {privacy['epsilon']:g}, delta {privacy['delta']:g}. "
            "Counts have noise; second moments, windows and document frequencies are not measured but derived from them; there is no floor."
        ]
    if privacy["mode"] == "publish":
        return [
            f"Built to be published: digits and addresses are masked, and no row of any table is of fewer than {privacy['min_documents']} "
            f"{privacy['unit']}s. This is k-anonymity of rows, not differential privacy."
        ]
    least, whole = keep.get("min_documents", 1), keep.get("spelling_documents", 1)
    if least == 1:
        return []
    parts = f", what fewer have in parts of words and groups of {DIGITS} digits" if whole > 1 else ""
    return [f"Words and n-grams of fewer than {least} documents are left out; stretches of {whole} are told whole in `spelling`{parts}."]


def _tokens(entry: Mapping[str, Any] | None) -> list[str]:
    """Whose tokens were counted."""
    if entry is None:
        return []
    name = f"the tokenizer {entry['name']}" if "name" in entry else "a tokenizer"
    return [f"Tokens and their pairs are those of {name} of {entry['vocabulary']:,} ids (sha256 {entry['sha256'][:16]})."]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1 else f"{value:,.2f}"
