"""What changed between two versions of a profile, and the smallest step of the version number that says so.

    patch   every table has the same rows: the card, the licence, the encoding
    minor   other counts of the same kind of text, by the same rules; tables or columns more
    major   other rules (segmenter, normaliser, typography, tokenizer), tables or columns less, or text that is another kind of writing

Another kind of writing is what differs by more than `DRIFT` times what two samples of the old version's own corpus differ by, in any
statistic, at the amount of text of the smaller of the two (`dft_stats.compare`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dft_stats.compare import compare
from dft_stats.manifest import TOKENIZER
from dft_stats.output import safe
from dft_stats.profile import Profile
from dft_stats.reference import numbers

STEPS = ("patch", "minor", "major")
DRIFT = 2.0  # times the human-human floor
_RULES = ("segmenter", "normaliser", "typography")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs."""

    what: str
    before: str
    after: str
    step: str  # of STEPS


def changes(old: Profile, new: Profile) -> list[Change]:
    """What differs between a published version and its successor, the largest first; nothing if only the encoding or the card does."""
    found = [*_rules(old, new), *_tables(old, new)]
    if all(change.step != "major" for change in found) and any(change.what.startswith("rows of") for change in found):
        found += _drift(old, new)
    return sorted(found, key=lambda change: (-STEPS.index(change.step), change.what))


def needed(found: list[Change]) -> str:
    """The smallest step of the version that says what changed."""
    return max((change.step for change in found), key=STEPS.index, default="patch")


def step_of(old: str, new: str) -> str:
    """The step from one version to a higher one."""
    before, after = numbers(old), numbers(new)
    return "major" if after[0] > before[0] else "minor" if after[1] > before[1] else "patch"


def next_version(old: str, step: str) -> str:
    """The version that a step leads to."""
    major, minor, patch = numbers(old)
    return {"major": f"{major + 1}.0.0", "minor": f"{major}.{minor + 1}.0", "patch": f"{major}.{minor}.{patch + 1}"}[step]


def as_table(found: list[Change]) -> str:
    """The changes as lines of text."""
    return "\n".join(safe(f"  {change.step:5}  {change.what}: {change.before} -> {change.after}") for change in found)


def _rules(old: Profile, new: Profile) -> Iterator[Change]:
    for key in _RULES:
        before, after = (_spelt(profile.manifest.get(key)) for profile in (old, new))
        if before != after:
            yield Change(key, before, after, "major")
    before, after = (str(profile.manifest.get(TOKENIZER, {}).get("sha256", "none"))[:12] for profile in (old, new))
    if before != after:
        yield Change(TOKENIZER, before, after, "minor" if before == "none" else "major")
    for key in ("keep", "privacy"):
        entries = [profile.manifest.get(key) or {} for profile in (old, new)]
        for name in sorted(entries[0].keys() | entries[1].keys()):
            before, after = (_spelt(entry.get(name)) for entry in entries)
            if before != after:
                yield Change(f"{key} {name}", before, after, "minor")


def _tables(old: Profile, new: Profile) -> Iterator[Change]:
    before, after = ({entry["name"]: entry for entry in profile.manifest["tables"]} for profile in (old, new))
    for name in sorted(before.keys() - after.keys()):
        yield Change(f"table {name}", "there", "gone", "major")
    for name in sorted(after.keys() - before.keys()):
        yield Change(f"table {name}", "not there", "new", "minor")
    for name in sorted(before.keys() & after.keys()):
        columns = [{tuple(column) for column in entry["columns"]} for entry in (before[name], after[name])]
        if columns[0] - columns[1]:
            yield Change(f"columns of {name}", _columns(columns[0] - columns[1]), "gone", "major")
        elif columns[1] - columns[0]:
            yield Change(f"columns of {name}", "not there", _columns(columns[1] - columns[0]), "minor")
        if before[name]["logical_sha256"] != after[name]["logical_sha256"]:
            was, now = (f"{entry['rows']:,} ({entry['logical_sha256'][:8]})" for entry in (before[name], after[name]))
            yield Change(f"rows of {name}", was, now, "minor")


def _drift(old: Profile, new: Profile) -> Iterator[Change]:
    for difference in compare(old, new, top=0).differences:
        if difference.value is not None and difference.multiple is not None and difference.multiple > DRIFT:
            times = f"{difference.multiple:.1f} times the human-human floor, {DRIFT:.0f} is the most of a minor version"
            yield Change(f"kind of writing: {difference.statistic}", "0", f"{difference.value:.3g} {difference.unit}, {times}", "major")


def _columns(columns: set[tuple[str, ...]]) -> str:
    return ", ".join(sorted(" ".join(column) for column in columns))


def _spelt(value: object) -> str:
    return " ".join(map(str, value.values())) if isinstance(value, dict) else "none" if value is None else str(value)
