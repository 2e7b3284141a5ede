"""What a profile may tell: how `build` is asked, and what the manifest says of it. `docs/privacy.md` has the threat model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dft_stats.build.epsilon import DELTA, check
from dft_stats.build.formats import listed
from dft_stats.build.merge import Counted
from dft_stats.denied import canonical
from dft_stats.masking import KINDS, Masks

LEAST_DOCUMENTS = 5
"""Documents, or groups of them, that every row of a published profile has at least."""
MODES = ("publish", "none", "public-corpus")
"""The last two tell everything that was counted; the last one of texts that everybody can read anyway, so that it may be published."""


@dataclass(frozen=True, slots=True)
class Privacy:
    """Checked answers to what a build may tell."""

    mode: str
    floor: int  # owners of every row; 0: nobody is asked
    min_documents: int
    spelling_documents: int
    group_column: str | None = None
    masks: Masks | None = None
    denied: tuple[str, ...] = ()  # as they were given

    def facts(self, masked: Mapping[str, int]) -> dict[str, Any]:
        """The entry of the manifest. Of the names that were denied it has the number: a hash of a short list could be guessed."""
        if self.masks is None:
            return {"mode": self.mode}
        return {
            "mode": self.mode,
            "min_documents": self.floor,
            "unit": "document" if self.group_column is None else "group",
            "masked": {kind: masked[kind] for kind in KINDS},
            "denied": len(self.masks.names),
        }


def asked(
    mode: str, *, min_documents: int | None, spelling_documents: int | None, group_column: str | None, deny: Iterable[str]
) -> Privacy:
    """The settings of a build.

    Raises:
        ValueError: of no meaning, or less than what may be published.
    """
    deny = tuple(name for name in ((deny,) if isinstance(deny, str) else deny) if name.strip())
    for name in deny:
        if not canonical(name):
            raise ValueError(f"{name!r} is to be denied (--deny) and has neither letter nor digit to be known by; leave it out")
    if mode not in MODES:
        raise ValueError(
            f'privacy {mode!r} is not known; use "publish", or "none" for what stays with you, or "public-corpus" for texts that everybody '
            "can read anyway"
        )
    if mode != "publish":
        if group_column is not None or deny:
            raise ValueError(
                f"a group column and denied names are of use only to a profile that hides something, and privacy {mode} was asked for; "
                "leave them out, or build with privacy publish"
            )
        least = 1 if min_documents is None else min_documents
        return Privacy(mode, 0, least, least if spelling_documents is None else spelling_documents)
    least = LEAST_DOCUMENTS if min_documents is None else min_documents
    told = least if spelling_documents is None else spelling_documents
    if min(least, told) < LEAST_DOCUMENTS:
        raise ValueError(
            f"a profile that may be published tells nothing that fewer than {LEAST_DOCUMENTS} documents have, and {min(least, told)} was "
            f"asked for; ask for {LEAST_DOCUMENTS} or more (min_documents, spelling_documents), or for privacy none (`--privacy none`), "
            "which the manifest records, if the profile stays with you"
        )
    return Privacy(mode, least, least, told, group_column, Masks(deny), deny)


def budget_of(mode: str, epsilon: float | None, delta: float | None, asks: Mapping[str, Any]) -> tuple[float, float]:
    """(epsilon, delta) of a build, if nothing else was asked for that goes against them.

    Raises:
        ValueError: of no meaning, or beside what tells more than they allow.
        ImportError: OpenDP is missing.
    """
    if epsilon is None:
        raise ValueError("delta was given without epsilon; give both, or neither (--epsilon, --delta)")
    against = [name for name, value in asks.items() if value is not None] + ([f"privacy {mode}"] if mode != "publish" else [])
    if against:
        raise ValueError(
            f"with epsilon, {', '.join(against)} cannot be had: thresholds take the place of floors, and tokens, limits of rows, parts and "
            "other segmenters would tell or keep what is not accounted for; leave them out"
        )
    chosen = DELTA if delta is None else delta
    check(epsilon, chosen)
    return epsilon, chosen


def said_of_names(private: Privacy, counted: Counted, left_out: Mapping[int, int]) -> list[str]:
    """What the user should know of the names that were to be masked: not for the manifest."""
    if private.masks is None or not private.denied:
        return []
    said = []
    unseen = private.masks.unseen(private.denied, counted.masked)
    if unseen:
        said.append(
            f"warning: no text has {listed(unseen)}, to be masked (--deny): {len(unseen):,} of {len(private.denied):,} names; is each "
            "spelt as the texts have it?"
        )
    if left_out:
        names = sorted(private.masks.names[name] for name in left_out)
        said.append(f"warning: rows of tables in which {listed(names)} can be read are left out: {sum(left_out.values()):,}")
    return said
