"""What differs between two profiles, by how much, and against which floor.

A discrepancy has a unit and depends on the amount of text; so each is also given as a multiple of the *human-human floor*: what two
random samples of the reference's own corpus differ by at the same amount. 1 means "as close as two humans' texts".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dft_stats.cells import align, domain_distances, jensen_shannon_of
from dft_stats.counts import Counts, digits_masked
from dft_stats.errors import IncomparableError
from dft_stats.keyness import KeyItem, key_items, overused, underused
from dft_stats.measures import jensen_shannon_bits, wasserstein_1
from dft_stats.profile import Profile

LONG, SHORT = 128, 32  # words in a window of entropy; the short one serves texts that have no long one
LONGEST_GAP = 40  # words between two marks: longer gaps are one cell
COMPARED_ORDERS = (2, 3)
_ABOUT_ALL = 0.9  # of what the reference tells
ROUNDING = 1e-12  # a distance below is what sums of floats leave of 0
UNITS = {
    "token_frequency": "bits (Jensen-Shannon)",
    "ngram_frequency": "bits (Jensen-Shannon, mean of n = 2, 3)",
    "sentence_length": "words (Wasserstein-1)",
    "punctuation_rhythm": "bits (Jensen-Shannon)",
    "entropy": "bits (Wasserstein-1)",
}

Named = Profile | str | Path
"""A profile, or what `dft_stats.load` takes: a name or a folder."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far apart two profiles are in one statistic; None where one of them has no event of it, or the reference no floor."""

    statistic: str
    unit: str
    value: float | None
    floor: float | None  # same unit; None also where the texts are shorter than the smallest samples it was measured on
    multiple: float | None  # value / floor
    floor_words: float | None  # words a side that this floor is of: `Comparison.floor_words`, or the largest size if that is less
    floor_sizes: tuple[int, int] | None  # smallest and largest words a side at which the reference has one


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer of `compare`."""

    reference: str  # name@version
    other: str
    reference_words: int
    other_words: int
    floor_words: float  # words a side at which the floor was looked up: two samples of so many are as noisy as these two texts
    differences: tuple[Difference, ...]
    overused_units: tuple[KeyItem, ...]
    underused_units: tuple[KeyItem, ...]
    overused_ngrams: tuple[KeyItem, ...]
    underused_ngrams: tuple[KeyItem, ...]
    note: str = ""  # what of the differences may be one of how the two were counted

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain values, ready for JSON."""
        return asdict(self)


def compare(reference: Named, other: Named, *, top: int = 10) -> Comparison:
    """Compare two profiles, statistic by statistic.

    Args:
        reference: whose floor is the yardstick: a profile, or what `dft_stats.load` takes, such as "news" or a folder.
        other: what is judged, likewise.
        top: how many over- and under-used units and n-grams to name.

    Raises:
        ProfileNotFound, ProfileFormatError: a name or a folder is none of a profile.
        IncomparableError: they were segmented or normalised by different rules, or pruning left one of them no word.
    """
    reference, other = _profile(reference), _profile(other)
    check_comparable(reference, other)
    (ours, theirs), of_masks = _masked_alike([reference, other], [compared_counts(reference), compared_counts(other)])
    found, floors = discrepancies(ours, theirs), reference.table("floor")
    words = floor_words(reference.exposure.words, other.exposure.words)
    differences = []
    for statistic, unit in UNITS.items():
        name = statistic
        if statistic == "entropy":
            window = SHORT if "entropy" not in found and "entropy_32" in found else LONG
            name, unit = ("entropy" if window == LONG else "entropy_32"), f"{unit}, windows of {window} words"
        value, floor, sizes = found.get(name), floor_at(floors, name, words), floor_sizes(floors, name)
        multiple = None if value is None or floor is None else value / floor
        own_words = None if floor is None or sizes is None else min(words, sizes[1])
        differences.append(Difference(statistic, unit, value, floor, multiple, own_words, sizes))
    exposures = reference.exposure, other.exposure
    units = key_items(ours["token_frequency"], theirs["token_frequency"], exposures)
    ngrams = key_items(ours["ngram_frequency"], theirs["ngram_frequency"], exposures, [(n,) for n in COMPARED_ORDERS])
    if of_masks:  # numbers that one side has pruned are all over the cells of the other
        units, ngrams = ([item for item in items if "0" not in item.text] for items in (units, ngrams))
    return Comparison(
        reference=f"{reference.name}@{reference.version}",
        other=f"{other.name}@{other.version}",
        reference_words=reference.exposure.words,
        other_words=other.exposure.words,
        floor_words=words,
        differences=tuple(differences),
        overused_units=overused(units, top),
        underused_units=underused(units, top),
        overused_ngrams=overused(ngrams, top),
        underused_ngrams=underused(ngrams, top),
        note=". ".join(filter(None, (of_masks, _note_of_pruning(reference, other, ours, theirs)))),
    )


