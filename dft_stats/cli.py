"""`dft-stats`: the package from the command line. Results on stdout, as tables or `--json`; progress and errors on stderr."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dft_stats.errors import CorpusError, DftStatsError
from dft_stats.hub.commands import add_commands
from dft_stats.output import print_json, safe, say

if TYPE_CHECKING:
    from dft_stats.build.planned import PlannedShard
    from dft_stats.profile import Profile


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 if all is well, 1 for an error, 2 for wrong usage, 130 if interrupted.

    Args:
        arguments: without the program's name; those of the process if None.
    """
    try:
        try:
            given = _parser().parse_args(arguments)
        except SystemExit as stop:  # argparse has printed why
            sys.stdout.flush()
            return int(stop.code or 0)
        status: int = given.command(given)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        say("interrupted; nothing half-done was left", file=sys.stderr)
        return 130
    except (DftStatsError, ValueError, OSError, ImportError) as error:
        say("error: " + "\n".join(" ".join(line.split()) for line in str(error).split("\n")), file=sys.stderr)
        return 1
    return status


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from dft_stats import __version__

        say(f"dft-stats {__version__}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dft-stats",
        description="Reference statistics of human writing. PROFILE is a name (news), name@version, owner/name of the Hub, or a folder.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version of the package")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], what: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what)
        added.set_defaults(command=command)
        if name != "demo":
            added.add_argument("--json", action="store_true", help="print JSON")
        return added

    add("list", _list, "List the embedded profiles.")
    add("show", _show, "Show the numbers that characterise a profile.").add_argument("profile", metavar="PROFILE")
    compare = add("compare", _compare, "Say what differs between a reference and another profile or texts, against the human-human floor.")
    compare.add_argument("reference", metavar="REFERENCE")
    nearest = add("nearest", _nearest, "Say which reference a profile or texts are nearest to.")
    nearest.add_argument("--reference", action="append", metavar="PROFILE", help="judge by this one (repeatable); default: all embedded")
    for judged in (compare, nearest):
        judged.add_argument("other", nargs="+", metavar="PROFILE|PATH", help="a profile, or files and folders of text")
        judged.add_argument("--text-column", metavar="C", help="column or field that holds the text")
    add("verify", _verify, "Check everything in a profile.").add_argument("profile", metavar="PROFILE")
    build = add("build", _build, "Count a corpus and write a profile of it.")
    build.add_argument(
        "paths", nargs="+", metavar="PATH", help="files, folders or globs: .txt, .text, .md, .rst, .jsonl, .ndjson (.gz, .zst), .parquet"
    )
    build.add_argument("--out", required=True, metavar="FOLDER")
    build.add_argument("--name", required=True)
    build.add_argument("--version", default="1.0.0")
    build.add_argument("--text-column", metavar="C", help="column or field that holds the text")
    build.add_argument("--segmenter", default="rule", metavar="rule|spacy|spacy:MODEL")
    build.add_argument("--typography", default="fold", choices=("fold", "keep"))
    privacies, told = ("publish", "none", "public-corpus"), "what the profile may tell; none: everything; public-corpus: so, and published"
    build.add_argument("--privacy", default="publish", choices=privacies, help=told)
    build.add_argument("--min-documents", type=_positive, metavar="N", help="keep rows of so many documents; default: 5, or 1 of none")
    build.add_argument("--group-column", metavar="C", help="column or field of authors or sources: so many of these, not of documents")
    build.add_argument("--deny", type=Path, metavar="FILE", help="names to mask, one a line")
    build.add_argument("--epsilon", type=float, metavar="E", help="differential privacy of documents, or groups, in place of a floor")
    build.add_argument("--delta", type=float, metavar="D", help="of the same; default: 1e-6")
    build.add_argument("--min-count", type=_positive, default=1, metavar="N", help="keep words and n-grams that occur so often")
    build.add_argument("--spelling-documents", type=_positive, metavar="N", help="tell in parts what fewer have (--min-documents)")
    build.add_argument("--tokenizer", type=Path, metavar="PATH", help="count its tokens as well: a tokenizer.json or its folder")
    build.add_argument("--tokenizer-name", default="", metavar="NAME", help="what the manifest calls it")
    build.add_argument("--max-order", type=int, default=5, choices=(2, 3, 4, 5), help="longest n-grams")
    build.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes; threads if the corpus fits into memory")
    build.add_argument("--memory", metavar="SIZE", help="of one process, such as 2GB; default: half of all")
    build.add_argument("--parts", type=Path, metavar="FOLDER", help="keep the counts of files there, for the next build")
    build.add_argument(
        "--forget", metavar="SIZE", help="text, such as 1GB, after which n-grams that occurred once are forgotten; docs/building.md"
    )
    build.add_argument("--skip-faults", action="store_true", help="leave out damaged files and texts, and record how many")
    build.add_argument("--engine", default="local", choices=("local", "ray"), help="where to count: here, or on a Ray cluster")
    build.add_argument("--dry-run", action="store_true", help="say what would be read and counted, and stop")
    build.add_argument("--licence", default="unspecified", metavar="TEXT", help="of the corpus")
    build.add_argument("--overwrite", action="store_true", help="replace a profile that lies in FOLDER")
    audit = add("audit", _audit, "Plant secrets in copies of a corpus, build profiles, and say which secrets they tell.")
    audit.add_argument("paths", nargs="+", metavar="PATH", help="as of build")
    audit.add_argument("--text-column", metavar="C", help="column or field that holds the text")
    audit.add_argument("--privacy", default="publish", choices=("publish", "none"), help="none: what would be told without any")
    audit.add_argument("--min-documents", type=_positive, metavar="N", help="the floor; default: 5")
    audit.add_argument("--group-column", metavar="C", help="column or field of authors or sources")
    audit.add_argument("--deny", type=Path, metavar="FILE", help="names to mask, one a line")
    audit.add_argument("--epsilon", type=float, metavar="E", help="as of build")
    audit.add_argument("--each", type=_positive, default=5, metavar="N", help="canaries of every kind and number of documents")
    audit.add_argument("--limit", type=_positive, default=5_000, metavar="N", help="documents that are used at the most")
    audit.add_argument("--seed", type=int, default=0)
    merge = add("merge", _merge, "Add up finished profiles of disjoint corpora, counted by the same rules.")
    merge.add_argument("profiles", nargs="+", metavar="PROFILE")
    merge.add_argument("--out", required=True, metavar="FOLDER")
    merge.add_argument("--name", required=True)
    merge.add_argument("--version", default="1.0.0")
    merge.add_argument("--overwrite", action="store_true", help="replace a profile that lies in FOLDER")
    add_commands(add)
    demo = add("demo", _demo, "Build a profile, steer a real language model, and print what changed.")
    demo.add_argument("--profile", default="news", metavar="PROFILE")
    demo.add_argument("--model", metavar="MODEL", help="folder or Hub id of a causal language model; default: SmolLM2-135M-Instruct")
    demo.add_argument("--text", type=Path, metavar="PATH", help="human text, for plain fine-tuning as a control")
    demo.add_argument("--steps", type=_positive, default=12, metavar="N")
    demo.add_argument("--seed", type=int, default=0)
    return parser


