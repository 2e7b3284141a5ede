"""Damaged tables of a profile, each with a manifest that has the right hash of it, as a stranger would make them.

    python -m tests.fuzz_tables 20000     damages so many and prints how many were read as they were, refused, or ended a process

A damaged file can end the process that reads it, so `damage` reads in processes of its own, and goes on behind the one that ended it.
"""

import hashlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from dft_stats.errors import ProfileFormatError
from dft_stats.manifest import read_manifest
from dft_stats.tables import SCHEMAS, logical_sha256, table_path
from dft_stats.untrusted import Limits, check_table
from tests.profiles import profile_of
from tests.prose import documents

MEMORY = 3 << 30
LIMITS = Limits(decoded_bytes=64 << 20, rows=1_000_000)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Bits flipped, bytes overwritten, stretches cut, doubled or moved; half of the time in the footer, where the sizes stand."""
    damaged = bytearray(data)
    footer = int.from_bytes(data[-8:-4], "little") + 8
    low = len(data) - footer if footer <= len(data) and chance.random() < 0.5 else 0
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at = min(chance.randrange(low, len(data)), len(damaged) - 1)
        kind = chance.randrange(6)
        if kind == 0:
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            damaged[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 2:
            damaged[at : at + chance.randrange(1, 9)] = bytes([0xFF] * chance.randrange(1, 9))
        elif kind == 3:
            del damaged[at : at + chance.randrange(1, 64)]
        elif kind == 4:
            damaged[at:at] = damaged[at : at + chance.randrange(1, 64)]
        else:
            other = chance.randrange(len(damaged))
            size = chance.randrange(1, 32)
            damaged[at : at + size] = damaged[other : other + size]
        if not damaged:
            break
    return bytes(damaged)


def damage(folder: Path, number: int, seed: int = 1) -> Counter[str]:
    """What became of so many damaged tables: "same", "other rows", "refused", "ended"; the profile in `folder` is not changed.

    Raises:
        RuntimeError: a table was neither read nor refused by one of our errors.
    """
    found: Counter[str] = Counter()
    while found.total() < number:
        with tempfile.TemporaryDirectory() as own:
            copy = shutil.copytree(folder, Path(own) / "profile")
            command = [sys.executable, "-m", "tests.fuzz_tables", str(copy), str(seed), str(found.total()), str(number)]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
        found.update(ended.stdout.split("\n")[:-1])
        if ended.returncode > 0:
            raise RuntimeError(f"table {found.total()} of seed {seed}: {ended.stderr}")
        found["ended"] += ended.returncode < 0  # by a signal
    return found


def read_damaged(folder: Path, seed: int, first: int, last: int) -> None:
    """Damage and read the tables `first` to `last`; a line for each, as soon as it is known."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    entries = read_manifest(folder)["tables"]
    whole = {entry["name"]: (folder / table_path(entry["name"])).read_bytes() for entry in entries}
    for number in range(first, last):
        chance = random.Random(f"{seed} {number}")
        entry = chance.choice(entries)
        path, data = folder / table_path(entry["name"]), mutate(whole[entry["name"]], chance)
        path.write_bytes(data)
        claimed = {**entry, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        try:
            check_table(folder, claimed, LIMITS)
            said = "same"
            if logical_sha256(pq.read_table(path, schema=SCHEMAS[entry["name"]])) != entry["logical_sha256"]:  # as `Profile.table` reads it
                said = "other rows"
        except ProfileFormatError:
            said = "refused"
        print(said, flush=True)
        path.write_bytes(whole[entry["name"]])


def main(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = damage(profile_of(documents(3), Path(folder) / "profile").path, number)
    print(", ".join(f"{said}: {times:,}" for said, times in sorted(found.items())))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(int(sys.argv[1]))
    else:
        read_damaged(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
