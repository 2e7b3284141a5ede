"""The loss from hidden states and the head that makes logits of them, a few rows at a time: the logits never exist as a whole.

Every term is linear in the probabilities and its witness is known before the batch is seen (it is made of the steps before), so what each
probability weighs is known too, and value and gradient come out of one pass, as in Liger's fused linear cross entropy (Hsu et al. 2024)
and Cut Cross-Entropy (Wijmans et al. 2024). The exceptions are the first optimizer step and losses in evaluation mode, whose witness is
made of the batch itself: they take one pass more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dft_stats.errors import NotFinite
from dft_stats.loss.batch import Batch, LogitsMissing, check_vocabulary, describe
from dft_stats.loss.credit import slopes
from dft_stats.loss.probabilities import Kinds, Pairs, Sums, without_autocast

if TYPE_CHECKING:
    from dft_stats.loss.distribution_loss import DistributionLoss

CHUNK = 2**25  # logits at once
LEAST = 1e-30  # probability of a label whose logarithm is still exact in float32


def through_head(
    loss: "DistributionLoss",
    hidden_states: Tensor,
    head: nn.Module,
    labels: Tensor,
    *,
    weight: float = 1.0,
    cross_entropy: float = 0.0,
    input_ids: Tensor | None = None,
    shifted: bool = False,
    num_items: int | Tensor | None = None,
    document_starts: Tensor | None = None,
    chunk_size: int | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """`cross_entropy` times the cross-entropy of the labels plus `weight` times the loss.

    Gradients are computed in the forward pass and kept, for `hidden_states` and for the head's parameters, in float32. Rows that are
    neither counted nor labelled never meet the head.

    Args:
        loss: for the profile, compiled for the model's tokenizer.
        hidden_states: [B, T, H], the input of the head.
        head: [N, H] -> [N, V]; a linear layer with or without bias or LoRA, tied or not.
        labels: int64 [B, T], as in `DistributionLoss.forward`.
        weight: of the loss.
        cross_entropy: of the cross-entropy, which is the sum over labels divided by `num_items`. With 0 it is not computed.
        input_ids: as in `DistributionLoss.forward`.
        shifted: as there: `hidden_states[:, t]` predict `labels[:, t]`.
        num_items: as there.
        document_starts: as there.
        chunk_size: rows whose logits exist at once; None: some 32 million logits.
        softcap: logits are `softcap * tanh(logits / softcap)`, as in Gemma 2.
        logit_scale: logits are multiplied by it before, as in Cohere and Granite (there 1 / `logits_scaling`).

    Returns:
        A scalar, and `{"dist/<term>": ..., "dist/loss": ...}` as `DistributionLoss.forward` returns; and, if it is computed,
        "dist/cross_entropy", before `cross_entropy` times it.

    Raises:
        LogitsMissing: no hidden states, or shapes that do not fit.
        VocabularyMismatch: the head or the ids do not fit the tokenizer that the profile was compiled for.
        NotFinite: NaN or infinite logits.
        ValueError: `chunk_size`, `softcap` or `logit_scale` cannot be, or the head is sharded.
    """
    if not isinstance(hidden_states, Tensor) or not hidden_states.numel() or not hidden_states.is_floating_point():
        raise LogitsMissing(f"through_head needs the hidden states that the head reads, [B, T, H], not {describe(hidden_states)}")
    if (chunk_size is not None and chunk_size < 1) or (softcap is not None and not softcap > 0) or not logit_scale > 0:
        raise ValueError(f"chunk_size, softcap and logit_scale are more than 0, not {chunk_size}, {softcap} and {logit_scale}")
    if any(type(parameter).__name__ == "DTensor" for parameter in head.parameters()):
        raise ValueError(
            "the head's parameters are sharded (FSDP2 or tensor parallelism), and its gradients cannot be taken outside the model's own"
            " forward; give the logits to the loss, or leave the head out of the sharding"
        )
    batch = loss.read(hidden_states, labels, input_ids=input_ids, shifted=shifted, document_starts=document_starts)
    made = Head(head, softcap, logit_scale)
    return evaluate(
        loss, hidden_states, made, batch, weight=weight, cross_entropy=cross_entropy, num_items=num_items, chunk_size=chunk_size
    )


def evaluate(
    loss: "DistributionLoss",
    hidden_states: Tensor,
    head: "Head",
    batch: Batch,
    *,
    weight: float,
    cross_entropy: float,
    num_items: int | Tensor | None,
    chunk_size: int | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """As `through_head`, of a batch that was read. With a head that changes nothing the hidden states are logits."""
    pairs = loss.pairs(batch.stream)
    rows = _Rows(loss, hidden_states, head, batch, pairs, chunk_size or max(16, min(1024, CHUNK // loss.vocab_size)))
    learns, tokens = loss.learns, batch.items(num_items)

    known = None
    if not (learns and loss.steady):
        with torch.no_grad():
            known = loss.count(loss.kinds.arrange(rows.sums(), batch.stream, pairs), batch.stream)
            loss.observe(known, batch.stream, learns)
    witnesses, components = loss.witnesses(known, batch.stream, learns)
    if known is not None and not torch.is_grad_enabled() and not cross_entropy:
        value = loss.value(witnesses, known, tokens)
        return weight * value, {**components, "dist/loss": value}

    rates = slopes(loss, witnesses, batch.stream, pairs, tokens, rows.empty())
    sums, nll = rows.backward(rates, weight, cross_entropy / tokens if cross_entropy else None)
    with torch.no_grad():
        counts = known or loss.count(loss.kinds.arrange(sums, batch.stream, pairs), batch.stream)
        if known is None:
            loss.observe(counts, batch.stream, learns)
        value = loss.value(witnesses, counts, tokens)
        total = weight * value
        components["dist/loss"] = value
        if cross_entropy:
            components["dist/cross_entropy"] = nll / tokens
            total = total + cross_entropy * components["dist/cross_entropy"]
            if not bool(torch.isfinite(total)):
                raise NotFinite("the cross-entropy is NaN or infinite; check the learning rate and the precision of the step before")
    loss.close(learns)
    if rows.gradients:
        total = _Known.apply(total, list(rows.gradients.values()), *rows.gradients)  # type: ignore[no-untyped-call]
    return total, components


@dataclass(frozen=True, slots=True)
class Head:
    """How logits are made of hidden states."""

    module: nn.Module
    softcap: float | None
    scale: float

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits [N, V] of hidden states [N, H]."""
        logits: Tensor = self.module(hidden)
        if self.scale != 1:
            logits = logits * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


