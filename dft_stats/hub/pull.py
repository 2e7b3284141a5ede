"""Fetch a profile from the Hub: the commit of its version, then its files by that commit, each checked before it is parsed."""

import logging
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dft_stats.errors import HubUnreachable, IntegrityError, LockError, ProfileFormatError, TagMoved, VersionNotFound
from dft_stats.hub import index
from dft_stats.hub.connection import Hub, explained, reach
from dft_stats.hub.index import Kept
from dft_stats.hub.lock import Locked
from dft_stats.hub.requests import Remote, check_repo, is_same, published, some_files
from dft_stats.manifest import CARD, MANIFEST, MAX_MANIFEST_BYTES, read_manifest, sha256_of
from dft_stats.profile import Profile, read_profile
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
        LockError: the lock file has another repository, or another version than its commit.
    """
    check_repo(repo)
    known = index.kept_of(hub, repo)
    there = {version: kept for version, kept in known.items() if kept.is_there}
    if locked is not None and locked.commit is not None:
        return _locked(repo, hub, locked, locked.commit, repair=repair)
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
    try:
        return _download(repo, commit, version, hub, None)
    except HubUnreachable as error:
        if repair or accept_moved or reference.is_exact:
            raise
        return _kept_instead(reference, repo, there, error)


def read_kept(kept: Kept, again: Callable[[], Kept | None], *, verify: bool = True) -> Profile:
    """The profile that was fetched; if it was damaged since, the same is fetched again, and nothing else.

    Args:
        kept: which.
        again: fetches it again, see `repair` of `fetch`.
        verify: False skips the hashes of the tables.

    Raises:
        IntegrityError: it is damaged, and cannot be fetched again.
    """
    try:
        return _read_same(kept, kept, verify)
    except ProfileFormatError as error:
        try:
            found = again()
        except HubUnreachable as unreachable:
            raise IntegrityError(f"{error}. It cannot be fetched again: {unreachable}") from unreachable
        if found is None or found.manifest_sha256 != kept.manifest_sha256:
            raise
        return _read_same(found, kept, verify)


def _read_same(found: Kept, kept: Kept, verify: bool) -> Profile:
    profile = read_profile(Path(found.folder), verify=verify)
    if profile.sha256 != kept.manifest_sha256:  # the client's cache does not ask from which Hub a file came
        raise IntegrityError(f"{found.folder} holds another profile than was fetched as {kept.repo}@{kept.version}")
    return profile


def _locked(repo: str, hub: Hub, locked: Locked, commit: str, *, repair: bool) -> Kept:
    """What a lock file names, and nothing else: the commit decides, so all that it says beside it has to agree."""
    if locked.repo != repo:
        raise LockError(
            f"the lock file has {locked.repo!r} as the repository, and {repo!r} would be asked; mend it, write it anew with "
            "`dft-stats lock`, or mend DFT_STATS_NAMESPACE, which says whose the official profiles are"
        )
    kept = index.commit_kept(hub, repo, commit)
    if kept is None or kept.manifest_sha256 != locked.manifest_sha256 or repair:
        kept = _download(repo, commit, None, hub, locked.manifest_sha256)
    if kept.version != locked.version:
        raise LockError(
            f"the lock file has {repo} {locked.version}, and its commit {commit[:12]} is {kept.version}: it was changed by hand; mend it, "
            "or write it anew with `dft-stats lock`"
        )
    return kept


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
    folder, there = _manifest(repo, commit, hub)
    try:
        manifest = read_manifest(folder)
    except ProfileFormatError as error:
        raise type(error)(f"{repo} at the commit {commit[:12]}: {error}") from error
    digest = sha256_of(manifest)
    if pin is not None and digest != pin:
        raise IntegrityError(f"{repo} at the commit {commit[:12]} has the manifest {digest}, and {pin} was asked for; it was not read on")
    if version is not None and manifest["version"] != spelt(version):
        raise ProfileFormatError(
            f"the tag {tag_of(spelt(version))} of {repo} holds version {manifest['version']}: tell its owner. "
            f"If that is you, delete the tag: `HfApi().delete_tag({repo!r}, tag={tag_of(spelt(version))!r}, repo_type='dataset')`"
        )
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
    tables = tuple(entry["name"] for entry in manifest["tables"])
    kept = Kept(hub.endpoint, repo, manifest["version"], commit, digest, str(folder), version is not None, pin is None, tables)
    index.remember(kept)
    return kept


def fetch_manifest(repo: str, commit: str, hub: Hub) -> Path:
    """The folder of a commit, with its manifest alone for certain; `fetch` has the errors."""
    return _manifest(repo, commit, hub)[0]


def _manifest(repo: str, commit: str, hub: Hub) -> tuple[Path, dict[str, Remote]]:
    """(the folder of a commit, its manifest and card as the Hub has them); the manifest is fetched, neither is too large."""
    there = some_files(hub, repo, commit, (MANIFEST, CARD))
    for name, most in ((MANIFEST, MAX_MANIFEST_BYTES), (CARD, _MAX_CARD_BYTES)):
        if name in there and there[name].size > most:
            raise ProfileFormatError(
                f"{name} of {repo} has {there[name].size:,} bytes, more than {most:,}: that is no profile of dft_stats"
            )
    if MANIFEST not in there:
        raise ProfileFormatError(f"{repo} holds no profile of dft_stats at the commit {commit[:12]}: it has no {MANIFEST}")
    return _get(repo, commit, MANIFEST, there[MANIFEST], hub).parent, there


def _get(repo: str, commit: str, name: str, remote: Remote, hub: Hub) -> Path:
    """A file of a commit with the hash that the Hub names; fetched once more if it has another.

    The client looks at sizes alone, and its cache does not ask from which Hub a file came.
    """
    from huggingface_hub import hf_hub_download

    for again in (False, True):
        with explained(hub, repo):
            path = Path(hf_hub_download(repo, name, repo_type="dataset", revision=commit, force_download=again, **hub.given))
        if path.is_file() and is_same(path.read_bytes(), remote):  # a pipe would never end
            return path
        _drop(path)  # the client would leave its link to a damaged file where it is
    raise IntegrityError(f"{name} of {repo} arrived twice with another hash than the Hub says, and was deleted again")


def _drop(path: Path) -> None:
    """Delete a file from the client's cache, and the blob that it links to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return
    blob = path.resolve()
    path.unlink(missing_ok=True)
    if blob != path and not blob.is_dir():  # never a folder that a link leads to
        blob.unlink(missing_ok=True)
