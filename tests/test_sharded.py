"""The loss beside sharded models: two processes with FSDP2 are one process with the whole batch; what cannot be right is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch import multiprocessing as processes
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM

from dft_stats.loss import DistributionLoss, through_head
from tests.compiled_for_tests import compiled, text_rows

ROWS, LENGTH = 4, 32


def model() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=compiled("gpt2").vocab_size, initializer_range=0.2, tie_word_embeddings=True, **sizes))


def batch(seed: int) -> Tensor:
    return torch.tensor(text_rows("gpt2", 2 * ROWS, LENGTH))[seed * ROWS : (seed + 1) * ROWS]


def two_steps(causal: Any, mine: slice, world: int) -> DistributionLoss:
    """Gradients of the second step, whose witness is made of the first. FSDP takes the mean over ranks."""
    loss = DistributionLoss(compiled("gpt2"), accumulation_steps=0, dead_zone=0.1, decay=0.9)
    for step in range(2):
        causal.zero_grad()
        ids = batch(step)
        value, _ = loss(causal(input_ids=ids[mine]).logits, ids[mine], num_items=ROWS * (LENGTH - 1))
        (world * value).backward()
        loss.step()
    return loss


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    causal = model()
    mesh = init_device_mesh("cpu", (2,))
    for layer in causal.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(causal, mesh=mesh)
    loss = two_steps(causal, slice(0, 1) if rank == 0 else slice(1, ROWS), 2)
    gradients = {name: p.grad.full_tensor() for name, p in causal.named_parameters()}
    refused = ""
    try:
        through_head(loss, torch.zeros(1, 4, 32), causal.lm_head, torch.ones(1, 4, dtype=torch.long))
    except ValueError as error:
        refused = str(error)
    if rank == 0:
        torch.save((gradients, loss.state_dict(), refused), f"{folder}/0.pt")
    dist.destroy_process_group()


def test_two_ranks_of_fsdp_are_one_process(tmp_path: Path) -> None:
    processes.spawn(_rank, (str(tmp_path),), nprocs=2)
    gradients, state, refused = torch.load(tmp_path / "0.pt", weights_only=True)
    causal = model()
    loss = two_steps(causal, slice(0, ROWS), 1)
    wanted = {name: p.grad for name, p in causal.named_parameters()}
    assert gradients.keys() == wanted.keys()
    one, other = (torch.cat([values[name].double().flatten() for name in wanted]) for values in (gradients, wanted))
    assert float(torch.cosine_similarity(one, other, dim=0)) > 0.99999
    assert float(one.norm() / other.norm()) == pytest.approx(1, abs=1e-3)
    for name, value in loss.state_dict().items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert "sharded" in refused


@pytest.mark.parametrize("tied", [True, False])
def test_checkpointed_blocks_and_tied_heads_through_the_head(tied: bool) -> None:
    """The gradient of all parameters equals that of the logits path."""
    found = []
    for through in (True, False):
        causal = model()
        if not tied:
            causal.lm_head.weight = nn.Parameter(causal.lm_head.weight.detach().clone())
        if through:  # the name of it changed in transformers 5
            (getattr(causal, "activation_checkpointing_enable", None) or causal.gradient_checkpointing_enable)()
        causal.train()
        loss = DistributionLoss(compiled("gpt2"), dead_zone=0.1, decay=0.9)
        for step in range(2):
            causal.zero_grad()
            ids = batch(step)
            if through:
                hidden = causal.model(input_ids=ids, use_cache=False).last_hidden_state
                value, _ = through_head(loss, hidden, causal.lm_head, ids, chunk_size=40)
            else:
                value, _ = loss(causal(input_ids=ids).logits, ids)
            value.backward()
        found.append({name: p.grad for name, p in causal.named_parameters()})
    assert found[0].keys() == found[1].keys()
    for name, wanted in found[1].items():
        torch.testing.assert_close(found[0][name], wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()), msg=name)
