"""What was fetched and verified before: one small file for each version of a repository, so that a fixed version needs no network.

The files of a profile lie in the cache of the Hub's client, under their commit; here is which commit a version is, and its hash.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dft_stats.cache import cache_folder
from dft_stats.hub.connection import Hub
from dft_stats.manifest import MANIFEST
from dft_stats.reference import Numbers, numbers
from dft_stats.tables import TABLES, table_path
from dft_stats.whole_file import whole_file

_DEPTH = 3  # folders above the files of a version: <cache>/datasets--owner--name/snapshots/<commit>
_log = logging.getLogger("dft_stats")


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that was fetched, and whose every hash was right."""

    endpoint: str
    repo: str
    version: str
    commit: str
    manifest_sha256: str  # of the file
    folder: str  # where it lies
    is_version: bool = True  # its tag was seen; False: it was asked for by its commit
    is_checked: bool = True  # it was read apart; False: a lock file vouched for it
    tables: tuple[str, ...] = tuple(TABLES)

    @property
    def is_there(self) -> bool:
        """Whether the client's cache still has all of it: a fetch that was interrupted leaves the manifest, and some of the tables."""
        folder = Path(self.folder)
        return all((folder / name).is_file() for name in (MANIFEST, *map(table_path, self.tables)))


def remember(kept: Kept) -> None:
    """Write an entry, whole or not at all; one that cannot be written is only missed the next time."""
    try:
        _write(kept)
    except OSError as error:
        _log.warning("%s@%s is not remembered, so that it asks the Hub again: %s", kept.repo, kept.version, error)


def _write(kept: Kept) -> None:
    path = _file(kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(json.dumps(asdict(kept), indent=1, sort_keys=True).encode())


def kept_of(hub: Hub, repo: str) -> dict[Numbers, Kept]:
    """The versions of a repository, those of which no file is left too: what a version was stays known."""
    return {numbers(kept.version): kept for kept in _read(_folder(hub.endpoint, repo)) if kept.is_version}


def commit_kept(hub: Hub, repo: str, commit: str) -> Kept | None:
    """The entry of a commit of which the files are here."""
    return next((kept for kept in _read(_folder(hub.endpoint, repo)) if kept.commit == commit and kept.is_there), None)


def all_kept() -> list[Kept]:
    """Every entry, by repository and version."""
    root = cache_folder() / "hub"
    found = [kept for folder in sorted(root.glob("*/*--*")) for kept in _read(folder)] if root.is_dir() else []
    return sorted(found, key=lambda kept: (kept.endpoint, kept.repo, numbers(kept.version)))


def _read(folder: Path) -> Iterator[Kept]:
    for path in filter(Path.is_file, sorted(folder.glob("*.json"))) if folder.is_dir() else ():
        try:
            found = json.loads(path.read_bytes())
            kept = Kept(**found | {"tables": tuple(found.get("tables", TABLES))})
            numbers(kept.version)
            texts = (kept.endpoint, kept.repo, kept.commit, kept.folder, *kept.tables)
            if not all(isinstance(text, str) for text in texts) or len(Path(kept.folder).parents) < _DEPTH:
                continue
        except (ValueError, TypeError, OSError, AttributeError):
            continue  # it is only a cache: what is damaged is fetched again
        yield kept


def _folder(endpoint: str, repo: str) -> Path:
    return cache_folder() / "hub" / hashlib.sha256(endpoint.encode()).hexdigest()[:16] / repo.replace("/", "--")


def _file(kept: Kept) -> Path:
    return _folder(kept.endpoint, kept.repo) / f"{kept.version if kept.is_version else kept.commit}.json"
