"""A corpus as batches of texts, whatever it lies in: files, folders, globs, texts or rows. Never more of it in memory than a batch.

Hidden files and folders are skipped, and in a folder those that hold a profile, or parts of one. A file that several paths lead to is read
once. `dft_stats.build.formats` says which files are read and how.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from glob import glob, has_magic
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

from dft_stats.build.formats import READ, WEB, Faults, Piece, file_kind, from_pieces, from_rows, is_remote, listed, shortened
from dft_stats.build.parts import GROUP, SHARD
from dft_stats.errors import CorpusError
from dft_stats.manifest import FORMAT, MANIFEST

Corpus = str | Path | Iterable[Any]
"""Paths, texts or rows."""
LONGEST_PATH = 1_000  # characters
HEAD = 1_000  # items of an iterator that are looked at to tell paths from texts


def read(
    paths: str | Path | Iterable[Any], *, text_column: str | None = None, batch_characters: int = 4_000_000, faults: Faults | None = None
) -> Iterator[list[str]]:
    """Batches of the texts of a corpus, in the order given, those of a folder or glob by path.

    Strings in a list may be paths or texts. They are paths if each of them may be one: it exists, has an ending that is read, or has no
    white space. They are texts if one of them cannot be a path, unless another is unmistakably one: that is an error. Paths given as
    `Path` and texts given as rows, `{"text": ...}`, are never mistaken.

    Args:
        paths: a file, folder or glob, or several; or an iterable of texts; or of rows, such as a Hugging Face dataset.
        text_column: column or field of the text. If None it is "text", else the only one of strings.
        batch_characters: a batch has no more, one for each text included, unless it is a single text.

        faults: what to do about damaged files and texts; if None each is an error.

    Raises:
        CorpusError: nothing to read, unreadable, damaged, or no such column. What the paths are is checked at once, the rest while reading.
    """
    if batch_characters < 1:
        raise ValueError(f"batch_characters is 1 or more, not {batch_characters}")
    faults = faults or Faults()
    found = sources(paths, text_column, faults)
    texts = from_pieces([Piece(path) for path in found], text_column, faults) if isinstance(found, list) else found
    return batched(texts, batch_characters)


def files(paths: str | Path | Iterable[str | Path]) -> list[str]:
    """The files that the paths lead to, each once."""
    found: dict[str, str] = {}
    given_paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    for path in given_paths:
        if not isinstance(path, str | os.PathLike):
            raise CorpusError(f"{shortened(path)} among paths is of type {type(path).__name__}, not a path")
        given = os.fspath(path)
        if is_remote(given):
            found |= {file: file for file in _remote(given)}
            continue
        local = os.path.expanduser(given)
        if os.path.isdir(local) and _is_own(local):
            if len(given_paths) > 1:  # one of those that a shell made of a pattern
                continue
            raise CorpusError(f"{given} holds a profile, or counts for one, not texts; give the folder of the texts")
        for file in _files(local):
            found.setdefault(os.path.realpath(file), os.path.normpath(file))
    return list(found.values())


def batched(texts: Iterator[str], limit: int) -> Iterator[list[str]]:
    """Lists of texts of `limit` characters at most, one for each text included, unless it is a single text."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and size + len(text) + 1 > limit:
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text) + 1
    if batch:
        yield batch


# --- what is given ----------------------------------------------------------------------------------------------------------------


def sources(given: Any, column: str | None, faults: Faults, *, group: str | None = None) -> list[str] | Iterator[str]:
    """The files of a corpus, or its texts if it is no files: see `read`. With a column of groups texts are `Signed`."""
    if isinstance(given, str | os.PathLike):
        return files(given)  # type: ignore[arg-type]
    if isinstance(given, Mapping):  # a DatasetDict is one
        names = list(given)
        raise CorpusError(
            f"a mapping with {listed(names)} was given; if these are the splits of a dataset, give one of them, as in "
            f"dataset[{(names or ['train'])[0]!r}]; if it is a row, give a list of rows"
        )
    if type(given).__module__.partition(".")[0] == "pyarrow" and hasattr(given, "to_pylist") and not hasattr(given, "columns"):
        given = given.to_pylist()  # its items are no strings, but scalars
    if hasattr(given, "columns"):
        raise CorpusError(f"a table of type {type(given).__name__} was given; give its column of texts, as in table['text'], or its rows")
    if isinstance(given, bytes) or not (isinstance(given, Iterable) or hasattr(given, "__getitem__")):
        raise CorpusError(f"{shortened(given)} is of type {type(given).__name__}; give paths, texts or rows")
    if hasattr(given, "select_columns") and (column or "text") in (given.column_names or ()):
        given = given.select_columns(
            list({column or "text": None} | ({} if group is None else {group: None}))
        )  # of a dataset: other columns, such as images, need not be decoded
    iterator = iter(given)
    head = list(iterator if isinstance(given, list | tuple) else islice(iterator, HEAD))
    if not head:
        raise CorpusError("no paths, texts or rows were given: the list is empty")
    if _are_paths(head):
        return files([*head, *iterator])
    return from_rows(enumerate(chain(head, iterator)), column, "what was given", "item", faults, group=group)


