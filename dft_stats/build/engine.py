"""The engine: shards of a corpus in, counts out. The same integers whatever the shards, their order and where they are counted.

Every shard becomes a folder of parts, one a batch, written whole or not at all. A folder that is there already is not counted again: that
is how interrupted work goes on, and how a corpus grows. A corpus that is one batch never touches the disk. If n-grams that occur once in
much text are to be forgotten, shards are added up group by group on the way, see `group_files`.
"""

import json
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from dft_stats.build.formats import Faults
from dft_stats.build.group_files import (
    add_groups,
    check_rows,
    discard_damaged,
    group_rows,
    make_way,
    parts_of_group,
    parts_of_shards,
    read_group_sample,
    shards_in_groups,
)
from dft_stats.build.groups import Tree, leaves, planned
from dft_stats.build.job import BUFFERS, MEMORY, Job
from dft_stats.build.merge import Counted, Keep, add_up
from dft_stats.build.parts import SAMPLE, SHARD, AnyPart, discard, is_whole, part_folders, read_part, rows_of_part, sweep_abandoned
from dft_stats.build.sample import Sample
from dft_stats.build.shards import Shard, Texts
from dft_stats.build.sums import Source
from dft_stats.build.threads import threads
from dft_stats.build.token_sums import with_tokens
from dft_stats.errors import CorpusError
from dft_stats.masking import Masks
from dft_stats.sentences import RULE, Segmenter

LEAST_MEMORY = 500_000_000


Runner = Callable[[Iterator[Shard | Texts | None], Job, Path, int], Iterator[int]]
"""Counts shards into a folder, with so many workers; yields the characters of each. None among them: first those before are to be done."""


