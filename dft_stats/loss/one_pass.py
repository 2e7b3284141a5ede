"""The one pass over the rows of a batch: sums of the probabilities, and the gradient of a total that is linear in them, chunk by chunk."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dft_stats.loss import fused
from dft_stats.loss.batch import GAP, Batch, Chunk, check_vocabulary
from dft_stats.loss.probabilities import Kinds, Sums, without_autocast

if TYPE_CHECKING:
    from dft_stats.loss.distribution_loss import DistributionLoss

LEAST = 1e-30  # probability whose logarithm is still exact in float32


@dataclass(frozen=True, slots=True)
class Head:
    """How logits are made of hidden states."""

    module: nn.Module
    softcap: float | None
    scale: float

    @property
    def changes_nothing(self) -> bool:
        """Whether what it is given are logits."""
        return isinstance(self.module, nn.Identity) and self.softcap is None and self.scale == 1

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits [N, V] of hidden states [N, H]."""
        logits: Tensor = self.module(hidden)
        if self.scale != 1:
            logits = logits * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


class OnePass:
    """The rows of a batch that matter, chunk by chunk; and the gradients that they leave behind."""

    def __init__(self, loss: "DistributionLoss", hidden: Tensor, head: Head, batch: Batch, chunk_size: int) -> None:
        self.loss, self.given, self.hidden, self.head, self.batch = loss, hidden, hidden.detach().flatten(0, 1), head, batch
        self.dtype = torch.promote_types(hidden.dtype, torch.float32)
        # Copies of logits are dear, so a few rows more are read. With a head, what nobody needs may be NaN and never meets it.
        self.cut = batch.cut(chunk_size, GAP if head.changes_nothing else 0)
        # The logits of a linear layer are needed neither by its own backward nor by anybody else.
        self.disposable = _is_plain(head.module) and head.softcap is None and loss.sampler.is_plain
        self.buffers: dict[str, Tensor] = {}  # of the size of a chunk's logits, for all chunks: fresh pages are dear
        # What gets a gradient -> its sum over chunks. Parameters that several chunks add to are summed in float32.
        self.gradients: dict[Tensor, Tensor] = {}

    def empty(self) -> Sums:
        """Sums of nothing: zeros of the right shapes."""
        kinds, rows = self.loss.kinds, len(self.hidden)
        zeros = torch.zeros(kinds.classes.shape[1], device=self.hidden.device, dtype=self.dtype)
        return (
            zeros,
            zeros.new_zeros(rows, len(kinds.classes)),
            zeros.new_zeros(rows, len(kinds.end)),
            zeros.new_zeros(len(self.cut.order)),
        )

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.head(hidden)
        check_vocabulary(self.loss, logits.shape[-1])
        return logits

    def sums(self) -> Sums:
        """Sums of the probabilities, without gradient."""
        found, classes = self.empty(), self.loss.kinds.classes.to(self.dtype)
        for chunk in self.cut.chunks:
            p = self._probabilities(self._logits(self.hidden[chunk.where]).to(self.dtype), chunk)
            self._add(found, p, chunk, classes)
        return found

    def _probabilities(self, logits: Tensor, chunk: Chunk) -> Tensor:
        """Under the sampler, zero in rows that nobody needs."""
        sampler = self.loss.sampler
        return self._softmax(logits, chunk) if sampler.is_plain else _without_surplus(sampler.probabilities(logits), chunk)

    def _softmax(self, logits: Tensor, chunk: Chunk) -> Tensor:
        """Under no sampler, likewise."""
        return _without_surplus(torch.softmax(logits, -1, out=self._buffer("p", logits)), chunk)

    def _buffer(self, name: str, like: Tensor) -> Tensor:
        if name not in self.buffers:
            self.buffers[name] = torch.empty_like(like, memory_format=torch.contiguous_format)
        return self.buffers[name][: len(like)]

    def _add(self, sums: Sums, p: Tensor, chunk: Chunk, factors: Tensor) -> Tensor:
        """Add a chunk to the sums; `factors` (classes or more, vocab) are the classes, and what else rows are to be multiplied by."""
        kinds: Kinds = self.loss.kinds
        tokens, by_class, by_kind, single = sums
        with without_autocast(p):
            tokens += self.batch.stream.predicted[chunk.where].to(p.dtype) @ p[:, : len(tokens)]
            products = (factors @ p[:, : factors.shape[1]].T).T  # the other way round takes a CPU half as long again
            by_class[chunk.where] = products[:, : by_class.shape[1]]
            by_kind[chunk.where] = kinds.by_kind(p.gather(1, kinds.ids.expand(len(p), -1)))
            single[self.cut.order[chunk.pairs]] = p.reshape(-1)[self._places(chunk, p)]
        return products[:, by_class.shape[1] :]

    def _factors(self, p: Tensor, tokens: Tensor) -> Tensor:
        """What rows of probabilities are multiplied by, (classes + 2, entries): the classes, what each token weighs, ones."""
        if "factors" not in self.buffers:
            classes = self.loss.kinds.classes
            factors = self.buffers["factors"] = p.new_zeros(len(classes) + 2, p.shape[1])
            factors[:-2, : len(tokens)], factors[-2, : len(tokens)], factors[-1] = classes, tokens, 1
        return self.buffers["factors"]

    def _places(self, chunk: Chunk, p: Tensor) -> Tensor:
        """Of single entries in the flattened chunk."""
        return self.cut.rows[chunk.pairs] * p.shape[1] + self.cut.ids[chunk.pairs]

    def backward(self, rates: Sums, weight: float, per_label: Tensor | None) -> tuple[Sums, Tensor]:
        """Sums of the probabilities, and the summed negative log likelihood of the labels; leaves the gradients of the total behind.

        Args:
            rates: what the value changes by with each of the sums.
            weight: of the value.
            per_label: weight of a label's negative log likelihood, or None.
        """
        found, nll = self.empty(), self.hidden.new_zeros((), dtype=self.dtype)
        grads = torch.is_grad_enabled()
        parameters = [p for p in self.head.module.parameters() if p.requires_grad] if grads else []
        into_hidden = self._for_hidden() if grads and self.given.requires_grad else None
        self.gradients.update((p, torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32))) for p in parameters)
        total = Total(rates, weight / self.loss.sampler.temperature, per_label)
        for chunk in self.cut.chunks:
            hidden = self.hidden[chunk.where]
            if self.head.changes_nothing:
                nll += self._chunk(self._logits(hidden), total, chunk, found, into_hidden)[1]
                continue
            with torch.set_grad_enabled(bool(self.gradients)):
                logits = self._logits(hidden.requires_grad_(into_hidden is not None))
            slope, lost = self._chunk(logits.detach(), total, chunk, found)
            nll += lost
            if self.gradients:
                inputs = parameters if into_hidden is None else [hidden, *parameters]
                scale = _scale(slope) if logits.dtype == torch.float16 else None
                slope = slope if scale is None else slope.mul_(scale)
                made = torch.autograd.grad(logits, inputs, slope.to(logits.dtype), allow_unused=True)
                if into_hidden is not None:
                    into_hidden[chunk.where] = made[0].to(into_hidden.dtype) if scale is None else made[0].to(into_hidden.dtype) / scale
                for parameter, gradient in zip(parameters, made[-len(parameters) :] if parameters else (), strict=True):
                    if gradient is not None:
                        self.gradients[parameter] += gradient if scale is None else gradient.to(self.dtype) / scale
        return found, nll

    def _for_hidden(self) -> Tensor:
        """Room for the gradient of the hidden states, (rows, H); zero in the rows that no chunk fills.

        Of float16 it is float32 until it is multiplied by what comes from above: a `GradScaler` scales there, where all is too late.
        """
        dtype = torch.float32 if self.given.dtype == torch.float16 else self.given.dtype
        self.gradients[self.given] = gradient = torch.empty_like(self.given, dtype=dtype, memory_format=torch.contiguous_format)
        rows = gradient.view_as(self.hidden)
        for spared in self.cut.spared:
            rows[spared].zero_()
        return rows

    @torch.no_grad()
    def _chunk(
        self, logits: Tensor, total: "Total", chunk: Chunk, sums: Sums, gradients: Tensor | None = None
    ) -> tuple[Tensor, Tensor | float]:
        """Gradient of the total with respect to the logits of a chunk, and the summed negative log likelihood; fills in `sums`.

        Args:
            logits: of the chunk.
            total: what the gradient is of.
            chunk: the rows.
            sums: of the probabilities, of all rows.
            gradients: of all rows, to be filled in.
        """
        if fused.usable(logits, self.loss.sampler):
            return self._fused(logits, total, chunk, sums, gradients)
        logits = logits.to(self.dtype)
        p = self._probabilities(logits, chunk)
        by_tokens = self._add(sums, p, chunk, self._factors(p, total.rates[0])[:-1])[:, 0]
        direct = gradients is not None and isinstance(chunk.where, slice) and gradients.dtype == self.dtype
        if gradients is not None and direct:
            room = gradients[chunk.where]
        else:
            room = logits if self.disposable and logits.dtype == p.dtype else self._buffer("slope", p)
        labelled = self.batch.labelled[chunk.where]
        told = self.batch.targets[chunk.where].where(labelled, 0)[:, None]
        nll: Tensor | float = 0.0
        if total.per_label is None:
            slope = self._slope(p, total, chunk, sums, by_tokens, room).mul_(p)
        else:
            each = (total.per_label * labelled).to(p.dtype)
            if self.loss.sampler.is_plain:
                nll = _lost(p, logits, told, labelled)
                slope = self._slope(p, total, chunk, sums, by_tokens, room, each).mul_(p)
            else:
                slope = self._slope(p, total, chunk, sums, by_tokens, room).mul_(p)
                p = self._softmax(logits, chunk)
                slope.addcmul_(p, each[:, None])
                nll = _lost(p, logits, told, labelled)
            slope.scatter_add_(1, told, -each[:, None])
        if gradients is not None and not direct:
            gradients[chunk.where] = slope.to(gradients.dtype)
        return slope, nll

    def _fused(self, logits: Tensor, total: "Total", chunk: Chunk, sums: Sums, gradients: Tensor | None) -> tuple[Tensor, Tensor | float]:
        """As `_chunk`, in two passes."""
        kinds: Kinds = self.loss.kinds
        where, rows, ids = chunk.where, self.cut.rows[chunk.pairs], self.cut.ids[chunk.pairs]
        rates, order, groups = total.rates[0], self.cut.order[chunk.pairs], self.cut.groups[chunk.pairs]
        by_class, by_kind, weights = total.rates[1][where], total.rates[2][where], total.rates[3][order]
        predicted, labelled = self.batch.stream.predicted[where].float(), self.batch.labelled[where]
        told = self.batch.targets[where].where(labelled, 0)
        passes = fused.Passes(logits, rates, kinds, self.loss.sampler.temperature, chunk.surplus)
        members, plain_members = passes.at(kinds.ids)
        (alone, plain_alone), (own, likelihood) = passes.single(rows, ids), passes.told(told)
        mass = kinds.by_kind(members)
        of_kinds = torch.nn.functional.pad(by_kind.index_select(1, kinds.kind_of), (0, 1))
        sums[1][where], sums[2][where], sums[3][order] = passes.by_class, mass, alone
        mean = predicted * passes.expected + (passes.by_class * by_class).sum(1) + (mass * by_kind).sum(1)
        mean.index_add_(0, rows, alone * weights)
        each = labelled * total.per_label if total.per_label is not None else torch.zeros_like(mean)
        nll = -likelihood.where(labelled, 0).sum() if total.per_label is not None else 0.0

        def gain(row: Tensor, id: Tensor, single: Tensor | float) -> Tensor:  # what an entry weighs more than its row expects
            weight = predicted[row] * rates[id] + by_class[row, kinds.class_of[id].long()] + of_kinds[row, kinds.member[id]]
            return total.weight * (weight + single - mean[row])

        every = torch.arange(len(told), device=told.device)
        at_label = torch.zeros_like(mean).index_add_(0, rows, weights.where(ids == told[rows], 0))
        groups = groups - groups[:1]
        alike = torch.zeros_like(weights).index_add_(0, groups, weights)[groups]
        of_members = members * gain(every[:, None], kinds.ids, 0.0) + each[:, None] * plain_members
        of_pairs = alone * gain(rows, ids, alike) + each[rows] * plain_alone
        of_labels = own * gain(every, told, at_label) + each * torch.expm1(likelihood)

        direct = gradients is not None and isinstance(where, slice)
        room = gradients[where] if gradients is not None and direct else logits if self.disposable else torch.empty_like(logits)
        passes.slope(room, sums[0], predicted, by_class, mean, each, total.weight)
        room.index_copy_(1, kinds.ids, of_members.to(room.dtype))  # each overwrites what those before knew in part
        room.view(-1)[rows * room.shape[1] + ids] = of_pairs.to(room.dtype)
        room.scatter_(1, told[:, None], of_labels[:, None].to(room.dtype))
        if gradients is not None and not direct:
            gradients[where] = room
        return room, nll

    def _slope(
        self, p: Tensor, total: "Total", chunk: Chunk, sums: Sums, by_tokens: Tensor, room: Tensor, plus: Tensor | float = 0.0
    ) -> Tensor:
        """What the total changes by with each logit, divided by its probability: w (G - sum(p G)) + `plus`, with the weight G of each."""
        kinds: Kinds = self.loss.kinds
        _, by_class, by_kind, single = total.rates
        rows = chunk.where
        predicted = self.batch.stream.predicted[rows].to(p.dtype)
        places, weights = self._places(chunk, p), single[self.cut.order[chunk.pairs]]
        mean = predicted * by_tokens + (sums[1][rows] * by_class[rows]).sum(1) + (sums[2][rows] * by_kind[rows]).sum(1)
        mean.index_add_(0, self.cut.rows[chunk.pairs], p.reshape(-1)[places] * weights)
        left = torch.cat([torch.cat([by_class[rows], predicted[:, None]], 1) * total.weight, (plus - total.weight * mean)[:, None]], 1)
        with without_autocast(p):
            slope = torch.mm(left, self.buffers["factors"], out=room)
        slope.index_add_(1, kinds.ids, (total.weight * by_kind[rows]).index_select(1, kinds.kind_of))
        slope.view(-1).index_add_(0, places, total.weight * weights)
        return slope


