"""What a model writes, and how far that is from a profile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dft_stats.compiled import CompiledProfile
from dft_stats.loss import TERMS, DistributionLoss, Sampler

SAMPLER = Sampler(temperature=0.8, top_p=0.95)
"""As models are usually run. The statistics are those of the text that readers will see."""
SAMPLE_TOKENS = 96  # in a continuation that is measured
ROWS = 16  # in a batch of a measurement


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote for some prompts."""

    texts: list[str]  # prompt and continuation, up to the last end of a sentence
    z2: dict[str, float]  # mean squared z-score of each statistic; 1 is human noise


def write(
    model: Any, tokenizer: Any, compiled: CompiledProfile, prompts: Sequence[str], *, seed: int, tell: Callable[[str], None]
) -> Written:
    """One continuation of each prompt, and the statistics of what the model expected to write at each place of them."""
    torch.manual_seed(seed)
    loss = DistributionLoss(compiled, temperature=SAMPLER.temperature, top_p=SAMPLER.top_p, accumulation_steps=0)  # the batches add up
    model.eval()
    ids, mask = encode(tokenizer, prompts)

    def advance(number: int) -> None:
        tell(f"the model writes {len(ids)} texts: {number} of {SAMPLE_TOKENS} tokens")

    tokens = generate(model, ids, mask, SAMPLE_TOKENS, SAMPLER, banned(compiled, model), advance)
    components: dict[str, Tensor] = {}
    for rows in torch.arange(len(tokens)).split(ROWS):
        tell(f"counting what the model expected to write: {int(rows[-1]) + 1} of {len(tokens)} texts")
        whole = extend(mask[rows], tokens[rows])
        with torch.no_grad():
            logits = model(tokens[rows], attention_mask=whole, position_ids=positions(whole), use_cache=False).logits
        labels = tokens[rows].clone()
        labels[:, : ids.shape[1]] = loss.ignore_index
        _, components = loss(logits, labels, input_ids=tokens[rows], document_starts=(whole == 0) | (whole.cumsum(1) == 1))
    padding = (mask == 0).sum(1).tolist()
    written = [tokenizer.decode(row[number:], skip_special_tokens=True) for row, number in zip(tokens.tolist(), padding, strict=True)]
    return Written([whole_sentences(text) for text in written], of_terms(components))


def of_terms(components: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean z squared by statistic, out of the components of a loss."""
    return {name: float(components[f"dist/{name}"]) for name in TERMS}


def encode(tokenizer: Any, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask, int64 [B, P], padded on the left."""
    rows = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


@torch.no_grad()
def generate(
    model: Any, ids: Tensor, mask: Tensor, new: int, sampler: Sampler, never: Tensor, tell: Callable[[int], None] = lambda number: None
) -> Tensor:
    """`ids` int64 [B, P] and `new` tokens more, drawn with the model's cache; none of those that are marked in `never`, bool [V]."""
    tokens, given = ids, ids
    kept: dict[str, Any] = {}
    for number in range(new):
        whole = extend(mask, tokens)
        output = model(given, attention_mask=whole, position_ids=positions(whole)[:, -given.shape[1] :], use_cache=True, **kept)
        name = "cache" if "cache" in output else "past_key_values"  # before transformers 5.24 or so
        kept = {name: output[name]}
        given = draw(output.logits[:, -1].masked_fill(never, -torch.inf), sampler)[:, None]
        tokens = torch.cat([tokens, given], 1)
        tell(number + 1)
    return tokens


def banned(compiled: CompiledProfile, model: Any) -> Tensor:
    """Ids that are no text, bool [V]: special tokens, and the rest of a padded head. A text that ended would turn into a chat."""
    found = torch.ones(model.get_output_embeddings().weight.shape[0], dtype=torch.bool)
    found[: compiled.vocab_size] = torch.from_numpy(compiled.tokens.special)
    return found


def draw(logits: Tensor, sampler: Sampler) -> Tensor:
    """Ids [B] from logits [B, V], as `Sampler.sample` draws them, but without sorting: what falls outside the nucleus is drawn again."""
    p = F.softmax(logits.float() / sampler.temperature, -1)
    drawn = torch.multinomial(p, 1)
    while True:
        more_probable = torch.where(p > p.gather(1, drawn), p, 0).sum(-1)
        outside = (more_probable >= sampler.top_p).nonzero()[:, 0]
        if not len(outside):
            return drawn[:, 0]
        drawn[outside] = torch.multinomial(p[outside], 1)


def extend(mask: Tensor, tokens: Tensor) -> Tensor:
    """The mask of prompts, with ones for what was written after them."""
    return F.pad(mask, (0, tokens.shape[1] - mask.shape[1]), value=1)


def positions(mask: Tensor) -> Tensor:
    """Positions that do not count padding on the left."""
    return (mask.cumsum(1) - 1).clamp_min(0)


def whole_sentences(text: str) -> str:
    """The text without the sentence that the token limit cut; all of it if it has no end of a sentence."""
    end = max(text.rfind(mark) for mark in ".!?")
    return text[: end + 1 + (text[end + 1 : end + 2] in ('"', "”", ")"))] if end >= 0 else text
