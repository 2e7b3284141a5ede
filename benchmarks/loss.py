"""What the loss costs beside the cross-entropy of the same head: time and memory of a forward and a backward pass.

python benchmarks/loss.py TOKENIZER [--profile news] [--tokens 2048] [--width 576] [--vocabulary 0] [--dtype float32] [--device cpu]
                          [--chunk-size 512] [--repetitions 7]

For the target of record, on one GPU: --device cuda --dtype bfloat16 --tokens 8192 --width 4096 --vocabulary 131072, with the tokenizer of
LLaMA 3. TOKENIZER is a `tokenizer.json`; a vocabulary of more entries than it has is a padded head. The text is the documentation of the
installed Python packages. Hidden states and head are drawn, so that logits are peaked, in some places more than in others, as are those of
a model: how many tokens a nucleus of 0.95 has at temperature 0.8 is printed. Every arm computes the gradients of the hidden states and of
the head. All arms run in turn in one process, after two warm-ups that fill the running rates; printed is the median,
its ratio to the chunked head without the loss (the same loop over rows with torch alone), and the memory at the peak beyond the inputs and
their gradients: allocated on a GPU, on a CPU the growth of a process of its own. On a GPU the loss has kernels of its own, and the portable
path stands beside them. Peers that are not installed, or need a GPU, are left out.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

import dft_stats
from dft_stats.demo.documents import documentation_texts, passages
from dft_stats.loss import DistributionLoss, fused, through_head
from dft_stats.loss.sampler import cut_off

SAME = "chunked head, cross-entropy alone"
OURS = "chunked head, cross-entropy and loss"
SPREAD = (3.0, 8.0)  # sd of a row's logits
Arm = Callable[[], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--profile", default="news")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--vocabulary", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--chunk-size", type=int, default=512)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    arms, inputs = prepare(given)
    if given.only:
        print(peak(given, arms[given.only], inputs))
        return
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for repetition in range(given.repetitions + 2):
        for name, arm in arms.items():
            clear(inputs)
            spent = timed(given.device, arm)
            if repetition >= 2:
                seconds[name].append(spent)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    entries = len(inputs[1])
    print(f"{given.tokens} tokens, {entries} entries, width {given.width}, {given.dtype}, {given.device}, torch {torch.__version__}")
    with torch.no_grad():
        p = torch.softmax(F.linear(inputs[0][0, :: max(1, given.tokens // 256)], inputs[1]).float() / 0.8, -1)
    nuclei = (p >= cut_off(p, 0.95)).sum(-1).float()
    print(f"nuclei: median {float(nuclei.median()):.0f}, of one place in ten more than {float(nuclei.quantile(0.9)):.0f}")
    for name, median in medians.items():
        memory = memory_of(given, name, arms[name], inputs)
        spread = (max(seconds[name]) - min(seconds[name])) / median
        print(f"{name:58} {median * 1e3:9.1f} ms (spread {spread:4.0%})  {median / medians[SAME]:5.2f}  {memory / 1e6:8.0f} MB")


def prepare(given: argparse.Namespace) -> tuple[dict[str, Arm], tuple[Tensor, Tensor]]:
    """The arms, and the tensors that gradients are computed for: hidden states and the head's weight."""
    tokenizer = Tokenizer.from_file(str(given.tokenizer))
    compiled = dft_stats.load(given.profile).compile(tokenizer)
    text = "\n\n".join(passages(documentation_texts()))
    ids = torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids)
    labels = ids.repeat(given.tokens // len(ids) + 1)[: given.tokens][None].to(given.device)
    torch.manual_seed(0)
    dtype = getattr(torch, given.dtype)
    head = nn.Linear(given.width, max(compiled.vocab_size, given.vocabulary), bias=False, device=given.device, dtype=dtype)
    peaked = torch.linspace(*SPREAD, given.tokens, device=given.device)[:, None] * 3**0.5  # the head's own logits have a sd of 3^-0.5
    hidden = (torch.randn(1, given.tokens, given.width, device=given.device) * peaked).to(dtype).requires_grad_()
    losses = [DistributionLoss(compiled).to(given.device) for _ in range(4)]
    tempered = DistributionLoss(compiled, temperature=0.8).to(given.device)
    nucleus = DistributionLoss(compiled, temperature=0.8, top_p=0.95).to(given.device)
    targets = labels[0]

    def flat() -> Tensor:
        return hidden[0]

    def all_logits() -> Tensor:
        return F.cross_entropy(head(flat()).float(), targets)

    def logits_and_loss() -> Tensor:
        logits: Tensor = head(hidden)
        value: Tensor = losses[0](logits, labels, shifted=True)[0]
        return F.cross_entropy(logits[0].float(), targets) + 0.1 * value

    def logits_in_one_pass() -> Tensor:
        return through_head(losses[2], head(hidden), nn.Identity(), labels, weight=0.1, cross_entropy=1.0, shifted=True)[0]

    def portable() -> Tensor:
        fused.ENABLED = False
        try:
            return ours(losses[3])
        finally:
            fused.ENABLED = True

    def ours(loss: DistributionLoss = losses[1]) -> Tensor:
        options: dict[str, Any] = {"shifted": True, "chunk_size": given.chunk_size}
        return through_head(loss, hidden, head, labels, weight=0.1, cross_entropy=1.0, **options)[0]

    arms: dict[str, Arm] = {
        SAME: lambda: chunked(flat(), head, targets, given.chunk_size),
        OURS: ours,
        f"{OURS}, temperature 0.8": lambda: ours(tempered),
        f"{OURS}, 0.8 and top-p 0.95": lambda: ours(nucleus),
        "all logits, cross-entropy alone": all_logits,
        "all logits, cross-entropy and loss apart": logits_and_loss,
        "all logits, cross-entropy and loss in one pass": logits_in_one_pass,
    }
    if given.device != "cpu":
        arms[f"{OURS}, portable"] = portable
    if hasattr(nn, "LinearCrossEntropyOptions"):
        options = nn.LinearCrossEntropyOptions()
        arms["torch linear_cross_entropy, chunked"] = lambda: F.linear_cross_entropy(flat(), head.weight, targets, options=options)
    arms |= peers(given.device, flat, head.weight, targets)
    return arms, (hidden, head.weight)


def peers(device: str, flat: Callable[[], Tensor], weight: Tensor, targets: Tensor) -> dict[str, Arm]:
    """Fused heads of others, on a GPU and if they are installed."""
    found: dict[str, Arm] = {}
    if device == "cpu":
        return found
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        found["Liger fused linear cross-entropy"] = lambda: LigerFusedLinearCrossEntropyLoss()(weight, flat(), targets)
    except ImportError as error:
        print(f"without Liger: {error}")
    try:
        from cut_cross_entropy import linear_cross_entropy

        found["Cut Cross-Entropy"] = lambda: linear_cross_entropy(flat(), weight, targets)
    except ImportError as error:
        print(f"without Cut Cross-Entropy: {error}")
    return found


def chunked(hidden: Tensor, head: nn.Linear, targets: Tensor, chunk_size: int) -> Tensor:
    """Mean cross-entropy, its gradients computed in the forward pass, a few rows at a time: the loop of `through_head` without the loss."""
    value: Tensor = _Chunked.apply(hidden, head.weight, targets, chunk_size)  # type: ignore[no-untyped-call]
    return value


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_size: int) -> Tensor:
        into_hidden, into_weight = torch.empty_like(hidden), torch.zeros_like(weight, dtype=torch.float32)
        total = hidden.new_zeros((), dtype=torch.float32)
        buffer = hidden.new_empty(min(chunk_size, len(hidden)), len(weight), dtype=torch.float32)
        for rows in torch.arange(len(hidden), device=hidden.device).split(chunk_size):
            logits = hidden[rows] @ weight.T
            p = torch.softmax(logits.float(), -1, out=buffer[: len(rows)])
            told = targets[rows, None]
            total -= p.gather(1, told).log().sum()
            p.scatter_add_(1, told, -torch.ones_like(told, dtype=p.dtype))
            slope = p.div_(len(hidden)).to(logits.dtype)
            into_hidden[rows] = slope @ weight
            into_weight += slope.T @ hidden[rows]
        ctx.save_for_backward(into_hidden, into_weight.to(weight.dtype))
        return total / len(hidden)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        into_hidden, into_weight = ctx.saved_tensors
        return into_hidden.mul_(upstream[0]), into_weight.mul_(upstream[0]), None, None


