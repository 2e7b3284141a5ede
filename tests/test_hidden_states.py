"""Logits by the head, as the adapter for TRL makes them, are the model's own: of the models that scale or cap them, and of others."""

from typing import Any

import pytest
import torch
import transformers

from dft_stats.adapters import hidden_states
from dft_stats.adapters.hidden_states import caught, check_head
from dft_stats.loss.one_pass import Head

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
GEMMA = {"lru_width": 32, "block_types": ["recurrent", "attention"], "attention_window_size": 8}
MAMBA = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}
MODELS: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Granite": {"logits_scaling": 8.0},
    "HyperCLOVAX": {"logits_scaling": 8.0},
    "Cohere": {"logit_scale": 0.06},
    "FalconH1": {"lm_head_multiplier": 0.1, **MAMBA},
    "Gemma2": {"final_logit_softcapping": 0.5, "head_dim": 16},
    "RecurrentGemma": {"logits_soft_cap": 0.5, **GEMMA},
}


def model(name: str) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES, num_key_value_heads=2, pad_token_id=0, **MODELS[name])
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_the_models_own(name: str) -> None:
    made = model(name)
    check_head(made)
    ids = torch.randint(3, 50, (2, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), caught(made) as found:
        logits = made(input_ids=ids, use_cache=False).logits
    assert found.hidden_states is not None
    torch.testing.assert_close(Head(found.head, found.softcap, found.logit_scale)(found.hidden_states), logits)


def test_another_rule_than_the_models_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model("HyperCLOVAX").train()
    monkeypatch.setattr(hidden_states, "scaling", lambda config: (None, 1 / config.logits_scaling))
    with pytest.raises(ValueError, match=r"HyperCLOVAXForCausalLM makes other logits .* times 0\.125, soft cap None: they differ by"):
        check_head(made)
    assert made.training


@pytest.mark.parametrize("lacks", ["parameters", "numbers"])
def test_a_rank_that_has_no_parameters_yet_compares_nothing(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = model("HyperCLOVAX")
    monkeypatch.setattr(hidden_states, "scaling", lambda config: (None, 1 / config.logits_scaling))
    if lacks == "parameters":
        check_head(made.to("meta"))
    else:
        torch.nn.init.constant_(made.lm_head.weight, float("nan"))
        check_head(made)


def test_a_model_that_four_ids_do_not_run_is_taken_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model("Llama")
    monkeypatch.setattr(made, "forward", lambda **_: {}["pixels"])
    with pytest.warns(UserWarning, match=r"the head of LlamaForCausalLM was not compared .*pixels"):
        check_head(made)
