"""How many words of a model's text are needed before a difference from a profile means anything.

The rule: noise must be small beside a difference that matters. What matters is taken from the profiles themselves: half of the distance
to the nearest other official profile. Noise is the human-human floor, its mean and two standard deviations. So the size asked for is the
smallest at which floor + 2 SD is at most half of the distance to the nearest other domain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dft_stats.compare import compared_counts, discrepancies
from dft_stats.profile import Profile

DEVIATIONS = 2.0
SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Needed:
    """The words that one statistic needs."""

    statistic: str
    nearest: str  # other profile
    distance: float  # to it, in the unit of the statistic
    words: float | None  # of model text; None: more than the floor was measured for
    is_least: bool  # whether already the smallest size that was measured is enough


def words_needed(profile: Profile, others: Sequence[Profile]) -> list[Needed]:
    """One for each statistic that has a floor, and that another profile has.

    A text of N words is compared with the whole profile of W words, which is as noisy as two equal samples of F = 2 / (1/N + 1/W) words;
    so where the floor asks for F, N = 1 / (2/F - 1/W).

    Args:
        profile: whose floor it is.
        others: unpruned, as a model's text is: rows that the profile keeps and another one lacks must count as absent there.
    """
    own, floor = compared_counts(profile), profile.table("floor")
    distances = {other.name: discrepancies(own, compared_counts(other)) for other in others if other.name != profile.name}
    found = []
    for statistic in dict.fromkeys(floor["statistic"].to_pylist()):
        known = [(values[statistic], name) for name, values in distances.items() if statistic in values]
        if not known:
            continue
        distance, nearest = min(known)
        size, is_least = floor_size(floor, statistic, SHARE * distance)
        words = None if size is None else 1 / (2 / size - 1 / profile.exposure.words)
        found.append(Needed(statistic, nearest, distance, words, is_least))
    return found


def floor_size(floor: pa.Table, statistic: str, value: float) -> tuple[float | None, bool]:
    """(smallest size at which mean + 2 SD is at most `value`, between sizes by logarithms; whether it is the smallest measured)."""
    rows = floor.filter(pc.equal(floor["statistic"], statistic)).sort_by("words")
    noise = rows["mean"].to_numpy() + DEVIATIONS * rows["sd"].to_numpy()
    sizes = rows["words"].to_numpy()
    enough = noise <= value
    if not enough[-1:].any():
        return None, False
    first = len(enough) - int(np.argmin(np.append(enough[::-1], False)))  # from here on it is enough
    if first == 0:
        return float(sizes[0]), True
    x, y = np.log(sizes[first - 1 : first + 1]), np.log(noise[first - 1 : first + 1])
    return float(np.exp(x[0] + (np.log(value) - y[0]) * (x[1] - x[0]) / (y[1] - y[0]))), False
