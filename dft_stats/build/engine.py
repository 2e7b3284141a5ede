"""The engine: shards of a corpus in, counts out. The same integers whatever the shards, their order and where they are counted.

Every shard becomes a folder of parts, one a batch, written whole or not at all. A folder that is there already is not counted again: that
is how interrupted work goes on, and how a corpus grows. A corpus that is one batch never touches the disk.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dft_stats.build.events import Part, count_units
from dft_stats.build.formats import Faults, Signed
from dft_stats.build.merge import Counted, Keep, add_up
from dft_stats.build.parts import FORMAT, Draft, read_part, write_part
from dft_stats.build.sample import Sample
from dft_stats.build.shards import Shard, Texts
from dft_stats.build.tally import Buffers
from dft_stats.build.token_sums import with_tokens
from dft_stats.build.tokens import count_tokens, identity
from dft_stats.build.units import read_units
from dft_stats.errors import CorpusError
from dft_stats.masking import MASKING, Masks
from dft_stats.sentences import RULE, Segmenter
from dft_stats.text import NORMALISER

MEMORY = 2_000_000_000
LEAST_MEMORY = 500_000_000
_BATCHES, _AT_ONCE = 32, 20
"""Counting a batch takes so many times its text in memory, about; and a corpus that is one batch, of which little has to be kept."""
_LIBRARIES = 350_000_000  # bytes that a process takes before it has read anything
_MOST_CHARACTERS, _MOST_AT_ONCE = 12_000_000, 100_000_000  # of these, however much memory there is: what is sorted should stay near
_DONE = "shard.json"


_BUFFERS = Buffers()
"""Of this process; a part is written before the next one is counted."""


@dataclass(frozen=True, slots=True)
class Job:
    """How shards are counted."""

    segmenter: Segmenter = RULE
    typography: str = "fold"
    max_order: int = 5
    text_column: str | None = None
    memory: int = MEMORY  # bytes, of one process
    skip_faults: bool = False
    tokenizer: str | None = None  # JSON text of one whose tokens are counted as well
    masks: Masks | None = None  # what is replaced before anything is counted or kept; of a profile that is to be published
    group_column: str | None = None  # says whose a document is, of such a profile

    @property
    def key(self) -> str:
        """Hash of all that a part depends on but the texts. How they are cut into batches is none of it."""
        given: list[Any] = [FORMAT, self.segmenter.identity, NORMALISER, self.typography, self.max_order, self.text_column]
        given.append(self.batch_characters if self.skip_faults else None)  # longer texts are left out
        given += [] if self.tokenizer is None else [identity(self.tokenizer)]
        given += [] if self.masks is None else ["masked", MASKING, *self.masks.names, self.group_column]
        return hashlib.sha256(json.dumps(given).encode()).hexdigest()[:16]

    @property
    def batch_characters(self) -> int:
        """Of a batch, so that `memory` is enough."""
        return min(max((self.memory - _LIBRARIES) // _BATCHES, 1 << 20), _MOST_CHARACTERS)

    def characters_at_once(self, keep: Keep) -> int:
        """Of a corpus that is counted as one batch and never touches the disk."""
        if self.masks is not None or self.tokenizer is not None or not keep.drops_singles:
            return self.batch_characters
        return max(self.batch_characters, min((self.memory - _LIBRARIES) // _AT_ONCE, _MOST_AT_ONCE))

    def read(self, texts: Sequence[str]) -> "Batch":
        """Texts as they are counted, sampled and kept."""
        if self.masks is None:
            return Batch(texts)
        masked, number = self.masks.apply(texts, typography=self.typography)
        if self.group_column is None:
            return Batch(masked, number)
        is_rule = self.segmenter.identity == RULE.identity
        whose = [
            text.owner
            for text, own in zip(texts, masked, strict=True)
            if isinstance(text, Signed) and (own if is_rule else any(self.segmenter.sentences(own)))
        ]
        return Batch(masked, number, np.array(whose, np.int64))

    def count(self, given: "Sequence[str] | Batch", *, least: tuple[int, int] = (1, 1), buffers: Buffers | None = None) -> Part:
        """Count a batch. `least`, `buffers`: see `count_units`."""
        batch = given if isinstance(given, Batch) else self.read(given)
        texts, is_masked = batch.texts, self.masks is not None
        units = read_units(texts, self.segmenter, typography=self.typography)
        # Units of the rule follow from the text. Those of another segmenter may not, so that other units make the same text once more.
        least = least if self.segmenter.identity == RULE.identity else (1, 1)
        part = count_units(units, max_order=self.max_order, least=least, buffers=buffers, with_owners=is_masked, owners=batch.owners)
        part = replace(part, masked=batch.masked)
        if self.tokenizer is None:
            return part
        tokens = count_tokens(texts, units, self.tokenizer, self.segmenter, typography=self.typography, owners=batch.owners)
        return replace(part, numbers={**part.numbers, **tokens})

    def batches(self, shard: Shard | Texts, faults: Faults) -> Iterator[list[str]]:
        """Texts of a shard."""
        return shard.batches(self.text_column, self.batch_characters, faults, group=self.group_column)

    def faults(self) -> Faults:
        """What to do about damaged files and texts."""
        return Faults(self.skip_faults, longest=self.batch_characters)

    def to_disk(self, shard: Shard | Texts, folder: Path) -> int:
        """Count a shard into FOLDER/KEY; return its characters."""
        faults, sample, characters = self.faults(), Sample(), 0
        with Draft(folder / shard.key) as draft:
            number = 0
            for number, texts in enumerate(self.batches(shard, faults), start=1):
                batch = self.read(texts)
                sample.add(batch.texts)
                characters += sum(map(len, texts))
                write_part(self.count(batch, buffers=_BUFFERS), draft / str(number))
            sample.write(draft / "sample.parquet")
            facts = {"characters": characters, "parts": number, "faults": faults.found}
            (draft / _DONE).write_text(json.dumps(facts))
        return characters


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts as they are counted, sampled and kept."""

    texts: Sequence[str]
    masked: Mapping[str, int] = field(default_factory=dict)  # what was replaced in them, by `KINDS`
    owners: NDArray[np.int64] | None = None  # (documents with a unit,)


