"""Groups of shards on disk, added up while the corpus is still being counted, so that the disk holds the rows of a few shards alone.

The rows of a shard take ten times the bytes of its text, and most are n-grams that occur once in it. A group of shards is one folder of
rows, written whole or not at all; n-grams that occur once in it are forgotten, all but their number, and then the rows of its shards are
deleted, and their samples, for which the group has one. What else shards have stays, and texts are packed: n-grams that are kept are spelt
from them, and owners counted. Words and stretches, which a group keeps all of, are spelt at once, while the texts of its shards are at
hand; later they would be looked for all over the corpus. A group of groups takes the place of these.

While a group lies on disk, its shards have no rows; so a plan that groups them in another way, or not at all, counts them again.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dft_stats.build.groups import Group, Tree
from dft_stats.build.hashing import Hashes
from dft_stats.build.order import spelt
from dft_stats.build.parts import (
    GROUP,
    SAMPLE,
    SHARD,
    AnyPart,
    Draft,
    Lexicon,
    discard,
    drop_rows,
    is_whole,
    note_sizes,
    pack,
    part_folders,
    read_part,
    rows_of_part,
    sweep,
    write_texts,
)
from dft_stats.build.places import WORDS_AND_STRETCHES, Read, Readable, units_of
from dft_stats.build.row_files import StoredRows, write_rows
from dft_stats.build.sample import Sample
from dft_stats.build.shards import Shard, Texts
from dft_stats.build.sums import Numbers, Source, added
from dft_stats.errors import CorpusError

_FOLDER = "groups"
_TEXTS = 1 << 18  # of a lexicon: of a range of keys little more than asked for is read
_NOTHING = Read(pa.array([], pa.large_string()), np.empty(0, np.uint32))
_32, _LOW = np.uint64(32), np.uint64((1 << 32) - 1)


def add_groups(folder: Path, groups: Iterable[Group], memory: int, *, threads: int = 1) -> None:
    """Add up groups, one after the other, and delete what they are the sums of. Goes on where it was interrupted, and does nothing twice.

    Args:
        folder: where the shards lie, and the groups will.
        groups: what is in one of them has rows of its own, or is before it.
        memory: bytes, for rows that are being added up.
        threads: tables that are added up at a time.

    Raises:
        CorpusError: some rows are in another group, which does not hold this one.
    """
    for group in groups:
        target = _path(folder, group)
        if not target.exists():
            if not _has_rows(folder, group):
                check_held(folder, group)
                continue
            sweep(target)
            with Draft(target) as draft:
                _write(folder, group, draft, memory, threads)
        for own in group.groups:
            discard(_path(folder, own))
        if not group.groups:
            for part in parts_of_shards(folder, group.members):
                drop_rows(part)
                pack(part)
            for key in group.members:
                if (folder / key / SAMPLE).is_file():
                    (folder / key / SAMPLE).unlink()
                    note_sizes(folder / key)


def _has_rows(folder: Path, group: Group) -> bool:
    """Whether what a group is the sum of has rows of its own."""
    if group.groups:
        return all(_path(folder, own).exists() for own in group.groups)
    return all((folder / key / SAMPLE).is_file() for key in group.members)


def _write(folder: Path, group: Group, draft: Path, memory: int, threads: int) -> None:
    sample, summands = Sample(), _summands(folder, group)
    for path in [_path(folder, own) for own in group.groups] or [folder / key for key in group.members]:
        sample.read(path / SAMPLE)
    sample.write(draft / SAMPLE)
    names = list(summands.sources[0].texts) if summands.sources else []
    in_turn = [[name for name in names if name in WORDS_AND_STRETCHES], *([name] for name in names if name not in WORDS_AND_STRETCHES)]
    lexicons, threads = count(), min(threads, len(in_turn))

    def add_up(own: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {name: _write_table(name, summands, draft, memory // threads, lexicons) for name in own}

    with ThreadPoolExecutor(threads) as pool:
        tables = {name: facts for own in pool.map(add_up, in_turn) for name, facts in own.items()}
    facts = {"members": group.members, "tables": tables, "lexicons": next(lexicons)}
    (draft / GROUP).write_text(json.dumps(facts))


@dataclass(frozen=True, slots=True)
class _Summands:
    """What a group is the sum of."""

    sources: Sequence[Source]
    parts: Sequence[Readable]  # that the rows of the sources are of; of shards in groups nothing, since they are not read
    number: NDArray[np.uint64]  # (parts,): which part of the group each is; of lexicons, for it has its own, nothing
    own: int  # parts of the group that are no lexicons


def _summands(folder: Path, group: Group) -> _Summands:
    if not group.groups:
        parts = parts_of_shards(folder, group.members)
        sources = [Source(rows_of_part(part), i) for i, part in enumerate(parts)]
        return _Summands(sources, [read_part(part) for part in parts], np.arange(len(parts), dtype=np.uint64), len(parts))
    sources, texts, numbers, size = list[Source](), list[Readable](), list[int](), 0
    for own in group.groups:
        tables, shards, lexicons = group_rows(folder, own), len(parts_of_shards(folder, own.members)), _lexicons(folder, own)
        sources += [Source(tables, len(texts))] if tables else []
        numbers += [*range(size, size + shards), *[0] * len(lexicons)]
        texts, size = [*texts, *[_NOTHING] * shards, *lexicons], size + shards
    return _Summands(sources, texts, np.array(numbers, np.uint64), size)


def _write_table(name: str, summands: _Summands, draft: Path, memory: int, lexicons: Iterator[int]) -> dict[str, Any]:
    """Write the sum of one table; return what its file is read by, and how many rows are forgotten.

    Args:
        name: of the table.
        summands: of the group.
        draft: folder of the group.
        memory: bytes, for rows that are being added up.
        lexicons: numbers of lexicons that are still free.
    """
    sources = [Source({name: source.texts[name]}, source.first) for source in summands.sources]  # mapped once
    tables = [source.texts[name] for source in sources]
    forgotten = sum(number for table in tables for _, number in table.left_out.tolist())  # before
    most = sum(table.most for table in tables)

    def ranges() -> Iterator[tuple[Hashes, NDArray[np.uint64], Numbers]]:
        nonlocal forgotten
        is_whole = name in WORDS_AND_STRETCHES
        for key, place, counts, dropped in added(name, sources, memory, drops_singles=not is_whole):
            forgotten += dropped
            rising = np.argsort(key, kind="stable")  # of one source, singles are behind the others
            place = place[rising]
            if not is_whole:
                place = (summands.number[place >> _32] << _32) | (place & _LOW)
            else:
                texts, number = spelt(summands.parts, place, units_of(name)), np.zeros(len(place), np.uint64)
                for begin in range(0, len(texts), _TEXTS):
                    number[begin:] = next(lexicons)
                    write_texts(texts.slice(begin, _TEXTS), _lexicon(draft, number[begin]))
                row = np.arange(len(place), dtype=np.uint64)
                place = ((summands.own + number) << _32) | (row % _TEXTS)
            yield key[rising], place, counts[rising]

    first, size = write_rows(_file(draft, name), ranges(), most=most)
    return {"first": first, "size": size, "forgotten": forgotten, "most": most}


def _path(folder: Path, group: Group) -> Path:
    return folder / _FOLDER / group.key


def _lexicon(folder: Path, number: int) -> Path:
    return folder / f"lexicon-{number}.parquet"


def _file(folder: Path, name: str) -> Path:
    return folder / name.replace("/", "-")


# --- what is there ----------------------------------------------------------------------------------------------------------------


def parts_of_shards(folder: Path, members: Iterable[str]) -> list[Path]:
    """Folders of the parts of shards, in their order."""
    return [part for key in members for part in part_folders(folder / key)]


def parts_of_group(folder: Path, group: Group) -> list[AnyPart]:
    """What the rows of a group are spelt from: the parts of its shards, and its lexicons."""
    return [*map(read_part, parts_of_shards(folder, group.members)), *_lexicons(folder, group)]


def _lexicons(folder: Path, group: Group) -> list[Lexicon]:
    path = _path(folder, group)
    return [Lexicon(_lexicon(path, number)) for number in range(json.loads((path / GROUP).read_text())["lexicons"])]


def group_rows(folder: Path, group: Group) -> Mapping[str, StoredRows]:
    """The tables of a group, places counted from the first of its `parts_of_group`; none if its shards have no parts."""
    path = _path(folder, group)
    tables = json.loads((path / GROUP).read_text())["tables"]
    return {
        name: StoredRows(
            _file(path, name), [np.array(keys, np.uint64) for keys in own["first"]], own["size"], own["forgotten"], own["most"]
        )
        for name, own in tables.items()
    }


def read_group_sample(folder: Path, group: Group, sample: Sample) -> None:
    """Take the sample of a group's documents into account."""
    sample.read(_path(folder, group) / SAMPLE)


