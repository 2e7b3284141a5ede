"""A tokenizer seen from the text: what identifies it, and what each id spells. How an id is read: `token_table`."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dft_stats.errors import CompiledProfileError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MARKER = re.compile(r"<.*>|\[.*\]", re.DOTALL)
_BATCH = 20_000
NOTHING_KNOWN = "this tokenizer has no token for any word of {!r}: all of its text is unknown to it"


def resolve(tokenizer: "Tokenizer | str | Path | Any") -> "Tokenizer":
    """A private copy of the tokenizer, without truncation, padding and dropout.

    Args:
        tokenizer: a `tokenizers.Tokenizer`, a fast tokenizer of transformers, or the path of a `tokenizer.json` or of its folder.

    Raises:
        CompiledProfileError: it is none of these, or has parts that are no data; or the file cannot be read.
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
        # A copy in any case: what is written down of one that was trained (scores of Unigram) is the same only once it was read again.
        with readable():
            found = Tokenizer.from_str(given.to_str())
    found.no_truncation()
    found.no_padding()
    if getattr(found.model, "dropout", None):  # of BPE, for training: drawn anew for each text
        found.model.dropout = None
    return found


@contextmanager
def readable() -> Iterator[None]:
    """Say of what the tokenizer itself cannot do (parts that are written in Python, text that it has no token for) what it was asked for.

    Raises:
        CompiledProfileError: in place of the bare `Exception` of the library.
    """
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise CompiledProfileError(
            f"this tokenizer cannot be copied, or cannot encode the text of the profile: {error}. Give one whose parts are all of the"
            " `tokenizers` library, and which has a token for what it does not know"
        ) from error


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
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def special_ids(tokenizer: "Tokenizer") -> list[int]:
    """Ids that are no text: flagged as special, or added and spelt like a marker (`<think>`, `[INST]`)."""
    added = tokenizer.get_added_tokens_decoder()
    return sorted(id for id, token in added.items() if token.special or _MARKER.fullmatch(token.content))


def surfaces(tokenizer: "Tokenizer") -> list[str]:
    """What each id spells in the middle of a text, leading space included. Bytes of a split character come out as U+FFFD."""
    anchors = tokenizer.encode("a", add_special_tokens=False).ids
    if not anchors:
        raise CompiledProfileError("this tokenizer has no token for the letter a, as one without a vocabulary; give one that was trained")
    anchor = anchors[-1]
    known = set(tokenizer.get_vocab(with_added_tokens=True).values())
    size = max(known) + 1
    alone = tokenizer.decode([anchor], skip_special_tokens=False)
    found: list[str] = []
    for begin in range(0, size, _BATCH):
        rows = [[anchor, id] if id in known else [anchor] for id in range(begin, min(begin + _BATCH, size))]
        found += [text.removeprefix(alone) for text in tokenizer.decode_batch(rows, skip_special_tokens=False)]
    return found
