"""Compiling: the counts of a profile on token ids are the counts of the tokenised text."""

import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from dft_stats.cache import cache_folder
from dft_stats.chunks import Chunks, read_chunks
from dft_stats.compiled import CompiledProfile
from dft_stats.compiling import LENGTH_EDGES, MAX_INEXACT_BITS, compile_profile
from dft_stats.encoding import encode_between, encode_in_context, encode_spaced
from dft_stats.errors import CompiledProfileError
from dft_stats.exactness import measure, probe_texts
from dft_stats.measures import jensen_shannon_bits
from dft_stats.profile import Profile, write_profile
from dft_stats.stream import count_stream
from dft_stats.text import MARK_CLASSES, normalise
from dft_stats.tokenizer import resolve, vocabulary_size
from tests.compiled_for_tests import directly
from tests.profiles import profile_of
from tests.tokenizers_for_tests import ALL, joining, unigram_like, wordpiece_like

WORDS = st.sampled_from(
    [
        "the",
        "well-known",
        "don't",
        "U.S.",
        "1,250",
        "3.14",
        "o'er",
        "l'",
        "a)(b",
        "harbour.",
        '"Why?"',
        "(see",
        "4)",
        "—",
        "é",
        "ran,",
        "rest;",
    ]
)


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("kind", ALL)
def test_unpruned_compiles_to_the_counts_of_the_tokenised_text(kind: str, profile: Profile, texts: list[str]) -> None:
    tokenizer = ALL[kind]()
    compiled = compile_profile(profile, tokenizer)
    assert compiled.token_frequency.dtype == np.float64
    assert compiled.token_frequency.shape == (vocabulary_size(tokenizer),)
    assert compiled.token_frequency.sum() == pytest.approx(1, abs=1e-12)
    # The prefix "▁" that SentencePiece puts before a text stands before its first word only; which one that is, the profile does not say.
    tolerance = 0.005 if kind == "sentencepiece" else 1e-12
    assert np.abs(directly(tokenizer, compiled, texts) - compiled.token_frequency).sum() < tolerance


@pytest.mark.parametrize("kind", ALL)
def test_where_every_paragraph_is_a_document_nothing_is_estimated(kind: str, texts: list[str], tmp_path: Path) -> None:
    single = [text.split("\n\n")[0] for text in texts]
    compiled = compile_profile(profile_of(single, tmp_path / "single"), ALL[kind]())
    assert np.abs(directly(ALL[kind](), compiled, single) - compiled.token_frequency).sum() < 1e-12


@pytest.mark.parametrize("kind", ALL)
def test_pruned_conserves_mass_and_stays_near(kind: str, texts: list[str], tmp_path: Path) -> None:
    pruned = profile_of([*texts, "Zanzibar quokkas yodel."], tmp_path / "pruned", min_documents=2)
    tokenizer = ALL[kind]()
    compiled = compile_profile(pruned, tokenizer)
    assert compiled.token_frequency.sum() == pytest.approx(1, abs=1e-12)
    assert jensen_shannon_bits(directly(tokenizer, compiled, texts), compiled.token_frequency) < 0.01


@pytest.mark.parametrize("kind", ALL)
@given(lines=st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=1, max_size=3))
def test_encoding_in_context_is_encoding_the_whole(kind: str, lines: list[list[str]]) -> None:
    tokenizer = resolve(ALL[kind]())
    chunks = []
    for number, line in enumerate(lines):
        for i, word in enumerate(line):
            last_of_paragraph = i + 1 == len(line) and number + 1 < len(lines)
            chunks.append(" " * (i > 0) + word + "\n\n" * last_of_paragraph)
    whole = tokenizer.encode("a\n\n" + "".join(chunks), add_special_tokens=False).ids
    start = tokenizer.encode("a\n\n", add_special_tokens=False).ids
    assert start + [id for ids in encode_in_context(tokenizer, chunks) for id in ids] == whole


@pytest.mark.parametrize("kind", ALL)
@given(stretches=st.lists(WORDS.map(lambda word: " " + word), max_size=150))
def test_encoding_many_at_once_is_encoding_each(kind: str, stretches: list[str]) -> None:
    tokenizer = resolve(ALL[kind]())
    ids, lengths = encode_spaced(tokenizer, stretches)
    each = encode_in_context(tokenizer, stretches)
    assert ids.tolist() == [id for row in each for id in row]
    assert lengths.tolist() == list(map(len, each))


@pytest.mark.parametrize(("make", "bits"), [(wordpiece_like, 1e-12), (unigram_like, 1e-4)])
def test_tokenizers_without_white_space(make: Callable[[], Tokenizer], bits: float, profile: Profile, texts: list[str]) -> None:
    compiled = compile_profile(profile, make())
    assert compiled.exactness > 0.99
    assert jensen_shannon_bits(directly(resolve(make()), compiled, texts), compiled.token_frequency) < bits


