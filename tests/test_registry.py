"""Profiles by name and version, and what is said when there is none."""

import shutil
from pathlib import Path

import pytest

import dft_stats
from dft_stats import registry
from dft_stats.errors import HubUnreachable, IntegrityError, ProfileFormatError, ProfileNotFound
from dft_stats.manifest import MANIFEST
from dft_stats.registry import list_profiles, load
from tests.profiles import profile_of


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of news 1.0.0, 1.9.0 and 1.10.0, and law 1.0.0."""
    root = tmp_path / "registry"
    (root / "recipes").mkdir(parents=True)
    (root / "recipes" / "news.toml").write_text("")
    for name, version, text in (
        ("news", "1.0.0", "One."),
        ("news", "1.9.0", "One. Two."),
        ("news", "1.10.0", "Up. Down. Off."),
        ("law", "1.0.0", "X"),
    ):
        profile_of([text], root / name / version, name=name, version=version)
    monkeypatch.setattr(registry, "registry_path", lambda: root)
    monkeypatch.chdir(tmp_path)
    return root


def test_a_name_is_its_newest_version(shelf: Path) -> None:
    assert load("news").exposure.sentences == 3
    assert load("news").path == shelf / "news" / "1.10.0"


def test_a_name_and_version_is_this_version_and_no_other(shelf: Path) -> None:
    assert load("news@1.0.0").exposure.sentences == 1
    assert load("news@1").path.name == "1.10.0"
    assert load("news@1.9").path.name == "1.9.0"
    for elsewhere in ("news@2.0.0", "news@1.2", "news@latest"):  # only the Hub could have it
        with pytest.raises(HubUnreachable, match=r"Embedded: news 1\.0\.0, 1\.9\.0, 1\.10\.0"):
            load(elsewhere)
    for wrong in ("news@", "news@v1", "news@1.0.0.0", "news@newest"):
        with pytest.raises(ProfileNotFound, match="behind the @ stands"):
            load(wrong)


def test_a_path_is_a_path(shelf: Path) -> None:
    for given in (shelf / "law" / "1.0.0", str(shelf / "law" / "1.0.0"), "registry/law/1.0.0", "./registry/law/1.0.0"):
        assert load(given).name == "law"


def test_a_folder_that_is_no_profile_does_not_hide_a_name(shelf: Path) -> None:
    Path("news").mkdir()
    assert load("news").name == "news"
    shutil.copytree(shelf / "law" / "1.0.0", "fiction")
    assert load("fiction").name == "law"
    with pytest.raises(ProfileFormatError, match=r"no manifest\.json"):
        load("registry")


def test_what_is_nowhere_is_not_found(shelf: Path) -> None:
    with pytest.raises(ProfileNotFound, match=r"'new'; did you mean 'news'\? .*law, news"):
        load("new")
    with pytest.raises(ProfileNotFound, match=r"law, news"):
        load("zzz")
    with pytest.raises(ProfileNotFound, match="does not exist"):
        load(Path("zzz"))
    with pytest.raises(ProfileNotFound, match="neither a folder nor the name"):
        load("./zzz")


def test_an_id_of_the_hub_that_is_a_folder_is_the_folder(shelf: Path) -> None:
    with pytest.raises(HubUnreachable, match="No folder here is named someone/news-profile either"):
        load("someone/news-profile")
    profile_of(["One."], Path("someone") / "news-profile")
    assert load("someone/news-profile").name == "test"


def test_a_damaged_profile_is_an_error_that_names_it(shelf: Path) -> None:
    (shelf / "law" / "1.0.0" / "data" / "floor.parquet").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"floor\.parquet"):
        load("law")
    assert load("law", verify=False).name == "law"
    (shelf / "law" / "1.0.0" / MANIFEST).unlink()
    with pytest.raises(ProfileFormatError, match="never finished"):
        load("law")


def test_the_list_has_all_versions_in_order(shelf: Path) -> None:
    found = list_profiles()
    assert [(info.name, info.version) for info in found] == [("law", "1.0.0"), ("news", "1.0.0"), ("news", "1.9.0"), ("news", "1.10.0")]
    last = found[-1]
    assert (last.documents, last.words, last.sentences, last.licence) == (1, 3, 3, "unspecified")
    assert last.bytes == sum(path.stat().st_size for path in (last.path / "data").iterdir())


def test_an_empty_registry_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "registry_path", lambda: tmp_path / "none")
    assert list_profiles() == []
    with pytest.raises(ProfileNotFound, match="no profiles"):
        load("news")


def test_the_embedded_registry_is_found_and_each_of_its_profiles_loads() -> None:
    assert registry.registry_path().is_dir()
    for info in dft_stats.list_profiles():
        assert dft_stats.load(f"{info.name}@{info.version}").exposure.words == info.words
