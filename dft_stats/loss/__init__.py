"""The loss: a profile, compiled for a tokenizer, pulls a language model's own output distribution towards human writing.

No relation to Dynamic Fine-Tuning (arXiv 2508.05629), whose loss is called "dft" elsewhere.
"""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("dft_stats.loss needs PyTorch: pip install 'dft-stats[torch]'") from error

from dft_stats.loss.batch import Batch, LogitsMissing
from dft_stats.loss.distribution_loss import DistributionLoss
from dft_stats.loss.domains import DomainLosses
from dft_stats.loss.on_policy import on_policy
from dft_stats.loss.returns import to_go
from dft_stats.loss.reward import DistributionReward
from dft_stats.loss.sampler import Sampler
from dft_stats.loss.term import TERMS
from dft_stats.loss.through_head import through_head

__all__ = [
    "TERMS",
    "Batch",
    "DistributionLoss",
    "DistributionReward",
    "DomainLosses",
    "LogitsMissing",
    "Sampler",
    "on_policy",
    "through_head",
    "to_go",
]
