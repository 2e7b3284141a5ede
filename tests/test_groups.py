"""Shards added up group by group: what is forgotten is bounded, the disk too, and no way of working changes the result."""

import itertools
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.build import build, parts
from dft_stats.build.combine import combine
from dft_stats.build.formats import Faults, Piece
from dft_stats.build.groups import FEWEST, MOST, leaves, planned
from dft_stats.build.parts import Draft
from dft_stats.build.planned import dry_run
from dft_stats.build.settings import checked_forget
from dft_stats.build.shards import Shard, plan
from dft_stats.cli import main
from dft_stats.errors import CorpusError
from dft_stats.profile import Profile
from tests.profiles import hashes
from tests.prose import documents as prose
from tests.tokenizers_for_tests import gpt2_like

SMALL, FORGET = 2_000, 10_000
"""Bytes of a shard in these tests, and of a group."""
TABLES = ("token_frequency", "ngram_frequency", "surface")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lines in several files, many of them with rare n-grams."""
    monkeypatch.setattr("dft_stats.build.shards.SHARD_BYTES", SMALL)
    monkeypatch.setattr("dft_stats.build.groups.FEWEST", 2)
    monkeypatch.setattr("dft_stats.build.groups.MOST", 3)
    monkeypatch.setattr("dft_stats.build.group_files._TEXTS", 100)
    folder = tmp_path / "corpus"
    folder.mkdir()
    drawn = random.Random(0)
    words = [word for text in prose(10) for word in text.split()]
    texts = [f"{text} {' '.join(drawn.choices(words, k=30))}." for text in prose(120)]
    for i in range(12):
        rows = [json.dumps({"text": text, "by": f"writer {i}"}) for text in texts[i::12]]
        (folder / f"{i:02}.jsonl").write_text("\n".join(rows))
    return folder


def made(corpus: Any, out: Path, **more: Any) -> Profile:
    return build(corpus, out=out, **{"name": "x", "text_column": "text", "privacy": "none", "min_documents": 2, "forget": FORGET, **more})


def groups_of(corpus: Path, size: int = FORGET) -> list[list[str]]:
    """Keys of the shards of each."""
    tree = planned(plan([str(path) for path in sorted(corpus.iterdir())], "text", Faults()), size, is_deep=False)
    return [list(group.members) for group in leaves(tree.groups)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def changed(folder: Path) -> dict[str, int]:
    """When each file below was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def rows(profile: Profile, name: str) -> dict[tuple[Any, ...], tuple[int, ...]]:
    counts = profile.counts(name)
    keys = list(counts.statistic.keys)
    numbers = [name for name in counts.table.column_names if name not in keys]
    return {tuple(row[k] for k in keys): tuple(row[n] for n in numbers) for row in counts.table.to_pylist()}


def assert_equal_beside_ngrams(found: Profile, exact: Profile) -> None:
    """All but n-grams, and what is said of them in tables that are shared."""
    shared = {"totals": "table", "spectrum": "table", "floor": "statistic"}
    assert {k: v for k, v in hashes(found).items() if k not in {"ngram_frequency", *shared}} == {
        k: v for k, v in hashes(exact).items() if k not in {"ngram_frequency", *shared}
    }
    for name, column in shared.items():
        told = [[row for row in p.table(name).to_pylist() if not row[column].startswith("ngram")] for p in (found, exact)]
        assert told[0] == told[1]
        assert told[0] or name == "spectrum"


def row_files(parts: Path, shard: str) -> list[Path]:
    return list(parts.glob(f"*/{shard}/*/*.key.npy"))


