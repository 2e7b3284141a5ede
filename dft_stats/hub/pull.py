"""Fetch a profile from the Hub: the commit of its version, then its files by that commit, each checked before it is parsed."""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dft_stats.errors import HubUnreachable, IntegrityError, ProfileFormatError, TagMoved, VersionNotFound
from dft_stats.hub import index
from dft_stats.hub.connection import Hub, explained, reach
from dft_stats.hub.index import Kept
from dft_stats.hub.lock import Locked
from dft_stats.hub.requests import Remote, is_same, published, some_files
from dft_stats.manifest import CARD, MANIFEST, MAX_MANIFEST_BYTES, read_manifest, sha256_of
from dft_stats.reference import LATEST, Numbers, Reference, spelt, tag_of
from dft_stats.tables import check_bytes, table_path
from dft_stats.untrusted import LIMITS, check_apart, check_sizes

_MAX_CARD_BYTES = 4 << 20
_AT_ONCE = 8  # files
_log = logging.getLogger("dft_stats")


def fetch(
    reference: Reference, repo: str, hub: Hub, *, locked: Locked | None = None, accept_moved: bool = False, repair: bool = False
) -> Kept:
    """The newest version that is admitted, verified, from the cache where that is certain to be the answer, else from the Hub.

    Args:
        reference: what is asked of the version.
        repo: "owner/name".
        hub: where.
        locked: the version, its commit and the hash of its manifest, as a lock file has them; nothing else will do, and no tag is asked.
        accept_moved: take a version whose tag names another commit than before.
        repair: check every file again, and fetch what was damaged.

    Raises:
        ProfileNotFound, VersionNotFound: not there; the message says what is.
        HubUnreachable: nobody answers, and nothing that was asked for is kept here.
        AccessDenied, HubError: what the Hub answers.
        TagMoved: the version was another commit before.
        IntegrityError: a file has another hash than the manifest says, even when it was fetched again.
        ProfileFormatError, UnsafeProfile: what is there is no profile, or claims to be larger than any.
    """
    known = index.kept_of(hub, repo)
    there = {version: kept for version, kept in known.items() if kept.is_there}
    if locked is not None and locked.commit is not None:
        kept = index.commit_kept(hub, repo, locked.commit)
        if kept is not None and kept.manifest_sha256 == locked.manifest_sha256 and not repair:
            return kept
        return _download(repo, locked.commit, None, hub, locked.manifest_sha256)
    if reference.is_commit:
        kept = index.commit_kept(hub, repo, reference.spec)
        return kept if kept is not None and kept.is_checked and not repair else _download(repo, reference.spec, None, hub, None)
    fixed = reference.newest(set(there)) if reference.is_exact else None
    if fixed is not None and not accept_moved and not repair:
        return there[fixed]
    try:
        commits = published(hub, repo)
    except HubUnreachable as error:
        if repair:
            raise
        return _kept_instead(reference, repo, there, error)
    version = reference.newest(set(commits))
    if version is None:
        raise VersionNotFound(f"{repo} has no version {reference.spec!r}; it has {_listed(commits)}")
    commit = commits[version]
    if version in known and known[version].commit != commit and not accept_moved:
        raise TagMoved(
            f"{tag_of(spelt(version))} of {repo} was the commit {known[version].commit} and now is {commit}. Versions do not change: ask "
            "its owner, and take the new one, if it is right, with `dft-stats pull --accept-moved`"
        )
    if version in there and there[version].commit == commit and not repair:
        return there[version]
    return _download(repo, commit, version, hub, None)


def kept_versions(repo: str, hub: Hub) -> list[Numbers]:
    """Versions that are here, whatever the Hub says."""
    return sorted(version for version, kept in index.kept_of(hub, repo).items() if kept.is_there)


