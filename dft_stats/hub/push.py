"""Publish a profile on the Hub: one commit with all its files, then the tag of its version on that commit.

Readers see tags alone, so a version is there whole or not at all; a commit that lost its race to the tag stays invisible. A crash between
the two is mended by pushing again.
"""

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dft_stats.card import END, generated, own_text
from dft_stats.errors import IntegrityError, ProfileNotFound, PublishConflict, PublishError, VersionExists, VersionTooSmall
from dft_stats.hub.changes import Change, as_table, changes, needed, next_version, step_of
from dft_stats.hub.connection import Hub, connect, explained, published, reach
from dft_stats.hub.pull import fetch
from dft_stats.manifest import CARD, MANIFEST
from dft_stats.profile import Profile, read_profile
from dft_stats.reference import Numbers, Reference, numbers, parse, spelt, tag_of
from dft_stats.tables import table_path
from dft_stats.verify import problems

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PUBLISHABLE = ("publish", "epsilon", "public-corpus")
"""What the privacy entry of a manifest may say for a repository that everybody reads."""
_TRIES, _WAIT, _LONGEST_WAIT = 10, 0.1, 2.0  # seconds, doubled each time, with jitter: publishers that met once should not meet again


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was published, or would be."""

    repo: str
    version: str
    tag: str
    commit: str | None  # None of a dry run
    is_private: bool
    is_new_repo: bool
    previous: str | None  # the version before
    changes: tuple[Change, ...]  # since then
    files: tuple[str, ...]
    address: str


def push(
    folder: str | Path | Profile,
    repo: str,
    *,
    public: bool = False,
    dry_run: bool = False,
    message: str | None = None,
    hub: Hub | None = None,
    progress: Callable[[str], None] | None = None,
) -> Pushed:
    """Publish a profile as a version of a dataset repository, which is made if it does not exist, private unless `public` is said.

    Args:
        folder: of the profile, or the profile.
        repo: "owner/name".
        public: everybody may read it. Needed as well to publish to a repository that is public already.
        dry_run: check everything, change nothing.
        message: of the commit.
        hub: of `dft_stats.hub.connection.connect`; by the settings of the Hub's client if None.
        progress: called with a line of text as the work goes on.

    Raises:
        PublishError: the profile is not sound, or the repository holds something else, or everybody would read what is private.
        VersionExists: this version is there, with other files.
        VersionTooSmall: more changed than the step of the version says; the message has the table of it.
        PublishConflict: others kept committing.
        AccessDenied, HubUnreachable, HubError: what the Hub answers.
        IntegrityError: what the Hub has afterwards is not what was sent.
    """
    tell = progress or (lambda line: None)
    reference = parse(repo)
    if reference is None or not reference.is_repo or reference.spec:
        raise PublishError(f'{repo!r} is no repository; expected "owner/name", the version is that of the profile')
    profile = folder if isinstance(folder, Profile) else read_profile(Path(folder))
    found = problems(profile.path)
    if found:
        raise PublishError(f"{profile.path} is not sound, nothing was sent: {'; '.join(found[:3])}")
    mode = str((profile.manifest.get("privacy") or {}).get("mode", "none"))
    hub = hub or connect()
    reach(hub)
    if not hub.token:
        raise PublishError(f"publishing to {hub.endpoint} needs a token with the right to write: `hf auth login`, or HF_TOKEN")
    api = hub.api()
    is_private = _visibility(api, hub, repo)
    is_new = is_private is None
    if not public and is_private is False:
        raise PublishError(
            f"{repo} is public; say so (`--public`, public=True) if everybody shall read this profile, or make it private first"
        )
    if (public or is_private is False) and mode not in PUBLISHABLE:
        raise PublishError(
            f"{profile.name} was built with privacy {mode!r}, and everybody could read it at {repo}: rare words and names of its corpus "
            "stand in its tables. Build it for publication (without `--privacy none`), or push it to a private repository"
        )
    if is_new and not dry_run:
        with explained(hub, repo):
            api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        is_private = _visibility(api, hub, repo)
        if is_private is None or (not public and not is_private):
            raise PublishError(
                f"{repo} was made and is not private; nothing was sent. Look at its settings on {hub.endpoint}/datasets/{repo}"
            )
    versions = {} if is_new and dry_run else published(hub, repo)
    files = {CARD: profile.path / CARD, MANIFEST: profile.path / MANIFEST}
    files |= {table_path(name): profile.path / table_path(name) for name in profile.tables}
    _refuse_existing(api, hub, repo, profile, versions, files)
    previous, differing = check_step(profile, repo, versions, hub)
    commit = None
    if not dry_run:
        commit = _commit(api, hub, repo, profile, files, message, tell)
        _read_back(api, hub, repo, profile, commit)
    return Pushed(
        repo=repo,
        version=profile.version,
        tag=tag_of(profile.version),
        commit=commit,
        is_private=not public if is_private is None else is_private,
        is_new_repo=is_new,
        previous=previous,
        changes=tuple(differing),
        files=tuple(files),
        address=f"{hub.endpoint}/datasets/{repo}/tree/{tag_of(profile.version)}",
    )


def check_step(profile: Profile, repo: str, versions: dict[Numbers, str], hub: Hub) -> tuple[str | None, list[Change]]:
    """The version before this one and what changed since; refuses a step that is too small for it.

    Raises:
        VersionTooSmall: with the table of what changed.
        PublishError: the repository holds another profile.
    """
    before = max((version for version in versions if version < numbers(profile.version)), default=None)
    if before is None:
        return None, []
    old = read_profile(Path(fetch(Reference(repo, spelt(before)), repo, hub).folder))
    if old.name != profile.name:
        raise PublishError(f"{repo} holds the profile {old.name!r}, this one is {profile.name!r}: one repository has one profile")
    found = changes(old, profile)
    step, least = step_of(old.version, profile.version), needed(found)
    order = ("patch", "minor", "major")
    if order.index(step) < order.index(least):
        raise VersionTooSmall(
            f"{profile.version} after {old.version} is a {step} step, and what changed needs a {least} one: build it as "
            f"{next_version(old.version, least)}. Changed:\n{as_table(found)}"
        )
    return old.version, found


def _refuse_existing(api: "HfApi", hub: Hub, repo: str, profile: Profile, versions: dict[Numbers, str], files: dict[str, Path]) -> None:
    there = versions.get(numbers(profile.version))
    if there is not None:
        same = _holds(api, hub, repo, there, files)
        what = (
            "with these very files: there is nothing to do"
            if same
            else "with other files. Versions do not change: build it as a higher one"
        )
        raise VersionExists(f"{repo} has {profile.version} already, {what}")


def _visibility(api: "HfApi", hub: Hub, repo: str) -> bool | None:
    """Whether the repository is private; None if there is none."""
    try:
        with explained(hub, repo):
            return bool(api.repo_info(repo, repo_type="dataset").private)
    except ProfileNotFound:
        return None


def _commit(
    api: "HfApi", hub: Hub, repo: str, profile: Profile, files: dict[str, Path], message: str | None, tell: Callable[[str], None]
) -> str:
    """Commit and tag, again and again while others commit; the checks are made anew each time."""
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(_TRIES):
        versions = published(hub, repo)
        with explained(hub, repo):
            head = str(api.repo_info(repo, repo_type="dataset").sha)
        _refuse_existing(api, hub, repo, profile, versions, files)
        if attempt:
            check_step(profile, repo, versions, hub)
        commit = head
        if not _holds(api, hub, repo, head, files):  # else a push was interrupted before its tag
            operations = _operations(api, hub, repo, head, files)
            tell(f"sending {len(operations)} files to {repo}")
            try:
                with explained(hub, repo, but=412):
                    commit = api.create_commit(
                        repo,
                        operations,
                        commit_message=message or f"{profile.name} {profile.version}",
                        repo_type="dataset",
                        parent_commit=head,
                    ).oid
            except HfHubHTTPError:
                wait = random.uniform(0.5, 1.0) * min(_LONGEST_WAIT, _WAIT * 2**attempt)
                tell(f"somebody else committed to {repo}; trying again in {wait:.1f} s")
                time.sleep(wait)
                continue
        try:
            with explained(hub, repo, but=409):
                api.create_tag(repo, tag=tag_of(profile.version), revision=commit, repo_type="dataset")
        except HfHubHTTPError:
            continue  # somebody else was first with this version: the next round says so
        return commit
    raise PublishConflict(f"others committed to {repo} {_TRIES} times while {profile.version} was on its way; push it again")


def _operations(api: "HfApi", hub: Hub, repo: str, head: str, files: dict[str, Path]) -> list[Any]:
    """What the commit does: our files, without tables of older versions, and what the owner wrote below the card."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, hf_hub_download

    with explained(hub, repo):
        there = list(api.list_repo_files(repo, repo_type="dataset", revision=head))
        card = files[CARD].read_bytes()
        if CARD in there and MANIFEST in there:
            own = own_text(Path(hf_hub_download(repo, CARD, repo_type="dataset", revision=head, **hub.given)).read_bytes())
            if own.strip() and not own_text(card).strip() and END.encode() in card:
                card = generated(card) + own
    gone = sorted(path for path in there if path.startswith("data/") and path not in files)
    return [
        CommitOperationAdd(CARD, card),
        *(CommitOperationAdd(name, str(path)) for name, path in files.items() if name != CARD),
        *(CommitOperationDelete(path) for path in gone),
    ]


