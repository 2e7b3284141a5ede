"""spaCy as a segmenter: what it finds is what spaCy finds, one line at a time, and nothing of a text is lost or counted twice."""

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

import dft_stats
from dft_stats.build.engine import count_corpus
from dft_stats.build.spacy_segmenter import LONGEST_RUN, WINDOW, _pipeline, spacy_segmenter
from dft_stats.counts import count
from dft_stats.sentences import RULE, documents, sentence_spans
from dft_stats.statistics import COUNTED, SENTENCE_LENGTH, TOKEN_FREQUENCY
from dft_stats.text import MARK_CLASSES, NEWLINE, SPACE, SYMBOL, WORD, Unit, character_kind, normalise
from tests.prose import PARAGRAPHS
from tests.prose import documents as prose
from tests.strategies import texts


def is_space(character: str) -> bool:
    return character_kind(character) in (SPACE, NEWLINE)


def flat(text: str) -> list[Unit]:
    return [unit for sentence in spacy_segmenter().sentences(text) for unit in sentence]


def kinds(text: str) -> list[int]:
    return [unit.kind for unit in flat(text)]


def mark(name: str) -> int:
    return MARK_CLASSES.index(name)


@pytest.fixture(scope="module")
def reference() -> Any:
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.max_length = 10**9
    return nlp


def by_spacy(nlp: Any, text: str) -> list[list[tuple[str, int]]]:
    sentences = [[(token.text, token.idx) for token in sentence if not token.is_space] for sentence in nlp(text).sents]
    return [sentence for sentence in sentences if sentence]


def ours(text: str, model: str | None = None) -> list[list[tuple[str, int]]]:
    return [[(unit.text, unit.start) for unit in sentence] for sentence in spacy_segmenter(model).sentences(text)]


# --- laws -------------------------------------------------------------------------------------------------------------------------


@given(texts)
def test_units_tile_the_text(text: str) -> None:
    position = 0
    for sentence in spacy_segmenter().sentences(text):
        assert sentence
        for unit in sentence:
            assert all(map(is_space, text[position : unit.start]))
            assert unit.text == text[unit.start : unit.end] != ""
            assert not any(map(is_space, unit.text))
            assert unit.kind in (WORD, SYMBOL, *range(len(MARK_CLASSES)))
            assert (unit.kind == WORD) == any(character.isalnum() for character in unit.text)
            position = unit.end
    assert all(map(is_space, text[position:]))


@given(texts)
def test_white_space_before_a_unit_is_known(text: str) -> None:
    position, before = 0, True
    for unit in flat(text):
        between = text[position : unit.start]
        assert unit.break_before == (before or any(character_kind(character) == NEWLINE for character in between))
        assert unit.space == (bool(between) and not unit.break_before)
        position, before = unit.end, False


@given(texts)
def test_a_line_end_ends_a_sentence(text: str) -> None:
    for sentence in spacy_segmenter().sentences(text):
        assert not any(unit.break_before for unit in sentence[1:])


@given(texts)
def test_a_text_is_its_lines(text: str) -> None:
    plain = normalise(text)
    apart = [sentence for line in plain.split("\n\n") for sentence in spacy_segmenter().sentences(line)]
    together = spacy_segmenter().sentences(plain)
    assert [[unit.text for unit in sentence] for sentence in together] == [[unit.text for unit in sentence] for sentence in apart]


prose_lines = st.lists(st.sampled_from(PARAGRAPHS), min_size=1, max_size=4).map(" ".join)
nasty_lines = texts.map(lambda text: normalise(text).split("\n")[0])


@given(prose_lines | nasty_lines)
def test_a_paragraph_is_what_spacy_makes_of_it(reference: Any, text: str) -> None:
    assert ours(text) == by_spacy(reference, text)


def test_a_raw_text_has_the_sentences_that_are_counted() -> None:
    for text in prose(6):
        raw = "  " + text.replace("\n\n", "\r\n \r\n").replace(". ", ".\t", 2)
        plain = normalise(raw, typography="keep")
        spans = sentence_spans(raw, spacy_segmenter())
        counted = [plain[sentence[0].start : sentence[-1].end] for sentence in spacy_segmenter().sentences(plain)]
        assert [raw[begin:end].split() for begin, end in spans] == [sentence.split() for sentence in counted]