def check_rows(folder: Path, groups: Iterable[Group], rest: Iterable[str]) -> None:
    """Raise an error if there are not the rows of groups, or of shards that are to have their own."""
    if not all(_path(folder, group).exists() for group in groups) or any(_is_without_rows(folder / key) for key in rest):
        raise _added_up_otherwise(folder)


def check_held(folder: Path, group: Group) -> None:
    """Raise an error if no group on disk holds this one."""
    for _, members in _on_disk(folder):
        if set(group.members) <= set(members):
            return
    raise _added_up_otherwise(folder)


def _added_up_otherwise(folder: Path) -> CorpusError:
    """Of texts at hand, which cannot be read again, no one knew."""
    return CorpusError(
        f"{folder.parent} has some of these texts added up with others, or for another size (--forget), and texts that are at hand are "
        "read once. Give another folder for parts (--parts), or the texts as files"
    )


def _on_disk(folder: Path) -> list[tuple[Path, list[str]]]:
    """Groups that are whole, and their members."""
    found = [path for path in sorted((folder / _FOLDER).glob("[!.]*")) if is_whole(path)]
    return [(path, json.loads((path / GROUP).read_text())["members"]) for path in found]


def shards_in_groups(folder: Path) -> frozenset[str]:
    """Keys of the shards of which a group on disk has the rows, or may have them."""
    return frozenset(member for _, members in _on_disk(folder) for member in members)


