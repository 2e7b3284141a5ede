"""`build`: a corpus in, a profile out."""

import importlib.metadata
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from dft_stats.build.card import card_of
from dft_stats.build.corpus import Corpus, batched, sources
from dft_stats.build.engine import Progress, count_shards, default_memory
from dft_stats.build.features import features_of
from dft_stats.build.floor import human_floor
from dft_stats.build.formats import Faults, Piece, from_pieces
from dft_stats.build.job import Job
from dft_stats.build.merge import Counted, Keep
from dft_stats.build.noisy import LONGEST, noisy
from dft_stats.build.parts import discard
from dft_stats.build.privacy import LEAST_DOCUMENTS, asked, budget_of, said_of_names
from dft_stats.build.settings import as_bytes, check_settings, checked_forget, parts_beside, resolve_segmenter, runner_of, tokenizer_text
from dft_stats.build.shards import Shard, Texts, plan
from dft_stats.build.threads import threads
from dft_stats.build.tokens import opened
from dft_stats.build.withheld import withheld
from dft_stats.document_embedding import STORED
from dft_stats.embedding_documents import stored_embeddings
from dft_stats.errors import CorpusError, ProfileFormatError
from dft_stats.features import SCHEMA
from dft_stats.manifest import TOKENIZER, check_name, check_texts
from dft_stats.masking import Masks
from dft_stats.profile import Profile, free_folder, write_profile
from dft_stats.sentences import RULE, Segmenter
from dft_stats.statistics import NGRAM_FREQUENCY, TOKEN_FREQUENCY
from dft_stats.tables import FLOOR_SCHEMA
from dft_stats.text import NORMALISER
from dft_stats.token_counts import tokenizer_entry

LITTLE = 0.5  # of the running units: if the tables keep less, the build says so