def run_here(shards: Iterator[Shard | Texts | None], job: Job, folder: Path, workers: int) -> Iterator[int]:
    """Count shards in processes of this machine, of which this one is the first, since another takes a second to start.

    Yields the characters of each, in the order in which they are done.
    """
    if workers == 1:
        yield from (job.to_disk(shard, folder) for shard in shards if shard is not None)
        return
    with (
        ThreadPoolExecutor(1) as here,
        ProcessPoolExecutor(workers - 1, mp_context=multiprocessing.get_context("spawn"), initializer=_die_with_parent) as pool,
    ):
        free: list[Executor] = [here] + [pool] * (workers - 1)
        running: dict[Future[int], Executor] = {}
        try:
            for shard in shards:
                while running and (shard is None or not free):
                    yield from _done(running, free)
                if shard is not None:
                    executor = free.pop()
                    running[executor.submit(job.to_disk, shard, folder)] = executor
            while running:
                yield from _done(running, free)
        except BrokenProcessPool as error:
            raise CorpusError(
                "a counting process was killed, perhaps for want of memory; run again with fewer --workers or less --memory each: what is "
                "done is not counted again. If this is a script of your own, call `build` with workers below `if __name__ == '__main__':`, "
                "since each process runs the script to begin with"
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
    groups: int = 0  # of shards that are being added up already, or have been


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
        keep_parts: they are to be used again: write them even if the corpus is small enough to be counted at one go, and no groups of
            groups.

    Raises:
        CorpusError: what cannot be read; what does not fit into memory or on the disk.
    """
    check_memory(job.memory)
    keep, folder = keep or Keep(), folder / job.key
    tree, groups = Tree(keep.forget, is_deep=not keep_parts), 0
    counted = reused = characters = 0
    passing = iter(shards)

    def tell() -> None:
        if progress is not None:
            progress(Progress(counted, reused, characters, groups))

    def missing(beside: ThreadPoolExecutor) -> Iterator[Shard | Texts | None]:
        """Shards to count. Groups that are full are added up as they pass, one while the next one is being counted."""
        nonlocal counted, reused, characters, groups
        adding: Future[None] | None = None
        grouped = shards_in_groups(folder)
        is_alone = workers == 1 and run is run_here
        for shard in passing:
            own = folder / shard.key
            if is_whole(own, is_in_group=shard.key in grouped):
                counted, reused = counted + 1, reused + 1
                characters += json.loads((own / SHARD).read_text())["characters"]
                tell()
            else:
                if own.exists():  # damaged, or half deleted
                    discard(own)
                yield shard
            ended = tree.add(shard)
            if not ended:
                continue
            yield None
            if adding is not None:
                adding.result()
            groups += 1
            BUFFERS.release()
            adding = beside.submit(add_groups, folder, ended, job.memory if is_alone else job.memory // 2, threads=workers)
            if is_alone:
                adding.result()
        if adding is not None:
            adding.result()

    is_threaded = workers == 1 or job.is_threaded
    if is_threaded and run is run_here and not keep_parts and keep.forget is None and not folder.exists():
        most, waiting = job.characters_at_once(drops_singles=keep.drops_singles), list[Shard | Texts]()
        for shard in passing:
            waiting.append(shard)
            if (len(waiting) > 1 and isinstance(shard, Texts)) or sum(shard.size for shard in waiting) > most:
                break
        else:
            found = _in_memory(waiting, job, keep, workers)
            if found is not None:
                counted, characters = len(waiting), found[3]
                tell()
                return found[:3]
        passing = _chain(waiting, passing)
    try:
        sweep_abandoned(folder)
        discard_damaged(folder)
        if isinstance(shards, list):
            make_way(folder, shards, planned(shards, keep.forget, is_deep=not keep_parts))
        with ThreadPoolExecutor(1) as beside:
            for size in run(missing(beside), job, folder, workers):
                counted, characters = counted + 1, characters + size
                tell()
        BUFFERS.release()
        check_rows(folder, tree.groups, tree.rest)
        try:
            return _added_up(folder, tree, job, keep, workers)
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            reason = str(error).partition("\n")[0]
            raise CorpusError(f"a part in {folder} is damaged ({reason}): delete this folder, and run again to count anew") from error
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


def _in_memory(shards: Sequence[Shard | Texts], job: Job, keep: Keep, workers: int) -> tuple[Counted, Sample, Faults, int] | None:
    """A corpus of one batch, and its characters; None if there are more."""
    faults, sample = job.faults(), Sample()
    texts: list[str] = []
    characters = 0
    for shard in shards:
        for batch in job.batches(shard, faults):
            texts += batch
            characters += sum(map(len, batch))
            if characters > job.characters_at_once(drops_singles=keep.drops_singles) and len(texts) > 1:
                return None
    read = job.read(texts)
    with threads(workers) as hands:
        sampled = hands.start(sample.add, read.texts)
        part = job.count(read, least=(keep.min_documents, keep.min_count), threads=hands)
        sampled()
    return _counted([part], [Source(part.texts, 0)], [], job, keep, workers), sample, faults, characters


def _added_up(folder: Path, tree: Tree, job: Job, keep: Keep, workers: int) -> tuple[Counted, Sample, Faults]:
    """Groups, and shards that are in none. What is in a group is read as its rows and as the other tables of its members."""
    sample, faults = Sample(), Faults()
    parts, sources, folders = list[AnyPart](), list[Source](), list[Path]()
    rest = sorted(set(tree.rest))
    for key in (*(key for group in tree.groups for key in group.members), *rest):
        facts = json.loads((folder / key / SHARD).read_text())
        faults.add(Faults(found={fault: tuple(seen) for fault, seen in facts["faults"].items()}))
        folders += part_folders(folder / key)
    for group in tree.groups:
        read_group_sample(folder, group, sample)
        tables = group_rows(folder, group)
        sources += [Source(tables, len(parts))] if tables else []
        parts += parts_of_group(folder, group)
    for key in rest:
        sample.read(folder / key / SAMPLE)
    for path in parts_of_shards(folder, rest):
        sources.append(Source(rows_of_part(path), len(parts)))
        parts.append(read_part(path))
    if not parts:
        part = job.count([])
        return _counted([part], [Source(part.texts, 0)], [], job, keep), sample, faults
    counted = _counted(parts, sources, folders, job, keep, workers)
    # A row that is kept was not forgotten in one of them.
    return replace(counted, undercount=max(0, len(leaves(tree.groups)) + bool(rest) - 1)), sample, faults


def _counted(
    parts: Sequence[AnyPart], sources: Sequence[Source], folders: Sequence[Path], job: Job, keep: Keep, workers: int = 1
) -> Counted:
    counted = add_up(parts, sources, folders, keep, job.memory, workers=workers)
    return with_tokens(counted, parts, folders, keep, job.memory) if job.tokenizer is not None else counted


def _chain(head: list[Shard | Texts], tail: Iterator[Shard | Texts]) -> Iterator[Shard | Texts]:
    while head:
        yield head.pop(0)
    yield from tail


def check_memory(size: int) -> None:
    """Refuse less than a process needs to work in.

    Raises:
        CorpusError: so many bytes are less.
    """
    if size < LEAST_MEMORY:
        raise CorpusError(
            f"{size / 1e6:,.0f} MB of memory are too little to work in; give {LEAST_MEMORY / 1e6:,.0f} MB at least (--memory)"
        )


def default_memory(workers: int) -> int:
    """Half of what the machine has, shared by the processes, but 2 GB at least."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return max(MEMORY, physical // (2 * workers))
