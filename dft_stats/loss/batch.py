"""A batch as trainers give it, checked and read: which tokens there are, and which of them are predicted and counted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dft_stats.errors import DftStatsError, VocabularyMismatch
from dft_stats.loss.reading import Stream

if TYPE_CHECKING:
    from dft_stats.loss.distribution_loss import DistributionLoss

UNKNOWN = -1


class LogitsMissing(DftStatsError, TypeError):
    """The model gave nothing that a loss could be computed from."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Row by row of the predictions [B, T, ...], flattened."""

    stream: Stream
    targets: Tensor  # int64 (rows,): the label that the row predicts, or the ignored index
    labelled: Tensor  # bool (rows,)

    def items(self, num_items: int | Tensor | None) -> Tensor:
        """Labels that a mean is taken over, at least 1: those of the whole step, or of this batch."""
        count = self.labelled.sum() if num_items is None else torch.as_tensor(num_items, device=self.labelled.device)
        return count.clamp_min(1)


def read(
    loss: "DistributionLoss", predictions: Tensor, labels: Tensor, input_ids: Tensor | None, shifted: bool, starts: Tensor | None
) -> Batch:
    """Check a batch and read its tokens; arguments as in `DistributionLoss.forward`.

    Raises:
        LogitsMissing: shapes do not fit.
        VocabularyMismatch: ids are beyond the tokenizer's.
    """
    if predictions.ndim != 3 or not isinstance(labels, Tensor) or labels.shape != predictions.shape[:2]:
        given = tuple(labels.shape) if isinstance(labels, Tensor) else describe(labels)
        raise LogitsMissing(f"predictions [B, T, V or H] and labels [B, T] do not fit: {tuple(predictions.shape)} and {given}")
    for name, other in (("input_ids", input_ids), ("document_starts", starts)):
        if other is not None and other.shape != labels.shape:
            raise LogitsMissing(f"{name} and labels are aligned, [B, T]; they are {tuple(other.shape)} and {tuple(labels.shape)}")
    labelled = labels != loss.ignore_index
    tokens = torch.where(labelled, labels, UNKNOWN if input_ids is None else input_ids).long()
    least, most = tokens.aminmax() if input_ids is not None else torch.where(labelled, tokens, 0).aminmax()
    if int(least) < 0 or int(most) >= loss.vocab_size:
        raise VocabularyMismatch(
            f"ids reach from {int(least)} to {int(most)}, the profile was compiled for a tokenizer of {loss.vocab_size} ids;"
            f" compile it for the tokenizer of this model, and mark what is not to be counted with {loss.ignore_index} in the labels"
        )
    if not shifted:
        labelled = torch.cat([torch.zeros_like(labelled[:, :1]), labelled[:, 1:]], 1)
    stream = loss.reader(tokens, labelled, starts, shifted=shifted)
    if not shifted:
        labelled, labels = (values.roll(-1, 1) for values in (labelled, labels))
    return Batch(stream, torch.where(labelled, labels, loss.ignore_index).flatten(), labelled.flatten())


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