def _kept_instead(reference: Reference, repo: str, there: dict[Numbers, Kept], error: HubUnreachable) -> Kept:
    """Where no Hub answers: the newest that is here, if it is what was asked for. Nothing else will do."""
    version = None if reference.spec == LATEST else reference.newest(set(there))
    if version is None:
        raise HubUnreachable(f"{reference} is not kept here; kept of {repo}: {_listed(there)}. {error}") from None
    if not reference.is_exact:
        _log.warning("%s: taking %s, the newest that is kept here (%s)", reference, spelt(version), error)
    return there[version]


def _listed(versions: Iterable[Numbers]) -> str:
    return ", ".join(map(spelt, sorted(versions))) or "nothing"


def _download(repo: str, commit: str, version: Numbers | None, hub: Hub, pin: str | None) -> Kept:
    """Fetch the files of a commit, verify them, and remember it."""
    if version is None:  # else its tag was asked for just now
        reach(hub)
    there = some_files(hub, repo, commit, (MANIFEST, CARD))
    for name, most in ((MANIFEST, MAX_MANIFEST_BYTES), (CARD, _MAX_CARD_BYTES)):
        if name in there and there[name].size > most:
            raise ProfileFormatError(
                f"{name} of {repo} has {there[name].size:,} bytes, more than {most:,}: that is no profile of dft_stats"
            )
    if MANIFEST not in there:
        raise ProfileFormatError(f"{repo} holds no profile of dft_stats at the commit {commit[:12]}: it has no {MANIFEST}")
    folder = _get(repo, commit, MANIFEST, there[MANIFEST], hub).parent
    try:
        manifest = read_manifest(folder)
    except ProfileFormatError as error:
        raise type(error)(f"{repo} at the commit {commit[:12]}: {error}") from error
    digest = sha256_of(manifest)
    if pin is not None and digest != pin:
        raise IntegrityError(f"{repo} at the commit {commit[:12]} has the manifest {digest}, and {pin} was asked for; it was not read on")
    if version is not None and manifest["version"] != spelt(version):
        raise ProfileFormatError(f"the tag {tag_of(spelt(version))} of {repo} holds version {manifest['version']}: tell its owner")
    entries = {table_path(entry["name"]): entry for entry in manifest["tables"]}
    there |= some_files(hub, repo, commit, entries)
    check_sizes({name: max(there[name].size if name in there else 0, entry["bytes"]) for name, entry in entries.items()})
    for name, entry in entries.items():
        found = there.get(name)
        if found is None or found.size != entry["bytes"] or found.sha256 not in (None, entry["sha256"]):
            what = "is missing" if found is None else f"has {found.size:,} bytes and the hash {found.sha256}"
            raise IntegrityError(f"{name} of {repo} {what}, the manifest says otherwise: it was published half, or changed since")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [pool.submit(_get, repo, commit, name, there[name], hub) for name in (*entries, CARD) if name in there]
        for job in jobs:
            job.result()
    for entry in entries.values():
        check_bytes(folder, entry)
    if pin is None:
        check_apart(folder, LIMITS)
    kept = Kept(hub.endpoint, repo, manifest["version"], commit, digest, str(folder), version is not None, pin is None)
    index.remember(kept)
    return kept


def _get(repo: str, commit: str, name: str, remote: Remote, hub: Hub) -> Path:
    """A file of a commit with the hash that the Hub names; fetched once more if it has another.

    The client looks at sizes alone, and its cache does not ask from which Hub a file came.
    """
    from huggingface_hub import hf_hub_download

    for again in (False, True):
        with explained(hub, repo):
            path = Path(hf_hub_download(repo, name, repo_type="dataset", revision=commit, force_download=again, **hub.given))
        if is_same(path.read_bytes(), remote):
            return path
        _drop(path)  # the client would leave its link to a damaged file where it is
    raise IntegrityError(f"{name} of {repo} arrived twice with another hash than the Hub says, and was deleted again")


def _drop(path: Path) -> None:
    """Delete a file from the client's cache, and the blob that it links to."""
    blob = path.resolve()
    path.unlink(missing_ok=True)
    if blob != path:
        blob.unlink(missing_ok=True)
