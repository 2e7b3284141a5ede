"""Pairs of neighbouring tokens, compiled from a profile: how often each follows the other.

Two kinds of pair are *covered*, that is, computed from counts of just these places:

    inside a stretch     from the tables `surface` and `spelling`; a stretch that is stored in parts gives the pairs inside its parts
    across a space       from `ngram_frequency`, n = 2: the last token of the stretch that ends with the first unit, the first token of the
                         stretch that begins with the second, each in all the ways in which `surface` spells it; n = 3 says with which
                         unit glued to the first or second ('"I am', 'paid ($')

What n-grams do not tell (pairs that were pruned, and those across the end of a sentence or paragraph, where no n-gram reaches) has its
mass and its two marginals from the stretches: left over are the last and first tokens that no covered pair took. `frequency` of a pair
adds their product, so that all pairs of the vocabulary together sum to one.

A profile that was built with the tokenizer has the pairs themselves: covered are those that were not pruned.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats.chunks import encode_profile
from dft_stats.encoding import encode_in_context
from dft_stats.errors import CompiledProfileError
from dft_stats.sentences import BOUND, CLOSERS, SHORT, TERMINATORS, unit_flags
from dft_stats.text import Unit, units
from dft_stats.token_counts import is_counted
from dft_stats.tokenizer import NOTHING_KNOWN, readable, resolve, special_ids, vocabulary_size

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dft_stats.profile import Profile

WINDOW = 128
RARE = 1e-3  # share of the spellings of a unit below which one is left out

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rest:
    """Pairs of one kind that no counts cover: first and second token taken to be independent."""

    mass: float  # of all pairs
    first: Floats  # (vocab,), sums to one
    second: Floats  # (vocab,), sums to one


@dataclass(frozen=True, slots=True)
class TokenBigrams:
    """Pairs of token ids and their share of all pairs of neighbours in a document."""

    pairs: NDArray[np.int32]  # (pairs, 2), sorted
    covered: Floats  # (pairs,): share that is computed from counts of the places where the pair occurs
    rests: tuple[Rest, ...]  # the others: across a space, across a blank line; or those that were pruned from counted pairs

    @property
    def coverage(self) -> float:
        """Share of all pairs of neighbours that is covered."""
        return float(self.covered.sum())

    def frequency(self, pairs: NDArray[Any] | None = None) -> Floats:
        """Share of all pairs of neighbours, (pairs,), of the pairs given, shape (pairs, 2), or of `self.pairs`: covered and estimated."""
        asked = self.pairs if pairs is None else np.asarray(pairs)
        size = len(self.rests[0].first)
        known = self.pairs[:, 0].astype(np.int64) * size + self.pairs[:, 1]
        key = asked[:, 0].astype(np.int64) * size + asked[:, 1]
        at = np.minimum(np.searchsorted(known, key), max(len(known) - 1, 0))
        found: Floats = np.where(known[at] == key, self.covered[at], 0.0) if len(known) else np.zeros(len(key))
        for rest in self.rests:
            found += rest.mass * rest.first[asked[:, 0]] * rest.second[asked[:, 1]]
        return found


@readable()
def token_bigrams(profile: "Profile", tokenizer: "Tokenizer | Any") -> TokenBigrams:
    """Pairs of tokens of a profile.

    Args:
        profile: any profile; what is pruned from its n-grams of two units is estimated.
        tokenizer: as `compile_profile` takes it.

    Raises:
        CompiledProfileError: the tokenizer cannot be used.
    """
    resolved = resolve(tokenizer)
    size = vocabulary_size(resolved)
    if is_counted(profile, resolved):
        return _counted(profile, size)
    chunks = encode_profile(profile, resolved, WINDOW, specials=True)
    special = np.zeros(size, bool)  # no text, such as an unknown character: what stands on either side of it is no pair
    special[special_ids(resolved)] = True
    if special[chunks.ids].all():
        raise CompiledProfileError(NOTHING_KNOWN.format(profile))
    owner = chunks.owner
    inner = np.flatnonzero((owner[1:] == owner[:-1]) & ~special[chunks.ids[1:]] & ~special[chunks.ids[:-1]])
    keys, weights = [chunks.ids[inner] * size + chunks.ids[inner + 1]], [chunks.weights[owner[inner]]]

    kept = chunks.lengths > 0
    first_at = (np.cumsum(chunks.lengths) - chunks.lengths)[kept]
    first, last = chunks.ids[first_at], chunks.ids[first_at + chunks.lengths[kept] - 1]
    texts = [text for text, keep in zip(chunks.texts, kept, strict=True) if keep]
    weight = chunks.weights[kept]
    opens, closes = (np.array([text[end] == "\n" for text in texts], bool) for end in (0, -1))
    of_first, of_last = weight * ~special[first], weight * ~special[last]

    across = _across(profile, resolved, special, texts, first, last, of_first, of_last)
    keys.append(across[0] * size + across[1])
    weights.append(across[2])
    found, where = np.unique(np.concatenate(keys), return_inverse=True)
    count = np.bincount(where, np.concatenate(weights), len(found))

    # Every stretch but the first of a document follows another one: across a space or across a blank line. A part that continues a
    # stretch has its pair with the part before nowhere; such pairs are left to the estimate across spaces, which they are few beside.
    ends = np.bincount(last[~closes], of_last[~closes], size) - np.bincount(across[0], across[2], size)
    begins = np.bincount(first[~opens], of_first[~opens], size) - np.bincount(across[1], across[2], size)
    lines = np.bincount(last[closes], of_last[closes], size), np.bincount(first[opens], of_first[opens], size)
    spaces, breaks = (
        float(weight[pairs].sum()) * _part(of_last[left], weight[left]) * _part(of_first[right], weight[right])
        for pairs, left, right in ((~opens, ~closes, ~opens), (closes, closes, opens))
    )
    rests = [(max(0.0, spaces - across[2].sum()), ends, begins), (breaks, *lines)]
    total = count.sum() + sum(mass for mass, _, _ in rests)
    return TokenBigrams(
        np.stack([found // size, found % size], 1).astype(np.int32),
        count / total,
        tuple(Rest(mass / total, _share(left), _share(right)) for mass, left, right in rests),
    )


def _counted(profile: "Profile", size: int) -> TokenBigrams:
    counts, ids = profile.counts("token_pairs"), profile.table("token_ids")
    first, second, number = (counts.table[name].to_numpy() for name in ("first", "second", "count"))
    total = max(counts.total(), 1)
    each = np.bincount(ids["id"].to_numpy(), ids["count"].to_numpy(), size)
    left, right = (each - np.bincount(column, number, size) for column in (first, second))
    rest = Rest((counts.total() - int(number.sum())) / total, _share(left), _share(right))
    return TokenBigrams(np.stack([first, second], 1).astype(np.int32), number / total, (rest,))


def _part(some: Floats, all_: Floats) -> float:
    return float(some.sum() / max(all_.sum(), 1e-12))


def _share(given: NDArray[Any]) -> Floats:
    count = np.maximum(given, 0)
    shares: Floats = count / max(count.sum(), 1e-12)
    return shares


def _across(
    profile: "Profile",
    tokenizer: "Tokenizer",
    special: NDArray[np.bool_],
    texts: Sequence[str],
    first: Ints,
    last: Ints,
    of_first: Floats,
    of_last: Floats,
) -> tuple[Ints, Ints, Floats]:
    """Pairs across a space inside a sentence: first token, second token, occurrences."""
    ngrams = profile.counts("ngram_frequency")
    rows = ngrams.rows(2)
    pairs = {
        (left, right): float(count)
        for ngram, count in zip(rows["ngram"].to_pylist(), rows["count"].to_pylist(), strict=True)
        for left, space, right in (ngram.partition(" "),)
        if space  # without one the two lie inside one stretch
    }
    glued_left, glued_right = _glued(ngrams.rows(3), pairs)
    lefts, rights = _options(pairs, glued_left, 0), _options(pairs, glued_right, 1)
    behind, before = _ways(texts, first, last, of_first, of_last, lefts, rights)
    left, right = (_spellings(tokenizer, special, side.names, end, ways) for side, end, ways in ((lefts, -1, behind), (rights, 0, before)))
    pair, at_left, at_right = _product(lefts.begin, lefts.number, rights.begin, rights.number)
    share = lefts.weight[at_left] * rights.weight[at_right] / np.array(list(pairs.values()))[pair]
    row, way_left, way_right = _product(
        left.begin[lefts.name[at_left]], left.number[lefts.name[at_left]],
        right.begin[rights.name[at_right]], right.number[rights.name[at_right]],
    )  # fmt: skip
    return left.token[way_left], right.token[way_right], share[row] * left.share[way_left] * right.share[way_right]


@dataclass(frozen=True, slots=True)
class _Options:
    """For each pair of units, what may stand glued to one of the two: runs of rows, one run a pair."""

    begin: Ints  # (pairs,), first row
    number: Ints  # (pairs,), rows
    name: Ints  # (rows,), index into names
    weight: Floats  # (rows,), occurrences of the pair so
    names: list[str]  # a unit, or two units glued


@dataclass(frozen=True, slots=True)
class _Spellings:
    """By name, its first or last token in all the ways that occur: runs of ways."""

    begin: Ints
    number: Ints
    token: Ints  # (ways,)
    share: Floats  # (ways,), sums to one by name


def _product(left_begin: Ints, left_number: Ints, right_begin: Ints, right_number: Ints) -> tuple[Ints, Ints, Ints]:
    """All combinations of a left and a right run, run by run: which run, the place in the left one, the place in the right one."""
    ways = left_number * right_number
    run = np.repeat(np.arange(len(ways)), ways)
    way = np.arange(len(run)) - np.repeat(np.cumsum(ways) - ways, ways)
    return run, left_begin[run] + way // right_number[run], right_begin[run] + way % right_number[run]


def _glued(rows: pa.Table, pairs: Mapping[tuple[str, str], float]) -> tuple[list[tuple[tuple[str, str], str, float]], ...]:
    """Of n-grams of three units with one space: the pair across it, the side of two units, occurrences; by side, left and right."""
    rows = rows.filter(pc.equal(pc.count_substring(rows["ngram"], " "), 1))
    found: tuple[list[tuple[tuple[str, str], str, float]], ...] = ([], [])
    split: dict[str, list[str]] = {}
    for ngram, count in zip(rows["ngram"].to_pylist(), rows["count"].to_pylist(), strict=True):
        left, _, right = ngram.partition(" ")
        for text in (left, right):
            if text not in split:
                split[text] = [unit.text for unit in units(text)]
        pair = (split[left][-1], split[right][0])
        if pair in pairs:
            side = int(len(split[right]) > 1)
            found[side].append((pair, (left, right)[side], float(count)))
    return found


def _options(pairs: Mapping[tuple[str, str], float], glued: Sequence[tuple[tuple[str, str], str, float]], side: int) -> _Options:
    index = {pair: i for i, pair in enumerate(pairs)}
    left = np.array(list(pairs.values()))
    names: dict[str, int] = {}
    row = [index[pair] for pair, _, _ in glued] + list(range(len(pairs)))
    name = [names.setdefault(text, len(names)) for _, text, _ in glued] + [names.setdefault(pair[side], len(names)) for pair in pairs]
    weight = np.array([count for _, _, count in glued])
    left -= np.bincount(row[: len(glued)], weight, len(pairs)) if glued else 0
    weight = np.concatenate([weight, np.maximum(left, 0)])
    kept = np.flatnonzero(weight > 0)
    owner = np.array(row, np.int64)[kept]
    order = np.argsort(owner, kind="stable")
    number = np.bincount(owner, minlength=len(pairs)).astype(np.int64)
    return _Options(np.cumsum(number) - number, number, np.array(name, np.int64)[kept][order], weight[kept][order], list(names))


def _ways(
    texts: Sequence[str], first: Ints, last: Ints, of_first: Floats, of_last: Floats, lefts: _Options, rights: _Options
) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, float]]]:
    """Last tokens by the last unit or the last two of a stretch, and first ones by the first; those by one unit without those by two."""
    asked = [dict(zip(side.names, np.bincount(side.name, side.weight, len(side.names)), strict=True)) for side in (lefts, rights)]
    before, stops, behind = (defaultdict[str, dict[int, float]](lambda: defaultdict(float)) for _ in range(3))
    columns = (column.tolist() for column in (first, last, of_first, of_last))
    for text, begin, end, of_begin, of_end in zip(texts, *columns, strict=True):
        found = units(text)
        names = [unit.text for unit in found]
        if text[0] == " ":
            two = "".join(names[:2])
            before[two if len(names) > 1 and two in asked[1] else names[0]][begin] += of_begin
        if text[0] in " \n" and text[-1] != "\n":
            two = "".join(names[-2:])
            (stops if _ends_sentence(found) else behind)[two if len(names) > 1 and two in asked[0] else names[-1]][end] += of_end
    for name, ends in stops.items():
        # Of the stretches that end like a sentence, only so many go on as the n-grams need beside the others.
        needed = asked[0].get(name, 0.0) - sum(behind[name].values())
        share = min(1.0, max(0.0, needed / max(sum(ends.values()), 1e-12)))
        for id, w in ends.items():
            behind[name][id] += share * w
    return behind, before


def _ends_sentence(found: Sequence[Unit]) -> bool:
    """Whether a stretch ends with a mark that ends most sentences, behind a word that is no abbreviation."""
    closing = [unit.text[0] for unit in found]
    while len(closing) > 1 and closing[-1] in CLOSERS:
        closing.pop()
    at = len(closing) - 1
    return closing[-1] in TERMINATORS and not (at and unit_flags(found[at - 1].text) & (BOUND | SHORT))


def _spellings(
    tokenizer: "Tokenizer", special: NDArray[np.bool_], names: Sequence[str], end: int, ways: Mapping[str, Mapping[int, float]]
) -> _Spellings:
    """Of each name its first (`end` 0) or last (-1) token; what no stretch shows is encoded."""
    ways = {name: ways[name] for name in names if sum(ways.get(name, {}).values()) > 0}
    missing = [name for name in names if name not in ways]
    for name, ids in zip(missing, encode_in_context(tokenizer, [" " + name for name in missing]), strict=True):
        ways[name] = {ids[end]: 1.0} if ids and not special[ids[end]] else {}
    sizes, tokens, shares = [], list[int](), list[float]()
    for name in names:
        total = sum(ways[name].values())
        chosen = {id: w for id, w in ways[name].items() if w >= RARE * total}
        sizes.append(len(chosen))
        tokens += chosen
        shares += (w / sum(chosen.values()) for w in chosen.values())
    size = np.array(sizes, np.int64)
    return _Spellings(np.cumsum(size) - size, size, np.array(tokens, np.int64), np.array(shares))
