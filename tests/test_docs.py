"""Every block of code in the README and the docs runs, in order, as it stands; every name of the API page exists."""

import importlib
import inspect
import re
import shlex
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dft_stats.cli import main
from dft_stats.hub import connection, verbs
from dft_stats.hub import push as pushing
from tests.hub_control import HubServer
from tests.profiles import profile_of
from tests.prose import documents as prose
from tests.tokenizers_for_tests import gpt2_like

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    *(
        f"docs/{page}.md"
        for page in ("tutorial", "format", "statistics", "sentences", "tokenizers", "loss", "trainers", "glossary", "privacy")
    ),
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
    run_page(page)


@pytest.mark.usefixtures("workplace")
def test_the_code_of_the_page_on_the_hub_runs(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.control("user", token="hf_acme_token", name="acme")
    real = connection.connect  # HF_ENDPOINT is read when the client is imported, so what it would say is put in by hand
    settings = {"endpoint": server.endpoint, "token": "hf_acme_token", "cache_dir": tmp_path / "hf"}
    for module in (connection, pushing, verbs):
        monkeypatch.setattr(module, "connect", lambda **given: real(**{**settings, **given}))
    first = profile_of(prose(5), tmp_path / "first", name="contracts", version="1.2.0")
    pushing.push(first, "acme/contracts", hub=server.as_user("hf_acme_token"))
    profile_of(prose(6), tmp_path / "my-profile", name="contracts", version="1.3.0")
    run_page("docs/hub.md")
    assert set(server.state("acme/contracts")["tags"]) == {"v1.2.0", "v1.3.0"}


def run_page(page: str) -> None:
    """Run every block of a page of the documentation, in its order."""
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
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "pipelines" / "README.md"):
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
            path = page.parent / target if target else page
            assert path.exists(), f"{page}: {target}"
            assert not anchor or anchor in anchors(path), f"{page}: {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


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


SIGNATURE = re.compile(r"^\| `([\w.]+)\(([^`]*?)\)(?: ->[^`]*)?`", re.MULTILINE)


def test_the_signatures_of_the_api_page_are_those_of_the_code() -> None:
    """Names, defaults, and what is given by name alone; "..." stands for more that is."""
    modules: list[Any] = []
    found = 0
    for line in (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            modules = [importlib.import_module(name) for name in re.findall(r"`(dft_stats[\w.]*)`", line)]
        for name, given in SIGNATURE.findall(line):
            if name.startswith("dft_stats."):
                home, _, name = name.rpartition(".")
                modules = [importlib.import_module(home), *modules]
            top, *below = name.split(".")
            thing = next(getattr(module, top) for module in modules if hasattr(module, top))
            thing = getattr(thing, top) if isinstance(thing, ModuleType) else thing  # `compare` is both
            for part in below:
                thing = getattr(thing, part)
            real = {key: value for key, value in inspect.signature(thing).parameters.items() if key != "self"}
            told = inspect.signature(eval(f"lambda {given.removesuffix('...').rstrip(', ')}: 0")).parameters
            for key, parameter in told.items():
                assert key in real, f"{name}: {key}"
                assert parameter.kind == real[key].kind, f"{name}: {key}"
                assert parameter.default in (real[key].default, []), f"{name}: {key}"  # of a dataclass a list is made by a factory
            assert given.endswith("...") or told.keys() == real.keys(), f"{name}: {real.keys() - told.keys()}"
            found += 1
    assert found > 30


@pytest.mark.parametrize("page", sorted(str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))))
def test_tables_are_whole(page: str) -> None:
    """A table is a header, a line of dashes and rows of as many cells; a blank line in it makes text of the rest."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))[1:-1] for row in block.splitlines()]
        assert len(rows) > 2, f"{page}: {block}"
        assert all(re.fullmatch(r" *:?-+:? *", cell) for cell in rows[1]), f"{page}: no header: {block.splitlines()[0]}"
        for row, line in zip(rows, block.splitlines(), strict=True):
            assert len(row) == len(rows[0]), f"{page}: {line}"


def test_every_command_stands_on_the_api_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    commands = re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").partition("## `dft-stats`\n")[2]
    assert len(commands) > 10
    assert [command for command in commands if f"`{command}`" not in page] == []


def test_every_extra_stands_in_the_readme() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `\[(\w+)\]` \|", page, re.MULTILINE)) == set(extras)
