"""Groups of shards, added up while the corpus is still being counted, so that the disk has to hold the rows of a few shards alone.

The rows of a shard take ten times the bytes of its text, and most are n-grams that occur once in it. A group is some shards whose rows
become one folder of rows, written whole or not at all; n-grams that occur once in the group are forgotten there, all but their number, and
then the rows of its shards are deleted. What else shards have stays: texts of kept rows are spelt from it, and owners counted.

Which shards share a group follows from the files, not from how the work is done. While a group lies on disk, its shards have no rows; so
a plan that groups them in another way, or not at all, counts them again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from dft_stats.build import shards as sizes
from dft_stats.build.parts import ARRAYS, SHARD, Draft, MappedRows, array_file, discard, drop_rows, growing, part_folders, rows_of_part
from dft_stats.build.shards import Shard, Texts
from dft_stats.build.sums import Source, added
from dft_stats.build.tally import Rows
from dft_stats.counts import COUNTS, WINDOWS
from dft_stats.statistics import NGRAM_FREQUENCY

_FOLDER, _DONE = "groups", "group.json"


class Group:
    """Shards that pass by until one ends their group."""

    def __init__(self, shards: Iterator[Shard | Texts], size: int | None) -> None:
        self._shards, self._size = shards, size
        self.members: list[str] = []  # keys
        self.is_full = False  # otherwise there were no more shards

    def __iter__(self) -> Iterator[Shard | Texts]:
        total = 0
        for shard in self._shards:
            self.members.append(shard.key)
            total += shard.size
            self.is_full = self._size is not None and _ends(shard, total, self._size)
            yield shard
            if self.is_full:
                return


def _ends(shard: Shard | Texts, total: int, size: int) -> bool:
    """Whether a group of so many bytes ends with a shard: for the name of its last file to say, or its size, one half to three halves."""
    last = None if isinstance(shard, Texts) else shard.pieces[-1]
    name = [shard.key] if last is None else [os.path.basename(last.path), last.begin, last.end, shard.size]
    number = int.from_bytes(hashlib.sha256(json.dumps(name).encode()).digest()[:8], "big")
    return total >= size + size // 2 or (total >= size // 2 and number % max(1, size // (2 * sizes.SHARD_BYTES)) == 0)


def planned_groups(shards: Iterable[Shard | Texts], size: int | None) -> list[list[str]]:
    """Keys of the members of each group that is full; of the shards that are left over there is none."""
    passing, found = iter(shards), list[list[str]]()
    while True:
        group = Group(passing, size)
        for _ in group:
            pass
        if not group.is_full:
            return found
        found.append(group.members)


# --- on disk ----------------------------------------------------------------------------------------------------------------------


def add_group(folder: Path, members: Collection[str], memory: int, *, threads: int = 1) -> None:
    """Add up the rows of shards, and delete them. Goes on where it was interrupted, and does nothing twice.

    Args:
        folder: where the shards lie, and their group will.
        members: keys of the shards.
        memory: bytes, for rows that are being added up.
        threads: tables that are added up at a time.
    """
    target = folder / _FOLDER / _key(members)
    parts = [part for key in sorted(set(members)) for part in part_folders(folder / key)]
    if not target.exists():
        for draft in target.parent.glob(f".{target.name}-*"):  # of a process that was killed
            shutil.rmtree(draft, ignore_errors=True)
        sources = [Source(rows_of_part(part), number) for number, part in enumerate(parts)]
        names = list(sources[0].texts) if sources else []
        with Draft(target) as draft:
            with ThreadPoolExecutor(threads) as pool:
                forgotten = list(pool.map(lambda name: _write(name, sources, draft, memory // threads), names))
            left_out = {name: [[1, number]] if number else [] for name, number in zip(names, forgotten, strict=True)}
            (draft / _DONE).write_text(json.dumps({"members": sorted(set(members)), "left_out": left_out}))
    for part in parts:
        drop_rows(part)


def _write(name: str, sources: Sequence[Source], folder: Path, memory: int) -> int:
    """Write the sum of one table; return how many rows are forgotten."""
    forgotten = 0
    most = sum(max(int(source.texts[name].counts.max(initial=0)), max(WINDOWS)) for source in sources)  # that a sum can be, or more
    kinds = {"unit": np.uint64, "counts": np.uint32 if most < 1 << 32 else np.int64, "single_unit": np.uint64, "single_words": np.uint16}
    widths = {"counts": (len(COUNTS),), "single_words": (len(WINDOWS),)}
    with ExitStack() as files:
        append = [
            files.enter_context(growing(array_file(folder, name, field), np.dtype(kinds.get(field, np.uint64)), widths.get(field, ())))
            for field in ARRAYS
        ]
        for key, place, counts, dropped in added(name, sources, memory, drops_singles=name.startswith(f"{NGRAM_FREQUENCY.name}/")):
            forgotten += dropped
            once = counts[:, 0] == 1
            columns = key[~once], place[~once], counts[~once], key[once], place[once], counts[once][:, [3, 5]]
            for write, column in zip(append, columns, strict=True):
                write(column)
    return forgotten


def group_rows(folder: Path, members: Collection[str]) -> Mapping[str, Rows]:
    """The tables of a group, places counted from the first part of its first member."""
    path = folder / _FOLDER / _key(members)
    return MappedRows(path, json.loads((path / _DONE).read_text())["left_out"])


def useless(folder: Path, shards: Collection[str], groups: Sequence[Collection[str]]) -> dict[Path, list[str]]:
    """Groups on disk whose members a plan needs, but in another group or in none; and their members, which have no rows.

    Args:
        folder: where shards and groups lie.
        shards: keys of all shards of the plan.
        groups: members of its groups.
    """
    planned, needed, found = {_key(members) for members in groups}, set(shards), {}
    for path in (folder / _FOLDER).glob("[!.]*"):
        members = json.loads((path / _DONE).read_text())["members"]
        is_whole = all((folder / member / SHARD).is_file() for member in members)
        if not needed.isdisjoint(members) and not (is_whole and path.name in planned):
            found[path] = members
    return found


def make_way(folder: Path, shards: Sequence[Shard | Texts], size: int | None) -> None:
    """Delete groups that a plan cannot use and their members, which are to be counted again."""
    for path, members in useless(folder, [shard.key for shard in shards], planned_groups(shards, size)).items():
        for member in members:  # before the group: a shard without rows is known by it
            discard(folder / member)
        discard(path)


def _key(members: Collection[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(set(members))).encode()).hexdigest()[:32]