def _holds(api: "HfApi", hub: Hub, repo: str, commit: str, files: dict[str, Path]) -> bool:
    """Whether a commit has exactly these files; the card may have more text below."""
    hashes = _hashes(api, hub, repo, commit)
    expected = {name: path for name, path in files.items() if name != CARD}
    data = {name for name in hashes if name.startswith("data/")}
    return data <= expected.keys() and all(hashes.get(name) in _digests(path) for name, path in expected.items())


def _hashes(api: "HfApi", hub: Hub, repo: str, commit: str) -> dict[str, str]:
    """The sha256 of each large file, and git's own hash of each small one."""
    from huggingface_hub.hf_api import RepoFile

    with explained(hub, repo):
        found = api.list_repo_tree(repo, repo_type="dataset", revision=commit, recursive=True)
        return {item.path: item.lfs.sha256 if item.lfs else item.blob_id for item in found if isinstance(item, RepoFile)}


def _digests(path: Path) -> tuple[str, str]:
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest(), hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _read_back(api: "HfApi", hub: Hub, repo: str, profile: Profile, commit: str) -> None:
    """What the Hub has under the tag is what was sent."""
    tagged = published(hub, repo).get(numbers(profile.version))
    if tagged != commit:
        raise IntegrityError(f"{tag_of(profile.version)} of {repo} is {tagged}, not {commit}, which was just published: somebody moved it")
    files = {MANIFEST: profile.path / MANIFEST} | {table_path(name): profile.path / table_path(name) for name in profile.tables}
    if not _holds(api, hub, repo, commit, {**files, CARD: profile.path / CARD}):
        raise IntegrityError(
            f"{repo} at {commit[:12]} has other files than were sent: do not use {profile.version}, publish a higher version"
        )
