"""The plots of a data sheet, as SVG: the same bytes for the same profile. Needs matplotlib, which nothing else does."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dft_stats.measures import counts_at_ranks, zipf_exponent
from dft_stats.profile import Profile
from dft_stats.text import MARK_CLASSES

COLOURS = {"academic": "#4477aa", "fiction": "#ee6677", "legal": "#228833", "news": "#ccbb44"}
OTHER = "#999999"
STYLE = {
    "svg.hashsalt": "dft-stats",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
LONGEST = 80  # words of a sentence
POINTS = 120  # of a curve


def plot_all(profile: Profile, others: Sequence[Profile], folder: Path) -> list[Path]:
    """Write floor.svg, sentence-length.svg, zipf.svg and punctuation.svg.

    Args:
        profile: whose sheet it is.
        others: the profiles that it is shown beside; itself may be among them.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    others = [other for other in others if other.name != profile.name]
    plots: Mapping[str, Callable[[Any], None]] = {
        "floor": lambda axes: floor(axes, profile),
        "sentence-length": lambda axes: sentence_length(axes, profile, others),
        "zipf": lambda axes: zipf(axes, profile),
        "punctuation": lambda axes: punctuation(axes, [profile, *others]),
    }
    return [_draw(folder / f"{name}.svg", draw) for name, draw in plots.items()]


def floor(axes: Any, profile: Profile) -> None:
    """The human-human floor: mean, and a band of one standard deviation, by words a side."""
    rows = profile.table("floor").to_pylist()
    for name in dict.fromkeys(row["statistic"] for row in rows):
        own = sorted((row["words"], row["mean"], row["sd"]) for row in rows if row["statistic"] == name)
        words, mean, sd = map(np.array, zip(*own, strict=True))
        (line,) = axes.plot(words, mean, marker="o", markersize=3, label=name)
        axes.fill_between(words, np.maximum(mean - sd, mean / 10), mean + sd, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="words a side", ylabel="bits; for sentence_length words")
    axes.legend(fontsize=7)


def sentence_length(axes: Any, profile: Profile, others: Sequence[Profile]) -> None:
    """Share of the sentences by their length in words."""
    lengths, shares = _lengths(profile)
    axes.bar(lengths, 100 * shares, width=1.0, color=_colour(profile), label=profile.name)
    for other in others:
        lengths, shares = _lengths(other)
        axes.plot(lengths, 100 * shares, color=_colour(other), linewidth=1, label=other.name)
    axes.set(xlabel=f"words of a sentence (those of more than {LONGEST} are not shown)", ylabel="% of sentences", xlim=(0, LONGEST))
    axes.legend(fontsize=7)


def zipf(axes: Any, profile: Profile) -> None:
    """Frequency by rank of words and marks, and the power law fitted to it."""
    tokens = profile.counts("token_frequency")
    counts, types = tokens.frequency_of_frequencies()
    rates = 1e6 * counts / tokens.total()
    ranks = np.unique(np.geomspace(1, tokens.types(), POINTS).astype(int))
    axes.plot(ranks, counts_at_ranks(rates, types, ranks), ".", color=_colour(profile), label=profile.name)
    exponent = zipf_exponent(counts, types)
    middle = int(np.sqrt(tokens.types()))
    (height,) = counts_at_ranks(rates, types, [middle])
    axes.plot(ranks, height * (ranks / middle) ** -exponent, color=OTHER, label=f"rank to the power of -{exponent:.2f}")
    axes.set(xscale="log", yscale="log", xlabel="rank", ylabel="occurrences per million")
    axes.legend(fontsize=7)


def punctuation(axes: Any, profiles: Sequence[Profile]) -> None:
    """Marks per 1,000 words, by class and domain."""
    width = 0.8 / len(profiles)
    for i, profile in enumerate(profiles):
        rates = profile.summary()["marks_per_1000_words"]
        values = [max(rates[name], 0.01) for name in MARK_CLASSES]
        axes.bar(np.arange(len(values)) + (i - (len(profiles) - 1) / 2) * width, values, width, color=_colour(profile), label=profile.name)
    axes.set_xticks(range(len(MARK_CLASSES)), MARK_CLASSES, rotation=45, ha="right")
    axes.set(yscale="log", ylabel="marks per 1,000 words")
    axes.legend(fontsize=7)


def _lengths(profile: Profile) -> tuple[Any, Any]:
    rows = profile.counts("sentence_length").rows("words")
    lengths, counts = rows["length"].to_numpy(), rows["count"].to_numpy()
    shown = lengths <= LONGEST
    return lengths[shown], counts[shown] / counts.sum()


def _colour(profile: Profile) -> str:
    return COLOURS.get(profile.name, OTHER)


def _draw(path: Path, draw: Callable[[Any], None]) -> Path:
    try:
        matplotlib, figures, backend = map(importlib.import_module, ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_svg"))
    except ImportError as error:
        raise ImportError("the plots of a data sheet need matplotlib: pip install matplotlib") from error
    with matplotlib.rc_context(STYLE):
        figure = figures.Figure(figsize=(6.4, 3.6), layout="constrained")
        backend.FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    return path
