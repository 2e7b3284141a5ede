"""Causal language models of four kinds, tiny and random, and rows of text for them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

KINDS: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
IGNORED = -100


def model(kind: str = "llama", **others: Any) -> Any:
    """The same weights each time, for 700 ids."""
    torch.manual_seed(0)
    config, causal = KINDS[kind]
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    return causal(config(vocab_size=700, max_position_embeddings=512, pad_token_id=0, **sizes, **others))


def padded(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """A batch, padded on the right."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, IGNORED)}


def flat(tensors: Any) -> Tensor:
    """As one vector, float64."""
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors])


def same_direction(one: Tensor, other: Tensor) -> bool:
    """Cosine 1.000, and norms within 0.1 %."""
    cosine, ratio = torch.cosine_similarity(one, other, dim=0), one.norm() / other.norm()
    return float(cosine) > 0.9995 and abs(float(ratio) - 1) < 1e-3
