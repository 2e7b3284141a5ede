"""Publish the official profiles on the Hub, and fetch them again as anybody would.

python -m pipelines.publish [--only news] [--owner dft-stats] [--dry-run] [--check]

Needs a token with the right to write for the owner (`HF_TOKEN`). A version that is published already is left as it is; in any case the
one that lies on the Hub is fetched into an empty cache, and has to have the bytes of the one here.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dft_stats.errors import IntegrityError, VersionExists
from dft_stats.hub.connection import Hub, connect
from dft_stats.hub.pull import fetch
from dft_stats.hub.push import push
from dft_stats.manifest import MANIFEST
from dft_stats.profile import Profile, read_profile
from dft_stats.reference import Reference
from dft_stats.registry import OFFICIAL, list_profiles


def main(arguments: Sequence[str] | None = None, *, hub: Hub | None = None) -> int:
    """Publish and check; one line a profile."""
    parser = argparse.ArgumentParser(description="Publish the official profiles on the Hub.")
    parser.add_argument("--only", action="append", help="name of a profile; may be given again")
    parser.add_argument("--owner", default=OFFICIAL)
    parser.add_argument("--dry-run", action="store_true", help="check everything, change nothing")
    parser.add_argument("--check", action="store_true", help="publish nothing, fetch what is there")
    given = parser.parse_args(arguments)
    where = hub or connect()
    for info in list_profiles():
        if given.only and info.name not in given.only:
            continue
        profile, repo = read_profile(info.path), f"{given.owner}/{info.name}"
        said = "there" if given.check else _publish(profile, repo, where, dry_run=given.dry_run)
        if not given.dry_run:
            check(profile, repo, where.endpoint)
            said += ", fetched by nobody in particular: the same bytes"
        print(f"{repo}@{profile.version}: {said}")
    return 0


def check(profile: Profile, repo: str, endpoint: str) -> None:
    """Fetch a version without a token into an empty cache; refuse it if a byte differs.

    Raises:
        IntegrityError: it does.
    """
    with tempfile.TemporaryDirectory() as cache:
        anybody = connect(endpoint=endpoint, token=False, cache_dir=Path(cache))
        folder = Path(fetch(Reference(repo, profile.version), repo, anybody, repair=True).folder)
        if (folder / MANIFEST).read_bytes() != (profile.path / MANIFEST).read_bytes():
            raise IntegrityError(f"{repo}@{profile.version} on {endpoint} is another profile than {profile.path}: publish a higher version")


def _publish(profile: Profile, repo: str, hub: Hub, *, dry_run: bool) -> str:
    try:
        done = push(profile, repo, public=True, dry_run=dry_run, hub=hub)
    except VersionExists:
        return "there already"
    return "would be published" if dry_run else f"published, commit {done.commit}"


if __name__ == "__main__":
    sys.exit(main())
