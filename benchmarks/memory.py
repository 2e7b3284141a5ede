"""How much memory and disk a build takes of a corpus that is larger than either, and whose vocabulary never stops growing.

python benchmarks/memory.py CORPUS [--text-column text] [--gigabytes 2] [--memory 2GB] [--workers 1 2] [--min-documents 5] [--forget none]
    [--privacy none publish]

The corpus is repeated until it is as large as asked, each copy with every fiftieth word changed to one that no other copy has, and written
as Parquet into a temporary folder (with the parts it takes several times the corpus on disk). Prints the size of the corpus, wall time,
megabytes a second, the largest size of any process of the build, anonymous memory, without pages of files, which the system may drop, and
the most that parts took on disk, of a build for each --privacy, each --forget and each number of workers.
"""

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dft_stats.build.corpus import read
from dft_stats.build.settings import parts_beside

WORD = re.compile(r"\b[a-z]{4,}\b")
CHANGED = 50  # one word in so many


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--workers", nargs="+", default=["1"])
    parser.add_argument("--text-column")
    parser.add_argument("--min-documents", default="5")
    parser.add_argument("--forget", nargs="+", default=["none"], help="as of build; none: nothing is forgotten")
    parser.add_argument("--privacy", nargs="+", default=["none"])
    parser.add_argument("--folder", type=Path, help="where there is room")
    given = parser.parse_args()
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        size = write(given.corpus, given.text_column, folder / "corpus", int(given.gigabytes * 1e9))
        for privacy, forget, workers in itertools.product(given.privacy, given.forget, given.workers):
            more = ["--privacy", privacy, "--memory", given.memory, "--workers", workers, "--min-documents", given.min_documents]
            more += [] if forget == "none" else ["--forget", forget]
            status, seconds, memory, when, disk = measured(folder / "corpus", folder / f"{privacy}-{forget}-{workers}", more)
            print(
                f"{size / 1e9:.2f} GB, {' '.join(more)}: status {status}, {seconds:.0f} s, {size / 1e6 / seconds:.1f} MB/s, "
                f"largest process {memory:.2f} GB, after {when:.0f} s, parts on disk {disk:.2f} GB",
                flush=True,
            )


def measured(corpus: Path, out: Path, how: Sequence[str]) -> tuple[int, float, float, float, float]:
    """(status, seconds, GB of the largest process, seconds until then, GB of parts on disk at the most) of a build."""
    command = [sys.executable, "-m", "dft_stats.cli", "build", str(corpus), "--out", str(out), "--name", "large", *how]
    began = time.perf_counter()
    process = subprocess.Popen(command)
    peak = [0.0, 0.0, 0.0]
    watcher = threading.Thread(target=watch, args=(process, parts_beside(out), peak))
    watcher.start()
    status = process.wait()
    watcher.join()
    return status, time.perf_counter() - began, peak[0], peak[1], peak[2]


def write(corpus: str, column: str | None, folder: Path, size: int) -> int:
    """Write files of about 200 MB; returns the bytes of text."""
    folder.mkdir()
    written = number = 0
    texts: list[str] = []
    batch = 0
    for text in copies(corpus, column):
        texts.append(text)
        batch += len(text.encode())
        if batch > 200_000_000 or written + batch > size:
            pq.write_table(
                pa.table({"text": pa.array(texts, pa.large_string())}),
                folder / f"{number:05}.parquet",
                row_group_size=1000,
                compression="zstd",
            )
            written, number, texts, batch = written + batch, number + 1, [], 0
            if written >= size:
                return written
    return written


def copies(corpus: str, column: str | None) -> Iterator[str]:
    """The corpus, again and again, a little changed."""
    found = itertools.count(1)

    def cut(match: "re.Match[str]") -> str:
        number = next(found)
        return match[0] if number % CHANGED else f"{match[0]}q{number % 99991:x}\0"

    texts = [WORD.sub(cut, text.replace("\0", "")).split("\0") for batch in read(corpus, text_column=column) for text in batch]
    for copy in itertools.count():
        yield from (f"z{copy}".join(pieces) for pieces in texts)


def watch(process: "subprocess.Popen[bytes]", parts: Path, peak: list[float]) -> None:
    """The largest anonymous memory of the process and its children, as /proc has it, when it was, and the most below a folder, in GB."""
    start = time.perf_counter()
    while process.poll() is None:
        began = time.perf_counter()
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            except OSError:
                continue
            is_own = int(status.parent.name) == process.pid or int(lines["PPid"]) == process.pid
            if is_own and "RssAnon" in lines and (size := int(lines["RssAnon"].split()[0]) / 1e6) > peak[0]:
                peak[:2] = size, began - start
        files = (Path(folder) / name for folder, _, names in os.walk(parts) for name in names)
        peak[2] = max(peak[2], sum(map(blocks, files)) * 512 / 1e9)
        time.sleep(max(0.2, 20 * (time.perf_counter() - began)))  # of many files not so often, for that takes time from the build


def blocks(path: Path) -> int:
    """That a file takes on disk; none if it is gone."""
    try:
        return path.stat().st_blocks
    except OSError:
        return 0


if __name__ == "__main__":
    main()
