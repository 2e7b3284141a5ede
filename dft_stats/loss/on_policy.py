"""The loss on the model's own text: sample, then count what the model expects to write at each place of its samples."""

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dft_stats.loss.batch import describe, logits_of
from dft_stats.loss.distribution_loss import DistributionLoss
from dft_stats.loss.returns import consequences, less_others, rewarded, surrogate
from dft_stats.loss.reward import DistributionReward


def on_policy(
    loss: DistributionLoss,
    model: nn.Module,
    prompts: Tensor,
    *,
    max_new_tokens: int,
    attention_mask: Tensor | None = None,
    eos_token_id: int | Iterable[int] | None = None,
    generator: torch.Generator | None = None,
    num_items: int | Tensor | None = None,
    returns: float = 0.0,
    reward: DistributionReward | None = None,
    gamma: float = 0.9,
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Sample continuations as the loss's sampler says, without gradient, and apply the loss to them.

    What a prediction does to the text after it has no gradient, unless `returns` is more than 0. Prompts are read, not counted, and
    neither is what follows an EOS.

    Args:
        loss: its `temperature` and `top_p` are those of the sampling.
        model: a causal model of transformers, or anything that makes ids [B, T] into logits [B, T, V] or an object with `.logits`.
        prompts: ids [B, P], padded on the left.
        max_new_tokens: length of a continuation, in tokens.
        attention_mask: [B, P], 0 for padding.
        eos_token_id: ends a continuation; None: all have the same length, and the model's own EOS only begins another text. Nothing
            else of the model's `generation_config` is followed either.
        generator: makes the samples repeatable; then they are drawn token by token without the model's cache.
        num_items: as in `DistributionLoss.forward`.
        returns: weight of what follows from each drawn token, by the score function, see `dft_stats.loss.returns`; from the second
            optimizer step on. 1 is the whole gradient, with more noise.
        reward: of the continuations, followed by the score function too: with `documents` it sees them as wholes. Each is compared with
            all others, so no mean of the others is taken away from it: that would double count, and be off by half for two rows.
        gamma: discount of what comes a token later.

    Returns:
        Loss, components, and the ids [B, P + new] of prompts and continuations.

    Raises:
        TypeError: the prompts are no tensor of ids.
        ValueError: they are padded on the right, or look like it and there is no mask; or the mask has another shape.
    """
    _check_prompts(loss, prompts, attention_mask)
    ends = [] if eos_token_id is None else torch.as_tensor(eos_token_id, dtype=torch.long).flatten().tolist()
    generate = getattr(model, "generate", None)
    with evaluating(model), torch.no_grad():
        if generate is not None and generator is None:
            tokens = _generate(model, loss, prompts, attention_mask, max_new_tokens, ends)
        else:
            tokens = _draw(model, loss, prompts, attention_mask, max_new_tokens, ends, generator)
    whole = _extend(attention_mask, tokens)
    labels = tokens.clone()
    labels[:, : prompts.shape[1]] = loss.ignore_index
    if ends:
        ended = torch.isin(tokens[:, prompts.shape[1] :], torch.tensor(ends, device=tokens.device)).long()
        labels[:, prompts.shape[1] :][(ended.cumsum(1) - ended) > 0] = loss.ignore_index
    labels = labels.masked_fill(labels >= loss.vocab_size, loss.ignore_index)  # drawn from a padded head
    starts = None if whole is None else (whole == 0) | ((whole == 1) & (whole.cumsum(1) == 1))
    batch = loss.read(labels, input_ids=tokens, document_starts=starts)
    logits = _logits(model, tokens, whole)
    costs = None
    if returns and loss.learns and loss.steady:
        costs = consequences(loss, batch, labels.shape, batch.items(num_items), gamma)
        costs = returns * less_others(costs, batch.labelled.view(labels.shape))
    if reward is not None and loss.learns:
        of_reward, told = rewarded(reward, tokens, labels != loss.ignore_index, gamma)
        costs = of_reward if costs is None else costs + of_reward
    extra = None if costs is None else surrogate(loss, logits, batch, costs)
    value, components = loss(logits, batch, num_items=num_items)
    if reward is not None and loss.learns:
        components |= {f"{name}/reward": torch.tensor(part, device=tokens.device) for name, part in told.items()}
    return value if extra is None else value + extra, components, tokens


def _check_prompts(loss: DistributionLoss, prompts: Any, mask: Tensor | None) -> None:
    if not isinstance(prompts, Tensor) or prompts.ndim != 2 or prompts.is_floating_point():
        raise TypeError(
            f"prompts are a tensor of ids [B, P], not {describe(prompts)}: of texts `tokenizer(texts, padding=True, padding_side='left',"
            " return_tensors='pt')` makes `input_ids`, and `attention_mask`, which is an argument of its own"
        )
    if not prompts.numel():
        raise ValueError(f"prompts are [B, P] and not empty, not {describe(prompts)}: give each a token to begin with, such as the BOS")
    if mask is not None and mask.shape != prompts.shape:
        raise ValueError(f"attention_mask and prompts are aligned, [B, P]; they are {tuple(mask.shape)} and {tuple(prompts.shape)}")
    if mask is not None:
        padded = mask[:, -1] == 0
    else:  # some rows end in a special token, or all in several of one kind
        last = loss.reader.special[prompts[:, -1].clamp(0, loss.vocab_size - 1).to(loss.reader.special.device)]
        again = (prompts[:, -2:] == prompts[:, -1:]).all(1).to(last.device) & (prompts.shape[1] > 1)
        padded = last & (again | ~last.all())
    if bool(padded.any()):
        raise ValueError(
            "prompts seem to be padded on the right, where the continuation has to begin: pad them on the left"
            " (`padding_side='left'`), and give their `attention_mask`"
        )


def _generate(model: Any, loss: DistributionLoss, prompts: Tensor, mask: Tensor | None, new: int, ends: list[int]) -> Tensor:
    with _own_settings(model):
        tokens: Tensor = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts) if mask is None else mask,
            max_new_tokens=new,
            do_sample=True,
            temperature=loss.sampler.temperature,
            top_p=loss.sampler.top_p,
            top_k=0,
            num_beams=1,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,
            return_dict_in_generate=False,
        )
    return tokens.clone()  # not an inference tensor


@contextmanager
def _own_settings(model: nn.Module) -> Iterator[None]:
    """Nothing of the model's own settings of generation, such as `min_p` or an EOS, which would draw from another law than is counted."""
    kept = [(vars(module), vars(module)["generation_config"]) for module in model.modules() if "generation_config" in vars(module)]
    try:
        for fields, settings in kept:
            fields["generation_config"] = type(settings)()
        yield
    finally:
        for fields, settings in kept:
            fields["generation_config"] = settings


def _draw(
    model: nn.Module,
    loss: DistributionLoss,
    prompts: Tensor,
    mask: Tensor | None,
    new: int,
    ends: list[int],
    generator: torch.Generator | None,
) -> Tensor:
    tokens, done = prompts, torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    for _ in range(new):
        drawn = loss.sampler.sample(_logits(model, tokens, _extend(mask, tokens))[:, -1], generator)
        if ends:
            drawn = torch.where(done, ends[0], drawn)
            done = done | torch.isin(drawn, torch.tensor(ends, device=drawn.device))
        tokens = torch.cat([tokens, drawn[:, None]], 1)
        if ends and bool(done.all()):
            break
    return tokens


def _logits(model: nn.Module, tokens: Tensor, mask: Tensor | None) -> Any:
    arguments: dict[str, Tensor] = {}
    if mask is not None:
        arguments["attention_mask"] = mask
        if _takes(model, "position_ids"):  # absolute positions do not count padding
            arguments["position_ids"] = (mask.long().cumsum(1) - 1).clamp_min(0)
    output = model(tokens, **arguments)
    return logits_of(output)


def _takes(model: Any, name: str) -> bool:
    """Whether the forward of a model takes an argument; what wraps it (PEFT, DDP, `torch.compile`) shows `**kwargs` alone."""
    inner = model
    while inner is not None:
        if name in inspect.signature(inner.forward).parameters:
            return True
        wraps_base = callable(getattr(inner, "get_base_model", None))
        inner = inner.get_base_model() if wraps_base else getattr(inner, "_orig_mod", None) or getattr(inner, "module", None)
    return False


def _extend(mask: Tensor | None, tokens: Tensor) -> Tensor | None:
    if mask is None:
        return None
    return torch.cat([mask, mask.new_ones(len(mask), tokens.shape[1] - mask.shape[1])], 1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout while sampling."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
