"""Parts of a profile on disk: written whole or not at all, mapped into memory when read, or packed and read when they are asked for."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dft_stats.build.events import STREAM_FLAGS, Part
from dft_stats.build.scan import OPENS
from dft_stats.build.tally import Rows
from dft_stats.counts import Exposure

FORMAT = 8  # raise it with every change of what a part holds
GROUP = "group.json"
SHARD, SAMPLE = "shard.json", "sample.parquet"
"""In the folder of a shard: its characters, number of parts, and faults; a sample of its documents, until its group has one."""
_DONE = "part.json"
_ABANDONED = 24 * 3600  # seconds: a shard, or a group of them, takes minutes
_SIZES = "sizes.json"  # of each file, by its path
_STREAM, _VOCABULARY = "stream.parquet", "vocabulary.parquet"
ARRAYS = tuple(array.name for array in fields(Rows) if array.name != "left_out")


def write_part(part: Part, folder: Path) -> None:
    """Write a part into a new folder."""
    folder.mkdir(parents=True)
    _, offsets, data = part.vocabulary.buffers()
    ends = np.frombuffer(offsets, np.int64)[: len(part.vocabulary) + 1]
    np.save(folder / "offsets.npy", ends)
    np.save(folder / "letters.npy", np.frombuffer(data or b"", np.uint8)[: ends[-1]])  # behind that lies whatever memory held before
    np.save(folder / "stream.npy", part.stream)
    if part.owners is not None:
        np.save(folder / "owners.npy", part.owners)
    for name, rows in part.texts.items():
        for array in ARRAYS:
            np.save(array_file(folder, name, array), _narrow(getattr(rows, array)))
    for name, table in part.numbers.items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", write_statistics=False)
    facts = {"exposure": asdict(part.exposure), "texts": list(part.texts), "numbers": list(part.numbers), "masked": dict(part.masked)}
    (folder / _DONE).write_text(json.dumps(facts))


def read_part(folder: Path) -> "AnyPart":
    """Map a part into memory, if it is not packed. Its tables of numbers are not read, see `number_files`."""
    facts = json.loads((folder / _DONE).read_text())
    given = facts["exposure"]
    windows, squares = ({int(window): number for window, number in given[name].items()} for name in ("windows", "squares"))
    exposure = Exposure(given["documents"], given["words"], given["sentences"], windows, squares)
    if (folder / _STREAM).is_file():
        return PackedPart(folder, exposure, facts["masked"])
    offsets, letters = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("offsets", "letters"))
    vocabulary = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(letters))
    stream = np.load(folder / "stream.npy", mmap_mode="r")
    return Part(exposure, vocabulary, stream, rows_of_part(folder), {}, _read_owners(folder), facts["masked"])


@dataclass(frozen=True, slots=True)
class PackedPart:
    """A `Part` without rows, of which the texts and their owners are read whenever they are asked for."""

    folder: Path
    exposure: Exposure
    masked: Mapping[str, int]
    numbers: Mapping[str, pa.Table] = field(default_factory=dict)

    @property
    def vocabulary(self) -> pa.LargeStringArray:
        """As of `Part`."""
        return _read_texts(self.folder / _VOCABULARY)

    @property
    def owners(self) -> NDArray[np.int64] | None:
        """As of `Part`."""
        return _read_owners(self.folder)

    @property
    def stream(self) -> NDArray[np.uint32]:
        """As of `Part`."""
        units: NDArray[np.uint32] = pq.read_table(self.folder / _STREAM, use_threads=False)["unit"].to_numpy()
        return units


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Texts that are spelt already, in a file, as a part of no document: text i is that of unit i, as a word and as a stretch."""

    path: Path
    exposure: Exposure = field(default_factory=Exposure)
    owners: None = None
    masked: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, pa.Table] = field(default_factory=dict)

    @property
    def vocabulary(self) -> pa.LargeStringArray:
        """(texts,)."""
        return _read_texts(self.path)

    @property
    def stream(self) -> NDArray[np.uint32]:
        """(texts,), each of which begins a document, so that no stretch goes on behind it."""
        return (np.arange(pq.read_metadata(self.path).num_rows, dtype=np.uint32) << np.uint32(STREAM_FLAGS)) | np.uint32(OPENS)


AnyPart = Part | PackedPart | Lexicon


def write_texts(texts: pa.LargeStringArray, path: Path) -> None:
    """Write texts packed."""
    table = pa.table({"text": texts.view(pa.large_binary())})  # bytes: nobody looks whether they are UTF-8
    pq.write_table(table, path, compression="zstd", compression_level=1, use_dictionary=False, write_statistics=False)


def _read_owners(folder: Path) -> NDArray[np.int64] | None:
    return np.load(folder / "owners.npy") if (folder / "owners.npy").is_file() else None


def _read_texts(path: Path) -> pa.LargeStringArray:
    return pq.read_table(path, use_threads=False)["text"].combine_chunks().view(pa.large_string())


