"""The last hidden states and the head of a causal model of transformers, for trainers that never build logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(slots=True)
class Caught:
    """What a forward left: the input of the head, and how the model makes logits of its output."""

    head: nn.Module
    softcap: float | None
    logit_scale: float
    hidden_states: Tensor | None = None  # [B, T, H]


@contextmanager
def caught(model: Any) -> Iterator[Caught]:
    """Keep the hidden states of the first forward inside; `model` may be wrapped by PEFT.

    Raises:
        TypeError: the model has no backbone or no output embeddings.
    """
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    head, backbone = whole.get_output_embeddings(), getattr(whole, "base_model", None)
    if head is None or backbone is None or backbone is whole:
        raise TypeError(f"{type(whole).__name__} has no backbone with a head on it, so its hidden states cannot be had")
    config = whole.config
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1.0)  # Cohere; Granite
    found = Caught(head, getattr(config, "final_logit_softcapping", None), float(scale))

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        if found.hidden_states is not None:
            return  # a second forward, for metrics
        found.hidden_states = output.last_hidden_state if hasattr(output, "last_hidden_state") else output[0]

    hook = backbone.register_forward_hook(keep)
    try:
        yield found
    finally:
        hook.remove()
