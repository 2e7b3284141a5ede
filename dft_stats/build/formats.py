"""How the files of a corpus are read, one text after the other.

| ending | what is read |
|---|---|
| .txt .text .md .rst | the file is one text |
| .jsonl .ndjson | a line is an object with the text in a field, or a string; blank lines are skipped |
| .json | the same, but plain .json only where it is named itself: folders hold other things of that ending |
| .parquet | a row is a text |

All but Parquet may end in .gz or .zst, and are UTF-8. A null or missing field is no text and skipped, an empty text is one.
"""

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dft_stats.errors import CorpusError

KINDS = {
    **dict.fromkeys((".txt", ".text", ".md", ".rst"), "text"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "lines"),
    ".parquet": "parquet",
}
COMPRESSED = (".gz", ".zst")
READ = ".txt, .text, .md, .rst, .jsonl, .ndjson (each also .gz, .zst) and .parquet"
ROWS = 64  # of Parquet, decoded at once


def file_kind(path: str) -> tuple[str, str] | None:
    """(kind, compression) of a file by its name."""
    stem, ending = os.path.splitext(path.lower())
    packing = ending if ending in COMPRESSED else ""
    kind = KINDS.get(os.path.splitext(stem)[1] if packing else ending)
    return None if kind is None or (packing and kind == "parquet") else (kind, packing)


def from_files(paths: list[Path], column: str | None) -> Iterator[str]:
    """Texts of files of known kinds, one file after the other; `CorpusError` names the file and the place in it."""
    readers = {"text": _text, "lines": _lines, "parquet": _parquet}
    for path in paths:
        kind = file_kind(path.name)
        assert kind is not None
        try:
            yield from readers[kind[0]](path, kind[1], column)
        except (EOFError, zlib.error, OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.strerror:
                raise CorpusError(f"{path} cannot be read: {error.strerror}") from error
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise CorpusError(f"{path} is damaged or cut short: {reason}; copy or make it again") from error


def _open(path: Path, packing: str) -> IO[bytes]:
    if packing and not path.stat().st_size:
        raise EOFError("there is no byte in it")
    if packing == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return io.BufferedReader(pa.input_stream(str(path), compression="zstd"), 1 << 20) if packing else path.open("rb")


def _text(path: Path, packing: str, column: str | None) -> Iterator[str]:
    with _open(path, packing) as stream:
        yield _decoded(stream.read(), str(path))


def _lines(path: Path, packing: str, column: str | None) -> Iterator[str]:
    with _open(path, packing) as stream:
        yield from from_rows(_parsed(stream, path), column, str(path), "line")


def _parsed(stream: IO[bytes], path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(stream, start=1):
        text = _decoded(line, f"{path}, line {number}", is_first=number == 1)
        if not text.strip():
            continue
        try:
            yield number, json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise CorpusError(
                f"{path}, line {number} is not JSON ({reason}); each line must be an object or a string of its own"
            ) from error


def _decoded(data: bytes, where: str, *, is_first: bool = True) -> str:
    begin = 3 if is_first and data.startswith(b"\xef\xbb\xbf") else 0  # a byte-order mark
    try:
        return data[begin:].decode()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{where}: byte {error.start + begin} is not UTF-8; convert the file, as in `iconv -f WINDOWS-1252 -t UTF-8 FILE`"
        ) from error


def _parquet(path: Path, packing: str, column: str | None) -> Iterator[str]:
    # As Arrow opens it by itself, it reads ahead and keeps the column whole in memory.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        types = {field.name: field.type for field in file.schema_arrow}
        chosen = column or _only([name for name, type_ in types.items() if _is_string(type_)], list(types), str(path))
        if chosen not in types:
            raise CorpusError(f"{path} has no column {chosen!r}; it has {listed(types)}")
        if not _is_string(types[chosen]) and not pa.types.is_null(types[chosen]):
            raise CorpusError(f"{path}: the column {chosen!r} is of type {types[chosen]}, not of strings; it has {listed(types)}")
        first = 0
        for batch in file.iter_batches(batch_size=ROWS, columns=[chosen]):
            try:
                texts = batch.column(0).to_pylist()
            except UnicodeDecodeError as error:
                raise CorpusError(f"{path}: text that is not UTF-8 in one of the {len(batch)} rows from {first}") from error
            yield from (text for text in texts if text is not None)
            first += len(batch)


def _is_string(type_: Any) -> bool:
    type_ = type_.value_type if pa.types.is_dictionary(type_) else type_
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


# --- rows -------------------------------------------------------------------------------------------------------------------------


def from_rows(rows: Iterable[tuple[int, Any]], column: str | None, name: str, unit: str) -> Iterator[str]:
    """Texts of numbered rows: mappings with the text in a field, or strings."""
    chosen, first, met = column, None, False
    for number, row in rows:
        text = row
        if isinstance(row, Mapping):
            if first is None:
                first = list(row)
                chosen = column or _only([key for key, value in row.items() if value is None or isinstance(value, str)], first, name)
            text = row.get(chosen)
            met = met or chosen in row
        if isinstance(text, str):
            yield text
        elif text is not None:
            field = f", field {chosen!r}" if text is not row else ""
            raise CorpusError(f"{name}, {unit} {number}{field}: {shortened(text)} is of type {type(text).__name__}, not a text")
    if first is not None and not met:
        raise CorpusError(f"{name} has no field {chosen!r}; the first row has {listed(first)}")


def _only(strings: list[str], names: list[str], where: str) -> str:
    """The column of the text where none was named."""
    if "text" in names:
        return "text"
    if len(strings) == 1:
        return strings[0]
    found = f"the columns of strings are {listed(strings)}" if strings else f"no column is of strings; there are {listed(names)}"
    raise CorpusError(f"{where}: which column holds the text? {found}; name it (`--text-column`)")


def listed(names: Iterable[Any]) -> str:
    """Names for a message."""
    names = list(names)
    return ", ".join(repr(name) for name in names[:20]) + (", ..." if len(names) > 20 else "") or "none"


def shortened(value: Any) -> str:
    """A value for a message."""
    shown = repr(value[:80] if isinstance(value, str | bytes) else value)
    return shown if len(shown) <= 90 else shown[:80] + "..."
