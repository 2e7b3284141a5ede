"""Profiles made by the reference definitions, without the build engine."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dft_stats.counts import count, exposure, prune
from dft_stats.features import SCHEMA, document_features
from dft_stats.profile import FLOOR_SCHEMA, Profile, write_profile
from dft_stats.statistics import COUNTED
from dft_stats.text import NORMALISER, RULE, documents


def profile_of(
    texts: Sequence[str], folder: Path, *, min_documents: int = 1, name: str = "test", version: str = "1.0.0", floor: pa.Table | None = None
) -> Profile:
    """Count texts the slow way and write a profile."""
    segmented = documents(texts)
    counts = {}
    for statistic in COUNTED:
        counted = count(statistic, segmented)
        if statistic.kind == "categorical" and min_documents > 1:
            counted = prune(counted, pc.greater_equal(counted.table["documents"], min_documents))
        counts[statistic.name] = counted
    return write_profile(
        folder,
        facts={"name": name, "version": version, "segmenter": RULE.identity, "normaliser": NORMALISER, "typography": "fold"},
        exposure=exposure(segmented),
        counts=counts,
        documents=pa.Table.from_pylist([document_features(document) for document in segmented], schema=SCHEMA),
        floor=FLOOR_SCHEMA.empty_table() if floor is None else floor,
        card="# test",
    )
