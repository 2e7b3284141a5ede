"""Reading a corpus: the same texts from every format, in the same order, in batches of any size; and what is said when it goes wrong."""

import gzip
import json
import os
import re
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.build import build, shards
from dft_stats.build.corpus import files, read
from dft_stats.build.formats import MISSING, NULL, Faults, file_kind
from dft_stats.errors import CorpusError
from tests.prose import documents as prose

unicode_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
corpora = st.lists(unicode_texts, min_size=1, max_size=12)


def texts_of(paths: Any, **settings: Any) -> list[str]:
    return [text for batch in read(paths, **settings) for text in batch]


def failure(paths: Any, **settings: Any) -> str:
    with pytest.raises(CorpusError) as caught:
        texts_of(paths, **settings)
    return str(caught.value)


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstd}


def as_lines(texts: list[str], *, ascii_only: bool = False) -> bytes:
    rows = [text if i % 3 == 2 else {"id": i, "text": text} for i, text in enumerate(texts)]
    return "\n".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" * (i % 2) for i, row in enumerate(rows)).encode()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder() -> Path:
    """Files of several kinds, and what is none of them."""
    root = Path("corpus")
    for name in ("b.txt", "a.md", "b/c.txt", "a/z.rst", "a/y.text", ".hidden.txt", ".git/x.txt", "a/.b/x.txt", "notes.docx", "LICENSE"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    (root / "rows.jsonl.gz").write_bytes(gzip.compress(as_lines(["one", "two"])))
    (root / "info.json").write_text('{\n "not": "lines"\n}')
    return root


IN_ORDER = ["a/y.text", "a/z.rst", "a.md", "b/c.txt", "b.txt", "one", "two"]


# --- laws -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json"])
@given(texts=corpora, ascii_only=st.booleans())
def test_json_lines_give_back_the_texts(ending: str, packing: str, texts: list[str], ascii_only: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{ending.upper()}{packing}"
        path.write_bytes(PACKINGS[packing](as_lines(texts, ascii_only=ascii_only)))
        assert texts_of(path) == texts
        assert texts_of(path, text_column="text") == texts


@pytest.mark.parametrize("packing", PACKINGS)
@given(texts=corpora, mark=st.booleans())
def test_text_files_give_back_the_texts(packing: str, texts: list[str], mark: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for i, text in enumerate(texts):
            data = b"\xef\xbb\xbf" * mark + text.removeprefix("\ufeff").encode()
            (Path(folder) / f"{i:03}.txt{packing}").write_bytes(PACKINGS[packing](data))
        assert texts_of(folder) == [text.removeprefix("\ufeff") for text in texts]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@given(texts=st.lists(st.none() | unicode_texts, max_size=200), rows=st.integers(1, 100))
def test_parquet_gives_back_the_texts_that_are_not_null(kind: pa.DataType, texts: list[str | None], rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        table = pa.table({"number": pa.array(range(len(texts)), pa.int64()), "body": pa.array(texts, pa.string()).cast(kind)})
        pq.write_table(table, path, row_group_size=rows)
        assert texts_of(path) == texts_of(path, text_column="body") == [text for text in texts if text is not None]


@given(corpora, st.integers(1, 200))
def test_batches_change_nothing_and_are_bounded(texts: list[str], limit: int) -> None:
    rows = [{"text": text} for text in texts]
    batches = list(read(rows, batch_characters=limit))
    assert [text for batch in batches for text in batch] == texts
    assert all(len(batch) == 1 or sum(len(text) + 1 for text in batch) <= limit for batch in batches)
    for batch, following in pairwise(batches):  # none is smaller than it need be
        assert sum(len(text) + 1 for text in (*batch, following[0])) > limit


@given(corpora)
def test_texts_and_rows_of_every_shape_are_the_same(texts: list[str]) -> None:
    rows = [{"id": i, "text": text} for i, text in enumerate(texts)]
    assert texts_of(rows) == texts_of(iter(rows)) == texts_of(tuple(rows)) == texts
    prose = [text + " and so on\n" for text in texts]
    assert texts_of(prose) == texts_of(iter(prose)) == texts_of(dict(enumerate(prose)).values()) == prose


@given(st.text())
def test_a_lone_string_is_a_path_or_an_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert failure(str(Path(folder) / "none") + text.replace("/", ""))


# --- paths ------------------------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_order_without_what_is_hidden(folder: Path) -> None:
    assert texts_of(folder) == texts_of(str(folder)) == texts_of([str(folder)]) == texts_of([folder]) == texts_of(f"{folder}/") == IN_ORDER


def test_globs(folder: Path) -> None:
    assert texts_of("corpus/*.txt") == ["b.txt"]
    assert texts_of("corpus/**/*.txt") == texts_of(["corpus/**/*.txt"]) == ["b/c.txt", "b.txt"]
    assert texts_of("corpus/?.*") == ["a.md", "b.txt"]
    assert texts_of("corpus/**") == texts_of("corpus/*") == IN_ORDER
    (folder / "odd[1].txt").write_text("odd")
    assert texts_of("corpus/odd[1].txt") == ["odd"]


def test_what_several_paths_lead_to_is_read_once_at_the_first(folder: Path) -> None:
    assert texts_of([folder / "b.txt", folder, "corpus/**/*.txt", folder.resolve()]) == ["b.txt", *(t for t in IN_ORDER if t != "b.txt")]
    (folder / "twice.txt").symlink_to(folder.resolve() / "b.txt")
    (folder / "a" / "back").symlink_to(folder.resolve(), target_is_directory=True)
    assert sorted(texts_of(folder)) == sorted(IN_ORDER)
    assert len(files(folder)) == len({os.path.realpath(path) for path in files(folder)})


def test_linked_folders_are_followed(folder: Path, tmp_path: Path) -> None:
    Path("links").mkdir()
    (Path("links") / "there").symlink_to(folder.resolve(), target_is_directory=True)
    assert texts_of("links") == IN_ORDER


def test_home_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.resolve()))
    assert texts_of("~/b.txt") == texts_of(["~/b.txt"]) == ["b.txt"]


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ("nowhere.txt", "'nowhere.txt' does not exist"),
        (["nowhere.txt"], "'nowhere.txt' does not exist"),
        (["corpus", "nowhere"], "'nowhere' does not exist"),
        (["corpus/b.txt", "corpus/d.txt"], "'corpus/d.txt' does not exist"),
        (Path("nowhere"), "'nowhere' does not exist"),
        ([Path("corpus"), 3], "3 among paths is of type int"),
        ("A text of some words.", r"'A text of some words.' does not exist; if it is a text, give it as a row, \[{\"text\": ...}\]"),
        ("A text\nof lines" * 1000, "does not exist; if it is a text"),
        ("", "'' does not exist"),
        ("corpus/*.parquet", r"corpus/\*.parquet: no file matches"),
        ("corpus/*.docx", r"corpus/\*.docx has no file that is read: .txt.*Files there: 1 of .docx"),
        ("corpus/notes.docx", "corpus/notes.docx: a file of this ending is not read; read are .txt, .*parquet"),
        ("corpus/LICENSE", "corpus/LICENSE: a file of this ending is not read"),
        ([], "the list is empty"),
        (["corpus/b.txt", "A text of some words."], "'A text of some words.' does not exist as a path, but 'corpus/b.txt' looks like one"),
        (["A text of some words.", "missing.jsonl"], "'A text of some words.' does not exist as a path, but 'missing.jsonl' looks"),
        ({"train": [], "test": []}, r"'train', 'test' was given; if these are the splits of a dataset, .* dataset\['train'\]"),
        (pa.table({"text": ["a"]}), r"a table of type Table was given; give its column of texts, as in table\['text'\]"),
        (b"bytes", "of type bytes; give paths"),
        (3, "3 is of type int; give paths"),
        ([3], "item 0: 3 is of type int, not a text"),
        (["A text.\n", 3], "item 1: 3 is of type int, not a text"),
        ([{"text": ["a", "b"]}], r"item 0, field 'text': \['a', 'b'\] is of type list, not a text"),
        ([{"a": "x", "b": "y"}], "which column holds the text.*'a', 'b'; name it with text_column .`--text-column`"),
        ([{"a": 1}], "no column is of strings; there are 'a'"),
        ([{}], "no column is of strings; there are none"),
    ],
)
def test_what_cannot_be_read_is_said(folder: Path, paths: Any, said: str) -> None:
    message = failure(paths)
    assert re.search(said, message, re.DOTALL), message
    assert len(message) < 400


