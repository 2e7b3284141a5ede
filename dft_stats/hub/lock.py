"""The lock file of a project: which version, commit and manifest each profile is, so that everybody who works on it has the same bytes."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dft_stats.errors import LockError, ProfileNotFound
from dft_stats.manifest import VERSION
from dft_stats.reference import LATEST, Reference, numbers, parse
from dft_stats.whole_file import whole_file

LOCK = "dft-stats.lock"
_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Locked:
    """One profile of a lock file."""

    spec: str  # what was asked for: "" or "1.2" or "1.2.0" or "latest"
    version: str
    manifest_sha256: str
    repo: str | None = None  # None of an embedded profile
    commit: str | None = None


def lock_path() -> Path:
    """$DFT_STATS_LOCK, or `dft-stats.lock` in the working folder."""
    return Path(os.environ.get("DFT_STATS_LOCK") or LOCK)


def read_lock(path: Path, *, must_exist: bool = False) -> dict[str, Locked]:
    """The profiles of a lock file by name; none if there is no such file.

    Args:
        path: of the file.
        must_exist: it was named, so that it is an error if it is not there.

    Raises:
        LockError: it is damaged, or of a newer version, or not there, or no file.
    """
    if not (path.exists() or path.is_symlink() or must_exist):
        return {}
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise LockError(
            f"{path}, the lock file, {what}, and nothing is loaded without it; mend it, or take it away (DFT_STATS_LOCK names it)"
        )
    try:
        return dict(_entries(json.loads(path.read_bytes())))
    except (ValueError, OSError, RecursionError) as error:
        raise LockError(
            f"{path} cannot be read ({error}); mend it, or delete it and write it anew with `dft-stats lock PROFILE ...`"
        ) from error


def _entries(found: Any) -> Iterator[tuple[str, Locked]]:
    """The entries of what a lock file holds; a ValueError says what is wrong."""
    if not (isinstance(found, dict) and isinstance(found.get("profiles"), dict)):
        raise ValueError("it is no table with the entries lock_version and profiles")
    if found.get("lock_version") != _VERSION:
        raise ValueError(f"lock_version is {found.get('lock_version')!r}, this dft_stats reads {_VERSION}")
    for name, entry in found["profiles"].items():
        if not isinstance(entry, dict) or entry.keys() != {field.name for field in fields(Locked)}:
            raise ValueError(f"the entry {name!r} has not the keys {', '.join(field.name for field in fields(Locked))}")
        wrong = [key for key, value in entry.items() if not (isinstance(value, str) or (value is None and key in ("repo", "commit")))]
        if wrong:
            raise ValueError(f"{wrong[0]} of {name!r} is {entry[wrong[0]]!r}, and no text")
        locked = Locked(**entry)
        _check(name, locked)
        yield name, locked


def _check(name: str, locked: Locked) -> None:
    try:
        reference = parse(f"{name}@{locked.spec}" if locked.spec else name)
    except ProfileNotFound as error:
        raise ValueError(f"spec of {name!r}: {error}") from error
    if reference is None or reference.name != name:
        raise ValueError(f"{name!r} is no name of a profile")
    if not VERSION.fullmatch(locked.version):
        raise ValueError(f"the version of {name!r} is {locked.version!r}, expected three numbers, like 1.0.0")
    if not _SHA256.fullmatch(locked.manifest_sha256):
        raise ValueError(f"the manifest_sha256 of {name!r} is {locked.manifest_sha256!r}")
    if locked.commit is not None and not Reference(name, locked.commit).is_commit:
        raise ValueError(f"the commit of {name!r} is {locked.commit!r}")
    if (locked.repo is None) != (locked.commit is None) or (reference.is_repo and locked.commit is None):
        raise ValueError(f"{name!r} has no {'commit' if locked.commit is None else 'repo'}, without which nothing of the Hub is fixed")
    is_asked = reference.spec == locked.commit if reference.is_commit else reference.admits(numbers(locked.version))
    if not is_asked:
        raise ValueError(f"{name!r} has the version {locked.version}, which is not what its spec {locked.spec!r} asks for")


def write_lock(path: Path, locked: Mapping[str, Locked]) -> None:
    """Write a lock file, whole or not at all, always the same bytes for the same entries."""
    text = json.dumps({"lock_version": _VERSION, "profiles": {name: asdict(locked[name]) for name in sorted(locked)}}, indent=1) + "\n"
    with whole_file(path) as file:
        file.write(text.encode())


def locked_of(reference: Reference) -> Locked | None:
    """What the lock file of the project says of a profile; None if it says nothing.

    Raises:
        LockError: it locks a version that is not what is asked for, or cannot be read, or $DFT_STATS_LOCK names none.
    """
    path = lock_path()
    entry = read_lock(path, must_exist=bool(os.environ.get("DFT_STATS_LOCK"))).get(reference.name)
    if entry is None:
        return None
    is_asked = reference.spec == entry.commit if reference.is_commit else reference.admits(numbers(entry.version))
    if not is_asked or (reference.spec == LATEST and entry.spec != LATEST):
        raise LockError(
            f"{path} locks {reference.name} to {entry.version}, and {reference} is asked for; "
            f"change one of the two (`dft-stats lock {reference}`)"
        )
    return entry