_MOST = 1_000_000_000


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_MOST:,}")
    return int(text)


def _list(given: argparse.Namespace) -> int:
    from dft_stats.registry import list_profiles

    found = list_profiles()
    if given.json:
        return print_json([asdict(info) | {"path": str(info.path)} for info in found])
    from dft_stats.report import show_list

    show_list(found)
    return 0


def _show(given: argparse.Namespace) -> int:
    from dft_stats.registry import load

    profile = load(given.profile)
    if given.json:
        return print_json(_facts(profile))
    from dft_stats.report import show_profile

    show_profile(profile)
    return 0


def _compare(given: argparse.Namespace) -> int:
    from dft_stats.compare import compare
    from dft_stats.registry import load

    reference = load(given.reference)
    with _judged(given, like=reference) as other:
        found = compare(reference, other)
    if given.json:
        return print_json(found.to_dict())
    from dft_stats.report import show_comparison

    show_comparison(found)
    return 0


def _nearest(given: argparse.Namespace) -> int:
    from dft_stats.compare import nearest
    from dft_stats.errors import ProfileNotFound
    from dft_stats.registry import list_profiles, load, registry_path

    names = given.reference or sorted({info.name for info in list_profiles()})
    if not names:
        raise ProfileNotFound(f"there are no embedded profiles in {registry_path()}; name some with --reference")
    references = [load(name) for name in names]
    with _judged(given, like=references[0]) as other:
        found = nearest(other, references)
    if given.json:
        return print_json([{"name": name, "distance": distance} for name, distance in found])
    from dft_stats.report import show_nearest

    show_nearest(found)
    return 0


