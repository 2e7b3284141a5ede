"""Published tables, read where they lie: by `datasets` through the card, by Polars and DuckDB through their addresses."""

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from huggingface_hub import CommitOperationAdd, HfFileSystem

from dft_stats.build.card import card_of
from dft_stats.errors import IntegrityError
from dft_stats.hub.push import push
from dft_stats.manifest import CARD
from dft_stats.profile import Profile, read_profile
from dft_stats.registry import registry_path
from dft_stats.tables import FLOOR_SCHEMA, SCHEMAS, write_table
from dft_stats.verify import problems
from pipelines.publish import main as publish
from tests.hub_control import ALICE, OFFICIAL, HubServer
from tests.profiles import profile_of
from tests.prose import documents

REPO = "alice/style"
TABLE = "data/ngram_frequency.parquet"


@pytest.fixture
def published(server: HubServer, tmp_path: Path) -> Profile:
    """A profile with its real card, on the Hub, for everybody."""
    draft = profile_of(documents(8), tmp_path / "draft", name="style")
    facts = {
        "privacy": {"mode": "public-corpus"},
        "title": 'Style: of "tests"',
        "licence": "CC-BY-4.0",
        "built_with": "x",
        "keep": {"max_order": 5},
    }
    counts = {name: draft.counts(name) for name in draft.counted}
    card = card_of({**draft.manifest, **facts}, counts, draft.exposure, FLOOR_SCHEMA.empty_table())
    profile = profile_of(documents(8), tmp_path / "style", name="style", facts=facts, card=card)
    push(profile, REPO, hub=server.as_user(), public=True)
    return profile


def _read_by_polars(address: str, query: str) -> pl.DataFrame:
    """What a query of `table`, the file at an address, gives. In a process of its own: the threads by which Polars reads over HTTP look at
    the environment whenever they like, and other tests set it, which in libc is a race."""
    code = f"import sys; import polars as pl; table = pl.scan_parquet({address!r}); {query}.collect().write_ipc(sys.stdout.buffer)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return pl.read_ipc(done.stdout)


def test_the_card_has_a_configuration_for_each_table(published: Profile, server: HubServer, tmp_path: Path) -> None:
    code = f"""
import warnings; warnings.simplefilter("ignore")
import datasets, json
names = datasets.get_dataset_config_names({REPO!r}, revision="v1.0.0")
default = datasets.load_dataset({REPO!r}, revision="v1.0.0", split="train")
lengths = datasets.load_dataset({REPO!r}, "sentence_length", revision="v1.0.0", split="train")
print(json.dumps([names, default.column_names[0], len(lengths)]))
"""
    given = {**os.environ, "HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ALICE}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    names, column, rows = json.loads(done.stdout.splitlines()[-1])
    assert sorted(names) == sorted(published.tables)
    assert column == "unit"
    assert rows == len(published.table("sentence_length"))


def test_polars_and_duckdb_read_a_version_in_place(published: Profile, server: HubServer) -> None:
    address = f"{server.endpoint}/datasets/{REPO}/resolve/v1.0.0/{TABLE}"
    expected = published.table("ngram_frequency").num_rows
    assert _read_by_polars(address, "table.select(pl.len())").item() == expected
    two = _read_by_polars(address, 'table.filter(pl.col("n") == 2).select("ngram", "count")')
    assert two.height == published.counts("ngram_frequency").rows(2).num_rows

    class Dated(HfFileSystem):  # DuckDB asks when a file was modified, and the client does not say
        def modified(self, path: str) -> object:
            return datetime(2026, 1, 1, tzinfo=UTC)

    engine = duckdb.connect()
    engine.register_filesystem(Dated(endpoint=server.endpoint, token=False, skip_instance_cache=True))
    found = engine.execute(f"SELECT count(*) FROM read_parquet('hf://datasets/{REPO}@v1.0.0/{TABLE}')").fetchone()
    assert found == (expected,)


def test_only_the_row_groups_that_are_needed_travel(server: HubServer, tmp_path: Path) -> None:
    """Of a table as a large corpus makes it: sorted by key, 65,536 rows a group."""
    words = sorted(hashlib.sha256(str(number).encode()).hexdigest()[:24] for number in range(400_000))
    (tmp_path / "data").mkdir()
    table = pa.table([words, pa.array(range(400_000), pa.int64())], schema=SCHEMAS["spelling"])
    size = write_table(tmp_path, "spelling", table)["bytes"]
    api, repo = server.as_user().api(), "alice/large"
    api.create_repo(repo, repo_type="dataset")
    api.create_commit(
        repo, [CommitOperationAdd("data/spelling.parquet", tmp_path / "data/spelling.parquet")], commit_message="x", repo_type="dataset"
    )
    before = len(server.log())
    address = f"{server.endpoint}/datasets/{repo}/resolve/main/data/spelling.parquet"
    found = _read_by_polars(address, f'table.filter(pl.col("spelling") == {words[77]!r})')
    assert found["count"].to_list() == [77]
    ranges = [
        request["range"].removeprefix("bytes=").split("-") for request in server.log()[before:] if request["store"] and request["range"]
    ]
    travelled = sum(int(last) - int(first) + 1 if first else int(last) for first, last in ranges)
    assert 0 < travelled < 0.5 * size, (travelled, size, ranges)


def test_the_official_cards_are_those_of_their_counts() -> None:
    for folder in sorted(registry_path().glob("*/*/manifest.json")):
        profile = read_profile(folder.parent)
        counts = {name: profile.counts(name) for name in profile.counted}
        card = card_of(dict(profile.manifest), counts, profile.exposure, profile.table("floor"))
        assert (profile.path / CARD).read_text(encoding="utf-8") == card
        assert problems(profile.path) == []


def test_the_official_profiles_are_published_and_fetched_again(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--only", "news", "--only", "legal"]
    hub = server.as_user(OFFICIAL)
    assert publish(["--dry-run", *names], hub=hub) == 0
    assert "head" not in server.state("dft-stats/news")
    for said in ("published, commit", "there already"):
        assert publish(names, hub=hub) == 0
        assert capsys.readouterr().out.count(said) == 2
    assert server.state("dft-stats/legal")["private"] is False
    server.control("tag", repo="dft-stats/news", tag="v1.0.0", commit=server.state("dft-stats/news")["commits"][0]["sha"])
    with pytest.raises(IntegrityError):  # what was fetched before is remembered
        publish(["--check", *names], hub=hub)
