"""The loss itself: what the model's predictions are expected to count, what the profile says, and the witness between them."""

import json
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dft_stats.compiled import CompiledProfile, excluding
from dft_stats.errors import NotFinite
from dft_stats.loss import graph
from dft_stats.loss.batch import GAP, Batch, LogitsMissing, check_reader, check_rows, check_vocabulary, describe, read
from dft_stats.loss.control import Control
from dft_stats.loss.discrepancy import direction
from dft_stats.loss.discrepancy import discrepancies as of_families
from dft_stats.loss.entropy import Entropy
from dft_stats.loss.family import Exposure, Family
from dft_stats.loss.identity import identity_of, refuse_another
from dft_stats.loss.ngram_frequency import NgramFrequency
from dft_stats.loss.one_pass import Head
from dft_stats.loss.probabilities import Kinds, Pairs, Probabilities
from dft_stats.loss.punctuation_rhythm import PunctuationRhythm
from dft_stats.loss.reading import Stream, TokenReader
from dft_stats.loss.sampler import Sampler
from dft_stats.loss.sentence_length import SentenceLength
from dft_stats.loss.term import TERMS, SoftCounts, Term
from dft_stats.loss.through_head import CHUNK, evaluate
from dft_stats.loss.token_frequency import TokenFrequency

READ = ("sentence_length", "punctuation_rhythm", "entropy")  # terms of what is read off the ids: sentence ends, marks, words
LEGIBLE = 0.99  # share of the words
AS_IT_IS = Head(nn.Identity(), None, 1.0)
NOT_FINITE, LOST = "the logits hold NaN or infinity", "the cross-entropy is NaN or infinite"


