"""spaCy as a segmenter: its tokens are the units, its sentences the sentences, cut at every line end.

spaCy's sentencizer runs over line ends, but in a normalised text each is a paragraph's (`dft_stats.text.unwrap` has made the soft ones
spaces), so every line is handed to spaCy by itself. A token with a letter or digit is a word ("n't", "'s", "Mr."), any other one a mark
if its characters are all of one class ("..."), else a symbol (":)").
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from dft_stats.sentences import Segmenter
from dft_stats.text import MARK_CLASS, SYMBOL, WORD, WORD_CHARACTERS, Unit, character_classes, unit_kind

RULES = "1"  # raise it with every change of how tokens become units
WINDOW = 100_000
"""Characters that spaCy reads at once: what it remembers of a text grows with its length. No sentence is longer."""
LONGEST_RUN, LONGEST_MARKS = 1_000, 100
"""Characters, and marks, without white space; a longer run is cut: spaCy's tokenizer takes quadratic time on "((((("."""

_LINE = re.compile(r"[^\n\x0b\x0c\x85\u2028\u2029]+")
_LAST_SPACE = re.compile(r"\s(?=\S*\Z)")
_RUN = re.compile(rf"(?:[^\w\s]{{{LONGEST_MARKS}}}|\S{{{LONGEST_RUN}}})(?=\S)")
_PLAIN = {code: " " for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\x0b\x0c\x85"}
_PLAIN |= {code: "\ufffd" for code in range(0xD800, 0xE000)}  # a lone surrogate, which spaCy cannot encode
_SENTENCE_START = "token.is_sent_start"


@functools.cache
def spacy_segmenter(model: str | None = None) -> Segmenter:
    """The English tokenizer and sentencizer of spaCy, or an installed model with its own tokenizer and sentence boundaries.

    Only the model's name goes to worker processes, which load it again. Of a model, what does not serve sentence boundaries is switched
    off; if it finds none, the sentencizer is added.

    Args:
        model: name of an installed package such as "en_core_web_sm", or folder of a model.

    Raises:
        ValueError: the model is not installed.
    """
    import spacy

    nlp = _pipeline(model)
    label = f"{nlp.meta['lang']}_{nlp.meta['name']} {nlp.meta['version']}" if model else "en blank"
    return Segmenter(
        name=f"spacy:{nlp.meta['lang']}_{nlp.meta['name']}" if model else "spacy",
        version=f"{RULES} spacy {spacy.__version__} {label}",
        rule_sha256=_hash(nlp),
        sentences=functools.partial(_sentences, model=model),
    )


@functools.cache
def _pipeline(model: str | None) -> Any:
    import spacy

    if model is None:
        nlp = spacy.blank("en")
    elif spacy.util.is_package(model) or Path(model).is_dir():
        nlp = spacy.load(model)
    else:
        raise ValueError(
            f"the spaCy model {model!r} is not installed; `python -m spacy download {model}` installs spaCy's own models, "
            'and the segmenter "spacy" needs none'
        )
    finders = [name for name in nlp.component_names if _SENTENCE_START in nlp.get_pipe_meta(name).assigns]
    active = [name for name in finders if name in nlp.pipe_names]
    if not finders:
        nlp.add_pipe("sentencizer")
        active = ["sentencizer"]
    elif not active:  # such as the senter of spaCy's own models, which is there but switched off
        active = finders[:1]
        nlp.enable_pipe(active[0])
    trained = [name for name in active if nlp.get_pipe_meta(name).factory != "sentencizer"]
    embedding = [name for name in nlp.pipe_names if nlp.get_pipe_meta(name).factory.endswith(("tok2vec", "transformer"))]
    needed = {*active, *(embedding if trained else ())}
    for name in nlp.pipe_names:
        if name not in needed:
            nlp.disable_pipe(name)
    return nlp


def _sentences(text: str, *, model: str | None) -> list[list[Unit]]:
    """Sentences of a text, each of one unit at least; offsets refer to the text."""
    nlp = _pipeline(model)
    plain = text.translate(_PLAIN)  # of the same length
    with nlp.memory_zone():  # else its vocabulary grows with every new word of the corpus
        found = _segment(nlp, text, plain)
    return sorted(found, key=lambda sentence: sentence[0].start)


def _segment(nlp: Any, text: str, plain: str) -> list[list[Unit]]:
    pieces = list(_pieces(plain))
    found: list[list[Unit]] = []
    while pieces:  # all lines, then the rests of those longer than a window
        rests = []
        windows = [_cut(plain, begin, end) for begin, end, _ in pieces]
        texts = (plain[begin:window] for (begin, _, _), window in zip(pieces, windows, strict=True))
        for doc, (begin, end, line), window in zip(nlp.pipe(texts, batch_size=64), pieces, windows, strict=True):
            sentences = list(_units(doc, begin, text, plain, line))
            if window < end:
                if len(sentences) > 1:  # the last one may go on: read it again, whole
                    window = sentences.pop()[0].start
                rests.append((window, end, False))
            found += sentences
        pieces = rests
    return found


def _pieces(plain: str) -> Iterator[tuple[int, int, bool]]:
    """(begin, end, whether a line begins here) of all lines that are not white space, runs without white space cut."""
    for line in _LINE.finditer(plain):
        if line[0].isspace():
            continue
        begin, end = line.span()
        edges = [begin, *(run.end() for run in _RUN.finditer(plain, begin, end)), end]
        yield from ((left, right, left == begin) for left, right in pairwise(edges))


def _cut(plain: str, begin: int, end: int) -> int:
    """End of the window that begins here: that of the line, or the last white space within `WINDOW` characters."""
    if end - begin <= WINDOW:
        return end
    space = _LAST_SPACE.search(plain, begin + WINDOW - LONGEST_RUN - 1, begin + WINDOW)
    return space.start() if space else begin + WINDOW


def _units(doc: Any, begin: int, text: str, plain: str, line: bool) -> Iterator[list[Unit]]:
    """Sentences of a window that begins at character `begin`. `line`: a line begins there."""
    sentence: list[Unit] = []
    for token in doc:
        if token.is_sent_start and sentence:
            yield sentence
            sentence = []
        word = token.text
        if word.isspace():
            continue
        start = begin + token.idx
        end = start + len(word)
        space = not line and start > 0 and plain[start - 1].isspace()
        sentence.append(Unit(text[start:end], start, end, _kind(word), space, line))
        line = False
    if sentence:
        yield sentence


@functools.lru_cache(maxsize=1 << 16)
def _kind(token: str) -> int:
    kinds, bases = character_classes(token)  # a combining mark counts as the character that it stands on
    if any(kind in WORD_CHARACTERS for kind in kinds):
        return WORD
    return unit_kind(token) if len({MARK_CLASS.get(base) for base in bases}) == 1 else SYMBOL


def _hash(nlp: Any) -> str:
    """Of all that decides where tokens and sentences end: tables of the tokenizer, settings and weights of the components."""
    tokenizer = nlp.tokenizer
    patterns = [getattr(getattr(tokenizer, name, None), "__self__", None) for name in ("prefix_search", "suffix_search", "infix_finditer")]
    patterns += [getattr(getattr(tokenizer, name, None), "__self__", None) for name in ("token_match", "url_match")]
    facts = {
        "tokenizer": nlp.config["nlp"]["tokenizer"],
        "patterns": [pattern and pattern.pattern for pattern in patterns],
        "special_cases": sorted(getattr(tokenizer, "rules", {}).items()),
        "components": {name: nlp.config["components"][name] for name in nlp.pipe_names},
        "rules": [RULES, WINDOW, LONGEST_RUN, LONGEST_MARKS],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode())
    for _, component in nlp.pipeline:
        if hasattr(component, "punct_chars"):
            digest.update(repr(sorted(component.punct_chars)).encode())
        elif hasattr(component, "to_bytes"):
            digest.update(component.to_bytes(exclude=("vocab",)))
    return digest.hexdigest()
