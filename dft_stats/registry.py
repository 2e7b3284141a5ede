"""The registry: profiles by name and version. The lock file, a folder, the embedded ones, what was fetched before, the Hub, in this order.

The embedded ones lie in `registry/<name>/<version>/` in a checkout, the same inside the wheel.
"""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dft_stats.errors import HubUnreachable, LockError, ProfileNotFound
from dft_stats.hub.lock import Locked, locked_of
from dft_stats.manifest import MANIFEST, NAME, VERSION, read_manifest, sha256_of
from dft_stats.profile import Profile, read_profile
from dft_stats.reference import LATEST, Numbers, Reference, numbers, parse, spelt

if TYPE_CHECKING:
    from dft_stats.hub.connection import Hub
    from dft_stats.hub.index import Kept

OFFICIAL = "dft-stats"
"""Owner of the official profiles on the Hub; $DFT_STATS_NAMESPACE names another."""


@dataclass(frozen=True, slots=True)
class ProfileInfo:
    """What the registry knows of a profile from its manifest alone."""

    name: str
    version: str
    documents: int
    words: int
    sentences: int
    bytes: int  # of its tables, compressed
    licence: str
    title: str
    path: Path


@dataclass(frozen=True, slots=True)
class Found:
    """Where a profile lies, and by which road it came there."""

    folder: Path
    reference: Reference | None = None  # None of a folder that was given as such
    kept: "Kept | None" = None  # of one that came from the Hub


def registry_path() -> Path:
    """The folder of the embedded profiles."""
    package = Path(__file__).parent
    installed = package / "_registry"  # where the wheel has it; an editable install and a checkout have it beside the package
    return installed if installed.is_dir() else package.parent / "registry"


def list_profiles() -> list[ProfileInfo]:
    """The embedded profiles, all versions, by name and then version; only their manifests are read."""
    return [_info(folder) for name in _names() for _, folder in sorted(_versions(name).items())]


def load(
    name_or_path: str | Path, *, verify: bool = True, hub: "Hub | None" = None, accept_moved: bool = False, lock: bool = True
) -> Profile:
    """A profile, verified against its hashes.

    Args:
        name_or_path: "news" (the embedded one); "news@1" or "news@1.0" (the newest of these that is embedded, else of the Hub);
            "news@1.0.0" (this version and no other); "news@latest" (what the Hub has now); "owner/name" of the Hub, with the same behind
            an @, or a commit of 40 digits; or the folder of a profile. A version that was fetched before needs no network.
        verify: False skips the hashes of the tables.
        hub: of `dft_stats.hub.connection.connect`; by the settings of the Hub's client (`HF_ENDPOINT`, `HF_TOKEN`, ...) if None.
        accept_moved: take a version whose tag was moved to another commit since it was fetched first.
        lock: False disregards the project's lock file (`dft-stats.lock`).

    Raises:
        ProfileNotFound: no such name, version or folder; the message says what there is.
        ProfileFormatError: a folder that is no profile, is half-written, or is of a newer format.
        IntegrityError: a file of the profile was changed, or the tag of a version moved (`TagMoved`).
        HubUnreachable: nobody answers, and what was asked for is not kept here.
        AccessDenied, HubError: what the Hub answers.
        LockError: the lock file has another version than is asked for.
    """
    found = find(name_or_path, hub=hub, accept_moved=accept_moved, lock=lock)
    if found.kept is None:
        return read_profile(found.folder, verify=verify)
    from dft_stats.hub.pull import read_kept

    def again() -> "Kept | None":
        return find(name_or_path, hub=hub, lock=lock, accept_moved=accept_moved, repair=True).kept

    return read_kept(found.kept, again, verify=verify)


def locate(name_or_path: str | Path) -> Path:
    """The folder of a profile, unread; fetched if it has to be. See `load`."""
    return find(name_or_path).folder


def expanded(name_or_path: str | Path) -> Path:
    """As a path, with ~ for the home of the user; a home that nobody has is an error that says so."""
    try:
        return Path(name_or_path).expanduser()
    except RuntimeError as error:
        raise ProfileNotFound(f"{str(name_or_path)!r}: {error}; give the folder itself") from error


