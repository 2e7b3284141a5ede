"""`dft-stats push | pull | versions | lock | cache`, as a user types them, against a server process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_control import ALICE, HubServer
from tests.profiles import profile_of
from tests.prose import documents

REPO = "alice/contracts"
TEXTS = documents(8)


@pytest.fixture
def run(server: HubServer, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run a command; its status, and what it printed."""
    environment = {**os.environ, "HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ALICE}

    def command(*arguments: str, **more: str) -> tuple[int, str, str]:
        given = [sys.executable, "-m", "dft_stats.cli", *arguments]
        done = subprocess.run(given, env={**environment, **more}, capture_output=True, text=True, check=False, cwd=tmp_path)
        return done.returncode, done.stdout, done.stderr

    for number, version in enumerate(("1.0.0", "1.1.0")):
        profile_of(TEXTS[: 5 + number], tmp_path / version, name="contracts", version=version)
    return command


def test_from_push_to_cache(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert run("push", "1.0.0", REPO, "--dry-run")[:2][0] == 0
    status, out, err = run("push", "1.0.0", REPO)
    assert (status, "alice/contracts 1.0.0 is published" in out, "(private, 13 files)" in out) == (0, True, True)
    assert "sending 13 files" in err
    status, out, _ = run("push", "1.1.0", REPO, "--json")
    assert (status, json.loads(out)["previous"]) == (0, "1.0.0")
    status, _, err = run("push", "1.1.0", REPO)
    assert status == 1
    assert err.startswith("error: alice/contracts has 1.1.0 already")
    status, out, _ = run("pull", f"{REPO}@1.0", "--to", "mine")
    assert status == 0
    assert (tmp_path / "mine" / "manifest.json").read_bytes() == (tmp_path / "1.0.0" / "manifest.json").read_bytes()
    assert run("verify", f"{REPO}@1.0.0")[0] == 0
    assert "contracts@1.0.0" in run("show", f"{REPO}@1.0.0")[1]
    status, out, _ = run("versions", REPO)
    assert [line.split()[0] for line in out.splitlines()] == ["1.0.0", "1.1.0"]
    assert out.count("kept here") == 1 + 0
    status, out, _ = run("lock", "news", f"{REPO}@1.0")
    assert (status, sorted(line.split("@")[0] for line in out.splitlines())) == (0, [REPO, "news"])
    assert "contracts@1.0.0" in run("show", REPO, HF_HUB_OFFLINE="1")[1]
    status, out, _ = run("cache")
    assert (status, len(out.splitlines())) == (0, 1)
    assert run("cache", "--remove", REPO)[0] == 0
    assert run("cache")[1] == ""
    assert run("cache", "--remove", REPO)[0] == 1


def test_a_hub_without_xet_says_how_to_do_without(run) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("hf_xet")
    status, _, err = run("push", "1.0.0", REPO, HF_HUB_DISABLE_XET="0")
    assert (status, "set HF_HUB_DISABLE_XET=1" in err) == (1, True)
    assert run("versions", REPO)[1].strip() == ""
    assert run("push", "1.0.0", REPO)[0] == 0


def test_a_step_too_small_prints_the_table_of_changes(run) -> None:  # type: ignore[no-untyped-def]
    assert run("push", "1.0.0", REPO)[0] == 0
    Path("patch").mkdir()
    profile_of(TEXTS[:4], Path("1.0.1"), name="contracts", version="1.0.1")
    status, _, err = run("push", "1.0.1", REPO)
    assert status == 1
    assert err.splitlines()[0].endswith("Changed:")
    assert any(line.split()[:3] == ["minor", "rows", "of"] for line in err.splitlines()[1:])


def test_no_error_shows_the_token_or_a_traceback(run) -> None:  # type: ignore[no-untyped-def]
    for arguments in (
        ("pull", "alice/none"),
        ("push", "1.0.0", "bob/x"),
        ("versions", "alice/none"),
        ("lock", "alice/none"),
        ("pull", "a b"),
    ):
        status, out, err = run(*arguments)
        assert status == 1
        assert err.startswith("error: ")
        assert "Traceback" not in err
        assert ALICE not in out + err


def test_settings_that_are_wrong_are_named(run) -> None:  # type: ignore[no-untyped-def]
    for more, what in (
        ({"HF_ENDPOINT": ""}, "'' is no address of a Hub"),
        ({"HF_ENDPOINT": "http://me:s3cret@127.0.0.1:9"}, "has a user name or a password in it, which is not supported"),
        ({"HF_TOKEN": "hf_é"}, "the token has characters that no token has"),
        ({"DFT_STATS_LOCK": "nowhere.lock"}, "the lock file, does not exist"),
    ):
        status, out, err = run("pull", f"{REPO}@1", **more)
        assert status == 1
        assert what in err
        assert "s3cret" not in out + err
    assert "name of the profile is empty" in run("show", "")[2]
    assert "an empty name" in run("compare", "news", "")[2]
