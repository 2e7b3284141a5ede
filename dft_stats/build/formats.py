"""How the files of a corpus are read, one text after the other.

| ending | what is read |
|---|---|
| .txt .text .md .rst | the file is one text |
| .jsonl .ndjson | a line is an object with the text in a field, or a string; blank lines are skipped |
| .json | the same, but plain .json only where it is named itself: folders hold other things of that ending |
| .parquet | a row is a text |

All but Parquet may end in .gz or .zst, and are UTF-8. A null or missing field is no text: such rows are left out and counted. An empty text
is one. What begins with a protocol (hf://, s3://, https://) is opened by fsspec.
"""

import gzip
import hashlib
import io
import json
import os
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
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
NULL, MISSING = "row whose text is null", "row without the field of the text"
WEB = ("http://", "https://")
ROWS = 64  # of Parquet, decoded at once
HEAD, HEAD_CHARACTERS = 100, 1 << 20  # rows that are looked at to find the field of the text, and characters of them


class Signed(str):
    """A text that knows whose it is."""

    __slots__ = ("owner",)
    owner: int  # hash of the value of the group column; what has none is all of one owner


def signed(text: str, group: Any) -> Signed:
    """A text of a group: an author, a source. Neither case nor white space makes another one."""
    found = Signed(text)
    name = "" if group is None else " ".join(unicodedata.normalize("NFKC", str(group)).casefold().split())
    found.owner = int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1
    return found


def file_kind(path: str) -> tuple[str, str] | None:
    """(kind, compression) of a file by its name; what a signed address has behind it is none of that."""
    path = path.partition("?")[0] if path.startswith(WEB) else path
    stem, ending = os.path.splitext(path.lower())
    packing = ending if ending in COMPRESSED else ""
    kind = KINDS.get(os.path.splitext(stem)[1] if packing else ending)
    return None if kind is None or (packing and kind == "parquet") else (kind, packing)


@dataclass(frozen=True, slots=True)
class Piece:
    """A file or a stretch of it."""

    path: str
    begin: int = 0  # first row group of Parquet, first byte of lines: a line belongs to where it begins
    end: int | None = None  # behind the last


@dataclass(slots=True)
class Faults:
    """What is wrong with a corpus: an error at once, or left out, counted and recorded."""

    skip: bool = False
    longest: int | None = None  # characters of a text
    found: dict[str, tuple[int, str]] = field(default_factory=dict)  # fault -> (how often, what was said first)

    def meet(self, fault: str, said: str, cause: Exception | None = None) -> None:
        """Take note of a fault; raises `CorpusError` unless it may be skipped."""
        if not self.skip:
            raise CorpusError(said) from cause
        self.leave_out(fault, said)

    def leave_out(self, fault: str, said: str, times: int = 1) -> None:
        """Take note of what is no text and no damage either: counted and recorded, whether faults may be skipped or not."""
        number, first = self.found.get(fault, (0, said))
        self.found[fault] = number + times, first

    def add(self, other: "Faults") -> None:
        """Take over what another one found."""
        for fault, (number, said) in other.found.items():
            own, first = self.found.get(fault, (0, said))
            self.found[fault] = own + number, first


