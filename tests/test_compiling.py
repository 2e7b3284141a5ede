"""Compiling: the counts of a profile on token ids are the counts of the tokenised text."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dft_stats.compiled import CompiledProfile
from dft_stats.compiling import LENGTH_EDGES, cache_folder, compile_profile
from dft_stats.errors import CompiledProfileError
from dft_stats.measures import jensen_shannon_bits
from dft_stats.profile import Profile
from dft_stats.text import MARK_CLASSES, normalise
from dft_stats.tokenizer import encode_in_context, resolve, special_ids, surfaces, token_table, vocabulary_size
from tests.profiles import profile_of
from tests.prose import documents as prose
from tests.tokenizers_for_tests import ALL

WORDS = st.sampled_from(["the", "well-known", "don't", "U.S.", "1,250", "harbour.", '"Why?"', "(see", "4)", "—", "é", "ran,", "rest;"])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFT_STATS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return prose(60)


@pytest.fixture(scope="module")
def profile(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return profile_of(texts, tmp_path_factory.mktemp("profile") / "test")


def directly(tokenizer: Tokenizer, compiled: CompiledProfile, texts: list[str]) -> np.ndarray:
    """Token frequency counted on the tokenised text."""
    counts = np.zeros(compiled.vocab_size)
    for text in texts:
        np.add.at(counts, compiled.tokens.fold[tokenizer.encode(normalise(text), add_special_tokens=False).ids], 1)
    counts[compiled.tokens.special] = 0
    return counts / counts.sum()


@pytest.mark.parametrize("kind", ALL)
def test_unpruned_compiles_to_the_counts_of_the_tokenised_text(kind: str, profile: Profile, texts: list[str]) -> None:
    tokenizer = ALL[kind]()
    compiled = compile_profile(profile, tokenizer)
    assert compiled.token_frequency.dtype == np.float64
    assert compiled.token_frequency.shape == (vocabulary_size(tokenizer),)
    assert compiled.token_frequency.sum() == pytest.approx(1, abs=1e-12)
    # The prefix "▁" that SentencePiece puts before a text stands before its first word only: one token a document at most.
    tolerance = 0.02 if kind == "sentencepiece" else 1e-12
    assert np.abs(directly(tokenizer, compiled, texts) - compiled.token_frequency).sum() < tolerance


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
    reader = compiled.hazard[0] / ((lengths < 2).sum() / len(lengths))
    assert 0.9 < reader < 1.4
    for bucket in range(8):
        low, high = LENGTH_EDGES[bucket : bucket + 2]
        ended = ((lengths >= low) & (lengths < high)).sum()
        reached = sum((lengths >= age).sum() for age in range(low, high))
        # One factor for all: what the reader of tokens takes for an end ("a.m.", "Sec. 4") and the reader of texts does not.
        assert compiled.hazard[bucket] == pytest.approx(ended / reached * reader, rel=1e-9)
    assert compiled.hazard[-1] == 0  # no sentence is that long
    assert compiled.rhythm.shape == (len(MARK_CLASSES) + 1, len(compiled.gap_edges) - 1, len(MARK_CLASSES))
    # Every mark but a document's first has a mark before it; the opening stands before the first.
    assert compiled.rhythm.sum(axis=(0, 1)) == pytest.approx(compiled.marks, rel=1e-9)


def test_words_marks_and_ends_of_known_tokens() -> None:
    tokenizer = resolve(ALL["llama3"](1200))
    spelt = surfaces(tokenizer, vocabulary_size(tokenizer))
    table = token_table(spelt, special_ids(tokenizer))
    at = {text: id for id, text in reversed(list(enumerate(spelt)))}
    comma, period = MARK_CLASSES.index("comma"), MARK_CLASSES.index("period")
    assert (table.words_before[at[" the"]], table.glues[at[" the"]], table.open_ended[at[" the"]]) == (1, False, True)
    assert (table.words_before[at["er"]], table.glues[at["er"]]) == (1, True)
    assert (table.first_mark[at[","]], table.end[at[","]], table.words_before[at[","]]) == (comma, 0, 0)
    assert (table.first_mark[at["."]], table.end[at["."]]) == (period, 1)
    assert table.end[at[".\n\n"]] == 2
    assert table.abbreviation[at[" Dr"]]
    assert not table.abbreviation[at[" the"]]
    assert table.words_before[at["-known"]] == 1
    assert table.glues[at["-known"]]
    assert table.entropy_type[at[" the"]] == table.entropy_type[at["The"]]
    assert table.special[at["<s>"]]
    assert table.special[tokenizer.token_to_id("<think>")]


def test_typography_folds_where_the_vocabulary_has_the_plain_token() -> None:
    tokenizer = resolve(ALL["sentencepiece"]())
    spelt = surfaces(tokenizer, vocabulary_size(tokenizer))
    fold = token_table(spelt, special_ids(tokenizer)).fold
    assert spelt[fold[spelt.index("“")]] == '"'
    assert spelt[fold[spelt.index(",")]] == ","
    assert (fold[fold] == fold).all()


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
    with pytest.raises(CompiledProfileError, match="no words"):
        compile_profile(profile_of([""], tmp_path / "empty"), ALL["gpt2"]())


def test_a_path_and_the_object_compile_alike(profile: Profile, tmp_path: Path) -> None:
    tokenizer = ALL["gpt2"]()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert compile_profile(profile, tmp_path).tokenizer_sha256 == compile_profile(profile, tokenizer).tokenizer_sha256
