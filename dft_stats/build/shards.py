"""A corpus as shards: stretches of files, each counted for itself, each known by what it is made of.

A shard is the unit of work, of resuming and of reuse. Which files share one follows from the files themselves, so that a file more or less
changes its own shard alone. A file that changed (another size or time) is another one.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from dft_stats.build.corpus import batched
from dft_stats.build.formats import Faults, Piece, Signed, file_kind, from_pieces, is_remote, open_parquet, text_column
from dft_stats.errors import CorpusError

SHARD_BYTES = 16_000_000
"""Of text, about: a file or row group that is larger is one shard nevertheless. What counting looks at stays near, and processes share
the work evenly."""
_CUT = 64  # one small file in so many ends a shard


@dataclass(frozen=True, slots=True)
class Shard:
    """Stretches of files."""

    pieces: tuple[Piece, ...]
    states: tuple[tuple[str, str], ...]  # (path, state) of each file when it was planned
    size: int  # bytes on disk, about

    @property
    def key(self) -> str:
        """Hash of what it is made of."""
        files = zip(self.pieces, self.states, strict=True)
        made_of = [[_absolute(piece.path), piece.begin, piece.end, state] for piece, (_, state) in files]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]

    def batches(self, column: str | None, characters: int, faults: Faults, *, group: str | None = None) -> Iterator[list[str]]:
        """Its texts; `Signed` if there is a column of groups.

        Raises:
            CorpusError: what `formats` finds, or a file changed since the shard was planned.
        """
        yield from batched(from_pieces(self.pieces, column, faults, group=group), characters)
        for path, state in self.states:
            if state_of(path) != state:
                raise CorpusError(f"{path} changed while the corpus was being read; build again, what has not changed is not counted again")


@dataclass(frozen=True)
class Texts:
    """A shard of texts that are at hand."""

    texts: Sequence[str]
    number: int

    @property
    def size(self) -> int:
        """Characters."""
        return sum(map(len, self.texts))

    @cached_property
    def key(self) -> str:
        """Hash of the texts, of whose they are, and of their place among the others: the same texts twice are counted twice."""
        digest = hashlib.sha256(str(self.number).encode())
        for text in self.texts:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(f"{len(data)} {text.owner if isinstance(text, Signed) else None};".encode())
            digest.update(data)
        return digest.hexdigest()[:32]

    def batches(self, column: str | None, characters: int, faults: Faults, *, group: str | None = None) -> Iterator[list[str]]:
        """Its texts."""
        if self.texts:
            yield list(self.texts)


def state_of(path: str) -> str:
    """What changes when a file does: size and time, or what its store says of it."""
    try:
        if is_remote(path):
            import fsspec

            system, inner = fsspec.core.url_to_fs(path)
            return str(system.ukey(inner))
        found = os.stat(path)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror or error}") from error
    return f"{found.st_size}-{found.st_mtime_ns}"


def plan(files: Iterable[str], column: str | None, faults: Faults, *, group: str | None = None) -> Iterator[Shard]:
    """The shards of files, in the order of their paths."""
    small: list[tuple[str, str, int]] = []
    for path in sorted(files):
        state, size = state_of(path), _size(path)
        kind = file_kind(path)
        assert kind is not None
        if kind == ("parquet", ""):
            try:
                with open_parquet(path) as file:
                    name = text_column(file, path, column, group)
                    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
                    index = file.schema_arrow.get_field_index(name)
                    sizes = [group.column(index).total_uncompressed_size for group in groups]
            except (OSError, pa.ArrowException) as error:
                reason = str(error).partition("\n")[0]
                said = f"{path} is damaged or cut short: {reason}; copy or make it again"
                faults.meet("damaged or cut short: the rest of the file", said, error)
                continue
            bounds = list(_bounds(sizes))
        elif kind == ("lines", "") and size > 2 * SHARD_BYTES and not is_remote(path):
            bounds = [(begin, min(begin + SHARD_BYTES, size), SHARD_BYTES) for begin in range(0, size, SHARD_BYTES)]
        else:
            bounds = [(0, None, size)]
        if len(bounds) == 1 and bounds[0][2] < SHARD_BYTES // 4:
            small.append((path, state, bounds[0][2]))
        else:
            yield from (Shard((Piece(path, begin, end),), ((path, state),), share) for begin, end, share in bounds)
    yield from _together(small)


def _absolute(path: str) -> str:
    return path if is_remote(path) else os.path.abspath(path)


def _size(path: str) -> int:
    if not is_remote(path):
        return os.path.getsize(path)
    import fsspec

    system, inner = fsspec.core.url_to_fs(path)
    return int(system.size(inner) or 0)


def _bounds(sizes: Sequence[int]) -> Iterator[tuple[int, int | None, int]]:
    """(first, behind, size) of runs of row groups, each of `SHARD_BYTES` or a little more but the last."""
    begin = total = 0
    for i, size in enumerate(sizes):
        total += size
        if total >= SHARD_BYTES or i + 1 == len(sizes):
            yield begin, i + 1, total
            begin, total = i + 1, 0


def _together(small: Sequence[tuple[str, str, int]]) -> Iterator[Shard]:
    """Shards of small files; where one ends is for the hash of a file's name to say, or its size."""
    group: list[tuple[str, str, int]] = []
    total = 0
    for path, state, size in small:
        group.append((path, state, size))
        total += size
        ends = hashlib.sha256(os.path.basename(path).encode()).digest()[0] % _CUT == 0 and total >= SHARD_BYTES // 4
        if ends or total >= 2 * SHARD_BYTES:
            yield _of(group)
            group, total = [], 0
    if group:
        yield _of(group)


def _of(group: Sequence[tuple[str, str, int]]) -> Shard:
    paths, states, sizes = zip(*group, strict=True)
    return Shard(tuple(map(Piece, paths)), tuple(zip(paths, states, strict=True)), sum(sizes))
