"""What a model measured before and after training, in one table, and the verdict on it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dft_stats.compare import UNITS

ALLOWED = 1.02  # perplexity of human text afterwards, as a multiple of before
CHANGE = 0.1  # of a multiple or of z squared: less is no change
SURE = 2.0  # standard errors of a difference: less may be another draw of the texts


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's writing against a profile, and how well it still predicts human text."""

    multiples: Mapping[str, float | None]  # discrepancy of the texts as a multiple of the human-human floor; None: too little text
    errors: Mapping[str, float | None]  # standard errors of the multiples, from text to text; None: too little text
    z2: Mapping[str, float]  # mean squared z-score of what the model expects to write; 1 is human noise
    perplexity: Mapping[str, float]  # what human text -> per token
    texts: Sequence[str]
    words: int  # of the texts


class Figure(NamedTuple):
    """A number of a table."""

    value: float | None  # None: too little text
    error: float | None = None  # its standard error, where there is one

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        return f"{self.value:.2f}" if self.error is None else f"{self.value:.2f} ± {self.error:.2f}"


Row = tuple[str, str, list[Figure]]


def rows(columns: Sequence[Measured]) -> list[Row]:
    """Yardstick, statistic, and the figures of each column."""
    floors = [(name, [Figure(column.multiples.get(name), column.errors.get(name)) for column in columns]) for name in UNITS]
    found: list[Row] = [("times the human-human floor", name, figures) for name, figures in floors]
    found += [("mean z squared", name, [Figure(column.z2[name]) for column in columns]) for name in UNITS]
    found += [("perplexity", text, [Figure(column.perplexity[text]) for column in columns]) for text in columns[0].perplexity]
    return found


def standard_error(left_out: Sequence[float | None]) -> float | None:
    """By the jackknife: of a number that was measured again without each of equal parts of the texts. None if one of them is missing."""
    values = [value for value in left_out if value is not None]
    if len(values) < max(2, len(left_out)):
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt((len(values) - 1) / len(values) * math.fsum((value - mean) ** 2 for value in values))


def verdict(before: Measured, after: Measured) -> tuple[bool, str]:
    """Whether it got better, and a sentence that says so, or that it did not.

    Better is nearer to 1, from above: below the human noise there is nothing to gain, and what other texts of the same model might differ
    by is no change. It got better if more rows did than got worse, and human text is hardly less probable than before.
    """
    nearer: list[str] = []
    farther: list[str] = []
    for yardstick, statistic, (old, new) in rows([before, after]):
        if yardstick == "perplexity" or old.value is None or new.value is None:
            continue
        gain = max(old.value, 1.0) - max(new.value, 1.0)
        name = f"{statistic} ({yardstick}: {old.value:.2f} -> {new.value:.2f})"
        if abs(gain) >= max(CHANGE, SURE * math.hypot(old.error or 0.0, new.error or 0.0)):
            (nearer if gain > 0 else farther).append(name)
    cost = {text: after.perplexity[text] / value for text, value in before.perplexity.items()}
    price = "; ".join(f"perplexity of {text}: {100 * (ratio - 1):+.1f} %" for text, ratio in cost.items())
    damaged = any(ratio > ALLOWED for ratio in cost.values())
    better = len(nearer) > len(farther) and not damaged
    parts = ["It got better." if better else "It did NOT get better."]
    parts.append(f"Nearer to human writing: {', '.join(nearer) or 'nothing'}.")
    parts.append(f"Farther from it: {', '.join(farther) or 'nothing'}.")
    if price:
        parts.append(f"{price}{', more than the 2 % that this demonstration allows' if damaged else ''}.")
    return better, " ".join(parts)
