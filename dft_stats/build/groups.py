"""Groups of shards, added up while the corpus is still being counted, so that the disk has to hold the rows of a few shards alone.

The rows of a shard take ten times the bytes of its text, and most are n-grams that occur once in it. A group is some shards whose rows
become one folder of rows, written whole or not at all; n-grams that occur once in the group are forgotten there, all but their number, and
then the rows of its shards are deleted, and their samples, for which the group has one. What else shards have stays: texts of kept rows are
spelt from it, and owners counted.

Which shards share a group follows from the files, not from how the work is done. While a group lies on disk, its shards have no rows; so
a plan that groups them in another way, or not at all, counts them again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dft_stats.build import shards as sizes
from dft_stats.build.hashing import Hashes
from dft_stats.build.parts import SAMPLE, SHARD, Draft, discard, drop_rows, part_folders, rows_of_part
from dft_stats.build.row_files import StoredRows, write_rows
from dft_stats.build.sample import Sample
from dft_stats.build.shards import Shard, Texts
from dft_stats.build.sums import Numbers, Source, added
from dft_stats.counts import WINDOWS
from dft_stats.errors import CorpusError
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
    members = sorted(set(members))
    parts = [part for key in members for part in part_folders(folder / key)]
    if not target.exists():
        for draft in target.parent.glob(f".{target.name}-*"):  # of a process that was killed
            shutil.rmtree(draft, ignore_errors=True)
        sample, names = Sample(), list(rows_of_part(parts[0])) if parts else []
        for key in members:
            sample.read(folder / key / SAMPLE)
        with Draft(target) as draft:
            with ThreadPoolExecutor(threads) as pool:
                tables = pool.map(lambda name: _write(name, parts, draft, memory // threads), names)
                facts = {"members": members, "tables": dict(zip(names, tables, strict=True))}
            sample.write(draft / SAMPLE)
            (draft / _DONE).write_text(json.dumps(facts))
    for part in parts:
        drop_rows(part)
    for key in members:
        (folder / key / SAMPLE).unlink(missing_ok=True)


def _write(name: str, parts: Sequence[Path], folder: Path, memory: int) -> dict[str, Any]:
    """Write the sum of one table; return what its file is read by, and how many rows are forgotten."""
    forgotten, tables = 0, [rows_of_part(part)[name] for part in parts]
    sources = [Source({name: table}, number) for number, table in enumerate(tables)]
    most = sum(max(int(table.counts.max(initial=0)), max(WINDOWS)) for table in tables)  # that a sum can be, or more

    def ranges() -> Iterator[tuple[Hashes, NDArray[np.uint64], Numbers]]:
        nonlocal forgotten
        for key, place, counts, dropped in added(name, sources, memory, drops_singles=name.startswith(f"{NGRAM_FREQUENCY.name}/")):
            forgotten += dropped
            rising = np.argsort(key, kind="stable")  # of one source, singles are behind the others
            yield key[rising], place[rising], counts[rising]

    first = write_rows(_file(folder, name), ranges(), most=most)
    return {"first": first, "left_out": [[1, forgotten]] if forgotten else []}


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '-')}.parquet"


def group_rows(folder: Path, members: Collection[str]) -> Mapping[str, StoredRows]:
    """The tables of a group, places counted from the first part of its first member."""
    path = folder / _FOLDER / _key(members)
    tables = json.loads((path / _DONE).read_text())["tables"]
    return {
        name: StoredRows(_file(path, name), np.array(facts["first"], np.uint64), np.array(facts["left_out"], np.int64).reshape(-1, 2))
        for name, facts in tables.items()
    }


def check_rows(folder: Path, members: Collection[str], *, is_group: bool) -> None:
    """Raise an error if shards have no rows, being in another group on disk: of texts at hand, which cannot be read again, no one knew."""
    if is_group and (folder / _FOLDER / _key(members)).exists():
        return
    if any((folder / key / SHARD).is_file() and not (folder / key / SAMPLE).is_file() for key in members):
        raise CorpusError(
            f"{folder.parent} has some of these texts added up with others, or for another size (--forget), and texts that are at hand are "
            "read once. Give another folder for parts (--parts), or the texts as files"
        )


def read_group_sample(folder: Path, members: Collection[str], sample: Sample) -> None:
    """Take the sample of a group's documents into account."""
    sample.read(folder / _FOLDER / _key(members) / SAMPLE)


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
