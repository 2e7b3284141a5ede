"""A profile on disk and in memory: a manifest, and one Parquet table of counts for each statistic.

    news/
      manifest.json                   what it is, where it comes from, how much was counted, and the sha256 of every table
      README.md                       the card
      data/token_frequency.parquet    one table a statistic: key columns, count, documents, square_128, cross_128, ...
      data/surface.parquet            spelling between white space, for compiling to a tokenizer
      data/totals.parquet             per table and group: count and types, pruned rows included
      data/spectrum.parquet           how often the pruned rows occurred
      data/documents.parquet          features of sampled documents
      data/floor.parquet              what two random halves of the corpus differ by, by statistic and sample size
      data/token_ids.parquet          of a profile that was built with a tokenizer: its tokens, counted,
      data/token_pairs.parquet        and which follows which

Files are written to a folder beside the target and moved into place; the manifest is written last. `docs/format.md` has the contract.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dft_stats import counts as counting
from dft_stats.counts import WINDOWS, Counts, Exposure
from dft_stats.errors import IntegrityError, ProfileFormatError
from dft_stats.tables import (
    FLOOR_SCHEMA,
    SCHEMAS,
    STATISTIC,
    TABLES,
    TOKEN_STATISTIC,
    TOKEN_TABLES,
    grouped,
    table_path,
    verify_table,
    write_table,
)

if TYPE_CHECKING:
    from dft_stats.compiled import CompiledProfile
    from dft_stats.document_embedding import DocumentEmbedding

__all__ = ["FLOOR_SCHEMA", "Profile", "check_name", "read_manifest", "read_profile", "write_profile"]

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
VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Profile:
    """A profile: verified when it is made by `read_profile`, then read table by table."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name without version."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """Semantic version."""
        return str(self.manifest["version"])

    @property
    def sha256(self) -> str:
        """Hash of the manifest, which holds the hashes of all tables: the identity of the data."""
        return hashlib.sha256(canonical(self.manifest)).hexdigest()

    @cached_property
    def exposure(self) -> Exposure:
        """How much text was counted."""
        given = self.manifest["exposure"]
        windows, squares = ({w: given[f"{kind}_{w}"] for w in WINDOWS} for kind in ("windows", "square"))
        return Exposure(given["documents"], given["words"], given["sentences"], windows, squares)

    @property
    def has_tokens(self) -> bool:
        """Whether it was built with a tokenizer, whose tokens were counted."""
        return TOKENIZER in self.manifest

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of its tables."""
        return tuple(SCHEMAS if self.has_tokens else TABLES)

    @property
    def counted(self) -> tuple[str, ...]:
        """Names of its tables that are statistics."""
        return tuple(STATISTIC | TOKEN_STATISTIC if self.has_tokens else STATISTIC)

    def table(self, name: str) -> pa.Table:
        """One table, whole, with an int64 column `count` where it is one of counts.

        Args:
            name: a statistic ("token_frequency", ...), or "surface", "spelling", "totals", "spectrum", "documents", "floor"; of a profile
                that was built with a tokenizer "token_ids", "token_pairs" as well.
        """
        if name not in self.tables:
            hint = "; build with a tokenizer to have it" if name in TOKEN_TABLES else ""
            raise KeyError(f"a profile has no table {name!r}; it has {', '.join(self.tables)}{hint}")
        return pq.read_table(self.path / table_path(name), schema=SCHEMAS[name])

    def counts(self, name: str) -> Counts:
        """One statistic as `Counts`: its table with totals and the spectrum of what was pruned."""
        statistic = (STATISTIC | TOKEN_STATISTIC)[name]
        group = statistic.groups[0] if statistic.groups else None

        def own(table: str) -> pa.Table:
            rows = self.table(table)
            rows = rows.filter(pc.equal(rows["table"], name))
            target = counting.totals_schema(statistic, ("count", "types"))
            if group is None:
                return rows.select(["count", "types"]).cast(target)
            return pa.table({group: rows["group"].cast(target.field(group).type), **{c: rows[c] for c in ("count", "types")}}).cast(target)

        return Counts(statistic, self.table(name), own("totals"), own("spectrum"))

    def summary(self) -> dict[str, Any]:
        """The numbers that characterise the profile, derived from its counts; see `dft_stats.summary`."""
        from dft_stats.summary import summarise

        return summarise({name: self.counts(name) for name in STATISTIC if name != "surface"}, self.exposure)

    def compile(self, tokenizer: Any, *, cache: bool = True, inexact: bool = False) -> "CompiledProfile":
        """The profile as arrays for one tokenizer; see `dft_stats.compiling.compile_profile`."""
        from dft_stats.compiling import compile_profile

        return compile_profile(self, tokenizer, cache=cache, inexact=inexact)

    def embed_documents(self, *, words: tuple[int, int] = (50, 1000), size: int = 256, seed: int = 0) -> "DocumentEmbedding":
        """What its documents of so many words are like, each as a whole; see `dft_stats.embedding_documents.embed_documents`."""
        from dft_stats.embedding_documents import embed_documents

        return embed_documents(self, words=words, size=size, seed=seed)

    def __repr__(self) -> str:
        return f"<Profile {self.name}@{self.version}: {self.exposure.words:,} words of {self.exposure.documents:,} documents>"


def write_profile(
    folder: Path,
    *,
    facts: Mapping[str, Any],
    exposure: Exposure,
    counts: Mapping[str, Counts],
    spelling: pa.Table,
    documents: pa.Table,
    floor: pa.Table,
    card: str,
) -> Profile:
    """Write a profile, whole or not at all, and read it back verified.

    Args:
        folder: where to; an existing profile there is replaced, anything else is refused.
        facts: the manifest without what this function adds (format, exposure, tables). Needs name, version, segmenter, normaliser; and
            `tokenizer` if `counts` has those of tokens.
        exposure: how much was counted.
        counts: the counts of every statistic and of "surface", by name.
        spelling: what pruning took from the counts of "surface", see `dft_stats.spelling`.
        documents: rows of `features.document_features`.
        floor: rows of `FLOOR_SCHEMA`.
        card: Markdown.
    """
    check_name(str(facts["name"]), str(facts["version"]))
    if folder.exists() and not (folder.is_dir() and ((folder / MANIFEST).exists() or not any(folder.iterdir()))):
        raise ProfileFormatError(f"{folder} exists and is no profile; give another folder, nothing was written")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        (draft / "data").mkdir()
        names = SCHEMAS if TOKENIZER in facts else TABLES
        tables = {name: found.table for name, found in counts.items()} | {"spelling": spelling, "documents": documents, "floor": floor}
        tables["totals"] = grouped(counts, "totals")
        tables["spectrum"] = grouped(counts, "spectrum")
        entries = [write_table(draft, name, tables[name].cast(SCHEMAS[name])) for name in names]
        measured = {"documents": exposure.documents, "words": exposure.words, "sentences": exposure.sentences}
        measured |= {f"windows_{w}": exposure.windows[w] for w in WINDOWS} | {f"square_{w}": exposure.squares[w] for w in WINDOWS}
        version = TOKENS_VERSION if TOKENIZER in facts else FORMAT_VERSION
        manifest = {**facts, "format": FORMAT, "format_version": version, "exposure": measured, "tables": entries}
        manifest["card_sha256"] = hashlib.sha256(card.encode()).hexdigest()
        manifest[SELF] = _self_sha256(manifest)
        (draft / CARD).write_bytes(card.encode())
        (draft / MANIFEST).write_bytes(canonical(manifest))
        _replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return read_profile(folder)


def read_profile(folder: Path, *, verify: bool = True) -> Profile:
    """Read and verify a profile: the manifest has the hash that it names, and every table the bytes, before any of it is parsed.

    Args:
        folder: of the profile.
        verify: False trusts the files; for a profile that this process has verified before.

    Raises:
        ProfileFormatError: no profile, a half-written one, or one of a newer format.
        IntegrityError: the manifest or a table was changed.
    """
    manifest = read_manifest(folder)
    for entry in manifest["tables"] if verify else ():
        verify_table(folder, entry)
    return Profile(folder, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and verify the manifest of a profile alone; raises what `read_profile` raises."""
    path = folder / MANIFEST
    if not path.is_file():
        what = "has no manifest.json, so it is no profile or was never finished" if folder.is_dir() else "is no folder"
        raise ProfileFormatError(f"{folder} {what}; build it with `dft-stats build`")
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError("larger than 1 MiB")
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        if manifest.get("format") != FORMAT:
            raise ValueError(f"format is {manifest.get('format')!r}, not {FORMAT!r}")
        version = manifest["format_version"]
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ProfileFormatError(f"{path} is no manifest of a profile ({error}); fetch or build the profile again") from error
    if version not in (FORMAT_VERSION, TOKENS_VERSION):
        raise ProfileFormatError(
            f"{folder} is of profile format {version}, this dft_stats reads {FORMAT_VERSION} and {TOKENS_VERSION}; "
            "upgrade with `pip install -U dft-stats`, or rebuild the profile"
        )
    has_tokens = version == TOKENS_VERSION
    missing = {"name", "version", "exposure", "tables", "segmenter", "normaliser", SELF, *([TOKENIZER] * has_tokens)} - manifest.keys()
    if missing:
        raise ProfileFormatError(f"{path} lacks {', '.join(sorted(missing))}; rebuild the profile")
    if manifest[SELF] != _self_sha256(manifest):
        raise IntegrityError(f"{path} was changed: its entries have another hash than its {SELF} says; fetch or build the profile again")
    try:
        found = sorted(str(entry["name"]) for entry in manifest["tables"])
        lacking = EXPOSURE - manifest["exposure"].keys()
    except (KeyError, TypeError, AttributeError) as error:
        raise ProfileFormatError(f"{path} has an entry of another shape than expected ({error!r}); rebuild the profile") from error
    expected = sorted(SCHEMAS if has_tokens else TABLES)
    if found != expected or lacking:
        what = f"lacks {sorted(lacking)} in its exposure" if lacking else f"names the tables {found}, a profile has {expected}"
        raise ProfileFormatError(f"{path} {what}; rebuild the profile")
    if has_tokens != (TOKENIZER in manifest):
        raise ProfileFormatError(f"{path} is of format {version} and yet names a tokenizer; rebuild the profile")
    return manifest


def check_name(name: str, version: str) -> None:
    """Refuse names and versions that no registry could serve."""
    if not NAME.fullmatch(name):
        raise ValueError(f"profile name {name!r}: use 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit")
    if not VERSION.fullmatch(version):
        raise ValueError(f"profile version {version!r}: use three numbers, like 1.0.0")


def canonical(manifest: Mapping[str, Any]) -> bytes:
    """The one form of a manifest in bytes: what is hashed and what is written."""
    return json.dumps(manifest, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"


def _self_sha256(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical({key: value for key, value in manifest.items() if key != SELF})).hexdigest()


def _replace(draft: Path, folder: Path) -> None:
    """Move the draft into place. An old profile is set aside first, so that no moment shows a mixture."""
    if not folder.exists():
        os.replace(draft, folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    os.replace(folder, aside / folder.name)
    try:
        os.replace(draft, folder)
    except BaseException:
        os.replace(aside / folder.name, folder)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
