"""The loss once more, in plain Python and float64: every statistic, token by token and word by word, as its definition says.

It shares with `dft_stats.loss` only the reference reader `dft_stats.stream`, which has its own tests. Gradients are written out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dft_stats.compiled import CompiledProfile
from dft_stats.stream import State, StreamCounts, advance, bucket, count_stream, effect, plug_in_bits, word_type

Floats = NDArray[np.float64]

FAMILIES = {
    "token_frequency": ("token_frequency",),
    "ngram_frequency": ("ngram_frequency",),
    "sentence_length": ("sentence_length",),
    "punctuation_rhythm": ("marks", "rhythm"),
    "entropy": ("entropy",),
}


def counts_by_family(made: CompiledProfile, found: StreamCounts) -> dict[str, tuple[Floats, Floats]]:
    """Numerator and denominator of each rate."""
    buckets = len(made.length_edges) - 1
    ends, reached = np.zeros(buckets), np.zeros(buckets)
    for age in range(1, len(found.ends)):
        ends[bucket(made.length_edges, age)] += found.ends[age]
        reached[bucket(made.length_edges, age)] += found.reached[age]
    return {
        "token_frequency": (found.tokens * 1.0, np.full(made.vocab_size, found.total * 1.0)),
        "ngram_frequency": (found.ngrams * 1.0, np.full(len(made.ngrams), found.total * 1.0)),
        "sentence_length": (ends, reached),
        "marks": (found.marks * 1.0, np.full(len(found.marks), found.words * 1.0)),
        "rhythm": (found.rhythm.ravel() * 1.0, np.full(found.rhythm.size, found.words * 1.0)),
        "entropy": (np.array([sum(found.entropies, 0.0)]), np.array([len(found.entropies) * 1.0])),
    }


@dataclass
class Expected:
    """Expected counts, and what each probability adds to them: family -> list of (feature, row, place, id, coefficient)."""

    counts: dict[str, tuple[Floats, Floats]]
    shares: dict[str, list[tuple[int, int, int, int, float]]]
    words: int


def expect(made: CompiledProfile, p: Floats, tokens: Sequence[Sequence[int]], counted: Sequence[Sequence[bool]]) -> Expected:
    """Expected counts under p [B, T, V], where p[b, t] predict tokens[b, t]; -1 is unknown, and opens a document."""
    table, classes = made.tokens, made.marks.shape[0]
    gaps = len(made.gap_edges) - 1
    features = {tuple(id for id in row if id >= 0): i for i, row in enumerate(made.ngrams.tolist())}
    shares: dict[str, list[tuple[int, int, int, int, float]]] = {name: [] for names in FAMILIES.values() for name in names}
    real = [count_stream(made, row, mask) for row, mask in zip(tokens, counted, strict=True)]
    entropies = 0.0
    for b, (row, mask) in enumerate(zip(tokens, counted, strict=True)):
        state, window = State(), list[tuple[int, State, int]]()
        for t, token in enumerate(row):
            if token < 0:
                state, window = State(), []
                continue
            if mask[t]:  # whatever came: that the text ended here says nothing of what was expected
                for v in range(made.vocab_size):
                    if table.special[v]:
                        continue
                    folded = int(table.fold[v])
                    shares["token_frequency"].append((folded, b, t, v, 1.0))
                    for n in range(1, made.ngrams.shape[1] + 1):
                        begin = state.context[len(state.context) - n + 1 :] if n > 1 else ()
                        if len(begin) == n - 1 and (*begin, folded) in features:
                            shares["ngram_frequency"].append((features[(*begin, folded)], b, t, v, 1.0))
                    done = effect(table, state, v)
                    for length, sign in done.ends:
                        shares["sentence_length"].append((bucket(made.length_edges, length), b, t, v, sign))
                    for previous, gap, mark, sign in done.marks:
                        shares["marks"].append((mark, b, t, v, sign))
                        cell = (previous * gaps + bucket(made.gap_edges, gap)) * classes + mark
                        shares["rhythm"].append((cell, b, t, v, sign))
            if table.special[token]:
                state, window = State(), []
                continue
            if mask[t]:
                kind = word_type(table, state, token)
                if kind >= 0:
                    window.append((t, state, kind))
                    if len(window) == made.entropy_window:
                        entropies += _replacements(made, shares["entropy"], b, window)
                        window = []
            state = advance(table, state, token)
    by_row = [counts_by_family(made, found) for found in real]
    counts = {name: (np.zeros_like(by_row[0][name][0]), sum(row[name][1] for row in by_row)) for name in shares}
    counts["entropy"][0][0] = entropies
    for name, entries in shares.items():
        for feature, b, t, v, coefficient in entries:
            counts[name][0][feature] += coefficient * p[b, t, v]
    return Expected(counts, shares, sum(found.words for found in real))


def _replacements(
    made: CompiledProfile, entries: list[tuple[int, int, int, int, float]], b: int, window: Sequence[tuple[int, State, int]]
) -> float:
    """Entropy of a window; into `entries`, by how much each token in each place would change it alone."""
    kinds = [kind for _, _, kind in window]
    whole = plug_in_bits(kinds)
    for i, (t, state, _) in enumerate(window):
        changes: dict[int, float] = {}
        for v in range(made.vocab_size):
            kind = word_type(made.tokens, state, v)
            if kind >= 0:
                if kind not in changes:
                    changes[kind] = plug_in_bits([*kinds[:i], kind, *kinds[i + 1 :]]) - whole
                entries.append((0, b, t, v, changes[kind]))
    return whole


@dataclass
class Facts:
    """What a profile says of one family."""

    target: Floats
    sd: Floats
    tracked: NDArray[np.bool_]
    denominator_per_token: Floats


def facts(made: CompiledProfile) -> dict[str, Facts]:
    """Of all families. Independent events vary like Poisson at least, sd >= sqrt(rate / chances in a window); unseen ones as if once."""
    per_word = made.tokens_per_word

    def events(rate: Floats, sd: Floats, tracked: NDArray[np.bool_], chances: Floats) -> Facts:
        tracked = tracked & (chances > 0)
        in_window = made.window_words * np.where(tracked, chances, 1)
        floor = np.sqrt(np.where(tracked & (rate > 0), rate, 1 / in_window) / in_window)
        return Facts(rate, np.maximum(sd, floor), tracked, np.where(tracked, chances, 1) / per_word)

    rhythm, rhythm_sd = made.rhythm.ravel(), made.rhythm_sd.ravel()
    every_token, every_word = np.full(made.vocab_size, per_word), np.ones(rhythm.size)
    return {
        "token_frequency": events(made.token_frequency, made.token_sd, made.token_tracked, every_token),
        "ngram_frequency": events(made.ngram_frequency, made.ngram_sd, made.ngram_sd >= 0, np.full(len(made.ngrams), per_word)),
        "sentence_length": events(made.hazard, made.hazard_sd, made.at_risk >= 0.005, made.at_risk),
        "marks": events(made.marks, made.marks_sd, made.marks * made.window_words >= 0.05, every_word[: len(made.marks)]),
        "rhythm": events(rhythm, rhythm_sd, rhythm * made.window_words >= 0.05, every_word),
        "entropy": Facts(*map(np.array, ([made.entropy_bits], [made.entropy_sd], [True], [1 / made.entropy_window / per_word]))),
    }


@dataclass
class Float64Loss:
    """A training run of the loss: `micro_batch` as often as there are in an optimizer step, then `step`."""

    made: CompiledProfile
    weights: Mapping[str, float] = field(default_factory=dict)
    decay: float = 0.0
    dead_zone: float = 1.0
    clip: float = 4.0
    lead: float = 5.0
    dual_rate: float = 0.0
    dual_limit: float = 20.0
    most_words: int = 1024
    duals: dict[str, Floats] = field(default_factory=dict)
    history: list[list[Expected]] = field(default_factory=lambda: [[]])  # steps, the last of which is pending

    def micro_batch(
        self, p: Floats, tokens: Sequence[Sequence[int]], counted: Sequence[Sequence[bool]], num_items: int
    ) -> tuple[float, dict[str, float], Floats]:
        """Value, components, and gradient with respect to p [B, T, V]."""
        here = expect(self.made, p, tokens, counted)
        self.history[-1].append(here)
        return self._evaluate(here, num_items, np.zeros_like(p))

    def step(self) -> None:
        """Close the optimizer step."""
        self.history.append([])
        for name, fact in facts(self.made).items():
            beyond = self._beyond(self._z(name, fact)[0])
            grown = self.duals.get(name, np.zeros(len(beyond))) + self.dual_rate * np.clip(beyond, -1, 1)
            self.duals[name] = np.clip(grown, -self.dual_limit, self.dual_limit)

    def _z(self, name: str, fact: Facts, ago: int = 0) -> tuple[Floats, float, Floats]:
        """z-scores in standard errors of so many words at the most, their noise, and the z-scores of all words."""
        # Steps that were closed so long ago, the latest with weight 1; in the very first, what was seen of it.
        closed = self.history[: -1 - ago][::-1] or self.history
        weighted = [(self.decay**i, batch) for i, step in enumerate(closed) for batch in step]
        words = sum(w * batch.words for w, batch in weighted)
        squares = sum(w**2 * batch.words for w, batch in weighted)
        effective = words**2 / squares if squares else 0.0
        numerator, denominator = (sum(w * batch.counts[name][i] for w, batch in weighted) for i in (0, 1))
        z = np.zeros(len(fact.target))
        for f in np.flatnonzero(fact.tracked & (denominator > 0)):
            amount = effective * denominator[f] / words if name == "entropy" else effective / self.made.window_words
            z[f] = (numerator[f] / denominator[f] - fact.target[f]) / (fact.sd[f] / np.sqrt(amount))
        noise = np.sqrt(self.most_words / effective) if effective > self.most_words else 1.0
        return z * noise, noise, z

    def _ahead(self, name: str, fact: Facts) -> Floats:
        """Where z-scores will be after some steps, if there were two that they could be seen to change between."""
        z, noise, _ = self._z(name, fact)
        steps = min(self.lead, 1 / noise - 1) if len(self.history) > 2 else 0.0
        return z + steps * (z - self._z(name, fact, ago=1)[0])

    def _beyond(self, z: Floats) -> Floats:
        return np.sign(z) * np.clip(np.abs(z) - self.dead_zone, 0.0, self.clip)

    def _evaluate(self, here: Expected, num_items: int, gradient: Floats) -> tuple[float, dict[str, float], Floats]:
        value, components = 0.0, {}
        for term, names in FAMILIES.items():
            means = []
            for name in names:
                fact = facts(self.made)[name]
                _, _, z = self._z(name, fact)
                pull = (self._beyond(self._ahead(name, fact)) + self.duals.get(name, 0.0)) * fact.tracked
                g = self.weights.get(term, 1.0) * pull / (fact.sd * np.sqrt(max(fact.tracked.sum(), 1)))
                slope = g / (num_items * fact.denominator_per_token)
                value += (slope * (here.counts[name][0] - fact.target * here.counts[name][1])).sum()
                for feature, b, t, v, coefficient in here.shares[name]:
                    gradient[b, t, v] += slope[feature] * coefficient
                means.append((z**2).sum() / max(fact.tracked.sum(), 1))
            components[term] = float(np.mean(means))
        return value, components, gradient


def softmax(logits: Floats, temperature: float = 1.0, top_p: float = 1.0) -> Floats:
    """Probabilities [..., V] of sampling with temperature from the fewest tokens that have the mass `top_p`."""
    flat = np.exp((logits - logits.max(-1, keepdims=True)) / temperature).reshape(-1, logits.shape[-1])
    for row in flat:
        row /= row.sum()
        mass = 0.0
        for v in np.argsort(-row, kind="stable"):
            if mass >= top_p:
                row[v] = 0
            mass += row[v]
        row /= row.sum()
    return flat.reshape(logits.shape)


def through_softmax(p: Floats, gradient: Floats, temperature: float = 1.0) -> Floats:
    """From the gradient with respect to p to that with respect to the logits."""
    return p * (gradient - (p * gradient).sum(-1, keepdims=True)) / temperature
