"""Parts of a profile on disk: written whole or not at all, mapped into memory when read."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dft_stats.build.events import Part
from dft_stats.build.tally import Rows
from dft_stats.counts import Exposure

FORMAT = 4  # raise it with every change of what a part holds
SHARD, SAMPLE = "shard.json", "sample.parquet"
"""In the folder of a shard: its characters, number of parts, and faults; a sample of its documents, until its group has one."""
_DONE = "part.json"
ARRAYS = tuple(field.name for field in fields(Rows) if field.name != "left_out")


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
        for field in ARRAYS:
            np.save(array_file(folder, name, field), _narrow(getattr(rows, field)))
    for name, table in part.numbers.items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", write_statistics=False)
    facts = {"exposure": asdict(part.exposure), "texts": list(part.texts), "numbers": list(part.numbers), "masked": dict(part.masked)}
    (folder / _DONE).write_text(json.dumps(facts))


def read_part(folder: Path) -> Part:
    """Map a part into memory. Its tables of numbers are not read, see `number_files`."""
    facts = json.loads((folder / _DONE).read_text())
    offsets, letters = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("offsets", "letters"))
    vocabulary = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(letters))
    given = facts["exposure"]
    windows, squares = ({int(window): number for window, number in given[name].items()} for name in ("windows", "squares"))
    exposure = Exposure(given["documents"], given["words"], given["sentences"], windows, squares)
    owners = np.load(folder / "owners.npy") if (folder / "owners.npy").is_file() else None
    stream = np.load(folder / "stream.npy", mmap_mode="r")
    return Part(exposure, vocabulary, stream, rows_of_part(folder), {}, owners, facts["masked"])


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
        arrays: dict[str, Any] = {field: np.asarray(np.load(array_file(self.folder, name, field), mmap_mode="r")) for field in ARRAYS}
        return Rows(**arrays)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def array_file(folder: Path, name: str, field: str) -> Path:
    """Where an array of a table of texts lies."""
    return folder / f"{name.replace('/', '-')}.{field}.npy"


def part_folders(shard: Path) -> list[Path]:
    """The parts of a shard, in their order."""
    return [shard / str(number + 1) for number in range(json.loads((shard / SHARD).read_text())["parts"])]


def drop_rows(folder: Path) -> None:
    """Delete the tables of texts of a part; all else stays. Does no harm if done before, or half done."""
    for name in json.loads((folder / _DONE).read_text())["texts"]:
        for field in ARRAYS:
            array_file(folder, name, field).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Delete a folder: at once it is no longer seen, in a while gone."""
    if folder.exists():
        gone = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        os.replace(folder, gone / folder.name)
        shutil.rmtree(gone, ignore_errors=True)


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
            try:
                os.replace(self.draft, self.target)
                return
            except OSError:
                if not self.target.exists():  # otherwise another process was first, with the same content
                    raise
        shutil.rmtree(self.draft, ignore_errors=True)


def _narrow(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Half the size where nothing is lost."""
    fits = numbers.dtype == np.int64 and numbers.max(initial=0) < 1 << 31
    return numbers.astype(np.int32) if fits else numbers
