"""How fast a corpus is counted: the engine beside plain Python and, where installed, scikit-learn, on the same text in the same run.

python benchmarks/build.py CORPUS [--megabytes 8] [--text-column text]

The engine counts everything that a profile has (n-grams to five, document frequency, windows, sentence lengths, rhythm, entropy). The
reference is `dft_stats.counts.count` on a tenth of the text. Counter and CountVectorizer count n-grams of one to three words and no
more. Prints megabytes of UTF-8 a CPU-second, and the ratio to Counter.
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from dft_stats.build.corpus import read
from dft_stats.build.engine import count_corpus
from dft_stats.counts import count
from dft_stats.statistics import COUNTED
from dft_stats.text import documents

WORD = re.compile(r"\w+|[^\w\s]")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--text-column")
    given = parser.parse_args()
    texts: list[str] = []
    size = 0
    for batch in read(given.corpus, text_column=given.text_column):
        for text in batch:
            if size < given.megabytes * 1e6:
                texts.append(text)
                size += len(text.encode())
    runs: dict[str, tuple[Callable[[Sequence[str]], object], Sequence[str]]] = {
        "dft_stats engine, everything": (_engine, texts),
        "dft_stats reference, everything": (_reference, texts[::10]),
        "Counter, n-grams 1 to 3": (_counter, texts),
    }
    try:
        from sklearn.feature_extraction.text import CountVectorizer

        vectorizer = CountVectorizer(ngram_range=(1, 3), token_pattern=WORD.pattern, lowercase=False)
        runs["scikit-learn CountVectorizer, n-grams 1 to 3"] = (vectorizer.fit_transform, texts)
    except ImportError:
        pass
    speeds = {}
    for name, (run, given_texts) in runs.items():
        began = time.process_time()
        run(given_texts)
        speeds[name] = sum(len(text.encode()) for text in given_texts) / 1e6 / (time.process_time() - began)
    print("| what | MB a CPU-second | ratio to Counter |")
    print("|---|---|---|")
    for name, speed in speeds.items():
        print(f"| {name} | {speed:.2f} | {speed / speeds['Counter, n-grams 1 to 3']:.2f} |")


def _engine(texts: Sequence[str]) -> None:
    size = max(1, len(texts) * 4_000_000 // sum(map(len, texts)))
    count_corpus([list(texts[i : i + size]) for i in range(0, len(texts), size)])


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


if __name__ == "__main__":
    main()