@pytest.mark.parametrize("kind", ALL)
def test_exactness_of_those_that_keep_words_apart(kind: str, profile: Profile) -> None:
    found = measure(resolve(ALL[kind]()), probe_texts(profile))
    assert (found.agreement, found.divergence_bits, found.example) == (1.0, 0.0, "")


@pytest.mark.parametrize("make", [joining, lambda: unigram_like(split=False)])
def test_tokenizers_that_join_words_are_refused(make: Callable[[], Tokenizer], profile: Profile, texts: list[str]) -> None:
    tokenizer = make()
    with pytest.raises(CompiledProfileError, match=r"encoded by stretches, \d+\.\d% of the tokens differ .* inexact=True"):
        compile_profile(profile, tokenizer)
    compiled = compile_profile(profile, tokenizer, inexact=True)
    assert compiled.exactness < 0.7
    assert compiled.exactness_bits > MAX_INEXACT_BITS
    assert CompiledProfile.load(next((cache_folder() / "compiled").iterdir())).exactness == compiled.exactness
    with pytest.raises(CompiledProfileError, match="does not keep"):  # what lies in the cache is checked as well
        compile_profile(profile, tokenizer)
    # The measure tells the truth about the error.
    assert jensen_shannon_bits(directly(resolve(tokenizer), compiled, texts), compiled.token_frequency) > MAX_INEXACT_BITS


@pytest.mark.parametrize("kind", ALL)
@given(stretch=WORDS, space=st.booleans(), closes=st.booleans())
def test_stretches_are_read_as_streams_are(kind: str, stretch: str, space: bool, closes: bool, profile: Profile) -> None:
    tokenizer = resolve(ALL[kind]())
    compiled = compile_profile(profile, tokenizer)
    part = " " * space + stretch + "\n\n" * closes
    front = "a" if space or stretch[0].isdecimal() else "1"
    (ids,) = encode_between(tokenizer, [front], [part], ["a" if closes else ""])
    if not ids or (not space and not tokenizer.decode(ids)[0].isalnum()):
        return
    chunks = Chunks(np.array(ids), np.array([len(ids)]), np.ones(1), np.ones(1), np.ones(1, np.int64), [part])
    before = tokenizer.encode(front, add_special_tokens=False).ids
    alone, behind = count_stream(compiled, before), count_stream(compiled, before + ids)
    reading = read_chunks(chunks, compiled.tokens)
    assert reading.words == behind.words - alone.words
    assert reading.marks.tolist() == (behind.marks - alone.marks).tolist()


def test_ngrams_are_phrases_with_their_own_counts(profile: Profile, texts: list[str]) -> None:
    tokenizer = ALL["gpt2"](1200)
    compiled = compile_profile(profile, tokenizer)
    assert len(compiled.ngrams) > 20
    streams = [compiled.tokens.fold[tokenizer.encode(normalise(text), add_special_tokens=False).ids].tolist() for text in texts]
    total = sum(map(len, streams))
    inside = 0
    for row, frequency in zip(compiled.ngrams.tolist(), compiled.ngram_frequency, strict=True):
        ngram = [id for id in row if id >= 0]
        phrase = tokenizer.decode(ngram).strip()
        if phrase[0].isupper() or phrase[-1] == ",":
            continue  # at the beginning of a paragraph or before a quote it is spelt by other tokens; the share is an estimate
        seen = sum(stream[i : i + len(ngram)] == ngram for stream in streams for i in range(len(stream)))
        assert seen / total >= frequency * (1 - 1e-9), tokenizer.decode(ngram)
        inside += seen / total == pytest.approx(frequency)  # more only where the last token begins a longer word
    assert inside > 0.5 * len(compiled.ngrams)


