"""Profiles made by the reference definitions, without the build engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dft_stats.counts import count, exposure, prune
from dft_stats.features import SCHEMA, document_features
from dft_stats.profile import Profile, write_profile
from dft_stats.sentences import RULE, documents
from dft_stats.spelling import spell
from dft_stats.statistics import COUNTED
from dft_stats.tables import FLOOR_SCHEMA
from dft_stats.text import NORMALISER


def profile_of(
    texts: Sequence[str],
    folder: Path,
    *,
    min_documents: int = 1,
    name: str = "test",
    version: str = "1.0.0",
    floor: pa.Table | None = None,
    facts: Mapping[str, Any] | None = None,
    card: str = "# test",
) -> Profile:
    """Count texts the slow way and write a profile."""
    segmented = documents(texts)
    whole = {statistic.name: count(statistic, segmented) for statistic in COUNTED}
    counts = {
        name: prune(counted, pc.greater_equal(counted.table["documents"], min_documents))
        if counted.statistic.kind == "categorical" and min_documents > 1
        else counted
        for name, counted in whole.items()
    }
    kept = whole["surface"].table["documents"].to_numpy() >= min_documents
    return write_profile(
        folder,
        facts={
            "name": name,
            "version": version,
            "segmenter": RULE.identity,
            "normaliser": NORMALISER,
            "typography": "fold",
            **(facts or {}),
        },
        exposure=exposure(segmented),
        counts=counts,
        spelling=spell(whole["surface"], whole["token_frequency"], kept, min_documents),
        documents=pa.Table.from_pylist([document_features(document) for document in segmented], schema=SCHEMA),
        floor=FLOOR_SCHEMA.empty_table() if floor is None else floor,
        card=card,
    )


def hashes(profile: Profile) -> dict[str, str]:
    """Logical hash of each table."""
    return {entry["name"]: entry["logical_sha256"] for entry in profile.manifest["tables"]}
