"""Every block of code in the README and the docs runs, in order, as it stands; every name of the API page exists."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import torch

from dft_stats.cli import main
from tests.prose import documents as prose
from tests.tokenizers_for_tests import gpt2_like

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    *(f"docs/{page}.md" for page in ("tutorial", "format", "statistics", "sentences", "tokenizers", "loss", "trainers", "privacy")),
    "pipelines/README.md",
)
BLOCK = re.compile(r"^```(python|bash|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("pip install", "make ")  # commands that set up a machine: `make` is what runs this


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages call the reader's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFT_STATS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "my-texts").mkdir()
    for i, text in enumerate(prose(30)):
        (tmp_path / "my-texts" / f"{i}.txt").write_text(text)
    gpt2_like().save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("workplace")
@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # of trainers, about what they use
def test_the_code_of_a_page_runs(page: str) -> None:
    size = gpt2_like().get_vocab_size()
    names = {"logits": torch.randn(2, 20, size, requires_grad=True), "labels": torch.randint(1, size, (2, 20))}
    for language, code in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, page, "exec"), names)
            continue
        if language == "yaml":  # a file, named in its first line
            Path(code.partition("\n")[0].removeprefix("# ")).write_text(code, encoding="utf-8")
            continue
        for line in filter(None, (line.partition("#")[0].strip() for line in code.splitlines())):
            if line.startswith("dft-stats "):
                assert main(shlex.split(line)[1:]) == 0, line
            else:
                assert line.startswith(ELSEWHERE) or line.startswith("python -m benchmarks"), line


def test_links_lead_somewhere() -> None:
    for page in (*PAGES, "docs/api.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text(encoding="utf-8")):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_the_names_of_the_api_page_exist() -> None:
    modules, found = [], 0
    for line in (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## `dft-stats`"):
            break
        if line.startswith("## "):
            modules = [importlib.import_module(name) for name in re.findall(r"`(dft_stats[\w.]*)`", line)]
        elif line.startswith(("| `", "`")):
            for name in re.findall(r"`(\w+)[`(]", line.split("|")[1] if line.startswith("|") else line):
                assert any(hasattr(module, name) for module in modules), name
                found += 1
    assert found > 40


def test_every_public_name_stands_on_the_api_page() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for module in ("dft_stats", "dft_stats.loss"):
        for name in importlib.import_module(module).__all__:
            assert name.startswith("__") or f"`{name}" in page, name