def test_hazard_and_rhythm_are_those_of_the_counts(profile: Profile) -> None:
    compiled = compile_profile(profile, ALL["llama3"]())
    assert compiled.at_risk.sum() == pytest.approx(1)
    assert ((compiled.hazard >= 0) & (compiled.hazard <= 1)).all()
    rows = profile.counts("sentence_length").rows("words")
    lengths = np.repeat(rows["length"].to_numpy(), rows["count"].to_numpy())
    for bucket in range(8):
        low, high = LENGTH_EDGES[bucket : bucket + 2]
        ended = ((lengths >= low) & (lengths < high)).sum()
        reached = sum((lengths >= age).sum() for age in range(low, high))
        assert compiled.hazard[bucket] == pytest.approx(ended / reached, rel=1e-9)
    assert compiled.hazard[-1] == 0  # no sentence is that long
    assert compiled.rhythm.shape == (len(MARK_CLASSES) + 1, len(compiled.gap_edges) - 1, len(MARK_CLASSES))
    # Every mark but a document's first has a mark before it; the opening stands before the first.
    assert compiled.rhythm.sum(axis=(0, 1)) == pytest.approx(compiled.marks, rel=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given.enable_truncation(3),
        lambda given: given.enable_padding(length=40),
        lambda given: setattr(given, "encode_special_tokens", True),
    ],
)
def test_how_a_tokenizer_is_set_to_encode_changes_nothing(profile: Profile, change: Callable[[Tokenizer], None]) -> None:
    plain = ALL["gpt2"]()
    given = Tokenizer.from_str(plain.to_str())
    change(given)
    before = given.to_str(), given.encode_special_tokens
    found, wanted = (compile_profile(profile, tokenizer, cache=False) for tokenizer in (given, plain))
    assert np.array_equal(found.token_frequency, wanted.token_frequency)
    assert found.tokenizer_sha256 == wanted.tokenizer_sha256
    assert (given.to_str(), given.encode_special_tokens) == before


def test_cache_is_used_and_a_damaged_one_replaced(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = ALL["gpt2"]()
    first = compile_profile(profile, tokenizer)
    (path,) = (cache_folder() / "compiled").iterdir()
    monkeypatch.setattr("dft_stats.compiling._compile", None)  # a second compilation would fail
    again = compile_profile(profile, tokenizer)
    assert np.array_equal(first.token_frequency, again.token_frequency)
    monkeypatch.undo()
    monkeypatch.setenv("DFT_STATS_CACHE", str(path.parents[1]))
    path.write_bytes(path.read_bytes()[:1000])
    mended = compile_profile(profile, tokenizer)
    assert np.array_equal(first.token_frequency, mended.token_frequency)
    assert CompiledProfile.load(path).vocab_size == first.vocab_size


def test_refusals_name_the_thing_and_the_remedy(profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(CompiledProfileError, match=r"no file.*tokenizer\.json"):
        compile_profile(profile, tmp_path / "nowhere")
    with pytest.raises(CompiledProfileError, match="cannot compile for a int"):
        compile_profile(profile, 3)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CompiledProfileError, match=r"no tokenizer\.json"):
        compile_profile(profile, tmp_path)
    with pytest.raises(CompiledProfileError, match="no token for the letter a"):
        compile_profile(profile, Tokenizer(models.BPE()))
    with pytest.raises(CompiledProfileError, match="no words"):
        compile_profile(profile_of([""], tmp_path / "empty"), ALL["gpt2"]())


def test_a_path_and_the_object_compile_alike(profile: Profile, tmp_path: Path) -> None:
    tokenizer = ALL["gpt2"]()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert compile_profile(profile, tmp_path).tokenizer_sha256 == compile_profile(profile, tokenizer).tokenizer_sha256


def test_a_cache_that_cannot_be_written_is_done_without(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DFT_STATS_CACHE", str(tmp_path / "file"))
    compiled = compile_profile(profile, ALL["gpt2"]())
    path = str(tmp_path / "compiled.npz")
    compiled.save(path)
    (tmp_path / "other").touch()
    assert Path(path).stat().st_mode == (tmp_path / "other").stat().st_mode, "whoever may read files made here may read it"
    assert np.array_equal(CompiledProfile.load(path).token_frequency, compiled.token_frequency)


def test_a_profile_without_sentence_lengths_is_refused(profile: Profile, tmp_path: Path) -> None:
    """As noise may leave one of few documents."""
    counts = {name: profile.counts(name) for name in profile.counted}
    counts["sentence_length"] = replace(counts["sentence_length"], table=counts["sentence_length"].table.slice(0, 0))
    tables = {name: profile.table(name) for name in ("spelling", "documents", "floor")}
    facts = {name: profile.manifest[name] for name in ("name", "version", "segmenter", "normaliser", "typography")}
    without = write_profile(tmp_path / "x", facts=facts, exposure=profile.exposure, counts=counts, card="# x", **tables)
    with pytest.raises(CompiledProfileError, match="tells no length of a sentence, so that there is nothing to steer them by"):
        compile_profile(without, ALL["gpt2"]())


@pytest.mark.parametrize("is_enabled", [True, False])
@pytest.mark.parametrize("make", [ALL["gpt2"], joining])
def test_the_search_for_cycles_is_left_as_it_was(make: Callable[[], Tokenizer], is_enabled: bool, profile: Profile) -> None:
    """Also where a tokenizer is refused, as one that joins words."""
    (gc.enable if is_enabled else gc.disable)()
    try:
        with suppress(CompiledProfileError):
            compile_profile(profile, make(), cache=False)
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()