def build(
    paths: Corpus,
    *,
    out: str | Path,
    name: str,
    version: str = "1.0.0",
    text_column: str | None = None,
    segmenter: Segmenter | str = "rule",
    typography: str = "fold",
    privacy: str = "publish",
    min_documents: int | None = None,
    group_column: str | None = None,
    deny: Iterable[str] = (),
    epsilon: float | None = None,
    delta: float | None = None,
    min_count: int = 1,
    max_order: int = 5,
    max_rows: Mapping[str, int] | None = None,
    surface_documents: int = 1,
    spelling_documents: int | None = None,
    tokenizer: Any = None,
    tokenizer_name: str = "",
    workers: int = 1,
    memory: int | str | None = None,
    parts: str | Path | None = None,
    forget: int | str | None = None,
    skip_faults: bool = False,
    engine: str = "local",
    title: str = "",
    licence: str = "unspecified",
    facts: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
    overwrite: bool = False,
) -> Profile:
    """Count a corpus and write a profile of it, whole or not at all.

    Args:
        paths: a file, folder or glob, or several; or texts; or rows of a Hugging Face dataset. Files may be .txt, .md, .rst (one document
            each), .jsonl (also .gz, .zst) or .parquet, here or where fsspec reaches (hf://, s3://).
        out: folder of the profile.
        name: of the profile: a-z, 0-9, _ and -.
        version: three numbers.
        text_column: column or field that holds the text; found by itself where there is no doubt.
        segmenter: "rule", "spacy", "spacy:MODEL", or a `Segmenter`.
        typography: "fold" counts quotes and dashes by what they are, "keep" by how they are typeset.
        privacy: "publish" makes a profile that may be shown: addresses, digits and denied names are masked before anything is counted or
            kept, no row of any table is of fewer than `min_documents` documents, and of documents there is a mean and nothing more. "none"
            tells all that was counted, and so does "public-corpus", for texts that everybody can read anyway: that may be published. The
            manifest records which; `docs/privacy.md` says what is and what is not protected.
        min_documents: keep rows of words, n-grams and stretches that this many documents have; 1 keeps all. If None it is 5, and 1 with
            another privacy.
        group_column: column or field that says whose a document is, an author or a source: then `min_documents` is so many of these.
            Documents of nobody (null) are all of one; case and white space make no other author.
        deny: names to mask. Case, accents, and what stands between the words of a name do not matter; rows in which one can be read all
            the same are left out. Names that no text has are reported to `progress`.
        epsilon: differential privacy of documents, or of groups of them: noise on every count and thresholds in place of `min_documents`,
            by OpenDP (`pip install 'dft-stats[privacy]'`); the manifest has the accounting. It tells far less of a small corpus.
        delta: of the same guarantee; 1e-6 if None. It should be far below one over the number of documents.
        min_count: keep such rows that occur this often.
        max_order: longest n-grams that are counted, 2 to 5.
        max_rows: largest number of rows by table, the most frequent are kept; n-grams by order, as "ngram_frequency/2".
        surface_documents: keep rows of stretches that this many documents have, if that is more than `min_documents`. What the table
            `surface` lacks goes to `spelling`, which has no second moments and takes a quarter of the bytes.
        spelling_documents: what fewer documents have is told there in parts only; `min_documents` if None.
        tokenizer: count its tokens in the running text as well, so that compiling for it takes nothing for granted: a `tokenizer.json`,
            its folder, a `tokenizers.Tokenizer`, or a fast tokenizer of transformers. None: no tokens are counted.
        tokenizer_name: what the manifest calls it.
        workers: processes; threads of this one where the corpus is counted at one go by the rule.
        memory: of one process: bytes, or "2GB"; half of the machine's, shared by the workers, if None.
        parts: folder where the counts of each file stay, so that the next build counts only what is new. If None they lie beside `out`
            until the profile is written: an interrupted build goes on from there.
        forget: text after which n-grams that occurred once are forgotten: bytes, 16 MB at least, or "1GB". The disk then has to hold all
            counts of two such stretches of text at a time, and of the others what is left; and an n-gram may be counted too low, once for
            each stretch: the manifest has the bound as `undercount`. If None nothing is forgotten, and the counts are exact.
        skip_faults: leave out damaged files and texts, count them and say so in the manifest, instead of an error.
        engine: "local", or "ray" for a running Ray cluster.
        title: one line for the card.
        licence: of the corpus, for the card.
        facts: more entries of the manifest, such as sources.
        progress: called with a line of text as the work goes on.
        overwrite: replace a profile that lies in `out`.

    Raises:
        CorpusError: nothing to read, or unreadable, or no word that would be kept.
        ProfileFormatError: `out` is taken, or no place for a profile.
        CompiledProfileError: the tokenizer cannot be read.
        ValueError: settings of no meaning, or less privacy than "publish" promises.
    """
    check_name(name, version)
    _check_facts(title, licence, facts or {})  # before the corpus is counted
    check_settings(
        typography=typography,
        min_documents=min_documents,
        min_count=min_count,
        max_order=max_order,
        max_rows=max_rows or {},
        workers=workers,
    )
    if tokenizer_name and tokenizer is None:
        raise ValueError(f"tokenizer_name (`--tokenizer-name`) {tokenizer_name!r} was given, and no tokenizer (`--tokenizer`)")
    private = asked(privacy, min_documents=min_documents, spelling_documents=spelling_documents, group_column=group_column, deny=deny)
    target = free_folder(out, overwrite=overwrite)
    if parts is not None and Path(parts).absolute().is_relative_to(target.absolute()):
        raise ProfileFormatError(f"parts (`--parts`) {parts} are to lie in the profile itself, {target}; give them a folder of their own")
    begun, tell = Faults(skip_faults), progress or (lambda line: None)
    if epsilon is not None or delta is not None:
        asks = {"min_documents": min_documents, "spelling_documents": spelling_documents, "tokenizer": tokenizer, "parts": parts}
        asks |= {"max_rows": max_rows, "min_count": min_count if min_count > 1 else None, "engine": None if engine == "local" else engine}
        asks |= {"forget": forget, "surface_documents": surface_documents if surface_documents > 1 else None}
        asks |= {"segmenter": None if resolve_segmenter(segmenter).identity == RULE.identity else segmenter}
        budget = budget_of(privacy, epsilon, delta, asks)
        given = sources(paths, text_column, begun, group=group_column)
        texts = from_pieces(list(map(Piece, given)), text_column, begun, group=group_column) if isinstance(given, list) else given
        order = min(max_order, LONGEST)
        masks = private.masks or Masks()
        counted, spent = noisy(texts, masks, RULE, typography=typography, max_order=order, epsilon=budget[0], delta=budget[1])
        counted, left_out = withheld(counted, masks.names, 0)
        for line in said_of_names(private, counted, left_out):
            tell(line)
        if not len(counted.counts[TOKEN_FREQUENCY.name].table):
            raise CorpusError(
                f"epsilon {budget[0]:g} tells not one word of these texts: noise asks for more of a row than any has. Give more texts, or "
                "a larger epsilon (`--epsilon`)"
            )
        entry = {"mode": "epsilon", "unit": "document" if group_column is None else "group", **spent}
        manifest = _manifest(name, version, title, licence, RULE, typography, {"max_order": order}, {}, facts or {}, {STORED: []}, entry)
        return _written(target, manifest, counted, SCHEMA.empty_table(), FLOOR_SCHEMA.empty_table(), tell)
    size = default_memory(workers) if memory is None else as_bytes(memory)
    job = Job(
        resolve_segmenter(segmenter),
        typography,
        max_order,
        text_column,
        size,
        skip_faults,
        tokenizer_text(tokenizer),
        private.masks,
        private.group_column,
    )
    told = private.spelling_documents
    keep = Keep(private.min_documents, min_count, dict(max_rows or {}), surface_documents, told, private.floor)
    keep = replace(keep, forget=checked_forget(forget, drops_singles=keep.drops_singles))
    found = sources(paths, text_column, begun, group=group_column)
    with _parts_folder(parts, target, is_kept=isinstance(found, list)) as folder:
        shards: Iterable[Shard | Texts]
        if isinstance(found, list):
            shards = list(plan(found, text_column, begun, group=group_column))
        else:
            batches = batched(found, job.batch_characters)
            shards = (Texts(texts, number) for number, texts in enumerate(batches))
        total = len(shards) if isinstance(shards, list) else None
        counted, sample, faults = count_shards(
            shards,
            job,
            folder,
            keep=keep,
            workers=workers,
            progress=lambda state: tell(_said(state, total)),
            run=runner_of(engine),
            keep_parts=parts is not None,
        )
        faults.add(begun)
        if counted.exposure.words:
            _check_kept(counted, keep, private.group_column)
        if not counted.exposure.words:
            left = "".join(f"; left out: {fault}: {number:,}" for fault, (number, _) in faults.found.items())
            raise CorpusError(
                f"{counted.exposure.documents:,} documents were read and not one word found in them{left}; is this the text column?"
            )
        counted, left_out = withheld(counted, private.masks.names if private.masks else (), keep.floor)
        for line in said_of_names(private, counted, left_out):
            tell(line)
        share = counted.counts[TOKEN_FREQUENCY.name].share_told()
        if share < LITTLE:
            advice = "a smaller min_documents (`--min-documents`) keeps more"
            if private.floor and private.min_documents == LEAST_DOCUMENTS:
                advice = "more documents keep more, or `--privacy none`, if the profile stays with you"
            tell(f"warning: the tables keep {share:.0%} of the running words and marks; {advice}")
        tokens = _tokenizer_entry(job, counted, tokenizer_name)
        for fault, (number, first) in faults.found.items():
            tell(f"left out: {fault}: {number:,} (the first: {first})")

        with threads(workers) as hands:
            described = hands.start(features_of, sample.documents(), job.segmenter, typography=typography)
            floor = human_floor(sample.excerpts(), counted.counts, job.segmenter, typography=typography, progress=tell, threads=hands)
            features = described()
        means: dict[str, Any] = {}
        if private.floor:  # the sample does not know whose a document is, so that a mean over groups of them cannot be promised
            means = {STORED: [] if private.group_column is not None else stored_embeddings(features)}
            features = features.slice(0, 0)
        kept = {
            "min_documents": private.min_documents,
            "min_count": min_count,
            "max_order": max_order,
            "max_rows": dict(sorted((max_rows or {}).items())),
            "surface_documents": max(surface_documents, private.min_documents),
            "spelling_documents": told,
        }
        excluded = {fault: number for fault, (number, _) in sorted(faults.found.items())}
        if keep.forget is not None:
            kept["forget"] = keep.forget
            tokens |= {"undercount": _undercount(counted)}
        more, entry = {**tokens, **(facts or {})}, private.facts(counted.masked)
        manifest = _manifest(name, version, title, licence, job.segmenter, typography, kept, excluded, more, means, entry)
        return _written(target, manifest, counted, features, floor, tell, threads=workers)


