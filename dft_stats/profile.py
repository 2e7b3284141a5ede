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

import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dft_stats import counts as counting
from dft_stats.counts import WINDOWS, Counts, Exposure
from dft_stats.errors import ProfileFormatError
from dft_stats.manifest import (
    CARD,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    SELF,
    TOKENIZER,
    TOKENS_VERSION,
    canonical,
    check_name,
    check_texts,
    read_manifest,
    self_sha256,
    sha256_of,
)
from dft_stats.tables import (
    SCHEMAS,
    STATISTIC,
    TABLES,
    TOKEN_STATISTIC,
    TOKEN_TABLES,
    grouped,
    logical_sha256,
    table_path,
    verify_table,
    write_table,
)

if TYPE_CHECKING:
    from dft_stats.compiled import CompiledProfile
    from dft_stats.document_embedding import DocumentEmbedding


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
        return sha256_of(self.manifest)

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

    @property
    def emptied(self) -> str:
        """Why there is nothing to compare or to compile: every word was pruned. Empty if that is not so."""
        if not self.exposure.words or any(entry["rows"] for entry in self.manifest["tables"] if entry["name"] == "token_frequency"):
            return ""
        keep = self.manifest.get("keep", {})
        least = ", ".join(f"{name} {keep[name]}" for name in ("min_documents", "min_count") if keep.get(name, 1) > 1) or "unknown"
        return (
            f"{self.name} was counted from {self.exposure.documents:,} documents, and not one of its words was kept (rows are kept by: "
            f"{least}), so that its tables are empty; build it again with a smaller min_documents (`--min-documents`)"
        )

    @property
    def is_masked(self) -> bool:
        """Whether addresses and digits were masked in the texts before they were counted, see `dft_stats.masking`."""
        return self.manifest.get("privacy", {}).get("mode") in ("publish", "epsilon")

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
    threads: int = 1,
) -> Profile:
    """Write a profile, read it back verified, and put it in its place: whole or not at all.

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
        threads: tables that are written at a time.
    """
    check_name(str(facts["name"]), str(facts["version"]))
    check_texts(facts)
    folder = free_folder(folder, overwrite=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        (draft / "data").mkdir()
        names = SCHEMAS if TOKENIZER in facts else TABLES
        tables = {name: found.table for name, found in counts.items()} | {"spelling": spelling, "documents": documents, "floor": floor}
        tables["totals"] = grouped(counts, "totals")
        tables["spectrum"] = grouped(counts, "spectrum")
        tables = {name: tables[name].cast(SCHEMAS[name]) for name in names}
        with ThreadPoolExecutor(threads) as pool:
            written = pool.map(lambda name: write_table(draft, name, tables[name]), names)
            hashes = pool.map(lambda name: logical_sha256(tables[name]), names)
            entries = [{**entry, "logical_sha256": own} for entry, own in zip(written, hashes, strict=True)]
        measured = {"documents": exposure.documents, "words": exposure.words, "sentences": exposure.sentences}
        measured |= {f"windows_{w}": exposure.windows[w] for w in WINDOWS} | {f"square_{w}": exposure.squares[w] for w in WINDOWS}
        version = TOKENS_VERSION if TOKENIZER in facts else FORMAT_VERSION
        manifest = {**facts, "format": FORMAT, "format_version": version, "exposure": measured, "tables": entries}
        manifest["card_sha256"] = hashlib.sha256(card.encode()).hexdigest()
        manifest[SELF] = self_sha256(manifest)
        (draft / CARD).write_bytes(card.encode())
        (draft / MANIFEST).write_bytes(canonical(manifest))
        read_profile(draft)  # before it takes the place of one that can be read
        _replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return read_profile(folder, verify=False)


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


def free_folder(out: str | Path, *, overwrite: bool) -> Path:
    """The folder that a profile is to be written to; of a link, where it leads.

    Args:
        out: what the user gave.
        overwrite: whether a profile that lies there may be replaced.

    Raises:
        ProfileFormatError: there is something else, or more than a profile; or no folder can be there.
    """
    given = Path(out)
    folder = given.resolve() if given.is_symlink() else given
    if folder.name in ("", "..") or (folder.exists() and folder.samefile(".")):
        raise ProfileFormatError(f"{str(out)!r} is the current folder or one above; give a profile a folder of its own, such as my-profile")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ProfileFormatError(f"{folder} cannot be made, since {above} is a file; give another folder")
    if not folder.exists():
        return folder
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).exists()):
        raise ProfileFormatError(f"{folder} exists and is no profile; give another folder, nothing was written")
    if (folder / MANIFEST).exists() and not overwrite:
        raise ProfileFormatError(
            f"{folder} holds a profile already; give another folder, or replace it with overwrite=True (`--overwrite`)"
        )
    more = sorted({path.name for path in folder.iterdir()} - {MANIFEST, CARD, "data", ".gitattributes"})
    if more:
        raise ProfileFormatError(
            f"{folder} holds more than the profile that is to be replaced: {', '.join(map(repr, more[:5]))}{', ...' * (len(more) > 5)};"
            " move that away, or give another folder"
        )
    return folder


def _replace(draft: Path, folder: Path) -> None:
    """Move the draft into place. An old profile is set aside first, so that no moment shows a mixture.

    What was set aside by a process that was killed just then is deleted with the next one that is replaced.
    """
    if not folder.exists():
        os.replace(draft, folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    os.replace(folder, aside / folder.name)
    try:
        os.replace(draft, folder)
    except BaseException:
        os.replace(aside / folder.name, folder)
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(aside, ignore_errors=True)
    for left in folder.parent.glob(f"{glob.escape(f'.{folder.name}-old-')}*"):
        if [path.name for path in left.glob("*")] == [folder.name] and (left / folder.name / MANIFEST).is_file():  # else it is not ours
            shutil.rmtree(left, ignore_errors=True)