def _without_surplus(p: Tensor, chunk: Chunk) -> Tensor:
    return p if chunk.surplus is None else p.masked_fill_(chunk.surplus[:, None], 0)


def _is_plain(module: nn.Module) -> bool:
    """Whether a head is a linear layer and nothing else: no subclass, no hook that could keep or change its logits."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return type(module) is nn.Linear and not any(getattr(module, name) for name in hooks)


def _scale(slope: Tensor) -> Tensor:
    """A power of 2 that brings the largest to about 1, so that float16 holds the others: few labels in a step, tiny slopes."""
    return torch.exp2(-torch.linalg.vector_norm(slope, torch.inf).clamp_min(LEAST).log2().floor())


def _lost(p: Tensor, logits: Tensor, told: Tensor, labelled: Tensor) -> Tensor:
    """Negative log likelihood of the labels, summed; of one whose probability has vanished by way of the most probable token."""
    likely = p.gather(1, told)[:, 0]
    vanished = labelled & ~(likely > LEAST)
    found = likely.log().where(labelled & ~vanished, 0)
    if not p.is_cpu or bool(vanished.any()):
        most, place = p.max(-1, keepdim=True)
        far = logits.gather(1, told) - logits.gather(1, place) + most.log()
        found = torch.where(vanished, far[:, 0], found)
    return -found.sum()


@dataclass(frozen=True, slots=True)
class Total:
    """What the total is made of."""

    rates: Sums  # what the value changes by with each of the sums
    weight: float  # of the value, by temperature
    per_label: Tensor | None  # weight of a label's negative log likelihood
