"""A tokenizer seen from the text: what each id spells, and how it is read."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dft_stats.compiled import TokenTable
from dft_stats.errors import CompiledProfileError
from dft_stats.sentences import (
    ALWAYS_BOUND,
    BOUND,
    BOUND_AS_TITLES,
    BOUND_IN_LOWER_CASE,
    CLOSERS,
    SHORT,
    SHORT_AS_NAMES,
    SHORT_IN_ANY_CASE,
    rule_sentences,
    unit_flags,
)
from dft_stats.text import DIGIT_JOINERS, MARK_CLASSES, WORD, WORD_CHARACTERS, Unit, character_kind, normalise, units

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ENDS = frozenset(".!?。！？")
ELLIPSIS = MARK_CLASSES.index("ellipsis")
_MARKER = re.compile(r"<.*>|\[.*\]", re.DOTALL)
_BATCH = 20_000
_ABBREVIATIONS = ALWAYS_BOUND | BOUND_IN_LOWER_CASE | BOUND_AS_TITLES | SHORT_IN_ANY_CASE | SHORT_AS_NAMES
_TYPESET = re.compile(r"[\s\x00-\x1f\x7f`'.-]")  # ASCII that `normalise` may change
_CONSONANTS = re.compile("[A-Z][b-df-hj-np-tv-xz]{1,5}")  # "Mfg", "Hwy"


def resolve(tokenizer: "Tokenizer | str | Path | Any") -> "Tokenizer":
    """A private copy of the tokenizer, without truncation and padding.

    Args:
        tokenizer: a `tokenizers.Tokenizer`, a fast tokenizer of transformers, or the path of a `tokenizer.json` or of its folder.

    Raises:
        CompiledProfileError: it is none of these, or the file cannot be read.
    """
    from tokenizers import Tokenizer

    if isinstance(tokenizer, str | Path):
        path = Path(tokenizer)
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.is_file():
            raise CompiledProfileError(f"{path} is no file; give the path of a tokenizer.json, or a tokenizer object")
        try:
            found = Tokenizer.from_file(str(path))
        except Exception as error:
            raise CompiledProfileError(f"{path} is no tokenizer.json that the installed `tokenizers` reads: {error}") from error
    else:
        given = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(given, Tokenizer):
            raise CompiledProfileError(
                f"cannot compile for a {type(tokenizer).__name__}; give a tokenizers.Tokenizer, a *fast* tokenizer of transformers, "
                "or the path of a tokenizer.json"
            )
        found = Tokenizer.from_str(given.to_str())
    found.no_truncation()
    found.no_padding()
    return found


def fingerprint(tokenizer: "Tokenizer") -> str:
    """Hash of everything that the tokenizer does."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def encoding_fingerprint(tokenizer: "Tokenizer") -> str:
    """Hash of what decides into which ids a text is encoded, special tokens left out.

    How a library writes down the rest (templates, decoder, offsets) differs between the ways of loading one and the same tokenizer.
    """
    parts = json.loads(tokenizer.to_str())
    encoding = {name: _without_offsets(parts[name]) for name in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
    return hashlib.sha256(json.dumps(encoding, sort_keys=True).encode()).hexdigest()


def _without_offsets(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _without_offsets(value) for name, value in part.items() if name != "trim_offsets"}
    if isinstance(part, list) and part and isinstance(part[0], dict):
        return [_without_offsets(value) for value in part]
    return part


def vocabulary_size(tokenizer: "Tokenizer") -> int:
    """One more than the largest id, added tokens included."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def special_ids(tokenizer: "Tokenizer") -> list[int]:
    """Ids that are no text: flagged as special, or added and spelt like a marker (`<think>`, `[INST]`)."""
    added = tokenizer.get_added_tokens_decoder()
    return sorted(id for id, token in added.items() if token.special or _MARKER.fullmatch(token.content))


def surfaces(tokenizer: "Tokenizer", size: int) -> list[str]:
    """What each id spells in the middle of a text, leading space included. Bytes of a split character come out as U+FFFD."""
    (anchor,) = tokenizer.encode("a", add_special_tokens=False).ids[-1:]
    known = set(tokenizer.get_vocab(with_added_tokens=True).values())
    alone = tokenizer.decode([anchor], skip_special_tokens=False)
    found: list[str] = []
    for begin in range(0, size, _BATCH):
        rows = [[anchor, id] if id in known else [anchor] for id in range(begin, min(begin + _BATCH, size))]
        found += [text.removeprefix(alone) for text in tokenizer.decode_batch(rows, skip_special_tokens=False)]
    return found


def token_table(spelt: Sequence[str], specials: Sequence[int]) -> TokenTable:
    """How each id is read as words and marks: see `TokenTable` and `dft_stats.stream`.

    Args:
        spelt: what each id spells, from `surfaces`.
        specials: ids that are no text, from `special_ids`.
    """
    special = np.zeros(len(spelt), bool)
    special[list(specials)] = True
    nothing = _Row()
    rows = [nothing if special[id] or not text else _read(text) for id, text in enumerate(spelt)]
    columns = dict(zip(nothing._fields, zip(*rows, strict=True), strict=True))
    first: dict[str, int] = {}
    kinds = [first.setdefault(word, id) if word else -1 for id, word in enumerate(columns.pop("word"))]
    types = {"glues": np.bool_, "open_ended": np.bool_, "end": np.int8, "abbreviation": np.bool_}
    fields: dict[str, Any] = {name: np.array(values, types.get(name, np.int16)) for name, values in columns.items()}
    return TokenTable(**fields, entropy_type=np.array(kinds, np.int32), fold=_folds(spelt, special), special=special)


class _Row(NamedTuple):
    words_before: int = 0
    words_after: int = 0
    glues: bool = False
    open_ended: bool = False
    first_mark: int = -1
    last_mark: int = -1
    end: int = 0
    abbreviation: bool = False
    word: str = ""


def _read(surface: str) -> _Row:
    if "\ufffd" in surface:  # bytes of a character: neither word nor mark
        return _Row()
    bare = surface[1:] if surface[0] == " " else surface
    if bare.isalpha():  # nine of ten tokens: letters, with a space or without
        return _Row(1, 0, surface[0] != " ", True, -1, -1, 0, _abbreviates(surface), bare.lower())
    if surface in ("-", "'", "’"):  # glued to a word, it joins: "well-known", "don't"; the dash proper is folded to an em dash
        return _Row(glues=True, open_ended=True)
    anchor = _anchor(surface)
    found = units(anchor + surface)
    glues = bool(anchor) and len(found[0].text) > 1
    if anchor and not glues:
        found = found[1:]
    marks = [i for i, unit in enumerate(found) if unit.kind >= 0]
    words = [i for i, unit in enumerate(found) if unit.kind == WORD]
    words_before = sum(not marks or i < marks[0] for i in words)
    open_ended = character_kind(surface[-1]) in WORD_CHARACTERS
    row = _Row(
        words_before,
        len(words) - words_before,
        glues and bool(words) and words[0] == 0,
        open_ended,
        found[marks[0]].kind if marks else -1,
        found[marks[-1]].kind if marks else -1,
        _end(surface, found),
    )
    if not words:
        return row
    first, last = found[words[0]].text, found[-1].text
    return row._replace(
        word=(first.removeprefix(anchor) if row.glues else first).lower(),
        abbreviation=open_ended and _abbreviates(last.removeprefix(anchor) if len(found) == 1 and row.glues else " " + last),
    )


def _anchor(surface: str) -> str:
    """What to imagine in front: nothing before a space, a digit before ",000", otherwise a capital, so that ".S" continues "U"."""
    if surface[0].isspace():
        return ""
    return "0" if surface[0] in DIGIT_JOINERS and surface[1:2].isdigit() else "A"


def _abbreviates(surface: str) -> bool:
    """Whether a period behind it ends no sentence; in lower case and without a space it is the end of a word, as in "finish|ed"."""
    word = surface.strip()
    if surface[0] != " " and word[0].islower():
        return False
    # `unit_flags` is slow, and few words are such as it could call abbreviations.
    likely = len(word) == 1 or "." in word or word.lower() in _ABBREVIATIONS or _CONSONANTS.fullmatch(word) is not None
    return likely and bool(unit_flags(word) & (BOUND | SHORT))


def _end(surface: str, found: Sequence[Unit]) -> int:
    if "\n" in surface:
        return 2
    for i, unit in enumerate(found):
        if unit.text[0] in ENDS and unit.kind != ELLIPSIS and all(after.text[0] in CLOSERS | ENDS for after in found[i + 1 :]):
            return 1 if unit.text == "." and i + 1 == len(found) else 2
    return _end_inside(surface, found)


def _end_inside(surface: str, found: Sequence[Unit]) -> int:
    """Of a token that joins words (". The"): the rule of texts, behind a word if it needs one, says whether a sentence ends in it."""
    if " " not in surface[1:] or not any(unit.text[0] in ENDS for unit in found):
        return 0
    if len(rule_sentences(surface if surface[0] == " " else "zoomed" + surface)) < 2:
        return 0
    return 1 if found[0].text == "." else 2


def _folds(spelt: Sequence[str], special: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """The id with plain typography, where the vocabulary has it as one token; otherwise the id itself."""
    first: dict[str, int] = {}
    for id, text in enumerate(spelt):
        if not special[id]:
            first.setdefault(text, id)
    fold = np.arange(len(spelt), dtype=np.int32)
    for id, text in enumerate(spelt):
        if special[id] or not text or (text[1:] if text[0] == " " else text).isalnum():
            continue
        plain = text.isascii() and not _TYPESET.search(text, int(text[0] == " "))
        fold[id] = first[text] if plain else first.get(_plain(text), first[text])
    return fold


def _plain(surface: str) -> str:
    """The surface as `normalise` would leave it inside a text; a lone newline is a paragraph break."""
    core = surface.strip()
    if not core:
        return "\n\n" if "\n" in surface else surface
    lead = " " if surface[0] == " " else surface[: len(surface) - len(surface.lstrip())]
    tail = surface[len(surface.rstrip()) :]
    if surface == " -":
        return " —"
    return lead + normalise(core) + ("\n\n" if "\n" in tail else tail)
