"""A Hub that is down, busy, behind a login page, or whose cache was damaged here: what was fetched before still loads."""

import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download

from dft_stats.errors import AccessDenied, HubError, HubUnreachable, IntegrityError, ProfileFormatError, ProfileNotFound
from dft_stats.hub import index, verbs
from dft_stats.hub import requests as requests_module
from dft_stats.hub.connection import connect
from dft_stats.hub.push import push
from dft_stats.registry import load
from tests.hub_control import ALICE, HubServer
from tests.profiles import profile_of
from tests.prose import documents

REPO = "alice/contracts"
TEXTS = documents(3)
TABLE = "data/floor.parquet"


@pytest.fixture
def shop(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """A Hub with alice/contracts 1.0.0 and 1.0.1."""
    monkeypatch.setattr(requests_module, "_WAIT", 0.001)
    for version in ("1.0.0", "1.0.1"):
        push(made(tmp_path, version), REPO, hub=server.as_user(cache=tmp_path / "publisher"))
    shutil.rmtree(os.environ["DFT_STATS_CACHE"])
    return server


def made(folder: Path, version: str):  # type: ignore[no-untyped-def]
    return profile_of(TEXTS, folder / version, name="contracts", version=version)


@pytest.mark.parametrize("status", [403, 404, 407, 408, 429, 500, 502, 503, 504, 511])
def test_a_range_that_is_here_loads_whatever_is_wrong_on_the_way(shop: HubServer, caplog: pytest.LogCaptureFixture, status: int) -> None:
    hub = shop.as_user()
    load(f"{REPO}@1.0.0", hub=hub)
    shop.fault("status", path="/api/", status=status, times=99)
    with caplog.at_level(logging.WARNING):
        assert load(f"{REPO}@1", hub=hub).version == "1.0.0"
    assert f"answered {status}" in caplog.text
    with pytest.raises(HubUnreachable, match=rf"not kept here; kept of alice/contracts: 1\.0\.0\. .*answered {status}"):
        load(f"{REPO}@latest", hub=hub)


def test_a_login_page_is_no_hub(shop: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    load(f"{REPO}@1.0.0", hub=shop.as_user())
    real = requests_module._ask

    class Page:
        def json(self) -> object:
            raise ValueError("Expecting value: line 1 column 1")

    monkeypatch.setattr(requests_module, "_ask", lambda *given, **more: Page())
    assert load(f"{REPO}@1", hub=shop.as_user()).version == "1.0.0"
    monkeypatch.setattr(requests_module, "_ask", real)
    assert load(f"{REPO}@1", hub=shop.as_user()).version == "1.0.1"


def test_a_store_that_is_down_leaves_the_range_that_is_here(shop: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    load(f"{REPO}@1.0.0", hub=shop.as_user())
    monkeypatch.setattr(requests_module, "TIMEOUT", 0.3)
    shop.fault("hang", path="/paths-info", seconds=2, times=9)
    assert load(f"{REPO}@1", hub=shop.as_user()).version == "1.0.0"
    with pytest.raises(HubUnreachable):
        load(f"{REPO}@1.0.1", hub=shop.as_user())


def test_a_question_has_an_end_all_its_tries_together(shop: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "TIMEOUT", 1.0)
    shop.fault("status", path="/refs", status=503, headers={"Retry-After": "3"}, times=99)
    before = len(shop.log())
    with pytest.raises(HubUnreachable, match="answered 503"):
        load(REPO, hub=shop.as_user())
    assert len(shop.log()) == before + 1


def test_what_the_hub_itself_refuses_is_no_outage(shop: HubServer) -> None:
    load(f"{REPO}@1.0.0", hub=shop.as_user())
    shop.control("user", token=ALICE, name=None)
    with pytest.raises(AccessDenied, match="refuses the token"):
        load(f"{REPO}@1", hub=shop.as_user())
    with pytest.raises(ProfileNotFound, match="or nobody without a token may see it"):
        load(f"{REPO}@1", hub=shop.as_user(False))
    with pytest.raises(ProfileNotFound, match="or this token may not see it"):
        load(f"{REPO}@1", hub=shop.as_user("hf_bob_token"))


def test_a_commit_that_is_none_goes_no_further(shop: HubServer) -> None:
    shop.control("tag", repo=REPO, tag="v1.0.2", commit="../../\x1b[2Jx")
    with pytest.raises(HubError, match=r"\\x1b\[2Jx' is no commit"):
        load(REPO, hub=shop.as_user())


def test_publishing_mends_what_is_damaged_of_the_version_before(shop: HubServer, tmp_path: Path) -> None:
    hub = shop.as_user()
    path = (load(f"{REPO}@1.0.1", hub=hub).path / TABLE).resolve()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert push(made(tmp_path, "1.0.2"), REPO, hub=hub, dry_run=True).previous == "1.0.1"
    assert path.read_bytes() == data


def test_a_fetch_that_was_interrupted_is_not_kept(shop: HubServer, tmp_path: Path) -> None:
    hub, commit = shop.as_user(), shop.state(REPO)["tags"]["v1.0.1"]
    folder = load(f"{REPO}@1.0.1", hub=hub).path
    shutil.rmtree(tmp_path / "hf")
    hf_hub_download(REPO, "manifest.json", repo_type="dataset", revision=commit, **hub.given)
    assert (folder / "manifest.json").is_file()
    assert verbs.cached() == []
    assert [(v.version, v.is_kept) for v in verbs.versions(REPO, hub=hub)] == [("1.0.0", False), ("1.0.1", False)]
    with pytest.raises(HubUnreachable, match="is not kept here"):
        load(f"{REPO}@1.0.1", hub=shop.as_user(offline=True))
    assert push(made(tmp_path, "1.0.2"), REPO, hub=hub, dry_run=True).previous == "1.0.1"
    assert [kept.version for kept in verbs.cached()] == ["1.0.1"]
    (folder / TABLE).unlink()
    assert [kept.version for kept in verbs.remove(REPO)] == ["1.0.1"]  # what is left of it, too
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["folder", "pipe"])
@pytest.mark.parametrize("name", [TABLE, "manifest.json", "README.md"])
def test_what_is_no_file_is_fetched_again(shop: HubServer, kind: str, name: str) -> None:
    hub = shop.as_user()
    path = load(f"{REPO}@1.0.0", hub=hub).path / name
    path.unlink()
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    if name == "README.md":  # which is not read to load a profile
        shutil.rmtree(os.environ["DFT_STATS_CACHE"])
    assert load(f"{REPO}@1.0.0", hub=hub).version == "1.0.0"
    assert path.is_file()


def test_a_link_to_a_folder_is_cut_and_the_folder_left(shop: HubServer, tmp_path: Path) -> None:
    hub = shop.as_user()
    path = load(f"{REPO}@1.0.0", hub=hub).path / TABLE
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    path.unlink()
    path.symlink_to(tmp_path / "mine")
    assert load(f"{REPO}@1.0.0", hub=hub).version == "1.0.0"
    assert (tmp_path / "mine" / "file").read_text() == "mine"


def test_an_entry_of_the_index_that_is_no_file_is_passed_over(shop: HubServer) -> None:
    hub = shop.as_user()
    load(f"{REPO}@1.0.0", hub=hub)
    entry = next(Path(os.environ["DFT_STATS_CACHE"]).rglob("1.0.0.json"))
    entry.unlink()
    os.mkfifo(entry)
    assert load(f"{REPO}@1.0.0", hub=hub).version == "1.0.0"


def test_another_profile_in_the_clients_cache_is_not_the_one_that_was_fetched(shop: HubServer, tmp_path: Path) -> None:
    hub = shop.as_user()
    profile = load(f"{REPO}@1.0.0", hub=hub)
    other = profile_of(TEXTS[:1], tmp_path / "other", name="contracts", version="1.0.0")
    shutil.rmtree(profile.path)
    shutil.copytree(other.path, profile.path)
    assert load(f"{REPO}@1.0.0", hub=hub).sha256 == profile.sha256
    shutil.rmtree(profile.path)
    shutil.copytree(other.path, profile.path)
    with pytest.raises(IntegrityError, match="holds another profile"):
        load(f"{REPO}@1.0.0", hub=shop.as_user(offline=True))


def test_pull_copies_a_profile_and_nothing_beside_it(shop: HubServer, tmp_path: Path) -> None:
    hub = shop.as_user()
    folder = load(f"{REPO}@1.0.0", hub=hub).path
    (folder / "notes.txt").write_text("mine")
    os.mkfifo(folder / "pipe")
    copied = verbs.pull(f"{REPO}@1.0.0", to=tmp_path / "copy", hub=hub)
    assert not {"notes.txt", "pipe"} & {path.name for path in copied.iterdir()}
    assert (copied / "README.md").is_file()


def test_an_entry_of_an_older_index_is_read(shop: HubServer) -> None:
    hub = shop.as_user()
    load(f"{REPO}@1.0.0", hub=hub)
    entry = next(Path(os.environ["DFT_STATS_CACHE"]).rglob("1.0.0.json"))
    text = entry.read_text()
    assert '"tables"' in text
    found = index.kept_of(hub, REPO)
    before = {key: value for key, value in json.loads(text).items() if key != "tables"}
    entry.write_text(json.dumps(before))
    assert {version: replace(kept) for version, kept in index.kept_of(hub, REPO).items()} == found


def test_a_stray_tag_says_what_its_owner_can_do(shop: HubServer, tmp_path: Path) -> None:
    hub, tags = shop.as_user(), shop.state(REPO)["tags"]
    shop.control("tag", repo=REPO, tag="v2.0.0", commit=tags["v1.0.0"])
    with pytest.raises(ProfileFormatError, match=r"the tag v2\.0\.0 .* If that is you, delete the tag: .*delete_tag\('alice/contracts'"):
        push(made(tmp_path, "1.0.2"), REPO, hub=hub)


@pytest.mark.parametrize("wrong", ["a--b", "a..b", "a.", "a.git", "x" * 92])
def test_what_no_repository_is_named_is_refused_before_it_is_asked(server: HubServer, wrong: str) -> None:
    with pytest.raises(ProfileNotFound, match="cannot be the name of a repository"):
        load(f"alice/{wrong}", hub=server.as_user())
    with pytest.raises(ProfileNotFound, match="cannot be the name of a repository"):
        verbs.versions(f"alice/{wrong}", hub=server.as_user())
    assert server.log() == []


@pytest.mark.parametrize(
    ("endpoint", "what"),
    [
        ("", "'' is no address of a Hub"),
        ("huggingface.co", "is no address of a Hub"),
        ("ftp://huggingface.co", "is no address of a Hub"),
        ("http://user:s3cret@127.0.0.1:1", "which is not supported"),
        ("user:s3cret@hub.example", "which is not supported"),
    ],
)
def test_an_address_that_is_none_or_has_a_password_is_refused(endpoint: str, what: str) -> None:
    with pytest.raises(HubError, match=what) as caught:
        connect(endpoint=endpoint, token=False)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("token", ["hf_é", "hf_a b", "hf_a\nb"])
def test_a_token_that_is_none_is_refused_without_being_shown(server: HubServer, token: str) -> None:
    with pytest.raises(AccessDenied, match="characters that no token has") as caught:
        server.as_user(token)
    assert token not in str(caught.value)