@given(st.lists(texts, max_size=3))
def test_every_statistic_counts_its_documents(corpus: list[str]) -> None:
    found = documents(corpus, spacy_segmenter())
    for statistic in COUNTED:
        halves = count(statistic, found[:1]).table.num_rows, count(statistic, found[1:]).table.num_rows
        assert max(halves) <= count(statistic, found).table.num_rows <= sum(halves)


def test_the_engine_counts_the_same() -> None:
    corpus = [*prose(5), "", "It's :) no 'word', is it?! -- \ud800 He can't. \u0301"]
    found = count_corpus([corpus[:3], corpus[3:]], segmenter=spacy_segmenter(), memory=500_000_000).counts
    for statistic in COUNTED:
        expected = count(statistic, documents(corpus, spacy_segmenter())).table
        assert found[statistic.name].table.cast(expected.schema).equals(expected), statistic.name


# --- tokens as units --------------------------------------------------------------------------------------------------------------


def test_contractions_are_words_and_marks_are_marks() -> None:
    assert [unit.text for unit in flat("It's Mr. Ng's: \"can't\"!")] == ["It", "'s", "Mr.", "Ng", "'s", ":", '"', "ca", "n't", '"', "!"]
    assert kinds("It's Mr. Ng's: \"can't\"!") == [WORD] * 5 + [mark("colon"), mark("quote"), WORD, WORD, mark("quote"), mark("exclamation")]
    assert kinds("Wait... what (the) [x] -- a/b; 5% :) …") == [
        *(WORD, mark("ellipsis"), WORD, mark("parenthesis"), WORD, mark("parenthesis"), mark("bracket"), WORD, mark("bracket")),
        *(mark("dash"), WORD, mark("slash"), WORD, mark("semicolon"), WORD, SYMBOL, SYMBOL, mark("ellipsis")),
    ]


def test_lengths_in_words_and_marks_by_hand() -> None:
    found = documents(["She ran, didn't she? Yes.\n\nNo full stop"], spacy_segmenter())
    assert [sum(unit.kind == WORD for unit in sentence) for sentence in found[0]] == [5, 1, 3]
    lengths = count(SENTENCE_LENGTH, found).table.to_pylist()
    assert sorted((row["length"], row["next_length"]) for row in lengths if row["series"] == "pairs") == [(1, 3), (5, 1)]
    tokens = {row["unit"]: row["count"] for row in count(TOKEN_FREQUENCY, found).table.to_pylist()}
    assert tokens["n't"] == tokens["?"] == 1


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\x00", "\u2028"])
def test_nothing_has_no_sentence(text: str) -> None:
    assert spacy_segmenter().sentences(text) == []


# --- long texts -------------------------------------------------------------------------------------------------------------------


def test_a_line_longer_than_a_window_has_the_sentences_of_the_whole(reference: Any) -> None:
    draw = random.Random(0)
    text = " ".join(draw.choice(PARAGRAPHS) for _ in range(1500))
    assert len(text) > 2 * WINDOW
    assert ours(text) == by_spacy(reference, text)


def test_a_sentence_longer_than_a_window_is_cut_at_white_space(reference: Any) -> None:
    text = "word " * (WINDOW // 2) + "end. Next one"
    sentences = ours(text)
    assert [word for word, _ in sentences[-2]][-3:] == ["word", "end", "."]
    assert [word for word, _ in sentences[-1]] == ["Next", "one"]
    assert [unit for sentence in sentences for unit in sentence] == [unit for sentence in by_spacy(reference, text) for unit in sentence]
    assert max(sentence[-1][1] - sentence[0][1] for sentence in sentences) < WINDOW
    assert sum(unit.break_before for unit in flat(text)) == 1


@pytest.mark.parametrize("character", ["(", "a", "日", "."])
def test_a_text_without_white_space_takes_linear_time_and_loses_nothing(character: str) -> None:
    text = character * (20 * LONGEST_RUN + 7)
    assert "".join(unit.text for unit in flat(text)) == text
    assert max(len(unit.text) for unit in flat(text)) <= LONGEST_RUN
    assert [unit.break_before for unit in flat(text)] == [True] + [False] * (len(flat(text)) - 1)


def test_memory_does_not_grow_with_the_vocabulary() -> None:
    spacy_segmenter().sentences("warm up")
    strings = _pipeline(None).vocab.strings
    before = len(strings)
    for i in range(20):
        spacy_segmenter().sentences(" ".join(f"unheard{i}x{j}" for j in range(500)))
    assert len(strings) == before


# --- identity and models ----------------------------------------------------------------------------------------------------------


def test_identity_is_the_same_in_another_process() -> None:
    program = "from dft_stats.build.spacy_segmenter import spacy_segmenter; print(sorted(spacy_segmenter().identity.items()))"
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(dft_stats.__file__).parents[1])}
        shown = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, env=environment, check=True)
        assert shown.stdout.strip() == str(sorted(spacy_segmenter().identity.items()))


