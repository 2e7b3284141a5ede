"""The sections of a data sheet, in Markdown: lines of text."""

from collections.abc import Iterable, Sequence

from dft_stats.compare import UNITS
from dft_stats.profile import Profile
from pipelines import duplicates
from pipelines.cleaning import BOILERPLATE_WORDS
from pipelines.dispersion import Dispersion
from pipelines.sample_size import Needed
from pipelines.stability import Contribution, statistics_of
from pipelines.typography import Typography


def head(profile: Profile) -> list[str]:
    """What it is and what for."""
    facts, exposure = profile.manifest, profile.exposure
    return [
        f"# Data sheet: {profile.name} {profile.version}",
        "",
        f"{facts['title']}. {exposure.words:,} words in {exposure.sentences:,} sentences of {exposure.documents:,} documents; "
        f"nothing after {facts['cut_off']}. All of it was written before language models wrote prose.",
        "",
        "Written by `python -m pipelines.data_sheet`; do not edit.",
        "",
        "## For what, and for what not",
        "",
        facts["is_for"],
        "",
        facts["is_not_for"],
        "",
    ]


def sources(profile: Profile) -> list[str]:
    """The sources, and what was removed from them."""
    rows = [
        (
            s["name"],
            f"{s['documents']:,}",
            _percent(s["words_share"]),
            s["licence"],
            s["origin"],
        )
        for s in profile.manifest["sources"]
    ]
    removed = [
        (
            s["name"],
            f"{s['read']['documents']:,}",
            *(f"{s['removed'][key]:,}" for key in ("copies", "near_duplicates", "paragraphs", "words")),
            _percent(s["removed"]["words"] / max(s["read"]["words"], 1)),
        )
        for s in profile.manifest["sources"]
    ]
    return [
        "## Where it comes from",
        "",
        *_table(("source", "documents", "share of words", "licence", "origin"), rows),
        f"Licence of the profile: {profile.manifest['licence']}. It holds counts and no text longer than "
        f"{profile.manifest['keep']['max_order']} words but for what is written without a space; a word or n-gram that fewer than "
        f"{profile.manifest['keep']['min_documents']} "
        "documents have is left out, its occurrences stay in the totals. How the text is spelt, for tokenizers, is told whole of what "
        f"{profile.manifest['keep']['spelling_documents']} or more documents have, otherwise in parts of words (table `spelling`).",
        "",
        "What was removed before counting, of all that was read:",
        "",
        *_table(
            ("source", "documents read", "copies", "near-duplicates", "boilerplate paragraphs", "words removed", "of the words"), removed
        ),
        f"Near-duplicates: at least {_percent(duplicates.OVERLAP)} of the distinct {duplicates.ORDER}-grams of the shorter document, and "
        f"{duplicates.LEAST} of them, stand in the other; the longer stays. Boilerplate: a paragraph of {BOILERPLATE_WORDS} words or more "
        f"that stands in {duplicates.BOILERPLATE_DOCUMENTS} documents or more of its source, case and digits aside. After that a source "
        "gives documents in the order of their hashes until its share of the words is full, so that what is taken is a random sample.",
        "",
    ]


def typesetting(found: Sequence[tuple[str, Typography]]) -> list[str]:
    """Quotes and dashes of each source before and after the fold."""
    first = found[0][1]
    rows = [(name, *(f"{rate:.1f}" for rate in (*own.before.values(), *own.after.values()))) for name, own in found]
    left = sum(own.left for _, own in found)
    return [
        "## Typography",
        "",
        "Sources are typeset differently; the build folds quotes and dashes (`typography: fold` in the manifest), so that the counts do "
        "not depend on it. Characters per 1,000 words before and after; apostrophes are the same characters as single quotes and counted "
        "with them.",
        "",
        *_table(("source", *first.before, *(f"{name}, folded" for name in first.after)), rows),
        f"Curly quotes and en dashes left after the fold: {left:,}.",
        "",
    ]


def numbers(profile: Profile) -> list[str]:
    """The numbers that characterise the profile."""
    summary = profile.summary()
    length, tokens = summary["sentence_length"], summary["tokens"]
    rows = [
        ("sentence length, words: mean", f"{length['mean']:.2f}"),
        ("sentence length, words: SD", f"{length['sd']:.2f}"),
        ("sentence length: CV", f"{length['cv']:.3f}"),
        ("correlation of successive sentence lengths", f"{length['lag1']:.3f}"),
        ("entropy of words (Miller-Madow), bits", f"{summary['entropy_bits']:.2f}"),
        *((f"entropy, {key.replace('_', ' ')}, bits", f"{bits:.2f}") for key, bits in summary["entropies_bits"].items()),
        ("distinct units", f"{tokens['types']:,}"),
        ("units that occur once", f"{tokens['hapax']:,}"),
        ("share of all units that stands in the table", _percent(tokens["mass_in_table"])),
        ("Zipf exponent", f"{tokens['zipf_exponent']:.2f}"),
        *((f"{name} per 1,000 words", f"{rate:.2f}") for name, rate in summary["marks_per_1000_words"].items()),
    ]
    return ["## The numbers", "", *_table(("", ""), rows)]


