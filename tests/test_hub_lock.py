"""The lock file: what is in it is loaded, or an error says why not. The real client against a server process."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from dft_stats.errors import LockError, ProfileNotFound
from dft_stats.hub import verbs
from dft_stats.hub.push import push
from dft_stats.registry import Found, load
from tests.hub_control import HubServer
from tests.profiles import profile_of
from tests.prose import documents

REPO, LOCK = "alice/contracts", Path("dft-stats.lock")


@pytest.fixture
def locked(server: HubServer, tmp_path: Path) -> dict[str, Any]:
    """A lock file with news and with alice/contracts 1.0.0, which was fetched."""
    push(profile_of(documents(3), tmp_path / "p", name="contracts"), REPO, hub=server.as_user())
    verbs.lock(["news", f"{REPO}@1"], hub=server.as_user())
    found: dict[str, Any] = json.loads(LOCK.read_text())
    return found


def write(locked: dict[str, Any], name: str = REPO, /, **changes: Any) -> None:
    entry = {key: value for key, value in (locked["profiles"][name] | changes).items() if value is not ...}
    LOCK.write_text(json.dumps(locked | {"profiles": locked["profiles"] | {name: entry}}))


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_version_that_the_commit_is_not_is_refused(server: HubServer, locked: dict[str, Any], is_kept: bool) -> None:
    if not is_kept:
        shutil.rmtree(os.environ["DFT_STATS_CACHE"])
        shutil.rmtree("hf")
    write(locked, spec="9", version="9.9.9")
    for name in (REPO, f"{REPO}@9", f"{REPO}@9.9.9"):
        with pytest.raises(LockError, match=r"has alice/contracts 9\.9\.9, and its commit \w{12} is 1\.0\.0"):
            load(name, hub=server.as_user())
    with pytest.raises(LockError, match=r"locks alice/contracts to 9\.9\.9"):
        load(f"{REPO}@1.0.0", hub=server.as_user())


@pytest.mark.parametrize("repo", ["bob/contracts", "../../../etc"])
def test_another_repository_is_refused(server: HubServer, locked: dict[str, Any], repo: str) -> None:
    write(locked, repo=repo)
    with pytest.raises(LockError, match="as the repository, and 'alice/contracts' would be asked"):
        load(REPO, hub=server.as_user())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"commit": ...}, "has not the keys"),
        ({"commit": None}, "has no commit"),
        ({"repo": None}, "has no repo"),
        ({"repo": None, "commit": None}, "has no commit"),
        ({"new": "x"}, "has not the keys"),
        ({"version": "1.x.0"}, "expected three numbers"),
        ({"version": "1.0"}, "expected three numbers"),
        ({"version": 1}, "and no text"),
        ({"spec": "newest"}, "behind the @ stands"),
        ({"spec": "2"}, "not what its spec '2' asks for"),
        ({"manifest_sha256": "0"}, "the manifest_sha256 of"),
    ],
)
def test_a_damaged_entry_says_what_is_wrong_with_it(server: HubServer, locked: dict[str, Any], changes: dict[str, Any], what: str) -> None:
    write(locked, **changes)
    with pytest.raises(LockError, match=what):
        load(REPO, hub=server.as_user())


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", "{}", '{"lock_version": 1, "profiles": null}', '{"lock_version": 1, "profiles": {"news": []}}', "\x00"]
)
def test_a_damaged_file_leaks_no_python(server: HubServer, text: str) -> None:
    LOCK.write_text(text)
    with pytest.raises(LockError, match="cannot be read") as caught:
        load("news")
    assert not any(word in str(caught.value) for word in ("NoneType", "__init__", "attribute", "invalid literal"))


def test_a_lock_file_that_is_named_and_not_there_is_an_error(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFT_STATS_LOCK", "elsewhere.lock")
    with pytest.raises(LockError, match="does not exist"):
        load("news")
    assert load("news", lock=False).name == "news"
    assert set(verbs.lock(["news"])) == {"news"}  # it is made
    assert load("news").name == "news"


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_a_lock_file_that_is_no_file_is_an_error(server: HubServer, kind: str) -> None:
    {"folder": LOCK.mkdir, "link": lambda: LOCK.symlink_to("nowhere"), "pipe": lambda: os.mkfifo(LOCK)}[kind]()
    with pytest.raises(LockError, match="does not exist" if kind == "link" else "is no file"):
        load("news")
    with pytest.raises(LockError):
        verbs.lock(["news"])


def test_a_locked_name_wins_over_a_folder(server: HubServer, locked: dict[str, Any]) -> None:
    for name in ("news", REPO):
        profile_of(documents(2), Path(name), name="mine")
        assert load(name, hub=server.as_user()).name == name.split("/")[-1]
        assert load(f"./{name}").name == load(Path(name)).name == "mine"
    LOCK.unlink()
    assert load("news").name == load(REPO).name == "mine"  # without a lock file a folder is first
    verbs.lock(["news", f"{REPO}@1"], hub=server.as_user())  # and a name is locked, not the folder
    assert json.loads(LOCK.read_text()) == locked


def test_what_another_process_locks_meanwhile_stays(server: HubServer, locked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    LOCK.unlink()
    find = verbs.find

    def beside(name: str, **how: Any) -> Found:
        monkeypatch.setattr(verbs, "find", find)
        verbs.lock(["news"])
        return find(name, **how)

    monkeypatch.setattr(verbs, "find", beside)
    assert set(verbs.lock([REPO], hub=server.as_user())) == set(locked["profiles"]) == {"news", REPO}


def test_an_empty_name_is_none(server: HubServer) -> None:
    profile_of(documents(2), Path("p"))
    os.chdir("p")
    with pytest.raises(ProfileNotFound, match="name of the profile is empty"):
        load("")
    assert load(".").name == "test"
