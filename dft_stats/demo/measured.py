"""What a model measured before and after training, in one table, and the verdict on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dft_stats.compare import UNITS

ALLOWED = 1.02  # perplexity of human text afterwards, as a multiple of before
CHANGE = 0.1  # of a multiple or of z squared: less is no change


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's writing against a profile, and how well it still predicts human text."""

    multiples: Mapping[str, float | None]  # discrepancy of the texts as a multiple of the human-human floor; None: too little text
    z2: Mapping[str, float]  # mean squared z-score of what the model expects to write; 1 is human noise
    perplexity: Mapping[str, float]  # what human text -> per token
    texts: Sequence[str]
    words: int  # of the texts


Row = tuple[str, str, list[float | None]]


def rows(columns: Sequence[Measured]) -> list[Row]:
    """Yardstick, statistic, and the numbers of each column."""
    found: list[Row] = [("times the human-human floor", name, [column.multiples.get(name) for column in columns]) for name in UNITS]
    found += [("mean z squared", name, [column.z2[name] for column in columns]) for name in UNITS]
    found += [("perplexity", text, [column.perplexity[text] for column in columns]) for text in columns[0].perplexity]
    return found


def verdict(before: Measured, after: Measured) -> tuple[bool, str]:
    """Whether it got better, and a sentence that says so, or that it did not.

    Better is nearer to 1, from above: below the human noise there is nothing to gain. It got better if more rows did than got worse, and
    human text is hardly less probable than before.
    """
    nearer: list[str] = []
    farther: list[str] = []
    for yardstick, statistic, (old, new) in rows([before, after]):
        if yardstick == "perplexity" or old is None or new is None:
            continue
        gain = max(old, 1.0) - max(new, 1.0)
        name = f"{statistic} ({yardstick}: {old:.2f} -> {new:.2f})"
        if abs(gain) >= CHANGE:
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
