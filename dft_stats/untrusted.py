"""The first reading of a stranger's profile: every table, decoded in small steps under limits, in a process of its own.

A hash says that a file is the one that was published, not that it is harmless: a Parquet file of three kilobytes can claim a terabyte of
strings, and a decoder can fail in ways that no exception shows. So what nobody vouches for is read once, apart, with bounded memory and
time, before this process parses any of it. Only JSON and Parquet are ever read; nothing is executed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dft_stats.errors import DftStatsError, IntegrityError, UnsafeProfile
from dft_stats.manifest import check_texts, read_manifest
from dft_stats.tables import SCHEMAS, check_bytes, logical_sha256, table_path


@dataclass(frozen=True, slots=True)
class Limits:
    """What no profile of ours comes near."""

    table_bytes: int = 1 << 30  # of a file
    profile_bytes: int = 4 << 30
    footer_bytes: int = 16 << 20
    rows: int = 200_000_000
    row_groups: int = 8_192
    decoded_bytes: int = 8 << 30  # of a table in memory
    number: int = 10_000_000  # of a length, a gap, an entropy: arrays are as long
    types: int = 200_000_000  # of words that were pruned
    text_bytes: int = 1 << 10  # of one token, n-gram or stretch: longer ones are no such thing
    memory: int = 4 << 30  # of the process that reads
    seconds: int = 600  # of its processor time


LIMITS = Limits()
_STEP = 1 << 10  # rows that are decoded together: even if each claims a megabyte, a step fits into memory


def check_sizes(sizes: Mapping[str, int], limits: Limits = LIMITS) -> None:
    """Refuse files by their size, before any is fetched or read."""
    for path, size in sizes.items():
        if size > limits.table_bytes:
            raise UnsafeProfile(f"{path} has {size:,} bytes, more than the {limits.table_bytes:,} that a table may have")
    if sum(sizes.values()) > limits.profile_bytes:
        raise UnsafeProfile(f"the files have {sum(sizes.values()):,} bytes, more than the {limits.profile_bytes:,} of a profile")


def check(folder: Path, limits: Limits = LIMITS) -> None:
    """Read a whole profile in small steps, and refuse what no profile of ours has.

    Raises:
        ProfileFormatError: the manifest is none, or a table has other columns.
        IntegrityError: a file has another hash than the manifest says.
        UnsafeProfile: a size, a text or a number is out of all bounds.
    """
    manifest = read_manifest(folder)
    try:
        check_texts(manifest)
    except ValueError as error:
        raise UnsafeProfile(f"{folder}: {error}") from error
    entries = manifest["tables"]
    check_sizes({table_path(entry["name"]): entry["bytes"] for entry in entries}, limits)
    for entry in entries:
        check_table(folder, entry, limits)


def check_table(folder: Path, entry: Mapping[str, Any], limits: Limits = LIMITS) -> None:
    """Read one table in small steps; `entry` is that of the manifest. Raises what `check` raises."""
    path = check_bytes(folder, entry)
    try:
        for fault in _faults(path, entry, limits):
            raise UnsafeProfile(f"{path}: {fault}; it was not read any further")
        found = logical_sha256(pq.read_table(path, schema=SCHEMAS[str(entry["name"])]))  # it fits: the steps have shown it
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        raise UnsafeProfile(f"{path} cannot be read within the limits ({_said(error)})") from error
    if found != entry["logical_sha256"]:
        raise IntegrityError(f"{path} has rows of the hash {found}, the manifest says {entry['logical_sha256']}")


def check_apart(folder: Path, limits: Limits = LIMITS) -> None:
    """`check`, in a process of its own with bounded memory and time; it gets no token and no other secret of the environment.

    Raises:
        UnsafeProfile: whatever is wrong with it, and if the process died.
    """
    inherited = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
    here = str(Path(__file__).parents[1])
    environment = {name: os.environ[name] for name in inherited if name in os.environ} | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "dft_stats.untrusted", str(folder), str(limits.memory), str(limits.seconds)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=2 * limits.seconds + 60, env=environment, check=False)
    except subprocess.TimeoutExpired as error:
        raise UnsafeProfile(f"{folder} was not read within {error.timeout:.0f} seconds, and is refused") from None
    try:
        said = json.loads(done.stdout)["fault"]
    except (ValueError, KeyError, TypeError):
        last = " ".join(done.stderr.decode(errors="replace").split())[-200:]
        said = (
            f"{folder}: the process that read it ended with status {done.returncode} under {limits.memory / 1e9:.0f} GB of memory ({last})"
        )
    if said is not None:
        raise UnsafeProfile(said)


def _faults(path: Path, entry: Mapping[str, Any], limits: Limits) -> Iterator[str]:
    """What is wrong with a table: first its footer, then its rows, step by step."""
    expected = SCHEMAS[str(entry["name"])]
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8))
        tail = file.read(8)
    if len(tail) < 8 or tail[4:] != b"PAR1":
        yield "does not end as a Parquet file does"
    if int.from_bytes(tail[:4], "little") > limits.footer_bytes:
        yield f"has a footer of {int.from_bytes(tail[:4], 'little'):,} bytes"
    with pq.ParquetFile(path, thrift_string_size_limit=limits.footer_bytes, thrift_container_size_limit=1_000_000) as table:
        facts = table.metadata
        if facts.num_rows != entry["rows"] or facts.num_rows > limits.rows:
            yield f"has {facts.num_rows:,} rows, the manifest says {entry['rows']:,}, a table has {limits.rows:,} at most"
        if facts.num_row_groups > limits.row_groups:
            yield f"has {facts.num_row_groups:,} row groups"
        if sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups)) > limits.decoded_bytes:
            yield "claims more decoded bytes than a table has"
        if not table.schema_arrow.equals(expected):
            yield f"has the columns {str(table.schema_arrow)[:200]!r}, expected {expected.names}"
        rows = decoded = pruned = 0
        for batch in table.iter_batches(batch_size=_STEP, use_threads=False):
            batch.validate(full=True)
            rows, decoded = rows + len(batch), decoded + batch.nbytes
            if decoded > limits.decoded_bytes:
                yield f"decodes to more than {limits.decoded_bytes:,} bytes"
            for column, kind in zip(batch.columns, batch.schema, strict=True):
                longest = pc.max(pc.binary_length(column)).as_py() if pa.types.is_string(kind.type) else None
                if longest is not None and longest > limits.text_bytes:
                    yield f"has a text of {longest:,} bytes in {kind.name}, more than {limits.text_bytes:,}"
            yield from _out_of_bounds(batch, limits)
            pruned += _pruned_words(str(entry["name"]), batch)
            if pruned > limits.types:
                yield f"says that {pruned:,} types of words or more were pruned"
        if rows != entry["rows"]:
            yield f"decodes to {rows:,} rows, the manifest says {entry['rows']:,}"


_COUNTS = ("count", "documents", "types", "square_", "cross_", "words")
_IDS = ("id", "first", "second")


def _out_of_bounds(batch: pa.RecordBatch, limits: Limits) -> Iterator[str]:
    """Numbers that no counting gives, or that readers would make arrays of."""
    for column, kind in zip(batch.columns, batch.schema, strict=True):
        if not pa.types.is_integer(kind.type) or not len(column):
            continue
        least, most = pc.min_max(column).as_py().values()
        is_count = kind.name.startswith(_COUNTS)
        if least is None or least < (0 if is_count else -1):
            yield f"has {least} in {kind.name}"
        elif not is_count and kind.name not in _IDS and most > limits.number:
            yield f"has {most:,} in {kind.name}, more than {limits.number:,}"


def _pruned_words(name: str, batch: pa.RecordBatch) -> int:
    """How many types of words a part of the spectrum says were pruned: readers make as many numbers of them."""
    if name != "spectrum":
        return 0
    words = batch.filter(pc.is_in(batch["table"], pa.array(["token_frequency", "surface"])))
    return int(pc.sum(words["types"]).as_py() or 0)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _main(folder: str, memory: str, seconds: str) -> None:
    """The process apart: one line of JSON, `fault` is null if all is well."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try:
        check(Path(folder))
        fault = None
    except DftStatsError as error:
        fault = str(error)
    except MemoryError:
        fault = f"{folder} does not fit into {int(memory) / 1e9:.0f} GB of memory"
    print(json.dumps({"fault": fault}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
