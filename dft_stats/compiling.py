"""Profile x tokenizer -> CompiledProfile: what the counts of a profile are on the ids of one tokenizer.

The stretches between white space (tables `surface` and `spelling`) are encoded once each, in context, and weighted by their counts. That
is exact for tokenizers that never merge across white space, which is all of those in wide use; others are refused, see `exactness`. Mass
is conserved under pruning, see `chunks`. A profile that was built with the tokenizer holds its tokens themselves, counted in the running
text: then these are taken, whatever the tokenizer does, see `token_counts`.

Words and marks are read from the ids as the loss will read them (`dft_stats.stream`), so that what that reader cannot see (three marks in
one token) stands in the target as well as in what is measured. Sentence lengths are the profile's own: where sentences end, the reader says
as the text's rule does, but for a few in a thousand (`benchmarks/compile_error.py`).
"""

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dft_stats.cache import cache_folder
from dft_stats.chunks import Chunks, Reading, encode_profile, read_chunks
from dft_stats.compiled import CompiledProfile, TokenTable
from dft_stats.counts import rate_sd
from dft_stats.encoding import encode_in_context, encode_spaced
from dft_stats.errors import CompiledProfileError
from dft_stats.exactness import Exactness, legibility, measure, probe_texts
from dft_stats.measures import expected_entropy_bits, mean_sd
from dft_stats.statistics.punctuation_rhythm import OPENING
from dft_stats.text import MARK_CLASS, MARK_CLASSES, WORD, Unit, unit_kind, units
from dft_stats.token_counts import ENTROPY_WINDOW, as_reading, counted_pairs, counted_reading, counted_tokens, is_counted, window_entropy
from dft_stats.token_table import token_table
from dft_stats.tokenizer import NOTHING_KNOWN, fingerprint, readable, resolve, special_ids, surfaces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dft_stats.profile import Profile

COMPILER = 8  # part of the cache's key: raise it with every change of what is computed here
WINDOW = 128  # words; the noise between windows of this length whitens the loss
MIN_DOCUMENTS = 20  # fewer do not tell a word of the domain from a word of its author
MIN_FREQUENCY = 1e-5  # per token: below it a training run never sees enough to tell
MAX_NGRAMS = 8_000
MAX_INEXACT_BITS = 0.005  # between a text encoded whole and by stretches: more, and a tokenizer is refused
READ = 300  # texts, to see whether the ids spell their words
LENGTH_EDGES = np.array([1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 31, 40, 50, 65, 1_000_000], np.int64)
GAP_EDGES = np.array([0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 1_000_000], np.int64)
GLUED = tuple(MARK_CLASSES.index(name) for name in ("comma", "semicolon", "colon"))

Floats = NDArray[np.float64]