def find(
    name_or_path: str | Path,
    *,
    hub: "Hub | None" = None,
    accept_moved: bool = False,
    lock: bool = True,
    repair: bool = False,
    folders: bool = True,
) -> Found:
    """Where a profile lies.

    A name that the lock file has wins over all else; a folder with a manifest over a name, an embedded profile over the Hub, a name over
    any other folder. What is no name, such as ./news, and a `Path`, is a folder. `folders` is False where a name is to be locked.
    """
    if not str(name_or_path):
        raise ProfileNotFound(f"the name of the profile is empty; give a folder, `owner/name` of the Hub, or one of {_known()}")
    path = expanded(name_or_path)
    if isinstance(name_or_path, Path):
        if not path.exists():
            raise ProfileNotFound(f"{path} does not exist; build a profile there with `dft-stats build PATH --out {path} --name NAME`")
        return Found(path)
    is_profile = (path / MANIFEST).is_file()
    reference = None if is_profile and not _is_name(name_or_path) else parse(name_or_path)
    if reference is None:
        if path.exists():
            return Found(path)
        raise ProfileNotFound(f"{name_or_path!r} is neither a folder nor the name of a profile; the registry has {_known()}")
    locked = locked_of(reference) if lock else None
    if folders and locked is None and (is_profile or (path.exists() and reference.name not in _names())):
        return Found(path)
    embedded = None if reference.is_repo else _embedded(reference, locked)
    if embedded is not None:
        return Found(embedded, reference)
    kept = _from_hub(reference, hub, locked, accept_moved=accept_moved, repair=repair)
    return Found(Path(kept.folder), reference, kept)


def _is_name(text: str) -> bool:
    """Whether a text is a name of a profile, with a version or without; else it may be a folder with an @ in it."""
    try:
        return parse(text) is not None
    except ProfileNotFound:
        return False


def repo_of(reference: Reference) -> str:
    """The repository of a profile on the Hub."""
    return reference.name if reference.is_repo else f"{os.environ.get('DFT_STATS_NAMESPACE') or OFFICIAL}/{reference.name}"


def embedded_versions(name: str) -> dict[Numbers, Path]:
    """The folders of an embedded profile."""
    return _versions(name) if name in _names() else {}


def _embedded(reference: Reference, locked: Locked | None) -> Path | None:
    """The folder of the embedded profile that is asked for; None if the Hub has to be asked."""
    versions = embedded_versions(reference.name)
    if not versions:
        close = difflib.get_close_matches(reference.name, _names(), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        known = f"the registry has {_known()}; one of the Hub is named with its owner, as owner/{reference.name}, and any other by its path"
        raise ProfileNotFound(f"no profile is named {reference.name!r}; {hint}{known}")
    if locked is not None:
        same = versions.get(numbers(locked.version))
        if same is not None and sha256_of(read_manifest(same)) == locked.manifest_sha256:
            return same
        if locked.commit is None:
            raise LockError(
                f"the lock file has the embedded {reference.name} {locked.version} of another dft_stats (manifest "
                f"{locked.manifest_sha256[:12]}); install the one that it was written with, or write it anew with "
                f"`dft-stats lock {reference}`"
            )
        return None
    version = None if reference.spec == LATEST else reference.newest(set(versions))
    return None if version is None else versions[version]


def _from_hub(
    reference: Reference, hub: "Hub | None", locked: Locked | None = None, *, accept_moved: bool = False, repair: bool = False
) -> "Kept":
    from dft_stats.hub.connection import connect
    from dft_stats.hub.pull import fetch

    try:
        return fetch(reference, repo_of(reference), hub or connect(), locked=locked, accept_moved=accept_moved, repair=repair)
    except (HubUnreachable, ProfileNotFound) as error:
        if reference.is_repo:
            raise type(error)(f"{error}. No folder here is named {reference.name} either") from error
        versions = embedded_versions(reference.name)
        raise type(error)(f"{error}. Embedded: {reference.name} {', '.join(map(spelt, sorted(versions)))}") from error


def _known() -> str:
    return ", ".join(_names()) or f"no profiles ({registry_path()} is empty)"


def _names() -> list[str]:
    root = registry_path()
    return sorted(f.name for f in root.iterdir() if NAME.fullmatch(f.name) and _versions(f.name)) if root.is_dir() else []


def _versions(name: str) -> dict[Numbers, Path]:
    folder = registry_path() / name
    return {numbers(f.name): f for f in folder.iterdir() if VERSION.fullmatch(f.name) and f.is_dir()} if folder.is_dir() else {}


def _info(folder: Path) -> ProfileInfo:
    manifest = read_manifest(folder)
    exposure = manifest["exposure"]
    return ProfileInfo(
        name=manifest["name"],
        version=manifest["version"],
        documents=exposure["documents"],
        words=exposure["words"],
        sentences=exposure["sentences"],
        bytes=sum(entry["bytes"] for entry in manifest["tables"]),
        licence=manifest.get("licence", "unspecified"),
        title=manifest.get("title", ""),
        path=folder,
    )