def _is_without_rows(shard: Path) -> bool:
    return (shard / SHARD).is_file() and not (shard / SAMPLE).is_file()


def useless(folder: Path, shards: Collection[str], groups: Iterable[Group]) -> dict[Path, list[str]]:
    """Groups on disk whose members a plan needs, but in another group or in none; and their members, which have no rows.

    Args:
        folder: where shards and groups lie.
        shards: keys of all shards of the plan.
        groups: of the plan that are in no other.
    """
    known, needed, lost = {own.key for group in groups for own in group.all()}, set(shards), set[str]()
    found, others = dict[Path, list[str]](), list[tuple[Path, list[str]]]()
    for path, members in _on_disk(folder):
        has_all = all((folder / member / SHARD).is_file() for member in members)
        if needed.isdisjoint(members) or (has_all and path.name in known):
            others.append((path, members))
        else:
            found[path] = members
            lost |= set(members)
    # One that was left beside the group that holds it goes with the shards of that.
    return found | {path: members for path, members in others if not lost.isdisjoint(members)}


def discard_damaged(folder: Path) -> None:
    """Delete damaged groups. Their shards have no rows then, and are damaged as well."""
    for path in (folder / _FOLDER).glob("[!.]*"):
        if not is_whole(path):
            discard(path)


def make_way(folder: Path, shards: Sequence[Shard | Texts], plan: Tree) -> None:
    """Delete groups that a plan of these shards cannot use and their members, which are to be counted again."""
    for path, members in useless(folder, [shard.key for shard in shards], plan.groups).items():
        for member in members:  # before the group: a shard without rows is known by it
            discard(folder / member)
        discard(path)
