"""What the settings of a build stand for: sizes, segmenters, engines and tokenizers by name."""

import re
from pathlib import Path
from typing import Any

from dft_stats.build.engine import Runner, run_here
from dft_stats.sentences import RULE, Segmenter
from dft_stats.tokenizer import resolve


def as_bytes(memory: int | str) -> int:
    """A size such as "2GB" or "500 MB" in bytes (powers of ten)."""
    if isinstance(memory, int):
        return memory
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", memory.lower())
    if not found:
        raise ValueError(f'memory {memory!r} is no size; give one such as "2GB" or "500MB"')
    return int(float(found[1]) * 10 ** (3 * " kmgt".index(found[2] or " ")))


def resolve_segmenter(segmenter: Segmenter | str) -> Segmenter:
    """A segmenter by name: "rule", "spacy" (its tokenizer and sentencizer) or "spacy:MODEL" (an installed model)."""
    if isinstance(segmenter, Segmenter):
        return segmenter
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
