"""How a shard is counted: `Job`, which travels to processes and clusters, and writes parts."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dft_stats.build.events import Part, count_units
from dft_stats.build.formats import Faults, Signed
from dft_stats.build.normalise import normalised_texts
from dft_stats.build.parts import FORMAT, SAMPLE, SHARD, Draft, write_part
from dft_stats.build.sample import Sample
from dft_stats.build.shards import Shard, Texts
from dft_stats.build.tally import Buffers
from dft_stats.build.threads import ALONE, Threads
from dft_stats.build.tokens import count_tokens, identity
from dft_stats.build.units import read_units
from dft_stats.masking import MASKING, Masks
from dft_stats.sentences import RULE, Segmenter
from dft_stats.text import NORMALISER

MEMORY = 2_000_000_000
_BATCHES, _AT_ONCE = 32, 20
"""Counting a batch takes so many times its text in memory, about; and a corpus that is one batch, of which little has to be kept."""
_LIBRARIES = 350_000_000  # bytes that a process takes before it has read anything
_MOST_CHARACTERS, _MOST_AT_ONCE = 12_000_000, 300_000_000  # of these, however much memory there is: what is sorted should stay near


BUFFERS = Buffers()
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

    @property
    def _is_rule(self) -> bool:
        """Units of the rule follow from a text: one that is not empty has some. Of another segmenter other units may make it once more."""
        return self.segmenter.identity == RULE.identity

    @property
    def is_threaded(self) -> bool:
        """Whether nearly all of counting is done by kernels, so that threads do as well as processes."""
        return self.tokenizer is None and self._is_rule

    def characters_at_once(self, *, drops_singles: bool) -> int:
        """Of a corpus that is counted as one batch and never touches the disk."""
        if not (drops_singles and self.is_threaded):
            return self.batch_characters
        return max(self.batch_characters, min((self.memory - _LIBRARIES) // _AT_ONCE, _MOST_AT_ONCE))

    def read(self, texts: Sequence[str]) -> "Batch":
        """Texts as they are counted, sampled and kept."""
        if self.masks is None:
            return Batch(texts)
        masked, number = self.masks.apply_to_normalised(normalised_texts(texts, typography=self.typography))
        if self.group_column is None:
            return Batch(masked, number)
        whose = [
            text.owner
            for text, own in zip(texts, masked, strict=True)
            if isinstance(text, Signed) and (own if self._is_rule else any(self.segmenter.sentences(own)))
        ]
        return Batch(masked, number, np.array(whose, np.int64))

    def count(
        self,
        given: "Sequence[str] | Batch",
        *,
        least: tuple[int, int] = (1, 1),
        buffers: Buffers | None = None,
        threads: Threads = ALONE,
    ) -> Part:
        """Count a batch. `least`, `buffers`, `threads`: see `count_units`."""
        batch = given if isinstance(given, Batch) else self.read(given)
        texts, is_masked = batch.texts, self.masks is not None
        units = read_units(texts, self.segmenter, typography=self.typography, threads=threads)
        how: dict[str, Any] = {"least": least if self._is_rule else (1, 1), "buffers": buffers, "threads": threads}
        part = count_units(units, max_order=self.max_order, with_owners=is_masked, owners=batch.owners, **how)
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
                write_part(self.count(batch, buffers=BUFFERS), draft / str(number))
            sample.write(draft / SAMPLE)
            facts = {"characters": characters, "parts": number, "faults": faults.found}
            (draft / SHARD).write_text(json.dumps(facts))
        return characters


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts as they are counted, sampled and kept."""

    texts: Sequence[str]
    masked: Mapping[str, int] = field(default_factory=dict)  # what was replaced in them, by `KINDS`
    owners: NDArray[np.int64] | None = None  # (documents with a unit,)
