"""Triton kernels of the dense part of a chunk: two passes over its logits in place of five. Imported by `dft_stats.loss.fused` alone."""

import triton
import triton.language as tl


@triton.jit
def sums_kernel(
    logits, rate, classes, lse, plain_lse, mean, by_class, width, text, stride, inverse_temperature,
    CLASSES: tl.constexpr, BLOCK: tl.constexpr, TEMPERED: tl.constexpr,
):  # fmt: skip
    """One row: log-sum-exp at the temperature and, if that is not one, without it; expected rate; mass by class (CLASSES: a power of 2)."""
    row = tl.program_id(0).to(tl.int64)
    most, total, expected = -float("inf"), 0.0, 0.0
    plain_most, plain_total = -float("inf"), 0.0
    mass = tl.zeros([CLASSES], tl.float32)
    names = tl.arange(0, CLASSES)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        plain = tl.load(logits + row * stride + at, mask=at < width, other=-float("inf")).to(tl.float32)
        z = plain * inverse_temperature
        higher = tl.maximum(most, tl.max(z, 0))
        base = tl.where(higher == -float("inf"), 0.0, higher)  # a block of forbidden tokens
        shrunk = tl.exp(most - base)
        e = tl.exp(z - base)
        total = total * shrunk + tl.sum(e, 0)
        expected = expected * shrunk + tl.sum(e * tl.load(rate + at, mask=at < text, other=0.0), 0)
        of = tl.load(classes + at, mask=at < text, other=-1)
        mass = mass * shrunk + tl.sum(tl.where(of[:, None] == names[None, :], e[:, None], 0.0), 0)
        most = higher
        if TEMPERED:
            higher = tl.maximum(plain_most, tl.max(plain, 0))
            base = tl.where(higher == -float("inf"), 0.0, higher)
            plain_total = plain_total * tl.exp(plain_most - base) + tl.sum(tl.exp(plain - base), 0)
            plain_most = higher
    found = most + tl.log(total)
    tl.store(lse + row, found)
    tl.store(plain_lse + row, plain_most + tl.log(plain_total) if TEMPERED else found)
    tl.store(mean + row, expected / total)
    tl.store(by_class + row * CLASSES + names, mass / total)


@triton.jit
def slope_kernel(
    logits, out, rate, classes, lse, plain_lse, mean, by_class, predicted, each, kept, tokens, rows, width, text, stride, out_stride,
    inverse_temperature, weight, CLASSES: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, TEMPERED: tl.constexpr,
):  # fmt: skip
    """One tile: p (weight (G - mean) + each), 0 in rows that are not kept, and the sum of p over predicted rows. `out` may be `logits`."""
    row = tl.program_id(1).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there, inside = row < rows, at < width
    mask = there[:, None] & inside[None, :]
    plain = tl.load(logits + row[:, None] * stride + at[None, :], mask=mask, other=-float("inf")).to(tl.float32)
    p = tl.exp(plain * inverse_temperature - tl.load(lse + row, mask=there, other=0.0)[:, None])
    some = tl.load(predicted + row, mask=there, other=0.0)
    of = tl.load(classes + at, mask=at < text, other=-1)
    known = mask & (of[None, :] >= 0)
    own = tl.load(by_class + row[:, None] * CLASSES + of[None, :], mask=known, other=0.0)
    gain = some[:, None] * tl.load(rate + at, mask=at < text, other=0.0)[None, :] + own
    label = tl.load(each + row, mask=there, other=0.0)[:, None]
    slope = p * weight * (gain - tl.load(mean + row, mask=there, other=0.0)[:, None])
    if TEMPERED:
        slope += label * tl.exp(plain - tl.load(plain_lse + row, mask=there, other=0.0)[:, None])
    else:
        slope += label * p
    needed = tl.load(kept + row, mask=there, other=0) != 0
    tl.store(out + row[:, None] * out_stride + at[None, :], tl.where(needed[:, None], slope, 0.0), mask=mask)
    tl.atomic_add(tokens + at, tl.sum(tl.where(needed[:, None], some[:, None] * p, 0.0), 0), mask=at < text)
