"""What a batch is to the loss: its tokens as a stream, where labels are, and how its rows are cut into chunks.

Reading needs the tokens alone and, on a GPU, waits for it: lists are found whose lengths depend on the text. All that comes after waits for
nothing. So whoever reads before the model's forward, while there is nothing to wait for, has no wait in the step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dft_stats.errors import DftStatsError, VocabularyMismatch
from dft_stats.loss.identity import difference
from dft_stats.loss.probabilities import Pairs, together
from dft_stats.loss.reading import Stream

if TYPE_CHECKING:
    from dft_stats.loss.distribution_loss import DistributionLoss

UNKNOWN = -1
PADDED = 1024  # ids beyond the tokenizer's that a head may have more, to be of a round size; further ones are of another tokenizer
_TICKETS: "WeakValueDictionary[int, Batch]" = WeakValueDictionary()
_NUMBERS = count()
GAP = 8  # rows that nobody needs: to read as many is less work than to copy those around them


class LogitsMissing(DftStatsError, TypeError):
    """The model gave nothing that a loss could be computed from."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that are computed at once."""

    where: Tensor | slice  # which rows: a slice if they lie together
    size: int
    pairs: slice  # of `Cut.rows`
    surplus: Tensor | None  # bool (size,): rows that nobody needs


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows in the order of computing, and the single entries in theirs."""

    chunks: tuple[Chunk, ...]
    spared: tuple[slice, ...]  # rows of no chunk
    rows: Tensor  # int64 (pairs,): of the single entries, within their chunk
    ids: Tensor  # int64 (pairs,)
    groups: Tensor  # int64 (pairs,), rising: the same for those that are the same entry
    order: Tensor  # int64 (pairs,): place of each among `DistributionLoss.pairs`


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch that was read: row by row of the predictions [B, T, ...], flattened."""

    shape: torch.Size  # B, T
    identity: Mapping[str, str]  # of the loss that read it, see `dft_stats.loss.identity`
    stream: Stream
    pairs: Mapping[str, Pairs]  # `DistributionLoss.pairs` of the stream
    targets: Tensor  # int64 (rows,): the label that the row predicts, or the ignored index
    labelled: Tensor  # bool (rows,): the row predicts a label, `Stream.predicted`
    order: Tensor  # int64 (pairs,): single entries by their rows and ids
    entries: NDArray[np.int64]  # (rows + 1,): number of single entries before each row
    needed: NDArray[np.bool_]  # (rows,): `labelled`, as the host knows it
    cuts: dict[tuple[int, int], Cut]  # by size and gap, made once
    ticket: Tensor  # int64, a scalar on the CPU: what stands for the batch in a graph of `torch.compile`

    @staticmethod
    def of(ticket: Tensor) -> "Batch":
        """The batch of a ticket; it must still be held by whoever read it."""
        return _TICKETS[int(ticket)]

    def items(self, num_items: int | Tensor | None) -> Tensor:
        """Labels that a mean is taken over, at least 1: those of the whole step, or of this batch."""
        if isinstance(num_items, int | float) and not 0 <= num_items < math.inf:  # of a tensor nobody can ask without waiting for it
            raise ValueError(f"num_items are the labels of an optimizer step, 0 or more, not {num_items}")
        items = self.labelled.sum() if num_items is None else torch.as_tensor(num_items, device=self.labelled.device)
        return items.clamp_min(1)

    def cut(self, size: int, gap: int = 0) -> Cut:
        """Chunks of at most `size` rows that are needed, or lie in gaps of at most `gap` between those that are."""
        if (size, gap) not in self.cuts:
            self.cuts[size, gap] = self._cut(size, gap)
        return self.cuts[size, gap]

    def _cut(self, size: int, gap: int) -> Cut:
        places = np.flatnonzero(self.needed)
        short = np.flatnonzero(np.diff(places) <= gap + 1)
        bridges = np.zeros(len(self.needed), np.int64)
        bridges[places[short]] += 1
        bridges[places[short + 1]] -= 1
        taken = np.flatnonzero(self.needed | (bridges.cumsum() > 0))
        within = np.zeros(len(self.needed), np.int64)
        within[taken] = np.arange(len(taken)) % size
        device = self.labelled.device
        index = torch.from_numpy(taken).to(device)
        chunks = []
        for start in range(0, len(taken), size):
            some = taken[start : start + size]
            first, end = int(some[0]), int(some[-1]) + 1
            surplus = ~self.needed[some]
            chunks.append(
                Chunk(
                    slice(first, end) if end - first == len(some) else index[start : start + size],
                    len(some),
                    slice(int(self.entries[first]), int(self.entries[end])),
                    torch.from_numpy(surplus).to(device) if surplus.any() else None,
                )
            )
        edges: NDArray[np.int64] = np.concatenate([[-1], taken, [len(self.needed)]])
        spared = tuple(slice(int(edges[i]) + 1, int(edges[i + 1])) for i in np.flatnonzero(np.diff(edges) > 1))
        rows, ids = (values[self.order] for values in together(self.pairs))
        others = (rows.diff() != 0) | (ids.diff() != 0)
        groups = torch.cat([torch.zeros_like(rows[:1]), others.cumsum(0)])
        return Cut(tuple(chunks), spared, torch.from_numpy(within).to(device)[rows], ids, groups, self.order)


