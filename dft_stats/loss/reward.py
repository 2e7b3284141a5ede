"""The loss as a reward, for trainers that learn from samples: how each completion moves the statistics of all towards the profile."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dft_stats.compiled import CompiledProfile
from dft_stats.document_embedding import DocumentEmbedding
from dft_stats.errors import VocabularyMismatch
from dft_stats.loss.batch import PADDED, describe
from dft_stats.loss.credit import credit, hard_count
from dft_stats.loss.distribution_loss import DistributionLoss
from dft_stats.loss.documents import Documents, text_features
from dft_stats.loss.family import Exposure, Family
from dft_stats.loss.probabilities import Pairs, without_autocast
from dft_stats.loss.reading import Stream

AGGREGATED = ("multi_objective_aggregation", "sum_then_normalize")  # the other way scales each reward by its standard deviation


class DistributionReward:
    """Rewards for completions, to be maximised; a callable as `GRPOTrainer` and `RLOOTrainer` of TRL take them.

    A score of the whole batch would be the same for each completion, and so no advantage. The reward of completion i is what its own
    counts add, `r_i = -scale * sum_f g_f (N_if - mu_f D_if)`: numerators and denominators of each rate, the rate mu and the witness g both
    of all other completions on all ranks (leave-one-out: with its own counts in g the gradient of a small batch is far off), and of the
    steps before with `decay`. In expectation its policy gradient is that of the discrepancy which `DistributionLoss` follows. It is per
    token of a mean completion, not divided by the number of completions, so that rewards do not vanish in large batches.

    With `documents` it also takes each completion as a whole: `-document_weight * shrink(z) * t_i`, where z is the squared maximum mean
    discrepancy of all others from the profile's documents in standard errors, and t_i how far completion i lies in the direction in which
    the others are off. That sees what no corpus rate can, such as sentences that are all alike within a text. It stands at the last token.

    Trainers call it in evaluation too, which then takes part in the running rates, if there are any (`decay`, `dual_rate`, `warmup_steps`,
    `every`); `reward.loss.eval()` before and `.train()` behind keeps it out. Their checkpoints have no state of rewards either:
    where there are running rates, keep `reward.loss.state_dict()` beside the model's, or a resumed run begins them anew.

    Every rank calls it in every step, since counts are summed over ranks. Completions are read from their first token on, as documents;
    special tokens, such as the end of the text, count nothing.

    Use no scaling by the standard deviation of a group (`scale_rewards="none"` in TRL), which makes rewards of noise as large as those of a
    model that is far off; no division by length (`loss_type="dr_grpo"`); and an anchor (`beta` > 0, which is 0 by default). Where the
    trainer's settings can be seen, a warning says once what is otherwise. The mean of a group, which these trainers take away, knows
    each completion's draw through the others' rewards: that makes the gradient larger by about one in as many completions as a step has.
    """

    def __init__(
        self,
        compiled: CompiledProfile,
        *,
        documents: DocumentEmbedding | None = None,
        document_weight: float = 1.0,
        scale: float = 1.0,
        decay: float = 0.0,
        dual_rate: float = 0.0,
        name: str = "",
        **options: Any,
    ) -> None:
        """A reward for one profile and one tokenizer.

        Args:
            compiled: from `Profile.compile(tokenizer)`.
            documents: of the same profile, from `Profile.embed_documents`, of about the length of the completions.
            document_weight: of what they say. Completions of fewer than three sentences get nothing from them.
            scale: factor of all rewards.
            decay: of the counts of steps before; 0: the present batch alone.
            dual_rate: as in `DistributionLoss`, 0 unless asked for: rewards that grow with the steps are for long runs with an anchor.
            name: tells several in one trainer apart: it is called `distribution_reward_<name>` and logs `dist/<name>/<term>`.
            options: of `DistributionLoss`, without those of predictions: `weights`, `discrepancies`, `dead_zone`, `clip`, `dual_limit`,
                `warmup_steps`, `every`, `exclude`.
        """
        unknown = {"temperature", "top_p", "ignore_index", "accumulation_steps", "lead"} & set(options)
        if unknown:
            raise ValueError(f"a reward sees the texts of the step itself, not predictions; it has no {', '.join(sorted(unknown))}")
        self.__name__ = f"distribution_reward_{name}" if name else "distribution_reward"  # as trainers call it in their logs
        self.scale, self.document_weight, self.name, self._advised = scale, document_weight, name, False
        self.documents = None if documents is None else Documents(documents)
        self.loss = DistributionLoss(compiled, decay=decay, lead=0.0, dual_rate=dual_rate, accumulation_steps=0, **options)

    def __call__(
        self,
        prompts: Sequence[Any] | None = None,
        completions: Sequence[Any] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        *,
        log_metric: Any = None,
        **columns: Any,
    ) -> list[float]:
        """Reward of each completion, with the arguments that TRL gives; only `completion_ids` are read.

        Args:
            prompts: not read.
            completions: not read.
            completion_ids: token ids of each completion, without padding.
            log_metric: called with a name (`dist/<term>`, or `dist/<name>/<term>`) and the mean z squared of this step's completions.
            columns: of the data set, not read.

        Raises:
            TypeError: there are no `completion_ids`, or they are no whole numbers.
            VocabularyMismatch: ids are beyond the tokenizer's.
        """
        if completion_ids is None:
            raise TypeError("DistributionReward needs `completion_ids`, the token ids of each completion; TRL has given them since 0.16")
        rewards, components = self.token_rewards(completion_ids)
        if log_metric is not None:
            self._advise(getattr(getattr(log_metric, "__self__", None), "args", None))
            for metric, value in components.items():
                log_metric(metric.replace("dist/", f"dist/{self.name}/") if self.name else metric, value)
        return [float(row.sum()) for row in rewards]

    def _advise(self, settings: Any) -> None:
        """Warn once of settings of a trainer of TRL that these rewards are not made for, as far as they can be seen."""
        unlike = [
            f"{name} is {getattr(settings, name)!r} and should be {value!r}"
            for name, value in (("scale_rewards", "none"), ("normalize_advantages", False), ("reward_clip_range", None), AGGREGATED)
            if getattr(settings, name, value) != value
        ]
        kind = getattr(settings, "loss_type", None)
        if kind in ("grpo", "sapo"):
            unlike.append(f"loss_type is {kind!r}, which divides by each completion's length, and should be 'dr_grpo'")
        if unlike and not self._advised:
            warnings.warn(
                f"the trainer's rewards are not followed as they are: {'; '.join(unlike)}. Scaled, rewards of noise are as large as those"
                " of a model that is far off",
                stacklevel=3,
            )
        self._advised = True

    @torch.no_grad()
    def token_rewards(self, completion_ids: Sequence[Sequence[int]]) -> tuple[list[Tensor], dict[str, float]]:
        """Reward of each token of each completion, float32 (tokens,), which sum to the completion's; and the components of the loss."""
        rows, whole, components = self.rewards(completion_ids)
        for row, value in zip(rows, whole, strict=True):
            row[-1:] += value
        return rows, components

    @torch.no_grad()
    def rewards(self, completion_ids: Sequence[Sequence[int]]) -> tuple[list[Tensor], Tensor, dict[str, float]]:
        """Rewards of tokens, (tokens,) for each completion, and beside them those of completions as wholes, (completions,)."""
        with without_autocast(self.loss.words):
            return self._rewards(completion_ids)

    def _rewards(self, completion_ids: Sequence[Sequence[int]]) -> tuple[list[Tensor], Tensor, dict[str, float]]:
        _move_to_ranks(self.loss)
        device = self.loss.words.device
        texts = [torch.as_tensor(ids, device=device) for ids in completion_ids]
        for text in texts:
            if text.ndim != 1 or (len(text) and text.is_floating_point()):
                raise TypeError(f"completion_ids are lists of token ids, one for each completion, not {describe(text)}")
        texts = [text.long() for text in texts]
        ends = [text.aminmax() for text in texts if len(text)]
        lowest, highest = min((int(least) for least, _ in ends), default=0), max((int(most) for _, most in ends), default=0)
        special = self.loss.reader.special.nonzero()
        if lowest < 0 or highest >= self.loss.vocab_size + PADDED * len(special[:1]):
            raise VocabularyMismatch(
                f"completions have ids from {lowest} to {highest}, the profile was compiled for a tokenizer of {self.loss.vocab_size} ids;"
                " compile it for the tokenizer of this model"
            )
        places = [i for i, text in enumerate(texts) if len(text)]
        texts = [texts[i] for i in places]
        if highest >= self.loss.vocab_size:  # drawn from a padded head, which has nothing to say there
            texts = [torch.where(text < self.loss.vocab_size, text, special[0]) for text in texts]
        streams = [self.loss.reader(text[None], torch.ones_like(text[None], dtype=torch.bool)) for text in texts]
        pairs = [self.loss.pairs(stream) for stream in streams]
        own = [_sums(self.loss, stream, text, found) for stream, text, found in zip(streams, texts, pairs, strict=True)]
        totals = {name: family.target.new_zeros(2, len(family.target)) for name, family in self.loss.families().items()}
        amounts = torch.tensor([0, 0, len(completion_ids)], device=device, dtype=torch.float32)  # words, tokens, completions
        for sums in own:
            amounts[:2] += sums.amounts
            for name, total in totals.items():
                total += sums.counts[name]
        if self.loss.training:
            self.loss.pend({name: (total[0], total[1]) for name, total in totals.items()}, amounts[0])  # its step sums over ranks
        _reduce([*totals.values(), amounts])
        per_completion = (amounts[1] / amounts[2].clamp_min(1)).clamp_min(1)

        rewards = {}
        for i, stream, text, found, sums in zip(places, streams, texts, pairs, own, strict=True):
            others = {name: total - sums.counts[name] for name, total in totals.items()}
            witnesses, rates = self._witnesses(others, amounts[0] - sums.amounts[0])
            gains, chances = credit(self.loss, witnesses, stream, text, found, per_completion, rates)
            rewards[i] = self.scale * (chances - gains)
        components = self._components(totals, amounts[0])
        whole = torch.zeros(len(completion_ids), device=device, dtype=torch.float32)
        if self.documents is not None:
            found_whole, components["dist/documents"] = self._of_documents(self.documents.to(device), streams, texts, own)
            whole[places] = self.scale * found_whole
        if self.loss.training:
            self.loss.step()
        nothing = whole.new_zeros(0)
        return [rewards.get(i, nothing) for i in range(len(completion_ids))], whole, components

    def _of_documents(
        self, documents: Documents, streams: Sequence[Stream], texts: Sequence[Tensor], own: Sequence["_Sums"]
    ) -> tuple[Tensor, float]:
        """Reward of each text as a whole, (texts,), and z squared of all."""
        special = self.loss.reader.special
        rows = [
            text_features(stream, sums.counts["marks"][0], closed=bool(special[text[-1]]))
            for stream, text, sums in zip(streams, texts, own, strict=True)
        ]
        known = torch.tensor([row is not None for row in rows], dtype=torch.bool, device=special.device)
        values = torch.tensor([row or [0.0] * len(documents.mean) for row in rows], device=special.device, dtype=torch.float32)
        values = values.reshape(len(rows), len(documents.mean))
        centred = documents.centred(values) * known[:, None]
        norms, one = centred.square().sum(1), known.to(centred.dtype)
        total, squares, number = centred.sum(0), norms.sum(), one.sum()
        _reduce([total, squares, number])
        others = total - centred, squares - norms, number - one
        pull = self.loss.control.strength(self.loss.commits) * self.loss.control.shrink(documents.z(*others)).clamp_min(0) * one
        return -self.document_weight * pull * documents.typicality(others[0], centred), float(documents.z(total, squares, number).square())

    def _sums_so_far(self, family: Family, counts: Tensor) -> tuple[Tensor, Tensor]:
        numerator, denominator = counts
        return self.loss.decay * family.numerator + numerator, self.loss.decay * family.denominator + denominator

    def _exposure(self, words: Tensor) -> Exposure:
        exposed = self.loss.decay * self.loss.words + words
        squared = self.loss.decay**2 * self.loss.words_squared + words
        return Exposure(exposed, exposed.square() / squared.clamp_min(1))

    def _witnesses(self, counts: Mapping[str, Tensor], words: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Witnesses by family, and the rates that counts are compared with."""
        witnesses: dict[str, Tensor] = {}
        rates: dict[str, Tensor] = {}
        strength, exposure = self.loss.control.strength(self.loss.commits), self._exposure(words)
        scale = exposure.scale
        for term, weight in self.loss.weights.items():
            for name in self.loss.terms[term].families:
                family = self.loss.families()[name]
                sums = self._sums_so_far(family, counts[name])
                rates[name] = family.rate(*sums)
                pull = strength * (self.loss.pull(name, family.z(*sums, exposure) * scale, rates[name]) + family.dual)
                if weight:
                    witnesses[name] = weight * family.witness(pull)
        return witnesses, rates

    def _components(self, counts: Mapping[str, Tensor], words: Tensor) -> dict[str, float]:
        found: dict[str, float] = {}
        exposure = self._exposure(words)
        for term in self.loss.weights:
            squares = []
            for name in self.loss.terms[term].families:
                family = self.loss.families()[name]
                z = family.z(*self._sums_so_far(family, counts[name]), exposure)
                squares.append(float(z.square().sum() / family.tracked.sum().clamp_min(1)))
            found[f"dist/{term}"] = sum(squares) / len(squares)
        return found


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of one completion."""

    counts: Mapping[str, Tensor]  # family -> numerators and denominators, (2, features)
    amounts: Tensor  # words and tokens, (2,)


def _sums(loss: DistributionLoss, stream: Stream, text: Tensor, pairs: Mapping[str, Pairs]) -> _Sums:
    counts = {name: torch.stack([n, d]).float() for name, (n, d) in hard_count(loss, stream, text, pairs).items()}
    return _Sums(counts, torch.stack([stream.words, stream.counted.sum()]).float())


def _move_to_ranks(loss: DistributionLoss) -> None:
    """To the GPU of this rank, if ranks can only add up there (NCCL). No trainer moves a reward."""
    if not (loss.words.is_cpu and dist.is_available() and dist.is_initialized() and torch.cuda.is_available()):
        return
    loss.to(torch.device("cuda", torch.cuda.current_device()))


def _reduce(tensors: Iterable[Tensor]) -> None:
    """Sum over ranks, in place."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return
    for tensor in tensors:
        dist.all_reduce(tensor)
