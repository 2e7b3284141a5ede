"""The last hidden states and the head of a causal model of transformers, for trainers that never build logits."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dft_stats.loss.on_policy import evaluating
from dft_stats.loss.one_pass import Head

ROWS = 4


@dataclass(slots=True)
class Caught:
    """What a forward left: the input of the head, and how the model makes logits of its output."""

    head: nn.Module
    softcap: float | None
    logit_scale: float
    is_frozen: bool  # the backbone
    hidden_states: Tensor | None = None  # [B, T, H]

    def trains(self) -> bool:
        """Whether a gradient of the loss reaches a parameter; with a backbone that is frozen, that of the head."""
        hidden = self.hidden_states
        return hidden is not None and (hidden.requires_grad or (self.is_frozen and any(p.requires_grad for p in self.head.parameters())))


@contextmanager
def caught(model: Any) -> Iterator[Caught]:
    """Keep the hidden states of the first forward inside, of one with a gradient if there is any; `model` may be wrapped by PEFT.

    Others are for metrics, or of a model to compare with, before it or behind it.

    Raises:
        TypeError: the model has no backbone or no output embeddings.
    """
    whole = _innermost(model)
    head, backbone = whole.get_output_embeddings(), getattr(whole, "base_model", None)
    if head is None or backbone is None or backbone is whole:
        raise TypeError(f"{type(whole).__name__} has no backbone with a head on it, so its hidden states cannot be had")
    found = Caught(head, *scaling(whole.config), not any(p.requires_grad for p in backbone.parameters()))

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        hidden: Tensor = output.last_hidden_state if hasattr(output, "last_hidden_state") else output[0]
        if found.hidden_states is None or (hidden.requires_grad and not found.hidden_states.requires_grad):
            found.hidden_states = hidden

    hook = backbone.register_forward_hook(keep)
    try:
        yield found
    finally:
        hook.remove()


def _innermost(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def scaling(config: Any) -> tuple[float | None, float]:
    """Soft cap and factor of a model's logits, by its configuration: the rule of TRL (`trl.trainer.utils`), and RecurrentGemma's cap."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config

    def first(*names: str) -> float | None:
        values = [getattr(text, name, None) for name in names]
        return next((float(value) for value in values if value is not None), None)

    scale, scaled = first("logit_scale", "output_multiplier", "lm_head_multiplier"), first("logits_scaling")
    if scale is None and scaled is not None:  # Granite and MiniCPM3 divide by it
        scale = scaled if text.model_type == "hyperclovax" else 1 / scaled
    return first("final_logit_softcapping", "logits_soft_cap") or None, 1.0 if scale is None else scale


@torch.no_grad()
def check_head(model: Any) -> None:
    """Compare the logits that are made here of a few hidden states with those that the model makes itself.

    Raises:
        TypeError: as `caught`.
        ValueError: they are others.
    """
    with caught(model) as found:
        weight = next(found.head.parameters())
        if weight.is_meta:
            return  # of a rank that gets its parameters later; another rank has them
        try:
            given = {"input_ids": torch.arange(1, ROWS + 1, device=weight.device)[None], "use_cache": False}
            with evaluating(model):
                logits = model(**given).logits.float()
                if found.hidden_states is None:  # a forward that goes past it, as OPT's
                    _innermost(model).base_model(**given)
        except Exception as error:  # parameters that are elsewhere for now, or inputs that this cannot guess
            warnings.warn(
                f"the head of {type(model).__name__} was not compared with the model's own logits, which four ids did not give: {error}",
                stacklevel=3,
            )
            return
    assert found.hidden_states is not None
    ours = Head(found.head, found.softcap, found.logit_scale)(found.hidden_states).float().to(logits.device)
    off, most = float((ours - logits).abs().max()), float(logits.abs().max())
    if not math.isfinite(most):
        return  # nothing to compare with, as where parameters are not filled in yet
    close = 1e-3 if weight.dtype == torch.float32 else 3e-2
    if not off <= close * most + 1e-6:
        raise ValueError(
            f"{type(model).__name__} makes other logits of its hidden states than its head, times {found.logit_scale:g}, soft cap"
            f" {found.softcap}: they differ by {off:.3g} of {most:.3g}, so the loss would be that of another model. In a plain"
            " transformers.Trainer the loss takes the model's own logits; and please report the model"
        )
