"""The commands: results on stdout, errors in one line on stderr, and a status that says which."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dft_stats
from dft_stats import registry
from dft_stats.cli import main
from dft_stats.text import MARK_CLASSES
from tests.profiles import profile_of
from tests.prose import PARAGRAPHS
from tests.prose import documents as prose

LEGAL = "The party shall indemnify the other party under this agreement. Each party shall bear the cost of this agreement. "


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of `stories` and `contracts`, and a working directory of its own."""
    root = tmp_path / "registry"
    profile_of(prose(12), root / "stories" / "1.0.0", name="stories", min_documents=2)
    profile_of([LEGAL * 6, LEGAL * 4], root / "contracts" / "1.0.0", name="contracts")
    monkeypatch.setattr(registry, "registry_path", lambda: root)
    monkeypatch.chdir(tmp_path)
    return root


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def data(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(output(capsys, *arguments, "--json"))


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert [(entry["name"], entry["version"]) for entry in data(capsys, "list")] == [("contracts", "1.0.0"), ("stories", "1.0.0")]
    assert "stories@1.0.0" in output(capsys, "list")


def test_show(capsys: pytest.CaptureFixture[str], shelf: Path) -> None:
    found = data(capsys, "show", "stories")
    summary = registry.load("stories").summary()
    assert found == json.loads(json.dumps(summary)) | {"name": "stories", "version": "1.0.0", "segmenter": found["segmenter"]}
    assert {"documents", "sentences", "words", "sentence_length", "marks_per_1000_words", "entropy_bits"} <= found.keys()
    assert found["sentence_length"].keys() == {"mean", "sd", "cv", "lag1"}
    assert found["marks_per_1000_words"].keys() == set(MARK_CLASSES)
    assert found["segmenter"]["name"] == "rule"
    assert data(capsys, "show", str(shelf / "stories" / "1.0.0")) == found
    text = output(capsys, "show", "stories@1.0.0")
    assert f"{summary['words']:,}" in text
    assert f"{summary['sentence_length']['mean']:.2f}" in text


def test_compare(capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "compare", "stories", "contracts")
    assert (found["reference"], found["other"]) == ("stories@1.0.0", "contracts@1.0.0")
    assert {difference["statistic"] for difference in found["differences"]} >= {"token_frequency", "sentence_length"}
    text = output(capsys, "compare", "stories", "contracts")
    assert "token_frequency" in text
    assert "party" in text


def test_brackets_of_a_text_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    profile_of(["It [was] so [red] and [/red] so. " * 20] * 2, Path("brackets"))
    assert "[was" in output(capsys, "compare", "stories", "brackets")


def test_nearest_of_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    profile_of([LEGAL], Path("mine"))
    found = data(capsys, "nearest", "mine")
    assert [entry["name"] for entry in found] == ["contracts", "stories"]
    assert all(entry.keys() == {"name", "distance"} for entry in found)
    assert found[0]["distance"] < found[1]["distance"]
    assert [entry["name"] for entry in data(capsys, "nearest", "mine", "--reference", "stories")] == ["stories"]
    assert data(capsys, "nearest", "stories")[0]["name"] == "stories"
    text = output(capsys, "nearest", "mine")
    assert text.index("contracts") < text.index("stories")


def test_verify(capsys: pytest.CaptureFixture[str], shelf: Path) -> None:
    assert output(capsys, "verify", "stories").endswith(": ok\n")
    assert data(capsys, "verify", "stories")["ok"] is True
    with (shelf / "stories" / "1.0.0" / "README.md").open("a") as card:
        card.write("!")
    assert "the card, was changed" in failure(capsys, "verify", "stories")
    assert main(["verify", "stories", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == ["README.md, the card, was changed after the profile was written"]


def test_errors_name_the_thing_and_the_remedy(capsys: pytest.CaptureFixture[str], shelf: Path) -> None:
    assert "did you mean 'stories'" in failure(capsys, "show", "storys")
    assert "Embedded: stories 1.0.0" in failure(capsys, "show", "stories@9.0.0")
    assert "stories" in failure(capsys, "compare", "nothing", "stories")
    (shelf / "stories" / "1.0.0" / "data" / "entropy.parquet").unlink()
    assert "entropy.parquet is missing" in failure(capsys, "show", "stories")
    assert "entropy.parquet is missing" in failure(capsys, "verify", "stories")


def test_nearest_without_a_registry(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profile_of([LEGAL], Path("mine"))
    monkeypatch.setattr(registry, "registry_path", lambda: tmp_path / "none")
    assert "--reference" in failure(capsys, "nearest", "mine")
    assert "no profiles" in output(capsys, "list")
    assert data(capsys, "list") == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["show"],
        ["build", "x"],
        ["build", "--privacy", "none", "x", "--out", "y", "--name", "z", "--min-count", "0"],
        ["show", "x", "--yaml"],
    ],
)
def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: dft-stats" in captured.err


def test_help_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("list", "show", "compare", "nearest", "verify", "build", "audit", "demo"):
        assert command in output(capsys, "--help")
        assert "usage" in output(capsys, command, "--help")


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "list_profiles", interrupt)
    assert main(["list"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["show", "stories", "--json"], ["show", "stories"], ["list"], ["--version"], ["--help"]])
def test_a_closed_pipe_is_quiet(shelf: Path, command: list[str]) -> None:
    folder = str(shelf / "stories" / "1.0.0")
    program = [sys.executable, "-m", "dft_stats.cli", *(folder if word == "stories" else word for word in command)]
    running = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(registry.__file__).parent.parent)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    with running.stderr:
        assert running.stderr.read() == b""
    assert running.wait() == 0