class DistributionLoss(nn.Module):
    """Distance of a model's writing from a profile: token and n-gram rates, sentence lengths, punctuation, entropy.

    Each statistic is a rate mu, the profile's is mu*, and `z = (mu - mu*) / (sd * sqrt(window_words / m))` is their distance in standard
    errors of human text of m words. The loss is `sum_f g_f (mu_f - mu*_f)` with the witness g, without gradient: z beyond the dead zone,
    clipped, plus the dual variable of the constraint |z| <= dead_zone (see `Control`), over `sd * sqrt(features)`. There z is in standard
    errors of 1,024 words if m is more, so that larger steps pull no harder, and know better where to. So it is linear in
    the probabilities and adds up over micro-batches and ranks; the rates in g are those of the optimizer step before (in the very first
    step, what of it was seen so far), or with `decay` means over steps. Its value may be negative; `components` are what to watch.

    In training mode with gradients enabled the running rates are updated. Otherwise nothing is: rates, loss and components are then those
    of the batch alone. With `torch.distributed` initialised, `step` sums over ranks; pass the global `num_items` and sum the gradients.
    """

    commits: Tensor  # optimizer steps in the running sums
    forwards: Tensor  # micro-batches in the pending step
    words: Tensor  # counted words, weighted by decay
    words_squared: Tensor  # weighted by squared decay
    pending_words: Tensor

    def __init__(
        self,
        compiled: CompiledProfile,
        *,
        weights: Mapping[str, float] | None = None,
        discrepancies: Mapping[str, str] | None = None,
        decay: float = 0.0,
        dead_zone: float = 1.0,
        clip: float = 4.0,
        lead: float = 5.0,
        dual_rate: float = 0.0,
        dual_limit: float = 20.0,
        warmup_steps: int = 0,
        every: int = 1,
        exclude: Iterable[int] = (),
        temperature: float = 1.0,
        top_p: float = 1.0,
        ignore_index: int = -100,
        accumulation_steps: int = 1,
    ) -> None:
        """A loss for one profile and one tokenizer.

        Args:
            compiled: from `Profile.compile(tokenizer)`.
            weights: of the terms in `TERMS`; 1.0 where none is given, 0.0 measures without steering.
            discrepancies: which distance of a term's rates says in which proportions they are pulled: "whitened" (each by its z-score,
                what is left out), "l2" or "jensen_shannon" for token and n-gram frequencies, "cramer" or "wasserstein" for sentence
                lengths and gaps between marks. How strongly is the same for all.
            decay: of the running sums, per optimizer step, 0 <= decay < 1; 0: the last step alone steers the next one. Means over more
                have less noise, and answer late, so that a model that moves fast swings.
            dead_zone: |z| up to which a rate is left alone: human noise of a step, of 1,024 words if it has more. Less than 1 asks a
                model that takes large steps to be nearer than one human text is.
            clip: most that |z| beyond the dead zone counts.
            lead: steps, at the most, by which z is taken ahead on its trend, so that large steps do not swing: of a step of m words
                sqrt(m / 1024) - 1 if that is less, none up to 1,024 words. 0: z as it is.
            dual_rate: growth per optimizer step, at the most, of the dual variable of each rate that is beyond the dead zone, see
                `Control`. 0: a penalty, which stops short of the profile as far as an anchor holds it.
            dual_limit: most that a dual variable may be.
            warmup_steps: optimizer steps over which the loss rises to its full strength.
            every: the loss acts in every so-manieth optimizer step alone, as if training alternated; the rates are updated in all.
            exclude: token ids that are measured but never steered, nor any n-gram with one of them. What a token is as a mark, or as the
                end of a sentence, is steered by terms of its own.
            temperature: of the sampling that the statistics are meant for.
            top_p: of the same sampling.
            ignore_index: label of positions that are not counted.
            accumulation_steps: training forwards in an optimizer step; 0: call `step` yourself.

        Raises:
            TypeError: `compiled` is no compiled profile, or a setting no number.
            ValueError: an argument is out of range, or a term's name unknown.
        """
        super().__init__()
        if not isinstance(compiled, CompiledProfile):
            raise TypeError(
                f"a loss is made of profile.compile(tokenizer), a CompiledProfile, not of a {type(compiled).__name__}: a profile has no"
                ' token ids yet, such as `DistributionLoss(dft_stats.load("news").compile(tokenizer))`'
            )
        numbers: dict[str, Any] = {f"the weight of {name}": weight for name, weight in (weights or {}).items()}
        numbers |= {"decay": decay, "dead_zone": dead_zone, "clip": clip, "lead": lead, "dual_rate": dual_rate, "dual_limit": dual_limit}
        numbers |= {"temperature": temperature, "top_p": top_p, "accumulation_steps": accumulation_steps}
        others = [f"{name} is {value!r}" for name, value in numbers.items() if not isinstance(value, Real)]
        if others:
            raise TypeError(f"settings of the loss are numbers; {', '.join(others)}")
        unknown = sorted(set(weights or {}) - set(TERMS))
        if unknown:
            raise ValueError(f"no term is called {', '.join(unknown)}; the terms are {', '.join(TERMS)}")
        wrong = {name: weight for name, weight in (weights or {}).items() if not 0 <= weight < math.inf}
        if wrong:
            raise ValueError(f"weights are numbers from 0 up, not {wrong}: one below 0 would push away from the profile")
        if not 0 <= decay < 1:
            raise ValueError(f"decay is at least 0 and less than 1, not {decay}")
        if accumulation_steps < 0 or accumulation_steps != int(accumulation_steps):
            raise ValueError(f"accumulation_steps is a whole number and not negative, it is {accumulation_steps}")
        read = [name for name in READ if (weights or {}).get(name, 1.0)]
        if compiled.legibility < LEGIBLE and read:
            warnings.warn(
                f"the ids of this tokenizer spell only {compiled.legibility:.1%} of the profile's words as they are (it makes capitals"
                " small, loses spaces or line ends, takes words for special tokens, or has none for them): what the loss reads off"
                f" them is not what the profile counted, and {', '.join(read)} would be steered wrongly. Switch them off: "
                f"weights={dict.fromkeys(read, 0.0)}",
                stacklevel=2,
            )
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in TERMS}
        self.control = Control(dead_zone, clip, lead, dual_rate, dual_limit, warmup_steps, every)
        self.decay, self.ignore_index, self.accumulation_steps = decay, ignore_index, accumulation_steps
        self.sampler = Sampler(temperature, top_p)
        self.vocab_size = compiled.vocab_size
        self.chunk_size = max(16, min(1024, CHUNK // self.vocab_size))
        try:
            excluded = sorted(set(map(operator.index, exclude)))
        except TypeError as error:
            raise TypeError(f"exclude are token ids ({error}); those of words are `dft_stats.guard.ids_of(tokenizer, words)`") from error
        self.identity = identity_of(compiled, excluded)
        compiled = excluding(compiled, excluded)
        self.discrepancies = of_families(compiled, discrepancies or {})
        self.reader, self.kinds = TokenReader(compiled), Kinds(compiled)
        terms = (
            TokenFrequency(compiled),
            NgramFrequency(compiled),
            SentenceLength(compiled, self.kinds),
            PunctuationRhythm(compiled, self.kinds),
            Entropy(compiled),
        )
        self.terms: Mapping[str, Term] = nn.ModuleDict(dict(zip(TERMS, terms, strict=True)))  # type: ignore[assignment]
        for name in ("words", "words_squared", "pending_words"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float32))  # whatever the default is
        for name in ("commits", "forwards"):
            self.register_buffer(name, torch.zeros((), dtype=torch.long))
        # What of it the host knows too, so that it need not wait for the device: None, if it would have to.
        self._steady: bool | None = False
        self._waiting: int | None = 0
        self._faults: dict[str, Tensor] = {}

    def forward(
        self,
        logits: Tensor,
        labels: Tensor | Batch,
        *,
        input_ids: Tensor | None = None,
        shifted: bool = False,
        num_items: int | Tensor | None = None,
        document_starts: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and components of a batch.

        Args:
            logits: [B, T, V], any floating type; V may be more than the tokenizer's (a padded head), whose surplus counts nothing.
            labels: int64 [B, T]; `ignore_index` where nothing is counted. As in transformers `logits[:, t]` predict `labels[:, t + 1]`.
                Or what `read` made of them, and of the other arguments that it takes.
            input_ids: [B, T], aligned like `labels`: the tokens where labels are ignored, such as a prompt. They are read, not counted.
                Without them an ignored position is unknown, and a document begins behind it.
            shifted: `logits[:, t]` predict `labels[:, t]`.
            num_items: labels in the whole optimizer step, over micro-batches and ranks; None: those of this batch.
            document_starts: bool [B, T], aligned like `labels`: a document begins at this token. Special tokens always separate.

        Returns:
            A scalar, and `{"dist/<term>": mean z squared of the rates that the witness was made of, ..., "dist/loss": ...}` without
            gradient, still on the device. Mean z squared of about 1 is what human text of that length has.

        Raises:
            LogitsMissing: no logits, or an empty tensor.
            TypeError: the labels are no tensor of whole numbers.
            ValueError: shapes do not fit.
            VocabularyMismatch: logits or ids do not fit the tokenizer that the profile was compiled for.
            NotFinite: NaN or infinite logits where a label is counted. On a GPU the next `read` or forward raises it, since to know
                takes waiting; until then they count nothing.
        """
        if not isinstance(logits, Tensor) or not logits.numel() or not logits.is_floating_point():
            raise LogitsMissing(
                f"DistributionLoss needs logits [B, T, V], not {describe(logits)}. Fused losses never build them: use"
                " `dft_stats.loss.through_head` with the hidden states, or switch off Liger's fused linear cross entropy and cut cross"
                " entropy, use UNSLOTH_RETURN_LOGITS=1, or call the model without labels"
            )
        reading: dict[str, Any] = {"input_ids": input_ids, "shifted": shifted, "document_starts": document_starts}
        if torch.compiler.is_compiling():
            return graph.call(self, logits, None, labels, factors=[1.0, 0.0, 0.0, 1.0], num_items=num_items, chunk_size=0, **reading)
        batch = self.reading(logits, labels, **reading)
        check_vocabulary(self, logits.shape[-1])
        return evaluate(self, logits, AS_IT_IS, batch, weight=1.0, cross_entropy=0.0, num_items=num_items, chunk_size=None)

    def read(
        self, labels: Tensor, *, input_ids: Tensor | None = None, shifted: bool = False, document_starts: Tensor | None = None
    ) -> Batch:
        """Read the tokens of a batch, on the device of the labels; arguments and errors as in `forward`.

        Reading is the one thing that waits for the device. Done before the model's forward, when there is nothing to wait for, it
        leaves the step without a wait.
        """
        self._raise_faults()
        if isinstance(labels, Tensor) and self.words.device != labels.device:
            self.to(labels.device)  # no trainer moves a loss
        batch = read(self, labels, input_ids, shifted=shifted, starts=document_starts)
        for gap in (0, GAP) if not self.words.is_cpu else ():
            batch.cut(self.chunk_size, gap)
        return batch

    def reading(self, predictions: Tensor, labels: Tensor | Batch, **arguments: Any) -> Batch:
        """The batch that `predictions` are of: `labels` themselves, if they were read before; `arguments` as in `read`.

        Raises:
            TypeError: there are arguments although the labels were read, or labels are no tensor.
            ValueError: shapes do not fit.
            VocabularyMismatch: another loss has read them.
        """
        if not isinstance(labels, Batch):
            device = predictions.device
            moved: dict[str, Any] = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in arguments.items()}
            batch = self.read(labels.to(device) if isinstance(labels, Tensor) else labels, **moved)
            check_rows(batch, predictions)
            return batch
        check_reader(labels, self.identity)
        check_rows(labels, predictions)
        given = [name for name, value in arguments.items() if value is not None and value is not False]
        if given:
            raise TypeError(f"{', '.join(given)} belong to `read`, which this batch has behind it")
        return labels

    def observe(self, counts: SoftCounts, stream: Stream, learns: bool, lost: Tensor | None = None) -> None:
        """Check the counts of a micro-batch, and add them to the pending step if the loss learns.

        Args:
            counts: of the micro-batch.
            stream: of the same.
            learns: whether the loss does.
            lost: summed negative log likelihood of the labels, if it is known.

        Raises:
            NotFinite: counts or likelihood are NaN or infinite. On a GPU that is said later, and they count nothing.
        """
        sums = torch.stack([numerator.detach().sum() for numerator, _ in counts.values()])
        finite = torch.isfinite(sums).all()  # of the few sums: the probabilities themselves are never read again
        self.demand(finite, NOT_FINITE)
        if lost is not None:
            self.demand(torch.isfinite(lost), LOST)
            finite = finite & torch.isfinite(lost)
        if learns:
            sound = {name: (torch.where(finite, n, 0), torch.where(finite, d, 0)) for name, (n, d) in counts.items()}
            self.pend(sound, torch.where(finite, stream.words, 0))

    def withdraw(self, counts: SoftCounts, stream: Stream, learns: bool, lost: Tensor | None) -> None:
        """Take back what was observed, of a micro-batch whose labels turn out to have no likelihood; arguments and errors as there."""
        if lost is None:
            return
        lacks = ~torch.isfinite(lost)
        if learns and not (lacks.is_cpu and not lacks):
            taken = {name: (torch.where(lacks, -n, 0), torch.where(lacks, -d, 0)) for name, (n, d) in counts.items()}
            self.pend(taken, torch.where(lacks, -stream.words, 0), batches=-int(lacks.is_cpu))
        self.demand(~lacks, LOST)

    def pend(self, counts: SoftCounts, words: Tensor, batches: int = 1) -> None:
        """Add the counts of a micro-batch to the pending step."""
        self.pending_words += words.to(self.words.dtype)
        self.forwards += batches
        self._waiting = None if self._waiting is None else self._waiting + batches
        for name, family in self.families().items():
            family.add(*counts[name])

    def demand(self, finite: Tensor, otherwise: str) -> None:
        """Raise NotFinite if `finite` does not hold: at once on a CPU; elsewhere when a batch is read next.

        Raises:
            NotFinite: with what is `otherwise` the case.
        """
        known = self._faults.get(otherwise)
        self._faults[otherwise] = ~finite if known is None else known | ~finite
        if finite.is_cpu:
            self._raise_faults()

    def _raise_faults(self) -> None:
        faults, self._faults = self._faults, {}
        for otherwise, fault in faults.items():
            if bool(fault):
                raise NotFinite(f"{otherwise}; check the learning rate and the precision of the step before")

    @property
    def learns(self) -> bool:
        """Whether a forward now updates the running rates."""
        return self.training and torch.is_grad_enabled()

    @property
    def steady(self) -> bool:
        """Whether there are running rates, of the steps before, for witnesses to be made of."""
        if self._steady is None:
            self._steady = bool(self.commits > 0)
        return self._steady

    @torch.no_grad()
    def witnesses(self, counts: SoftCounts | None, stream: Stream, learns: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The witness of each family that steers, and the components. `counts` may be None once there are running rates and `learns`."""
        found: dict[str, Tensor] = {}
        components: dict[str, Tensor] = {}
        alone = None if learns else counts  # what is measured by itself; otherwise the running rates are
        exposure = self._exposure(None if alone is None else stream.words.to(self.words.dtype))
        scale, strength = exposure.scale, self.control.strength(self.commits)
        for term_name, term in self.terms.items():
            squares = []
            for name in term.families:
                family = self.families()[name]
                z, rate = self._z(family, None if alone is None else alone[name], exposure)
                squares.append(z.square().sum() / family.tracked.sum().clamp_min(1))
                if self.weights[term_name]:
                    z = z * scale
                    if learns and self.control.lead:
                        z = torch.where(self.commits > 1, self.control.ahead(z, family.before, scale), z)
                    pull = self.pull(name, z, rate)
                    pull = strength * (pull + family.dual) if learns else pull
                    found[name] = self.weights[term_name] * family.witness(pull)
            components[f"dist/{term_name}"] = torch.stack(squares).mean()
        return found, components

    def pull(self, name: str, z: Tensor, rate: Tensor) -> Tensor:
        """What of z, scaled, is beyond the human noise, in the direction of the family's discrepancy, (features,)."""
        pull, family = self.control.shrink(z), self.families()[name]
        if name not in self.discrepancies:
            return pull
        tracked = torch.where(family.tracked, rate, family.target)  # what is not tracked is as it should be
        return family.turned(pull, direction(self.discrepancies[name], tracked, family.target))

    def value(self, witnesses: Mapping[str, Tensor], counts: SoftCounts, tokens: Tensor) -> Tensor:
        """The loss, linear in the numerators of the counts."""
        value = self.words.new_zeros((), dtype=next(iter(counts.values()))[0].dtype)
        for name, witness in witnesses.items():
            value = value + self.families()[name].value(witness, *counts[name], tokens)
        return value

    def close(self, learns: bool) -> None:
        """Close the optimizer step if this was its last micro-batch, as `accumulation_steps` says."""
        if learns and self.accumulation_steps and self._pending() >= self.accumulation_steps:
            self.step()

    def _pending(self) -> int:
        """Micro-batches of this rank in the pending step."""
        if self._waiting is None:
            self._waiting = int(self.forwards)
        return self._waiting

    def pairs(self, stream: Stream) -> dict[str, Pairs]:
        """What each term finds in the text."""
        return {name: term.pairs(stream) for name, term in self.terms.items()}

    def count(self, reduced: Probabilities, stream: Stream) -> SoftCounts:
        """Expected counts of all families, (numerator, denominator) by name, from sums of the probabilities."""
        return {name: count for term in self.terms.values() for name, count in term.soft_count(reduced, stream).items()}

    @torch.no_grad()
    def step(self) -> None:
        """Close an optimizer step: what is pending enters the running rates. Every rank calls it, also one that saw nothing."""
        ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        mine, self._waiting = self._pending(), 0
        if ranks == 1 and not mine:
            return
        families = list(self.families().values())
        if ranks > 1:
            pending = [self.pending_words, self.forwards, *(t for f in families for t in (f.pending_numerator, f.pending_denominator))]
            flat = torch.cat([values.to(self.words.dtype).reshape(-1) for values in pending])
            dist.all_reduce(flat)
            for values, summed in zip(pending, torch.split(flat, [values.numel() for values in pending]), strict=True):
                values.copy_(summed.view_as(values))
        happened = self.pending_words > 0  # on some rank
        decay = torch.where(happened, self.words.new_tensor(self.decay), 1.0)
        for family in families:
            if self.control.lead:
                family.remember(self._running, happened)
            family.commit(decay)
        self.words.mul_(decay).add_(self.pending_words)
        self.words_squared.mul_(decay.square()).add_(self.pending_words)
        self.pending_words.zero_()
        self.forwards.zero_()
        self.commits += happened.long()
        # On a GPU it would have to be waited for; so there a first step without a label steers the second one not at all.
        self._steady = (bool(self.commits > 0) if self.words.is_cpu else True) if mine else None
        if self.control.dual_rate:
            exposure = self._running
            scale = exposure.scale
            for family in families:
                beyond = self.control.shrink(family.z(family.numerator, family.denominator, exposure) * scale)
                family.insist(happened * beyond, self.control)

    def families(self) -> dict[str, Family]:
        """All families of rates, by name."""
        return {name: family for term in self.terms.values() for name, family in term.families.items() if isinstance(family, Family)}

    def rates(self) -> dict[str, Tensor]:
        """The running rates of each family, (features,), steered or not; the profile's rate where nothing was measured."""
        return {name: family.rate(family.numerator, family.denominator) for name, family in self.families().items()}

    @torch.no_grad()
    def _z(self, family: Family, count: tuple[Tensor, Tensor] | None, exposure: Exposure) -> tuple[Tensor, Tensor]:
        """Distance from the profile in standard errors, and the rates: of a count, or the running ones."""
        if count is None:
            steady = self.commits > 0
            count = (
                torch.where(steady, family.numerator, family.pending_numerator),
                torch.where(steady, family.denominator, family.pending_denominator),
            )
        return family.z(*count, exposure), family.rate(*count)

    def _exposure(self, words: Tensor | None) -> Exposure:
        """Of so many words, or of the running rates."""
        if words is not None:
            return Exposure(words, words)
        steady, pending, running = self.commits > 0, self.pending_words, self._running
        return Exposure(torch.where(steady, running.words, pending), torch.where(steady, running.effective_words, pending))

    @property
    def _running(self) -> Exposure:
        """Of the running rates, nothing before the first step is closed."""
        return Exposure(self.words, self.words.square() / self.words_squared.clamp_min(1))

    def _apply(self, change: Callable[[Tensor], Tensor], recurse: bool = True) -> "DistributionLoss":
        """Go along to another device, and not to another precision: sums of very small numbers stay float32 when a model is cast."""

        def kept(values: Tensor) -> Tensor:
            changed = change(values)
            return changed if changed.dtype == values.dtype else values.to(changed.device)

        with torch.inference_mode(False):  # whose buffers could never be trained with
            found: DistributionLoss = super()._apply(kept, recurse)  # type: ignore[no-untyped-call]
        return found

    def get_extra_state(self) -> Tensor:
        """Whose running rates these are: JSON, as bytes, since safetensors keep nothing but tensors."""
        return torch.frombuffer(bytearray(json.dumps(self.identity).encode()), dtype=torch.uint8)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any) -> None:
        self.set_extra_state(state_dict.get(f"{prefix}_extra_state"))  # refuse before the first buffer is written
        if not any(name.startswith(prefix) for name in state_dict):
            warnings.warn(
                f"the state holds nothing of the distribution loss (no key begins with {prefix!r}), so its running rates start anew; that"
                " is to be expected if the loss was not there when the state was saved",
                stacklevel=2,
            )
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._steady = self._waiting = None

    def set_extra_state(self, state: Any) -> None:
        """Refuse the running rates of another profile or tokenizer, or of other tokens excluded or pinned."""
        if state is not None:
            refuse_another(json.loads(bytes(state.tolist())), self.identity)
