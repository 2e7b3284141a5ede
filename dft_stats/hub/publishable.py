"""Whether everybody may read a profile, and what its repository holds already."""

from collections.abc import Mapping
from typing import Any

from dft_stats.errors import ProfileFormatError, PublishError
from dft_stats.hub.connection import Hub
from dft_stats.hub.pull import fetch_manifest
from dft_stats.manifest import read_manifest
from dft_stats.output import safe
from dft_stats.profile import Profile
from dft_stats.reference import Numbers, spelt

PUBLISHABLE = ("publish", "epsilon", "public-corpus")
"""What the privacy entry of a manifest may say for a repository that everybody reads."""


def check_privacy(repo: str, profile: Profile, is_private: bool, public: bool) -> None:
    """Refuse to show everybody what was not built for it, or what nobody said that they may read."""
    mode = _mode(profile.manifest)
    if not is_private and not public:
        raise PublishError(
            f"{repo} is public; say so (`--public`, public=True) if everybody shall read this profile, or make it private first"
        )
    if not is_private and mode not in PUBLISHABLE:
        raise PublishError(
            f"{profile.name} was built with privacy {mode!r}, and everybody could read it at {repo}: rare words and names of the "
            "corpus stand in its tables. Build it for publication (without `--privacy none`), or push it to a private repository"
        )


def check_older(hub: Hub, repo: str, versions: Mapping[Numbers, str]) -> None:
    """Refuse to go on in a repository that everybody reads if a version before was not built for that: it is read already."""
    found = {}
    for version, commit in sorted(versions.items()):
        try:
            mode = safe(_mode(read_manifest(fetch_manifest(repo, commit, hub))))[:40]  # a stranger may have written it
        except ProfileFormatError:
            mode = "unknown"
        if mode not in PUBLISHABLE:
            found[spelt(version)] = mode
    if found:
        named = ", ".join(f"{version} ({mode})" for version, mode in found.items())
        raise PublishError(
            f"{repo} is public and holds versions that were not built for publication: {named}. Everybody reads them now, deleting a tag "
            "leaves their files in the history. Make this repository private, and publish in another one; nothing was sent"
        )


def _mode(manifest: Mapping[str, Any]) -> str:
    """The privacy that a profile was built with."""
    return str((manifest.get("privacy") or {}).get("mode", "none"))
