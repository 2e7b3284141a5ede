"""Expected counts straight from all probabilities, by autograd's own operations: what the one pass is to find without them."""

from torch import Tensor
from torch.nn.functional import one_hot

from dft_stats.loss import DistributionLoss
from dft_stats.loss.probabilities import together
from dft_stats.loss.reading import Stream
from dft_stats.loss.term import SoftCounts


def soft_count(loss: DistributionLoss, probabilities: Tensor, stream: Stream) -> SoftCounts:
    """Of all families, from probabilities [B, T, V]: (numerator, denominator) by name of family."""
    p, kinds, pairs = probabilities.flatten(0, 1), loss.kinds, loss.pairs(stream)
    membership = one_hot(kinds.kind_of, len(kinds.end)).to(p.dtype)
    sums = stream.predicted.to(p.dtype) @ p, p @ kinds.classes.T.to(p.dtype), p[:, kinds.ids] @ membership, p[together(pairs)]
    return loss.count(kinds.arrange(sums, stream, pairs), stream)
