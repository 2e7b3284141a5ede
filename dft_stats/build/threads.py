"""Threads for kernels, which let go of the interpreter while they run. With one thread everything is done by the caller, in order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import ParamSpec, TypeVar

import numpy as np

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Threads:
    """How many there are, and where they come from."""

    number: int = 1
    pool: Executor | None = None

    def each(self, work: Callable[[U], T], items: Iterable[U]) -> list[T]:
        """What `work` makes of each item, in their order. `work` must not ask for threads itself."""
        return list(map(work, items) if self.pool is None else self.pool.map(work, items))

    def start(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> Callable[[], T]:
        """Begin something beside what follows; what is returned waits for its result. `work` must not ask for threads itself."""
        if self.pool is None:
            found = work(*args, **named)
            return lambda: found
        return self.pool.submit(work, *args, **named).result

    def cuts(self, size: int, times: int = 1) -> list[tuple[int, int]]:
        """(first, behind) of so many stretches a thread, of about equal size."""
        bounds = np.linspace(0, size, times * self.number + 1).astype(np.int64).tolist()
        return list(pairwise(bounds))


ALONE = Threads()


@contextmanager
def threads(number: int) -> Iterator[Threads]:
    """So many threads, until the block ends."""
    if number == 1:
        yield ALONE
        return
    with ThreadPoolExecutor(number) as pool:
        yield Threads(number, pool)