def pack(folder: Path) -> None:
    """Keep the texts of a part in less than half of the bytes. Does no harm if done before, or half done."""
    if (folder / "stream.npy").is_file():
        _pack(read_part(folder), folder)
    if (folder / _STREAM).is_file():
        for name in ("stream", "letters", "offsets"):
            (folder / f"{name}.npy").unlink(missing_ok=True)


def _pack(part: AnyPart, folder: Path) -> None:
    texts, stream = folder / f".{_VOCABULARY}", folder / f".{_STREAM}"
    write_texts(part.vocabulary, texts)
    units = pa.table({"unit": part.stream})
    pq.write_table(units, stream, compression="zstd", compression_level=1, use_dictionary=False, use_byte_stream_split=True)
    os.replace(texts, folder / _VOCABULARY)
    os.replace(stream, folder / _STREAM)  # last: a part that has it is read from both


def rows_of_part(folder: Path) -> "MappedRows":
    """The tables of texts of a part."""
    return MappedRows(folder, json.loads((folder / _DONE).read_text())["texts"])


@dataclass(frozen=True, slots=True)
class MappedRows(Mapping[str, Rows]):
    """Tables of texts that are mapped into memory when they are asked for: the system has a limit on maps."""

    folder: Path
    names: Sequence[str]  # of the tables

    def __getitem__(self, name: str) -> Rows:
        # Plain arrays: slices of memory maps cost more.
        arrays: dict[str, Any] = {array: np.asarray(np.load(array_file(self.folder, name, array), mmap_mode="r")) for array in ARRAYS}
        return Rows(**arrays)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def array_file(folder: Path, name: str, array: str) -> Path:
    """Where an array of a table of texts lies."""
    return folder / f"{name.replace('/', '-')}.{array}.npy"


def part_folders(shard: Path) -> list[Path]:
    """The parts of a shard, in their order."""
    return [shard / str(number + 1) for number in range(json.loads((shard / SHARD).read_text())["parts"])]


def drop_rows(folder: Path) -> None:
    """Delete the tables of texts of a part; all else stays. Does no harm if done before, or half done."""
    for name in json.loads((folder / _DONE).read_text())["texts"]:
        for array in ARRAYS:
            array_file(folder, name, array).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Delete a folder: at once it is no longer seen, in a while gone. With it what is left of others of its name, see `sweep`."""
    if folder.exists():
        gone = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        os.replace(folder, gone / folder.name)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Delete what is left of folders of this name that a process was writing or deleting when it was killed."""
    for left in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)


def sweep_abandoned(folder: Path) -> None:
    """Delete drafts that nobody has written to for a day. Others may be those of another build that counts into the same folder."""
    for left in folder.glob(".*-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


def number_files(folders: Iterable[Path], name: str) -> list[str]:
    """The tables of one statistic of numbers."""
    return [str(folder / f"{name}.parquet") for folder in folders]


class Draft:
    """A folder that comes into being whole: `with Draft(target) as draft: ...` fills `draft` and moves it to `target`."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> Path:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.draft = Path(tempfile.mkdtemp(prefix=f".{self.target.name}-", dir=self.target.parent))
        return self.draft

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None and not self.target.exists():
            note_sizes(self.draft)
            try:
                os.replace(self.draft, self.target)
                return
            except OSError:
                if not self.target.exists():  # otherwise another process was first, with the same content
                    raise
        shutil.rmtree(self.draft, ignore_errors=True)


def note_sizes(folder: Path) -> None:
    """Write down what a folder holds, for `is_whole`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (_SIZES, f".{_SIZES}")]
    draft = folder / f".{_SIZES}"
    draft.write_text(json.dumps({str(path.relative_to(folder)): path.stat().st_size for path in files}))
    os.replace(draft, folder / _SIZES)


def is_whole(folder: Path, *, is_in_group: bool = False) -> bool:
    """Whether a folder that was a `Draft` is there with all of its files, in their sizes.

    After a crash of the machine, or in a copy that was cut short, files may be empty or lack their ends, under their right names.

    Args:
        folder: of a shard or group.
        is_in_group: it is a shard of which a group has the rows, so that they, and the sample, may be deleted already.
    """
    try:
        sizes: dict[str, int] = json.loads((folder / _SIZES).read_text())
    except (OSError, ValueError):
        return False
    if not is_in_group and not (folder / SAMPLE).is_file():  # so its rows are gone as well, and what is left is as it should be
        return False
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            if not (is_in_group and (path.suffix == ".npy" or path.name == SAMPLE)):
                return False
        elif path.stat().st_size != size:
            return False
    return True


def _narrow(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Half the size where nothing is lost."""
    fits = numbers.dtype == np.int64 and numbers.max(initial=0) < 1 << 31
    return numbers.astype(np.int32) if fits else numbers
