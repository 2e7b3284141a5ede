"""What the commands print when they do not print JSON: tables on stdout, progress on stderr."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dft_stats.compare import Comparison, Difference
from dft_stats.keyness import KeyItem
from dft_stats.output import safe, say
from dft_stats.profile import Profile
from dft_stats.registry import ProfileInfo, registry_path

TELL_SECONDS = 2.0  # between two lines of progress
TOO_SHORT = "too short"
PIPED_WIDTH = 120  # columns, where no terminal says how wide it is


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `cli.main`, which ends well: the reader, such as `head`, has had enough."""
        raise BrokenPipeError


def _console() -> Console:
    console = _Console(highlight=False)
    return console if console.is_terminal else _Console(highlight=False, width=PIPED_WIDTH)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int = 1) -> Table:
    """A table whose first `left` columns are text, the others numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < left else "right")
    for row in rows:
        table.add_row(*(_plain(_cell(value)) for value in row))
    return table


def _plain(text: object) -> str:
    """A text that a stranger may have written, without markup of rich, and without what a terminal would obey."""
    return escape(safe(str(text)))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
    return str(value)


def show_list(profiles: Sequence[ProfileInfo]) -> None:
    """One row a profile."""
    if not profiles:
        say(f"There are no profiles in {registry_path()}.")
        return
    columns = ("profile", "what", "documents", "words", "sentences", "MB", "licence")
    rows = ((f"{p.name}@{p.version}", p.title, p.documents, p.words, p.sentences, p.bytes / 1e6, p.licence) for p in profiles)
    _console().print(_table("Profiles", columns, rows, left=2))


def show_profile(profile: Profile) -> None:
    """The summary of a profile, one table a subject."""
    summary, segmenter = profile.summary(), profile.manifest["segmenter"]
    console = _console()
    rules = f"segmenter {segmenter['name']} {segmenter['version']}, normaliser {profile.manifest['normaliser']}"
    console.print(f"[bold]{_plain(profile.name)}@{_plain(profile.version)}[/bold]  {_plain(profile.manifest.get('title', ''))}")
    console.print(f"{_plain(profile.path)}; licence: {_plain(profile.manifest.get('licence', 'unspecified'))}")
    console.print(_plain(rules))
    console.print(
        _table("Size", ("documents", "sentences", "words"), [[summary[key] for key in ("documents", "sentences", "words")]], left=0)
    )
    length = summary["sentence_length"]
    titles = {"mean": "mean", "sd": "SD", "cv": "CV", "lag1": "lag-1 correlation"}
    console.print(_table("Sentence length, words", list(titles.values()), [[length[key] for key in titles]], left=0))
    console.print(_table("Marks per 1,000 words", ("mark", "rate"), summary["marks_per_1000_words"].items()))
    entropies = {"words (Miller-Madow)": summary["entropy_bits"], **summary["entropies_bits"]}
    console.print(_table("Entropy, bits", ("of", "bits"), entropies.items()))
    console.print(_table("Units", ("of", "value"), summary["tokens"].items()))


def show_comparison(found: Comparison) -> None:
    """Differences as multiples of the floor, then what is used more and less."""
    console = _console()
    both = f"reference {found.reference} ({found.reference_words:,} words), other {found.other} ({found.other_words:,} words)"
    console.print(_plain(both))
    rows = ((d.statistic, d.unit, d.value, TOO_SHORT if _is_too_short(d, found) else d.floor, d.multiple) for d in found.differences)
    title = f"Differences; {_floor_of(found)}"
    console.print(_table(title, ("statistic", "unit", "difference", "floor", "times the floor"), rows, left=2))
    _show_items(console, "Units used more than in the reference", found.overused_units)
    _show_items(console, "Units used less", found.underused_units)
    _show_items(console, "Bigrams and trigrams used more", found.overused_ngrams)
    _show_items(console, "Bigrams and trigrams used less", found.underused_ngrams)
    if found.note:
        console.print(_plain(f"Note: {found.note}."))


def _is_too_short(difference: Difference, found: Comparison) -> bool:
    return difference.floor_sizes is not None and found.floor_words < difference.floor_sizes[0]


def _floor_of(found: Comparison) -> str:
    """Which samples the floor is of, in words; where statistics differ in that, each size is named."""
    sizes = sorted({d.floor_words for d in found.differences if d.floor_words is not None})
    smallest = min((d.floor_sizes[0] for d in found.differences if d.floor_sizes is not None), default=None)
    if sizes:
        said = f"the floor is what two samples of {' or '.join(f'{size:,.0f}' for size in sizes)} words of the reference differ by"
        return f"{said}, the most that were drawn; larger ones differ by less" if sizes[-1] < found.floor_words else said
    if smallest is None:
        return "the reference has no floor, which takes four documents and some 2,200 words"
    return (
        f"no floor: these two texts are as noisy as samples of {found.floor_words:,.0f} words, and the smallest that were drawn of the "
        f"reference have {smallest:,}"
    )


def _show_items(console: Console, title: str, items: Sequence[KeyItem]) -> None:
    rows = ((i.text, i.count, i.per_1000_words, i.reference_per_1000_words, i.design_effect, i.keyness) for i in items)
    if items:
        console.print(_table(title, ("text", "count", "per 1,000 words", "reference", "design effect", "keyness"), rows))


def show_nearest(found: Sequence[tuple[str, float]]) -> None:
    """References, nearest first."""
    _console().print(_table("Nearest first", ("reference", "distance, bits"), found))


def show_audit(found: Mapping[str, Any]) -> None:
    """What an audit found, as `AuditReport.to_dict` has it."""
    unit, floor, console = found["unit"], found["floor"], _console()
    rows = [
        (row["kind"], ", ".join(row["ways"]) or "-", row["owners"], row["planted"], row["recovered"], "LEAK" if row["is_leak"] else "")
        for row in found["canaries"]
    ]
    title = f"Canaries in copies of {found['documents']:,} documents; the floor is {floor} {unit}s"
    console.print(_table(title, ("secret", "told", f"{unit}s that have it", "planted", "recovered", ""), rows, left=2))
    seen = found["membership"]
    console.print(
        f"Membership of a document, AUC (0.5 is chance): {seen['auc']:.3f}, 95 % interval {seen['low']:.3f} to {seen['high']:.3f}, "
        f"{seen['inside']:,} documents counted and {seen['outside']:,} not"
    )
    names = [(row["name"], ", ".join(row["tables"]) or "-", row["documents"], "LEAK" if row["is_leak"] else "") for row in found["names"]]
    if names:
        console.print(
            _table("Names that you deny; is one that no document has misspelt?", ("name", "told in", "documents", ""), names, left=2)
        )
    leaks = sum(row["recovered"] for row in found["canaries"] if row["is_leak"]) + sum(row["is_leak"] for row in found["names"])
    console.print(
        f"{leaks:,} secrets are told that should not be" if leaks else "No secret below the floor, and none that is masked, is told"
    )


def teller() -> Callable[[str], None]:
    """Progress on stderr, one line every `TELL_SECONDS` at the most, and every warning."""
    last = time.monotonic() - TELL_SECONDS

    def tell(line: str) -> None:
        nonlocal last
        if line.startswith("warning: "):
            say(line, file=sys.stderr)
        elif time.monotonic() - last >= TELL_SECONDS:
            say(line, file=sys.stderr)
            last = time.monotonic()

    return tell
