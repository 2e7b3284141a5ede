"""`torch.compile`: a whole training step in one graph, and the same numbers."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dft_stats.loss import Batch, DistributionLoss, through_head
from tests.compiled_for_tests import handmade

SIZE, WIDTH = handmade().vocab_size, 24
Step = Callable[[DistributionLoss, nn.Linear, Tensor, Any], tuple[Tensor, dict[str, Tensor]]]


def of_logits(loss: DistributionLoss, head: nn.Linear, hidden: Tensor, labels: Any) -> tuple[Tensor, dict[str, Tensor]]:
    logits = head(hidden * 1.5)
    value, components = loss(logits, labels, num_items=90)
    return value + logits.square().mean(), components


def of_hidden(loss: DistributionLoss, head: nn.Linear, hidden: Tensor, labels: Any) -> tuple[Tensor, dict[str, Tensor]]:
    return through_head(loss, hidden * 1.5, head, labels, weight=0.3, cross_entropy=1.0, softcap=30.0, chunk_size=16)


def rates(loss: DistributionLoss) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in loss.state_dict().items() if isinstance(value, Tensor)}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("step", [of_logits, of_hidden])
def test_one_graph_and_the_same_numbers(step: Step, is_read: bool) -> None:
    made = torch.compile(step, fullgraph=True, backend="aot_eager")
    losses = [DistributionLoss(handmade(), dead_zone=0.1, decay=0.9, accumulation_steps=2) for _ in range(2)]
    heads = [nn.Linear(WIDTH, SIZE) for _ in range(2)]
    heads[1].load_state_dict(heads[0].state_dict())
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        hidden = torch.randn(3, 30, WIDTH, generator=generator)
        labels = torch.randint(0, SIZE, (3, 30), generator=generator)
        labels[0, :7] = -100
        results = []
        for how, loss, head in zip((step, made), losses, heads, strict=True):
            given = hidden.clone().requires_grad_()
            read: Tensor | Batch = loss.read(labels) if is_read else labels
            value, components = how(loss, head, given, read)
            value.backward()
            results.append((value.detach(), given.grad, components))
        torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(heads[1].weight.grad, heads[0].weight.grad, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(heads[1].bias.grad, heads[0].bias.grad, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(*(rates(loss) for loss in losses))
    assert losses[1].commits == 3
    with torch.no_grad():
        before = rates(losses[1])
        torch.testing.assert_close(made(losses[1].eval(), heads[1], hidden, labels), step(losses[0].eval(), heads[0], hidden, labels))
    torch.testing.assert_close(rates(losses[1]), before)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_model_compiled_by_inductor_trains() -> None:
    """The code that inductor writes, where there is a compiler for it."""
    torch.manual_seed(0)
    loss, head = DistributionLoss(handmade()), nn.Linear(WIDTH, SIZE)
    made = torch.compile(of_hidden, fullgraph=True)
    hidden, labels = torch.randn(3, 30, WIDTH), torch.randint(0, SIZE, (3, 30))
    optimizer = torch.optim.SGD(head.parameters(), lr=0.3)
    values = []
    for _ in range(5):
        optimizer.zero_grad()
        value, components = made(loss, head, hidden, labels)
        value.backward()
        optimizer.step()
        values.append(components["dist/cross_entropy"].item())
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(_cross_entropy(hidden, labels), rel=1e-4)


def _cross_entropy(hidden: Tensor, labels: Tensor) -> float:
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, SIZE)
    logits = 30 * torch.tanh(head(hidden * 1.5) / 30)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()).item()


def test_a_head_that_is_no_linear_layer_breaks_the_graph_and_works() -> None:
    loss, head = DistributionLoss(handmade()), nn.Sequential(nn.Linear(WIDTH, SIZE))
    made = torch.compile(of_hidden, backend="aot_eager")
    hidden, labels = torch.randn(3, 30, WIDTH), torch.randint(0, SIZE, (3, 30))
    for _ in range(2):
        made(loss, head, hidden, labels)[0].backward()
    assert loss.commits == 2
