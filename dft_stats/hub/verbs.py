"""What a user does with profiles of the Hub, beside publishing: fetch one, see what there is, fix what a project uses, clear the cache."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dft_stats.errors import HubUnreachable, ProfileFormatError, ProfileNotFound
from dft_stats.hub import index
from dft_stats.hub.connection import Hub, connect
from dft_stats.hub.index import Kept
from dft_stats.hub.lock import Locked, lock_path, read_lock, write_lock
from dft_stats.hub.requests import check_repo, published
from dft_stats.manifest import CARD, MANIFEST, read_manifest, sha256_of
from dft_stats.profile import read_profile
from dft_stats.reference import LATEST, Reference, numbers, parse, spelt
from dft_stats.registry import Found, embedded_versions, find, load, repo_of
from dft_stats.tables import table_path


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a profile, and where it is."""

    version: str
    commit: str | None  # None of one that is embedded alone
    is_embedded: bool
    is_kept: bool  # fetched before, so that it needs no network


def pull(name: str, *, to: str | Path | None = None, hub: Hub | None = None, accept_moved: bool = False) -> Path:
    """Fetch a profile and verify it; see `dft_stats.load` for names and errors.

    Args:
        name: of the profile.
        to: a new folder to copy it to, whole or not at all; it stays in the cache alone if None.
        hub: of `dft_stats.hub.connection.connect`.
        accept_moved: take a version whose tag was moved since it was fetched first.

    Returns:
        Where it lies.

    Raises:
        ProfileFormatError: `to` exists.
    """
    target = None if to is None else Path(to)
    if target is not None and target.exists():
        raise ProfileFormatError(f"{target} exists; give a new folder, nothing was fetched")
    profile = load(name, hub=hub, accept_moved=accept_moved)
    folder = profile.path
    if target is None:
        return folder
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        (draft / "data").mkdir()
        for file in (MANIFEST, CARD, *map(table_path, profile.tables)):  # whatever else lies in the client's cache is no part of it
            if (folder / file).is_file():
                shutil.copyfile(folder / file, draft / file)
        read_profile(draft)  # somebody may have cleared the cache just now
        draft.chmod(0o755)
        os.replace(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target


def versions(name: str, *, hub: Hub | None = None) -> list[Version]:
    """Every version of a profile that is known, the lowest first; those that are here alone if no Hub can be reached.

    Raises:
        ProfileNotFound: neither embedded nor on the Hub.
        HubUnreachable: nobody answers, and none is here.
        AccessDenied, HubError: what the Hub answers.
    """
    reference = _named(name)
    where = hub or connect()
    embedded, repo = embedded_versions(reference.name), repo_of(reference)
    check_repo(repo)
    kept = {version: entry for version, entry in index.kept_of(where, repo).items() if entry.is_there}
    try:
        commits = published(where, repo)
    except (HubUnreachable, ProfileNotFound):
        if not embedded and not kept:
            raise
        commits = {}
    commits = {version: entry.commit for version, entry in kept.items()} | commits
    return [
        Version(spelt(version), commits.get(version), version in embedded, version in kept) for version in sorted(commits.keys() | embedded)
    ]


def lock(names: Sequence[str] = (), *, path: str | Path | None = None, hub: Hub | None = None) -> dict[str, Locked]:
    """Fetch profiles and fix their versions, commits and hashes in the lock file of a project, which `load` then obeys.

    Args:
        names: of profiles, each with or without a version; those of the file again, by what was asked for, if there are none.
        path: of the file; $DFT_STATS_LOCK or `dft-stats.lock` here if None.
        hub: of `dft_stats.hub.connection.connect`.

    Returns:
        All that is in the file now.
    """
    target = lock_path() if path is None else Path(path)
    before = read_lock(target)
    asked = [_named(name) for name in names] or [Reference(name, entry.spec) for name, entry in before.items()]
    if not asked:
        raise ProfileNotFound(f"{target} has no profiles yet; name some: `dft-stats lock news acme/contracts@1.2`")
    found = {reference.name: _locked(reference, find(str(reference), hub=hub, lock=False, folders=False)) for reference in asked}
    locked = dict(read_lock(target)) | found  # again: to fetch takes its time, and another process may have locked something meanwhile
    write_lock(target, locked)
    return locked


def cached() -> list[Kept]:
    """Versions that were fetched and are still there."""
    return [kept for kept in index.all_kept() if kept.is_there]


def remove(name: str) -> list[Kept]:
    """Delete a version, or all versions, of a repository from the cache; who had access once would have it for ever without.

    Which commit a version was stays known, so that its tag cannot be moved unseen.

    Raises:
        ProfileNotFound: none of it is there.
    """
    from huggingface_hub import scan_cache_dir

    reference = _named(name)
    if reference.spec == LATEST:
        raise ProfileNotFound(f"{name}: the cache does not know what is latest; name a version, or {reference.name} for all of them")
    repo = repo_of(reference)
    left = [kept for kept in index.all_kept() if Path(kept.folder).is_dir()]  # those of which a part is left as well
    found = [kept for kept in left if kept.repo == repo and (reference.admits(numbers(kept.version)) or reference.spec == kept.commit)]
    if not found:
        there = ", ".join(f"{kept.repo}@{kept.version}" for kept in left) or "nothing"
        raise ProfileNotFound(f"{reference} is not in the cache, which has {there}")
    for kept in found:
        root = Path(kept.folder).parents[2]  # <cache>/datasets--owner--name/snapshots/<commit>
        if root.is_dir():
            commits = {revision.commit_hash for repository in scan_cache_dir(root).repos for revision in repository.revisions}
            if kept.commit in commits:
                scan_cache_dir(root).delete_revisions(kept.commit).execute()
    return found


def _locked(reference: Reference, found: Found) -> Locked:
    manifest = read_manifest(found.folder)
    kept = found.kept
    return Locked(
        spec=reference.spec,
        version=manifest["version"],
        manifest_sha256=sha256_of(manifest),
        repo=None if kept is None else kept.repo,
        commit=None if kept is None else kept.commit,
    )


def _named(name: str) -> Reference:
    reference = parse(name)
    if reference is None:
        raise ProfileNotFound(
            f"{name!r} is no name of a profile; expected one such as news, news@1.0, acme/contracts or acme/contracts@1.2.0"
        )
    return reference