def test_the_first_rows_say_which_field_holds_the_text() -> None:
    """Not the first alone, which may lack it."""
    rows = [{"title": "A title"}, {"title": "Another", "text": "A text."}]
    assert texts_of(rows) == ["A text."]
    assert texts_of([{"body": "One.", "id": 1}, {"body": None, "id": "two"}, {"body": "Three.", "id": 3}]) == ["One.", "Three."]
    Path("late.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert texts_of("late.jsonl") == ["A text."]


def test_every_stretch_of_a_file_has_the_field_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 6_000)  # some 240 rows
    rows = [{"body": f"Body {i}."} for i in range(1_000)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    Path("rows.jsonl").write_text(lines)
    begins = [shard.pieces[0].begin for shard in shards.plan(["rows.jsonl"], None, Faults())]
    assert len(begins) > 3
    for begin in begins[1:]:  # the odd one is the first of a stretch
        odd = list(rows)
        odd[lines[:begin].count("\n") + 1] = {"summary": "No body."}
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in odd))
        faults, found = Faults(), list[str]()
        for shard in shards.plan(["rows.jsonl"], None, faults):
            found += [text for batch in shard.batches(None, 10_000, faults) for text in batch]
        assert len(found) == 999
        assert faults.found[MISSING][0] == 1


