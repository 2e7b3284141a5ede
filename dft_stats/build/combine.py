"""Finished profiles added up: the profile of all their corpora, without the corpora."""

import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dft_stats.build.card import card_of
from dft_stats.build.sample import MAX_DOCUMENTS
from dft_stats.compare import check_comparable
from dft_stats.counts import Exposure, merge
from dft_stats.errors import IncomparableError
from dft_stats.manifest import TOKENIZER
from dft_stats.profile import Profile, free_folder, write_profile
from dft_stats.spelling import SCHEMA
from dft_stats.tables import FLOOR_SCHEMA


def combine(
    profiles: Sequence[Profile], *, out: str | Path, name: str, version: str = "1.0.0", title: str = "", overwrite: bool = False
) -> Profile:
    """Add up profiles of disjoint corpora that were counted by the same rules, and write the sum.

    Exposure, totals and the rows that no profile pruned are exact: what one build of all the corpora would count. A row that some of them
    pruned is an undercount by what the manifest gives as `undercount`: at the most so many documents, and so many occurrences where the
    rows were limited by number. Sampled documents are those of all profiles in turn; the floor is the mean of theirs, weighted by words,
    and knows nothing of how the corpora differ from one another.

    Args:
        profiles: two or more.
        out: folder of the new profile.
        name: of the new profile.
        version: three numbers.
        title: one line for the card.
        overwrite: replace a profile that lies in `out`.

    Raises:
        ValueError: fewer than two profiles.
        IncomparableError: they were counted by different rules, or with different tokenizers, or two are of the same corpus.
        ProfileFormatError: `out` is taken.
    """
    if len(profiles) < 2:
        raise ValueError(f"{len(profiles)} profile was given; name two or more to add up")
    target, first = free_folder(out, overwrite=overwrite), profiles[0]
    for profile in profiles:
        if profile.manifest.get("privacy", {}).get("mode") == "epsilon":
            raise IncomparableError(
                f"the counts of {profile.name} are differentially private, and what a sum of such would promise nobody accounts for; build "
                "one profile of all the texts (`--epsilon`)"
            )
    for other in profiles[1:]:
        check_comparable(first, other)
        if first.is_masked != other.is_masked:
            whose = (first, other) if first.is_masked else (other, first)
            raise IncomparableError(
                f"of {whose[0].name} addresses and digits were masked before they were counted, of {whose[1].name} not, so that their rows"
                " do not add up; build one again (`--privacy`)"
            )
        orders = [profile.manifest.get("keep", {}).get("max_order", 5) for profile in (first, other)]
        if orders[0] != orders[1]:
            raise IncomparableError(
                f"{first.name} has n-grams of up to {orders[0]} units, {other.name} of up to {orders[1]}; build one again"
            )
    _check_disjoint(profiles)
    tokens = _tokenizer(profiles)
    exposure = sum((profile.exposure for profile in profiles), Exposure())
    counts = {name: merge(profile.counts(name) for profile in profiles) for name in first.counted}
    floor, documents = _floor(profiles), _documents(profiles)
    licences = sorted({str(profile.manifest.get("licence", "unspecified")) for profile in profiles})
    facts = {
        "name": name,
        "version": version,
        "title": title or f"The sum of {', '.join(f'{profile.name} {profile.version}' for profile in profiles)}.",
        "licence": "; ".join(licences),
        "language": "en",
        **{key: first.manifest[key] for key in ("segmenter", "normaliser", "typography") if key in first.manifest},
        "keep": {"max_order": first.manifest.get("keep", {}).get("max_order", 5)},
        "excluded": _sums(profile.manifest.get("excluded", {}) for profile in profiles),
        "merged": [entry for profile in profiles for entry in _leaves(profile)],
        **tokens,
        "undercount": _undercount(profiles),
        "privacy": _privacy(profiles),
        "built_with": f"dft-stats {importlib.metadata.version('dft-stats')}",
    }
    tables = {"counts": counts, "spelling": _spelling(profiles), "documents": documents, "floor": floor}
    return write_profile(target, facts=facts, exposure=exposure, card=card_of(facts, counts, exposure, floor), **tables)


def _privacy(profiles: Sequence[Profile]) -> dict[str, Any]:
    """As much as the least private of them."""
    entries = [profile.manifest.get("privacy", {"mode": "none"}) for profile in profiles]
    modes = {entry["mode"] for entry in entries}
    if modes != {"publish"}:
        return {"mode": "public-corpus" if modes == {"public-corpus"} else "none"}
    unit = "group" if all(entry["unit"] == "group" for entry in entries) else "document"
    masked = _sums(entry.get("masked", {}) for entry in entries)
    return {"mode": "publish", "min_documents": min(entry["min_documents"] for entry in entries), "unit": unit, "masked": masked}