def compile_profile(
    profile: "Profile", tokenizer: "Tokenizer | str | Path | Any", *, cache: bool = True, inexact: bool = False
) -> CompiledProfile:
    """The profile as arrays for one tokenizer.

    Args:
        profile: any profile.
        tokenizer: a `tokenizers.Tokenizer`, a fast tokenizer of transformers, or the path of a `tokenizer.json` or its folder.
        cache: keep the result in `cache_folder()`, under the hashes of profile and tokenizer, and take it from there.
        inexact: compile for a tokenizer that was not counted and joins words, too; how far off that is, `CompiledProfile.exactness` and
            `opening_bits` say.

    Raises:
        CompiledProfileError: the tokenizer cannot be used, or joins words, or reads a first word as no other one where documents are a
            few words; or the profile has no words.
    """
    if not profile.exposure.words:
        raise CompiledProfileError(f"{profile!r} has no words, so there is nothing to compile; build it from text")
    if profile.emptied:
        raise CompiledProfileError(profile.emptied)
    if not len(profile.counts("sentence_length").rows("words")):
        raise CompiledProfileError(
            f"{profile!r} tells no length of a sentence, so that there is nothing to steer them by: too few documents for its epsilon; "
            "build it from more texts, or with a larger epsilon"
        )
    resolved = resolve(tokenizer)
    identity = fingerprint(resolved)
    path = cache_folder() / "compiled" / f"{profile.sha256[:32]}-{identity[:32]}-{COMPILER}.npz" if cache else None
    compiled = None if path is None else _cached(path)
    if compiled is None:
        with _without_collector(), readable():
            spelt = surfaces(resolved)
            table = token_table(spelt, special_ids(resolved))
            counted = counted_reading(profile, resolved, table)
            texts = probe_texts(profile)
            exactness = measure(resolved, texts) if counted is None else Exactness(1.0, 0.0, "")
            if exactness.divergence_bits <= MAX_INEXACT_BITS or inexact:
                compiled = _compile(profile, resolved, identity, exactness, spelt, table, counted)
                compiled = replace(compiled, legibility=legibility(resolved, spelt, texts[:: max(1, len(texts) // READ)]))
        if compiled is not None and path is not None:
            with suppress(OSError):  # a home that cannot be written to, say: then it is compiled again
                compiled.save(path)
    if inexact and compiled is not None:
        return compiled
    agreement, bits = (compiled.exactness, compiled.exactness_bits) if compiled else (exactness.agreement, exactness.divergence_bits)
    remedy = "Build it with this tokenizer (`dft-stats build --tokenizer`); or, to have the approximation, compile with inexact=True"
    if compiled is None or bits > MAX_INEXACT_BITS:
        raise CompiledProfileError(
            "this tokenizer does not keep the stretches between white space apart (it joins words, or reads a word by its neighbours): "
            f"encoded by stretches, {1 - agreement:.1%} of the tokens differ from those of the running text, {bits:.3f} bits of "
            f"Jensen-Shannon divergence, and {MAX_INEXACT_BITS} are allowed. A profile holds no running text, so it cannot be compiled "
            f"exactly{_counted_other(profile, resolved)}. {remedy}"
        )
    if compiled.opening_bits > MAX_INEXACT_BITS:
        raise CompiledProfileError(
            "this tokenizer reads the first word of a text as no other one, and the documents of this profile are so short that it makes a "
            "difference which words these are, which the profile does not say: the tokens may be off by "
            f"{compiled.opening_bits:.3f} bits of Jensen-Shannon divergence, and {MAX_INEXACT_BITS} are "
            f"allowed{_counted_other(profile, resolved)}. {remedy}"
        )
    return compiled


@contextmanager
def _without_collector() -> Iterator[None]:
    """No search for cycles, of which compiling makes none: beside torch and transformers it would look at their objects again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _counted_other(profile: "Profile", tokenizer: "Tokenizer") -> str:
    """Why the tokens that a profile holds are of no use here."""
    if not profile.has_tokens:
        return ""
    if is_counted(profile, tokenizer):
        return "; it holds this tokenizer's tokens, but another version of dft_stats read words and marks from them"
    return "; the tokens that it holds are those of another tokenizer"


def _cached(path: Path) -> CompiledProfile | None:
    with suppress(OSError):  # it is only a cache
        if path.exists():
            try:
                return CompiledProfile.load(path)
            except CompiledProfileError:
                path.unlink(missing_ok=True)
    return None


def _compile(
    profile: "Profile",
    tokenizer: "Tokenizer",
    identity: str,
    exactness: Exactness,
    spelt: Sequence[str],
    table: TokenTable,
    counted: Mapping[str, int] | None,
) -> CompiledProfile:
    own: dict[str, Any]
    if counted is None:
        chunks = encode_profile(profile, tokenizer, WINDOW)
        reading, tokens, opening_bits = read_chunks(chunks, table), chunks.tokens, chunks.opening_bits
        if reading.words <= 0:
            raise CompiledProfileError(NOTHING_KNOWN.format(profile))
        own = _token_frequency(profile, chunks, table, spelt) | _ngram_frequency(profile, chunks, table, tokenizer, spelt)
        own |= _entropy(profile, chunks, table, reading)
    else:
        reading, tokens, opening_bits = as_reading(counted), float(profile.counts("token_ids").total()), 0.0
        own = _counted_frequency(profile, table, tokenizer) | _counted_ngrams(profile, table) | _counted_entropy(counted)
    return CompiledProfile(
        profile=f"{profile.name}@{profile.version}",
        profile_sha256=profile.sha256,
        tokenizer_sha256=identity,
        vocab_size=len(table.fold),
        window_words=WINDOW,
        tokens_per_word=tokens / reading.words,
        exactness=exactness.agreement,
        exactness_bits=exactness.divergence_bits,
        opening_bits=opening_bits,
        tokens=table,
        **own,
        **_sentence_length(profile),
        **_punctuation_rhythm(profile, reading),
    )


def _token_frequency(profile: "Profile", chunks: Chunks, table: TokenTable, spelt: Sequence[str]) -> dict[str, Any]:
    size, stretches = len(table.fold), len(chunks.lengths)
    owner, ids = chunks.owner, table.fold[chunks.ids].astype(np.int64)
    count = np.bincount(ids, chunks.weights[owner], size)
    count[table.special] = 0
    # An id that stands twice in a stretch has four times its variance.
    pairs, repeats = np.unique(ids * stretches + owner, return_counts=True)
    token, stretch = pairs // stretches, pairs % stretches
    variance = np.bincount(token, repeats**2 * chunks.variance[stretch], size)
    documents = np.zeros(size, np.int64)
    np.maximum.at(documents, token, chunks.documents[stretch])

    # Stretches vary together ("word," and "other,"): where a token is a whole unit, the unit's own variance is the better one.
    tokens = profile.counts("token_frequency")
    index = {unit: i for i, unit in enumerate(tokens.table["unit"].to_pylist())}
    unit = np.array([index.get(text.strip(), -1) for text in spelt])
    whole = np.flatnonzero((unit >= 0) & (count > 0))
    unit_count = tokens.table["count"].to_numpy()[unit[whole]]
    share = np.minimum(count[whole] / unit_count, 1)
    variance[whole] = np.maximum(variance[whole], (share * rate_sd(tokens, profile.exposure, WINDOW)[unit[whole]]) ** 2)
    documents[whole] = np.maximum(documents[whole], (share * tokens.table["documents"].to_numpy()[unit[whole]]).astype(np.int64))

    frequency = count / count.sum()
    enough = documents >= min(MIN_DOCUMENTS, profile.exposure.documents)
    return {
        "token_frequency": frequency,
        "token_sd": np.sqrt(variance) * profile.exposure.words / chunks.tokens,
        "token_tracked": enough & (frequency >= MIN_FREQUENCY) & ~table.special,
    }


def _ngram_frequency(profile: "Profile", chunks: Chunks, table: TokenTable, tokenizer: "Tokenizer", spelt: Sequence[str]) -> dict[str, Any]:
    """N-grams of units, n = 2 and 3, each unit one token: what is tracked is phrases, not spelling.

    Marks other than `,`, `;` and `:` are left out: they end sentences, or have a space now before and now behind them, and tokenizers
    merge them with what follows.
    """
    counts = profile.counts("ngram_frequency")
    rows, sd = counts.table, rate_sd(counts, profile.exposure, WINDOW)
    number, documents = rows["count"].to_numpy(), rows["documents"].to_numpy()
    enough = (documents >= min(MIN_DOCUMENTS, profile.exposure.documents)) & (number >= MIN_FREQUENCY * chunks.tokens)
    chosen = np.flatnonzero((rows["n"].to_numpy() <= 3) & enough)
    chosen = chosen[np.argsort(-number[chosen], kind="stable")]
    texts: list[str] = rows["ngram"].take(chosen).to_pylist()
    texts = [text if MARK_CLASS.get(text[0]) in GLUED else " " + text for text in texts]
    occurs: Floats = np.bincount(chunks.ids, chunks.weights[chunks.owner], len(spelt)).astype(np.float64)
    spaced, glued = ([i for i, text in enumerate(texts) if (text[0] == " ") == is_spaced] for is_spaced in (True, False))
    encoded = dict(zip(glued, encode_in_context(tokenizer, [texts[i] for i in glued]), strict=True))
    flat, lengths = encode_spaced(tokenizer, [texts[i] for i in spaced])
    encoded |= {i: flat[end - size : end].tolist() for i, size, end in zip(spaced, lengths, np.cumsum(lengths), strict=True)}
    bare = dict(zip(reversed(spelt), range(len(spelt) - 1, -1, -1), strict=True))
    tokens = profile.table("token_frequency")
    unit_count = dict(zip(tokens["unit"].to_pylist(), tokens["count"].to_pylist(), strict=True))
    read = lru_cache(None)(units)  # of what stands between spaces, which comes again and again
    features, kept, shares = [], [], []
    for i, (row, text, n) in enumerate(zip(chosen, texts, rows["n"].take(chosen).to_pylist(), strict=True)):
        ids = encoded[i]
        if len(ids) != n:
            continue
        part = [unit for piece in text.split(" ") for unit in read(piece)]
        if any(unit.kind != WORD and unit.kind not in GLUED for unit in part):
            continue
        if all(spelt[id].strip() == unit.text for id, unit in zip(ids, part, strict=True)):
            features.append([-1] * (3 - len(ids)) + table.fold[ids].tolist())
            kept.append(row)
            shares.append(_share(part, ids, occurs, bare, unit_count))
        if len(kept) == MAX_NGRAMS:
            break
    return {
        "ngrams": np.array(features, np.int32).reshape(-1, 3),
        "ngram_frequency": number[kept] * np.array(shares) / chunks.tokens,
        "ngram_sd": sd[kept] * np.array(shares) * profile.exposure.words / chunks.tokens,
    }


def _share(part: Sequence[Unit], ids: Sequence[int], occurs: Floats, bare: Mapping[str, int], unit_count: Mapping[str, int]) -> float:
    """How many of the occurrences of an n-gram are spelt by these ids, estimated from its two ends.

    At the beginning of a line the first word has no space and is another token; a comma before a quote may be one token with it.
    """
    first, last = part[0], part[-1]
    share = 1.0
    if first.kind == WORD and first.text in bare:
        share *= occurs[ids[0]] / max(occurs[ids[0]] + occurs[bare[first.text]], 1e-9)
    if last.kind in GLUED and last.text in unit_count:
        share *= min(1.0, occurs[ids[-1]] / unit_count[last.text])
    return share


def _sentence_length(profile: "Profile") -> dict[str, Any]:
    """Hazards: of the sentences that reached this age in words, how many end at it."""
    rows = profile.counts("sentence_length").rows("words")
    length, count = rows["length"].to_numpy(), rows["count"].to_numpy()
    longest = int(length.max())
    ends = np.bincount(length, count, longest + 1)
    reached = np.cumsum(ends[::-1])[::-1]
    buckets = len(LENGTH_EDGES) - 1
    bucket = np.clip(np.searchsorted(LENGTH_EDGES, np.arange(longest + 1), side="right") - 1, 0, buckets - 1)
    bucket_ends, at_risk = (np.bincount(bucket[1:], values[1:], buckets) for values in (ends, reached))
    with np.errstate(invalid="ignore", divide="ignore"):
        hazard = np.where(at_risk > 0, bucket_ends / at_risk, 0)
    share = at_risk / at_risk.sum()
    noise = hazard * (1 - hazard) * _design_effect(profile) / np.maximum(WINDOW * share, 1e-9)
    return {"length_edges": LENGTH_EDGES, "hazard": hazard, "hazard_sd": np.sqrt(noise), "at_risk": share}


def _design_effect(profile: "Profile") -> float:
    """How much more sentence lengths vary between windows than independent ones would: 1 + (n - 1) rho (Kish 1965), at least 1.

    `rho`, the correlation of two sentences of one document, comes from the means of the sampled documents.
    """
    rows = profile.table("documents")
    number, mean = (np.nan_to_num(rows[name].to_numpy().astype(np.float64)) for name in ("sentences", "sentence_length_mean"))
    lengths = profile.counts("sentence_length").rows("words")
    centre, sd = mean_sd(lengths["length"].to_numpy(), lengths["count"].to_numpy())
    number, mean = number[number >= 2], mean[number >= 2]
    if not len(number) or sd == 0:
        return 1.0
    excess = (number**2 * (mean - centre) ** 2 - number * sd**2).sum() / (sd**2 * (number * (number - 1)).sum())
    return float(1 + max(0.0, WINDOW / centre - 1) * np.clip(excess, 0, 1))


def _punctuation_rhythm(profile: "Profile", reading: Reading) -> dict[str, Any]:
    counts, words = profile.counts("punctuation_rhythm"), profile.exposure.words
    marks, gaps = counts.rows("marks"), counts.rows("gaps")
    index = {name: i for i, name in enumerate((*MARK_CLASSES, OPENING))}
    in_text, sd = np.zeros(len(MARK_CLASSES)), np.zeros(len(MARK_CLASSES))
    of_mark = [index[mark] for mark in marks["mark"].to_pylist()]
    in_text[of_mark] = marks["count"].to_numpy()
    sd[of_mark] = rate_sd(counts, profile.exposure, WINDOW, marks)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(in_text > 0, reading.marks / in_text, 0)  # marks that the reader of tokens sees, per mark of the text
    shape = (len(MARK_CLASSES) + 1, len(GAP_EDGES) - 1, len(MARK_CLASSES))
    mark = np.array([index[name] for name in gaps["mark"].to_pylist()], np.int64)
    previous = np.array([index[name] for name in gaps["previous"].to_pylist()], np.int64)
    bucket = np.searchsorted(GAP_EDGES, gaps["gap"].to_numpy(), side="right") - 1
    cell = np.ravel_multi_index((previous, bucket, mark), shape)
    size = int(np.prod(shape))
    rhythm = np.bincount(cell, gaps["count"].to_numpy() * scale[mark], size) / reading.words
    variance = np.bincount(cell, (rate_sd(counts, profile.exposure, WINDOW, gaps) * scale[mark]) ** 2, size)
    return {
        "marks": reading.marks / reading.words,
        "marks_sd": sd * scale * words / reading.words,
        "gap_edges": GAP_EDGES,
        "rhythm": rhythm.reshape(shape),
        "rhythm_sd": np.sqrt(variance).reshape(shape) * words / reading.words,
    }


def _entropy(profile: "Profile", chunks: Chunks, table: TokenTable, reading: Reading) -> dict[str, Any]:
    """Window entropies of words, moved to first pieces of words by what independent draws of the two would differ by."""
    counts, tokens = profile.counts("entropy"), profile.counts("token_frequency")
    rows = counts.rows(ENTROPY_WINDOW)
    words: Counter[str] = Counter()
    for unit, number in zip(tokens.table["unit"].to_pylist(), tokens.table["count"].to_pylist(), strict=True):
        if unit_kind(unit) == WORD:
            words[unit.lower()] += number
    pruned, types_of_pruned = (tokens.spectrum[column].to_numpy() for column in ("count", "types"))
    number = np.concatenate([np.ones(len(words), np.int64), types_of_pruned])
    of_words = expected_entropy_bits(np.concatenate([[*words.values()], pruned]), ENTROPY_WINDOW, number)
    types = table.entropy_type[table.fold[chunks.ids[reading.begins]]]
    weights = chunks.weights[chunks.owner[reading.begins]]
    of_pieces = expected_entropy_bits(np.bincount(types[types >= 0], weights[types >= 0]), ENTROPY_WINDOW)
    if not len(rows):  # no document is as long as a window: nothing was measured, so nothing is steered
        return {"entropy_window": ENTROPY_WINDOW, "entropy_bits": of_pieces, "entropy_sd": float("inf")}
    mean, sd = mean_sd((rows["centibits"].to_numpy() + 0.5) / 100, rows["count"].to_numpy())
    return {"entropy_window": ENTROPY_WINDOW, "entropy_bits": mean + of_pieces - of_words, "entropy_sd": sd}


# --- of a tokenizer that was counted ----------------------------------------------------------------------------------------------


def _counted_frequency(profile: "Profile", table: TokenTable, tokenizer: "Tokenizer") -> dict[str, Any]:
    """What pruning took is spread over the ids that the table lacks, as the stretches say."""

    def shape() -> Floats:
        chunks = encode_profile(profile, tokenizer, WINDOW)
        weights: Floats = np.bincount(table.fold[chunks.ids], chunks.weights[chunks.owner], len(table.fold)).astype(np.float64)
        return weights

    found = counted_tokens(profile, table, WINDOW, shape)
    tokens = found.count.sum()
    enough = found.documents >= min(MIN_DOCUMENTS, profile.exposure.documents)
    return {
        "token_frequency": found.count / tokens,
        "token_sd": np.sqrt(found.variance) * profile.exposure.words / tokens,
        "token_tracked": enough & (found.count >= MIN_FREQUENCY * tokens) & ~table.special,
    }


def _counted_ngrams(profile: "Profile", table: TokenTable) -> dict[str, Any]:
    """Pairs of tokens, each with a word or one of `GLUED` in it, where the second begins one: what is tracked is phrases, not spelling.

    Other marks and ends of sentences are left out, as in `_ngram_frequency`.
    """
    found, tokens = counted_pairs(profile, table, WINDOW), profile.counts("token_ids").total()
    first, second = found.ids.T
    glued = np.isin(np.arange(-1, len(MARK_CLASSES)), (-1, *GLUED))  # by mark + 1
    said = (table.words_before + table.words_after > 0) | (table.first_mark >= 0)  # white space alone says nothing
    plain = said & glued[table.first_mark + 1] & glued[table.last_mark + 1] & (table.end == 0)
    begun = table.words_before[second] - (table.glues[second] & (table.tail[first] > 0)) + table.words_after[second]
    phrase = plain[first] & plain[second] & ((begun > 0) | (table.first_mark[second] >= 0))
    enough = (found.documents >= min(MIN_DOCUMENTS, profile.exposure.documents)) & (found.count >= MIN_FREQUENCY * tokens)
    chosen = np.flatnonzero(phrase & enough)
    chosen = chosen[np.argsort(-found.count[chosen], kind="stable")][:MAX_NGRAMS]
    return {
        "ngrams": found.ids[chosen].astype(np.int32).reshape(-1, 2),
        "ngram_frequency": found.count[chosen] / tokens,
        "ngram_sd": np.sqrt(found.variance[chosen]) * profile.exposure.words / tokens,
    }


def _counted_entropy(counted: Mapping[str, int]) -> dict[str, Any]:
    if not counted["windows"]:  # no document is as long as a window
        return {"entropy_window": ENTROPY_WINDOW, "entropy_bits": 0.0, "entropy_sd": float("inf")}
    mean, sd = window_entropy(counted)
    return {"entropy_window": ENTROPY_WINDOW, "entropy_bits": mean, "entropy_sd": sd}