def read(
    loss: "DistributionLoss", labels: Tensor, input_ids: Tensor | None = None, *, shifted: bool = False, starts: Tensor | None = None
) -> Batch:
    """Check a batch and read its tokens; arguments as in `DistributionLoss.forward`.

    Raises:
        TypeError: no tensors of whole numbers.
        ValueError: shapes do not fit.
        VocabularyMismatch: ids are beyond the tokenizer's.
    """
    for name, ids in (("labels", labels), ("input_ids", input_ids)):
        if (name == "labels" or ids is not None) and (not isinstance(ids, Tensor) or ids.is_floating_point()):
            raise TypeError(f"{name} are a tensor [B, T] of ids, not {describe(ids)}")
    if labels.ndim != 2 or not labels.numel():
        raise ValueError(f"labels are [B, T] and not empty, not {describe(labels)}")
    for name, other in (("input_ids", input_ids), ("document_starts", starts)):
        if other is not None and other.shape != labels.shape:
            raise ValueError(f"{name} and labels are aligned, [B, T]; they are {tuple(other.shape)} and {tuple(labels.shape)}")
    labelled = labels != loss.ignore_index
    given = torch.where(labelled, labels, 0 if input_ids is None else input_ids).long()
    if int(given.min()) < 0 or int((given - PADDED * ~labelled).max()) >= loss.vocab_size:
        raise VocabularyMismatch(
            f"ids reach from {int(given.min())} to {int(given.max())}, the profile was compiled for a tokenizer of {loss.vocab_size} ids;"
            " compile it for the tokenizer of this model, with the tokens that were added to it, and mark what is not to be counted with"
            f" {loss.ignore_index} in the labels"
        )
    is_known = labelled if input_ids is None else given < loss.vocab_size
    tokens = given.where(is_known, UNKNOWN)
    stream = loss.reader(tokens, labelled, None if starts is None else starts.bool(), shifted=shifted)
    labelled = stream.predicted
    targets = torch.where(labelled, (labels if shifted else labels.roll(-1, 1)).flatten(), loss.ignore_index)
    pairs = loss.pairs(stream)
    rows, ids = together(pairs)
    entries = np.zeros(len(labelled) + 1, np.int64)
    entries[1:] = torch.bincount(rows, minlength=len(labelled)).cumsum(0).cpu().numpy()
    needed = labelled.cpu().numpy()
    number = next(_NUMBERS)
    ticket = torch.tensor(number, device="cpu")
    order = (rows * loss.vocab_size + ids).argsort(stable=True)
    batch = Batch(tokens.shape, loss.identity, stream, pairs, targets, labelled, order, entries, needed, {}, ticket)
    _TICKETS[number] = batch
    return batch


def logits_of(output: Any) -> Any:
    """Logits of what a model returned: itself, its `logits`, or the first of a tuple that may be; None if there are none."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple | list):  # such as (loss, logits)
        return next((part for part in output if isinstance(part, Tensor) and part.ndim == 3 and part.is_floating_point()), None)
    return output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)


def check_reader(batch: Batch, identity: Mapping[str, str]) -> None:
    """Refuse a batch that another loss has read: its n-grams and marks are numbered as that profile has them.

    Raises:
        VocabularyMismatch: it is of another profile, another tokenizer, or another loss of these.
    """
    if batch.identity != identity:
        told = difference(batch.identity, identity)
        raise VocabularyMismatch(f"this batch was read by another loss, {told}; `read` it with this one, too")


def check_rows(batch: Batch, predictions: Tensor) -> None:
    """Refuse predictions [B, T, V or H] that are not those of the batch.

    Raises:
        ValueError: the shapes do not fit.
    """
    if predictions.ndim != 3 or predictions.shape[:2] != batch.shape:
        raise ValueError(f"predictions [B, T, V or H] and labels [B, T] do not fit: {tuple(predictions.shape)} and {tuple(batch.shape)}")


def check_vocabulary(loss: "DistributionLoss", size: int) -> None:
    """Refuse predictions over fewer ids than the tokenizer has; more is a padded head.

    Raises:
        VocabularyMismatch: there are fewer.
    """
    if size < loss.vocab_size:
        raise VocabularyMismatch(
            f"the logits have {size} entries, the profile was compiled for a tokenizer of {loss.vocab_size} ids;"
            " compile it for the tokenizer of this model, or resize the model's embeddings to it"
        )


def describe(value: object) -> str:
    """What was given, for an error."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {value.dtype}"
    return "None" if value is None else f"a {type(value).__name__}"