def _verify(given: argparse.Namespace) -> int:
    from dft_stats.registry import locate
    from dft_stats.untrusted import check_apart
    from dft_stats.verify import problems

    folder = locate(given.profile)
    try:
        check_apart(folder)  # whoever asks does not trust it yet
        found = problems(folder)
    except DftStatsError as error:
        found = [str(error)]
    if given.json:
        print_json({"profile": str(folder), "ok": not found, "problems": found})
    elif found:
        say(*(f"error: {safe(line)}" for line in found), file=sys.stderr)
    else:
        say(f"{folder}: ok")
    return 1 if found else 0


def _build(given: argparse.Namespace) -> int:
    from dft_stats.report import teller

    paths = _paths(given.paths)
    how = {"segmenter": given.segmenter, "typography": given.typography, "max_order": given.max_order, "text_column": given.text_column}
    how |= {"privacy": given.privacy, "group_column": given.group_column, "deny": _names(given.deny)}
    how |= {"memory": given.memory, "parts": given.parts, "skip_faults": given.skip_faults, "tokenizer": given.tokenizer}
    how |= {"forget": given.forget}
    if given.dry_run:
        from dft_stats.build.planned import dry_run
        from dft_stats.manifest import check_name
        from dft_stats.profile import free_folder

        check_name(given.name, given.version)  # what would not be built is not planned
        free_folder(given.out, overwrite=True)  # a profile that is there already may be what is asked about
        if given.epsilon is not None:
            raise ValueError("with --epsilon a corpus is counted at one go and in no shards, so that there is nothing to plan")
        how |= {name: getattr(given, name) for name in ("min_documents", "min_count", "spelling_documents")}
        return _dry_run(dry_run(paths, out=given.out, **how), as_json=given.json)
    from dft_stats.build import build

    profile = build(
        paths,
        out=given.out,
        name=given.name,
        version=given.version,
        min_documents=given.min_documents,
        epsilon=given.epsilon,
        delta=given.delta,
        min_count=given.min_count,
        spelling_documents=given.spelling_documents,
        tokenizer_name=given.tokenizer_name,
        workers=given.workers,
        licence=given.licence,
        progress=teller(),
        overwrite=given.overwrite,
        engine=given.engine,
        **how,
    )
    for fault, number in profile.manifest["excluded"].items():
        say(f"left out: {fault}: {number:,}", file=sys.stderr)
    if given.json:
        return print_json(_facts(profile))
    say(f"{given.out}: {profile!r}")
    return 0


def _audit(given: argparse.Namespace) -> int:
    from dft_stats.build.audit import audit
    from dft_stats.report import show_audit, teller

    found = audit(
        _paths(given.paths),
        text_column=given.text_column,
        privacy=given.privacy,
        min_documents=given.min_documents,
        group_column=given.group_column,
        deny=_names(given.deny),
        epsilon=given.epsilon,
        each=given.each,
        limit=given.limit,
        seed=given.seed,
        progress=teller(),
    )
    if given.json:
        print_json(found.to_dict())
    else:
        show_audit(found.to_dict())
    return 0 if found.ok else 1


def _paths(given: Sequence[str]) -> list[str | Path]:
    if not all(given):
        raise CorpusError('an empty path was given; the current folder is "."')
    return [path if "://" in path else Path(path) for path in given]


def _names(path: Path | None) -> list[str]:
    """Names, one a line, of a file that may begin with a byte-order mark."""
    if path is None:
        return []
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if not names:
            raise CorpusError(f"{path} names nobody to be masked; write the names, one a line, or leave --deny out")
        return names
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}: byte {error.start} is not UTF-8; convert the file of names, as in `iconv -f WINDOWS-1252 -t UTF-8 {path}`"
        ) from error