def test_profiles_among_the_texts_are_none_by_a_pattern_either(folder: Path, tmp_path: Path) -> None:
    Path("mine").mkdir()
    Path("mine/a.md").write_text("One text.")
    build([{"text": text} for text in prose(6)], out="mine/profile", name="x", privacy="none")
    assert texts_of("mine/**/*.md") == texts_of("mine/*") == texts_of(["mine/a.md", "mine/profile"]) == ["One text."]
    assert "mine/profile holds a profile, or counts for one, not texts" in failure("mine/profile")
    assert "no file that is read" in failure("mine/profile/*")


def test_a_column_of_arrow_is_texts() -> None:
    for column in (pa.array(["A text.", "Another one."]), pa.chunked_array([["A text."], ["Another one."]])):
        assert texts_of(column) == ["A text.", "Another one."]


def test_a_folder_without_a_known_file_says_what_it_has() -> None:
    Path("empty").mkdir()
    assert "the folder empty has no file that is read: .txt" in failure("empty")
    for name in ("a.docx", "b.docx", "c.docx", "d.pdf", "README"):
        (Path("empty") / name).touch()
    assert "Files there: 3 of .docx, 1 of no ending, 1 of .pdf" in failure(["empty"])
    (Path("empty") / "a.json").write_text('"a"\n"b"')
    assert "give a pattern, such as 'FOLDER/*.json'" in failure("empty")
    assert texts_of("empty/*.json") == texts_of("empty/a.json") == ["a", "b"]


def test_short_texts_are_not_taken_for_paths(folder: Path) -> None:
    for texts in (
        ["text one", "text two"],
        ["What?", "Why not?", "N/A", ".", "corpus", "and/or", "***", "A sentence with a word."],
        ["Please open corpus/b.txt", "It is there.", ""],
        ["x" * 10_000, "word"],
    ):
        assert texts_of(texts) == texts_of(iter(texts)) == texts