# --- what is forgotten ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"min_documents": 2}, {"min_documents": 1, "min_count": 4}, {"min_documents": 3, "max_order": 3}])
def test_what_is_forgotten_is_bounded(corpus: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    exact, whole = made(corpus, tmp_path / "exact", forget=None, **how), made(corpus, tmp_path / "whole", forget=None)
    every = made(corpus, tmp_path / "every", forget=None, min_documents=1)
    found = made(corpus, tmp_path / "found", **how)
    number = len(groups_of(corpus))
    assert number >= 3
    bound = found.manifest["undercount"]
    assert bound == {"documents": number, "token_frequency": 0, "ngram_frequency": number, "surface": 0}
    assert found.manifest["keep"] == {**exact.manifest["keep"], "forget": FORGET}
    assert "undercount" not in whole.manifest
    assert_equal_beside_ngrams(found, exact)
    true, got = rows(every, "ngram_frequency"), rows(found, "ngram_frequency")
    assert len(got) > 100
    lost = [tuple(a - b for a, b in zip(true[key], row, strict=True)) for key, row in got.items()]
    assert all(0 <= count <= number and 0 <= documents <= number and min(moments) >= 0 for count, documents, *moments in lost)
    assert max(count for count, *_ in lost) > 0
    for n in range(2, how.get("max_order", 5) + 1):
        counts, expected = found.counts("ngram_frequency"), exact.counts("ngram_frequency")
        assert counts.total(n) == expected.total(n), "each occurrence is in the totals"
        assert expected.types(n) < counts.types(n) <= expected.types(n) + number * expected.types(n)
        occurrences, types = counts.frequency_of_frequencies(n)
        assert (occurrences * types).sum() == counts.total(n)
        assert types.sum() == counts.types(n)
    missed = rows(exact, "ngram_frequency").keys() - got.keys()
    least = how.get("min_count", 1)
    for count, documents, *_ in (true[key] for key in missed):
        assert documents < how["min_documents"] + number
        assert count < max(least, 2 * (least == 1)) + number


def test_one_group_forgets_nothing(corpus: Path, tmp_path: Path) -> None:
    """Of shards that no group holds, and of a group that holds them all."""
    for file in sorted(corpus.iterdir())[4:]:
        file.unlink()
    every = plan_keys(corpus)
    size = next(size for size in range(SMALL, 100_000, 500) if groups_of(corpus, size) == [sorted(every)])
    exact = made(corpus, tmp_path / "exact", forget=None)
    for forget, number in ((10**6, 0), (size, 1)):
        parts = tmp_path / f"parts-{forget}"
        found = made(corpus, tmp_path / f"{forget}", forget=forget, parts=parts)
        assert len(list(parts.glob("*/groups/*"))) == number
        assert hashes(found) == hashes(exact)
        assert set(found.manifest["undercount"].values()) == {0}


def plan_keys(corpus: Path) -> list[str]:
    return [shard.key for shard in plan([str(path) for path in sorted(corpus.iterdir())], "text", Faults())]


@pytest.mark.parametrize("group_column", [None, "by"])
def test_a_profile_to_be_published_tells_no_more(corpus: Path, tmp_path: Path, group_column: str | None) -> None:
    how = {"privacy": "publish", "min_documents": 5, "group_column": group_column}
    exact, found = (made(corpus, tmp_path / f"{forget}", forget=forget, **how) for forget in (None, FORGET))
    assert_equal_beside_ngrams(found, exact)
    true, got = rows(exact, "ngram_frequency"), rows(found, "ngram_frequency")
    assert got
    assert got.keys() <= true.keys()
    bound = found.manifest["undercount"]["ngram_frequency"]
    assert all(0 <= true[key][0] - row[0] <= bound and row[1] >= 5 for key, row in got.items())


@pytest.mark.parametrize("group_column", [None, "by"])
@pytest.mark.parametrize("least", [{}, {"min_count": 9}])
def test_counted_at_one_go_or_in_parts_it_tells_the_same(
    corpus: Path, tmp_path: Path, group_column: str | None, least: dict[str, int]
) -> None:
    how = {"privacy": "publish", "min_documents": 5, "forget": None, "group_column": group_column, **least}
    at_once = made(corpus, tmp_path / "at once", **how)
    assert len(rows(at_once, "ngram_frequency")) > 100
    assert hashes(at_once) == hashes(made(corpus, tmp_path / "in parts", parts=tmp_path / "parts", **how))
    assert list((tmp_path / "parts").glob("*/*/shard.json"))


def test_tokens_are_exact(corpus: Path, tmp_path: Path) -> None:
    exact, found = (made(corpus, tmp_path / f"{forget}", forget=forget, tokenizer=gpt2_like()) for forget in (None, FORGET))
    for name in ("token_ids", "token_pairs"):
        assert hashes(found)[name] == hashes(exact)[name]
        assert found.manifest["undercount"][name] == 0
    assert found.manifest["tokenizer"] == exact.manifest["tokenizer"]


def test_texts_at_hand_are_grouped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dft_stats.build.shards.SHARD_BYTES", SMALL)
    monkeypatch.setattr("dft_stats.build.job.Job.batch_characters", property(lambda job: SMALL))
    texts = prose(80)
    exact, found = (made(texts, tmp_path / f"{forget}", forget=forget) for forget in (None, FORGET))
    assert found.manifest["undercount"]["documents"] > 1
    assert hashes(found)["surface"] == hashes(exact)["surface"]
    assert found.counts("ngram_frequency").total(3) == exact.counts("ngram_frequency").total(3)


def test_texts_at_hand_that_were_grouped_otherwise_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They pass once, so that what has no rows of its own cannot be counted again."""
    monkeypatch.setattr("dft_stats.build.shards.SHARD_BYTES", SMALL)
    monkeypatch.setattr("dft_stats.build.job._MOST_CHARACTERS", SMALL)
    texts, parts = prose(120), tmp_path / "parts"
    whole: list[str] = []
    found = made(texts, tmp_path / "one", parts=parts, text_column=None, progress=whole.append)
    assert found.manifest["undercount"]["documents"] > 1
    assert content(made(texts, tmp_path / "two", parts=parts, text_column=None).path) == content(found.path)
    for number, (own, forget) in enumerate([(texts, 2 * FORGET), (texts, None), ([*texts[:-20], *texts[-10:]][:60], FORGET)]):
        told: list[str] = []
        with pytest.raises(CorpusError, match="or the texts as files"):
            made(own, tmp_path / f"other {number}", parts=parts, text_column=None, forget=forget, progress=told.append)
        assert number or len(told) < len(whole) / 2, "as soon as a group shows it"
    assert content(made(texts, tmp_path / "three", parts=parts, text_column=None).path) == content(found.path), "nothing is spoilt"


def test_combined_profiles_add_up_their_bounds(tmp_path: Path, corpus: Path) -> None:
    files = sorted(corpus.iterdir())
    pieces = [made(files[:6], tmp_path / "a", name="a"), made(files[6:], tmp_path / "b", name="b", forget=None)]
    own = pieces[0].manifest["undercount"]["documents"]
    assert own > 0
    whole = made(files, tmp_path / "whole", forget=None, min_documents=1)
    merged = combine(pieces, out=tmp_path / "merged", name="merged")
    bound = merged.manifest["undercount"]
    assert bound["documents"] == own + 1 + 1, "what was forgotten, and what either profile pruned"
    true = rows(whole, "ngram_frequency")
    for key, (count, documents, *_) in rows(merged, "ngram_frequency").items():
        assert 0 <= true[key][0] - count <= bound["ngram_frequency"]
        assert 0 <= true[key][1] - documents <= bound["documents"]
    more = made([f"{text} More of it." for text in prose(9)], tmp_path / "c", name="c", forget=None)
    again = combine([merged, more], out=tmp_path / "again", name="again").manifest["undercount"]
    assert again["documents"] == bound["documents"] + 1


# --- how the work is done ---------------------------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("is_deep", [False, True])
def test_interrupted_anywhere_it_goes_on_to_the_same_bytes(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_deep: bool
) -> None:
    """Each folder that is written, and each table that is deleted, is where one build stops: before it, half way or behind it."""
    expected = content(made(corpus, tmp_path / "expected").path)
    steps = itertools.count()
    stop_at = [0]

    def step() -> None:
        if next(steps) == stop_at[0]:
            raise Interrupted

    leave, unlink, sweep = Draft.__exit__, Path.unlink, parts.sweep

    def sweeping(folder: Path) -> None:
        step()  # amid a folder that is being deleted
        sweep(folder)

    def leaving(self: Draft, kind: Any, *more: Any) -> None:
        if kind is None:
            try:
                step()
            except Interrupted as error:
                leave(self, type(error), *more)
                raise
        leave(self, kind, *more)
        if kind is None:
            step()

    def unlinking(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".npy" and self.exists() and next(deleted) % 40 == 7:
            step()
        unlink(self, missing_ok=missing_ok)

    deleted = itertools.count()
    monkeypatch.setattr(Draft, "__exit__", leaving)
    monkeypatch.setattr(Path, "unlink", unlinking)
    monkeypatch.setattr(parts, "sweep", sweeping)
    stops = deepest = 0
    drawn = random.Random(1)
    while True:
        steps, stop_at[0] = itertools.count(), drawn.randrange(1, 9)
        try:
            found = made(corpus, tmp_path / "out", parts=None if is_deep else tmp_path / "parts")
            break
        except Interrupted:
            stops += 1
            deepest = max(
                deepest, *(len(json.loads(file.read_text())["members"]) for file in tmp_path.glob("*/*/groups/[!.]*/group.json")), 0
            )
    assert stops > 10
    assert (deepest > max(map(len, groups_of(corpus)))) == is_deep, "groups of groups"
    assert content(found.path) == expected


def test_processes_and_memory_do_not_matter(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the order of files, nor how many rows are added up at a time."""
    expected = content(made(corpus, tmp_path / "one").path)
    monkeypatch.setattr("dft_stats.build.sums._ROW_BYTES", 1_000_000)
    files = sorted(corpus.iterdir())
    assert content(made(files[::-1], tmp_path / "two", workers=2, memory="500MB").path) == expected
    assert not list(tmp_path.glob(".*")), "parts are gone when the profile is written"


def test_killed_it_goes_on(corpus: Path, tmp_path: Path) -> None:
    expected = content(made(corpus, tmp_path / "expected").path)
    small = f"import dft_stats.build.shards as s, dft_stats.build.groups as g; s.SHARD_BYTES, g.FEWEST, g.MOST = {SMALL}, 2, 3"
    program = f"{small}; import sys; from dft_stats.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["build", corpus, "--out", tmp_path / "out", "--name", "x", "--text-column", "text", "--privacy", "none"]
    command += ["--min-documents", 2, "--forget", FORGET, "--workers", 2]
    parts, kills = tmp_path / ".out.parts", 0

    def run() -> "subprocess.Popen[str]":
        return subprocess.Popen([sys.executable, "-c", program, *map(str, command)], stderr=subprocess.PIPE, text=True)

    for seen, number in (("*/[!.]*/shard.json", 2), ("*/groups", 1), ("*/groups/[!.]*", 2)):  # amid a shard, the first group, the third
        process = run()
        while process.poll() is None and len(list(parts.glob(seen))) < number:
            time.sleep(0.001)
        if process.poll() is None:
            kills += 1
            process.send_signal(signal.SIGKILL)
        process.communicate()
    assert kills == 3
    process = run()
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert content(tmp_path / "out") == expected
    assert not parts.exists()


def test_the_disk_holds_the_rows_of_two_groups_at_a_time(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, groups, most = tmp_path / "parts", groups_of(corpus), 0
    leave = Draft.__exit__

    def leaving(self: Draft, *given: Any) -> None:
        nonlocal most
        leave(self, *given)
        most = max(most, sum(1 for shard in parts.glob("*/[!.]*/shard.json") if list(shard.parent.glob("1/*.key.npy"))))

    monkeypatch.setattr(Draft, "__exit__", leaving)
    found = made(corpus, tmp_path / "one", parts=parts)
    grouped = {key for members in groups for key in members}
    largest = max(map(len, groups))
    assert most <= max(largest, len(plan_keys(corpus)) - len(grouped)) < len(grouped)
    assert not [file for key in grouped for file in row_files(parts, key)]
    assert [file for key in set(plan_keys(corpus)) - grouped for file in row_files(parts, key)]
    assert len(list(parts.glob("*/groups/*"))) == len(groups)
    before = changed(parts)
    told: list[str] = []
    again = made(corpus, tmp_path / "two", parts=parts, workers=2, progress=told.append)
    assert content(again.path) == content(found.path)
    assert changed(parts) == before, "nothing is counted or added up again"
    assert any(f"counted before), groups of them added up: {len(groups)}" in line for line in told)


@pytest.mark.parametrize("name", ["055.jsonl", "99.jsonl"])
def test_a_file_more_changes_its_own_group_alone(corpus: Path, tmp_path: Path, name: str) -> None:
    parts = tmp_path / "parts"
    made(corpus, tmp_path / "before", parts=parts)
    old, before = groups_of(corpus), {path.name: changed(path) for path in parts.glob("*/groups/*")}
    (corpus / name).write_text("\n".join(json.dumps({"text": f"{text} One more."}) for text in prose(4)))
    new = groups_of(corpus)
    kept = [members for members in new if members in old]
    assert len(kept) >= len(old) - 2
    planned = dry_run(corpus, privacy="none", out=tmp_path / "after", text_column="text", parts=parts, forget=FORGET, min_documents=2)
    assert max(shard.group or 0 for shard in planned) == len(new)
    todo = sum(not shard.is_counted for shard in planned)
    assert todo <= 1 + sum(len(members) for members in old if members not in new)
    told: list[str] = []
    found = made(corpus, tmp_path / "after", parts=parts, progress=told.append)
    assert f"({len(planned) - todo} counted before)" in "".join(told), "the dry run told the truth"
    after = {path.name: changed(path) for path in parts.glob("*/groups/*")}
    assert len(after) == len(new)
    assert sum(before.get(group) == files for group, files in after.items()) == len(kept)
    assert content(found.path) == content(made(corpus, tmp_path / "fresh").path)


def test_another_plan_counts_again_what_has_no_rows(corpus: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for number, forget in enumerate((FORGET, 2 * FORGET, None, FORGET)):
        found = made(corpus, tmp_path / f"{number}", parts=parts, forget=forget)
        assert content(found.path) == content(made(corpus, tmp_path / f"{number}-fresh", forget=forget).path)
    files = sorted(corpus.iterdir())[:2]
    (tmp_path / "other").mkdir()
    for file in files:
        (tmp_path / "other" / file.name).write_text(file.read_text())
    before = {path: changed(path) for path in parts.glob("*/groups/*")}
    made(tmp_path / "other", tmp_path / "of-another", parts=parts)
    assert {path: changed(path) for path in before} == before, "groups of another corpus are let be"


def test_groups_of_groups_are_made_of_groups_and_make_way(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left by a build that was interrupted at the end: to parts that are kept, whose groups are of shards, and back again."""
    expected = content(made(corpus, tmp_path / "expected").path)
    parts, leaf = tmp_path / ".out.parts", max(map(len, groups_of(corpus)))

    def sizes() -> list[int]:
        return [len(json.loads(file.read_text())["members"]) for file in parts.glob("*/groups/*/group.json")]

    def interrupted(*_: Any, **__: Any) -> None:
        raise Interrupted

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(import_module("dft_stats.build.build"), "_check_kept", interrupted)
            with pytest.raises(Interrupted):
                made(corpus, tmp_path / "out")
        assert max(sizes()) > 3 * leaf, "more than one level"
        assert len(sizes()) < len(groups_of(corpus))
        assert content(made(corpus, tmp_path / "kept", parts=parts, overwrite=True).path) == expected
        assert sorted(sizes()) == sorted(map(len, groups_of(corpus)))
    told: list[str] = []
    assert content(made(corpus, tmp_path / "out", progress=told.append).path) == expected
    assert f"({len(plan_keys(corpus))} counted before)" in "".join(told), "groups of shards are what these groups are made of"
    assert not parts.exists()


def test_what_was_left_beside_the_group_that_holds_it_makes_way(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the groups that a group is made of were deleted; then the same shards are counted in other batches."""
    expected = content(made(corpus, tmp_path / "expected").path)

    def interrupted(*_: Any, **__: Any) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr("dft_stats.build.group_files.discard", lambda path: None)
        patch.setattr(import_module("dft_stats.build.build"), "_check_kept", interrupted)
        with pytest.raises(Interrupted):
            made(corpus, tmp_path / "out")
    assert len(list((tmp_path / ".out.parts").glob("*/groups/*"))) > len(groups_of(corpus))
    monkeypatch.setattr("dft_stats.build.job._MOST_CHARACTERS", 1_500)
    assert content(made(corpus, tmp_path / "out", parts=tmp_path / ".out.parts").path) == expected
    assert len(list((tmp_path / ".out.parts").glob("*/groups/*"))) == len(groups_of(corpus))


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A node on this machine."""
    ray = pytest.importorskip("ray")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_a_cluster_counts_and_the_driver_adds_up(corpus: Path, tmp_path: Path) -> None:
    expected = content(made(corpus, tmp_path / "here").path)
    assert content(made(corpus, tmp_path / "there", engine="ray").path) == expected


# --- which shards share a group ---------------------------------------------------------------------------------------------------


def shards_of(sizes: list[int]) -> list[Shard]:
    return [Shard((Piece(f"{number:03}.txt"),), ((f"{number:03}.txt", ""),), size) for number, size in enumerate(sizes)]


@given(st.lists(st.integers(1, 40), max_size=200), st.integers(20, 200), st.integers(0, 200))
def test_trees(sizes: list[int], size: int, more: int) -> None:
    shards = shards_of(sizes)
    keys = [shard.key for shard in shards]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dft_stats.build.shards.SHARD_BYTES", 10)
        flat, deep = (planned(shards, size, is_deep=is_deep) for is_deep in (False, True))
        before = planned(shards[:more], size, is_deep=True)
    assert leaves(flat.groups) == flat.groups == leaves(deep.groups)
    assert flat.rest == deep.rest
    assert [key for group in flat.groups for key in sorted(group.members, key=keys.index)] + flat.rest == keys
    weight = dict(zip(keys, sizes, strict=True))
    for group in flat.groups:
        assert size // 2 <= sum(weight[key] for key in group.members) < 1.5 * size + 40
    every = [own for group in deep.groups for own in group.all()]
    for group in every:
        assert group.groups == () or FEWEST <= len(group.groups) <= MOST
        assert group.members == tuple(key for own in leaves([group]) for key in own.members)
    assert len({group.key for group in every}) == len(every)
    assert {replace(group, groups=()).key for group in every if group.groups}.isdisjoint(group.key for group in every)
    assert {own.key for group in before.groups for own in group.all()} <= {group.key for group in every}, "more shards regroup nothing"
    assert planned(shards, None, is_deep=True).groups == []


# --- how it is asked --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"forget": "15MB"}, r"forget \(`--forget`\) is 15,000,000 bytes of text, and one shard.*about 16,000,000; give that or more"),
        ({"forget": 0}, r"forget \(`--forget`\) is 0 bytes"),
        ({"forget": "much"}, r"forget 'much' is no size; give one such as \"2GB\""),
        (
            {"forget": "1GB", "min_documents": 1},
            r"forget.*'1GB' was given, and every row is to be kept.*keep rows of 2",
        ),
        ({"forget": "1GB", "privacy": "publish", "min_documents": None, "epsilon": 1.0}, r"with epsilon, forget cannot be had"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, how: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(prose(3), tmp_path / "out", text_column=None, **how)
    assert not list(tmp_path.iterdir())


def test_sizes() -> None:
    assert checked_forget(None) is None
    assert checked_forget("1GB") == 10**9


def test_the_command_line_forgets_and_plans(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["build", str(corpus), "--out", str(tmp_path / "out"), "--name", "x", "--text-column", "text", "--forget", "10kB"]
    assert main([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"; n-grams that occur once are forgotten in {len(groups_of(corpus))} groups of them" in said
    assert main([*command, "--privacy", "none", "--min-documents", "2"]) == 0
    capsys.readouterr()
    assert content(tmp_path / "out") == content(made(corpus, tmp_path / "expected").path)
    assert main([*command[:-1], "1kB", "--dry-run"]) == 1
    assert "error: forget (`--forget`) is 1,000 bytes of text" in capsys.readouterr().err
