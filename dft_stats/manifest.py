"""The manifest of a profile: what it is, and the hash of every table. It is read whole, and refused if any entry has another shape."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dft_stats.counts import WINDOWS
from dft_stats.document_embedding import STORED, is_stored
from dft_stats.errors import IntegrityError, ProfileFormatError
from dft_stats.output import obeyed, texts_of
from dft_stats.tables import SCHEMAS, TABLES

FORMAT, FORMAT_VERSION = "dft-stats-profile", 2
TOKENS_VERSION = 3  # of a profile with tables of tokens, which readers of version 2 do not know
TOKENIZER = "tokenizer"
"""Entry of the manifest of such a profile, see `dft_stats.token_counts`."""
MANIFEST, CARD = "manifest.json", "README.md"
SELF = "manifest_sha256"
"""Entry of the manifest that holds the hash of all its other entries."""
MAX_MANIFEST_BYTES = 1 << 20
EXPOSURE = {"documents", "words", "sentences", *(f"{kind}_{window}" for kind in ("windows", "square") for window in WINDOWS)}
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
VERSION = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){2}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and verify the manifest of a profile.

    Raises:
        ProfileFormatError: there is none, or it is of a newer format, or an entry is missing or has another shape.
        IntegrityError: it was changed.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what = "has no manifest.json, so it is no profile or was never finished" if folder.is_dir() else "is no folder"
        raise ProfileFormatError(f"{folder} {what}; build it with `dft-stats build`")
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError("larger than 1 MiB")
        manifest: dict[str, Any] = json.loads(path.read_bytes(), parse_constant=_no_number)
        if manifest.get("format") != FORMAT:
            raise ValueError(f"format is {_short(manifest.get('format'))}, not {FORMAT!r}")
        version = manifest["format_version"]
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ProfileFormatError(f"{path} is no manifest of a profile ({error}); fetch or build the profile again") from error
    if version not in (FORMAT_VERSION, TOKENS_VERSION):
        raise ProfileFormatError(
            f"{folder} is of profile format {_short(version)}, this dft_stats reads {FORMAT_VERSION} and {TOKENS_VERSION}; "
            "upgrade with `pip install -U dft-stats`, or rebuild the profile"
        )
    has_tokens = version == TOKENS_VERSION
    missing = {"name", "version", "exposure", "tables", "segmenter", "normaliser", SELF, *([TOKENIZER] * has_tokens)} - manifest.keys()
    if missing:
        raise ProfileFormatError(f"{path} lacks {', '.join(sorted(missing))}; rebuild the profile")
    try:
        own = self_sha256(manifest)
    except (ValueError, RecursionError) as error:  # lone surrogates, which JSON can spell and UTF-8 cannot
        raise ProfileFormatError(f"{path} cannot be written as UTF-8 ({error}); rebuild the profile") from error
    if manifest[SELF] != own:
        raise IntegrityError(f"{path} was changed: its entries have another hash than its {SELF} says; fetch or build the profile again")
    for fault in _faults(manifest, has_tokens):
        raise ProfileFormatError(f"{path} {fault}; rebuild the profile")
    return manifest


def check_name(name: str, version: str) -> None:
    """Refuse names and versions that no registry could serve."""
    if not NAME.fullmatch(name):
        raise ValueError(f"profile name {name!r}: use 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit")
    if not VERSION.fullmatch(version):
        raise ValueError(f"profile version {version!r}: use three numbers, like 1.0.0")


def check_texts(manifest: Mapping[str, Any]) -> None:
    """Refuse texts with characters that a terminal would obey, or not show: they could print what the manifest does not say."""
    for text in texts_of(manifest):
        if wrong := obeyed(text, but="\n\t"):
            raise ValueError(f"the manifest has the characters {wrong!a} in {text[:60]!a}: control characters and the like are no text")


def canonical(manifest: Mapping[str, Any]) -> bytes:
    """The one form of a manifest in bytes: what is hashed and what is written."""
    return json.dumps(manifest, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"


def self_sha256(manifest: Mapping[str, Any]) -> str:
    """What the entry `manifest_sha256` has to be."""
    return hashlib.sha256(canonical({key: value for key, value in manifest.items() if key != SELF})).hexdigest()


def sha256_of(manifest: Mapping[str, Any]) -> str:
    """Hash of a manifest, which holds the hashes of all tables: the identity of the data."""
    return hashlib.sha256(canonical(manifest)).hexdigest()


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _faults(manifest: Mapping[str, Any], has_tokens: bool) -> Iterator[str]:
    """What is of another shape than readers take for granted."""
    if not (_is_text(manifest["name"]) and NAME.fullmatch(manifest["name"])):
        yield f"has the name {_short(manifest['name'])}, which is none"
    if not (_is_text(manifest["version"]) and VERSION.fullmatch(manifest["version"])):
        yield f"has the version {_short(manifest['version'])}, expected three numbers, like 1.0.0"
    segmenter = manifest["segmenter"]
    if not (isinstance(segmenter, dict) and all(_is_text(segmenter.get(key)) for key in ("name", "version"))):
        yield f"has the segmenter {_short(segmenter)}, expected a name and a version"
    expected: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "normaliser": ("a text", _is_text),
        "typography": ("a text", _is_text),
        "title": ("a text", _is_text),
        "licence": ("a text", _is_text),
        "keep": ("a table, with whole numbers as min_documents and the like", _is_keep),
        "undercount": ("a number by table", lambda value: isinstance(value, dict) and all(map(_is_count, value.values()))),
        "merged": ("a list of name, version and sha256", _is_merged),
        "excluded": ("a number by fault", lambda value: isinstance(value, dict) and all(map(_is_count, value.values()))),
        "privacy": ("a mode, and of profiles to be published min_documents and unit", _is_privacy),
        "sources": ("a list of tables", lambda value: isinstance(value, list) and all(isinstance(source, dict) for source in value)),
        STORED: ("mean embeddings of documents, as `dft_stats.document_embedding.is_stored` has them", is_stored),
    }
    for key, (what, is_right) in expected.items():
        if key in manifest and not is_right(manifest[key]):
            yield f"has {_short(manifest[key])} as {key}, expected {what}"
    exposure = manifest["exposure"]
    if not isinstance(exposure, dict) or EXPOSURE - exposure.keys():
        lacking = sorted(EXPOSURE - exposure.keys()) if isinstance(exposure, dict) else sorted(EXPOSURE)
        yield f"lacks {lacking} in its exposure"
    elif not all(map(_is_count, exposure.values())):
        yield f"has {_short(exposure)} as its exposure, expected whole numbers of 0 or more"
    yield from _table_faults(manifest["tables"], has_tokens)
    if has_tokens != (TOKENIZER in manifest):
        yield f"is of format {manifest['format_version']} and yet names a tokenizer"
    elif has_tokens:
        entry = manifest[TOKENIZER]
        if not (
            isinstance(entry, dict)
            and _is_sha256(entry.get("sha256"))
            and _is_count(entry.get("vocabulary"))
            and _is_text(entry.get("reader"))
            and isinstance(entry.get("reading"), dict)
            and all(map(_is_number, entry["reading"].values()))
        ):
            yield f"has {_short(entry)} as its tokenizer, expected sha256, vocabulary, reader and reading"


def _table_faults(tables: Any, has_tokens: bool) -> Iterator[str]:
    if not (isinstance(tables, list) and all(isinstance(entry, dict) for entry in tables)):
        yield f"has {_short(tables)} as its tables, expected a list of entries"
        return
    found, expected = sorted(str(entry.get("name")) for entry in tables), sorted(SCHEMAS if has_tokens else TABLES)
    if found != expected:
        yield f"names the tables {found}, a profile has {expected}"
    for entry in tables:
        if not all(map(_is_count, (entry.get("rows"), entry.get("bytes")))) or not all(
            map(_is_sha256, (entry.get("sha256"), entry.get("logical_sha256")))
        ):
            yield f"has {_short(entry)} as a table, expected rows, bytes, sha256 and logical_sha256"
        if not _is_columns(entry.get("columns")):
            yield f"has {_short(entry.get('columns'))} as the columns of a table, expected names and types"


def _is_columns(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_text, pair)) for pair in value)


def _is_keep(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_count(value[name]) for name in ("min_documents", "min_count", "max_order") if name in value)


def _is_merged(value: Any) -> bool:
    keys = ("name", "version", "sha256")
    return isinstance(value, list) and all(isinstance(entry, dict) and all(_is_text(entry.get(key)) for key in keys) for entry in value)


def _is_privacy(value: Any) -> bool:
    if not (isinstance(value, dict) and _is_text(value.get("mode"))):
        return False
    return value["mode"] != "publish" or (_is_count(value.get("min_documents")) and _is_text(value.get("unit")))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and bool(_SHA256.fullmatch(value))


def _short(value: Any) -> str:
    """A value as an error may quote it: a stranger wrote it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