def test_paths_may_come_from_an_iterator(folder: Path) -> None:
    assert texts_of(folder.glob("b*.txt")) == texts_of(str(path) for path in folder.glob("b*.txt")) == ["b.txt"]
    assert texts_of(f"corpus/{name}" for name in ("b.txt", "a.md")) == ["b.txt", "a.md"]


def test_an_iterator_is_read_as_it_goes() -> None:
    seen = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal seen
        for i in range(100_000):
            seen = i
            yield {"text": f"text {i}"}

    assert next(iter(read(rows(), batch_characters=100)))[0] == "text 0"
    assert seen < 2_000


def test_many_texts_are_told_from_paths_in_no_time() -> None:
    texts = [f"Text {i}\n" * 500 for i in range(10_000)]
    began = time.perf_counter()
    assert sum(map(len, read(texts))) == len(texts)
    assert time.perf_counter() - began < 2


# --- files ------------------------------------------------------------------------------------------------------------------------


def test_the_column_of_the_text(folder: Path) -> None:
    rows = [{"id": "x", "body": "one"}, {"id": "y", "body": None}, {"id": "z"}, {"body": "two"}]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), "rows.parquet")
    assert (
        texts_of("rows.jsonl", text_column="body")
        == texts_of("rows.parquet", text_column="body")
        == texts_of(rows, text_column="body")
        == ["one", "two"]
    )
    for given_rows, name in (("rows.jsonl", "rows.jsonl"), ("rows.parquet", "rows.parquet"), (rows, "what was given")):
        assert name in (message := failure(given_rows, text_column="txt"))
        assert re.search(r"has no (field|column) 'txt'; .*'id', 'body'", message)
        assert re.search(
            f"{name}: which column holds the text.*'id', 'body'; name it with text_column .`--text-column`", failure(given_rows)
        )
    for given_rows, missing in (("rows.jsonl", 1), ("rows.parquet", 0), (rows, 1)):
        faults = Faults()
        assert sum(map(len, read(given_rows, text_column="body", faults=faults))) == 2
        found = {fault: number for fault, (number, _) in faults.found.items()}
        assert found == {NULL: 2 - missing} | ({MISSING: 1} if missing else {})
    assert texts_of([{"number": 1, "story": "one"}, {"number": 2, "story": ""}]) == ["one", ""]
    assert texts_of([{"text": None, "story": "one"}, {"text": "two", "story": ""}, None]) == ["two"]


def test_a_parquet_column_that_is_not_text() -> None:
    pq.write_table(pa.table({"n": [1, 2], "raw": [b"a", b"b"], "nothing": pa.nulls(2)}), "rows.parquet")
    assert "the column 'n' is of type int64, not of strings; it has 'n', 'raw', 'nothing'" in failure("rows.parquet", text_column="n")
    assert "is of type binary" in failure("rows.parquet", text_column="raw")
    assert "no column is of strings" in failure("rows.parquet")
    assert texts_of("rows.parquet", text_column="nothing") == []
    with pytest.raises(CorpusError, match=r"0 documents were read and not one word .*; left out: row whose text is null: 2; is this"):
        build("rows.parquet", out="profile", name="x", text_column="nothing")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b'{"text": "a"}\n\n{"text": "b"\n', "line 3 is not JSON .Expecting ',' delimiter at character"),
        (b'[\n{"text": "a"}\n]', r"line 1 is not JSON Lines: it begins with \[, as a JSON array does; write the array as \.jsonl"),
        (b' ["a"]', "as a JSON array does"),
        (b'"a"\n["a"]', r"line 2: \['a'\] is of type list, not a text"),
        (b'"a"\n7', "line 2: 7 is of type int, not a text"),
        (b'{"text": "a"}\n{"text": 7}', "line 2, field 'text': 7 is of type int, not a text"),
        (b'"a"\n"caf\xe9"', "line 2: byte 4 is not UTF-8; convert the file, as in `iconv"),
        ('"a"\n'.encode("utf-16"), "line 1 is UTF-16, .* `iconv -f UTF-16 -t UTF-8 FILE`"),
        (b"[" * 100_000, "line 1 is not JSON"),
        (b'{"text": ' + b"9" * 5_000 + b"}", "line 1 is not JSON"),
    ],
)
def test_bad_lines_are_named(packing: str, lines: bytes, said: str) -> None:
    path = Path(f"rows.jsonl{packing}")
    path.write_bytes(PACKINGS[packing](lines))
    message = failure(path)
    assert message.startswith(f"{path}, line")
    assert re.search(said, message), message


