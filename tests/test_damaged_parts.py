"""Parts that were cut short behind the back of a build, by a crash of the machine or a copy that ended early, are counted again."""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from dft_stats.build import build
from dft_stats.build.parts import SAMPLE, SHARD
from dft_stats.build.planned import dry_run
from dft_stats.errors import CorpusError
from dft_stats.profile import Profile
from tests.prose import documents as prose


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few shards."""
    monkeypatch.setattr("dft_stats.build.shards.SHARD_BYTES", 2_000)
    monkeypatch.setattr("dft_stats.build.groups.FEWEST", 2)
    monkeypatch.setattr("dft_stats.build.groups.MOST", 3)
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i, text in enumerate(prose(40)):
        (folder / f"{i:02}.txt").write_text(text)
    return folder


def made(corpus: Path, out: Path, **more: Any) -> Profile:
    return build(corpus, out=out, **{"name": "x", "privacy": "none", "min_documents": 2, **more})


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE = (empty, cut, Path.unlink)


@pytest.mark.parametrize("forget", [None, 10_000])
def test_damaged_parts_are_counted_again(corpus: Path, tmp_path: Path, forget: int | None) -> None:
    parts, how = tmp_path / "parts", {"forget": forget, "privacy": "publish", "min_documents": 5}
    expected = content(made(corpus, tmp_path / "first", parts=parts, **how).path)
    drawn = random.Random(0)
    files = sorted(path for path in parts.rglob("*") if path.is_file())
    kinds: dict[tuple[str, bool], list[Path]] = {}
    for path in files:
        kinds.setdefault((path.name, "groups" in path.parts), []).append(path)
    assert {name for name, _ in kinds} >= {SHARD, SAMPLE, "part.json", "sizes.json"}
    assert any(is_of_group for _, is_of_group in kinds) == (forget is not None)
    for number, (name, paths) in enumerate(sorted(kinds.items())):
        harm, path = DAMAGE[number % len(DAMAGE)], drawn.choice(paths)
        harm(path)
        plan = dry_run(corpus, out=tmp_path / "x", parts=parts, forget=forget)
        assert 0 < sum(not shard.is_counted for shard in plan) < len(plan), f"{name}: only what is damaged is counted again"
        found = made(corpus, tmp_path / f"{number}", parts=parts, **how)
        assert content(found.path) == expected, name
        assert sorted(path for path in parts.rglob("*") if path.is_file()) == files, "nothing is left over"


def test_drafts_of_killed_processes_are_deleted_in_time(corpus: Path, tmp_path: Path) -> None:
    """Younger ones may be those of another build that counts into the same folder."""
    made(corpus, tmp_path / "first", parts=tmp_path / "parts")
    shard = next((tmp_path / "parts").rglob(SHARD)).parent
    old, young = (shard.with_name(f".{shard.name}-{end}") for end in ("old", "young"))
    for draft in (old, young):
        shutil.copytree(shard, draft)
    (old / SHARD).unlink()
    os.utime(old, (0, 0))
    made(corpus, tmp_path / "second", parts=tmp_path / "parts")
    assert (old.exists(), young.exists(), shard.exists()) == (False, True, True)


def test_damage_that_no_size_shows_is_an_error(corpus: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    made(corpus, tmp_path / "first", parts=parts)
    path = next(parts.glob(f"*/*/{SAMPLE}"))
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(CorpusError, match=r"is damaged .*: delete this folder, and run again") as error:
        made(corpus, tmp_path / "second", parts=parts)
    assert str(path.parent.parent) in str(error.value)
