"""How much memory a build takes of a corpus that is larger than it, and whose vocabulary never stops growing.

python benchmarks/memory.py CORPUS [--gigabytes 2] [--memory 2GB] [--workers 1] [--text-column text] [--min-documents 3]

The corpus is repeated until it is as large as asked, each copy with every fiftieth word changed to one that no other copy has, and written
as Parquet into a temporary folder (with the parts it takes several times the corpus on disk). Prints the size of the corpus, wall time,
megabytes a second, and the largest size of any process of the build: anonymous memory, without pages of files, which the system may drop.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dft_stats.build.corpus import read

WORD = re.compile(r"\b[a-z]{4,}\b")
CHANGED = 50  # one word in so many


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--text-column")
    parser.add_argument("--min-documents", default="3")
    parser.add_argument("--folder", type=Path, help="where there is room")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        size = write(given.corpus, given.text_column, folder / "corpus", int(given.gigabytes * 1e9))
        command = [
            sys.executable,
            "-m",
            "dft_stats.cli",
            "build",
            "--privacy",
            "none",
            folder / "corpus",
            "--out",
            folder / "profile",
            "--name",
            "large",
        ]
        command += ["--memory", given.memory, "--workers", str(given.workers), "--min-documents", given.min_documents]
        began = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)))
        peak = [0.0]
        watcher = threading.Thread(target=watch, args=(process, peak))
        watcher.start()
        status = process.wait()
        watcher.join()
        seconds = time.perf_counter() - began
        print(
            f"{size / 1e9:.2f} GB, {given.workers} workers, --memory {given.memory}: status {status}, {seconds:.0f} s, "
            f"{size / 1e6 / seconds:.1f} MB/s, largest process {peak[0]:.2f} GB"
        )


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
            pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), folder / f"{number:05}.parquet", row_group_size=1000)
            written, number, texts, batch = written + batch, number + 1, [], 0
            if written >= size:
                return written
    return written


def copies(corpus: str, column: str | None) -> Iterator[str]:
    """The corpus, again and again, a little changed."""
    copy = 0
    while True:
        changed = 0

        def other(found: "re.Match[str]", copy: int = copy) -> str:
            nonlocal changed
            changed += 1
            return found[0] if changed % CHANGED else f"{found[0]}q{changed % 99991:x}z{copy}"

        for batch in read(corpus, text_column=column):
            for text in batch:
                yield WORD.sub(other, text)
        copy += 1


def watch(process: "subprocess.Popen[bytes]", peak: list[float]) -> None:
    """The largest anonymous memory of the process and its children, in GB, as /proc has it."""
    while process.poll() is None:
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            except OSError:
                continue
            is_own = int(status.parent.name) == process.pid or int(lines["PPid"]) == process.pid
            if is_own and "RssAnon" in lines:
                peak[0] = max(peak[0], int(lines["RssAnon"].split()[0]) / 1e6)
        time.sleep(0.2)


if __name__ == "__main__":
    main()
