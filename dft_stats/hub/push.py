"""Publish a profile on the Hub: one commit with all its files, then the tag of its version on that commit.

Readers see tags alone, so a version is there whole or not at all; a commit that lost its race to the tag stays invisible. A crash between
the two is mended by pushing again.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dft_stats.card import END, generated, own_text, without_head
from dft_stats.errors import IntegrityError, ProfileNotFound, PublishConflict, PublishError, VersionExists, VersionTooSmall
from dft_stats.hub.changes import STEPS, Change, as_table, changes, needed, next_version, step_of
from dft_stats.hub.connection import Hub, connect, explained, reach
from dft_stats.hub.publishable import check_older, check_privacy
from dft_stats.hub.pull import fetch, read_kept
from dft_stats.hub.requests import Remote, all_files, check_repo, is_same, published, state_of
from dft_stats.manifest import CARD, FORMAT, MANIFEST
from dft_stats.output import safe
from dft_stats.profile import Profile, read_profile
from dft_stats.reference import Numbers, Reference, numbers, parse, spelt, tag_of
from dft_stats.tables import SCHEMAS, table_path
from dft_stats.verify import problems

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LARGEST_MANIFEST = 10_000_000  # bytes
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
    gone: tuple[str, ...]  # tables of the version before that are no part of this one
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
    try:
        check_repo(repo)
    except ProfileNotFound as error:
        raise PublishError(f"{error}; nothing was sent") from None
    profile = folder if isinstance(folder, Profile) else read_profile(Path(folder))
    found = problems(profile.path)
    if found:
        raise PublishError(f"{profile.path} is not sound, nothing was sent: {'; '.join(found[:3])}")
    hub = hub or connect()
    reach(hub)
    if not hub.token:
        raise PublishError(f"publishing to {hub.endpoint} needs a token with the right to write: `hf auth login`, or HF_TOKEN")
    files = {CARD: profile.path / CARD, MANIFEST: profile.path / MANIFEST}
    files |= {table_path(name): profile.path / table_path(name) for name in profile.tables}
    api = hub.api()
    found_there = _look(hub, repo, profile, files, public=public)
    is_new = found_there is None
    if is_new and not dry_run:
        with explained(hub, repo):
            api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        if not public and not state_of(hub, repo)[0]:
            raise PublishError(
                f"{repo} was made and is not private; nothing was sent. Look at its settings on {hub.endpoint}/datasets/{repo}"
            )
        found_there = _look(hub, repo, profile, files, public=public)
    seen = found_there or _Seen(not public, "", {}, {}, None, [])
    commit, is_private = None, seen.is_private
    if not dry_run:
        commit, seen = _commit(api, hub, repo, profile, files, seen, message, tell, public=public)
        is_private = _read_back(hub, repo, profile, files, commit)
    return Pushed(
        repo=repo,
        version=profile.version,
        tag=tag_of(profile.version),
        commit=commit,
        is_private=is_private,
        is_new_repo=is_new,
        previous=seen.previous,
        changes=tuple(seen.changes),
        files=tuple(files),
        gone=tuple(_gone(seen.files, files)),
        address=f"{hub.endpoint}/datasets/{repo}/tree/{tag_of(profile.version)}",
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """A repository that this profile may be published in, as it was when it was looked at."""

    is_private: bool
    head: str
    files: Mapping[str, Remote]  # of the head
    versions: Mapping[Numbers, str]
    previous: str | None
    changes: list[Change]  # since the previous version


def _look(hub: Hub, repo: str, profile: Profile, files: dict[str, Path], *, public: bool, before: _Seen | None = None) -> _Seen | None:
    """Check everything that can stand against publishing; None if there is no such repository yet.

    Args:
        hub: where.
        repo: which.
        profile: what.
        files: of it.
        public: whether everybody may read it.
        before: how the repository was found before: versions that were compared then are not compared again.
    """
    try:
        is_private, head = state_of(hub, repo)
    except ProfileNotFound:
        check_privacy(repo, profile, not public, public)
        return None
    check_privacy(repo, profile, is_private, public)
    versions = published(hub, repo)  # after the head: who publishes in between makes the commit fail
    _refuse_existing(hub, repo, profile, versions, files)
    there = all_files(hub, repo, head)
    _check_ours(hub, repo, head, there, has_versions=bool(versions))
    is_seen = before is not None and before.versions == versions
    if not is_private and not (is_seen and before and not before.is_private):
        check_older(hub, repo, versions)
    if before is not None and is_seen:
        return replace(before, is_private=is_private, head=head, files=there)
    return _Seen(is_private, head, there, versions, *check_step(profile, repo, versions, hub))


def check_step(profile: Profile, repo: str, versions: Mapping[Numbers, str], hub: Hub) -> tuple[str | None, list[Change]]:
    """The version before this one and what changed since; refuses a step that is too small for it, and to the version after it.

    Raises:
        VersionTooSmall: with the table of what changed.
        PublishError: the repository holds another profile.
    """
    ours = numbers(profile.version)
    before = max((version for version in versions if version < ours), default=None)
    after = min((version for version in versions if version > ours), default=None)
    found: dict[Numbers, Profile] = {}
    for version in (before, after):
        if version is not None:
            get = partial(fetch, Reference(repo, spelt(version)), repo, hub)
            found[version] = read_kept(get(), partial(get, repair=True))
            if found[version].name != profile.name:
                raise PublishError(
                    f"{repo} holds the profile {found[version].name!r}, this one is {profile.name!r}: one repository has one profile"
                )
    if after is not None:
        _check_pair(profile, found[after])
    if before is None:
        return None, []
    return spelt(before), _check_pair(found[before], profile)


def _check_pair(old: Profile, new: Profile) -> list[Change]:
    """What changed from one version to the next; refuses a step that is too small for it."""
    found = changes(old, new)
    step, least = step_of(old.version, new.version), needed(found)
    if STEPS.index(step) < STEPS.index(least):
        raise VersionTooSmall(
            f"{new.version} after {old.version} is a {step} step, and what changed needs a {least} one: build it as "
            f"{next_version(old.version, least)}. Changed:\n{as_table(found)}"
        )
    return found


def _check_ours(hub: Hub, repo: str, head: str, there: Mapping[str, Remote], *, has_versions: bool) -> None:
    """Refuse a repository that holds something else: nobody's data is replaced. If it has versions, `check_step` looks at these."""
    others = sorted(set(there) - {".gitattributes", CARD})
    if others and not (MANIFEST in there and (has_versions or _is_ours(hub, repo, head, there[MANIFEST]))):
        raise PublishError(
            f"{repo} holds something that is no profile ({', '.join(map(safe, others[:3]))}, ...): nothing was sent; give another "
            "repository"
        )


