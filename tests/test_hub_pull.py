"""Fetching: the bytes that were published, or an error that says what to do. The real client against a server process."""

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dft_stats import registry
from dft_stats.errors import (
    AccessDenied,
    HubError,
    HubUnreachable,
    IntegrityError,
    LockError,
    ProfileFormatError,
    ProfileNotFound,
    TagMoved,
    UnsafeProfile,
    VersionNotFound,
)
from dft_stats.hub import requests as requests_module
from dft_stats.hub import verbs
from dft_stats.hub.connection import connect, reach
from dft_stats.hub.push import push
from dft_stats.hub.token import Token
from dft_stats.profile import Profile
from dft_stats.registry import load
from tests.hub_control import ALICE, BOB, OFFICIAL, HubServer, silence
from tests.profiles import profile_of
from tests.prose import documents

REPO = "alice/contracts"
TEXTS = documents(8)
TABLE = "data/ngram_frequency.parquet"


@pytest.fixture
def shop(server: HubServer, tmp_path: Path) -> HubServer:
    """A Hub with alice/contracts 1.0.0, 1.1.0, 1.10.0 and 2.0.0."""
    for number, version in enumerate(("1.0.0", "1.1.0", "1.10.0", "2.0.0")):
        profile = profile_of(TEXTS[: 5 + number], tmp_path / version, name="contracts", version=version)
        push(profile, REPO, hub=server.as_user(cache=tmp_path / "publisher"))
    server.control("clear")
    shutil.rmtree(os.environ["DFT_STATS_CACHE"])
    return server


def requests(server: HubServer) -> int:
    return len(server.log())


def test_a_spec_takes_the_highest_version_that_it_admits(shop: HubServer) -> None:
    hub = shop.as_user()
    for spec, version in {"": "2.0.0", "@1": "1.10.0", "@1.1": "1.1.0", "@1.0.0": "1.0.0", "@latest": "2.0.0", "@2": "2.0.0"}.items():
        assert load(REPO + spec, hub=hub).version == version
    tags = shop.state(REPO)["tags"]
    assert load(f"{REPO}@{tags['v1.1.0']}", hub=hub).version == "1.1.0"
    with pytest.raises(VersionNotFound, match=r"has no version '1\.2'; it has 1\.0\.0, 1\.1\.0, 1\.10\.0, 2\.0\.0"):
        load(f"{REPO}@1.2", hub=hub)
    with pytest.raises(ProfileNotFound, match=r"no version 'v1'.*latest"):
        load(f"{REPO}@v1", hub=hub)


def test_what_is_fetched_is_what_was_published(shop: HubServer, tmp_path: Path) -> None:
    folder = load(f"{REPO}@1.1.0", hub=shop.as_user()).path
    files = [path.relative_to(tmp_path / "1.1.0") for path in (tmp_path / "1.1.0").rglob("*") if path.is_file()]
    assert files
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / "1.1.0" / file).read_bytes()


def test_a_fixed_version_that_was_fetched_asks_nobody(shop: HubServer) -> None:
    hub = shop.as_user()
    profile = load(f"{REPO}@1.1.0", hub=hub)
    before = requests(shop)
    commit = shop.state(REPO)["tags"]["v1.1.0"]
    for name in (f"{REPO}@1.1.0", f"{REPO}@{commit}"):
        assert load(name, hub=hub).sha256 == profile.sha256
    assert requests(shop) == before
    assert load(f"{REPO}@1", hub=hub).version == "1.10.0"  # a range asks
    assert requests(shop) > before


def test_offline_takes_what_is_here_and_nothing_else(shop: HubServer, caplog: pytest.LogCaptureFixture) -> None:
    load(f"{REPO}@1.1.0", hub=shop.as_user())
    before, offline = requests(shop), shop.as_user(offline=True)
    with caplog.at_level(logging.WARNING):
        for spec in ("@1.1.0", "@1.1", "@1", ""):
            assert load(REPO + spec, hub=offline).version == "1.1.0"
    assert "the newest that is kept here" in caplog.text
    for spec in ("@1.0.0", "@2", "@latest"):
        with pytest.raises(HubUnreachable, match=r"is not kept here; kept of alice/contracts: 1\.1\.0\..*offline mode is on"):
            load(REPO + spec, hub=offline)
    assert load("news", hub=offline).name == "news"
    assert requests(shop) == before


