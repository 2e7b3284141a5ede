"""A stranger's profile: sizes, bombs, and thousands of damaged files. Each is read as it was published, or refused."""

import contextlib
import hashlib
import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.errors import ProfileFormatError, UnsafeProfile
from dft_stats.manifest import MANIFEST, SELF, canonical, read_manifest, self_sha256
from dft_stats.profile import Profile, read_profile
from dft_stats.tables import SCHEMAS, logical_sha256, table_path
from dft_stats.untrusted import Limits, check, check_apart, check_sizes
from tests.fuzz_tables import damage, mutate
from tests.profiles import profile_of
from tests.prose import documents

MUTATIONS = 5_000


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return profile_of(documents(3), tmp_path_factory.mktemp("sound") / "p")


@pytest.fixture
def folder(sound: Profile, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound.path, tmp_path / "p"))


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with the right hash of itself, as a stranger would."""
    manifest = {key: value for key, value in manifest.items() if key != SELF}
    (folder / MANIFEST).write_bytes(canonical({**manifest, SELF: self_sha256(manifest)}))


def put(folder: Path, name: str, table: pa.Table, **how: Any) -> None:
    """Put a table in the place of another, with its right hash in the manifest."""
    path, manifest = folder / table_path(name), json.loads((folder / MANIFEST).read_bytes())
    pq.write_table(table, path, **how)
    facts: dict[str, Any] = {"rows": len(table), "bytes": path.stat().st_size, "logical_sha256": logical_sha256(table)}
    facts |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    manifest["tables"] = [entry | facts if entry["name"] == name else entry for entry in manifest["tables"]]
    seal(folder, manifest)


def spelling(texts: pa.Array) -> pa.Table:
    return pa.table([texts, pa.array([1] * len(texts), pa.int64())], schema=SCHEMAS["spelling"])


def test_what_is_sound_passes(folder: Path) -> None:
    check(folder)
    check_apart(folder)


def test_a_small_file_that_claims_a_terabyte_is_refused(folder: Path) -> None:
    bomb = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), pa.array(["x" * 1_000_000]))
    path = folder / table_path("spelling")
    table = pa.table({"spelling": bomb, "count": pa.array([1] * 1_000_000, pa.int64())})
    pq.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 10_000
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for entry in manifest["tables"]:
        if entry["name"] == "spelling":
            entry |= {"rows": 1_000_000, "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    seal(folder, manifest)
    with pytest.raises(UnsafeProfile, match="spelling"):
        check_apart(folder, Limits(memory=2 << 30))


def test_texts_that_repeat_their_beginnings_cannot_grow_for_ever(folder: Path) -> None:
    put(
        folder,
        "spelling",
        spelling(pa.array(["x" * 100_000] * 500)),
        column_encoding={"spelling": "DELTA_BYTE_ARRAY"},
        use_dictionary=False,
    )
    assert (folder / table_path("spelling")).stat().st_size < 200_000
    with pytest.raises(UnsafeProfile, match=r"decodes to more than|a text of 100,000 bytes"):
        check(folder, Limits(decoded_bytes=10 << 20))


def test_a_text_longer_than_any_token_is_refused(folder: Path) -> None:
    put(folder, "spelling", spelling(pa.array(["a", "é" * 512, "b"])))
    check(folder)
    put(folder, "spelling", spelling(pa.array(["a", "é" * 513, "b"])))
    with pytest.raises(UnsafeProfile, match="a text of 1,026 bytes in spelling"):
        check(folder)


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("sentence_length", {"length": 2_000_000_000}, "more than 10,000,000"),
        ("sentence_length", {"length": -5}, "-5 in length"),
        ("token_frequency", {"count": -1}, "-1 in count"),
        ("spectrum", {"table": "token_frequency", "group": "", "count": 1, "types": 2_000_000_000}, "types of words or more were pruned"),
    ],
)
def test_numbers_that_no_counting_gives_are_refused(folder: Path, sound: Profile, name: str, change: dict[str, Any], what: str) -> None:
    table = sound.table(name)
    row = (table.slice(0, 1).to_pylist() or [{}])[0] | change
    put(folder, name, pa.concat_tables([table, pa.Table.from_pylist([row], schema=SCHEMAS[name])]).combine_chunks())
    with pytest.raises(UnsafeProfile, match=what):
        check(folder)


def test_the_process_apart_imports_nothing_from_the_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("random", "json", "pyarrow"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    check_apart(folder)


def test_sizes_are_refused_before_anything_is_read(folder: Path) -> None:
    with pytest.raises(UnsafeProfile, match="more than the 100 that a table may have"):
        check_sizes({"data/a.parquet": 101}, Limits(table_bytes=100))
    with pytest.raises(UnsafeProfile, match="of a profile"):
        check_sizes({"data/a.parquet": 60, "data/b.parquet": 60}, Limits(table_bytes=100, profile_bytes=100))
    for limits, what in (
        (Limits(rows=1), "rows"),
        (Limits(row_groups=0), "row groups"),
        (Limits(footer_bytes=10), "footer"),
        (Limits(decoded_bytes=10), "decoded"),
    ):
        with pytest.raises(UnsafeProfile, match=what):
            check(folder, limits)


def test_other_columns_are_refused(folder: Path) -> None:
    put(folder, "spelling", pa.table({"spelling": ["a"], "count": pa.array([1], pa.int32())}))
    with pytest.raises(UnsafeProfile, match="expected"):
        check(folder)
    for read in (check_apart, read_profile):
        with pytest.raises(ProfileFormatError):
            read(folder)


def test_a_process_that_dies_is_a_refusal(folder: Path) -> None:
    with pytest.raises(UnsafeProfile, match=r"status|memory|limits"):
        check_apart(folder, Limits(memory=64 << 20))


def test_the_process_apart_has_no_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = tmp_path / "environment"
    spy = tmp_path / "python"
    spy.write_text(f'#!/bin/sh\nenv > {seen}\nexec {sys.executable} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    monkeypatch.setattr(sys, "executable", str(spy))
    check_apart(folder)
    assert "PATH=" in seen.read_text()
    assert "mine" not in seen.read_text()


def test_damaged_tables_are_read_as_they_were_or_refused(sound: Profile) -> None:
    """Whoever damages a table can also mend the hash. A process that dies of one is what `check_apart` is for, and is counted."""
    found = damage(sound.path, MUTATIONS)
    assert set(found) <= {"same", "refused", "ended"}
    assert found["refused"] > 0.5 * MUTATIONS, found
    assert found["same"] > 0, found
    assert found["ended"] < 0.01 * MUTATIONS, found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


@given(st.data())
def test_any_manifest_is_read_or_refused(sound: Profile, data: st.DataObject) -> None:
    folder = sound.path.parent / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for _ in range(25):
        manifest = json.loads((sound.path / MANIFEST).read_bytes())
        for _ in range(data.draw(st.integers(1, 2))):
            place = data.draw(st.sampled_from([p for p in places(manifest) if p]))
            inner = manifest
            for key in place[:-1]:
                inner = inner[key]
            if data.draw(st.booleans()):
                inner[place[-1]] = data.draw(json_values)
            else:
                del inner[place[-1]]
        manifest.pop(SELF, None)
        seal(folder, manifest)
        try:
            found = read_manifest(folder)
        except ProfileFormatError:
            continue
        profile = Profile(folder, found)
        assert f"{profile.name}@{profile.version}" in repr(profile)
        assert len(profile.tables) >= 11


def test_any_damaged_manifest_is_refused(folder: Path) -> None:
    whole = (folder / MANIFEST).read_bytes()
    for number in range(2000):
        damaged = mutate(whole, random.Random(number))
        (folder / MANIFEST).write_bytes(damaged)
        with contextlib.suppress(ProfileFormatError):
            assert canonical(read_manifest(folder)) == whole