@pytest.mark.parametrize("packing", PACKINGS)
def test_text_that_is_not_utf8_is_named(packing: str) -> None:
    Path(f"a.txt{packing}").write_bytes(PACKINGS[packing](b"\xef\xbb\xbfcaf\xe9"))
    assert f"a.txt{packing}: byte 6 is not UTF-8; convert the file" in failure(f"a.txt{packing}")


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl.zst", "rows.txt.gz", "rows.txt.zst", "rows.parquet"])
@pytest.mark.parametrize("share", [0, 0.1, 0.9, 0.999])
def test_files_cut_short_are_an_error(name: str, share: float) -> None:
    texts = [os.urandom(50).hex() for _ in range(1000)]
    path = Path(name)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"text": texts}), path)
    else:
        path.write_bytes(PACKINGS[path.suffix](as_lines(texts)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert failure(path).startswith(f"{name} is damaged or cut short: ")


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl.zst", "rows.parquet"])
def test_files_that_are_not_what_their_name_says(name: str) -> None:
    Path(name).write_bytes(b'{"text": "a"}\n' * 100)
    assert failure(name).startswith(f"{name} is damaged or cut short: ")


def test_parquet_whose_text_is_not_utf8() -> None:
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"good", b"caf\xe9"]).buffers())
    pq.write_table(pa.table({"text": broken}), "rows.parquet")
    assert "rows.parquet: text that is not UTF-8 in one of the 2 rows from 0" in failure("rows.parquet")


def test_a_file_that_is_gone() -> None:
    Path("gone.txt").symlink_to("nothing")
    assert failure("gone.txt") == failure(".") == "gone.txt cannot be read: No such file or directory"


def test_frames_one_after_the_other_are_one_file() -> None:
    for packing in (".gz", ".zst"):
        path = Path(f"rows.jsonl{packing}")
        path.write_bytes(PACKINGS[packing](b'"a"\n') + PACKINGS[packing](b'"b"\n'))
        assert texts_of(path) == ["a", "b"]


def test_a_document_of_ten_megabytes_on_one_line() -> None:
    text = "all on one line " * 650_000
    Path("long.jsonl").write_text(json.dumps({"text": text}))
    Path("long.txt").write_text(text)
    assert list(read(["long.jsonl", "long.txt"])) == [[text], [text]]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst", "rows.parquet"])
def test_memory_does_not_grow_with_the_file(name: str) -> None:
    texts = [os.urandom(1_000).hex() for _ in range(10_000)]  # 20 MB
    if name == "rows.parquet":
        pq.write_table(pa.table({"text": texts}), name)
    else:
        Path(name).write_bytes(PACKINGS[name.removeprefix("rows.jsonl")](as_lines(texts)))
    del texts
    arrow = pa.proxy_memory_pool(usual := pa.default_memory_pool())
    pa.set_memory_pool(arrow)
    tracemalloc.start()
    try:
        number = sum(len(batch) for batch in read(name, batch_characters=100_000))
        peak = tracemalloc.get_traced_memory()[1] + arrow.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)
    assert number == 10_000
    assert peak < 8_000_000


