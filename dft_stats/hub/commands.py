"""`dft-stats push | pull | versions | lock | cache`."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from dft_stats.output import print_json, say

Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def add_commands(add: Add) -> None:
    """Add the commands to the parser of `dft-stats`."""
    push = add("push", _push, "Publish a profile on the Hugging Face Hub, as a version that never changes.")
    push.add_argument("folder", type=Path, metavar="FOLDER")
    push.add_argument("repo", metavar="OWNER/NAME")
    push.add_argument("--public", action="store_true", help="everybody may read it; default: private")
    push.add_argument("--dry-run", action="store_true", help="check everything, change nothing")
    push.add_argument("--message", metavar="TEXT", help="of the commit")
    pull = add("pull", _pull, "Fetch a profile from the Hub and verify it.")
    pull.add_argument("profile", metavar="PROFILE", help="news@latest, acme/contracts, acme/contracts@1.2")
    pull.add_argument("--to", type=Path, metavar="FOLDER", help="copy it there; default: it stays in the cache")
    pull.add_argument("--accept-moved", action="store_true", help="take a version whose tag was moved since it was fetched first")
    add("versions", _versions, "List the versions of a profile.").add_argument("profile", metavar="PROFILE")
    lock = add("lock", _lock, "Fix the versions of profiles in the lock file of a project.")
    lock.add_argument("profiles", nargs="*", metavar="PROFILE", help="default: those of the file, by what was asked for")
    lock.add_argument("--file", type=Path, metavar="PATH", help="default: dft-stats.lock here")
    cache = add("cache", _cache, "List what was fetched from the Hub, or delete some of it.")
    cache.add_argument("--remove", metavar="PROFILE", help="OWNER/NAME, or OWNER/NAME@VERSION")


def _push(given: argparse.Namespace) -> int:
    from dft_stats.hub.changes import as_table
    from dft_stats.hub.push import push

    tell = partial(say, file=sys.stderr)
    done = push(given.folder, given.repo, public=given.public, dry_run=given.dry_run, message=given.message, progress=tell)
    if given.json:
        return print_json(asdict(done))
    what = "would be published" if given.dry_run else f"is published, commit {done.commit}"
    who = "private" if done.is_private else "public"
    say(f"{done.repo} {done.version} {what} ({who}, {len(done.files)} files): {done.address}")
    if done.gone:
        say(f"no part of it any more: {', '.join(done.gone)}")
    if done.previous is not None:
        say(f"since {done.previous}:\n{as_table(list(done.changes)) or '  nothing but the card or the encoding'}")
    return 0


def _pull(given: argparse.Namespace) -> int:
    from dft_stats.hub.verbs import pull
    from dft_stats.profile import read_profile

    folder = pull(given.profile, to=given.to, accept_moved=given.accept_moved)
    profile = read_profile(folder)
    if given.json:
        return print_json({"name": profile.name, "version": profile.version, "folder": str(folder), "sha256": profile.sha256})
    say(f"{folder}: {profile!r}")
    return 0


def _versions(given: argparse.Namespace) -> int:
    from dft_stats.hub.verbs import versions

    found = versions(given.profile)
    if given.json:
        return print_json([asdict(version) for version in found])
    for version in found:
        places = [place for place, is_there in (("embedded", version.is_embedded), ("kept here", version.is_kept)) if is_there]
        say(f"{version.version:10} {(version.commit or '')[:12]:12} {', '.join(places)}".rstrip())
    return 0


def _lock(given: argparse.Namespace) -> int:
    from dft_stats.hub.lock import lock_path
    from dft_stats.hub.verbs import lock

    locked = lock(given.profiles, path=given.file)
    if given.json:
        return print_json({name: asdict(entry) for name, entry in locked.items()})
    for name, entry in sorted(locked.items()):
        say(f"{name}@{entry.version}  {entry.commit or 'embedded'}  {entry.manifest_sha256[:16]}")
    say(f"written to {given.file or lock_path()}", file=sys.stderr)
    return 0


def _cache(given: argparse.Namespace) -> int:
    from dft_stats.hub.verbs import cached, remove

    found = cached() if given.remove is None else remove(given.remove)
    if given.json:
        return print_json([asdict(kept) for kept in found])
    for kept in found:
        say(f"{'' if given.remove is None else 'removed '}{kept.repo}@{kept.version}  {kept.commit[:12]}  {kept.endpoint}  {kept.folder}")
    return 0
