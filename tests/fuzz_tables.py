"""Damaged tables of a profile, each with a manifest that has the right hash of it, as a stranger would make them.

    python -m tests.fuzz_tables FOLDER SEED FIRST LAST

Checks the mutations FIRST to LAST and prints a line of JSON for each: its number, and what became of it. A process of its own, because a
damaged file can end the process that reads it; whoever started it goes on behind the number that came last.
"""

import hashlib
import json
import random
import resource
import sys
from pathlib import Path

import pyarrow.parquet as pq

from dft_stats.errors import ProfileFormatError
from dft_stats.manifest import read_manifest
from dft_stats.tables import SCHEMAS, logical_sha256, table_path
from dft_stats.untrusted import Limits, check_table

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


def main(folder: Path, seed: int, first: int, last: int) -> None:
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
        print(json.dumps([number, said]), flush=True)
        path.write_bytes(whole[entry["name"]])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