def from_pieces(pieces: Sequence[Piece], column: str | None, faults: Faults | None = None, *, group: str | None = None) -> Iterator[str]:
    """Texts of files of known kinds, one file after the other; `CorpusError` names the file and the place in it.

    With a column of groups each text is `Signed`.
    """
    faults = faults or Faults()
    readers = {"text": _text, "lines": _lines, "parquet": _parquet}
    for piece in pieces:
        kind = file_kind(piece.path)
        assert kind is not None
        try:
            for text in readers[kind[0]](piece, kind[1], column, group, faults):
                if faults.longest is not None and len(text) > faults.longest:
                    _too_long(piece.path, faults)
                else:
                    yield text
        except (EOFError, zlib.error, OSError, pa.ArrowException, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.strerror:
                raise CorpusError(f"{piece.path} cannot be read: {error.strerror}") from error
            reason = str(error).partition("\n")[0] or type(error).__name__
            said = f"{piece.path} is damaged or cut short: {reason}; copy or make it again"
            faults.meet("damaged or cut short: the rest of the file", said, error)


def is_remote(path: str) -> bool:
    """Whether fsspec opens it."""
    return "://" in path


def _too_long(where: str, faults: Faults) -> None:
    faults.meet(
        f"longer than {faults.longest:,} characters",
        f"{where} has a text of more than {faults.longest:,} characters, which memory does not allow for: cut it into documents, "
        "give more memory (--memory), or leave such texts out (--skip-faults)",
    )


def _open(path: str, packing: str) -> IO[bytes]:
    if is_remote(path):
        import fsspec

        remote = fsspec.open(path, "rb", compression="gzip" if packing == ".gz" else None).open()
        raw = pa.input_stream(remote, compression="zstd") if packing == ".zst" else remote
        return raw if packing == ".gz" else io.BufferedReader(raw, 1 << 20)  # files of fsspec read lines of any length alone
    if packing and not os.path.getsize(path):
        raise EOFError("there is no byte in it")
    if packing == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return io.BufferedReader(pa.input_stream(path, compression="zstd"), 1 << 20) if packing else open(path, "rb")


def _text(piece: Piece, packing: str, column: str | None, group: str | None, faults: Faults) -> Iterator[str]:
    if group is not None:
        raise CorpusError(f"{piece.path} is one text and has no column {group!r} (--group-column); give .jsonl or .parquet")
    with _open(piece.path, packing) as stream:
        data = stream.read() if faults.longest is None else stream.read(4 * faults.longest + 1)
    if faults.longest is not None and len(data) > 4 * faults.longest:
        return _too_long(piece.path, faults)
    text = _decoded(data, piece.path, faults)
    if text is not None:
        yield text


def _lines(piece: Piece, packing: str, column: str | None, group: str | None, faults: Faults) -> Iterator[str]:
    if column is None and piece.begin:  # a stretch of a file has the field of the whole
        with _open(piece.path, packing) as stream:
            head, _ = _head(_parsed(stream, Piece(piece.path), Faults(skip=True, longest=faults.longest)))
        column = _field(head, piece.path, group)
    with _open(piece.path, packing) as stream:
        yield from from_rows(_parsed(stream, piece, faults), column, piece.path, "line", faults, group=group)


def _parsed(stream: IO[bytes], piece: Piece, faults: Faults) -> Iterator[tuple[int, Any]]:
    """(number, value) of lines; of a stretch of a file they are numbered from its first."""
    where = piece.path
    if piece.begin:
        where = f"{piece.path} from byte {piece.begin:,}"
        stream.seek(piece.begin - 1)
        stream.readline()  # it began before
    longest = -1 if faults.longest is None else 6 * faults.longest
    number = 0
    position = 0 if piece.end is None else stream.tell()
    while piece.end is None or position < piece.end:
        line = stream.readline(longest)
        position += len(line)
        if not line:
            return
        number += 1
        if len(line) == longest:
            _too_long(f"{where}, line {number}", faults)
            while line and not line.endswith(b"\n"):
                line = stream.readline(longest)
                position += len(line)
            continue
        text = _decoded(line, f"{where}, line {number}", faults, is_first=number == 1 and not piece.begin)
        if text is None or not text.strip():
            continue
        if number == 1 and not piece.begin and text.lstrip().startswith("["):
            said = (
                f"{where}, line 1 is not JSON Lines: it begins with [, as a JSON array does; write the array as .jsonl, an object or a "
                "string a line, as in `jq -c '.[]' FILE.json > FILE.jsonl`"
            )
            faults.meet("line that is not JSON", said)
            continue
        try:
            yield number, json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
            said = f"{where}, line {number} is not JSON ({reason}); each line must be an object or a string of its own"
            faults.meet("line that is not JSON", said, error)


def _decoded(data: bytes, where: str, faults: Faults, *, is_first: bool = True) -> str | None:
    if _is_utf16(data):
        said = f"{where} is UTF-16, by its first bytes or its zeros, not UTF-8; convert the file, as in `iconv -f UTF-16 -t UTF-8 FILE`"
        faults.meet("not UTF-8", said)
        return None
    begin = 3 if is_first and data.startswith(b"\xef\xbb\xbf") else 0  # a byte-order mark
    try:
        return data[begin:].decode()
    except UnicodeDecodeError as error:
        said = f"{where}: byte {error.start + begin} is not UTF-8; convert the file, as in `iconv -f WINDOWS-1252 -t UTF-8 FILE`"
        faults.meet("not UTF-8", said, error)
        return None


def _is_utf16(data: bytes) -> bool:
    """By its mark; or since every other byte is zero, as in English: that is UTF-8, too, but no text."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    if 0 not in data:  # nearly all: nothing else is looked at
        return False
    few, many = sorted((data[::2].count(0), data[1::2].count(0)))
    return len(data) >= 16 and 3 * many > len(data) and few * 10 < many


def open_parquet(path: str) -> pq.ParquetFile:
    """A Parquet file, for reading it bit by bit: as Arrow opens it by itself, it reads ahead and keeps the column whole in memory."""
    if is_remote(path):
        import fsspec

        return pq.ParquetFile(fsspec.open(path, "rb").open(), pre_buffer=False, buffer_size=1 << 20)
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


def text_column(file: pq.ParquetFile, path: str, column: str | None, group: str | None = None) -> str:
    """The column of a Parquet file that holds the text."""
    types = {field.name: field.type for field in file.schema_arrow}
    if group is not None and group not in types:
        raise CorpusError(f"{path} has no column {group!r} (--group-column); it has {listed(types)}")
    chosen = column or _only([name for name, type_ in types.items() if _is_string(type_) and name != group], list(types), path)
    if chosen not in types:
        raise CorpusError(f"{path} has no column {chosen!r}; it has {listed(types)}")
    if file.schema_arrow.names.count(chosen) > 1:
        raise CorpusError(f"{path} has several columns that are called {chosen!r}; give each a name of its own")
    if not _is_string(types[chosen]) and not pa.types.is_null(types[chosen]):
        raise CorpusError(f"{path}: the column {chosen!r} is of type {types[chosen]}, not of strings; it has {listed(types)}")
    return chosen


def _parquet(piece: Piece, packing: str, column: str | None, group: str | None, faults: Faults) -> Iterator[str]:
    with open_parquet(piece.path) as file:
        chosen = text_column(file, piece.path, column, group)
        groups = range(piece.begin, file.num_row_groups if piece.end is None else piece.end)
        first = sum(file.metadata.row_group(i).num_rows for i in range(piece.begin))
        wanted = [chosen] if group is None else list({chosen: None, group: None})
        for batch in file.iter_batches(batch_size=ROWS, row_groups=list(groups), columns=wanted):
            column_of_texts = batch.column(chosen)
            try:
                texts = column_of_texts.to_pylist()
            except UnicodeDecodeError as error:
                said = f"{piece.path}: text that is not UTF-8 in one of the {len(batch)} rows from {first}"
                faults.meet("not UTF-8", said, error)
                texts = list(_one_by_one(column_of_texts, faults, said))
            if group is None:
                yield from (text for text in texts if text is not None)
            else:
                owners = batch.column(group).to_pylist()
                yield from (signed(text, owner) for text, owner in zip(texts, owners, strict=True) if text is not None)
            nulls = column_of_texts.null_count
            if nulls:
                faults.leave_out(NULL, f"{piece.path}, one of the {len(batch)} rows from {first}", nulls)
            first += len(batch)


def _one_by_one(texts: pa.Array, faults: Faults, said: str) -> Iterator[str | None]:
    """Those of a batch that are UTF-8; the first that is not was counted."""
    is_first = True
    for text in texts:
        try:
            yield text.as_py()
        except UnicodeDecodeError:
            if not is_first:
                faults.meet("not UTF-8", said)
            is_first = False
            yield None


def _is_string(type_: Any) -> bool:
    type_ = type_.value_type if pa.types.is_dictionary(type_) else type_
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


# --- rows -------------------------------------------------------------------------------------------------------------------------


def from_rows(
    rows: Iterable[tuple[int, Any]], column: str | None, name: str, unit: str, faults: Faults | None = None, *, group: str | None = None
) -> Iterator[str]:
    """Texts of numbered rows: mappings with the text in a field, or strings; `Signed` by the field `group`, if there is to be one.

    Where no field is named, the first rows say which it is: "text" if one has it, else the only one of strings in all of them.
    """
    faults = faults or Faults()
    first, met = None, False
    head, rows = ([], rows) if column is not None else _head(rows)
    chosen = column or _field(head, name, group)
    for number, row in rows:
        text = row
        if isinstance(row, Mapping):
            if first is None:
                first = list(row)
                chosen = chosen or _field([row], name, group)
            text = row.get(chosen)
            met = met or chosen in row
        if isinstance(text, str) and group is None:
            yield text
        elif isinstance(text, str):
            if not isinstance(row, Mapping) or group not in row:
                raise CorpusError(f"{name}, {unit} {number} has no field {group!r} (--group-column); write null where nobody is known")
            yield signed(text, row[group])
        elif text is None:
            is_missing = isinstance(row, Mapping) and chosen not in row
            faults.leave_out(MISSING if is_missing else NULL, f"{name}, {unit} {number}" + (f" has no {chosen!r}" if is_missing else ""))
        else:
            where = f", field {chosen!r}" if text is not row else ""
            said = f"{name}, {unit} {number}{where}: {shortened(text)} is of type {type(text).__name__}, not a text"
            faults.meet("no text", said)
    if first is not None and not met:
        raise CorpusError(f"{name} has no field {chosen!r}; the first row has {listed(first)}")


def _head(rows: Iterable[tuple[int, Any]]) -> tuple[list[Any], Iterator[tuple[int, Any]]]:
    """The first rows, and all of them."""
    head, size, rest = list[tuple[int, Any]](), 0, iter(rows)
    for number, row in rest:
        head.append((number, row))
        size += sum(len(value) for value in row.values() if isinstance(value, str)) if isinstance(row, Mapping) else len(str(row))
        if len(head) >= HEAD or size > HEAD_CHARACTERS:
            break
    return [row for _, row in head], chain(head, rest)


def _field(rows: Sequence[Any], where: str, group: str | None) -> str | None:
    """The field of the text in these rows; None if none of them has fields."""
    fields = [row for row in rows if isinstance(row, Mapping)]
    names: dict[str, bool] = {}  # field -> whether nothing but strings stands there
    for row in fields:
        for name, value in row.items():
            names[name] = names.get(name, True) and (value is None or isinstance(value, str))
    return _only([name for name, is_text in names.items() if is_text and name != group], list(names), where) if fields else None


def _only(strings: list[str], names: list[str], where: str) -> str:
    """The column of the text where none was named."""
    if "text" in names:
        return "text"
    if len(strings) == 1:
        return strings[0]
    found = f"the columns of strings are {listed(strings)}" if strings else f"no column is of strings; there are {listed(names)}"
    raise CorpusError(f"{where}: which column holds the text? {found}; name it with text_column (`--text-column`)")


def listed(names: Iterable[Any]) -> str:
    """Names for a message."""
    names = list(names)
    return ", ".join(repr(name) for name in names[:20]) + (", ..." if len(names) > 20 else "") or "none"


def shortened(value: Any) -> str:
    """A value for a message."""
    shown = repr(value[:80] if isinstance(value, str | bytes) else value)
    return shown if len(shown) <= 90 else shown[:80] + "..."