def _are_paths(items: list[Any]) -> bool:
    if any(isinstance(item, os.PathLike) for item in items):
        return True
    if not all(isinstance(item, str) for item in items):
        return False
    if all(map(_may_be_path, items)):
        return True
    mixed = [item for item in items if _must_be_path(item)]
    if mixed:
        text = next(item for item in items if not _may_be_path(item))
        raise CorpusError(
            f"{shortened(text)} does not exist as a path, but {shortened(mixed[0])} looks like one: give paths alone, or texts as rows, "
            '[{"text": ...}, ...]'
        )
    return False


def _may_be_path(item: str) -> bool:
    """Whether a string exists as a path, or might but for a slip of the pen."""
    if not item or len(item) > LONGEST_PATH or "\n" in item:
        return False
    return len(item.split(None, 1)) == 1 or file_kind(item) is not None or os.path.exists(os.path.expanduser(item))


def _must_be_path(item: str) -> bool:
    """Whether a string that may be a path is no likely text: neither "README" nor "see a.txt", though there may be such a file."""
    if not _may_be_path(item):
        return False
    if len(item.split(None, 1)) == 1 and file_kind(item):
        return True
    return (os.sep in item or file_kind(item) is not None) and os.path.exists(os.path.expanduser(item))


# --- files ------------------------------------------------------------------------------------------------------------------------


def _files(path: str) -> list[str]:
    """The files that one path leads to."""
    if os.path.isdir(path):
        found = sorted(_walk(path, set()), key=lambda file: Path(file).parts)
        return _readable(found, f"the folder {path}")
    if os.path.lexists(path) and len(path) <= LONGEST_PATH:
        if file_kind(path) is None:
            raise CorpusError(f"{path}: a file of this ending is not read; read are {READ}")
        return [path]
    is_text = len(path) > LONGEST_PATH or "\n" in path
    if has_magic(path) and not is_text:
        matched = sorted(glob(path, recursive=True), key=lambda file: Path(file).parts)
        if matched:
            base = Path(*takewhile(lambda part: not has_magic(part), Path(path).parts))
            own: dict[Path, bool] = {}
            matched = [match for match in matched if not _lies_in_own(Path(match), base, own)]
            found = [file for match in matched for file in (_walk(match, set()) if os.path.isdir(match) else [match])]
            return _readable(found, f"the pattern {path}", plain_json=path.lower().endswith(".json"))
        raise CorpusError(f"{path}: no file matches this pattern")
    hint = " " in path or is_text
    raise CorpusError(f"{shortened(path)} does not exist" + ('; if it is a text, give it as a row, [{"text": ...}]' if hint else ""))


def _remote(path: str) -> list[str]:
    """The files that a path with a protocol leads to, as fsspec knows them."""
    import fsspec

    try:
        system, inner = fsspec.core.url_to_fs(path)
        is_pattern = has_magic(inner.replace("?", "") if path.startswith(WEB) else inner)  # a question mark is part of an address
        found = system.glob(inner) if is_pattern else [inner]
        found = sorted(file for match in found for file in (system.find(match) if system.isdir(match) else [match]))
    except Exception as error:  # each file system has its own
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise CorpusError(f"{path} cannot be reached: {reason}") from error
    if not found or not system.exists(found[0]):
        raise CorpusError(f"{path}: nothing lies there")
    return _readable([system.unstrip_protocol(file) for file in found], path)


def _walk(folder: str, seen: set[str]) -> Iterator[str]:
    """All files below a folder but hidden ones; a link that leads back is not followed."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise CorpusError(f"{folder} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not _is_own(entry.path):
                yield from _walk(entry.path, seen)
        elif entry.is_file() or entry.is_symlink():  # no pipe, which would never end; of a link that leads nowhere its reader tells
            yield entry.path


_OWN = {MANIFEST: FORMAT, SHARD: "characters", GROUP: "members"}
"""File that a folder of ours has, and what stands in it."""


def _is_own(folder: str) -> bool:
    """Whether a folder holds a profile, or a shard or a group of one, which are no texts. Others have files of these names, too."""
    for name, word in _OWN.items():
        path = Path(folder, name)
        if path.is_file() and f'"{word}"' in path.read_text(encoding="utf-8", errors="replace"):
            return True
    return False


def _lies_in_own(path: Path, base: Path, known: dict[Path, bool]) -> bool:
    """Whether a path is such a folder, or in one that is `base` or below; `known` remembers folders."""
    for folder in (path, *path.parents):
        if folder not in known:
            known[folder] = folder.is_dir() and _is_own(str(folder))
        if known[folder]:
            return True
        if folder == base:
            break
    return False


def _readable(found: list[str], where: str, *, plain_json: bool = False) -> list[str]:
    chosen = [file for file in found if file_kind(file) and (plain_json or not file.lower().endswith(".json"))]
    if chosen:
        return chosen
    kinds = Counter("".join(Path(file).suffixes[-1:]) or "no ending" for file in found)
    there = ", ".join(f"{number} of {kind}" for kind, number in kinds.most_common(5)) or "none"
    hint = "; for JSON Lines in .json files give a pattern, such as 'FOLDER/*.json'" if kinds[".json"] else ""
    raise CorpusError(f"{where} has no file that is read: {READ}. Files there: {there}{hint}")