def nearest(other: Named, references: Named | Iterable[Named] | None = None) -> list[tuple[str, float]]:
    """References by their distance to a profile, nearest first: (name, `domain_distances`: bits a unit of its words and marks).

    Only differences of these distances mean something. What no reference lists weighs on all of them alike, so that even a pruned profile
    is some tenths of a bit away from itself.

    Args:
        other: what is judged: a profile, or what `dft_stats.load` takes.
        references: one or several, likewise; the embedded profiles if None.

    Raises:
        ProfileNotFound, ProfileFormatError: a name or a folder is none of a profile.
        IncomparableError: a reference was counted by other rules, or pruning left a profile no word.
    """
    if references is None:
        from dft_stats.registry import list_profiles

        references = sorted({info.name for info in list_profiles()})
    other = _profile(other)
    found = [_profile(reference) for reference in ([references] if isinstance(references, Profile | str | Path) else references)]
    for reference in found:
        check_comparable(reference, other)
    profiles = [other, *found]
    (own, *theirs), _ = _masked_alike(profiles, [{"token_frequency": each.counts("token_frequency")} for each in profiles])
    distances = domain_distances(own["token_frequency"], [counts["token_frequency"] for counts in theirs])
    return sorted(((reference.name, bits) for reference, bits in zip(found, distances, strict=True)), key=lambda pair: (pair[1], pair[0]))


def _note_of_pruning(reference: Profile, other: Profile, ours: Mapping[str, Counts], theirs: Mapping[str, Counts]) -> str:
    """What is to be said where the floor is of cells that `other` does not tell apart."""
    told = [[counts["token_frequency"].share_told(), _ngrams_told(counts["ngram_frequency"])] for counts in (ours, theirs)]
    if all(own >= _ABOUT_ALL * needed for needed, own in zip(*told, strict=True)):
        return ""
    of_ours, of_theirs = (f"{tokens:.0%} of its words and marks, {ngrams:.0%} of its n-grams" for tokens, ngrams in told)
    return (
        f"{other.name} tells {of_theirs}, and {reference.name} {of_ours}: what one side pruned is one cell, so that tokens and n-grams "
        "differ by more than is said here, and the multiples of these two are too low; compare the texts themselves, or a profile of them "
        "that tells all (`--privacy none`)"
    )


def _ngrams_told(counts: Counts) -> float:
    return float(np.mean([counts.share_told(n) for n in COMPARED_ORDERS]))


def _profile(given: Named) -> Profile:
    """A profile as it is, or by its name or folder."""
    if isinstance(given, Profile):
        return given
    if not isinstance(given, str | Path):
        raise TypeError(
            f"a {type(given).__name__} was given, expected a profile, or the name or folder of one; of texts make one first, with "
            "dft_stats.build(texts, out=..., name=...)"
        )
    from dft_stats.registry import load

    return load(given)


def check_comparable(reference: Profile, other: Profile) -> None:
    """Refuse profiles whose segmenter, normaliser or typography differ, and such as hold nothing to compare."""
    for profile in (reference, other):
        if profile.emptied:
            raise IncomparableError(profile.emptied)
    for part in ("segmenter", "normaliser", "typography"):
        ours, theirs = reference.manifest.get(part), other.manifest.get(part)
        if ours != theirs:
            raise IncomparableError(
                f"{reference.name} was counted with the {part} {_identity(ours)}, {other.name} with {_identity(theirs)}: a difference "
                "would be one of rules, not of writing (on fiction the choice of segmenter alone moves the mean sentence length from "
                f"16.7 to 21.0 words). Build {other.name} again with the {part} of {reference.name}"
            )


def _masked_alike(profiles: Sequence[Profile], counts: Sequence[Mapping[str, Counts]]) -> tuple[list[dict[str, Counts]], str]:
    """Counts by which the profiles can be compared, and what there is to be said of it: digits are masked in all of them, or in none."""
    if len({profile.is_masked for profile in profiles}) == 1:
        return [dict(own) for own in counts], ""
    masked = [{name: digits_masked(each) if each.statistic.kind == "categorical" else each for name, each in own.items()} for own in counts]
    if all(after[name] is before[name] for before, after in zip(counts, masked, strict=True) for name in before):
        return masked, ""
    of_masked, of_plain = (", ".join(each.name for each in profiles if each.is_masked == is_masked) for is_masked in (True, False))
    return masked, (
        f"in the texts of {of_masked} digits and addresses were masked, in those of {of_plain} not. The digits of all units and n-grams "
        "are taken as masked, and none with a digit is named; addresses, numbers that were pruned, and the entropy of texts with many "
        "numbers differ for that reason"
    )