def test_wrong_batch_size() -> None:
    with pytest.raises(ValueError, match="batch_characters is 1 or more, not 0"):
        read(["a text"], batch_characters=0)


class Remote(AbstractFileSystem):  # type: ignore[misc]
    """Local files by the class of files that fsspec has for what is fetched over a network: its `readline` takes no length."""

    protocol = "far"

    def _open(self, path: str, mode: str = "rb", **_: Any) -> AbstractBufferedFile:
        return _RemoteFile(self, path, mode=mode, size=Path(path).stat().st_size)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": Path(path).stat().st_size, "type": "directory" if Path(path).is_dir() else "file"}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        found = [self.info(str(file)) for file in Path(path).iterdir()] if Path(path).is_dir() else [self.info(path)]
        return found if detail else [each["name"] for each in found]


class _RemoteFile(AbstractBufferedFile):  # type: ignore[misc]
    def _fetch_range(self, start: int, end: int) -> bytes:
        return Path(self.path).read_bytes()[start:end]


@pytest.mark.parametrize("name", [f"rows.jsonl{packing}" for packing in PACKINGS] + ["a.txt", "a.txt.gz", "rows.parquet"])
def test_remote_files_of_every_kind(name: str) -> None:
    fsspec.register_implementation("far", Remote, clobber=True)
    texts = ["One text.", "Another, longer one. " * 50]
    if name == "rows.parquet":
        pq.write_table(pa.table({"text": texts}), name)
    else:
        packing = "".join(Path(name).suffixes[1:])
        Path(name).write_bytes(PACKINGS[packing](as_lines(texts) if "jsonl" in name else texts[0].encode()))
    assert texts_of(f"far://{Path(name).absolute()}", faults=Faults(longest=5_000)) == (texts if "rows" in name else texts[:1])


def test_a_signed_address_is_a_file_of_its_kind() -> None:
    assert file_kind("https://host/a.jsonl.gz?sig=a.b/c") == ("lines", ".gz")
    assert file_kind("a.jsonl?") is None


def test_an_error_of_a_file_system_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no route to host\nand much more")

    fsspec.register_implementation("far", Remote, clobber=True)
    monkeypatch.setattr(Remote, "isdir", fail)
    assert failure("far:///x/a.jsonl") == "far:///x/a.jsonl cannot be reached: no route to host"


@pytest.mark.parametrize(
    "data", ["A text.\n".encode("utf-16"), "A text of two words.\n".encode("utf-16-le"), "A text, and more.".encode("utf-16-be")]
)
def test_utf_16_is_called_by_its_name(data: bytes) -> None:
    Path("a.txt").write_bytes(data)
    assert failure("a.txt").startswith(
        "a.txt is UTF-16, by its first bytes or its zeros, not UTF-8; convert the file, as in `iconv -f UTF-16"
    )


def test_two_columns_of_one_name_are_said() -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), "rows.parquet")
    assert failure("rows.parquet") == "rows.parquet has several columns that are called 'text'; give each a name of its own"


def test_profiles_and_parts_among_the_texts_are_no_texts() -> None:
    for folder in ("corpus", "corpus/sub"):
        Path(folder).mkdir()
        Path(f"{folder}/a.txt").write_text(f"A text of {folder}.")
    expected = texts_of("corpus")
    for _ in range(2):
        build("corpus", privacy="none", out="corpus/profile", name="x", parts="corpus/parts", overwrite=True)
        assert texts_of("corpus") == expected
    for name in ("manifest.json", "shard.json", "group.json"):  # of somebody else
        Path(f"corpus/sub/{name}").write_text('{"files": ["a.txt"]}')
    assert texts_of("corpus") == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe has no name here")
def test_a_pipe_is_no_file() -> None:
    Path("corpus").mkdir()
    Path("corpus/a.txt").write_text("A text.")
    os.mkfifo("corpus/b.txt")
    assert texts_of("corpus") == ["A text."]
