"""How fast a corpus is counted, and where the time goes: us and the peers that pip can install, on the same text in the same run.

python benchmarks/build.py CORPUS [--text-column text] [--megabytes 40] [--min-documents 3] [--workers 2 --memory 600MB]

First table: megabytes of UTF-8 a CPU-second of one process. `dft-stats build` is the whole profile: reading the files, all statistics with
n-grams to five, document frequency, window moments, floor, features, Parquet. Peers count n-grams of one to three words and no more; of
them scikit-learn and NLTK run where they are installed, on a tenth of the text. The reference is `dft_stats.counts.count`, on a hundredth.
The share of the system is what the kernel took, most of it for memory that is touched first. Second table: the stages of counting a shard.
With --workers the build is run again by one worker and by so many: threads if the text fits into --memory at one go, processes with so much
memory each if not; and the ratio of wall times is printed. Then so many builds by one worker each are run side by side, which share nothing
but the machine: what it gives to them is the most that workers can get.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from dft_stats.build import events
from dft_stats.build.build import build
from dft_stats.build.corpus import batched, read
from dft_stats.build.sample import Sample
from dft_stats.build.scan import scan
from dft_stats.build.shards import SHARD_BYTES
from dft_stats.build.tally import Buffers
from dft_stats.build.units import read_units
from dft_stats.build.windows import exposure, read_windows
from dft_stats.counts import count
from dft_stats.sentences import RULE, documents
from dft_stats.statistics import COUNTED

WORD = re.compile(r"\w+|[^\w\s]")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("--text-column")
    parser.add_argument("--megabytes", type=float, default=40)
    parser.add_argument("--min-documents", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--memory", default="600MB", help="of a process, with --workers; rows that are kept have to fit")
    given = parser.parse_args()
    texts, size = [], 0.0
    for batch in read(given.corpus, text_column=given.text_column):
        for text in batch:
            if size < given.megabytes * 1e6:
                texts.append(text)
                size += len(text.encode())
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.parquet"
        pl.DataFrame({"text": texts}).write_parquet(corpus, row_group_size=500)

        def whole(workers: int, memory: str = "2GB") -> None:
            out = Path(folder) / "profile"
            build(
                corpus, privacy="none", out=out, name="x", min_documents=given.min_documents, workers=workers, memory=memory, overwrite=True
            )

        whole(1)  # the kernels are compiled once, and kept
        runs: dict[str, tuple[Callable[[], Any], float]] = {
            f"dft-stats build, whole profile, --min-documents {given.min_documents}": (lambda: whole(1), size),
            "dft_stats reference, all statistics": (lambda: _reference(texts[::100]), _bytes(texts[::100])),
            "Counter, n-grams 1 to 3": (lambda: _counter(texts[::10]), _bytes(texts[::10])),
            "Polars, n-grams 1 to 3": (lambda: _polars(texts), size),
            "DuckDB, n-grams 1 to 3": (lambda: _duckdb(texts[::10]), _bytes(texts[::10])),
            **_where_installed(texts[::10]),
        }
        taken = {name: _cpu_seconds(run) for name, (run, _) in runs.items()}
        speeds = {name: given_bytes / 1e6 / sum(taken[name]) for name, (_, given_bytes) in runs.items()}
        print(f"{size / 1e6:.1f} MB in {len(texts):,} documents; largest resident size {_resident_gb():.1f} GB\n")
        print("| what | MB a CPU-second | ratio to Counter | the system's share |")
        print("|---|---|---|---|")
        for name, speed in speeds.items():
            share = taken[name][1] / sum(taken[name])
            print(f"| {name} | {speed:.2f} | {speed / speeds['Counter, n-grams 1 to 3']:.1f} | {share:.0%} |")
        print("\n| stage of counting | ms a MB | share |")
        print("|---|---|---|")
        stages = _stages(texts)
        for name, seconds in stages.items():
            print(f"| {name} | {1e9 * seconds / size:.1f} | {100 * seconds / sum(stages.values()):.0f} % |")
        print(f"| all | {1e9 * sum(stages.values()) / size:.1f} | {size / 1e6 / sum(stages.values()):.1f} MB/s |")
        if given.workers > 1:
            walls = []
            for workers in (1, given.workers):
                began = time.perf_counter()
                whole(workers, memory=given.memory)
                walls.append(time.perf_counter() - began)
            print(f"\n{given.workers} workers against 1, wall time: {walls[0]:.1f} s / {walls[1]:.1f} s = {walls[0] / walls[1]:.2f}")
            command = [sys.executable, "-m", "dft_stats.cli", "build", str(corpus), "--privacy", "none", "--name", "x"]
            command += ["--min-documents", str(given.min_documents), "--memory", given.memory]
            numbers = (1, 1, given.workers)  # the first finds everything cold
            _, alone, beside = (_side_by_side(command, Path(folder) / f"run {i}", number) for i, number in enumerate(numbers))
            said = f"{alone:.1f} s for one, {beside:.1f} s = {given.workers * alone / beside:.2f} times the work in the time"
            print(f"{given.workers} builds by one worker side by side, with the start of Python: {said}")


def _side_by_side(command: Sequence[str], folder: Path, number: int) -> float:
    """Seconds until so many processes of the same build are done."""
    folder.mkdir()
    began = time.perf_counter()
    running = [
        subprocess.Popen([*command, "--out", str(folder / f"{i}")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for i in range(number)
    ]
    if any([process.wait() for process in running]):
        raise RuntimeError("a build failed")
    return time.perf_counter() - began


def _cpu_seconds(run: Callable[[], Any]) -> tuple[float, float]:
    """(user, system) time of this process."""
    began = resource.getrusage(resource.RUSAGE_SELF)
    run()
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return ended.ru_utime - began.ru_utime, ended.ru_stime - began.ru_stime


def _bytes(texts: Sequence[str]) -> float:
    return float(sum(len(text.encode()) for text in texts))


def _resident_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _stages(texts: Sequence[str]) -> dict[str, float]:
    """CPU-seconds of the steps of `Job.count`, batch by batch."""
    found: dict[str, float] = {}

    def timed(name: str, run: Callable[..., Any], *arguments: Any) -> Any:
        began = time.process_time()
        result = run(*arguments)
        found[name] = found.get(name, 0) + time.process_time() - began
        return result

    buffers = Buffers()
    for batch in batched(iter(texts), SHARD_BYTES):
        sample = Sample()
        timed("sample for floor and features", sample.add, batch)
        timed("normalise and characters to units", scan, batch)
        read_ = timed("all of these and sentences", read_units, batch, RULE)
        buffers.reset(events._BYTES_A_UNIT * len(read_.id))
        windows = timed("windows", read_windows, read_)
        timed("sentence lengths", events._sentence_length, read_, windows)
        timed("punctuation", events._punctuation_rhythm, read_, windows)
        timed("entropy", events._entropy, read_, windows)
        timed("units, n-grams to 5, stretches", events._texts, read_, windows, buffers, 5, (1, 1))
        timed("exposure", exposure, read_, windows)
    found["sentences"] = max(0.0, found.pop("all of these and sentences") - found["normalise and characters to units"])
    return found


def _reference(texts: Sequence[str]) -> None:
    segmented = documents(texts)
    for statistic in COUNTED:
        count(statistic, segmented)


def _counter(texts: Sequence[str]) -> None:
    found: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = WORD.findall(text)
        found.update(zip(words, strict=False))
        found.update(pairwise(words))
        found.update(zip(words, words[1:], words[2:], strict=False))


def _polars(texts: Sequence[str]) -> None:
    words = pl.LazyFrame({"text": texts}).with_row_index("document")
    words = (
        words.with_columns(pl.col("text").str.extract_all(WORD.pattern)).explode("text").with_columns(pl.col("text").cast(pl.Categorical))
    )
    ids = words.with_columns(pl.col("text").to_physical().cast(pl.UInt64).alias("a"))
    ids = ids.with_columns(pl.col("a").shift(-1).over("document").alias("b"), pl.col("a").shift(-2).over("document").alias("c"))
    for keys in (["a"], ["a", "b"], ["a", "b", "c"]):
        ids.group_by(keys).len().collect(engine="streaming")


def _duckdb(texts: Sequence[str]) -> None:
    with duckdb.connect() as engine:
        engine.execute("SET threads = 1")
        engine.register("texts", pl.DataFrame({"text": texts}).to_arrow())
        engine.execute(
            "CREATE TEMP TABLE words AS SELECT document, unnest(w) AS a, unnest(w[2:]) AS b, unnest(w[3:]) AS c FROM "
            r"(SELECT row_number() OVER () AS document, regexp_extract_all(text, '\w+|[^\w\s]') AS w FROM texts)"
        )
        for keys in ("a", "a, b", "a, b, c"):
            engine.execute(f"SELECT {keys}, count(*) FROM words GROUP BY {keys}").fetchnumpy()


def _where_installed(texts: Sequence[str]) -> dict[str, tuple[Callable[[], Any], float]]:
    found: dict[str, tuple[Callable[[], Any], float]] = {}
    size = float(np.sum([len(text.encode()) for text in texts]))
    try:
        from sklearn.feature_extraction.text import CountVectorizer

        vectorizer = CountVectorizer(ngram_range=(1, 3), token_pattern=WORD.pattern, lowercase=False)
        found["scikit-learn CountVectorizer, n-grams 1 to 3"] = (lambda: vectorizer.fit_transform(texts), size)
    except ImportError:
        pass
    try:
        from nltk import FreqDist, everygrams

        def nltk() -> None:
            counts = FreqDist()
            for text in texts:
                counts.update(everygrams(WORD.findall(text), max_len=3))

        found["NLTK everygrams and FreqDist, n-grams 1 to 3"] = (nltk, size)
    except ImportError:
        pass
    return found


if __name__ == "__main__":
    main()