def test_a_home_that_nobody_has_is_said(capsys: pytest.CaptureFixture[str], shelf: Path) -> None:
    for command in (["show", "~nobody-at-all/x"], ["compare", "stories", "~nobody-at-all/x"]):
        assert main(command) == 1
        assert "give the folder itself" in capsys.readouterr().err


def test_a_profile_in_a_folder_with_brackets_is_one(capsys: pytest.CaptureFixture[str], shelf: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(shelf / "stories" / "1.0.0", tmp_path / "p[1]")
    assert main(["compare", "stories", str(folder)]) == 0
    assert "stories" in capsys.readouterr().out


def test_build_then_everything_else(capsys: pytest.CaptureFixture[str]) -> None:
    Path("texts").mkdir()
    for i, text in enumerate(prose(4)):
        (Path("texts") / f"{i}.txt").write_text(text, encoding="utf-8")
    assert main(["build", "--privacy", "none", "texts", "--out", "mine", "--name", "mine", "--licence", "mine alone"]) == 0
    captured = capsys.readouterr()
    assert "mine@1.0.0" in captured.out
    assert captured.err
    expected = profile_of(prose(4), Path("expected"))
    shown = data(capsys, "show", "mine")
    assert {key: shown[key] for key in expected.summary()} == json.loads(json.dumps(expected.summary()))
    assert data(capsys, "verify", "mine")["ok"]
    assert data(capsys, "compare", "mine", "expected")["differences"][0]["value"] == pytest.approx(0, abs=1e-9)
    assert "overwrite" in failure(capsys, "build", "--privacy", "none", "texts", "--out", "mine", "--name", "mine")
    assert data(capsys, "build", "--privacy", "none", "texts", "--out", "mine", "--name", "other", "--overwrite")["name"] == "other"


def test_nearest_and_compare_of_texts(capsys: pytest.CaptureFixture[str]) -> None:
    Path("contract.txt").write_text(LEGAL, encoding="utf-8")
    Path("story.md").write_text("\n\n".join(PARAGRAPHS[:4]), encoding="utf-8")
    before = sorted(Path().iterdir())
    assert [entry["name"] for entry in data(capsys, "nearest", "contract.txt")] == ["contracts", "stories"]
    assert [entry["name"] for entry in data(capsys, "nearest", "story.md")] == ["stories", "contracts"]
    assert data(capsys, "compare", "contracts", "contract.txt", "story.md")["other"] == "texts@1.0.0"
    assert sorted(Path().iterdir()) == before


def test_several_things_to_judge_are_texts(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt").write_text(LEGAL, encoding="utf-8")
    profile_of([LEGAL], Path("mine"))

    def remedy(given: str) -> str:
        return f"2 things were given to judge: {given}; give one profile, or files and folders of text"

    said = failure(capsys, "compare", "stories", "contracts", "stories@1.0.0")
    assert said == "error: 'contracts' is a profile, and " + remedy("'contracts', 'stories@1.0.0'") + "\n"
    assert "'mine' is a profile, and " + remedy("'mine', 'text.txt'") in failure(capsys, "nearest", "mine", "text.txt")
    said = failure(capsys, "nearest", "text.txt", "nowhere.txt")
    assert "'nowhere.txt' is neither a file nor a folder, and " + remedy("'text.txt', 'nowhere.txt'") in said
    assert data(capsys, "nearest", "text.txt", "*.txt")[0]["name"] == "contracts"


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "--version") == f"dft-stats {dft_stats.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nowhere.txt", "--name", "x"], "nowhere"), (["empty", "--name", "x"], "empty"), (["empty", "--name", "Bad Name"], "use 1 to 64")],
)
def test_a_failed_build_leaves_nothing(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    Path("empty").mkdir()
    before = sorted(Path().iterdir())
    assert main(["build", "--privacy", "none", "--out", "out", *arguments]) == 1
    assert said in capsys.readouterr().err
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "", "--out", "x", "--name", "x"], 'an empty path was given; the current folder is "."'),
        (["audit", ""], "an empty path was given"),
        (["build", "texts", "--out", "x", "--name", "x", "--deny", "names.txt"], "names.txt names nobody to be masked"),
    ],
)
def test_nothing_in_place_of_something_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    Path("names.txt").write_text("\n \n")
    Path("texts").mkdir()
    Path("texts/a.txt").write_text(PARAGRAPHS[0])
    assert said in failure(capsys, *arguments)
    assert not Path("x").exists()
