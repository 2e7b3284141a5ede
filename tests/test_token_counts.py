"""Tokens counted in the running text: what the reference counts, whatever the tokenizer does; and what compiling makes of them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dft_stats.build import build
from dft_stats.build.combine import combine
from dft_stats.build.engine import count_corpus
from dft_stats.build.job import Job
from dft_stats.build.merge import Keep
from dft_stats.cli import main
from dft_stats.compiled import CompiledProfile
from dft_stats.compiling import MAX_INEXACT_BITS, compile_profile
from dft_stats.counts import count, exposure, merge, prune
from dft_stats.errors import CompiledProfileError, CorpusError, IncomparableError
from dft_stats.manifest import MANIFEST, SELF, canonical
from dft_stats.measures import jensen_shannon_bits
from dft_stats.profile import Profile, read_profile
from dft_stats.sentences import documents
from dft_stats.statistics import TOKEN_IDS, TOKEN_STATISTICS
from dft_stats.statistics.tokenised import tokenised
from dft_stats.stream import count_stream
from dft_stats.tables import SCHEMAS, logical_sha256
from dft_stats.text import MARK_CLASSES, Unit, normalise, units
from dft_stats.token_bigrams import token_bigrams
from dft_stats.token_counts import READING
from dft_stats.token_table import token_table
from dft_stats.tokenizer import encoding_fingerprint, fingerprint, resolve, special_ids, surfaces
from dft_stats.verify import problems
from tests.prose import documents as prose
from tests.strategies import corpora
from tests.test_engine import PARAGRAPHS
from tests.test_shards import hashes
from tests.tokenizers_for_tests import ALL, joining, unigram_like, wordpiece_like


def over_words() -> Tokenizer:
    """Unigram whose pieces reach over several words."""
    return unigram_like(split=False)


JOIN = {"joining": joining, "unigram": over_words}
EVERY: dict[str, Callable[[], Tokenizer]] = {**ALL, **JOIN, "wordpiece": wordpiece_like, "T5": unigram_like}


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [f"{text}\n\nThis was number {i}." for i, text in enumerate(prose(40))]


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [tokenizer.encode(normalise(text), add_special_tokens=False).ids for text in texts]


def directly(tokenizer: Tokenizer, compiled: CompiledProfile, texts: Sequence[str]) -> np.ndarray:
    found = np.zeros(compiled.vocab_size)
    for ids in encoded(tokenizer, texts):
        np.add.at(found, compiled.tokens.fold[ids], 1)
    found[compiled.tokens.special] = 0
    return found / found.sum()


# --- counting ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY)
@settings(max_examples=12)
@given(corpora, st.integers(1, 3))
@example([], 1)
@example(["", "One.", " \n"], 1)
@example(["<s> 日本 and <s>", "a" * 300], 2)
def test_fast_count_is_count(kind: str, corpus: list[str], size: int) -> None:
    tokenizer = resolve(EVERY[kind]())
    batches = [corpus[i : i + size] for i in range(0, len(corpus), size)]
    found = count_corpus(batches, tokenizer=tokenizer.to_str(), max_order=2)
    expected = tokenised(corpus, tokenizer)
    assert found.exposure == exposure(expected)
    for statistic in TOKEN_STATISTICS:
        reference, got = count(statistic, expected), found.counts[statistic.name]
        assert got.table.equals(reference.table), statistic.name
        assert got.totals.to_pylist() == reference.totals.to_pylist()


def test_units_that_leave_out_letters(texts: list[str]) -> None:
    """Where the text cannot be put together from units, tokens are in their places nevertheless."""

    def gaps(text: str) -> list[list[Unit]]:
        return [[unit for unit in units(text) if len(unit.text) != 3]] if "ferry" not in text else []

    tokenizer = resolve(joining())
    for segmenter in (PARAGRAPHS, type(PARAGRAPHS)("gaps", "1", "0" * 64, gaps)):
        found = count_corpus([texts[:9]], segmenter=segmenter, tokenizer=tokenizer.to_str(), max_order=2)
        for statistic in TOKEN_STATISTICS:
            assert found.counts[statistic.name].table.equals(count(statistic, tokenised(texts[:9], tokenizer, segmenter)).table)


def test_a_token_stands_in_the_window_of_the_unit_behind_its_space() -> None:
    tokenizer = resolve(ALL["gpt2"](1200))
    (document,) = tokenised(["the boat. the boat"], tokenizer)
    spelt = [tokenizer.decode([token.id]) for token in document.runs[0]]
    where = [token.position for token in document.runs[0]]
    assert where[spelt.index(" the")] == 2
    assert where[0] == 0
    assert where[spelt.index(".")] == 2


def test_nothing_reaches_over_what_is_no_text() -> None:
    tokenizer = resolve(EVERY["T5"]())
    (document,) = tokenised(["the 日本 the"], tokenizer)
    assert len(document.runs) == 2
    assert not {token.id for run in document.runs for token in run} & set(special_ids(tokenizer))


def test_tokens_are_counted_in_tokenised_documents_only() -> None:
    with pytest.raises(TypeError, match="counted in documents from `tokenised`, this one is a list"):
        count(TOKEN_IDS, documents(["A text."]))


@pytest.mark.parametrize("batch", [40, 7])
@pytest.mark.parametrize("keep", [Keep(min_documents=3), Keep(min_count=4), Keep(2, 3, {"token_pairs": 25, "token_ids": 0})])
def test_pruning_conserves_totals(keep: Keep, batch: int, texts: list[str]) -> None:
    tokenizer = resolve(joining())
    found = count_corpus([texts[i : i + batch] for i in range(0, 40, batch)], keep=keep, tokenizer=tokenizer.to_str(), max_order=2)
    for statistic in TOKEN_STATISTICS:
        whole = count(statistic, tokenised(texts, tokenizer))
        keys = [(key, "ascending") for key in statistic.keys]
        kept = pc.and_(
            pc.greater_equal(whole.table["documents"], keep.min_documents), pc.greater_equal(whole.table["count"], keep.min_count)
        )
        best = whole.table.append_column("row", pa.array(range(len(whole.table)))).filter(kept)
        best = best.sort_by([("count", "descending"), *keys]).slice(0, keep.max_rows.get(statistic.name, len(best)))
        expected = prune(whole, pc.is_in(pa.array(range(len(whole.table))), best["row"].combine_chunks()))
        got = found.counts[statistic.name]
        assert got.table.equals(expected.table)
        assert got.spectrum.to_pylist() == expected.spectrum.to_pylist()
        assert got.totals.to_pylist() == whole.totals.to_pylist()


def test_the_result_depends_on_no_way_of_counting(texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dft_stats.build.shards.SHARD_BYTES", 3_000)
    for i, part in enumerate((texts[:15], texts[15:])):
        (tmp_path / f"{i}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in part))
    joining().save(str(tmp_path / "tokenizer.json"))

    def built(name: str, what: object, **how: object) -> tuple[dict[str, str], object]:
        profile = build(what, privacy="none", out=tmp_path / name, name="x", tokenizer=joining(), min_documents=2, max_order=2, **how)  # type: ignore[arg-type]
        return hashes(profile), profile.manifest["tokenizer"]

    files = [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]
    expected = built("one", files)
    assert built("two", files[::-1], workers=2) == expected
    assert built("three", texts[::-1]) == expected
    monkeypatch.setattr(Job, "batch_characters", property(lambda job: 2_000))
    assert built("four", files) == expected


def test_parts_of_another_tokenizer_are_of_no_use() -> None:
    keys = {Job(tokenizer=text).key for text in (None, joining().to_str(), wordpiece_like().to_str())}
    assert len(keys) == 3


# --- reading ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY)
def test_the_reading_is_that_of_the_streams(kind: str, texts: list[str], tmp_path: Path) -> None:
    tokenizer = resolve(EVERY[kind]())
    profile = build(texts, privacy="none", out=tmp_path / "x", name="x", tokenizer=tokenizer, max_order=2)
    compiled = compile_profile(profile, tokenizer)
    streams = [count_stream(compiled, ids) for ids in encoded(tokenizer, texts)]
    total = sum(streams[1:], streams[0])
    reading = profile.manifest["tokenizer"]["reading"]
    assert reading["words"] == total.words
    assert [reading[name] for name in MARK_CLASSES] == total.marks.tolist()
    assert reading["windows"] == len(total.entropies)
    assert compiled.entropy_bits == pytest.approx(np.mean(total.entropies), abs=0.005)
    assert compiled.entropy_sd == pytest.approx(np.std(total.entropies), abs=0.005)
    assert compiled.marks == pytest.approx(total.marks / total.words)
    assert compiled.tokens_per_word == pytest.approx(total.total / total.words)


@pytest.mark.parametrize("kind", JOIN)
def test_sentences_end_inside_tokens_that_join_words(kind: str, texts: list[str], tmp_path: Path) -> None:
    tokenizer = resolve(JOIN[kind]())
    spelt = surfaces(tokenizer)
    table = token_table(spelt, special_ids(tokenizer))
    inner = [id for id, text in enumerate(spelt) if text.strip().startswith(". T")]
    assert inner
    assert (table.end[inner] > 0).all()
    assert (table.words_after[inner] >= 1).all()
    profile = build(texts, privacy="none", out=tmp_path / "x", name="x", tokenizer=tokenizer, max_order=2)
    compiled = compile_profile(profile, tokenizer)
    found = sum(count_stream(compiled, ids).ends.sum() for ids in encoded(tokenizer, texts))
    # Of abbreviations that a token holds in its middle the reader knows nothing, and these texts are full of them.
    assert found == pytest.approx(profile.exposure.sentences, rel=0.25)


# --- compiling --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", JOIN)
def test_what_is_refused_without_is_exact_with_counts(kind: str, texts: list[str], tmp_path: Path) -> None:
    tokenizer = JOIN[kind]()
    bare = build(texts, privacy="none", out=tmp_path / "bare", name="bare", max_order=3)
    with pytest.raises(CompiledProfileError, match=r"Build it with this tokenizer \(`dft-stats build --tokenizer`\)"):
        compile_profile(bare, tokenizer)
    counted = build(texts, privacy="none", out=tmp_path / "counted", name="counted", max_order=3, tokenizer=tokenizer)
    compiled = compile_profile(counted, tokenizer)
    assert (compiled.exactness, compiled.exactness_bits) == (1.0, 0.0)
    assert compiled.tokenizer_sha256 == fingerprint(resolve(tokenizer))
    assert np.abs(directly(resolve(tokenizer), compiled, texts) - compiled.token_frequency).max() < 1e-15
    assert compiled.token_tracked.sum() > 50
    assert np.array_equal(compile_profile(counted, tokenizer).token_frequency, compiled.token_frequency), "from the cache"


@pytest.mark.parametrize("kind", [*ALL, "wordpiece"])
def test_counted_and_compiled_agree_where_words_are_kept_apart(kind: str, texts: list[str], tmp_path: Path) -> None:
    tokenizer = EVERY[kind]()
    by_stretches = compile_profile(build(texts, privacy="none", out=tmp_path / "bare", name="bare", max_order=3), tokenizer)
    counted = compile_profile(
        build(texts, privacy="none", out=tmp_path / "counted", name="counted", max_order=3, tokenizer=tokenizer), tokenizer
    )
    assert jensen_shannon_bits(by_stretches.token_frequency, counted.token_frequency) < 1e-3
    both = by_stretches.token_tracked & counted.token_tracked
    assert both.sum() > 0.9 * counted.token_tracked.sum()
    assert np.median(by_stretches.token_sd[both] / counted.token_sd[both]) == pytest.approx(1, abs=0.1)
    assert by_stretches.hazard == pytest.approx(counted.hazard, rel=0.05)
    assert by_stretches.rhythm == pytest.approx(counted.rhythm, rel=0.05, abs=1e-6)


@pytest.mark.parametrize("kind", JOIN)
def test_pairs_are_those_of_the_running_text(kind: str, texts: list[str], tmp_path: Path) -> None:
    tokenizer = resolve(JOIN[kind]())
    profile = build(texts, privacy="none", out=tmp_path / "x", name="x", tokenizer=tokenizer, max_order=2)
    compiled = compile_profile(profile, tokenizer)
    assert len(compiled.ngrams) > 20
    streams = [count_stream(compiled, ids) for ids in encoded(tokenizer, texts)]
    total = sum(streams[1:], streams[0])
    assert compiled.ngram_frequency == pytest.approx(total.ngrams / total.total)
    assert (compiled.ngram_sd > 0).all()
    pairs = token_bigrams(profile, tokenizer)
    assert pairs.coverage == pytest.approx(1)
    rows = [pair for ids in encoded(tokenizer, texts) for pair in pairwise(ids) if not set(pair) & set(special_ids(tokenizer))]
    found, number = np.unique(np.array(rows), axis=0, return_counts=True)
    assert pairs.frequency(found) == pytest.approx(number / len(rows))


@pytest.mark.parametrize("kind", ["joining", "gpt2"])
def test_pruned_counts_conserve_mass_and_stay_near(kind: str, texts: list[str], tmp_path: Path) -> None:
    tokenizer = EVERY[kind]()
    more = [*texts, "Zanzibar quokkas yodel."]
    profile = build(more, privacy="none", out=tmp_path / "x", name="x", tokenizer=tokenizer, min_documents=3, max_order=2)
    compiled = compile_profile(profile, tokenizer)
    assert profile.counts("token_ids").total() > profile.table("token_ids")["count"].to_numpy().sum()
    assert compiled.token_frequency.sum() == pytest.approx(1, abs=1e-12)
    assert (compiled.token_frequency[compiled.tokens.special] == 0).all()
    assert jensen_shannon_bits(directly(resolve(tokenizer), compiled, more), compiled.token_frequency) < 0.004
    assert not compiled.token_tracked[
        np.isin(np.arange(compiled.vocab_size), profile.table("token_ids")["id"].to_numpy(), invert=True)
    ].any()


def test_another_tokenizer_falls_back_to_the_stretches(texts: list[str], tmp_path: Path) -> None:
    profile = build(texts, privacy="none", out=tmp_path / "x", name="x", tokenizer=wordpiece_like(), max_order=3)
    bare = build(texts, privacy="none", out=tmp_path / "bare", name="x", max_order=3)
    other = compile_profile(profile, ALL["gpt2"]())
    assert np.array_equal(other.token_frequency, compile_profile(bare, ALL["gpt2"]()).token_frequency)
    with pytest.raises(CompiledProfileError, match="the tokens that it holds are those of another tokenizer"):
        compile_profile(profile, joining())


def test_ids_that_are_read_otherwise_are_not_taken(texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = build(texts, privacy="none", out=tmp_path / "x", name="x", tokenizer=joining(), max_order=3)
    monkeypatch.setattr("dft_stats.token_counts.READER", 0)
    with pytest.raises(CompiledProfileError, match="another version of dft_stats read words and marks from them"):
        compile_profile(profile, joining())
    assert compile_profile(profile, joining(), inexact=True).exactness_bits > MAX_INEXACT_BITS


def test_what_does_not_encode_makes_no_other_tokenizer() -> None:
    plain = resolve(joining())
    from tokenizers import processors

    dressed = resolve(joining())
    dressed.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    assert fingerprint(plain) != fingerprint(dressed)
    assert encoding_fingerprint(plain) == encoding_fingerprint(dressed)
    dressed.add_tokens(["ferry"])
    assert encoding_fingerprint(plain) != encoding_fingerprint(dressed)


def test_the_loss_trains_on_a_tokenizer_that_joins_words(texts: list[str], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from dft_stats.loss import DistributionLoss

    tokenizer = resolve(joining())
    compiled = compile_profile(build(texts, privacy="none", out=tmp_path / "x", name="x", tokenizer=tokenizer, max_order=2), tokenizer)
    labels = torch.tensor([encoded(tokenizer, ["\n\n".join(texts)])[0][:512]])
    own = 50 * torch.nn.functional.one_hot(labels.roll(-1, 1), compiled.vocab_size).float()
    logits = torch.zeros_like(own, requires_grad=True)
    (penalty, _), (floor, _) = (DistributionLoss(compiled)(given, labels) for given in (logits, own))
    penalty.backward()
    assert torch.isfinite(logits.grad).all()
    before = logits.detach().softmax(-1)
    torch.optim.SGD([logits], lr=1.0).step()
    assert (logits.detach().softmax(-1) - before).abs().max() > 0
    assert 0 <= floor.item() < 0.5 * penalty.item(), "what people wrote is nearer than what nobody would"


# --- profiles ---------------------------------------------------------------------------------------------------------------------


def test_a_profile_without_tokens_has_the_old_format(texts: list[str], tmp_path: Path) -> None:
    bare = build(texts[:5], privacy="none", out=tmp_path / "bare", name="x", max_order=2)
    counted = build(
        texts[:5], privacy="none", out=tmp_path / "counted", name="x", max_order=2, tokenizer=joining(), tokenizer_name="joiner"
    )
    assert bare.manifest["format_version"] == 2
    assert counted.manifest["format_version"] == 3, "readers that know no tokens refuse it with a remedy"
    assert counted.manifest["tokenizer"]["name"] == "joiner"
    assert set(counted.tables) - set(bare.tables) == {"token_ids", "token_pairs"}
    assert "the tokenizer joiner of 900 ids" in (counted.path / "README.md").read_text()
    same = [name for name in hashes(bare) if name not in ("totals", "spectrum")]
    assert {name: hashes(counted)[name] for name in same} == {name: hashes(bare)[name] for name in same}
    assert problems(bare.path) == problems(counted.path) == []
    with pytest.raises(KeyError, match="build with a tokenizer to have it"):
        bare.table("token_ids")


def test_profiles_add_up_to_that_of_all_texts(texts: list[str], tmp_path: Path) -> None:
    def built(name: str, part: Sequence[str], tokenizer: Tokenizer | None) -> Profile:
        return build(part, privacy="none", out=tmp_path / name, name=name, max_order=2, tokenizer=tokenizer)

    pieces = [built(f"piece-{i}", texts[i::2], joining()) for i in range(2)]
    whole, merged = built("whole", texts, joining()), combine(pieces, out=tmp_path / "merged", name="merged")
    for name in ("token_ids", "token_pairs", "totals"):
        assert hashes(merged)[name] == hashes(whole)[name]
    assert merged.manifest["tokenizer"] == whole.manifest["tokenizer"]
    assert set(merged.manifest["undercount"]) > {"token_ids", "token_pairs"}
    assert problems(merged.path) == []
    assert compile_profile(merged, joining()).exactness == 1
    with pytest.raises(IncomparableError, match=r"has the tokens of a tokenizer \(sha256 .*, other has the tokens of a tokenizer \(sha256"):
        combine([pieces[0], built("other", texts, wordpiece_like())], out=tmp_path / "x", name="x")
    with pytest.raises(IncomparableError, match=r"bare has no tokens counted; build one again, with the same tokenizer \(--tokenizer\)"):
        combine([pieces[0], built("bare", texts, None)], out=tmp_path / "x", name="x")


def forge(folder: Path, name: str = "", table: pa.Table | None = None, **changes: object) -> None:
    """Change a table and entries of the manifest, and hash all of it anew."""
    manifest = json.loads((folder / MANIFEST).read_bytes()) | changes
    if table is not None:
        path = folder / "data" / f"{name}.parquet"
        pq.write_table(table.cast(SCHEMAS[name]), path)
        for entry in manifest["tables"]:
            if entry["name"] == name:
                entry |= {"rows": len(table), "bytes": path.stat().st_size, "logical_sha256": logical_sha256(table)}
                entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.pop(SELF)
    manifest[SELF] = hashlib.sha256(canonical(manifest)).hexdigest()
    (folder / MANIFEST).write_bytes(canonical(manifest))


def test_verify_finds_what_was_tampered_with(texts: list[str], tmp_path: Path) -> None:
    def fresh() -> Profile:
        return build(texts[:5], privacy="none", out=tmp_path / "x", name="x", max_order=2, tokenizer=joining(), overwrite=True)

    def said(**changes: object) -> str:
        forge(fresh().path, **changes)  # type: ignore[arg-type]
        return "\n".join(problems(tmp_path / "x"))

    ids, pairs, entry = fresh().table("token_ids"), fresh().table("token_pairs"), fresh().manifest["tokenizer"]
    assert "totals say" in said(name="token_ids", table=ids.slice(1))
    assert "a key occurs twice" in said(name="token_pairs", table=pa.concat_tables([pairs.slice(0, 1), pairs]))
    twice = pairs.set_column(2, "count", pc.multiply(pairs["count"], 2))
    assert "an id is first more often than token_ids has it" in said(name="token_pairs", table=twice)
    assert "outside the vocabulary of 3" in said(tokenizer=entry | {"vocabulary": 3})
    assert "as its tokenizer, expected sha256, vocabulary, reader and reading" in said(tokenizer={})
    assert "not a number of" in said(tokenizer=entry | {"reading": {}})
    assert "not a number of" in said(tokenizer=entry | {"reading": entry["reading"] | {"words": -1}})
    assert "of format 2 and yet names a tokenizer" in said(
        format_version=2, tables=[t for t in fresh().manifest["tables"] if "token_" not in t["name"] or "freq" in t["name"]]
    )
    path = fresh().path / "data" / "token_ids.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "token_ids.parquet has sha256" in problems(tmp_path / "x")[0]


def test_from_the_command_line(texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts[:8]))
    joining().save(str(tmp_path / "tokenizer.json"))
    command = ["build", "--privacy", "none", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "x"), "--name", "x", "--tokenizer"]
    assert main([*command, str(tmp_path), "--tokenizer-name", "joiner"]) == 0
    profile = read_profile(tmp_path / "x")
    assert profile.manifest["tokenizer"]["name"] == "joiner"
    assert sorted(profile.manifest["tokenizer"]["reading"]) == sorted(READING)
    assert main([*command, str(tmp_path / "nowhere"), "--overwrite"]) == 1
    assert "is no file; give the path of a tokenizer.json" in capsys.readouterr().err


def test_a_tokenizer_that_knows_no_word_is_refused(tmp_path: Path) -> None:
    from tokenizers import models, pre_tokenizers

    blind = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    blind.pre_tokenizer = pre_tokenizers.Whitespace()
    blind.add_special_tokens(["[UNK]"])
    with pytest.raises(CorpusError, match="reads not one word in the corpus"):
        build(["Other words than that."], privacy="none", out=tmp_path / "x", name="x", tokenizer=blind)


@given(st.lists(st.integers(0, 39), min_size=1, max_size=3))
def test_merging_counts_is_counting_all(cuts: list[int]) -> None:
    corpus, tokenizer = prose(40)[:8], resolve(joining())
    bounds = [0, *sorted(cut % 8 for cut in cuts), 8]
    for statistic in TOKEN_STATISTICS:
        parts = [count(statistic, tokenised(corpus[a:b], tokenizer)) for a, b in pairwise(bounds)]
        assert merge(parts).table.equals(count(statistic, tokenised(corpus, tokenizer)).table)