def _dry_run(found: "Sequence[PlannedShard]", *, as_json: bool) -> int:
    if as_json:
        return print_json([asdict(shard) for shard in found])
    for shard in found:
        say(f"{shard.size / 1e6:10,.1f} MB  {'counted' if shard.is_counted else 'to do  '}  {shard.label}")
    todo = [shard for shard in found if not shard.is_counted]
    sizes = [sum(shard.size for shard in shards) / 1e6 for shards in (found, todo)]
    groups = max((shard.group or 0 for shard in found), default=0)
    forgotten = f"; n-grams that occur once are forgotten in {groups:,} groups of them" if groups else ""
    say(f"{len(found):,} shards, {sizes[0]:,.1f} MB; to count: {len(todo):,}, {sizes[1]:,.1f} MB{forgotten}")
    return 0


def _merge(given: argparse.Namespace) -> int:
    from dft_stats.build.combine import combine
    from dft_stats.registry import load

    profiles = [load(name) for name in given.profiles]
    profile = combine(profiles, out=given.out, name=given.name, version=given.version, overwrite=given.overwrite)
    if given.json:
        return print_json(_facts(profile))
    say(f"{given.out}: {profile!r}")
    return 0


def _demo(given: argparse.Namespace) -> int:
    from dft_stats import demo

    return int(demo.run(given) or 0)


@contextmanager
def _judged(given: argparse.Namespace, *, like: "Profile") -> Iterator["Profile"]:
    """The profile that is named, or one built of the texts that are, by the rules of a reference, gone afterwards."""
    from dft_stats.errors import ProfileNotFound
    from dft_stats.manifest import MANIFEST
    from dft_stats.registry import expanded, load

    if not all(given.other):
        raise ProfileNotFound("an empty name was given to judge; expected a profile, or files and folders of text")
    paths = [expanded(path) for path in given.other]
    is_text = any(
        not (path / MANIFEST).is_file() if path.exists() else bool(set(name) & set("*?["))
        for path, name in zip(paths, given.other, strict=True)
    )
    if not is_text and len(paths) == 1:
        yield load(given.other[0])
        return
    _check_texts(given.other)
    from dft_stats.build import build
    from dft_stats.build.corpus import read
    from dft_stats.masking import Masks
    from dft_stats.report import teller

    kind, rules = like.manifest["segmenter"]["name"], like.manifest.get("typography", "fold")
    with tempfile.TemporaryDirectory(prefix="dft-stats-") as folder:
        texts: Any = paths
        if like.is_masked:  # what is judged, too
            batches = read(paths, text_column=given.text_column)
            texts = ({"text": text} for batch in batches for text in Masks().apply(batch, typography=rules)[0])
        yield build(
            texts,
            out=Path(folder) / "texts",
            name="texts",
            text_column="text" if like.is_masked else given.text_column,
            segmenter=kind if kind.partition(":")[0] in ("rule", "spacy") else "rule",
            typography=rules,
            max_order=3,
            privacy="none",
            progress=teller(),
        )


def _check_texts(given: Sequence[str]) -> None:
    """Refuse what is no text where texts are expected: a second profile, or a path that leads nowhere."""
    from dft_stats.manifest import MANIFEST
    from dft_stats.registry import expanded, list_profiles

    names = {info.name for info in list_profiles()}
    for name in given:
        path = expanded(name)
        is_profile = (path / MANIFEST).is_file() or (not path.exists() and name.partition("@")[0] in names)
        if is_profile or not (path.exists() or set(name) & set("*?[") or "://" in name):
            what = "a profile" if is_profile else "neither a file nor a folder"
            raise CorpusError(
                f"{name!r} is {what}, and {len(given)} things were given to judge: {', '.join(map(repr, given))}; give one profile, or "
                "files and folders of text"
            )


def _facts(profile: "Profile") -> dict[str, Any]:
    return {"name": profile.name, "version": profile.version, "segmenter": profile.manifest["segmenter"], **profile.summary()}


if __name__ == "__main__":
    sys.exit(main())