def test_identity_names_spacy_and_its_version() -> None:
    identity = spacy_segmenter().identity
    assert identity["name"] == "spacy"
    assert spacy.__version__ in identity["version"]
    assert len(identity["rule_sha256"]) == 64
    assert identity != RULE.identity
    assert spacy_segmenter() is spacy_segmenter()


def test_it_goes_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(spacy_segmenter()))
    assert again.identity == spacy_segmenter().identity
    assert again.sentences(PARAGRAPHS[0]) == spacy_segmenter().sentences(PARAGRAPHS[0])


def saved(folder: Path, name: str, *pipes: tuple[str, dict[str, Any]], off: str = "", special: str = "") -> str:
    nlp = spacy.blank("en")
    nlp.meta["name"] = name
    for pipe, config in pipes:
        nlp.add_pipe(pipe, config=config)
    if "senter" in nlp.pipe_names:
        nlp.initialize(lambda: [spacy.training.Example.from_dict(nlp.make_doc("One. Two."), {"sent_starts": [True, False, True, False]})])
    if special:
        nlp.tokenizer.add_special_case(special, [{"ORTH": special}])
    if off:
        nlp.disable_pipe(off)
    folder.mkdir(exist_ok=True)
    nlp.to_disk(folder / name)
    return str(folder / name)


def test_a_model_without_sentences_is_given_the_sentencizer(tmp_path: Path) -> None:
    model = saved(tmp_path, "bare")
    assert ours(PARAGRAPHS[1], model) == ours(PARAGRAPHS[1])
    assert spacy_segmenter(model).name == "spacy:en_bare"
    assert "en_bare 0.0.0" in spacy_segmenter(model).version


def test_a_model_has_its_own_sentences_and_tokens(tmp_path: Path) -> None:
    semicolons = saved(tmp_path, "semicolons", ("sentencizer", {"punct_chars": [";"]}), ("entity_ruler", {}), special="a;b")
    assert [[word for word, _ in sentence] for sentence in ours("No. a;b yes; so", semicolons)] == [["No", ".", "a;b", "yes", ";"], ["so"]]
    assert _pipeline(semicolons).pipe_names == ["sentencizer"]


@pytest.mark.parametrize("off", ["", "senter"])
def test_a_trained_model_finds_sentences_even_if_that_part_is_off(tmp_path: Path, off: str) -> None:
    model = saved(tmp_path, "trained", ("senter", {}), ("ner", {}) if not off else ("entity_ruler", {}), off=off)
    assert _pipeline(model).pipe_names == ["senter"]
    doc = _pipeline(model)(PARAGRAPHS[0])
    assert ours(PARAGRAPHS[0], model) == [[(token.text, token.idx) for token in sentence] for sentence in doc.sents]


def test_what_changes_boundaries_changes_the_identity(tmp_path: Path) -> None:
    models = [
        saved(tmp_path / "a", "model", ("sentencizer", {})),
        saved(tmp_path / "b", "model", ("sentencizer", {"punct_chars": [";"]})),
        saved(tmp_path / "c", "model", ("sentencizer", {}), special="a;b"),
        saved(tmp_path / "d", "model", ("senter", {})),
        saved(tmp_path / "e", "model", ("senter", {}), ("sentencizer", {})),
    ]
    hashes = [spacy_segmenter(model).rule_sha256 for model in models]
    assert len({spacy_segmenter().rule_sha256, *hashes}) == len(models)  # the first is no other than the default
    same = saved(tmp_path / "f", "model", ("sentencizer", {}), ("entity_ruler", {}))
    assert spacy_segmenter(same).identity == spacy_segmenter(models[0]).identity


def test_a_missing_model_is_named_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="'en_no_such_model' is not installed; `python -m spacy download en_no_such_model`"):
        spacy_segmenter("en_no_such_model")
