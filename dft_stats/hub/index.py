"""What was fetched and verified before: one small file for each version of a repository, so that a fixed version needs no network.

The files of a profile lie in the cache of the Hub's client, under their commit; here is which commit a version is, and its hash.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dft_stats.cache import cache_folder
from dft_stats.hub.connection import Hub
from dft_stats.manifest import MANIFEST
from dft_stats.reference import Numbers, numbers


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that was fetched, and whose every hash was right."""

    endpoint: str
    repo: str
    version: str
    commit: str
    manifest_sha256: str  # of the file
    folder: str  # where it lies

    @property
    def is_there(self) -> bool:
        """Whether the client's cache still has it."""
        return (Path(self.folder) / MANIFEST).is_file()


def remember(kept: Kept) -> None:
    """Write an entry, whole or not at all."""
    path = _file(kept.endpoint, kept.repo, kept.version)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False) as file:
        json.dump(asdict(kept), file, indent=1, sort_keys=True)
    os.replace(file.name, path)


def forget(kept: Kept) -> None:
    """Drop an entry."""
    _file(kept.endpoint, kept.repo, kept.version).unlink(missing_ok=True)


def kept_of(hub: Hub, repo: str) -> dict[Numbers, Kept]:
    """The entries of a repository by version, gone ones too: what a version was stays known."""
    return {numbers(kept.version): kept for kept in _read(_folder(hub.endpoint, repo))}


def all_kept() -> list[Kept]:
    """Every entry, by repository and version."""
    root = cache_folder() / "hub"
    found = [kept for folder in sorted(root.glob("*/*--*")) for kept in _read(folder)] if root.is_dir() else []
    return sorted(found, key=lambda kept: (kept.endpoint, kept.repo, numbers(kept.version)))


def _read(folder: Path) -> Iterator[Kept]:
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            kept = Kept(**json.loads(path.read_bytes()))
            numbers(kept.version)
        except (ValueError, TypeError, OSError, AttributeError):
            continue  # it is only a cache: what is damaged is fetched again
        yield kept


def _folder(endpoint: str, repo: str) -> Path:
    return cache_folder() / "hub" / hashlib.sha256(endpoint.encode()).hexdigest()[:16] / repo.replace("/", "--")


def _file(endpoint: str, repo: str, version: str) -> Path:
    return _folder(endpoint, repo) / f"{version}.json"
