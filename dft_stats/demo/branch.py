"""A model whose last blocks are trained, beside the same blocks as they were: what lies below them is run once for both."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dft_stats.demo.writing import generate
from dft_stats.errors import DftStatsError
from dft_stats.loss import Sampler

ROWS = 16  # of logits, looked at together: small enough for the cache
SAME = 1e-4  # nats


class Branch(nn.Module):
    """A causal model of transformers with its last blocks trainable and all else frozen, for `on_policy`.

    After a forward, `divergence` says how far the model has gone from what it was.
    """

    divergence: Tensor  # scalar: mean KL(model || model as it was) over the predictions behind the prompt, in nats

    def __init__(self, model: Any, layers: int, never: Tensor) -> None:
        super().__init__()
        self.never = never  # bool [V]: ids that are not sampled
        self.model = model.requires_grad_(False)
        self.owner, self.name = _place_of_blocks(model)
        self.blocks = getattr(self.owner, self.name)
        last = list(self.blocks)[-layers:]
        self.before = copy.deepcopy(nn.ModuleList(last)).eval()
        self.trained = [parameter.requires_grad_(True) for block in last for parameter in block.parameters()]
        self.prompt = 1  # tokens that no prediction is counted for

    def generate(
        self, prompts: Tensor, *, attention_mask: Tensor, max_new_tokens: int, temperature: float, top_p: float, **_: Any
    ) -> Tensor:
        """Continuations, as `on_policy` asks for them."""
        self.prompt = prompts.shape[1]
        return generate(self.model, prompts, attention_mask, max_new_tokens, Sampler(temperature, top_p), self.never)

    def forward(self, tokens: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]."""
        arguments = {"attention_mask": attention_mask, "position_ids": position_ids, "use_cache": False}
        entered: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        first = self.blocks[len(self.blocks) - len(self.before)]
        hook = first.register_forward_pre_hook(lambda _, given, named: entered.append((given, named)), with_kwargs=True)
        try:
            logits: Tensor = self.model(tokens, **arguments).logits
        finally:
            hook.remove()
        with torch.no_grad():
            (hidden, *given), named = entered[0]
            for block in self.before:
                output = block(hidden, *given, **named)
                hidden = output[0] if isinstance(output, tuple) else output
            setattr(self.owner, self.name, nn.ModuleList([_Said(output)]))
            try:
                before = self.model(tokens, **arguments).logits
            finally:
                setattr(self.owner, self.name, self.blocks)
        counted = slice(self.prompt - 1, -1)
        self.divergence = divergence(logits[:, counted].flatten(0, 1), before[:, counted].flatten(0, 1))
        return logits

    def restore(self) -> None:
        """Undo the training."""
        self.blocks[-len(self.before) :].load_state_dict(self.before.state_dict())

    def check(self, tokens: Tensor) -> None:
        """See that the two branches are the same before training.

        Raises:
            DftStatsError: they are not; the model does more between its blocks than to call one after another.
        """
        mask = torch.ones_like(tokens)
        with torch.no_grad():
            self(tokens, mask, mask.cumsum(1) - 1)
        if not abs(self.divergence.item()) < SAME:
            raise DftStatsError(
                f"the last blocks of {type(self.model).__name__} do not run by themselves; name a model like Llama (`--model`)"
            )


class _Said(nn.Module):
    """In place of all blocks: what they say is known."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.output


def _place_of_blocks(model: nn.Module) -> tuple[nn.Module, str]:
    """The module and the attribute that hold the list of the model's blocks: the longest list there is."""
    lists = [
        (len(part), owner, name) for owner in model.modules() for name, part in owner.named_children() if isinstance(part, nn.ModuleList)
    ]
    if not lists:
        raise DftStatsError(
            f"{type(model).__name__} has no list of blocks, so none of them can be trained; name a model like Llama (`--model`)"
        )
    _, owner, name = max(lists, key=lambda found: found[0])
    return owner, name


def divergence(logits: Tensor, before: Tensor) -> Tensor:
    """Mean KL(softmax(logits) || softmax(before)) of rows [N, V], in nats; the gradient is that of `logits`."""
    mean: Tensor = _Divergence.apply(logits, before)  # type: ignore[no-untyped-call]
    return mean


class _Divergence(torch.autograd.Function):
    """Its own function for the sake of memory: a few rows at a time, and nothing kept but the gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, before: Tensor) -> Tensor:
        gradient = torch.empty_like(logits)
        total = logits.new_zeros(())
        for rows in torch.arange(len(logits)).split(ROWS):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            now = F.log_softmax(logits[part], -1)
            p = now.exp()
            ratio = now.sub_(F.log_softmax(before[part], -1))
            each = (p * ratio).sum(-1, keepdim=True)
            total += each.sum()
            torch.mul(p, ratio.sub_(each), out=gradient[part])
        ctx.save_for_backward(gradient.div_(len(logits)))
        return total / len(logits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul(gradients[0]), None
