"""What an import costs, and that the checker of this would notice."""

import subprocess
import sys
import textwrap

import pytest

HEAVY = ("torch", "polars", "duckdb", "spacy", "transformers", "datasets")
CORE = (
    "cells", "chunks", "compare", "compiled", "compiling", "counts", "errors", "features", "keyness", "measures", "profile", "registry",
    "statistics", "stream", "summary", "tables", "text", "token_counts", "tokenizer", "verify",
)  # fmt: skip


def loaded_by(statement: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after a statement."""
    program = textwrap.dedent(f"import sys\n{statement}\nprint(*sys.modules)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("guilty", ["duckdb", "json"])
def test_the_checker_sees_a_guilty_import(guilty: str) -> None:
    assert guilty in loaded_by(f"import {guilty}")
    assert guilty in loaded_by(f"import dft_stats\ndef inner():\n    import {guilty}\ninner()")


def test_the_package_alone_loads_next_to_nothing() -> None:
    found = loaded_by("import dft_stats")
    assert not found & {*HEAVY, "numpy", "pyarrow", "rich", "tokenizers", "huggingface_hub"}


def test_the_core_loads_no_engine_no_framework_and_no_hub() -> None:
    statement = "\n".join(f"import dft_stats.{name}" for name in CORE)
    assert not loaded_by(statement) & {*HEAVY, "rich", "huggingface_hub"}


def test_the_commands_load_nothing_heavy_before_they_run() -> None:
    found = loaded_by(
        "import contextlib, io, dft_stats.cli\nwith contextlib.redirect_stdout(io.StringIO()):\n    dft_stats.cli.main(['--help'])"
    )
    assert not found & {*HEAVY, "numpy", "pyarrow", "rich"}


def test_the_public_names_are_there() -> None:
    import dft_stats

    names = ["Profile", "__version__", "build", "compare", "list_profiles", "load", "lock", "nearest", "pull", "push", "versions"]
    assert dft_stats.__all__ == names
    assert set(names) <= set(dir(dft_stats))
    assert dft_stats.__version__.count(".") == 2
    assert callable(dft_stats.load)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dft_stats.nothing


@pytest.mark.parametrize(
    "first",
    [
        "import dft_stats",
        "import dft_stats.compare",
        "from dft_stats.compare import nearest",
        "from dft_stats import compare",
        "import dft_stats.cli",
    ],
)
def test_a_verb_can_be_called_whatever_was_imported_first(first: str) -> None:
    loaded_by(f"{first}\nimport dft_stats\nassert callable(dft_stats.compare) and dft_stats.compare.compare is not dft_stats.compare")


def test_a_verb_calls_its_function() -> None:
    import dft_stats

    with pytest.raises(TypeError, match="other"):
        dft_stats.compare("only one argument")
