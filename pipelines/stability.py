"""What each source of a mixture contributes: what moves when it is left out, and how it differs from the others."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from dft_stats.build import build
from dft_stats.compare import compared_counts, discrepancies, floor_at, floor_words
from dft_stats.counts import Counts, Exposure, merge, prune
from dft_stats.profile import Profile
from pipelines.recipe import Mixture

KEYS = {"token_frequency": "unit", "ngram_frequency": "ngram"}


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one source is to a profile. Both mappings go from a statistic to a multiple of the profile's human-human floor."""

    source: str
    words: int
    words_share: float
    left_out: Mapping[str, float]  # the profile against itself without the source
    alone: Mapping[str, float]  # the other sources against this one
    summary: Mapping[str, Any]  # of the source alone, as `dft_stats.summary` has it


def contributions(mixture: Mixture, profile: Profile) -> list[Contribution]:
    """One for each source; none if there is only one.

    Discrepancies are those of `dft_stats.compare`, over the rows that the profile keeps. The floor is looked up at the size at which two
    equal samples are as noisy as the two that are compared; beyond the largest size that was measured it is held, so that multiples are
    rather too low than too high.
    """
    if len(mixture.shares) < 2:
        return []
    with tempfile.TemporaryDirectory() as folder:
        alone = [
            build(({"text": text} for text in mixture.texts(i)), privacy="none", out=Path(folder) / str(i), name="source", max_order=3)
            for i in range(len(mixture.shares))
        ]
        counts = [compared_counts(part) for part in alone]
        summaries = [part.summary() for part in alone]
        exposures = [part.exposure for part in alone]
    whole, floor = compared_counts(profile), profile.table("floor")
    known = [{name: _known(own, whole[name]) for name, own in part.items()} for part in counts]
    found = []
    for i, share in enumerate(mixture.shares):
        others = [j for j in range(len(counts)) if j != i]
        rest = {name: merge(known[j][name] for j in others) for name in whole}
        rest_words = sum((exposures[j] for j in others), Exposure()).words
        sizes = {"left_out": (profile.exposure.words, rest_words), "alone": (rest_words, exposures[i].words)}
        values = {"left_out": discrepancies(whole, rest), "alone": discrepancies(rest, counts[i])}
        multiples = {kind: _multiples(values[kind], floor, floor_words(*sizes[kind])) for kind in sizes}
        found.append(Contribution(share.source.name, exposures[i].words, share.words_share, **multiples, summary=summaries[i]))
    return found


def _known(counts: Counts, whole: Counts) -> Counts:
    """The rows that the profile keeps; the others are pruned."""
    key = KEYS.get(counts.statistic.name)
    return counts if key is None else prune(counts, pc.is_in(counts.table[key], value_set=whole.table[key].combine_chunks()))


def _multiples(values: Mapping[str, float], floor: Any, words: float) -> dict[str, float]:
    floors = {name: floor_at(floor, name, words) for name in values}
    return {name: values[name] / own for name, own in floors.items() if own}


def statistics_of(found: Sequence[Contribution]) -> list[str]:
    """The statistics that any of them has, in the order of the first."""
    return list(dict.fromkeys(name for one in found for name in one.left_out))