def floor(profile: Profile, needed: Sequence[Needed]) -> list[str]:
    """The human-human floor, and how many words of model text it asks for."""
    rows = profile.table("floor").to_pylist()
    sizes = sorted({row["words"] for row in rows})
    found = {(row["statistic"], row["words"]): (row["mean"], row["sd"]) for row in rows}
    names = list(dict.fromkeys(row["statistic"] for row in rows))
    cells = [(name, *(_mean_sd(found.get((name, size))) for size in sizes)) for name in names]
    words = [(one.statistic, f"{one.distance:.3g}", one.nearest, _words(one)) for one in needed]
    return [
        "## The human-human floor",
        "",
        "By how much two disjoint samples of this corpus differ: mean (SD) over repeated draws, by words a side. No document is on both "
        "sides. Units: " + "; ".join(f"{name}: {unit}" for name, unit in UNITS.items()) + "; entropy_32 as entropy, windows of 32 words.",
        "",
        *_table(("statistic", *(f"{size:,}" for size in sizes)), cells),
        f"![human-human floor]({profile.name}/floor.svg)",
        "",
        "### How many words of a model's text are needed",
        "",
        "A difference should be clear of the noise. Rule: the smallest text whose floor, mean and two standard deviations, is at most half "
        "of the distance to the nearest other official profile. With so many words a text that is half as far away as the next domain "
        "stands out. A text is compared with the whole profile, so it needs about half of the words a side that the floor names.",
        "",
        *_table(("statistic", "distance to the nearest other profile", "which is", "words of model text"), words),
    ]


def _words(needed: Needed) -> str:
    if needed.words is None:
        return "more than the floor was measured for"
    return f"{'at most ' if needed.is_least else ''}{round(needed.words, -2):,.0f}"


def shape(profile: Profile) -> list[str]:
    """The plots."""
    return [
        "## Its shape",
        "",
        f"![sentence lengths]({profile.name}/sentence-length.svg)",
        "",
        f"![rank and frequency]({profile.name}/zipf.svg)",
        "",
        f"![punctuation]({profile.name}/punctuation.svg)",
        "",
    ]


def contributed(found: Sequence[Contribution]) -> list[str]:
    """What each source contributes."""
    head = ["## What each source contributes", ""]
    if not found:
        return [
            *head,
            "There is one source, so none can be left out. How its documents differ among themselves is what the floor says.",
            "",
        ]
    statistics = statistics_of(found)
    left_out = [(one.source, *(_multiple(one.left_out.get(name)) for name in statistics)) for one in found]
    alone = [(one.source, *(_multiple(one.alone.get(name)) for name in statistics)) for one in found]
    marks = ("comma", "quote", "parenthesis", "dash")
    numbers = [
        (
            one.source,
            f"{one.words:,}",
            f"{one.summary['sentence_length']['mean']:.1f}",
            f"{one.summary['sentence_length']['cv']:.2f}",
            *(f"{one.summary['marks_per_1000_words'][mark]:.1f}" for mark in marks),
        )
        for one in found
    ]
    worst = max(((value, one.source, name) for one in found for name, value in one.left_out.items()), default=None)
    return [
        *head,
        *_table(("source", "words", "mean sentence", "CV", *(f"{mark} per 1,000" for mark in marks)), numbers),
        "Leave one source out: how far the profile is from itself without it, in multiples of the human-human floor.",
        "",
        *_table(("without", *statistics), left_out),
        "Each source alone against all others together, in the same multiples.",
        "",
        *_table(("alone", *statistics), alone),
        *(
            [
                f"What depends most on one source is {worst[2]}: without {worst[1]} it moves by {worst[0]:.1f} floors. The floor was "
                "measured up to 256,000 words a side and is held beyond, so multiples are rather too low than too high.",
                "",
            ]
            if worst
            else []
        ),
    ]


def leaning(found: Sequence[Dispersion]) -> list[str]:
    """Rows that lean on one document."""
    rows = [
        (f"{one.n}", f"{one.rows:,}", f"{one.in_one_document:,}", _percent(one.in_one_document / max(one.rows, 1)), _percent(one.mass))
        for one in found
    ]
    worst = [(text, f"{count:,}", f"{documents:,}", _percent(share)) for one in found for text, count, documents, share in one.worst]
    return [
        "## Frequent in the domain, or in one document?",
        "",
        "Rows of which one document has more than half of the occurrences: they are in the tables by right of that document.",
        "",
        *_table(("n", "rows", "lean on one document", "of the rows", "of their occurrences"), rows),
        "The most frequent of them, of up to three words:",
        "",
        *_table(("row", "count", "documents", "share of one document"), [(f"`{_cell(row[0])}`", *row[1:]) for row in worst]),
    ]


def end(profile: Profile) -> list[str]:
    """Problems, citation, the commands."""
    facts = profile.manifest
    return [
        "## Known problems",
        "",
        facts["problems"].strip(),
        "",
        "Copies across sources are not looked for. Near-duplicates below the threshold stay.",
        "",
        "## How to cite",
        "",
        f"> The dft_stats maintainers. *{profile.name} {profile.version}: {facts['title']}.* Reference statistics, {facts['built_with']}. "
        f"Manifest sha256 {facts['manifest_sha256'][:16]}.",
        "",
        "Cite the sources as well, as the table above names them.",
        "",
        "## How to make it again",
        "",
        "```bash",
        f"python -m pipelines.official CORPORA --only {profile.name}",
        f"python -m pipelines.data_sheet CORPORA --only {profile.name}",
        "```",
        "",
        f"The same corpora give the same tables: `logical_sha256` of `token_frequency` begins with "
        f"`{_logical(profile, 'token_frequency')}`, of `ngram_frequency` with `{_logical(profile, 'ngram_frequency')}`.",
        "",
    ]


def _logical(profile: Profile, table: str) -> str:
    return next(str(entry["logical_sha256"])[:16] for entry in profile.manifest["tables"] if entry["name"] == table)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _multiple(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _mean_sd(found: tuple[float, float] | None) -> str:
    return "-" if found is None else f"{found[0]:.3g} ({found[1]:.2g})"