def _sums(numbers: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found = Counter[str]()
    for each in numbers:
        found.update(each)
    return dict(sorted(found.items()))


def _leaves(profile: Profile) -> list[dict[str, str]]:
    """What a profile was added up from, or itself."""
    own = [{"name": profile.name, "version": profile.version, "sha256": profile.sha256}]
    return profile.manifest.get("merged") or own


def _check_disjoint(profiles: Sequence[Profile]) -> None:
    """Refuse two profiles of the same counts: of corpora that overlap in part nothing can be known, of the same one it can."""
    seen: dict[tuple[str, ...], Profile] = {}
    held: dict[str, Profile] = {}  # sha256 -> which of them is that, or has it in its sum
    for profile in profiles:
        hashes = {entry["name"]: entry["logical_sha256"] for entry in profile.manifest["tables"]}
        key = tuple(hashes[name] for name in profile.counted)
        if key in seen:
            raise IncomparableError(
                f"{seen[key].name} ({seen[key].path}) and {profile.name} ({profile.path}) have the same counts in every table: this is the "
                "same corpus twice, and the sum would count every text double; give profiles of disjoint corpora"
            )
        seen[key] = profile
        for entry in _leaves(profile):
            if entry["sha256"] in held:
                raise IncomparableError(
                    f"{held[entry['sha256']].name} and {profile.name} both hold {entry['name']} {entry['version']}, as itself or added up,"
                    " and the sum would count its texts double; give profiles of disjoint corpora"
                )
            held[entry["sha256"]] = profile


def _tokenizer(profiles: Sequence[Profile]) -> dict[str, Any]:
    """The entry of the tokenizer that all were counted with, nothing if none was counted with any."""
    first = profiles[0]
    for other in profiles[1:]:
        ours, theirs = (_identity(profile) for profile in (first, other))
        if ours != theirs:
            raise IncomparableError(
                f"{first.name} has {_said(first)}, {other.name} has {_said(other)}; build one again, with the same tokenizer (--tokenizer)"
            )
    if not first.has_tokens:
        return {}
    readings = [profile.manifest[TOKENIZER]["reading"] for profile in profiles]
    return {TOKENIZER: {**first.manifest[TOKENIZER], "reading": {event: sum(r[event] for r in readings) for event in readings[0]}}}


def _identity(profile: Profile) -> tuple[str, str] | None:
    entry = profile.manifest.get(TOKENIZER)
    return None if entry is None else (entry["sha256"], entry["reader"])


def _said(profile: Profile) -> str:
    identity = _identity(profile)
    if identity is None:
        return "no tokens counted"
    name = profile.manifest[TOKENIZER].get("name", "a tokenizer")
    return f"the tokens of {name} (sha256 {identity[0][:8]}, read by {identity[1][:8]})"


def _undercount(profiles: Sequence[Profile]) -> dict[str, int]:
    """By how much the rows of each table may be too low: "documents", and table -> count."""
    bound: dict[str, int] = {"documents": 0}
    for profile in profiles:
        own = profile.manifest.get("undercount", {})
        # A row that a profile pruned lacks what it had there; of one that was added up itself, its own bound says that already.
        pruned = {} if "merged" in profile.manifest else _pruned_at_most(profile)
        for name in ("documents", *(name for name in profile.counted if profile.counts(name).statistic.kind == "categorical")):
            bound[name] = bound.get(name, 0) + int(own.get(name, 0)) + pruned.get(name, 0)
    return bound


def _pruned_at_most(profile: Profile) -> dict[str, int]:
    """What a row that a profile pruned has at the most: "documents", and table -> count."""
    keep, privacy = profile.manifest.get("keep", {}), profile.manifest.get("privacy", {})
    is_pooled, most = privacy.get("mode") == "publish", dict[str, int]()
    for name in profile.counted:
        counts = profile.counts(name)
        if counts.statistic.kind != "categorical":
            continue
        groups = counts.statistic.groups
        for group in {tuple(row[name] for name in groups) for row in counts.spectrum.to_pylist()}:
            rows = counts.spectrum
            for column, value in zip(groups, group, strict=True):
                rows = rows.filter(pc.equal(rows[column], value))
            count, types = (rows[column].to_numpy() for column in ("count", "types"))
            # A published spectrum has means of rare counts: there one row may have all that the others, of one each, leave it.
            largest = int((count * types).sum() - types.sum() + 1) if is_pooled else int(count.max())
            most[name] = max(most.get(name, 0), largest)
    by_documents = privacy.get("unit", "document") == "document" and keep.get("min_count", 1) == 1 and not keep.get("max_rows")
    least = max(keep.get("min_documents", 1), keep.get("surface_documents", 1))
    return {"documents": least - 1 if by_documents else max(most.values(), default=0), **most}


def _spelling(profiles: Sequence[Profile]) -> pa.Table:
    rows = pa.concat_tables([profile.table("spelling") for profile in profiles])
    return rows.group_by("spelling").aggregate([("count", "sum")]).rename_columns(SCHEMA.names).cast(SCHEMA).sort_by("spelling")


def _floor(profiles: Sequence[Profile]) -> pa.Table:
    found: dict[tuple[str, int], list[tuple[float, float, int]]] = {}
    for profile in profiles:
        for row in profile.table("floor").to_pylist():
            found.setdefault((row["statistic"], row["words"]), []).append((row["mean"], row["sd"], profile.exposure.words))
    rows = []
    for (statistic, words), values in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        mean, sd, weight = map(np.array, zip(*values, strict=True))
        rows.append(
            {
                "statistic": statistic,
                "words": words,
                "mean": float(np.average(mean, weights=weight)),
                "sd": float(np.sqrt(np.average(sd**2, weights=weight))),
            }
        )
    return pa.Table.from_pylist(rows, schema=FLOOR_SCHEMA)


def _documents(profiles: Sequence[Profile]) -> pa.Table:
    """Rows of all profiles, as many of each as its share of the documents allows."""
    total = sum(profile.exposure.documents for profile in profiles)
    tables = []
    for profile in profiles:
        rows = profile.table("documents")
        tables.append(rows.slice(0, max(1, round(MAX_DOCUMENTS * profile.exposure.documents / total))))
    return pa.concat_tables(tables)