_OWN_FACTS = (
    "format",
    "exposure",
    "tables",
    "built_with",
    "name",
    "version",
    "segmenter",
    "normaliser",
    "typography",
    "keep",
    "excluded",
    "privacy",
)


def _check_facts(title: Any, licence: Any, facts: Mapping[str, Any]) -> None:
    """Refuse what no manifest can have, or what is measured and not told."""
    for what, text in (("title", title), ("licence", licence)):
        if not isinstance(text, str):
            raise ValueError(f"{what} is a text, not {text!r}")
    taken = [key for key in _OWN_FACTS if key in facts]
    if taken:
        raise ValueError(f"facts are what a build does not know itself; it says {', '.join(taken)} of its own accord: leave that out")
    check_texts({"title": title, "licence": licence, **facts})


def _manifest(
    name: str,
    version: str,
    title: str,
    licence: str,
    segmenter: Segmenter,
    typography: str,
    keep: Mapping[str, Any],
    excluded: Mapping[str, int],
    facts: Mapping[str, Any],
    means: Mapping[str, Any],
    privacy: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "title": title,
        "licence": licence,
        "language": "en",
        "segmenter": segmenter.identity,
        "normaliser": NORMALISER,
        "typography": typography,
        "keep": dict(keep),
        "excluded": dict(excluded),
        "built_with": f"dft-stats {importlib.metadata.version('dft-stats')}",
        **facts,
        **means,
        "privacy": dict(privacy),
    }


