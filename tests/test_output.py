"""What commands print: nothing that a stranger wrote is obeyed by a terminal."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dft_stats import cli, registry
from dft_stats.build import build
from dft_stats.errors import HubError, ProfileFormatError, UnsafeProfile
from dft_stats.hub.changes import Change, as_table
from dft_stats.hub.push import push
from dft_stats.manifest import MANIFEST
from dft_stats.output import obeyed, print_json, safe
from dft_stats.profile import Profile
from dft_stats.untrusted import check, check_apart
from tests.hub_control import HubServer
from tests.profiles import profile_of
from tests.prose import documents
from tests.test_untrusted import seal

EVIL = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202eevil\u202c \u2066x\u2069 \u200b \u2028 \r \x7f"


def is_plain(text: str) -> bool:
    return not obeyed(text, but="\n")


def test_what_a_terminal_would_obey_is_spelt_out() -> None:
    assert safe("\x1b[31m\u202e\n\t\ud800") == r"\x1b[31m\u202e\n\t\ud800"
    for plain in ("news", "Zürich – „so“ 日本 ‘x’", "a\\b [red]", "\u0378"):  # the last is not assigned
        assert safe(plain) == plain
    assert is_plain(safe(EVIL))


def test_json_is_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = {EVIL: [EVIL, "\U000e0001", "é"]}
    print_json(value)
    out = capsys.readouterr().out
    assert json.loads(out) == value
    assert is_plain(out)
    assert "é" in out


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile of a stranger, whose texts are all evil."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFT_STATS_CACHE", str(tmp_path / "cache"))
    profile = profile_of([*documents(2), "A \x1b[31m b \u202e c. " * 60], tmp_path / "evil", name="evil")
    manifest: dict[str, Any] = {**profile.manifest, "title": EVIL, "licence": EVIL, "normaliser": profile.manifest["normaliser"] + EVIL}
    manifest["segmenter"] = {"name": EVIL, "version": EVIL}
    manifest["tables"] = [entry | ({"columns": [[EVIL, EVIL]], "rows": entry["rows"] + 1}) for entry in manifest["tables"]]
    seal(profile.path, manifest)
    return profile.path


@pytest.mark.parametrize("more", [(), ("--json",)])
@pytest.mark.parametrize(
    "command", [("show", "evil"), ("verify", "evil"), ("compare", "evil", "evil"), ("compare", "evil", "news"), ("nearest", "evil")]
)
def test_no_command_prints_what_a_terminal_obeys(
    evil: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], more: tuple[str, ...]
) -> None:
    cli.main([*command, *more])
    out, err = capsys.readouterr()
    assert out + err
    assert is_plain(out + err), ascii(out + err)


def test_the_list_and_a_merge_print_plain_text(evil: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = evil.parent / "registry" / "evil"
    shelf.mkdir(parents=True)
    evil.rename(shelf / "1.0.0")
    monkeypatch.setattr(registry, "registry_path", lambda: shelf.parent)
    assert cli.main(["list"]) == 0
    assert r"\x1b[2J" in "".join(capsys.readouterr().out.split())
    for arguments in (["list"], ["list", "--json"], ["show", "evil"], ["merge", "evil", "evil", "--out", "sum", "--name", "sum"]):
        cli.main(arguments)
        out, err = capsys.readouterr()
        assert is_plain(out + err)


def test_texts_that_a_terminal_obeys_are_refused_of_strangers_and_not_written(evil: Path, tmp_path: Path) -> None:
    for read in (check, check_apart):
        with pytest.raises(UnsafeProfile, match=r"the manifest has the characters .*x07"):
            read(evil)
    sound = profile_of(documents(2), tmp_path / "sound", facts={"title": "One line,\n\tand another – „so“."})
    check(sound.path)
    for facts in ({"title": "\x1b"}, {"licence": "\u202e"}, {"sources": [{"a": {"b": ["\x07"]}}]}, {"keep": {"\u200b": 1}}):
        with pytest.raises(ValueError, match="control characters"):
            profile_of(documents(2), tmp_path / "p", facts=facts)
        assert not (tmp_path / "p").exists()
    with pytest.raises(ValueError, match="control characters"):
        build(documents(2), out=tmp_path / "q", name="q", title="\x1b[2J", progress=lambda line: pytest.fail("it was counted"))


def test_a_hub_that_answers_with_escapes_is_quoted_plainly(server: HubServer, tmp_path: Path) -> None:
    push(profile_of(documents(2), tmp_path / "p", name="contracts"), "alice/contracts", hub=server.as_user())
    server.fault("status", path="/refs", status=400, headers={"X-Error-Message": "\x1b[2J\x9b31m gone"}, times=9)
    with pytest.raises(HubError, match=r"\\x1b\[2J") as caught:
        registry.load("alice/contracts@latest", hub=server.as_user())
    assert is_plain(str(caught.value))


def test_changes_and_errors_are_lines_of_their_own() -> None:
    assert as_table([Change("segmenter", "a\n  minor  x", "\x1b[2J", "major")]) == r"  major  segmenter: a\n  minor  x -> \x1b[2J"
    code = "import sys; from dft_stats.cli import main; sys.exit(main(['show', './no\\x1b[2J\\u202ething\\udc80']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert is_plain(done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "entry",
    [
        {"size": 1_000_000_000},
        {},
        [],
        "x",
        {"size": 1_000_000_000, "embedding": []},
        {"words": [9, 1]},
        {"words": [1]},
        {"scale": [-1.0]},
        {"mean": [1, 2]},
        {"mean": [True]},
        {"mean": [10**400]},
        {"correlation": [[1, 2]]},
        {"correlation": [1]},
        {"median_distance": 0},
        {"features": []},
        {"embedding": [0.5]},
        {"documents": -1},
    ],
)
def test_an_embedding_of_another_shape_is_refused_with_the_manifest(tmp_path: Path, entry: Any) -> None:
    sound = {
        "words": [50, 400],
        "documents": 100,
        "size": 2,
        "seed": 0,
        "features": ["a"],
        "median_distance": 1.5,
        "mean": [1],
        "scale": [0.0],
    }
    sound |= {"correlation": [[1]], "embedding": [0.5, 0.25]}
    folder = profile_of(documents(2), tmp_path / "p").path
    manifest = json.loads((folder / MANIFEST).read_bytes())
    seal(folder, manifest | {"document_embeddings": [sound]})
    assert isinstance(registry.load(folder), Profile)
    wrong = entry if not isinstance(entry, dict) or not entry or "size" in entry else sound | entry
    seal(folder, manifest | {"document_embeddings": [wrong]})
    with pytest.raises(ProfileFormatError, match="document_embeddings, expected mean embeddings"):
        registry.load(folder)