def _is_ours(hub: Hub, repo: str, head: str, manifest: Remote) -> bool:
    """Whether a manifest is one of a profile, as a push leaves it that was interrupted before its tag. Others have files of this name."""
    from huggingface_hub import hf_hub_download

    if manifest.size > _LARGEST_MANIFEST:
        return False
    with explained(hub, repo):
        path = Path(hf_hub_download(repo, MANIFEST, repo_type="dataset", revision=head, **hub.given))
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def _refuse_existing(hub: Hub, repo: str, profile: Profile, versions: Mapping[Numbers, str], files: dict[str, Path]) -> None:
    there = versions.get(numbers(profile.version))
    if there is not None:
        same = _holds(all_files(hub, repo, there), files)
        what = (
            "with these very files: there is nothing to do"
            if same
            else "with other files. Versions do not change: build it as a higher one"
        )
        raise VersionExists(f"{repo} has {profile.version} already, {what}")


def _commit(
    api: "HfApi",
    hub: Hub,
    repo: str,
    profile: Profile,
    files: dict[str, Path],
    seen: _Seen,
    message: str | None,
    tell: Callable[[str], None],
    *,
    public: bool,
) -> tuple[str, _Seen]:
    """Commit and tag, again and again while others commit; everything is checked anew right before."""
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(_TRIES):
        seen = _look(hub, repo, profile, files, public=public, before=seen) or seen  # again: comparing versions took a while
        commit = seen.head
        if not _holds(seen.files, files):  # else a push was interrupted before its tag
            operations = _operations(hub, repo, seen, files)
            tell(f"sending {len(files)} files to {repo}")
            try:
                with explained(hub, repo, but=412):
                    commit = api.create_commit(
                        repo,
                        operations,
                        commit_message=message or f"{profile.name} {profile.version}",
                        repo_type="dataset",
                        parent_commit=seen.head,
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
        return commit, seen
    raise PublishConflict(f"others committed to {repo} {_TRIES} times while {profile.version} was on its way; push it again")


def _operations(hub: Hub, repo: str, seen: _Seen, files: dict[str, Path]) -> list[Any]:
    """What the commit does: our files, without tables of older versions, and what the owner wrote below the card."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, hf_hub_download

    card = files[CARD].read_bytes()
    if CARD in seen.files and END.encode() in card and not own_text(card).strip():
        with explained(hub, repo):
            before = Path(hf_hub_download(repo, CARD, repo_type="dataset", revision=seen.head, **hub.given)).read_bytes()
        own = own_text(before) if MANIFEST in seen.files else without_head(before)
        card = generated(card) + own if own.strip() else card
    return [
        CommitOperationAdd(CARD, card),
        *(CommitOperationAdd(name, str(path)) for name, path in files.items() if name != CARD),
        *map(CommitOperationDelete, _gone(seen.files, files)),
    ]


def _gone(there: Mapping[str, Remote], files: Mapping[str, Path]) -> list[str]:
    """Tables that the version before had and this one has not; what else lies beside them is the owner's."""
    return sorted(path for path in map(table_path, SCHEMAS) if path in there and path not in files)


def _holds(there: Mapping[str, Remote], files: dict[str, Path]) -> bool:
    """Whether a commit has exactly these files; the card may have more text below."""
    expected = {name: path for name, path in files.items() if name != CARD}
    return not _gone(there, files) and all(name in there and is_same(path.read_bytes(), there[name]) for name, path in expected.items())


def _read_back(hub: Hub, repo: str, profile: Profile, files: dict[str, Path], commit: str) -> bool:
    """What the Hub has under the tag is what was sent; returns whether it is private."""
    tagged = published(hub, repo).get(numbers(profile.version))
    if tagged != commit:
        raise IntegrityError(f"{tag_of(profile.version)} of {repo} is {tagged}, not {commit}, which was just published: somebody moved it")
    if not _holds(all_files(hub, repo, commit), files):
        raise IntegrityError(f"{repo} at {commit[:12]} has other files than were sent: do not use {profile.version}, publish a higher one")
    return state_of(hub, repo)[0]
