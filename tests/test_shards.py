"""A corpus in shards: the result depends on no way of cutting, ordering, interrupting or placing the work; nothing is counted twice."""

import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dft_stats.build import build
from dft_stats.build.engine import Progress, count_shards, default_memory
from dft_stats.build.formats import Faults
from dft_stats.build.job import Job
from dft_stats.build.parts import Draft
from dft_stats.build.planned import dry_run
from dft_stats.build.settings import as_bytes, parts_beside
from dft_stats.build.shards import Shard, Texts, plan
from dft_stats.cli import main
from dft_stats.document_embedding import STORED
from dft_stats.errors import CorpusError, ProfileFormatError
from dft_stats.profile import Profile, read_profile
from dft_stats.registry import load
from dft_stats.report import teller
from tests.profiles import hashes
from tests.prose import documents as prose

SMALL = 5_000
"""Bytes of a shard in these tests."""
NOT_AT_ONE_GO = "from dft_stats.build.job import Job; from dft_stats.cli import main; Job.characters_at_once = lambda job, **_: 1"
"""For a program: count even a small corpus in shards, in processes."""


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of every kind, some cut into several shards, some sharing one."""
    monkeypatch.setattr("dft_stats.build.shards.SHARD_BYTES", SMALL)
    folder = tmp_path / "corpus"
    folder.mkdir()
    texts = [f"{text}\n\nThis was number {i}." for i, text in enumerate(prose(160))]
    pq.write_table(pa.table({"text": texts[:60]}), folder / "rows.parquet", row_group_size=10)
    lines = [json.dumps({"text": text}) for text in texts[60:120]]
    (folder / "lines.jsonl").write_text("\n".join(lines))
    for i, text in enumerate(texts[120:]):
        (folder / f"{i:03}.txt").write_text(text)
    return folder


def shards_of(folder: Path) -> list[Shard]:
    return list(plan([str(path) for path in sorted(folder.iterdir())], "text", Faults()))


def build_command(corpus: Path, out: Path, *more: str) -> list[str]:
    """A build of all that there is, from the command line."""
    return ["build", "--privacy", "none", str(corpus), "--out", str(out), "--name", "x", "--text-column", "text", *more]


def run(*arguments: Any) -> "subprocess.Popen[str]":
    """The command line in a process of its own, with shards as small as those of these tests, and nothing counted at one go."""
    program = f"import sys, dft_stats.build.shards as s; s.SHARD_BYTES = {SMALL}; {NOT_AT_ONE_GO}; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_shards_hold_every_text_once(corpus: Path) -> None:
    shards = shards_of(corpus)
    assert len(shards) > 8
    assert len({shard.key for shard in shards}) == len(shards)
    found = sorted(text for shard in shards for batch in shard.batches("text", 10_000, Faults()) for text in batch)
    assert len(found) == len(set(found)) == 160


def test_the_result_depends_on_no_way_of_counting(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(corpus.iterdir())
    expected = hashes(build(corpus, privacy="none", out=tmp_path / "one", name="x", text_column="text", min_documents=2))
    again = hashes(build(files[::-1], privacy="none", out=tmp_path / "two", name="x", text_column="text", min_documents=2, workers=2))
    assert again == expected
    with monkeypatch.context() as patch:
        patch.setattr(Job, "characters_at_once", lambda job, **_: 1)
        processes = build(files, privacy="none", out=tmp_path / "processes", name="x", text_column="text", min_documents=2, workers=2)
    assert hashes(processes) == expected
    monkeypatch.setattr("dft_stats.build.shards.SHARD_BYTES", 10**9)
    assert hashes(build(corpus, privacy="none", out=tmp_path / "three", name="x", text_column="text", min_documents=2)) == expected
    texts = [text for shard in shards_of(corpus) for batch in shard.batches("text", 10**6, Faults()) for text in batch]
    assert hashes(build(texts[::-1], privacy="none", out=tmp_path / "four", name="x", min_documents=2)) == expected
    assert not list(tmp_path.glob(".*")), "parts are gone when the profile is written"


def test_a_batch_that_memory_asks_for_changes_nothing(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = hashes(build(corpus, privacy="none", out=tmp_path / "one", name="x", text_column="text"))
    monkeypatch.setattr(Job, "batch_characters", property(lambda job: 5_000))
    assert hashes(build(corpus, privacy="none", out=tmp_path / "two", name="x", text_column="text")) == expected


def test_killed_again_and_again_it_goes_on_and_nothing_is_counted_twice(corpus: Path, tmp_path: Path) -> None:
    expected = hashes(build(corpus, privacy="none", out=tmp_path / "expected", name="x", text_column="text", min_documents=2))
    command = build_command(corpus, tmp_path / "out", "--min-documents", "2", "--workers", "2")
    parts, kills = tmp_path / ".out.parts", 0
    for wait in (1, 2, 4):
        process = run(*command)
        begun = len(list(parts.glob("*/*/shard.json")))
        while process.poll() is None and len(list(parts.glob("*/*/shard.json"))) < begun + wait:
            time.sleep(0.002)
        if process.poll() is None:
            kills += 1
            process.send_signal(signal.SIGKILL)
        process.communicate()
        for done in parts.glob("*/[!.]*"):
            assert (done / "shard.json").exists(), "a part that can be seen is whole"
    assert kills == 3
    assert not (tmp_path / "out").exists()
    process = run(*command)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert hashes(Profile(tmp_path / "out", json.loads((tmp_path / "out" / "manifest.json").read_text()))) == expected
    assert not parts.exists()


def test_another_file_is_all_that_is_counted(corpus: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    build(corpus, privacy="none", out=tmp_path / "before", name="x", text_column="text", parts=parts)
    assert all(shard.is_counted for shard in dry_run(corpus, privacy="none", out=tmp_path / "after", text_column="text", parts=parts))
    pq.write_table(pa.table({"text": [f"One more text, {i}." + " It is long." * 500 for i in range(3)]}), corpus / "more.parquet")
    planned = dry_run(corpus, privacy="none", out=tmp_path / "after", text_column="text", parts=parts)
    assert [shard.label for shard in planned if not shard.is_counted] == [f"{corpus / 'more.parquet'} [0 to 1]"]
    states: list[Progress] = []
    job = Job(text_column="text")
    counted, _, _ = count_shards(shards_of(corpus), job, parts, progress=states.append, keep_parts=True)
    assert states[-1].shards - states[-1].reused == 1
    assert hashes(build(corpus, privacy="none", out=tmp_path / "after", name="x", text_column="text", parts=parts)) == hashes(
        build(corpus, privacy="none", out=tmp_path / "whole", name="x", text_column="text")
    )
    assert counted.exposure.documents == 163
    other = dry_run(corpus, privacy="none", out=tmp_path / "after", text_column="text", parts=parts, typography="keep")
    assert not any(shard.is_counted for shard in other), "parts counted by other rules are of no use"


def test_small_files_share_shards_by_their_names_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dft_stats.build.shards.SHARD_BYTES", 1_000)
    for i in range(400):
        (tmp_path / f"{i:03}.txt").write_text("A text. " * 5)
    before = {shard.key for shard in shards_of(tmp_path)}
    (tmp_path / "2005.txt").write_text("A text. " * 5)
    after = {shard.key for shard in shards_of(tmp_path)}
    assert len(before) >= 8
    assert len(after - before) <= 3, "shards come together again where a name ends one"


def test_a_changed_file_is_another_one(corpus: Path) -> None:
    before = {shard.key for shard in shards_of(corpus)}
    (corpus / "lines.jsonl").write_text(json.dumps({"text": "Something else. " * 5000}))
    after = {shard.key for shard in shards_of(corpus)}
    assert before & after
    assert after - before


def test_parts_of_texts_at_hand_are_of_these_texts_alone(tmp_path: Path) -> None:
    def words(texts: list[str], name: str) -> dict[str, int]:
        rows = [{"text": text} for text in texts]
        profile = build(rows, privacy="none", out=tmp_path / name, name=name, parts=tmp_path / "parts")
        table = profile.counts("token_frequency").table
        return dict(zip(table["unit"].to_pylist(), table["count"].to_pylist(), strict=True))

    assert words(["One two."], "first") == {"One": 1, "two": 1, ".": 1}
    assert words(["Three four."], "second") == {"Three": 1, "four": 1, ".": 1}
    assert words(["One two."], "third") == {"One": 1, "two": 1, ".": 1}
    assert Texts(["One two."], 0).key != Texts(["One two."], 1).key != Texts(["One ", "two."], 1).key


def test_a_file_that_changes_while_it_is_read_is_an_error(corpus: Path) -> None:
    shard = next(shard for shard in shards_of(corpus) if shard.pieces[0].path.endswith("lines.jsonl"))
    batches = shard.batches("text", 1_000, Faults())
    next(batches)
    with (corpus / "lines.jsonl").open("a") as file:
        file.write('\n{"text": "more"}')
    with pytest.raises(CorpusError, match=r"lines.jsonl changed while the corpus was being read; build again"):
        list(batches)


def test_a_draft_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with Draft(tmp_path / "target") as draft:
            (draft / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_is_said(corpus: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the same error from the system, at the same places."""
    program = (
        "import resource, sys, dft_stats.build.shards as s; s.SHARD_BYTES = 5000\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        f"{NOT_AT_ONE_GO}; sys.exit(main(sys.argv[1:]))"
    )
    command = build_command(corpus, tmp_path / "out", "--workers", "2")
    found = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "cannot be written to (" in found.stderr
    assert "make room, or give another folder for parts (--parts)" in found.stderr
    assert not (tmp_path / "out").exists()


