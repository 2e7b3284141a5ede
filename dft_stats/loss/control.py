"""How hard to pull, given how far off a rate is: nothing within human noise, and more the longer it stays beyond."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Control:
    """The force on a rate is `shrink(z) + dual`, the augmented Lagrangian of the constraint |z| <= dead_zone (Hestenes 1969, Powell 1969).

    `dual` grows by `dual_rate * shrink(z)` with every optimizer step, at most by `dual_rate`, so it finds the strength that holds the rate
    at the edge of human noise against an anchor, whatever the anchor's weight. What a rate that is far off would add on its way would have
    to be taken back behind the edge, where it overshoots: hence the most by which it grows (a cap on what is integrated, against windup;
    cf. Astrom and Hagglund, PID Controllers, 1995, 3.5). With `dual_rate` 0 there is the penalty alone, which stops short.
    A high rate swings, since the model answers late: the optimizer has its own pace, and rates may be means over steps. And where the
    constraint cannot be met, as with a cross-entropy of text that contradicts the profile, the variables grow to their limit.

    For the same reason z itself is taken as many as `lead` steps ahead on its trend, the derivative part of a PID controller (Astrom and
    Hagglund; for dual variables Stooke, Achiam and Abbeel 2020): what is on its way is pulled less, what comes back is held early. Trends
    of small steps are noise, so there is none in steps of up to 1,024 words, and no more than leaves z about the noise of such a step.
    """

    dead_zone: float = 1.0
    clip: float = 4.0
    lead: float = 5.0
    dual_rate: float = 0.0
    dual_limit: float = 20.0
    warmup_steps: int = 0
    every: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.dead_zone < math.inf and self.clip > 0):
            raise ValueError(f"dead_zone is not negative and clip is more than 0; they are {self.dead_zone} and {self.clip}")
        if not 0 <= self.lead < math.inf:
            raise ValueError(f"lead is a number of steps, 0 or more, not {self.lead}")
        if not (0 <= self.dual_rate <= 1 and self.dual_limit > 0):
            raise ValueError(f"dual_rate is from 0 to 1 and dual_limit more than 0; they are {self.dual_rate} and {self.dual_limit}")
        whole = isinstance(self.warmup_steps, int) and isinstance(self.every, int)
        if not whole or self.warmup_steps < 0 or self.every < 1:
            raise ValueError(
                f"warmup_steps and every are whole numbers, not negative and at least 1; they are {self.warmup_steps} and {self.every}"
            )

    def ahead(self, z: Tensor, before: Tensor, scale: Tensor) -> Tensor:
        """Where z will be, (features,), if it goes on as from `before`, a step ago.

        Args:
            z: in standard errors of 1,024 words at the most.
            before: the same, of the step before.
            scale: noise of z, in these units: less than 1 for steps of more words.
        """
        steps = (1 / scale - 1).clamp_max(self.lead)
        return z + steps * (z - before)

    def shrink(self, z: Tensor) -> Tensor:
        """What of z is beyond the human noise, clipped."""
        return z.sign() * (z.abs() - self.dead_zone).clamp(0, self.clip)

    def strength(self, steps: Tensor) -> Tensor:
        """Factor of the whole loss after so many optimizer steps: it rises over the warm-up, and is 0 between every `every` steps."""
        rise = ((steps + 1).float() / max(self.warmup_steps, 1)).clamp_max(1)
        return torch.where(steps % self.every == 0, rise, 0.0)
