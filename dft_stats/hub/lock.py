"""The lock file of a project: which version, commit and manifest each profile is, so that everybody who works on it has the same bytes."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dft_stats.errors import LockError
from dft_stats.reference import Reference, numbers, parse

LOCK = "dft-stats.lock"
_VERSION = 1


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


def read_lock(path: Path) -> dict[str, Locked]:
    """The profiles of a lock file by name; none if there is no such file.

    Raises:
        LockError: it is damaged, or of a newer version.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
        if found["lock_version"] != _VERSION:
            raise ValueError(f"lock_version is {found['lock_version']!r}, this dft_stats reads {_VERSION}")
        locked = {name: Locked(**entry) for name, entry in found["profiles"].items()}
        for name, entry in locked.items():
            reference = parse(name)
            if entry.commit is not None and not Reference(name, entry.commit).is_commit:
                raise ValueError(f"the commit of {name!r} is {entry.commit!r}")
            if reference is None or not all(isinstance(text, str) for text in (entry.spec, entry.version, entry.manifest_sha256)):
                raise ValueError(f"the entry {name!r} has another shape")
            numbers(entry.version)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LockError(f"{path} cannot be read ({error}); mend it, or write it anew with `dft-stats lock PROFILE ...`") from error
    return locked


def write_lock(path: Path, locked: Mapping[str, Locked]) -> None:
    """Write a lock file, whole or not at all, always the same bytes for the same entries."""
    text = json.dumps({"lock_version": _VERSION, "profiles": {name: asdict(locked[name]) for name in sorted(locked)}}, indent=1) + "\n"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.absolute().parent, suffix=".tmp", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def locked_of(reference: Reference, path: Path) -> Locked | None:
    """What the lock file says of a profile; None if it says nothing.

    Raises:
        LockError: it locks a version that is not what is asked for.
    """
    entry = read_lock(path).get(reference.name)
    if entry is None:
        return None
    is_asked = reference.spec == entry.commit if reference.is_commit else reference.admits(numbers(entry.version))
    if not is_asked:
        raise LockError(
            f"{path} locks {reference.name} to {entry.version}, and {reference} is asked for; "
            f"change one of the two (`dft-stats lock {reference}`)"
        )
    return entry
