"""Parts on disk say what parts in memory say, packed or not, and however far a process came that was packing."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dft_stats.build import parts
from dft_stats.build.events import Part
from dft_stats.build.formats import signed
from dft_stats.build.job import Job
from dft_stats.build.order import spelt
from dft_stats.build.owners import owners_of
from dft_stats.build.parts import AnyPart, Lexicon, PackedPart, pack, read_part, write_part, write_texts
from dft_stats.build.places import STRETCH
from dft_stats.masking import Masks
from tests.prose import documents as prose

TEXTS = [*prose(12), 'He said: "No."\n\nThen U.S. law — it\'s 3.5 %!', "", "caté 中文 😀"]


def said(part: AnyPart) -> tuple[list[str], list[int]]:
    return part.vocabulary.to_pylist(), part.stream.tolist()


def counted(texts: list[str]) -> Part:
    return Job().count(texts)


@pytest.mark.parametrize("texts", [TEXTS, [""], []])
def test_packed_it_says_the_same(texts: list[str], tmp_path: Path) -> None:
    part, folder = counted(texts), tmp_path / "1"
    write_part(part, folder)
    for _ in range(2):
        pack(folder)
        found = read_part(folder)
        assert isinstance(found, PackedPart)
        assert said(found) == said(part)
        assert (found.exposure, found.owners, found.masked) == (part.exposure, None, {})
        assert not list(folder.glob("stream.npy"))
    wanted = {name: np.sort(np.concatenate([rows.key, rows.single_key])) for name, rows in part.texts.items()}
    theirs, ours = (owners_of(wanted, [own, part], 3, 1 << 20) for own in (found, part))
    assert {name: number.tolist() for name, number in theirs.items()} == {name: number.tolist() for name, number in ours.items()}
    for name, rows in part.texts.items():
        for size in (STRETCH,) if name == "surface" else (int(name.partition("/")[2] or 1),):
            places = np.concatenate([rows.unit, rows.single_unit]).astype(np.uint64)
            assert spelt([found], places, size).equals(spelt([part], places, size))


def test_packed_it_takes_less(tmp_path: Path) -> None:
    write_part(counted(prose(400)), tmp_path / "1")
    before = sum((tmp_path / "1" / f"{name}.npy").stat().st_size for name in ("stream", "letters", "offsets"))
    pack(tmp_path / "1")
    assert sum(file.stat().st_size for file in (tmp_path / "1").glob("*.parquet") if file.stem in ("stream", "vocabulary")) < before / 2


@pytest.mark.parametrize("written", range(3))
def test_half_packed_it_says_the_same(written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before the first file, the second, or before what they replace is deleted."""
    part, folder = counted(TEXTS), tmp_path / "1"
    write_part(part, folder)
    replace, left = parts.os.replace, [written]

    def stopping(source: Path, target: Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(parts.os, "replace", stopping)
        if written == 2:
            patch.setattr(Path, "unlink", lambda *_, **__: stopping(folder, folder))
        with pytest.raises(KeyboardInterrupt):
            pack(folder)
    assert said(read_part(folder)) == said(part)
    pack(folder)
    assert said(read_part(folder)) == said(part)
    assert {file.name for file in folder.iterdir()}.isdisjoint({"stream.npy", "letters.npy", "offsets.npy", ".stream.parquet"})


def test_what_is_left_of_a_folder_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped amid deleting it."""

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        with monkeypatch.context() as patch:
            patch.setattr(parts.shutil, "rmtree", stopped)
            with pytest.raises(KeyboardInterrupt):
                parts.discard(tmp_path / name)
        assert not (tmp_path / name).exists()
    parts.discard(tmp_path / "one")
    assert [path.name.startswith(".other-") for path in tmp_path.iterdir()] == [True]


def test_packed_it_knows_whose_its_documents_are(tmp_path: Path) -> None:
    part = Job(masks=Masks(), group_column="by").count(
        [signed(text, by) for text, by in zip(prose(3), ["anna", "ben", "anna"], strict=True)]
    )
    write_part(part, tmp_path / "1")
    pack(tmp_path / "1")
    found = read_part(tmp_path / "1")
    assert isinstance(found, PackedPart)
    assert part.owners is not None
    assert found.owners is not None
    assert found.owners.tolist() == part.owners.tolist()
    assert part.owners[0] == part.owners[2] != part.owners[1]


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=30))
@example(texts=[" a", "a\n\n", "", " "])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_lexicon_spells_what_it_was_given(texts: list[str], tmp_path: Path) -> None:
    write_texts(pa.array([*texts, "more"], pa.large_string()).slice(0, len(texts)), tmp_path / "lexicon.parquet")
    part = Lexicon(tmp_path / "lexicon.parquet")
    places = np.arange(len(texts), dtype=np.uint64)
    for units in (1, STRETCH):
        assert spelt([part], places, units).to_pylist() == texts
    assert part.exposure.documents == 0
