"""The tables of a profile: their columns, how they are written, and their hashes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dft_stats import counts as counting
from dft_stats.counts import Counts
from dft_stats.errors import IntegrityError, ProfileFormatError
from dft_stats.features import SCHEMA as DOCUMENTS_SCHEMA
from dft_stats.spelling import SCHEMA as SPELLING_SCHEMA
from dft_stats.statistics import COUNTED, TOKEN_STATISTICS

STATISTIC = {statistic.name: statistic for statistic in COUNTED}
TOKEN_STATISTIC = {statistic.name: statistic for statistic in TOKEN_STATISTICS}
"""Of a profile that was built with a tokenizer; the others have no such tables."""
TOTALS_SCHEMA = pa.schema([("table", pa.string()), ("group", pa.string()), ("count", pa.int64()), ("types", pa.int64())])
FLOOR_SCHEMA = pa.schema([("statistic", pa.string()), ("words", pa.int64()), ("mean", pa.float64()), ("sd", pa.float64())])
TABLES = {
    **{name: counting.schema(statistic) for name, statistic in STATISTIC.items()},
    "totals": TOTALS_SCHEMA,
    "spectrum": TOTALS_SCHEMA,
    "spelling": SPELLING_SCHEMA,
    "documents": DOCUMENTS_SCHEMA,
    "floor": FLOOR_SCHEMA,
}
TOKEN_TABLES = {name: counting.schema(statistic) for name, statistic in TOKEN_STATISTIC.items()}
SCHEMAS = TABLES | TOKEN_TABLES


HARD, FAST, FEW_ROWS = 9, 3, 200_000
"""Levels of compression: what is published is small and read often, a table of millions of rows is neither."""


def table_path(name: str) -> str:
    """Where a table lies in the folder of its profile."""
    return f"data/{name}.parquet"


def write_table(folder: Path, name: str, table: pa.Table) -> dict[str, Any]:
    """Write one table, always the same bytes for the same rows; return its entry of the manifest, but for `logical_sha256`."""
    path = folder / table_path(name)
    strings = [field.name for field in table.schema if pa.types.is_string(field.type)]
    integers = [field.name for field in table.schema if pa.types.is_integer(field.type)]
    encoding = dict.fromkeys(integers, "DELTA_BINARY_PACKED") | dict.fromkeys(strings, "DELTA_BYTE_ARRAY")
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=HARD if len(table) <= FEW_ROWS else FAST,
        use_dictionary=False,
        column_encoding=encoding,
        row_group_size=1 << 16,
        write_page_index=True,
    )
    return {
        "name": name,
        "rows": len(table),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "columns": [[field.name, str(field.type)] for field in table.schema],
    }


def logical_sha256(table: pa.Table) -> str:
    """Hash of the values, column by column, whatever the file's encoding: equal for equal rows in equal order."""
    digest = hashlib.sha256()
    for field in table.schema:
        column = table[field.name]
        digest.update(f"{field.name}:{field.type}:{len(column)};".encode())
        if pa.types.is_string(field.type):
            texts = column.combine_chunks()
            digest.update(pc.binary_length(texts).to_numpy(zero_copy_only=False).astype("<i4").tobytes())
            if len(texts):
                first, behind = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset + np.array([0, len(texts)])]
                digest.update(memoryview(texts.buffers()[2])[first:behind])
        else:
            kind = "<f8" if pa.types.is_floating(field.type) else "<i8"
            digest.update(column.combine_chunks().fill_null(0).to_numpy(zero_copy_only=False).astype(kind).tobytes())
        if column.null_count:
            digest.update(b"null" + np.packbits(column.combine_chunks().is_null().to_numpy(zero_copy_only=False)).tobytes())
    return digest.hexdigest()


def check_bytes(folder: Path, entry: Mapping[str, Any]) -> Path:
    """Where a table lies; refuse it if its bytes are not those that the manifest names, before any of it is parsed."""
    path = folder / table_path(str(entry["name"]))  # never a path that the manifest gives
    if not path.is_file():
        raise IntegrityError(f"{path} is missing: the profile is half-written or was tampered with; fetch or build it again")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != entry["sha256"]:
        raise IntegrityError(f"{path} has sha256 {digest}, the manifest says {entry['sha256']}; fetch or build the profile again")
    return path


def verify_table(folder: Path, entry: Mapping[str, Any]) -> None:
    """Refuse a table of other bytes than the manifest names, and then one of other columns."""
    path, expected = check_bytes(folder, entry), SCHEMAS[str(entry["name"])]
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise ProfileFormatError(f"{path} is no Parquet file ({error}); fetch or build the profile again") from error
    if not schema.equals(expected):
        raise ProfileFormatError(f"{path} has the columns {schema.names}, expected {expected.names}")


def grouped(counts: Mapping[str, Counts], part: str) -> pa.Table:
    """The totals, or the spectra, of all statistics as one table."""
    pieces = []
    for name, statistic in (STATISTIC | {name: found for name, found in TOKEN_STATISTIC.items() if name in counts}).items():
        rows: pa.Table = getattr(counts[name], part)
        group = rows[statistic.groups[0]].cast(pa.string()) if statistic.groups else pa.chunked_array([[""] * len(rows)], pa.string())
        label = pa.chunked_array([[name] * len(rows)], pa.string())
        pieces.append(pa.table([label, group, rows["count"], rows["types"]], schema=TOTALS_SCHEMA))
    return pa.concat_tables(pieces)
