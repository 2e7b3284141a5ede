"""Parts of a profile on disk: written whole or not at all, mapped into memory when read."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dft_stats.build.events import Part
from dft_stats.build.tally import Rows
from dft_stats.counts import Exposure

FORMAT = 3  # raise it with every change of what a part holds
_DONE = "part.json"
_ARRAYS = [field.name for field in fields(Rows) if field.name != "left_out"]


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
        for field in _ARRAYS:
            np.save(folder / f"{_slug(name)}.{field}.npy", _narrow(getattr(rows, field)))
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
    stream, texts = np.load(folder / "stream.npy", mmap_mode="r"), _Mapped(folder, tuple(facts["texts"]))
    return Part(exposure, vocabulary, stream, texts, {}, owners, facts["masked"])


@dataclass(frozen=True, slots=True)
class _Mapped(Mapping[str, Rows]):
    """Tables of texts that are mapped into memory when they are asked for: the system has a limit on maps."""

    folder: Path
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> Rows:
        files = [self.folder / f"{_slug(name)}.{field}.npy" for field in _ARRAYS]
        arrays: list[Any] = [np.asarray(np.load(file, mmap_mode="r")) for file in files]  # plain: slices of memory maps cost more
        return Rows(*arrays)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


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


def _slug(name: str) -> str:
    return name.replace("/", "-")


def _narrow(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Half the size where nothing is lost."""
    fits = numbers.dtype == np.int64 and numbers.max(initial=0) < 1 << 31
    return numbers.astype(np.int32) if fits else numbers
