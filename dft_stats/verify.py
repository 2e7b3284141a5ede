"""Everything that must be true of a profile beyond the hashes that loading checks: what `dft-stats verify` does, and publishing."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dft_stats.card import generated
from dft_stats.counts import MOMENTS, Counts
from dft_stats.errors import ProfileFormatError
from dft_stats.manifest import CARD, MANIFEST, canonical
from dft_stats.profile import Profile, read_profile
from dft_stats.tables import logical_sha256, table_path
from dft_stats.token_counts import READING


def problems(folder: Path) -> list[str]:
    """What is wrong with a profile, a sentence each; empty if nothing is.

    The manifest and tables are read only if their hashes are right. Then: no file too many, the card as it was written, rows and logical
    hashes as the manifest says, keys sorted and distinct, `count >= documents >= 1`, totals that agree with rows, spectrum and exposure.
    """
    try:
        profile = read_profile(folder)
    except ProfileFormatError as error:
        return [str(error)]
    try:
        return [
            *_files(profile),
            *_entries(profile),
            *(line for name in profile.counted for line in _rows(profile, name)),
            *_spelling(profile),
            *_exposure(profile),
            *(_published(profile) if profile.manifest.get("privacy", {}).get("mode") == "publish" else ()),
            *(_tokens(profile) if profile.has_tokens else ()),
        ]
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        return [f"{folder / MANIFEST} has an entry of another shape than expected: {error!r}"]


def _files(profile: Profile) -> Iterator[str]:
    known = {MANIFEST, CARD, ".gitattributes", *map(table_path, profile.tables)}
    found = {path.relative_to(profile.path).as_posix() for path in profile.path.rglob("*") if path.is_file()}
    yield from (f"{name} is no part of a profile" for name in sorted(found - known))
    if (profile.path / MANIFEST).read_bytes() != canonical(profile.manifest):
        yield f"{MANIFEST} is not in its canonical form (sorted keys, one space of indentation)"
    if CARD not in found:
        yield f"{CARD}, the card, is missing"
    elif hashlib.sha256(generated((profile.path / CARD).read_bytes())).hexdigest() != profile.manifest.get("card_sha256"):
        yield f"{CARD}, the card, was changed after the profile was written"


def _entries(profile: Profile) -> Iterator[str]:
    for entry in profile.manifest["tables"]:
        table = profile.table(entry["name"])
        facts = {
            "rows": len(table),
            "bytes": (profile.path / table_path(entry["name"])).stat().st_size,
            "logical_sha256": logical_sha256(table),
            "columns": [[field.name, str(field.type)] for field in table.schema],
        }
        yield from (
            f"{entry['name']}: {key} is {value}, the manifest says {entry[key]}" for key, value in facts.items() if entry[key] != value
        )


def _rows(profile: Profile, name: str) -> Iterator[str]:
    counts = profile.counts(name)
    table, keys = counts.table, list(counts.statistic.keys)
    found = table.select(keys)
    if not found.equals(found.sort_by([(key, "ascending") for key in keys])):
        yield f"{name}: rows are not sorted by {', '.join(keys)}"
    if len(found.group_by(keys).aggregate([])) != len(found):
        yield f"{name}: a key occurs twice"
    if any(table[column].null_count for column in table.column_names):
        yield f"{name}: nulls"
    if len(table):
        if not pc.all(pc.and_(pc.greater_equal(table["count"], table["documents"]), pc.greater_equal(table["documents"], 1))).as_py():
            yield f"{name}: count >= documents >= 1 does not hold"
        if pc.max(table["documents"]).as_py() > profile.exposure.documents:
            yield f"{name}: a row occurs in more documents than there are"
        for moment in MOMENTS:
            least = table["count"] if moment.startswith("square") else 0
            if not pc.all(pc.greater_equal(table[moment], least)).as_py():
                yield f"{name}: {moment} is too small for its count"
    yield from _totals(name, counts)


def _totals(name: str, counts: Counts) -> Iterator[str]:
    """Totals are what the rows and the spectrum of pruned rows add up to, group by group."""
    groups = counts.statistic.groups
    sums: dict[tuple[object, ...], list[int]] = {}
    pruned = zip(*(counts.spectrum[column].to_pylist() for column in (*groups, "count", "types")), strict=True)
    kept = zip(*(counts.table[column].to_pylist() for column in (*groups, "count")), strict=True)
    for *group, count, types in (*pruned, *((*row, 1) for row in kept)):
        entry = sums.setdefault(tuple(group), [0, 0])
        entry[0] += count * types
        entry[1] += types
    stated = {
        tuple(row[:-2]): list(row[-2:]) for row in zip(*(counts.totals[c].to_pylist() for c in (*groups, "count", "types")), strict=True)
    }
    for key in sorted(sums.keys() | stated.keys(), key=repr):
        found, said = sums.get(key, [0, 0]), stated.get(key, [0, 0])
        if found != said:
            where = " ".join(map(str, (name, *key)))
            yield f"{where}: count and types add up to {found[0]} and {found[1]}, totals say {said[0]} and {said[1]}"


def _spelling(profile: Profile) -> Iterator[str]:
    """Rows are distinct and sorted, and begin as many stretches as `surface` lacks."""
    table = profile.table("spelling")
    if not table.equals(table.sort_by("spelling")) or pc.count_distinct(table["spelling"]).as_py() != len(table):
        yield "spelling: rows are not distinct and sorted"
    if len(table) and pc.min(table["count"]).as_py() < 1:
        yield "spelling: a count below 1"
    surface = profile.counts("surface")
    pruned = surface.total() - (pc.sum(surface.table["count"]).as_py() or 0)
    begun = table.filter(pc.match_substring_regex(table["spelling"], "^[ \n]"))
    told = pc.sum(begun["count"]).as_py() or 0
    if told != pruned:
        yield f"spelling begins {told} stretches, surface lacks {pruned}"


def _exposure(profile: Profile) -> Iterator[str]:
    lengths, rhythm, exposed = profile.counts("sentence_length"), profile.counts("punctuation_rhythm"), profile.exposure
    if lengths.total("words") != exposed.sentences:
        yield f"sentence_length has {lengths.total('words')} sentences, the manifest says {exposed.sentences}"
    if rhythm.total("marks") != rhythm.total("gaps"):
        yield f"punctuation_rhythm has {rhythm.total('marks')} marks and {rhythm.total('gaps')} gaps"
    if profile.manifest.get("privacy", {}).get("mode") in ("publish", "epsilon"):  # rare lengths are told as the mean of their neighbours
        return
    words = sum(length * count for length, count in zip(*(lengths.rows("words")[c].to_pylist() for c in ("length", "count")), strict=True))
    if words != exposed.words:
        yield f"the sentences of sentence_length have {words} words, the manifest says {exposed.words}"


def _published(profile: Profile) -> Iterator[str]:
    """No row is of fewer documents than promised, none is of a document, and no digit is told."""
    least = profile.manifest["privacy"]["min_documents"]
    for name in profile.counted:
        table = profile.counts(name).table
        if len(table) and pc.min(table["documents"]).as_py() < least:
            yield f"{name}: a row of fewer than {least} documents, of a profile that is to be published"
    if len(profile.table("documents")):
        yield "documents: rows of a profile that is to be published"
    for name, key in (("token_frequency", "unit"), ("ngram_frequency", "ngram"), ("surface", "surface"), ("spelling", "spelling")):
        if pc.any(pc.match_substring_regex(profile.table(name)[key], r"[1-9]")).as_py():
            yield f"{name}: a digit other than 0, of a profile that is to be published"


def _tokens(profile: Profile) -> Iterator[str]:
    """Ids are of the vocabulary; there is a pair less than there are tokens at least, and no token is in more pairs than it has places."""
    entry = profile.manifest["tokenizer"]
    ids, pairs = profile.counts("token_ids"), profile.counts("token_pairs")
    for counts in (ids, pairs):
        for key in counts.statistic.keys:
            if len(counts.table) and not 0 <= pc.min(counts.table[key]).as_py() <= pc.max(counts.table[key]).as_py() < entry["vocabulary"]:
                yield f"{counts.statistic.name}: {key} has ids outside the vocabulary of {entry['vocabulary']}"
    if not pairs.total() <= max(0, ids.total() - 1):
        yield f"token_pairs has {pairs.total()} pairs of {ids.total()} tokens"
    count = dict(zip(ids.table["id"].to_pylist(), ids.table["count"].to_pylist(), strict=True))
    for key in pairs.statistic.keys:
        grouped = pairs.table.group_by(key).aggregate([("count", "sum")])
        found = zip(grouped[key].to_pylist(), grouped["count_sum"].to_pylist(), strict=True)
        if any(number > count.get(id, number) for id, number in found):
            yield f"token_pairs: an id is {key} more often than token_ids has it"
    reading = entry["reading"]
    if sorted(reading) != sorted(READING) or not all(isinstance(number, int) and number >= 0 for number in reading.values()):
        yield f"the reading of the tokenizer names {sorted(reading)}, not a number of {sorted(READING)} each"
    elif profile.exposure.words and reading["words"] < 1:
        yield "the reading of the tokenizer has no words"
