"""A tokenizer seen from the text: what each id spells, and how stretches of text are encoded in the middle of a text."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dft_stats.compiled import TokenTable
from dft_stats.errors import CompiledProfileError
from dft_stats.text import (
    BOUND,
    CLOSERS,
    DIGIT_JOINERS,
    MARK_CLASSES,
    TITLES,
    WORD,
    WORD_CHARACTERS,
    Unit,
    character_kind,
    normalise,
    units,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ENDS = frozenset(".!?。！？")
ELLIPSIS = MARK_CLASSES.index("ellipsis")
_MARKER = re.compile(r"<.*>|\[.*\]", re.DOTALL)
_BATCH = 20_000


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


def encode_in_context(tokenizer: "Tokenizer", chunks: Sequence[str]) -> list[list[int]]:
    """Token ids of stretches between white space, as they are encoded inside a running text.

    A stretch with a leading space follows a word, one without begins a paragraph; a trailing paragraph break is followed by a word.
    Stand-ins take these places while encoding (some tokenizers treat the two ends of a text differently) and are taken off again.
    """
    plain = {text: tokenizer.encode(text, add_special_tokens=False).ids for text in ("a", "a\n\n")}
    found: list[list[int]] = []
    for begin in range(0, len(chunks), _BATCH):
        batch = chunks[begin : begin + _BATCH]
        prefixes = ["a" if chunk[0] == " " else "a\n\n" for chunk in batch]
        suffixes = ["a" if chunk[-1] == "\n" else "" for chunk in batch]
        texts = [prefix + chunk + suffix for prefix, chunk, suffix in zip(prefixes, batch, suffixes, strict=True)]
        for prefix, chunk, suffix, encoding in zip(
            prefixes, batch, suffixes, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True
        ):
            ids, before = encoding.ids, plain[prefix]
            if ids[: len(before)] == before and not suffix:
                found.append(ids[len(before) :])
            else:  # the stand-in merged with its neighbour, or stands behind: go by the offsets
                begins, ends = len(prefix), len(prefix) + len(chunk)
                found.append([id for id, (start, end) in zip(ids, encoding.offsets, strict=True) if end > begins and start < ends])
    return found


def token_table(spelt: Sequence[str], specials: Sequence[int]) -> TokenTable:
    """How each id is read as words and marks: see `TokenTable` and `dft_stats.stream`.

    Args:
        spelt: what each id spells, from `surfaces`.
        specials: ids that are no text, from `special_ids`.
    """
    special = np.zeros(len(spelt), bool)
    special[list(specials)] = True
    rows = [_nothing() if special[id] or not text else _read(text) for id, text in enumerate(spelt)]
    fields = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "word"}
    first: dict[str, int] = {}
    kinds = [first.setdefault(row["word"], id) if row["word"] else -1 for id, row in enumerate(rows)]
    return TokenTable(
        words_before=fields["words_before"].astype(np.int16),
        words_after=fields["words_after"].astype(np.int16),
        glues=fields["glues"].astype(bool),
        open_ended=fields["open_ended"].astype(bool),
        first_mark=fields["first_mark"].astype(np.int16),
        last_mark=fields["last_mark"].astype(np.int16),
        end=fields["end"].astype(np.int8),
        abbreviation=fields["abbreviation"].astype(bool),
        entropy_type=np.array(kinds, np.int32),
        fold=_folds(spelt, special),
        special=special,
    )


def _nothing() -> dict[str, Any]:
    return {
        "words_before": 0, "words_after": 0, "glues": False, "open_ended": False, "first_mark": -1, "last_mark": -1, "end": 0,
        "abbreviation": False, "word": "",
    }  # fmt: skip


def _read(surface: str) -> dict[str, Any]:
    row = _nothing()
    if "\ufffd" in surface:  # bytes of a character: neither word nor mark
        return row
    if surface in ("-", "'", "’"):  # glued to a word, it joins: "well-known", "don't"; the dash proper is folded to an em dash
        return row | {"glues": True, "open_ended": True}
    anchor = _anchor(surface)
    found = units(anchor + surface)
    if anchor:
        row["glues"] = len(found[0].text) > 1
        found = found[0 if row["glues"] else 1 :]
    marks = [i for i, unit in enumerate(found) if unit.kind >= 0]
    words = [i for i, unit in enumerate(found) if unit.kind == WORD]
    if marks:
        row |= {"first_mark": found[marks[0]].kind, "last_mark": found[marks[-1]].kind}
    row["words_before"] = sum(not marks or i < marks[0] for i in words)
    row["words_after"] = len(words) - row["words_before"]
    row["glues"] = row["glues"] and bool(words) and words[0] == 0
    row["end"] = _end(surface, found)
    row["open_ended"] = character_kind(surface[-1]) in WORD_CHARACTERS
    if words:
        first, last = found[words[0]].text, found[-1].text
        row["word"] = (first.removeprefix(anchor) if row["glues"] else first).lower()
        row["abbreviation"] = row["open_ended"] and _abbreviates(last.removeprefix(anchor) if len(found) == 1 and row["glues"] else last)
    return row


def _anchor(surface: str) -> str:
    """What to imagine in front: nothing before a space, a digit before ",000", otherwise a capital, so that ".S" continues "U"."""
    if surface[0].isspace():
        return ""
    return "0" if surface[0] in DIGIT_JOINERS and surface[1:2].isdigit() else "A"


def _abbreviates(word: str) -> bool:
    letter = word.rpartition(".")[2]
    return word.lower() in TITLES | BOUND or (len(letter) == 1 and letter.isupper() and letter != "I")


def _end(surface: str, found: Sequence[Unit]) -> int:
    if "\n" in surface:
        return 2
    for i, unit in enumerate(found):
        if unit.text[0] in ENDS and unit.kind != ELLIPSIS and all(after.text[0] in CLOSERS | ENDS for after in found[i + 1 :]):
            return 1 if unit.text == "." and i + 1 == len(found) else 2
    return 0


def _folds(spelt: Sequence[str], special: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """The id with plain typography, where the vocabulary has it as one token; otherwise the id itself."""
    first: dict[str, int] = {}
    for id, text in enumerate(spelt):
        if not special[id]:
            first.setdefault(text, id)
    fold = np.arange(len(spelt), dtype=np.int32)
    for id, text in enumerate(spelt):
        if not special[id] and text and not text.isalnum():
            fold[id] = first.get(_plain(text), first[text])
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
