"""Profiles on disk: what is written is what is read, or an error."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dft_stats.counts import count, exposure, prune
from dft_stats.errors import IntegrityError, ProfileFormatError
from dft_stats.manifest import CARD, MANIFEST, SELF, canonical
from dft_stats.profile import read_profile, write_profile
from dft_stats.sentences import documents
from dft_stats.statistics import COUNTED
from dft_stats.tables import FLOOR_SCHEMA, TABLES, logical_sha256
from dft_stats.verify import problems
from tests.profiles import profile_of
from tests.prose import documents as prose


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return profile_of(prose(8), tmp_path / "profile", min_documents=2).path


def forge(folder: Path, **changes: object) -> None:
    """Change entries of a manifest and hash it anew, as only someone who means to would."""
    import hashlib

    manifest = json.loads((folder / MANIFEST).read_bytes()) | changes
    manifest.pop(SELF)
    manifest[SELF] = hashlib.sha256(canonical(manifest)).hexdigest()
    (folder / MANIFEST).write_bytes(canonical(manifest))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    segmented = documents(prose(8))
    profile = profile_of(prose(8), tmp_path / "profile", min_documents=2)
    assert (profile.name, profile.version) == ("test", "1.0.0")
    assert profile.exposure == exposure(segmented)
    for statistic in COUNTED:
        expected = count(statistic, segmented)
        if statistic.kind == "categorical":
            expected = prune(expected, pa.compute.greater_equal(expected.table["documents"], 2))
        found = profile.counts(statistic.name)
        assert found.table.equals(expected.table)
        assert found.spectrum.to_pylist() == expected.spectrum.to_pylist()
        assert sorted(found.totals.to_pylist(), key=repr) == sorted(expected.totals.to_pylist(), key=repr)
        assert profile.table(statistic.name).schema.field("count").type == pa.int64()
    assert profile.table("documents")["words"].to_pylist() == [sum(u.kind == -1 for s in d for u in s) for d in segmented]
    assert problems(profile.path) == []


@pytest.mark.parametrize("texts", [[], [""], ["word"], ["no full stop"], ["\x00\x07"], ["😀 👩\u200d👩"], ["One.\r\nTwo.\r\n\r\nThree."]])
def test_degenerate_corpora_have_profiles(texts: list[str], tmp_path: Path) -> None:
    profile = profile_of(texts, tmp_path / "profile")
    assert problems(profile.path) == []
    assert profile.summary()["documents"] == len(texts)


def test_the_same_counts_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (profile_of(prose(8), tmp_path / name) for name in ("first", "second"))
    assert first.sha256 == second.sha256
    for path in sorted(first.path.rglob("*.*")):
        assert path.read_bytes() == (second.path / path.relative_to(first.path)).read_bytes()


def test_the_manifest_is_canonical(folder: Path) -> None:
    written = (folder / MANIFEST).read_bytes()
    assert written == canonical(json.loads(written))
    (folder / MANIFEST).write_bytes(json.dumps(json.loads(written)).encode())
    assert problems(folder) == ["manifest.json is not in its canonical form (sorted keys, one space of indentation)"]


@pytest.mark.parametrize("name", [*(f"data/{name}.parquet" for name in TABLES), MANIFEST])
def test_a_changed_byte_is_an_error(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    position = content.index(b'"words": ') + 9 if name == MANIFEST else len(content) // 2
    content[position] = ord("7") if content[position] != ord("7") else ord("8")
    (folder / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=Path(name).name):
        read_profile(folder)
    assert problems(folder)


def test_a_changed_card_is_seen_by_verify(folder: Path) -> None:
    with (folder / CARD).open("a") as card:
        card.write("!")
    assert problems(folder) == ["README.md, the card, was changed after the profile was written"]
    (folder / CARD).unlink()
    assert problems(folder) == ["README.md, the card, is missing"]


def test_a_file_too_many_is_seen_by_verify(folder: Path) -> None:
    (folder / "data" / "text.parquet").write_bytes(b"")
    assert problems(folder) == ["data/text.parquet is no part of a profile"]


def test_a_missing_table_is_an_error(folder: Path) -> None:
    (folder / "data" / "surface.parquet").unlink()
    with pytest.raises(IntegrityError, match=r"surface\.parquet is missing"):
        read_profile(folder)


def test_unverified_reading_skips_the_tables(folder: Path) -> None:
    (folder / "data" / "surface.parquet").write_bytes(b"")
    assert read_profile(folder, verify=False).name == "test"


def test_a_half_written_folder_is_an_error(folder: Path, tmp_path: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(ProfileFormatError, match="never finished"):
        read_profile(folder)
    with pytest.raises(ProfileFormatError, match="is no folder"):
        read_profile(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": "other"}', b'{"format": "dft-stats-profile"}'])
def test_what_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ProfileFormatError, match="no manifest of a profile"):
        read_profile(folder)


def test_a_newer_format_is_refused_with_the_remedy(folder: Path) -> None:
    forge(folder, format_version=4)
    with pytest.raises(ProfileFormatError, match=r"format 4.*pip install -U"):
        read_profile(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"tables": []},
        {"tables": [1]},
        {"tables": 3},
        {"exposure": {}},
        {"exposure": None},
        {"merged": [{"name": "x"}]},
        {"merged": 1},
        {"undercount": None},
        {"undercount": {"documents": "1"}},
        {"keep": {"min_documents": None}},
    ],
)
def test_a_forged_manifest_of_another_shape_is_refused(folder: Path, changes: dict[str, object]) -> None:
    forge(folder, **changes)
    with pytest.raises(ProfileFormatError, match="rebuild"):
        read_profile(folder)


def test_verify_sees_what_a_forged_manifest_says(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    forge(folder, exposure=manifest["exposure"] | {"words": 1, "sentences": 2})
    found = problems(folder)
    assert any("the manifest says 1" in line for line in found)
    assert any("the manifest says 2" in line for line in found)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("token_frequency", lambda table: table.take(list(range(len(table)))[::-1]), "not sorted"),
        ("token_frequency", lambda table: pa.concat_tables([table.slice(0, 1), table]), "a key occurs twice"),
        ("token_frequency", lambda table: table.slice(1), "totals say"),
        ("surface", lambda table: table.set_column(2, "documents", pa.array([99] * len(table))), "count >= documents"),
        ("ngram_frequency", lambda table: table.set_column(4, "square_128", pa.array([0] * len(table))), "square_128 is too small"),
    ],
)
def test_verify_sees_tables_that_cannot_be(tmp_path: Path, name: str, change: object, said: str) -> None:
    folder = profile_of(prose(4), tmp_path / "profile").path
    path = folder / "data" / f"{name}.parquet"
    table = change(pq.read_table(path, schema=TABLES[name]))  # type: ignore[operator]
    pq.write_table(table.cast(TABLES[name]), path)
    import hashlib

    entries = json.loads((folder / MANIFEST).read_bytes())["tables"]
    for entry in entries:
        if entry["name"] == name:
            entry |= {"rows": len(table), "bytes": path.stat().st_size, "logical_sha256": logical_sha256(pq.read_table(path))}
            entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    forge(folder, tables=entries)
    assert any(said in line for line in problems(folder))


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dft_stats.profile.os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        profile_of(prose(2), tmp_path / "profile")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_replacement_leaves_the_old_profile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    before, replace = read_profile(folder).sha256, os.replace

    def fail_on_draft(source: Path, target: Path) -> None:
        if Path(target) == folder and "-old-" not in str(source):
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr("dft_stats.profile.os.replace", fail_on_draft)
    with pytest.raises(OSError, match="disk full"):
        profile_of(prose(2), folder)
    assert read_profile(folder).sha256 == before
    assert list(folder.parent.iterdir()) == [folder]


def test_a_profile_is_replaced_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    assert profile_of(prose(2), folder).exposure.documents == 2
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(ProfileFormatError, match="nothing was written"):
        profile_of(prose(2), tmp_path / "precious")
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_what_a_killed_replacement_set_aside_goes_with_the_next_one(folder: Path) -> None:
    aside = folder.parent / f".{folder.name}-old-killed"
    aside.mkdir()
    folder.rename(aside / folder.name)
    profile_of(prose(3), folder)
    assert aside.exists(), "there was nothing to replace, and perhaps it is wanted"
    profile_of(prose(2), folder)
    assert not aside.exists()


def test_folders_of_others_with_such_names_stay(tmp_path: Path) -> None:
    folder, other = tmp_path / "p[1]", tmp_path / ".p[1]-old-2023"
    profile_of(prose(3), folder)
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    profile_of(prose(2), folder)
    assert sorted(tmp_path.iterdir()) == [other, folder]
    assert (other / "notes.txt").read_text() == "mine"


def test_what_cannot_be_read_does_not_take_the_place_of_what_can(folder: Path) -> None:
    before = read_profile(folder).sha256
    with pytest.raises(ProfileFormatError, match="None as licence"):
        profile_of(prose(2), folder, facts={"licence": None})
    assert read_profile(folder).sha256 == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(("name", "version"), [("News", "1.0.0"), ("../news", "1.0.0"), ("", "1.0.0"), ("news", "1.0"), ("news", "v1.0.0")])
def test_names_and_versions_that_no_registry_could_serve_are_refused(tmp_path: Path, name: str, version: str) -> None:
    facts = {"name": name, "version": version}
    empty = FLOOR_SCHEMA.empty_table()
    with pytest.raises(ValueError, match="use"):
        write_profile(tmp_path / "p", facts=facts, exposure=exposure([]), counts={}, spelling=empty, documents=empty, floor=empty, card="")


def test_the_logical_hash_is_that_of_the_values(folder: Path, tmp_path: Path) -> None:
    path = folder / "data" / "token_frequency.parquet"
    table = pq.read_table(path)
    pq.write_table(table, tmp_path / "plain.parquet", compression="none", row_group_size=7, use_dictionary=True)
    assert logical_sha256(pq.read_table(tmp_path / "plain.parquet")) == logical_sha256(table)
    assert logical_sha256(table.slice(1)) != logical_sha256(table)
    assert logical_sha256(table.take(list(range(len(table)))[::-1])) != logical_sha256(table)


def test_the_logical_hash_tells_a_null_from_a_zero() -> None:
    with_null, with_zero = (pa.table({"x": pa.array([1.0, value], pa.float32())}) for value in (None, 0.0))
    assert logical_sha256(with_null) != logical_sha256(with_zero)


def test_no_table_but_those_there_are(folder: Path) -> None:
    with pytest.raises(KeyError, match="has no table 'text'"):
        read_profile(folder).table("text")


def test_the_logical_hash_tells_fractions_apart() -> None:
    half, quarter = (pa.table({"mean": [value]}) for value in (0.5, 0.25))
    assert logical_sha256(half) != logical_sha256(quarter)
