"""What the settings of a build stand for: sizes, segmenters, engines and tokenizers by name."""

import math
import re
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from dft_stats.build import shards
from dft_stats.build.engine import Runner, run_here
from dft_stats.sentences import RULE, Segmenter
from dft_stats.statistics import NGRAM_FREQUENCY, SURFACE, TOKEN_FREQUENCY, TOKEN_STATISTICS
from dft_stats.tokenizer import resolve

_MOST_UNITS = 5
_MOST_BYTES = 1 << 50  # a petabyte: more is a slip of the pen, and no engine can read it


def check_settings(
    *, typography: str, min_documents: int | None, min_count: int, max_order: int, max_rows: Mapping[str, int], workers: int
) -> None:
    """Refuse settings of `build` that mean nothing.

    Raises:
        ValueError: which, and what it may be.
    """
    whole = {"min_documents": min_documents, "min_count": min_count, "max_order": max_order, "workers": workers}
    whole |= {f"max_rows of {name}": number for name, number in max_rows.items()}
    others = [f"{name} is {number!r}" for name, number in whole.items() if number is not None and not isinstance(number, Integral)]
    if others:
        raise ValueError(f"these are whole numbers: {', '.join(others)}")
    if typography not in ("fold", "keep"):
        raise ValueError(f'typography is "fold" or "keep", not {typography!r}')
    if not 2 <= max_order <= _MOST_UNITS:
        raise ValueError(f"max_order (`--max-order`) is from 2 to {_MOST_UNITS}, not {max_order}")
    for name, number in (("min_documents", min_documents), ("min_count", min_count), ("workers", workers)):
        if number is not None and number < 1:
            raise ValueError(f"{name} (`--{name.replace('_', '-')}`) is 1 or more, not {number}")
    tables = [TOKEN_FREQUENCY.name, *(f"{NGRAM_FREQUENCY.name}/{n}" for n in range(2, _MOST_UNITS + 1))]
    tables += [statistic.name for statistic in TOKEN_STATISTICS]
    if any(number < 0 for number in max_rows.values()):
        raise ValueError(f"max_rows are numbers of rows, 0 or more, not {dict(max_rows)}")
    unknown = sorted(set(max_rows) - {*tables, SURFACE.name})  # of which `Keep` tells
    if unknown:
        raise ValueError(f"max_rows names {', '.join(map(repr, unknown))}; tables whose rows are limited are {', '.join(tables)}")


def as_bytes(size: int | float | str, name: str = "memory") -> int:
    """A size such as "2GB" or "500 MB" in bytes (powers of ten); `name` says of what, if it is none."""
    if isinstance(size, int | float) and math.isfinite(size):
        return int(size)
    if not isinstance(size, str):
        raise ValueError(f'{name} {size!r} is no size; give bytes, or one such as "2GB" or "500MB"')
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", size.lower())
    if not found:
        raise ValueError(f'{name} {size!r} is no size; give one such as "2GB" or "500MB"')
    return min(int(float(found[1]) * 10 ** (3 * " kmgt".index(found[2] or " "))), _MOST_BYTES)


def checked_forget(forget: int | str | None, *, drops_singles: bool = True) -> int | None:
    """Bytes of text after which n-grams that occurred once are forgotten; None if nothing is.

    Args:
        forget: as `build` takes it.
        drops_singles: whether the profile leaves out what occurs once.

    Raises:
        ValueError: no size, or less than a shard; or everything is to be kept.
    """
    if forget is None:
        return None
    size, least = as_bytes(forget, "forget"), shards.SHARD_BYTES
    if size < least:
        raise ValueError(
            f"forget (`--forget`) is {size:,} bytes of text, and one shard, which is counted at one go, has about {least:,}; give that or "
            'more, such as "1GB": the more, the less accuracy it costs'
        )
    if not drops_singles:
        raise ValueError(
            f"forget (`--forget`) {forget!r} was given, and every row is to be kept (min_documents 1, min_count 1), those that occur once "
            "too: leave forget out, or keep rows of 2 documents or more (`--min-documents`)"
        )
    return size


def resolve_segmenter(segmenter: Segmenter | str) -> Segmenter:
    """A segmenter by name: "rule", "spacy" (its tokenizer and sentencizer) or "spacy:MODEL" (an installed model)."""
    if isinstance(segmenter, Segmenter):
        return segmenter
    if not isinstance(segmenter, str):
        raise ValueError(f'a segmenter is "rule", "spacy", "spacy:MODEL" or a `Segmenter`, not {segmenter!r}')
    if segmenter == "rule":
        return RULE
    kind, _, model = segmenter.partition(":")
    if kind == "spacy":
        from dft_stats.build.spacy_segmenter import spacy_segmenter

        return spacy_segmenter(model or None)
    raise ValueError(f'segmenter {segmenter!r} is not known; use "rule", "spacy" or "spacy:MODEL"')


def runner_of(engine: str) -> Runner:
    """What counts shards: "local", or "ray"."""
    if engine == "local":
        return run_here
    if engine == "ray":
        from dft_stats.build.ray_engine import run_on_ray

        return run_on_ray
    raise ValueError(f'engine {engine!r} is not known; use "local" or "ray"')


def tokenizer_text(tokenizer: Any) -> str | None:
    """A tokenizer as JSON text, which travels to processes; see `dft_stats.tokenizer.resolve`."""
    return None if tokenizer is None else resolve(tokenizer).to_str()


def parts_beside(target: Path) -> Path:
    """Where the counts of an interrupted build lie."""
    return target.absolute().parent / f".{target.name}.parts"