def _identity(part: Any) -> str:
    if not isinstance(part, Mapping):
        return repr(part)
    return f"{part.get('name')} {part.get('version')} ({str(part.get('rule_sha256'))[:8]})"


def compared_counts(profile: Profile) -> dict[str, Counts]:
    """The counts that `discrepancies` reads."""
    return {statistic: profile.counts(statistic) for statistic in UNITS}


def discrepancies(reference: Mapping[str, Counts], other: Mapping[str, Counts]) -> dict[str, float]:
    """Discrepancy by statistic; one of which either side has no event is left out.

    token_frequency: Jensen-Shannon divergence in bits over the cells known to both and one cell for the rest.
    ngram_frequency: the mean of that for n = 2 and 3, those that both have.
    sentence_length: Wasserstein-1 distance in words. punctuation_rhythm: Jensen-Shannon divergence in bits of (previous mark, gap, mark),
    gaps of 40 words and more taken together. entropy, entropy_32: Wasserstein-1 distance in bits, windows of 128 and of 32 words.

    Args:
        reference: counts by name of the statistic.
        other: the same.
    """
    ngrams = [jensen_shannon_of(align(reference["ngram_frequency"], other["ngram_frequency"], n)) for n in COMPARED_ORDERS]
    present = [value for value in ngrams if value is not None]
    found = {
        "token_frequency": jensen_shannon_of(align(reference["token_frequency"], other["token_frequency"])),
        "ngram_frequency": float(np.mean(present)) if present else None,
        "sentence_length": _distance(reference["sentence_length"], other["sentence_length"], "words", "length"),
        "punctuation_rhythm": _rhythm_bits(reference["punctuation_rhythm"], other["punctuation_rhythm"]),
        "entropy": _distance(reference["entropy"], other["entropy"], LONG, "centibits", 100),
        "entropy_32": _distance(reference["entropy"], other["entropy"], SHORT, "centibits", 100),
    }
    return {name: value for name, value in found.items() if value is not None and np.isfinite(value)}


def _distance(reference: Counts, other: Counts, group: str | int, column: str, scale: int = 1) -> float | None:
    a, b = reference.rows(group), other.rows(group)
    if not len(a) or not len(b):
        return None
    found = wasserstein_1(a[column].to_numpy() / scale, a["count"].to_numpy(), b[column].to_numpy() / scale, b["count"].to_numpy())
    return found if found > ROUNDING else 0.0


def _rhythm_bits(reference: Counts, other: Counts) -> float | None:
    a, b = (_capped_gaps(counts.rows("gaps")) for counts in (reference, other))
    if not a or not b:
        return None
    cells = sorted(a.keys() | b.keys())
    return jensen_shannon_bits([a.get(cell, 0) for cell in cells], [b.get(cell, 0) for cell in cells])


def _capped_gaps(rows: pa.Table) -> dict[tuple[str, int, str], int]:
    cells: dict[tuple[str, int, str], int] = {}
    for previous, gap, mark, count in zip(*(rows[name].to_pylist() for name in ("previous", "gap", "mark", "count")), strict=True):
        cell = (previous, min(gap, LONGEST_GAP), mark)
        cells[cell] = cells.get(cell, 0) + count
    return cells


def floor_words(reference_words: int, other_words: int) -> float:
    """Size at which two equal samples are as noisy as these two: 2 / (1/Na + 1/Nb)."""
    return 2 / (1 / reference_words + 1 / other_words) if reference_words and other_words else 0.0


def floor_at(floor: pa.Table, statistic: str, words: float) -> float | None:
    """The human-human floor at a sample size, interpolated in log words and log discrepancy.

    None below the smallest size that was measured: a divergence has an upper bound, and a slope that goes on does not know it. Beyond the
    largest its value is held, which is conservative: the true floor is lower there, multiples are understated. None if the table has no
    such statistic.

    Args:
        floor: rows (statistic, words, mean, sd).
        statistic: a key of `discrepancies`.
        words: of each of the two samples.
    """
    rows = _floor_rows(floor, statistic)
    if not len(rows) or words < rows["words"][0].as_py():
        return None
    x, y = np.log(rows["words"].to_numpy()), np.log(rows["mean"].to_numpy())
    return float(np.exp(np.interp(np.log(words), x, y)))


def floor_sizes(floor: pa.Table, statistic: str) -> tuple[int, int] | None:
    """The smallest and the largest sample size at which there is a floor of this statistic; None if there is none at all."""
    words = _floor_rows(floor, statistic)["words"].to_pylist()
    return (words[0], words[-1]) if words else None


def _floor_rows(floor: pa.Table, statistic: str) -> pa.Table:
    return floor.filter(pc.and_(pc.equal(floor["statistic"], statistic), pc.greater(floor["mean"], 0))).sort_by("words")
