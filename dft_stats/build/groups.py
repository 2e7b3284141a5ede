"""Which shards are added up together while the corpus is still being counted, and which of these sums again: a tree of groups.

Which shards share a group follows from the files, not from how the work is done, so that a file more or less changes its own group alone.
Groups of groups take less of the disk, since a row that many have is in them once; but there a file more or less changes all that is in the
highest group that holds it. So they are for work of which nothing is to be used again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from dft_stats.build import shards as sizes
from dft_stats.build.shards import Shard, Texts

FEWEST, MOST = 4, 12
"""Groups that a group of groups holds: so many, seven on the mean."""


@dataclass(frozen=True, slots=True)
class Group:
    """Shards that are added up, or groups that are."""

    members: tuple[str, ...]  # keys of its shards, in the order of their parts
    mark: int  # of its last shard, as good as random
    groups: tuple["Group", ...] = ()  # that it is the sum of; none: of shards

    @property
    def key(self) -> str:
        """Hash of what it is made of: of shards, or of groups, which is not the same."""
        made_of = ["groups", *(group.key for group in self.groups)] if self.groups else sorted(self.members)
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]

    def all(self) -> Iterator["Group"]:
        """It, and all groups in it."""
        yield self
        for group in self.groups:
            yield from group.all()


class Tree:
    """Groups of the shards that pass by, groups of these, and so on.

    Args:
        size: bytes of text of a group of shards, half to three halves of it, about; None: there are no groups.
        is_deep: whether there are groups of groups.
    """

    def __init__(self, size: int | None, *, is_deep: bool) -> None:
        self._size, self._is_deep, self._total = size, is_deep, 0
        self.rest: list[str] = []  # keys of shards that fill no group
        self._levels: list[list[Group]] = []

    def add(self, shard: Shard | Texts) -> list[Group]:
        """Take the next shard; returns the groups that end with it: one of shards, one that this one ends, and so on."""
        self.rest.append(shard.key)
        self._total += shard.size
        if self._size is None or not _is_last(shard, self._total, self._size):
            return []
        found = [Group(tuple(sorted(set(self.rest))), _mark(shard))]
        self.rest, self._total = [], 0
        for level in count():
            self._levels += [[]] if level == len(self._levels) else []
            own = self._levels[level]
            own.append(found[-1])
            if not self._is_deep or not _is_full(own, level):
                break
            found.append(Group(tuple(key for group in own for key in group.members), own[-1].mark, tuple(own)))
            own.clear()
        return found

    @property
    def groups(self) -> list[Group]:
        """Those that are in no other, in the order of the corpus."""
        return [group for level in reversed(self._levels) for group in level]


def planned(shards: Iterable[Shard | Texts], size: int | None, *, is_deep: bool) -> Tree:
    """The tree of all shards."""
    tree = Tree(size, is_deep=is_deep)
    for shard in shards:
        tree.add(shard)
    return tree


def leaves(groups: Sequence[Group]) -> list[Group]:
    """The groups of shards among them and in them, in the order of the corpus."""
    return [own for group in groups for own in group.all() if not own.groups]


def _mark(shard: Shard | Texts) -> int:
    """Hash of a shard's name and size: of its last file alone, lest another file changes where groups end."""
    last = None if isinstance(shard, Texts) else shard.pieces[-1]
    name = [shard.key] if last is None else [os.path.basename(last.path), last.begin, last.end, shard.size]
    return int.from_bytes(hashlib.sha256(json.dumps(name).encode()).digest()[:8], "big")


def _is_full(groups: Sequence[Group], level: int) -> bool:
    """Whether groups become one: for the name of the last shard to say, or their number."""
    return len(groups) == MOST or (len(groups) >= FEWEST and (groups[-1].mark >> (32 + 2 * level)) % 4 == 0)


def _is_last(shard: Shard | Texts, total: int, size: int) -> bool:
    """Whether a group of so many bytes ends with a shard: for its name to say, or the size of the group, one half to three halves."""
    return total >= size + size // 2 or (total >= size // 2 and _mark(shard) % max(1, size // (2 * sizes.SHARD_BYTES)) == 0)