class _Rows:
    """The rows of a batch that matter, chunk by chunk; and the gradients that they leave behind."""

    def __init__(
        self, loss: "DistributionLoss", hidden: Tensor, head: Head, batch: Batch, pairs: Mapping[str, Pairs], chunk_size: int
    ) -> None:
        self.loss, self.hidden, self.head, self.batch = loss, hidden.flatten(0, 1), head, batch
        self.dtype = torch.promote_types(hidden.dtype, torch.float32)
        self.classes, self.membership = loss.kinds.classes.to(self.dtype), loss.kinds.membership.to(self.dtype)
        counted = batch.stream.counted
        self.index = (counted | batch.labelled).nonzero()[:, 0]
        self.chunks = self.index.split(chunk_size) if len(self.index) else ()
        # Single entries in the order of their rows, so that those of a chunk lie together.
        rows, self.ids = (torch.cat([pairs[name][i] for name in pairs]) for i in (0, 1))
        self.order = rows.argsort(stable=True)
        place = torch.full((len(counted),), -1, device=rows.device)
        place[self.index] = torch.arange(len(self.index), device=rows.device)
        self.place, self.ids = place[rows[self.order]], self.ids[self.order]
        bounds = torch.arange(0, len(self.index) + chunk_size, chunk_size, device=rows.device)
        self.bounds: list[int] = torch.searchsorted(self.place, bounds).tolist()
        self.chunk_size = chunk_size
        self.given = hidden
        self.buffers: dict[str, Tensor] = {}  # of the size of a chunk's logits, for all chunks: fresh pages are dear
        # What gets a gradient -> its sum over chunks. Parameters that several chunks add to are summed in float32.
        self.gradients: dict[Tensor, Tensor] = {}

    def _each(self) -> Iterator[tuple[Tensor, slice]]:
        """Rows of a chunk and where its single entries lie."""
        for i, rows in enumerate(self.chunks):
            yield rows, slice(self.bounds[i], self.bounds[i + 1])

    def empty(self) -> Sums:
        """Sums of nothing: zeros of the right shapes."""
        kinds, rows = self.loss.kinds, len(self.hidden)
        zeros = torch.zeros(kinds.classes.shape[0], device=self.hidden.device, dtype=self.dtype)
        return (
            zeros,
            zeros.new_zeros(rows, kinds.classes.shape[1]),
            zeros.new_zeros(rows, kinds.membership.shape[1]),
            zeros.new_zeros(len(self.order)),
        )

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.head(hidden)
        check_vocabulary(self.loss, logits.shape[-1])
        return logits

    def sums(self) -> Sums:
        """Sums of the probabilities, without gradient."""
        found = self.empty()
        for rows, part in self._each():
            p = self._probabilities(self._logits(self.hidden[rows]).to(self.dtype))
            self._add(found, p, rows, part, self.classes)
        return found

    def _probabilities(self, logits: Tensor) -> Tensor:
        sampler = self.loss.sampler
        return torch.softmax(logits, -1, out=self._buffer("p", logits)) if sampler.is_plain else sampler.probabilities(logits)

    def _buffer(self, name: str, like: Tensor) -> Tensor:
        if name not in self.buffers:
            self.buffers[name] = torch.empty_like(like, memory_format=torch.contiguous_format)
        return self.buffers[name][: len(like)]

    def _add(self, sums: Sums, p: Tensor, rows: Tensor, part: slice, columns: Tensor) -> Tensor:
        """Add a chunk to the sums; `columns` (vocab, classes or more) are the classes, and what else rows are to be multiplied by."""
        kinds: Kinds = self.loss.kinds
        tokens, by_class, by_kind, single = sums
        with without_autocast(p):
            text = p[:, : len(columns)]
            tokens += self.batch.stream.counted[rows].to(p.dtype) @ text
            products = text @ columns
            by_class[rows] = products[:, : by_class.shape[1]]
            by_kind[rows] = text.index_select(1, kinds.ids) @ self.membership
            single[self.order[part]] = p.reshape(-1)[self._places(part, p)]
        return products[:, by_class.shape[1] :]

    def _places(self, part: slice, p: Tensor) -> Tensor:
        """Of single entries in the flattened chunk."""
        return self.place[part] % self.chunk_size * p.shape[1] + self.ids[part]

    def backward(self, rates: Sums, weight: float, per_label: Tensor | None) -> tuple[Sums, Tensor]:
        """Sums of the probabilities, and the summed negative log likelihood of the labels; leaves the gradients of the total behind.

        Args:
            rates: what the value changes by with each of the sums.
            weight: of the value.
            per_label: weight of a label's negative log likelihood, or None.
        """
        found = self.empty()
        grads = torch.is_grad_enabled()
        parameters = [p for p in self.head.module.parameters() if p.requires_grad] if grads else []
        into_hidden = grads and self.given.requires_grad
        if into_hidden:
            self.gradients[self.given] = torch.zeros_like(self.given)
        self.gradients.update((p, torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32))) for p in parameters)
        total = _Total(rates, torch.cat([self.classes, rates[0][:, None]], 1), weight / self.loss.sampler.temperature, per_label)
        likelihoods = [self.hidden.new_zeros(0, dtype=self.dtype)]
        for rows, part in self._each():
            hidden = self.hidden.detach()[rows].requires_grad_(into_hidden)
            with torch.set_grad_enabled(bool(self.gradients)):
                logits = self._logits(hidden)
            with torch.no_grad():
                slope, p_label = self._chunk(logits.detach().to(self.dtype), total, rows, part, found)
                likelihoods.append(p_label)
            if self.gradients:
                inputs = [hidden, *parameters] if into_hidden else parameters
                made = torch.autograd.grad(logits, inputs, slope.to(logits.dtype), allow_unused=True)
                if into_hidden:
                    self.gradients[self.given].view_as(self.hidden)[rows] = made[0].to(self.given.dtype)
                for parameter, gradient in zip(parameters, made[into_hidden:], strict=True):
                    if gradient is not None:
                        self.gradients[parameter] += gradient
        return found, self._lost(torch.cat(likelihoods))

    @torch.no_grad()
    def _lost(self, likelihoods: Tensor) -> Tensor:
        """Negative log likelihood of the labels, summed. Labels whose probability has vanished meet the head once more."""
        if not len(likelihoods):
            return likelihoods.sum()
        labelled = self.batch.labelled[self.index]
        vanished = labelled & ~(likelihoods > LEAST)
        total = -likelihoods.log().where(labelled & ~vanished, 0).sum()
        for rows in self.index[vanished].split(self.chunk_size):
            logits = self._logits(self.hidden[rows]).to(self.dtype)
            total += (logits.logsumexp(-1) - logits.gather(1, self.batch.targets[rows, None])[:, 0]).sum()
        return total

    def _chunk(self, logits: Tensor, total: "_Total", rows: Tensor, part: slice, sums: Sums) -> tuple[Tensor, Tensor]:
        """Gradient of the total with respect to the logits of a chunk, and the probability of each label; fills in `sums`."""
        p = self._probabilities(logits)
        by_tokens = self._add(sums, p, rows, part, total.columns)[:, 0]
        labelled = self.batch.labelled[rows]
        told = self.batch.targets[rows].where(labelled, 0)[:, None]
        if total.per_label is None:
            return self._slope(p, total, rows, part, sums, by_tokens).mul_(p), p.new_zeros(0)
        each = (total.per_label * labelled).to(p.dtype)
        if self.loss.sampler.is_plain:
            slope = self._slope(p, total, rows, part, sums, by_tokens, each).mul_(p)
        else:
            slope = self._slope(p, total, rows, part, sums, by_tokens).mul_(p)
            p = torch.softmax(logits, -1, out=self._buffer("p", logits))
            slope.addcmul_(p, each[:, None])
        slope.scatter_add_(1, told, -each[:, None])
        return slope, p.gather(1, told)[:, 0]

    def _slope(
        self, p: Tensor, total: "_Total", rows: Tensor, part: slice, sums: Sums, by_tokens: Tensor, plus: Tensor | float = 0.0
    ) -> Tensor:
        """What the total changes by with each logit, divided by its probability: w (G - sum(p G)) + `plus`, with the weight G of each."""
        kinds: Kinds = self.loss.kinds
        tokens, by_class, by_kind, single = total.rates
        counted = self.batch.stream.counted[rows].to(p.dtype)
        places, weights = self._places(part, p), single[self.order[part]]
        mean = counted * by_tokens + (sums[1][rows] * by_class[rows]).sum(1) + (sums[2][rows] * by_kind[rows]).sum(1)
        mean.index_add_(0, self.place[part] % self.chunk_size, p.reshape(-1)[places] * weights)
        left = torch.cat([torch.cat([counted[:, None], by_class[rows]], 1) * total.weight, (plus - total.weight * mean)[:, None]], 1)
        if "right" not in self.buffers:
            right = self.buffers["right"] = p.new_zeros(left.shape[1], p.shape[1])
            right[0, : len(tokens)], right[1:-1, : len(tokens)], right[-1] = tokens, self.classes.T, 1
        with without_autocast(p):
            slope = torch.mm(left, self.buffers["right"], out=self._buffer("slope", p))
            slope.index_add_(1, kinds.ids, (total.weight * by_kind[rows]) @ self.membership.T)
        slope.view(-1).index_add_(0, places, total.weight * weights)
        return slope


@dataclass(frozen=True, slots=True)
class _Total:
    """What the total is made of."""

    rates: Sums  # what the value changes by with each of the sums
    columns: Tensor  # (vocab, classes + 1): the classes, and the first of the rates
    weight: float  # of the value, by temperature
    per_label: Tensor | None  # weight of a label's negative log likelihood


class _Known(torch.autograd.Function):
    """A value whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(gradient * upstream[0] for gradient in ctx.gradients)
