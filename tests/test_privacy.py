"""What is built to be published tells nothing that fewer documents, or authors, have than was asked for."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dft_stats.build import build
from dft_stats.build.combine import combine
from dft_stats.build.engine import count_corpus
from dft_stats.build.formats import signed
from dft_stats.build.merge import Counted, Keep
from dft_stats.build.pooling import coarse_spectrum
from dft_stats.build.withheld import readable
from dft_stats.cli import main
from dft_stats.compare import compare, nearest
from dft_stats.counts import Counts, count
from dft_stats.errors import CorpusError, IncomparableError
from dft_stats.masking import Masks
from dft_stats.profile import Profile
from dft_stats.registry import load
from dft_stats.sentences import documents
from dft_stats.statistics import COUNTED, PUNCTUATION_RHYTHM, SENTENCE_LENGTH, TOKEN_FREQUENCY
from dft_stats.text import normalise
from dft_stats.verify import problems
from tests import private_reference as reference
from tests.prose import documents as prose
from tests.strategies import texts as any_texts
from tests.tokenizers_for_tests import joining

WORDS = ("the", "The", "cats", "cat", "scatter", "Kowalski", "KOWALSKI", "kow", "don't", "3.5", "a@b.c", "x-ray", "(cats)", '"cat', "žena")
MARKS = ("", "", "", ",", ".", ".", "!", ";", ".\n\n", " —")
sentences = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(MARKS)), max_size=14).map(
    lambda pairs: " ".join(word + mark for word, mark in pairs)
)
corpora = st.lists(st.one_of(sentences, sentences, any_texts), min_size=1, max_size=12)
NAMES = ("kow",)


def fast(corpus: list[str], owners: list[str] | None, floor: int, batch: int = 100, surface_documents: int = 1) -> Counted:
    given_ = corpus if owners is None else [signed(text, owner) for text, owner in zip(corpus, owners, strict=True)]
    batches = [given_[i : i + batch] for i in range(0, len(corpus), batch)]
    keep = Keep(min_documents=floor, surface_documents=surface_documents, spelling_documents=floor, floor=floor)
    return count_corpus(batches, keep=keep, masks=Masks(NAMES), group_column=None if owners is None else "author", max_order=5)


def counted_somehow(corpus: list[str], floor: int, is_grouped: bool, data: st.DataObject) -> tuple[Counted, list[Any]]:
    """Counted in batches of any size, by documents or by authors that are drawn; and whose each text is."""
    authors = [data.draw(st.sampled_from("abcde")) for _ in corpus] if is_grouped else None
    return fast(corpus, authors, floor, data.draw(st.integers(1, 12))), authors or list(range(len(corpus)))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(corpora, st.integers(2, 4), st.booleans(), st.data())
def test_texts_that_are_told_are_those_of_the_reference(corpus: list[str], floor: int, is_grouped: bool, data: st.DataObject) -> None:
    """Exact, by documents and by authors, however the corpus is cut into batches."""
    found, own = counted_somehow(corpus, floor, is_grouped, data)
    for name, expected in reference.published(corpus, own, floor, NAMES).items():
        if expected.statistic.kind == "categorical":
            got, coarse = found.counts[name], coarse_spectrum(expected, floor)
            assert got.table.equals(expected.table), name
            assert got.spectrum.to_pylist() == coarse.spectrum.to_pylist()
            assert sorted(map(str, got.totals.to_pylist())) == sorted(map(str, expected.totals.to_pylist()))
    assert rows_of_spelling(found) == reference.spelling(corpus, own, floor, NAMES)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    corpora,
    st.integers(2, 3),
    st.integers(3, 6),
    st.integers(1, 12),
    st.lists(st.sampled_from("abcde"), min_size=12, max_size=12) | st.none(),
)
def test_stretches_that_the_surface_lacks_are_told_whole_if_enough_have_them(
    corpus: list[str], floor: int, surface_documents: int, batch: int, authors: list[str] | None
) -> None:
    own = None if authors is None else authors[: len(corpus)]
    found = fast(corpus, own, floor, batch, surface_documents)
    expected = reference.spelling(corpus, own or range(len(corpus)), floor, NAMES, surface_documents)
    assert rows_of_spelling(found) == expected


def rows_of_spelling(counted: Counted) -> dict[str, int]:
    return {row["spelling"]: row["count"] for row in counted.spelling.to_pylist()}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(corpora, st.integers(2, 4), st.booleans(), st.data())
def test_rows_of_numbers_have_owners_and_keep_the_mass(corpus: list[str], floor: int, is_grouped: bool, data: st.DataObject) -> None:
    found, own = counted_somehow(corpus, floor, is_grouped, data)
    segmented = documents(Masks(NAMES).apply(corpus)[0])
    for statistic in COUNTED:
        if statistic.kind == "categorical" and statistic is not PUNCTUATION_RHYTHM:
            continue
        got, whole = found.counts[statistic.name], count(statistic, segmented)
        (group,) = statistic.groups
        for value in set(whole.table[group].to_pylist()):
            assert got.total(value) == whole.total(value)
        assert not len(got.table) or pc.min(got.table["documents"]).as_py() >= floor
        have = reference.owners_of(statistic, segmented, own)
        for row in got.table.to_pylist():  # what is told of a kind, at least so many owners have together
            kind = [name for name in statistic.keys if name in ("series", "previous", "mark", "window")]
            together = set().union(
                *(who for key, who in have.items() if all(dict(zip(statistic.keys, key, strict=True))[n] == row[n] for n in kind))
            )
            assert len(together) >= floor
        enough = whole.table.filter(pa.array(reference.enough(whole, segmented, own, floor)))
        keys = {tuple(row[k] for k in statistic.keys): row["count"] for row in got.table.to_pylist()}
        for row in enough.to_pylist():  # nothing that may be told as it is gets lost
            assert keys[tuple(row[k] for k in statistic.keys)] >= row["count"]


def test_batches_do_not_matter_for_numbers() -> None:
    corpus = prose(60)
    whole = fast(corpus, None, 5)
    for batch in (7, 31):
        other = fast(corpus, None, 5, batch)
        for name, counts in whole.counts.items():
            assert other.counts[name].table.equals(counts.table), name
        assert other.spelling.equals(whole.spelling)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 12)), unique_by=lambda row: row[0]), st.integers(1, 6))
def test_a_coarse_spectrum_keeps_rows_and_mass(rows: list[tuple[int, int]], floor: int) -> None:
    counts = count(TOKEN_FREQUENCY, documents([""]))
    columns = counts.spectrum.schema
    spectrum = pa.Table.from_pylist([{"count": number, "types": types} for number, types in rows], schema=columns)
    found = coarse_spectrum(Counts(counts.statistic, counts.table, counts.totals, spectrum), floor).spectrum.to_pylist()
    assert sum(row["types"] for row in found) == sum(types for _, types in rows)
    assert sum(row["count"] * row["types"] for row in found) == sum(number * types for number, types in rows)
    assert sum(row["types"] < floor for row in found) <= 2  # the two sides of one mean


def test_a_count_of_one_row_is_told_with_those_of_others() -> None:
    counts = count(TOKEN_FREQUENCY, documents([""]))
    rows = [{"count": 1, "types": 1000}, {"count": 2, "types": 40}, {"count": 400, "types": 1}]
    spectrum = pa.Table.from_pylist(rows, schema=counts.spectrum.schema)
    found = coarse_spectrum(Counts(counts.statistic, counts.table, counts.totals, spectrum), 5).spectrum.to_pylist()
    assert [(row["count"], row["types"]) for row in found] == [(1, 1000), (11, 12), (12, 29)]


# --- whole profiles ---------------------------------------------------------------------------------------------------------------


SECRETS = ("jane.roe@mail.org", "www.roe.net/x", "1987-05-17", "Adler")


def rows_of(number: int, authors: int) -> list[dict[str, str]]:
    return [
        {"text": f"{text} Adler wrote to jane.roe@mail.org of www.roe.net/x on 1987-05-17, call {i}.", "author": f"author {i % authors}"}
        for i, text in enumerate(prose(number))
    ]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(150, 30)))
    return path


def strings(profile: Profile) -> list[str]:
    tables = (profile.table(name) for name in profile.tables)
    return [text for table in tables for column in table.columns if pa.types.is_string(column.type) for text in column.to_pylist()]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_profile_to_publish(corpus: Path, tmp_path: Path, workers: int) -> None:
    profile = build(corpus, out=tmp_path / "out", name="x", deny=["ADLER"], text_column="text", parts=tmp_path / "parts", workers=workers)
    assert problems(profile.path) == []
    assert profile.manifest["privacy"] == {
        "mode": "publish",
        "min_documents": 5,
        "unit": "document",
        "masked": {
            "emails": 150,
            "urls": 150,
            "digits": sum(c.isdigit() for row in rows_of(150, 30) for c in normalise(row["text"])),
            "names": profile.manifest["privacy"]["masked"]["names"],
        },
        "denied": 1,
    }
    assert profile.manifest["privacy"]["masked"]["names"] > 150
    assert profile.manifest["keep"]["min_documents"] == 5
    assert len(profile.table("documents")) == 0
    told = "\n".join(strings(profile)).lower()
    assert "anonym" in told
    assert "name@example.com" in told
    kept = b"".join(path.read_bytes() for path in (tmp_path / "parts").rglob("*") if path.is_file())
    samples = [text.decode() for path in (tmp_path / "parts").rglob("sample.parquet") for text in pq.read_table(path)["text"].to_pylist()]
    assert samples
    for secret in SECRETS:
        assert secret.lower() not in told
        assert secret.encode() not in kept
        assert not any(secret.lower() in sample.lower() for sample in samples)
    assert not re.search(
        "[1-9]", "".join(profile.table("surface")["surface"].to_pylist() + profile.table("spelling")["spelling"].to_pylist())
    )


def test_what_few_authors_have_is_not_told(tmp_path: Path) -> None:
    """Nine documents of one author pass a floor on documents, and not one on authors."""
    rows = rows_of(150, 30)
    phrase = "purple marmalade telescopes hum softly"
    for row in [row for row in rows if row["author"] in ("author 3", "author 4")]:
        row["text"] += f" The {phrase}."
    for i in range(9):
        rows.append({"text": f"{prose(9)[i]} My {phrase}.", "author": "author 3"})
    by_document = build(rows, out=tmp_path / "documents", name="x", text_column="text")
    by_author = build(rows, out=tmp_path / "authors", name="x", text_column="text", group_column="author")
    assert phrase in by_document.table("ngram_frequency")["ngram"].to_pylist()
    told = strings(by_author)
    assert not any(word in text for word in phrase.split() for text in told)
    assert by_author.manifest["privacy"]["unit"] == "group"
    assert problems(by_author.path) == []
    with pytest.raises(Exception, match="it has no rows of documents, but mean embeddings of none at all"):
        by_author.embed_documents()


def test_documents_of_nobody_are_of_one(tmp_path: Path) -> None:
    rows = [{"text": text, "author": None} for text in prose(40)]
    said = r"not one word .* 40 documents .* so many different 'author' here .* or groups of them.*--privacy none"
    with pytest.raises(CorpusError, match=said):
        build(rows, out=tmp_path / "x", name="x", group_column="author")


@pytest.mark.parametrize("group_column", [None, "author"])
def test_tokens_have_the_same_floor(tmp_path: Path, group_column: str | None) -> None:
    rows = rows_of(60, 6 if group_column is None else 4)
    how = {"text_column": "text", "group_column": group_column, "tokenizer": joining(), "max_order": 2}
    if group_column is not None:
        with pytest.raises(CorpusError, match="of the 60 documents would be kept"):
            build(rows, out=tmp_path / "x", name="x", **how)
        return
    profile = build(rows, out=tmp_path / "x", name="x", **how)
    assert pc.min(profile.table("token_pairs")["documents"]).as_py() >= 5
    assert profile.counts("token_ids").total() > 1000
    assert problems(profile.path) == []


def test_the_files_of_groups(corpus: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "corpus.parquet", row_group_size=40)
    how = {"name": "x", "text_column": "text", "group_column": "author", "min_documents": 8}
    profiles = [
        build(what, out=tmp_path / str(i), **how)  # type: ignore[arg-type]
        for i, what in enumerate((corpus, tmp_path / "corpus.parquet", rows))
    ]
    hashes = [{entry["name"]: entry["logical_sha256"] for entry in profile.manifest["tables"]} for profile in profiles]
    assert hashes[0] == hashes[1] == hashes[2]
    (tmp_path / "one.txt").write_text("A text.")
    for path, said in (
        (tmp_path / "one.txt", "is one text and has no column 'writer'"),
        (tmp_path / "corpus.parquet", "has no column 'writer'"),
        (corpus, "has no field 'writer'"),
    ):
        with pytest.raises(CorpusError, match=said):
            build(path, out=tmp_path / "no", name="x", text_column="text", group_column="writer")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"min_documents": 4}, "tells nothing that fewer than 5 documents have, and 4 was asked for"),
        ({"spelling_documents": 2}, "fewer than 5 documents"),
        ({"privacy": "none", "deny": ["x"]}, "of use only to a profile that hides something, and privacy none was"),
        ({"privacy": "public-corpus", "group_column": "x"}, "of use only to a profile that hides something, and privacy public-corpus"),
        ({"deny": ["Roe", "--"]}, "'--' is to be denied .* neither letter nor digit"),
        ({"privacy": "some"}, "privacy 'some' is not known"),
    ],
)
def test_what_is_refused(tmp_path: Path, how: dict, said: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=said):
        build(prose(9), out=tmp_path / "x", name="x", **how)
    assert not (tmp_path / "x").exists()


def test_none_tells_all_and_says_so(tmp_path: Path) -> None:
    profile = build(prose(9), out=tmp_path / "x", name="x", privacy="none")
    assert profile.manifest["privacy"] == {"mode": "none"}
    assert profile.manifest["keep"]["min_documents"] == 1
    assert len(profile.table("documents")) == 9


def test_what_everybody_can_read_may_be_told_in_full(tmp_path: Path) -> None:
    none, public = (build(prose(9), out=tmp_path / mode, name="p", privacy=mode) for mode in ("none", "public-corpus"))
    assert public.manifest["privacy"] == {"mode": "public-corpus"}
    assert [entry["logical_sha256"] for entry in none.manifest["tables"]] == [e["logical_sha256"] for e in public.manifest["tables"]]
    with pytest.raises(ValueError, match="it says privacy of its own accord"):
        build(prose(9), out=tmp_path / "x", name="x", privacy="none", facts={"privacy": {"mode": "public-corpus"}})


def test_a_sum_is_as_private_as_the_least_of_its_parts(tmp_path: Path) -> None:
    parts = [build(prose(60 + i)[i::2], out=tmp_path / f"{i}", name=f"p{i}", min_documents=5 + i) for i in range(2)]
    masked = {kind: sum(part.manifest["privacy"]["masked"][kind] for part in parts) for kind in ("digits", "emails", "names", "urls")}
    assert combine(parts, out=tmp_path / "sum", name="s").manifest["privacy"] == {
        "mode": "publish",
        "min_documents": 5,
        "unit": "document",
        "masked": masked,
    }
    assert problems(tmp_path / "sum") == []
    plain = [build(prose(30 + i)[i::2], out=tmp_path / f"open{i}", name=f"open{i}", privacy="none") for i in range(2)]
    assert combine(plain, out=tmp_path / "all", name="s").manifest["privacy"] == {"mode": "none"}
    assert problems(tmp_path / "all") == []
    with pytest.raises(IncomparableError, match=r"of p0 addresses and digits were masked .* of open1 not, so that their rows"):
        combine([parts[0], plain[1]], out=tmp_path / "mixed", name="s")
    assert not (tmp_path / "mixed").exists()


def test_masks_are_no_difference_of_writing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"{text}\n\nIn {1900 + i} it was {i}.{i} miles, {i}th of all." for i, text in enumerate(prose(60))]
    masked, plain = (build(texts, out=tmp_path / mode, name=mode, privacy=mode) for mode in ("publish", "none"))
    for pair in ((masked, plain), (plain, masked)):
        found = compare(*pair)
        assert not [item for item in (*found.overused_units, *found.underused_units) if "0" in item.text]
        assert found.note.startswith("in the texts of publish digits and addresses were masked, in those of none not")
    assert not compare(masked, masked).note
    pruned = build(texts, out=tmp_path / "pruned", name="pruned", privacy="none", min_documents=5)  # of the years no row is left
    assert not [item for item in compare(pruned, masked).overused_units if "0" in item.text]
    assert nearest(plain, [masked]) == nearest(masked, [masked])
    # Texts are masked before they are counted, if those of the reference were.
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    assert main(["compare", str(masked.path), str(tmp_path / "texts.jsonl"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["note"], told["underused_units"], told["overused_units"], told["underused_ngrams"]) == ("", [], [], [])
    values = {each["statistic"]: each["value"] for each in told["differences"]}
    assert values["token_frequency"] == values["ngram_frequency"] == 0


def test_the_command_line(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.txt").write_text("Adler\n\n  Okafor \n")
    command = ["build", str(corpus), "--out", str(tmp_path / "out"), "--name", "x", "--text-column", "text", "--group-column", "author"]
    assert main([*command, "--deny", str(tmp_path / "names.txt"), "--min-documents", "6"]) == 0
    entry = json.loads((tmp_path / "out" / "manifest.json").read_text())["privacy"]
    assert (entry["min_documents"], entry["unit"], entry["denied"]) == (6, "group", 2)
    capsys.readouterr()
    assert main([*command, "--overwrite", "--min-documents", "2"]) == 1
    assert "--privacy none" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "out")]) == 0


def test_rare_lengths_move_little(tmp_path: Path) -> None:
    """On a corpus where most lengths are common, the mean stays within a tenth of a word."""
    corpus = prose(300)
    ours, exact = (
        build(corpus, out=tmp_path / mode, name="x", privacy=mode, max_order=2).counts(SENTENCE_LENGTH.name) for mode in ("publish", "none")
    )
    mean = [sum(r["length"] * r["count"] for r in c.rows("words").to_pylist()) / c.total("words") for c in (ours, exact)]
    assert mean[0] == pytest.approx(mean[1], abs=0.1)


# --- denied names and groups ------------------------------------------------------------------------------------------------------

SPACED = "the V ank emper and DrusillaVankemper, x"


def test_rows_in_which_a_denied_name_can_be_read_are_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    rows = [f"{text} So {SPACED}." for text in prose(60)]
    whole = build(rows, out=tmp_path / "whole", name="x")
    names = ["Vankemper", "Drusilla Vankemper", "Nobody Inparticular", "example", "anonym"]
    profile = build(rows, out=tmp_path / "out", name="x", deny=names, progress=said.append)
    told = "\n".join(strings(profile)).lower()
    assert "drusilla" in "\n".join(strings(whole)).lower()
    assert "drusilla" not in told
    assert "v ank" in told  # what does not make the name is told
    assert not any("vankemper" in re.sub(r"\W|_", "", text.lower()) for text in strings(profile))
    assert problems(profile.path) == []
    for name in ("token_frequency", "surface"):
        assert profile.counts(name).total() == whole.counts(name).total()
    (unseen,) = (line for line in said if "no text has" in line)
    assert unseen.startswith("warning: no text has 'Vankemper', 'Drusilla Vankemper', 'Nobody Inparticular', 'example', 'anonym'")
    assert any(line.startswith("warning: rows of tables in which 'drusilla vankemper', 'vankemper' can be read") for line in said)
    assert profile.manifest["privacy"]["masked"].keys() == {"emails", "urls", "digits", "names"}


@given(st.lists(st.sampled_from(["kow", "kowal", "ski", "alski", "Kowalski", "a", "new", "man"]), min_size=1, max_size=5), st.data())
def test_which_rows_are_left_out(words: list[str], data: st.DataObject) -> None:
    rows = [data.draw(st.sampled_from([" ", "_", "", " - ", "."])).join(words), "other", *words]
    found = readable(rows, ("kowalski", "new"))
    for i, row in enumerate(rows):
        runs = re.findall(r"[^\W_]+", row.lower())
        joined = ["".join(runs[a:b]) for a in range(len(runs)) for b in range(a + 1, len(runs) + 1)]
        assert found.get(i, set()) == ({0} if "kowalski" in joined else set()) | ({1} if "new" in runs else set())


@pytest.mark.parametrize("parts", [False, True])
def test_names_that_no_text_has_are_said(corpus: Path, tmp_path: Path, parts: bool, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfAdler\nAdlre\n")
    command = [
        "build",
        str(corpus),
        "--out",
        str(tmp_path / "out"),
        "--name",
        "x",
        "--text-column",
        "text",
        "--workers",
        "2" if parts else "1",
    ]
    assert main([*command, "--deny", str(tmp_path / "names.txt")]) == 0
    assert "warning: no text has 'Adlre', to be masked (--deny): 1 of 2 names" in capsys.readouterr().err
    assert "adler" not in "\n".join(strings(load(str(tmp_path / "out")))).lower()


def test_a_list_of_names_in_another_encoding(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for data in ("Müller".encode("latin-1"), "Müller".encode("utf-16")):
        (tmp_path / "names.txt").write_bytes(data)
        assert main(["build", str(corpus), "--out", str(tmp_path / "out"), "--name", "x", "--deny", str(tmp_path / "names.txt")]) == 1
        said = capsys.readouterr().err
        assert re.search(r"names\.txt: byte \d+ is not UTF-8; convert the file of names, as in `iconv", said)


@given(
    st.text(" \tbobBOBßé\u00a0", max_size=6), st.sampled_from([str.upper, str.lower, str.title]), st.sampled_from(["", " ", "\t", "\n "])
)
def test_case_and_space_make_no_other_author(name: str, case: Any, space: str) -> None:
    assert signed("", name).owner == signed("", f"{space}{case(name)}{space}").owner
    assert signed("", name).owner != signed("", f"{name}x").owner
    assert signed("", None).owner == signed("", space).owner


def test_the_manifest_says_what_holds_of_stretches(tmp_path: Path) -> None:
    for least, documents_ in ((1, 5), (9, 9)):
        profile = build(prose(40), out=tmp_path / f"{least}", name="x", surface_documents=least)
        assert profile.manifest["keep"]["surface_documents"] == documents_
        assert pc.min(profile.table("surface")["documents"]).as_py() >= documents_
