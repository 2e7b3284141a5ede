"""`audit`: what a profile of a corpus would tell, tried on copies of its documents. See `docs/privacy.md`."""

import hashlib
import heapq
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dft_stats.build.build import build
from dft_stats.build.canaries import DENIED, KINDS, MASKED, SEQUENCE, Canary, found_in, hatch, plant
from dft_stats.build.corpus import Corpus, sources
from dft_stats.build.formats import Faults, Piece, Signed, from_pieces
from dft_stats.build.named import Named, named
from dft_stats.build.privacy import LEAST_DOCUMENTS
from dft_stats.build.settings import resolve_segmenter
from dft_stats.errors import CorpusError
from dft_stats.manifest import CARD, MANIFEST
from dft_stats.masking import Masks
from dft_stats.profile import Profile
from dft_stats.sentences import Segmenter, documents
from dft_stats.statistics import NGRAM_FREQUENCY

LEVELS = (1, 2, 3, 4, 5, 10, 20)
MEMBERSHIP_ORDER = 3  # longest n-grams that the attack reads
_DRAWS = 1_000  # of the bootstrap


@dataclass(frozen=True, slots=True)
class Planted:
    """Canaries of one kind, in so many documents or groups."""

    kind: str
    owners: int
    planted: int
    recovered: int
    is_leak: bool  # recovered although masked, or below the floor
    ways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Membership:
    """How well documents that were counted can be told from others of their kind, by a profile alone: 0.5 is chance."""

    auc: float
    low: float  # of a 95 % bootstrap interval over documents
    high: float
    inside: int  # documents
    outside: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found."""

    documents: int
    floor: int
    unit: str
    canaries: tuple[Planted, ...]
    membership: Membership
    names: tuple[Named, ...] = ()  # that the user denies

    @property
    def ok(self) -> bool:
        """Whether the profile tells nothing that it should not."""
        return not self.leaks and not any(name.is_leak for name in self.names)

    @property
    def leaks(self) -> tuple[Planted, ...]:
        """Canaries that the profile should not tell, and does."""
        return tuple(row for row in self.canaries if row.is_leak)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return asdict(self) | {"ok": self.ok}


def audit(
    paths: Corpus,
    *,
    text_column: str | None = None,
    privacy: str = "publish",
    min_documents: int | None = None,
    group_column: str | None = None,
    deny: Iterable[str] = (),
    epsilon: float | None = None,
    segmenter: Segmenter | str = "rule",
    each: int = 5,
    limit: int = 5_000,
    seed: int = 0,
    tokenizer: Any = None,
    progress: Callable[[str], None] | None = None,
) -> AuditReport:
    """Plant canaries in copies of the documents, build with them and without, and look for them in everything that a profile tells.

    Args:
        paths: a corpus, as `build` reads it.
        text_column: as in `build`, like the following ones.
        privacy: "none" shows what would be told without any.
        min_documents: the floor; of privacy none what is reported as below it.
        group_column: canaries are planted by groups.
        deny: names to mask, which are looked for as well. A kind of canary is denied, too.
        epsilon: as in `build`; canaries of fewer than 5 documents, which is no floor of it, are leaks all the same.
        segmenter: as in `build`.
        each: canaries of every kind and level.
        limit: documents, those with the lowest hashes.
        seed: of what is drawn.
        tokenizer: as in `build`.
        progress: told what is being done.

    Raises:
        CorpusError: fewer than ten documents, or than twice the floor of documents or groups.
    """
    tell, rng = progress or (lambda line: None), np.random.default_rng(seed)
    texts, owners = _read(paths, text_column, group_column, limit)
    floor = min_documents or LEAST_DOCUMENTS
    known = len(set(owners))
    if known < max(10, 2 * floor):
        what = "documents" if group_column is None else f"groups ({group_column})"
        raise CorpusError(f"{known} {what} are too few for an audit with a floor of {floor}; give {max(10, 2 * floor)} or more")
    levels = sorted({level for level in (*LEVELS, floor - 1, floor) if 1 <= level <= known})
    canaries = hatch(texts, levels, each, rng)
    lacking = each * len(levels) - sum(canary.kind == SEQUENCE for canary in canaries)
    if lacking:
        tell(
            f"audit: {lacking:,} of {each * len(levels):,} sequences are not tried: the texts have too few words that never stand together"
        )
    own = (deny,) if isinstance(deny, str) else tuple(name for name in deny if name.strip())
    denied = [*own, *(canary.text for canary in canaries if canary.kind == DENIED)] if privacy != "none" else []
    how: dict[str, Any] = {
        "text_column": "text",
        "privacy": privacy,
        "min_documents": min_documents,
        "segmenter": segmenter,
        "deny": denied,
    }
    how |= {} if epsilon is None else {"epsilon": epsilon}
    how |= {} if group_column is None or privacy == "none" else {"group_column": "owner"}
    with tempfile.TemporaryDirectory(prefix="dft-stats-audit-") as folder:

        def made(name: str, chosen: Sequence[str], whose: Sequence[str], **more: Any) -> Profile:
            tell(f"audit: building {name}")
            rows = [{"text": text, "owner": owner} for text, owner in zip(chosen, whose, strict=True)]
            return build(rows, out=Path(folder) / name, name=name, **how, **more)

        plain = made("without", texts, owners, tokenizer=tokenizer)
        profile = made("with", plant(texts, owners, canaries, rng), owners, tokenizer=tokenizer)
        rows = _searched(profile, plain, canaries, floor, is_masked=privacy != "none")
        names = named(profile, texts, own, is_masked=privacy != "none")
        inside = _half(owners, rng)
        counted = made("half", *_chosen(texts, owners, inside), max_order=MEMBERSHIP_ORDER)
        tell("audit: membership")
        found = _membership(counted, texts, owners, inside, Masks(tuple(denied)) if privacy != "none" else None, segmenter, rng)
    return AuditReport(len(texts), floor, "document" if group_column is None else "group", rows, found, names)


def _read(paths: Corpus, text_column: str | None, group_column: str | None, limit: int) -> tuple[list[str], list[str]]:
    faults = Faults(skip=True)
    found = sources(paths, text_column, faults, group=group_column)
    given = from_pieces([Piece(path) for path in found], text_column, faults, group=group_column) if isinstance(found, list) else found

    def order(text: str) -> bytes:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()

    texts = heapq.nsmallest(limit, (text for text in given if text.strip()), key=order)
    return [str(text) for text in texts], [str(text.owner) if isinstance(text, Signed) else str(i) for i, text in enumerate(texts)]


# --- canaries ---------------------------------------------------------------------------------------------------------------------


def _searched(profile: Profile, plain: Profile, canaries: Sequence[Canary], floor: int, *, is_masked: bool) -> tuple[Planted, ...]:
    told = {name: "\n".join(_strings(profile.table(name))).lower() for name in profile.tables}
    told |= {name: (profile.path / name).read_text(encoding="utf-8").lower() for name in (MANIFEST, CARD)}
    pairs = {text.lower() for text in profile.counts(NGRAM_FREQUENCY.name).rows(2)["ngram"].to_pylist()}
    ours, theirs = (set(found.table("spelling")["spelling"].to_pylist()) for found in (profile, plain))
    new = [text.strip().lower() for text in ours - theirs]
    found: dict[tuple[str, int], list[list[str]]] = defaultdict(list)
    for canary in canaries:
        found[canary.kind, canary.owners].append(found_in(canary, told, pairs, new))
    rows = []
    for (kind, level), ways in sorted(found.items(), key=lambda item: (KINDS.index(item[0][0]), item[0][1])):
        recovered = sum(map(bool, ways))
        is_hidden = level < floor or (kind in MASKED and is_masked)
        rows.append(
            Planted(kind, level, len(ways), recovered, is_hidden and recovered > 0, tuple(sorted({w for way in ways for w in way})))
        )
    return tuple(rows)


def _strings(table: pa.Table) -> list[str]:
    return [text for column in table.columns if pa.types.is_string(column.type) for text in column.to_pylist()]


# --- membership -------------------------------------------------------------------------------------------------------------------


def _half(owners: Sequence[str], rng: np.random.Generator) -> NDArray[np.bool_]:
    known, of = np.unique(owners, return_inverse=True)
    sides = rng.permutation(len(known)) % 2 == 0
    return np.asarray(sides[of.reshape(-1)])


def _chosen(texts: Sequence[str], owners: Sequence[str], inside: NDArray[np.bool_]) -> tuple[list[str], list[str]]:
    at = np.flatnonzero(inside).tolist()
    return [texts[i] for i in at], [owners[i] for i in at]


def _membership(
    profile: Profile,
    texts: Sequence[str],
    owners: Sequence[str],
    inside: NDArray[np.bool_],
    masks: Masks | None,
    segmenter: Segmenter | str,
    rng: np.random.Generator,
) -> Membership:
    """A document that was counted has more rows that few have: each n-gram weighs one over the square of the documents that have it.

    The square told more than the plain inverse on news, and to hold what is missing against a document told less.
    """
    table = profile.table(NGRAM_FREQUENCY.name)
    weight = dict(zip(table["ngram"].to_pylist(), (1 / table["documents"].to_numpy() ** 2).tolist(), strict=True))
    read = list(texts) if masks is None else masks.apply(texts)[0]
    rules = resolve_segmenter(segmenter)
    scores = np.zeros(len(read))
    for i, text in enumerate(read):
        (document,) = documents([text], rules)
        grams = {key[1] for key, _ in NGRAM_FREQUENCY.events(document) if key[0] <= MEMBERSHIP_ORDER}  # type: ignore[operator]
        scores[i] = sum(weight.get(str(gram), 0.0) for gram in grams) / max(len(grams), 1)
    ours, others = scores[inside], scores[~inside]
    draws = [area(rng.choice(ours, len(ours)), rng.choice(others, len(others))) for _ in range(_DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Membership(area(ours, others), float(low), float(high), len(ours), len(others))


def area(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Area under the ROC curve: the chance that a score of `positive` is above one of `negative`, ties by half."""
    order = np.sort(negative)
    below, not_above = np.searchsorted(order, positive, "left"), np.searchsorted(order, positive, "right")
    return float((below + not_above).mean() / (2 * len(negative)))
