"""The loss from hidden states and the head that makes logits of them, a few rows at a time: the logits never exist as a whole.

Every term is linear in the probabilities and its witness is known before the batch is seen (it is made of the steps before), so what each
probability weighs is known too, and value and gradient come out of one pass, as in Liger's fused linear cross entropy (Hsu et al. 2024)
and Cut Cross-Entropy (Wijmans et al. 2024). The exceptions are the first optimizer step and losses in evaluation mode, whose witness is
made of the batch itself: they take one pass more.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from dft_stats.loss import fused, graph
from dft_stats.loss.batch import GAP, Batch, Chunk, LogitsMissing, check_vocabulary, describe
from dft_stats.loss.credit import slopes
from dft_stats.loss.probabilities import Kinds, Sums, without_autocast

if TYPE_CHECKING:
    from dft_stats.loss.distribution_loss import DistributionLoss

CHUNK = 2**25  # logits at once
LEAST = 1e-30  # probability whose logarithm is still exact in float32


def through_head(
    loss: "DistributionLoss",
    hidden_states: Tensor,
    head: nn.Module,
    labels: Tensor | Batch,
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
        head: [N, H] -> [N, V]; a linear layer with or without bias or LoRA, tied or not. `torch.nn.Identity()` if logits are given in
            place of hidden states: then this is the loss and the cross-entropy of logits, in one pass over them.
        labels: int64 [B, T], or a `Batch`, as in `DistributionLoss.forward`.
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
    reading: dict[str, Any] = {"input_ids": input_ids, "shifted": shifted, "document_starts": document_starts}
    if torch.compiler.is_compiling() and type(head) in (nn.Linear, nn.Identity):
        numbers = [weight, cross_entropy, softcap or 0.0, logit_scale]
        linear = head if isinstance(head, nn.Linear) else None
        return graph.call(loss, hidden_states, linear, labels, factors=numbers, num_items=num_items, chunk_size=chunk_size or 0, **reading)
    run = _outside if torch.compiler.is_compiling() else _read_and_evaluate
    factors = {"weight": weight, "cross_entropy": cross_entropy, "num_items": num_items, "chunk_size": chunk_size}
    return run(loss, hidden_states, Head(head, softcap, logit_scale), labels, reading, factors)


def _read_and_evaluate(
    loss: "DistributionLoss", hidden_states: Tensor, head: "Head", labels: Tensor | Batch, reading: dict[str, Any], factors: dict[str, Any]
) -> tuple[Tensor, dict[str, Tensor]]:
    return evaluate(loss, hidden_states, head, loss.reading(hidden_states, labels, **reading), **factors)


_outside = _disable_dynamo(_read_and_evaluate)  # torch.compiler.disable, which takes a second to import


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
    rows = _Rows(loss, hidden_states, head, batch, chunk_size or loss.chunk_size)
    learns, tokens = loss.learns, batch.items(num_items)

    known = None
    if not (learns and loss.steady):
        with torch.no_grad():
            known = loss.count(loss.kinds.arrange(rows.sums(), batch.stream, batch.pairs), batch.stream)
            loss.observe(known, batch.stream, learns)
    witnesses, components = loss.witnesses(known, batch.stream, learns)
    if known is not None and not torch.is_grad_enabled() and not cross_entropy:
        value = loss.value(witnesses, known, tokens)
        return weight * value, {**components, "dist/loss": value}

    rates = slopes(loss, witnesses, batch.stream, batch.pairs, tokens, rows.empty())
    sums, nll = rows.backward(rates, weight, cross_entropy / tokens if cross_entropy else None)
    with torch.no_grad():
        counts = known or loss.count(loss.kinds.arrange(sums, batch.stream, batch.pairs), batch.stream)
        if known is None:
            loss.observe(counts, batch.stream, learns)
        value = loss.value(witnesses, counts, tokens)
        total = weight * value
        components["dist/loss"] = value
        if cross_entropy:
            components["dist/cross_entropy"] = nll / tokens
            total = total + cross_entropy * components["dist/cross_entropy"]
            loss.demand(torch.isfinite(total), "the cross-entropy is NaN or infinite")
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


class _Rows:
    """The rows of a batch that matter, chunk by chunk; and the gradients that they leave behind."""

    def __init__(self, loss: "DistributionLoss", hidden: Tensor, head: Head, batch: Batch, chunk_size: int) -> None:
        self.loss, self.given, self.hidden, self.head, self.batch = loss, hidden, hidden.detach().flatten(0, 1), head, batch
        self.dtype = torch.promote_types(hidden.dtype, torch.float32)
        self.classes, self.membership = loss.kinds.classes.to(self.dtype), loss.kinds.membership.to(self.dtype)
        # Copies of logits are dear, so a few rows more are read. With a head, what nobody needs may be NaN and never meets it.
        self.cut = batch.cut(chunk_size, GAP if head.changes_nothing else 0)
        # The logits of a linear layer are needed neither by its own backward nor by anybody else.
        self.disposable = isinstance(head.module, nn.Linear) and head.softcap is None and loss.sampler.is_plain
        self.buffers: dict[str, Tensor] = {}  # of the size of a chunk's logits, for all chunks: fresh pages are dear
        # What gets a gradient -> its sum over chunks. Parameters that several chunks add to are summed in float32.
        self.gradients: dict[Tensor, Tensor] = {}

    def empty(self) -> Sums:
        """Sums of nothing: zeros of the right shapes."""
        kinds, rows = self.loss.kinds, len(self.hidden)
        zeros = torch.zeros(kinds.classes.shape[0], device=self.hidden.device, dtype=self.dtype)
        return (
            zeros,
            zeros.new_zeros(rows, kinds.classes.shape[1]),
            zeros.new_zeros(rows, kinds.membership.shape[1]),
            zeros.new_zeros(len(self.cut.order)),
        )

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.head(hidden)
        check_vocabulary(self.loss, logits.shape[-1])
        return logits

    def sums(self) -> Sums:
        """Sums of the probabilities, without gradient."""
        found = self.empty()
        for chunk in self.cut.chunks:
            p = self._probabilities(self._logits(self.hidden[chunk.where]).to(self.dtype), chunk)
            self._add(found, p, chunk, self.classes)
        return found

    def _probabilities(self, logits: Tensor, chunk: Chunk) -> Tensor:
        sampler = self.loss.sampler
        p = torch.softmax(logits, -1, out=self._buffer("p", logits)) if sampler.is_plain else sampler.probabilities(logits)
        return p if chunk.surplus is None else p.masked_fill_(chunk.surplus[:, None], 0)

    def _buffer(self, name: str, like: Tensor) -> Tensor:
        if name not in self.buffers:
            self.buffers[name] = torch.empty_like(like, memory_format=torch.contiguous_format)
        return self.buffers[name][: len(like)]

    def _add(self, sums: Sums, p: Tensor, chunk: Chunk, columns: Tensor) -> Tensor:
        """Add a chunk to the sums; `columns` (vocab, classes or more) are the classes, and what else rows are to be multiplied by."""
        kinds: Kinds = self.loss.kinds
        tokens, by_class, by_kind, single = sums
        with without_autocast(p):
            text = p[:, : len(columns)]
            tokens += self.batch.stream.counted[chunk.where].to(p.dtype) @ text
            products = text @ columns
            by_class[chunk.where] = products[:, : by_class.shape[1]]
            by_kind[chunk.where] = text.gather(1, kinds.ids.expand(len(p), -1)) @ self.membership
            single[self.cut.order[chunk.pairs]] = p.reshape(-1)[self._places(chunk, p)]
        return products[:, by_class.shape[1] :]

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
        total = _Total(rates, torch.cat([self.classes, rates[0][:, None]], 1), weight / self.loss.sampler.temperature, per_label)
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
                made = torch.autograd.grad(logits, inputs, slope.to(logits.dtype), allow_unused=True)
                if into_hidden is not None:
                    into_hidden[chunk.where] = made[0].to(into_hidden.dtype)
                for parameter, gradient in zip(parameters, made[-len(parameters) :] if parameters else (), strict=True):
                    if gradient is not None:
                        self.gradients[parameter] += gradient
        return found, nll

    def _for_hidden(self) -> Tensor:
        """Room for the gradient of the hidden states, (rows, H); zero in the rows that no chunk fills."""
        self.gradients[self.given] = gradient = torch.empty_like(self.given, memory_format=torch.contiguous_format)
        rows = gradient.view_as(self.hidden)
        for spared in self.cut.spared:
            rows[spared].zero_()
        return rows

    @torch.no_grad()
    def _chunk(
        self, logits: Tensor, total: "_Total", chunk: Chunk, sums: Sums, gradients: Tensor | None = None
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
        by_tokens = self._add(sums, p, chunk, total.columns)[:, 0]
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
                p = torch.softmax(logits, -1, out=self._buffer("p", logits))
                slope.addcmul_(p, each[:, None])
                nll = _lost(p, logits, told, labelled)
            slope.scatter_add_(1, told, -each[:, None])
        if gradients is not None and not direct:
            gradients[chunk.where] = slope.to(gradients.dtype)
        return slope, nll

    def _fused(self, logits: Tensor, total: "_Total", chunk: Chunk, sums: Sums, gradients: Tensor | None) -> tuple[Tensor, Tensor | float]:
        """As `_chunk`, in two passes."""
        kinds: Kinds = self.loss.kinds
        rates, by_class, by_kind, single = total.rates
        where, rows, ids = chunk.where, self.cut.rows[chunk.pairs], self.cut.ids[chunk.pairs]
        counted, labelled = self.batch.stream.counted[where].float(), self.batch.labelled[where]
        passes = fused.Passes(logits, rates, kinds, self.loss.sampler.temperature, chunk.surplus)
        with without_autocast(self.membership):
            members, alone, weights = passes.at(kinds.ids), passes.single(rows, ids), single[self.cut.order[chunk.pairs]]
            mass = members @ self.membership
            sums[1][where], sums[2][where], sums[3][self.cut.order[chunk.pairs]] = passes.by_class, mass, alone
            mean = counted * passes.expected + (passes.by_class * by_class[where]).sum(1) + (mass * by_kind[where]).sum(1)
            mean.index_add_(0, rows, alone * weights)
            of_members = members * (total.weight * by_kind[where] @ self.membership.T)
        told = self.batch.targets[where].where(labelled, 0)
        each = labelled * total.per_label if total.per_label is not None else torch.zeros_like(mean)
        nll = -passes.likelihood(told).where(labelled, 0).sum() if total.per_label is not None else 0.0
        direct = gradients is not None and isinstance(where, slice)
        room = gradients[where] if gradients is not None and direct else logits if self.disposable else torch.empty_like(logits)
        passes.slope(room, sums[0], counted, by_class[where], mean, each, total.weight)
        room.index_add_(1, kinds.ids, of_members.to(room.dtype))
        room.view(-1).index_add_(0, rows * room.shape[1] + ids, (total.weight * weights * alone).to(room.dtype))
        room.scatter_add_(1, told[:, None], -each[:, None].to(room.dtype))
        if gradients is not None and not direct:
            gradients[where] = room
        return room, nll

    def _slope(
        self, p: Tensor, total: "_Total", chunk: Chunk, sums: Sums, by_tokens: Tensor, room: Tensor, plus: Tensor | float = 0.0
    ) -> Tensor:
        """What the total changes by with each logit, divided by its probability: w (G - sum(p G)) + `plus`, with the weight G of each."""
        kinds: Kinds = self.loss.kinds
        tokens, by_class, by_kind, single = total.rates
        rows = chunk.where
        counted = self.batch.stream.counted[rows].to(p.dtype)
        places, weights = self._places(chunk, p), single[self.cut.order[chunk.pairs]]
        mean = counted * by_tokens + (sums[1][rows] * by_class[rows]).sum(1) + (sums[2][rows] * by_kind[rows]).sum(1)
        mean.index_add_(0, self.cut.rows[chunk.pairs], p.reshape(-1)[places] * weights)
        left = torch.cat([torch.cat([counted[:, None], by_class[rows]], 1) * total.weight, (plus - total.weight * mean)[:, None]], 1)
        if "right" not in self.buffers:
            right = self.buffers["right"] = p.new_zeros(left.shape[1], p.shape[1])
            right[0, : len(tokens)], right[1:-1, : len(tokens)], right[-1] = tokens, self.classes.T, 1
        with without_autocast(p):
            slope = torch.mm(left, self.buffers["right"], out=room)
            slope.index_add_(1, kinds.ids, (total.weight * by_kind[rows]) @ self.membership.T)
        slope.view(-1).index_add_(0, places, total.weight * weights)
        return slope


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
        if _kept():  # there may be another pass
            return None, None, *(gradient * upstream[0] for gradient in ctx.gradients)
        gradients, ctx.gradients = ctx.gradients, []  # let go of, so that they become `.grad` without a copy
        return None, None, *(gradients.pop(0).mul_(upstream[0]) for _ in range(len(gradients)))


def _kept() -> bool:
    """Whether the present backward pass keeps its graph (`retain_graph`), so that there may be another one; if torch tells."""
    told = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if told is None else bool(told())