def test_faults_are_left_out_and_recorded_if_the_user_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    good = [f"{text} {i}" for i, text in enumerate(prose(12))]
    (folder / "good.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in good))
    (folder / "latin.txt").write_bytes("Ein schöner Tag".encode("latin-1"))
    (folder / "lines.jsonl").write_text('{"text": "An apple a day."}\nno json\n{"text": 3}\n{"text": "The end."}\n')
    pq.write_table(pa.table({"text": good}), folder / "cut.parquet")
    (folder / "cut.parquet").write_bytes((folder / "cut.parquet").read_bytes()[:-30])
    command = ["build", "--privacy", "none", str(folder), "--out", str(tmp_path / "out"), "--name", "x"]
    assert main(command) == 1
    assert "cut.parquet is damaged or cut short" in capsys.readouterr().err
    assert main([*command, "--skip-faults"]) == 0
    said = capsys.readouterr().err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["excluded"] == {
        "damaged or cut short: the rest of the file": 1,
        "line that is not JSON": 1,
        "no text": 1,
        "not UTF-8": 1,
    }
    assert "left out: not UTF-8: 1" in said
    assert manifest["exposure"]["documents"] == 14


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_without_a_text_are_counted_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    lines = [json.dumps({"id": i, "text": text}) for i, text in enumerate(prose(6))] + [
        '{"text": null}',
        "null",
        '{"id": 5}',
        '{"text": ""}',
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    command = ["build", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out"), "--name", "x", "--workers", str(workers)]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "left out: row whose text is null: 2\n" in said
    assert "left out: row without the field of the text: 1\n" in said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["excluded"] == {"row whose text is null": 2, "row without the field of the text": 1}
    assert manifest["exposure"]["documents"] == 7, "an empty text is one"
    assert main(command) == 1
    assert "replace it with overwrite=True (`--overwrite`)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ({"min_documents": 161}, r"min_documents \(`--min-documents`\) is 161, and the corpus has 160 documents.*give at most 160"),
        ({"min_count": 10**6}, r"not one word or mark of the 160 documents.*min_count 1,000,000"),
        ({"max_rows": {"token_frequency": 0}}, "max_rows {'token_frequency': 0}"),
    ],
)
def test_a_profile_without_a_word_is_not_written(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(Job, "characters_at_once", lambda job, **_: 5_000)  # too large a corpus to be counted at one go
    with pytest.raises(CorpusError, match=said):
        build(corpus, out=tmp_path / "one", name="x", text_column="text", **keep)
    assert not (tmp_path / "one").exists()
    told: list[str] = []
    build(corpus, out=tmp_path / "one", name="x", text_column="text", min_documents=160, progress=told.append)
    assert any("counted before" in line for line in told), "the second try counts nothing"


def test_a_few_documents_cannot_be_published_whatever_the_floor(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has 3 documents.*; give more documents; a profile that may be published .* `--privacy none`"):
        build([{"text": text} for text in prose(3)], out=tmp_path / "x", name="x")


def test_what_is_counted_stays_until_the_profile_is_written(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "characters_at_once", lambda job, **_: 5_000)

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as late:
        late.setattr(sys.modules["dft_stats.build.build"], "write_profile", full)
        with pytest.raises(OSError, match="no space left"):
            build(corpus, out=tmp_path / "one", name="x", text_column="text")
    told: list[str] = []
    build(corpus, out=tmp_path / "one", name="x", text_column="text", progress=told.append)
    assert any("counted before" in line for line in told)
    assert not list(tmp_path.glob(".one*"))


def test_form_letters_can_be_published(tmp_path: Path) -> None:
    """Documents that are nearly all copies of each other."""
    names = "Ann Bob Carl Dora Emil Fay Gus Hal Ida Jon".split()
    line = "Dear {}, we have sent you the bill for this month, as {} asked. Please pay it by Friday, or call us. "
    made = build([{"text": line.format(a, b) * 3} for a in names for b in names], out=tmp_path / "x", name="x")
    assert made.embed_documents(words=(50, 1000)).documents == 100


def test_what_a_build_says_itself_is_not_told_it(tmp_path: Path) -> None:
    rows = [{"text": text} for text in prose(6)]
    kept = build(rows, out=tmp_path / "x", name="x", privacy="none")
    for how, said in (
        ({"licence": None}, "licence is a text, not None"),
        ({"facts": {"typography": "bar", "name": "z"}}, "it says name, typography of its own accord"),
        ({"facts": {STORED: 3}}, "3 as document_embeddings, expected mean embeddings"),
    ):
        with pytest.raises((ValueError, ProfileFormatError), match=said):
            build(rows, out=tmp_path / "x", name="x", privacy="none", overwrite=True, **how)  # type: ignore[arg-type]
        assert load(str(tmp_path / "x")).sha256 == kept.sha256
    with pytest.raises(ProfileFormatError, match="are to lie in the profile itself"):
        build(rows, out=tmp_path / "y", name="y", privacy="none", parts=tmp_path / "y" / "parts")


def test_a_script_without_a_guard_is_told_of_it(corpus: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import dft_stats\nfrom dft_stats.build import build\n"
        f"build({str(corpus)!r}, out={str(tmp_path / 'x')!r}, name='x', text_column='text', workers=2, parts={str(tmp_path / 'parts')!r})\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "below `if __name__ == '__main__':`" in done.stderr


@pytest.mark.parametrize(("least", "is_told"), [(1, False), (10, True)])
def test_little_mass_in_the_tables_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], least: int, is_told: bool) -> None:
    """Of ten documents all say "the", a tenth of their words."""
    texts = [f"the {' '.join(f'w{document}x{i}' for i in range(9))}" for document in range(10)]
    told: list[str] = []
    rows = [{"text": text} for text in texts]
    build(rows, out=tmp_path / "x", name="x", privacy="none", min_documents=least, progress=told.append)
    expected = "warning: the tables keep 10% of the running words and marks; a smaller min_documents (`--min-documents`) keeps more"
    assert (expected in told) == is_told
    tell = teller()
    for line in told:
        tell(line)
    assert (expected in capsys.readouterr().err) == is_told, "however soon after another line"


def test_a_text_that_memory_does_not_allow_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "batch_characters", property(lambda job: 10_000))
    long = "It goes on and on. " * 4_000
    (tmp_path / "a.txt").write_text(long)
    (tmp_path / "b.jsonl").write_text(f"{json.dumps({'text': long})}\n{json.dumps({'text': 'Short.'})}\n")
    pq.write_table(pa.table({"text": [long, "Short too."]}), tmp_path / "c.parquet")
    for name in ("a.txt", "b.jsonl", "c.parquet"):
        with pytest.raises(CorpusError, match=rf"{name}.* a text of more than 10,000 characters.*--skip-faults"):
            build(tmp_path / name, privacy="none", out=tmp_path / "out", name="x")
    profile = build(
        [tmp_path / name for name in ("a.txt", "b.jsonl", "c.parquet")], privacy="none", out=tmp_path / "out", name="x", skip_faults=True
    )
    assert profile.manifest["excluded"] == {"longer than 10,000 characters": 3}
    assert profile.exposure.words == 3


def test_dry_run_reads_nothing_and_says_what_is_to_do(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(build_command(corpus, tmp_path / "out", "--dry-run", "--json")) == 0
    planned = json.loads(capsys.readouterr().out)
    assert len(planned) == len(shards_of(corpus))
    assert not any(shard["is_counted"] for shard in planned)
    assert not (tmp_path / "out").exists()
    command = build_command(corpus, tmp_path / "out", "--dry-run")
    command[command.index("--name") + 1] = "No Name!"
    assert main(command) == 1
    assert "profile name 'No Name!'" in capsys.readouterr().err
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("Not to be lost.")
    assert main(build_command(corpus, tmp_path / "taken", "--dry-run", "--overwrite")) == 1
    assert "taken" in capsys.readouterr().err
    with pytest.raises(CorpusError, match="there is nothing to plan"):
        dry_run(["A text, and not a path."], privacy="none", out=tmp_path / "out")
    for wrong, said in (
        ({"min_documents": 3}, "nothing that fewer than 5 documents have"),
        ({"privacy": "none", "forget": "16MB"}, "every row is to be kept"),
        ({"max_order": 9}, "max_order"),
    ):
        with pytest.raises(ValueError, match=said):
            dry_run(corpus, out=tmp_path / "out", text_column="text", **wrong)  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match="too little to work in"):
        dry_run(corpus, out=tmp_path / "out", text_column="text", memory="1MB")


def test_remote_files_are_read(corpus: Path, tmp_path: Path) -> None:
    """By fsspec; here from its file system in memory."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for path in corpus.iterdir():
        memory.pipe(f"/corpus/{path.name}", path.read_bytes())
    expected = hashes(build(corpus, privacy="none", out=tmp_path / "here", name="x", text_column="text"))
    assert hashes(build("memory://corpus", privacy="none", out=tmp_path / "there", name="x", text_column="text")) == expected
    with pytest.raises(CorpusError, match="nothing lies there"):
        build("memory://nowhere/*.txt", privacy="none", out=tmp_path / "none", name="x")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2GB", 2 * 10**9),
        ("1.5 gb", 15 * 10**8),
        ("500MB", 5 * 10**8),
        ("300000000", 3 * 10**8),
        (2e9, 2 * 10**9),
        ("9999TB", 1 << 50),
    ],
)
def test_sizes(given: str | float, expected: int) -> None:
    assert as_bytes(given) == expected


def test_a_size_that_is_none() -> None:
    with pytest.raises(ValueError, match="memory 'much' is no size; give one such as \"2GB\""):
        as_bytes("much")


# --- a cluster --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes on this machine: one that drives and counts nothing, and one that counts, until it is killed."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        ray.init(address=made.address, log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()


def test_a_lost_node_changes_nothing(cluster: Any, corpus: Path, tmp_path: Path) -> None:
    expected = hashes(build(corpus, privacy="none", out=tmp_path / "here", name="x", text_column="text", min_documents=2))
    first = cluster.add_node(num_cpus=2)
    lost: list[str] = []

    def lose(said: str) -> None:
        if said.startswith("counted 3 ") and not lost:
            lost.append(said)
            cluster.add_node(num_cpus=2)
            cluster.remove_node(first, allow_graceful=False)

    found = build(
        corpus, privacy="none", out=tmp_path / "there", name="x", text_column="text", min_documents=2, engine="ray", progress=lose
    )
    assert lost
    assert hashes(found) == expected


def test_parts_travel_where_no_folder_is_shared(cluster: Any, corpus: Path, tmp_path: Path) -> None:
    """As on a cluster whose nodes do not see the driver's disk."""
    from dft_stats.build import ray_engine

    cluster.add_node(num_cpus=2)
    expected = hashes(build(corpus, privacy="none", out=tmp_path / "here", name="x", text_column="text"))
    characters, packed = ray_engine.count_remotely(shards_of(corpus)[0], Job(text_column="text"), str(tmp_path / "nowhere"), "no-mark")
    assert characters
    assert packed
    assert not (tmp_path / "nowhere").exists()
    found = build(corpus, privacy="none", out=tmp_path / "there", name="x", text_column="text", engine="ray", parts=tmp_path / "parts")
    assert hashes(found) == expected


def test_no_cluster_is_said(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(CorpusError, match=r"there is no Ray cluster to count on: start one \(`ray start --head`\)"):
        build(corpus, privacy="none", out=tmp_path / "out", name="x", text_column="text", engine="ray")


@pytest.mark.parametrize("parts", [None, "kept"])
def test_what_is_left_of_parts_whose_deletion_was_killed_is_counted_again(corpus: Path, tmp_path: Path, parts: str | None) -> None:
    expected = hashes(build(corpus, privacy="none", out=tmp_path / "a", name="x", text_column="text"))
    folder = tmp_path / "kept" if parts else parts_beside(tmp_path / "out")
    count_shards(shards_of(corpus), Job(text_column="text", memory=default_memory(1)), folder, keep_parts=True)
    done = list(folder.glob("*/*/shard.json"))
    assert done
    for path in done[::2]:
        path.unlink()
    again = build(corpus, privacy="none", out=tmp_path / "out", name="x", text_column="text", parts=parts and folder)
    assert hashes(again) == expected


def test_a_folder_that_is_no_place_for_a_profile_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a text")
    for out, said in ((".", "the current folder or one above"), ("", "the current folder"), ("..", "current"), ("file/x", "is a file")):
        with pytest.raises(ProfileFormatError, match=said):
            build(prose(3), privacy="none", out=out, name="x", progress=lambda line: pytest.fail(line))
    build(prose(3), privacy="none", out="mine", name="x")
    Path("mine/notes.md").write_text("mine")
    with pytest.raises(ProfileFormatError, match=r"holds more than the profile that is to be replaced: 'notes\.md'; move that away"):
        build(prose(4), privacy="none", out="mine", name="x", overwrite=True)
    assert Path("mine/notes.md").read_text() == "mine"
    Path("large").mkdir()
    Path("link").symlink_to("large")
    build(prose(3), privacy="none", out="link", name="x")
    assert Path("link").is_symlink()
    assert read_profile(Path("large")).exposure.documents == 3


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"typography": "Fold"}, 'typography is "fold" or "keep", not \'Fold\''),
        ({"max_order": 6}, r"max_order \(`--max-order`\) is from 2 to 5, not 6"),
        ({"max_order": 1}, "not 1"),
        ({"workers": 0}, r"workers \(`--workers`\) is 1 or more, not 0"),
        ({"min_documents": -3}, "is 1 or more, not -3"),
        ({"min_count": 0}, "is 1 or more, not 0"),
        ({"max_rows": {"token_frequncy": 5}}, "max_rows names 'token_frequncy'; tables whose rows are limited are token_frequency, ngram"),
    ],
)
def test_settings_that_mean_nothing(tmp_path: Path, how: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(prose(3), privacy="none", out=tmp_path / "x", name="x", **how)
    assert not (tmp_path / "x").exists()