def clear(inputs: tuple[Tensor, Tensor]) -> None:
    for tensor in inputs:
        tensor.grad = None


def run(arm: Arm) -> None:
    arm().backward()


def timed(device: str, arm: Arm) -> float:
    wait = torch.cuda.synchronize if device != "cpu" else time.perf_counter
    wait()
    began = time.perf_counter()
    run(arm)
    wait()
    return time.perf_counter() - began


def memory_of(given: argparse.Namespace, name: str, arm: Arm, inputs: tuple[Tensor, Tensor]) -> float:
    """Bytes at the peak."""
    if given.device != "cpu":
        return peak(given, arm, inputs)
    done = subprocess.run([sys.executable, *sys.argv, "--only", name], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak(given: argparse.Namespace, arm: Arm, inputs: tuple[Tensor, Tensor]) -> float:
    """Bytes at the peak of a third pass, beyond what was there before it and the gradients of the inputs."""
    gradients = sum(tensor.numel() * tensor.element_size() for tensor in inputs)
    run(arm)
    if given.device != "cpu":
        clear(inputs)
        torch.cuda.reset_peak_memory_stats()
        before = float(torch.cuda.memory_allocated())
        run(arm)
        return float(torch.cuda.max_memory_allocated() - before - gradients)
    clear(inputs)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    run(arm)
    return resident("VmHWM") - before - gradients


def resident(field: str) -> float:
    """Bytes of this process, from the system's books (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{field}:"))) * 1024


if __name__ == "__main__":
    main()