def test_nobody_there_is_said_before_the_client_asks(shop: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would ask again and again. How long it takes is measured by `benchmarks/hub.py`."""

    def never(*given: object, **more: object) -> None:
        raise AssertionError("asked, although nobody is there")

    load(f"{REPO}@1.1.0", hub=shop.as_user())
    monkeypatch.setattr(requests_module, "_ask", never)
    nobody = connect(endpoint="http://127.0.0.1:9", token=False, cache_dir=tmp_path / "hf")
    with silence() as swallowing, pytest.raises(HubUnreachable, match=r"cannot be reached \((no answer|timed out)\)"):
        load(REPO, hub=connect(endpoint=swallowing, token=False, cache_dir=tmp_path / "hf"))
    with pytest.raises(HubUnreachable, match=r"cannot be reached.*check the network"):
        load(REPO, hub=nobody)
    with pytest.raises(HubUnreachable, match=r"news@9 is not kept here.*Embedded: news 1\.0\.0"):
        load("news@9", hub=nobody)


def test_a_flipped_bit_is_fetched_again_once(shop: HubServer) -> None:
    shop.fault("flip", store=True, method="GET", times=1)
    assert load(f"{REPO}@1.0.0", hub=shop.as_user()).version == "1.0.0"
    shop.fault("flip", store=True, method="GET", times=99)
    with pytest.raises(IntegrityError, match="arrived twice with another hash"):
        load(f"{REPO}@1.1.0", hub=shop.as_user())
    shop.control("clear")
    assert load(f"{REPO}@1.1.0", hub=shop.as_user()).version == "1.1.0"  # nothing poisoned stayed


def test_a_flipped_bit_of_the_manifest_too(shop: HubServer) -> None:
    shop.fault("flip", method="GET", path=r"/resolve/.*/manifest\.json", times=1)
    assert load(f"{REPO}@1.0.0", hub=shop.as_user()).version == "1.0.0"
    shop.fault("flip", method="GET", path=r"/resolve/.*/manifest\.json", times=9)
    with pytest.raises(ProfileFormatError, match="manifest"):
        load(f"{REPO}@1.1.0", hub=shop.as_user())
    shop.control("clear")
    assert load(f"{REPO}@1.1.0", hub=shop.as_user()).version == "1.1.0"


def test_broken_connections_are_taken_up_again(shop: HubServer) -> None:
    before = len(shop.log())
    shop.fault("drop", store=True, method="GET", path="", after=100, times=2)
    assert load(f"{REPO}@1.0.0", hub=shop.as_user()).version == "1.0.0"
    asked = [request["path"] for request in shop.log()[before:] if request["store"]]
    assert len(asked) == len(set(asked)) + 2


def test_a_short_file_is_an_error_and_leaves_nothing(shop: HubServer) -> None:
    shop.fault("cut", store=True, method="GET", times=99)
    with pytest.raises((HubUnreachable, HubError, IntegrityError)):
        load(f"{REPO}@1.0.0", hub=shop.as_user())
    shop.control("clear")
    assert load(f"{REPO}@1.0.0", hub=shop.as_user()).version == "1.0.0"


def test_a_busy_hub_is_asked_again(shop: HubServer) -> None:
    for status, headers in ((503, {}), (429, {"Retry-After": "0"})):
        shop.fault("status", path="/refs", status=status, headers=headers, times=2)
        assert load(f"{REPO}@1.0", hub=shop.as_user()).version == "1.0.0"
    shop.fault("status", path="/refs", status=500, times=99)
    with pytest.raises(HubError, match="answered 500"):
        load(f"{REPO}@2", hub=shop.as_user())


def test_a_file_damaged_on_this_disk_is_fetched_again(shop: HubServer) -> None:
    hub = shop.as_user()
    folder = load(f"{REPO}@1.0.0", hub=hub).path
    path = (folder / TABLE).resolve()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert load(f"{REPO}@1.0.0", hub=hub).path == folder
    assert path.read_bytes() == data
    path.write_bytes(b"")
    with pytest.raises(IntegrityError, match="cannot be fetched again: offline mode is on"):
        load(f"{REPO}@1.0.0", hub=shop.as_user(offline=True))


def test_a_moved_tag_is_an_error(shop: HubServer) -> None:
    hub, tags = shop.as_user(), shop.state(REPO)["tags"]
    load(f"{REPO}@1.1.0", hub=hub)
    shop.control("tag", repo=REPO, tag="v1.1.0", commit=tags["v1.10.0"])
    assert load(f"{REPO}@1.1.0", hub=hub).version == "1.1.0"  # what is fixed and here stays
    with pytest.raises(TagMoved, match="Versions do not change"):
        load(f"{REPO}@1.1", hub=hub)
    with pytest.raises(ProfileFormatError, match=r"the tag v1\.1\.0 .* holds version 1\.10\.0"):
        load(f"{REPO}@1.1", hub=hub, accept_moved=True)


def test_a_gone_cache_does_not_forget_what_a_version_was(shop: HubServer, tmp_path: Path) -> None:
    hub, tags = shop.as_user(), shop.state(REPO)["tags"]
    load(f"{REPO}@1.1.0", hub=hub)
    shutil.rmtree(tmp_path / "hf")
    shop.control("tag", repo=REPO, tag="v1.1.0", commit=tags["v1.0.0"])
    with pytest.raises(TagMoved):
        load(f"{REPO}@1.1.0", hub=hub)


def test_who_may_read_what(shop: HubServer) -> None:
    for token in (BOB, False):
        with pytest.raises(ProfileNotFound, match=r"may (not )?see it"):
            load(REPO, hub=shop.as_user(token))
    with pytest.raises(AccessDenied, match="refuses the token"):
        load(REPO, hub=shop.as_user("hf_revoked_token"))
    shop.control("set", repo=REPO, private=False)
    assert load(f"{REPO}@1.0.0", hub=shop.as_user(False, cache=Path("anybody"))).version == "1.0.0"
    shop.control("set", repo=REPO, gated=True)
    with pytest.raises(AccessDenied, match="gated: ask for access"):
        load(f"{REPO}@1.1.0", hub=shop.as_user(BOB, cache=Path("bob")))


def test_a_revoked_token_keeps_what_it_fetched_until_it_is_removed(shop: HubServer) -> None:
    folder = load(f"{REPO}@1.0.0", hub=shop.as_user()).path
    shop.control("user", token=ALICE, name=None)
    assert load(f"{REPO}@1.0.0", hub=shop.as_user()).version == "1.0.0"
    assert [kept.version for kept in verbs.cached()] == ["1.0.0"]
    assert [kept.version for kept in verbs.remove(f"{REPO}@1")] == ["1.0.0"]
    assert verbs.cached() == []
    assert not folder.exists()
    assert not folder.parents[1].exists()  # the blobs as well
    with pytest.raises(AccessDenied):
        load(f"{REPO}@1.0.0", hub=shop.as_user())
    with pytest.raises(ProfileNotFound, match="is not in the cache"):
        verbs.remove(REPO)


def test_official_names_are_of_their_owner(shop: HubServer, tmp_path: Path) -> None:
    newer = profile_of(TEXTS, tmp_path / "newer", name="news", version="1.4.0")
    push(newer, "dft-stats/news", hub=shop.as_user(OFFICIAL, cache=tmp_path / "publisher"))
    shop.control("set", repo="dft-stats/news", private=False)
    hub = shop.as_user(False)
    before = requests(shop)
    assert {load(name, hub=hub).version for name in ("news", "news@1", "news@1.0", "news@1.0.0")} == {"1.0.0"}
    assert requests(shop) == before  # embedded
    assert {load(name, hub=hub).version for name in ("news@1.4", "news@latest")} == {"1.4.0"}
    assert [(v.version, v.is_embedded, v.is_kept) for v in verbs.versions("news", hub=hub)] == [
        ("1.0.0", True, False),
        ("1.4.0", False, True),
    ]
    with pytest.raises(VersionNotFound, match=r"it has 1\.4\.0\. Embedded: news 1\.0\.0"):
        load("news@3", hub=hub)


def test_pull_copies_whole_or_not_at_all(shop: HubServer, tmp_path: Path) -> None:
    folder = verbs.pull(f"{REPO}@1.0.0", to=tmp_path / "mine" / "contracts", hub=shop.as_user())
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert load(folder).version == "1.0.0"
    with pytest.raises(ProfileFormatError, match="give a new folder"):
        verbs.pull(f"{REPO}@1.0.0", to=folder, hub=shop.as_user())
    assert [path.name for path in folder.parent.iterdir()] == ["contracts"]


def test_pull_copies_nothing_of_a_cache_that_is_being_cleared(shop: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cleared(name: str, **how: object) -> Profile:
        profile = load(name, **how)  # type: ignore[arg-type]
        verbs.remove(name)
        return profile

    monkeypatch.setattr(verbs, "load", cleared)
    with pytest.raises(ProfileFormatError, match="no profile"):
        verbs.pull(f"{REPO}@1.0.0", to=tmp_path / "mine" / "contracts", hub=shop.as_user())
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_fault_of_this_disk_is_no_silent_hub(shop: HubServer, tmp_path: Path) -> None:
    load(f"{REPO}@1.0.0", hub=shop.as_user())  # which would do for @1 if nobody answered
    home = tmp_path / "home"
    home.write_text("a file where a folder should be")
    with pytest.raises(NotADirectoryError):
        load(f"{REPO}@1", hub=shop.as_user(cache=home / "hub"))


def test_the_cache_is_asked_for_no_latest_version(shop: HubServer) -> None:
    load(f"{REPO}@1.0.0", hub=shop.as_user())
    for name, said in ((f"{REPO}@latest", "name a version"), ("", "no name of a profile")):
        with pytest.raises(ProfileNotFound, match=said):
            verbs.remove(name)
    assert [kept.version for kept in verbs.cached()] == ["1.0.0"]


def test_a_lock_file_holds_a_project_to_the_same_bytes(shop: HubServer, tmp_path: Path) -> None:
    hub = shop.as_user()
    locked = verbs.lock(["news", f"{REPO}@1"], hub=hub)
    assert {name: entry.version for name, entry in locked.items()} == {"news": "1.0.0", REPO: "1.10.0"}
    push(profile_of(TEXTS[:4], tmp_path / "1.11.0", name="contracts", version="1.11.0"), REPO, hub=hub)
    assert load(REPO, hub=hub).version == load(f"{REPO}@1", hub=hub).version == "1.10.0"
    assert load(REPO, hub=hub, lock=False).version == "2.0.0"
    for spec in ("2", "latest"):
        with pytest.raises(LockError, match=rf"locks alice/contracts to 1\.10\.0, and alice/contracts@{spec} is asked for"):
            load(f"{REPO}@{spec}", hub=hub)
    shop.control("tag", repo=REPO, tag="v1.10.0", commit=shop.state(REPO)["tags"]["v1.0.0"])
    shutil.rmtree(os.environ["DFT_STATS_CACHE"])
    assert load(f"{REPO}@1", hub=shop.as_user(cache=Path("another"))).version == "1.10.0"  # by its commit, whatever the tag says
    text = Path("dft-stats.lock").read_bytes()
    entry = json.loads(text)
    entry["profiles"][REPO]["manifest_sha256"] = "0" * 64
    Path("dft-stats.lock").write_text(json.dumps(entry))
    with pytest.raises(IntegrityError, match=r"0{64} was asked for"):
        load(REPO, hub=shop.as_user(cache=Path("third")))
    Path("dft-stats.lock").write_bytes(text)
    assert {name: entry.version for name, entry in verbs.lock(hub=shop.as_user(cache=Path("fourth"))).items()}[REPO] == "1.11.0"
    Path("dft-stats.lock").write_text("{")
    with pytest.raises(LockError, match="cannot be read"):
        load("news")


def test_an_embedded_profile_that_is_not_the_locked_one_is_an_error(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    verbs.lock(["news"])
    profile_of(TEXTS, tmp_path / "registry" / "news" / "1.0.0", name="news")
    monkeypatch.setattr(registry, "registry_path", lambda: tmp_path / "registry")
    with pytest.raises(LockError, match="of another dft_stats"):
        load("news")


def test_what_is_no_profile_is_refused_before_it_is_fetched(server: HubServer, tmp_path: Path) -> None:
    profile = profile_of(TEXTS, tmp_path / "p", name="contracts", version="1.5.0")
    push(profile, REPO, hub=server.as_user())
    for change, what in (
        ({"path": TABLE, "text": "PAR1"}, "has 4 bytes .* the manifest says otherwise"),
        ({"path": "manifest.json", "text": "{}"}, "no manifest of a profile"),
        ({"path": "manifest.json", "text": "x" * (1 << 21)}, "more than 1,048,576"),
    ):
        commit = server.control("touch", repo=REPO, **change)["commit"]
        server.control("tag", repo=REPO, tag="v1.5.0", commit=commit)
        with pytest.raises(ProfileFormatError, match=what):
            load(f"{REPO}@1.5.0", hub=server.as_user())
        with pytest.raises(ProfileFormatError):
            load(f"{REPO}@{commit}", hub=server.as_user())
    empty = server.state(REPO)["commits"][0]["sha"]
    with pytest.raises(ProfileFormatError, match=r"has no manifest\.json"):
        load(f"{REPO}@{empty}", hub=server.as_user())
    with pytest.raises(VersionNotFound, match="no such commit"):
        load(f"{REPO}@{'0' * 40}", hub=server.as_user())


def test_a_strangers_profile_is_first_read_apart(server: HubServer, tmp_path: Path) -> None:
    profile = profile_of(["word " + "x" * 2000 + " end."], tmp_path / "p", name="contracts")
    push(profile, REPO, hub=server.as_user())
    with pytest.raises(UnsafeProfile, match=r"a text of 2,0\d\d bytes"):
        load(REPO, hub=server.as_user())
    assert verbs.cached() == []


def test_another_server_is_no_hub(server: HubServer) -> None:
    hub = connect(endpoint=server.store, token=False, cache_dir=Path("hf"))
    with pytest.raises((HubError, ProfileNotFound)):
        load(REPO, hub=hub)


def test_a_token_does_not_get_out(shop: HubServer, caplog: pytest.LogCaptureFixture) -> None:
    hub = shop.as_user()
    assert ALICE not in repr(hub) + str(hub) + repr(hub.token)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(hub)
    assert Token("abcdef-secret").scrub("a abcdef-secret b hf_0123456789 c") == "a *** b hf_*** c"
    shop.fault("status", path="/refs", status=400, headers={"X-Error-Message": f"{ALICE} is wrong"}, times=9)
    with pytest.raises(HubError) as caught:
        load(f"{REPO}@1", hub=hub)
    error: BaseException | None = caught.value
    while error is not None:
        assert ALICE not in str(error) or error is not caught.value
        assert getattr(error, "response", None) is None
        error = error.__cause__ or error.__context__
    assert ALICE not in caplog.text
    assert all(request["token"] is None for request in shop.log() if request["store"])


def test_a_token_travels_on_safe_roads_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AccessDenied, match="would travel in clear"):
        connect(endpoint="http://mirror.example", token=ALICE)
    for safe in ("https://mirror.example", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"):
        assert connect(endpoint=safe, token=ALICE).token
    monkeypatch.setenv("HF_TOKEN", ALICE)
    with caplog.at_level(logging.WARNING):
        assert not connect(endpoint="http://mirror.example").token
    assert "without your token" in caplog.text
    assert connect(endpoint="https://mirror.example").token


def test_the_settings_of_the_client_are_obeyed(shop: HubServer, tmp_path: Path) -> None:
    """They are read once, when the client is imported, so each is tried in a process of its own."""

    def run(code: str, **environment: str) -> str:
        given = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": shop.endpoint, **environment}
        done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

    code = f"import dft_stats; print(dft_stats.load('{REPO}@1.1').version)"
    assert "ProfileNotFound" in run(code)
    assert run(code, HF_TOKEN=ALICE) == "1.1.0"
    assert (tmp_path / "home" / "hub").is_dir()
    assert run(code, HF_HUB_OFFLINE="1") == "1.1.0"
    assert "offline mode is on" in run(code.replace("1.1'", "2'"), HF_HUB_OFFLINE="1")
    assert "ProfileNotFound" in run(code.replace("1.1'", "2'"), HF_TOKEN=ALICE, HF_HUB_DISABLE_IMPLICIT_TOKEN="1")
    proxy = shop.endpoint.replace("127.0.0.1", "localhost")
    away = {"HF_ENDPOINT": "http://hub.example", "HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "", "no_proxy": ""}
    assert "ProfileNotFound" in run(code, **away)  # the proxy answered
    assert any("hub.example" in request["path"] for request in shop.log())


def test_a_lock_file_is_believed_in_its_project_alone(shop: HubServer, tmp_path: Path) -> None:
    """Somebody's lock file names a commit that no tag has; what it vouches for is nobody else's version."""
    other = profile_of(TEXTS[:3], tmp_path / "other", name="contracts", version="1.0.0")
    hub, tag = shop.as_user(), shop.state(REPO)["tags"]["v1.0.0"]
    for name in ("manifest.json", *(f"data/{table}.parquet" for table in other.tables)):
        data = (other.path / name).read_bytes()
        commit = hub.api().upload_file(path_or_fileobj=data, path_in_repo=name, repo_id=REPO, repo_type="dataset").oid
    locked = {"spec": "1.0.0", "version": "1.0.0", "manifest_sha256": other.sha256, "repo": REPO, "commit": commit}
    Path("dft-stats.lock").write_text(json.dumps({"lock_version": 1, "profiles": {REPO: locked}}))
    assert load(REPO, hub=hub).sha256 == other.sha256
    Path("dft-stats.lock").unlink()
    assert load(f"{REPO}@1.0.0", hub=hub).sha256 != other.sha256
    assert load(f"{REPO}@1.0", hub=hub).path.name == tag
    Path("dft-stats.lock").write_text(json.dumps({"lock_version": 1, "profiles": {REPO: locked | {"commit": "../../x"}}}))
    with pytest.raises(LockError, match="the commit of"):
        load(REPO, hub=hub)


def test_a_commit_that_was_fetched_loads_offline(shop: HubServer) -> None:
    commit = shop.state(REPO)["tags"]["v1.1.0"]
    load(f"{REPO}@{commit}", hub=shop.as_user())
    assert load(f"{REPO}@{commit}", hub=shop.as_user(offline=True)).version == "1.1.0"
    assert [kept.commit for kept in verbs.remove(f"{REPO}@1.1.0")] == [commit]
    with pytest.raises(HubUnreachable):
        load(f"{REPO}@{commit}", hub=shop.as_user(offline=True))


def test_a_damaged_manifest_is_fetched_again(shop: HubServer) -> None:
    hub = shop.as_user()
    path = (load(f"{REPO}@1.0.0", hub=hub).path / "manifest.json").resolve()
    data = path.read_bytes()
    for damaged in (b"", b"x" + data[1:]):
        path.write_bytes(damaged)
        assert load(f"{REPO}@1.0.0", hub=hub).version == "1.0.0"
        assert path.read_bytes() == data


def test_what_another_hub_left_in_the_clients_cache_is_not_taken(shop: HubServer, tmp_path: Path) -> None:
    """The client keys its cache by repository and commit, so a mirror could have put anything there."""
    commit = shop.state(REPO)["tags"]["v1.0.0"]
    forged = profile_of(TEXTS[:2], tmp_path / "forged", name="contracts")
    folder = Path("hf") / "datasets--alice--contracts" / "snapshots" / commit
    shutil.copytree(forged.path, folder)
    found = load(f"{REPO}@1.0.0", hub=shop.as_user())
    assert found.sha256 != forged.sha256
    assert found.path.resolve() == folder.resolve()


def test_a_hub_that_wants_a_long_rest_or_says_nothing_is_given_up(shop: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.fault("status", path="/refs", status=429, headers={"Retry-After": "3600"}, times=9)
    with pytest.raises(HubError, match="answered 429"):
        load(f"{REPO}@1", hub=shop.as_user())
    monkeypatch.setattr(requests_module, "TIMEOUT", 0.5)
    for path in ("/refs", "/paths-info"):
        shop.control("clear")
        shop.fault("hang", path=path, seconds=5, times=9)
        with pytest.raises(HubUnreachable, match="could not be read"):
            load(f"{REPO}@1", hub=shop.as_user())


def test_one_version_has_one_tag(shop: HubServer) -> None:
    tags = shop.state(REPO)["tags"]
    for alias in ("v01.0.0", "v1.00.0", "v１.0.0"):
        shop.control("tag", repo=REPO, tag=alias, commit=tags["v2.0.0"])
    assert load(f"{REPO}@1.0", hub=shop.as_user()).version == "1.0.0"
    with pytest.raises(ProfileNotFound, match="has no version"):
        load(f"{REPO}@01.0.0", hub=shop.as_user())


def test_the_proxy_is_that_of_the_client(shop: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", shop.endpoint)
    reach(connect(endpoint="https://nowhere.invalid", token=False))
    with pytest.raises(AccessDenied, match="in clear"):
        connect(endpoint="http://127.0.0.1:1", token=ALICE)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert connect(endpoint="http://127.0.0.1:1", token=ALICE).token
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"through the proxy 127\.0\.0\.1"):
        reach(connect(endpoint="https://nowhere.invalid", token=False))


def test_a_cache_that_cannot_be_written_costs_memory_and_nothing_else(shop: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    monkeypatch.setenv("DFT_STATS_CACHE", str(Path("file").absolute() / "cache"))
    assert load(f"{REPO}@1.0.0", hub=shop.as_user()).version == "1.0.0"