Runner = Callable[[Iterator[Shard | Texts], Job, Path, int], Iterator[int]]
"""Counts shards into a folder, with so many workers; yields the characters of each."""


def run_here(shards: Iterator[Shard | Texts], job: Job, folder: Path, workers: int) -> Iterator[int]:
    """Count shards in processes of this machine, of which this one is the first, since another takes a second to start.

    Yields the characters of each, in the order in which they are done.
    """
    if workers == 1:
        yield from (job.to_disk(shard, folder) for shard in shards)
        return
    with (
        ThreadPoolExecutor(1) as here,
        ProcessPoolExecutor(workers - 1, mp_context=multiprocessing.get_context("spawn"), initializer=_die_with_parent) as pool,
    ):
        free: list[Executor] = [here] + [pool] * (workers - 1)
        running: dict[Future[int], Executor] = {}
        try:
            for shard in shards:
                if not free:
                    yield from _done(running, free)
                executor = free.pop()
                running[executor.submit(job.to_disk, shard, folder)] = executor
            while running:
                yield from _done(running, free)
        except BrokenProcessPool as error:
            raise CorpusError(
                "a counting process was killed, perhaps for want of memory; run again with fewer --workers or less --memory each: what is "
                "done is not counted again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _done(running: dict[Future[int], Executor], free: list[Executor]) -> Iterator[int]:
    """Wait for one at least."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        free.append(running.pop(future))
        yield future.result()


def _die_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the counting is."""

    shards: int  # counted
    reused: int  # of them, by an earlier run
    characters: int


def count_shards(
    shards: Iterable[Shard | Texts],
    job: Job,
    folder: Path,
    *,
    keep: Keep | None = None,
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
    run: Runner = run_here,
    keep_parts: bool = False,
) -> tuple[Counted, Sample, Faults]:
    """Count a corpus, pruned as `keep` says; with it, a sample of its documents and what was wrong with it.

    Args:
        shards: all of the corpus.
        job: how to count.
        folder: where parts are kept, below the key of the job.
        keep: what to prune.
        workers: processes that count; with more than one the segmenter must be picklable.
        progress: told after each shard.
        run: counts shards somewhere else, see `run_here`.
        keep_parts: write them even if the corpus is small enough to be counted at one go.

    Raises:
        CorpusError: what cannot be read; what does not fit into memory or on the disk.
    """
    if job.memory < LEAST_MEMORY:
        raise CorpusError(
            f"{job.memory / 1e6:,.0f} MB of memory are too little to work in; give {LEAST_MEMORY / 1e6:,.0f} MB at least (--memory)"
        )
    keep, folder = keep or Keep(), folder / job.key
    done: list[str] = []
    counted = reused = characters = 0
    tell = progress or (lambda _: None)

    def missing() -> Iterator[Shard | Texts]:
        nonlocal counted, reused, characters
        for shard in shards:
            done.append(shard.key)
            facts = folder / shard.key / _DONE
            if facts.is_file():
                counted, reused = counted + 1, reused + 1
                characters += json.loads(facts.read_text())["characters"]
                tell(Progress(counted, reused, characters))
            else:
                yield shard

    remaining = missing()
    if workers == 1 and run is run_here and not keep_parts and not folder.exists():
        waiting: list[Shard | Texts] = []
        for shard in remaining:
            waiting.append(shard)
            if (len(waiting) > 1 and isinstance(shard, Texts)) or sum(shard.size for shard in waiting) > job.characters_at_once(keep):
                break
        else:
            found = _in_memory(waiting, job, keep)
            if found is not None:
                tell(Progress(len(done), 0, found[3]))
                return found[:3]
        remaining = _chain(waiting, remaining)
    try:
        for size in run(remaining, job, folder, workers):
            counted, characters = counted + 1, characters + size
            tell(Progress(counted, reused, characters))
        _BUFFERS.release()
        return _added_up([folder / key for key in done], job, keep, workers)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CorpusError(f"{folder} cannot be written to ({reason}): make room, or give another folder for parts (--parts)") from error


def count_corpus(
    batches: Iterable[Sequence[str]],
    *,
    segmenter: Segmenter = RULE,
    typography: str = "fold",
    max_order: int = 5,
    workers: int = 1,
    memory: int = MEMORY,
    keep: Keep | None = None,
    progress: Callable[[Progress], None] | None = None,
    tokenizer: str | None = None,
    masks: Masks | None = None,
    group_column: str | None = None,
) -> Counted:
    """Count texts that are at hand: equal to `dft_stats.counts.count` of all of them, pruned as `keep` says.

    Args:
        batches: lists of texts.
        segmenter: finds units and sentences.
        typography: as in `dft_stats.text.normalise`.
        max_order: longest n-grams.
        workers: processes.
        memory: bytes, of one process.
        keep: what to prune.
        progress: told after each batch.
        tokenizer: JSON text of one whose tokens are counted as well.
        masks: what is replaced; needed if `keep` asks who has a row.
        group_column: texts are `Signed` by it.
    """
    job = Job(segmenter, typography, max_order, memory=memory, tokenizer=tokenizer, masks=masks, group_column=group_column)
    shards = (Texts(texts, number) for number, texts in enumerate(batches))
    with tempfile.TemporaryDirectory(prefix="dft-stats-") as folder:
        return count_shards(shards, job, Path(folder), keep=keep, workers=workers, progress=progress)[0]


def _in_memory(shards: Sequence[Shard | Texts], job: Job, keep: Keep) -> tuple[Counted, Sample, Faults, int] | None:
    """A corpus of one batch, and its characters; None if there are more."""
    faults, sample = job.faults(), Sample()
    texts: list[str] = []
    characters = 0
    for shard in shards:
        for batch in job.batches(shard, faults):
            texts += batch
            characters += sum(map(len, batch))
            if characters > job.characters_at_once(keep) and len(texts) > 1:
                return None
    read = job.read(texts)
    sample.add(read.texts)
    part = job.count(read, least=(1, 1) if keep.floor else (keep.min_documents, keep.min_count))
    return _counted([part], [], job, keep), sample, faults, characters


def _added_up(folders: Sequence[Path], job: Job, keep: Keep, threads: int) -> tuple[Counted, Sample, Faults]:
    sample, faults, parts = Sample(), Faults(), []
    for folder in sorted(set(folders)):
        facts = json.loads((folder / _DONE).read_text())
        faults.add(Faults(found={fault: tuple(seen) for fault, seen in facts["faults"].items()}))
        sample.read(folder / "sample.parquet")
        parts += [folder / str(number + 1) for number in range(facts["parts"])]
    if not parts:
        return _counted([job.count([])], [], job, keep), sample, faults
    return _counted([read_part(part) for part in parts], parts, job, keep, threads), sample, faults


def _counted(parts: Sequence[Part], folders: Sequence[Path], job: Job, keep: Keep, threads: int = 1) -> Counted:
    counted = add_up(parts, folders, keep, job.memory, threads=threads)
    return with_tokens(counted, parts, folders, keep, job.memory) if job.tokenizer is not None else counted


def _chain(head: list[Shard | Texts], tail: Iterator[Shard | Texts]) -> Iterator[Shard | Texts]:
    while head:
        yield head.pop(0)
    yield from tail


def default_memory(workers: int) -> int:
    """Half of what the machine has, shared by the processes, but 2 GB at least."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return max(MEMORY, physical // (2 * workers))


def is_counted(shard: Shard, job: Job, folder: Path) -> bool:
    """Whether an earlier run counted a shard."""
    return (folder / job.key / shard.key / _DONE).is_file()


def forget(folder: Path) -> None:
    """Remove parts that are no longer of use."""
    shutil.rmtree(folder, ignore_errors=True)
