"""`dry_run`: what a build would read and count."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dft_stats.build.corpus import Corpus, sources
from dft_stats.build.engine import check_memory, default_memory
from dft_stats.build.formats import Faults
from dft_stats.build.group_files import shards_in_groups, useless
from dft_stats.build.groups import leaves, planned
from dft_stats.build.job import Job
from dft_stats.build.merge import Keep
from dft_stats.build.parts import is_whole
from dft_stats.build.privacy import asked
from dft_stats.build.settings import as_bytes, check_settings, checked_forget, parts_beside, resolve_segmenter, tokenizer_text
from dft_stats.build.shards import Shard, plan
from dft_stats.errors import CorpusError
from dft_stats.sentences import Segmenter


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """What `dry_run` says of a shard."""

    label: str  # its first stretch of a file, and how many more
    size: int  # bytes on disk, about
    is_counted: bool
    group: int | None = None  # that it is added up in: 1 and up; None: in none of its own


def dry_run(
    paths: Corpus,
    *,
    out: str | Path,
    segmenter: Segmenter | str = "rule",
    typography: str = "fold",
    max_order: int = 5,
    text_column: str | None = None,
    memory: int | str | None = None,
    parts: str | Path | None = None,
    skip_faults: bool = False,
    tokenizer: Any = None,
    privacy: str = "publish",
    group_column: str | None = None,
    deny: Iterable[str] = (),
    forget: int | str | None = None,
    min_documents: int | None = None,
    min_count: int = 1,
    spelling_documents: int | None = None,
) -> list[PlannedShard]:
    """The shards that `build` with these arguments would count or has counted. Reads no text, and refuses what `build` would refuse.

    Raises:
        CorpusError: nothing to read, or unreadable; or texts were given, of which there is no plan.
        ValueError: settings of no meaning.
    """
    size = default_memory(1) if memory is None else as_bytes(memory)
    check_memory(size)
    check_settings(typography=typography, min_documents=min_documents, min_count=min_count, max_order=max_order, max_rows={}, workers=1)
    private = asked(privacy, min_documents=min_documents, spelling_documents=spelling_documents, group_column=group_column, deny=deny)
    masks, keep = private.masks, Keep(private.min_documents, min_count)
    how = typography, max_order, text_column, size, skip_faults, tokenizer_text(tokenizer), masks, group_column
    job = Job(resolve_segmenter(segmenter), *how)
    faults = Faults(skip_faults)
    found = sources(paths, text_column, faults, group=group_column)
    if not isinstance(found, list):
        raise CorpusError("texts were given, not paths: all of them would be counted, there is nothing to plan")
    folder = (parts_beside(Path(out)) if parts is None else Path(parts)) / job.key
    shards = list(plan(found, text_column, faults, group=group_column))
    groups = planned(shards, checked_forget(forget, drops_singles=keep.drops_singles), is_deep=parts is None).groups
    group_of = {key: number for number, group in enumerate(leaves(groups), start=1) for key in group.members}
    lost = {key for members in useless(folder, [shard.key for shard in shards], groups).values() for key in members}
    grouped = shards_in_groups(folder)
    return [
        PlannedShard(
            _label(shard),
            shard.size,
            shard.key not in lost and is_whole(folder / shard.key, is_in_group=shard.key in grouped),
            group_of.get(shard.key),
        )
        for shard in shards
    ]


def _label(shard: Shard) -> str:
    first = shard.pieces[0]
    stretch = "" if first.end is None else f" [{first.begin:,} to {first.end:,}]"
    more = len(shard.pieces) - 1
    return f"{first.path}{stretch}" + (f" and {more:,} more" if more else "")