def _written(
    target: Path,
    manifest: Mapping[str, Any],
    counted: Counted,
    features: pa.Table,
    floor: pa.Table,
    tell: Callable[[str], None],
    *,
    threads: int = 1,
) -> Profile:
    profile = write_profile(
        target,
        facts=manifest,
        exposure=counted.exposure,
        counts=counted.counts,
        spelling=counted.spelling,
        documents=features,
        floor=floor,
        card=card_of(manifest, counted.counts, counted.exposure, floor),
        threads=threads,
    )
    tell(f"wrote {profile!r} to {target}")
    return profile


def _check_kept(counted: Counted, keep: Keep, group_column: str | None) -> None:
    """Refuse to write a profile without a word in it."""
    documents = counted.exposure.documents
    hint = (
        f"; a profile that may be published tells nothing of fewer than {LEAST_DOCUMENTS} documents, or groups of them, but "
        '`--privacy none` (privacy="none") tells all, and stays with you'
    ) * bool(keep.floor)
    if keep.min_documents > documents:
        most = f"give at most {documents:,}" if documents >= LEAST_DOCUMENTS or not keep.floor else "give more documents"
        raise CorpusError(
            f"min_documents (`--min-documents`) is {keep.min_documents:,}, and the corpus has {documents:,} documents, so that nothing "
            f"would be kept; {most}{hint}"
        )
    if not len(counted.counts[TOKEN_FREQUENCY.name].table):
        whose = f", which are so many different {group_column!r} here (`--group-column`)" if group_column is not None else ""
        raise CorpusError(
            f"not one word or mark of the {documents:,} documents would be kept with min_documents {keep.min_documents:,} "
            f"(`--min-documents`){whose}, min_count {keep.min_count:,} (`--min-count`) and max_rows {dict(keep.max_rows)}; give smaller "
            f"numbers of documents and occurrences{hint}"
        )


def _tokenizer_entry(job: Job, counted: Counted, name: str) -> dict[str, Any]:
    """What the manifest says of the tokenizer."""
    if job.tokenizer is None:
        return {}
    if not counted.reading["words"]:
        raise CorpusError("the tokenizer reads not one word in the corpus: all of it is unknown to it; is this the right one?")
    return {TOKENIZER: tokenizer_entry(*opened(job.tokenizer), counted.reading, name)}


def _undercount(counted: Counted) -> dict[str, int]:
    """By how much the rows of each table may be too low, and their documents."""
    tables = [name for name, counts in counted.counts.items() if counts.statistic.kind == "categorical"]
    return {"documents": counted.undercount, **{name: counted.undercount * (name == NGRAM_FREQUENCY.name) for name in tables}}


@contextmanager
def _parts_folder(given: str | Path | None, target: Path, *, is_kept: bool) -> Iterator[Path]:
    """Where parts lie: where the user says; or beside the profile, and gone once that is written; or, of texts, gone in any case."""
    if given is not None:
        yield Path(given)
    elif is_kept:
        folder = parts_beside(target)
        yield folder
        with suppress(OSError):
            discard(folder)
    else:
        with tempfile.TemporaryDirectory(prefix="dft-stats-") as name:
            yield Path(name)


def _said(state: Progress, total: int | None) -> str:
    reused = f" ({state.reused:,} counted before)" if state.reused else ""
    of_all = f" of {total:,}" if total else ""
    groups = f", groups of them added up: {state.groups:,}" if state.groups else ""
    return f"counted {state.shards:,}{of_all} shards{reused}{groups}, {state.characters / 1e6:,.1f} million characters"
