"""The registry: profiles by name and version. `registry/<name>/<version>/` in a checkout, the same inside the wheel."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from dft_stats.errors import ProfileNotFound
from dft_stats.profile import MANIFEST, NAME, VERSION, Profile, read_manifest, read_profile

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


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


def registry_path() -> Path:
    """The folder of the embedded profiles."""
    package = Path(__file__).parent
    installed = package / "_registry"  # where the wheel has it; an editable install and a checkout have it beside the package
    return installed if installed.is_dir() else package.parent / "registry"


def list_profiles() -> list[ProfileInfo]:
    """The embedded profiles, all versions, by name and then version; only their manifests are read."""
    return [_info(folder) for name in _names() for _, folder in sorted(_versions(name).items())]


def load(name_or_path: str | Path, *, verify: bool = True) -> Profile:
    """A profile, verified against its hashes.

    Args:
        name_or_path: "news" (its newest version), "news@1.0.0" (this version and no other), or the folder of a profile.
        verify: False skips the hashes of the tables.

    Raises:
        ProfileNotFound: no such name, version or folder; the message says what there is.
        ProfileFormatError: a folder that is no profile, is half-written, or is of a newer format.
        IntegrityError: a file of the profile was changed.
    """
    return read_profile(locate(name_or_path), verify=verify)


def locate(name_or_path: str | Path) -> Path:
    """The folder of a profile, unread. A folder with a manifest wins over a name of the registry, a name over any other folder."""
    path = Path(name_or_path).expanduser()
    if isinstance(name_or_path, Path) or (path / MANIFEST).is_file():
        if not path.exists():
            raise ProfileNotFound(f"{path} does not exist; build a profile there with `dft-stats build PATH --out {path} --name NAME`")
        return path
    name, at, version = name_or_path.partition("@")
    if NAME.fullmatch(name) and (name in _names() or not path.exists()):
        return _folder(name, version if at else None)
    if path.exists():
        return path
    if HUB_ID.fullmatch(name_or_path) and not name_or_path.startswith("."):
        raise ProfileNotFound(
            f"{name_or_path!r} is no folder here. Ids of the Hugging Face Hub are not supported by this version: download the profile, "
            "for example with `hf download --repo-type dataset`, and give the path of its folder"
        )
    raise ProfileNotFound(f"{name_or_path!r} is neither a folder nor the name of a profile; the registry has {_known()}")


def _folder(name: str, version: str | None) -> Path:
    versions = _versions(name) if name in _names() else {}
    if not versions:
        close = difflib.get_close_matches(name, _names(), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ProfileNotFound(f"no profile is named {name!r}; {hint}the registry has {_known()}; give the path of any other")
    if version is None:
        return versions[max(versions)]
    if not VERSION.fullmatch(version) or _numbers(version) not in versions:
        there = ", ".join(folder.name for _, folder in sorted(versions.items()))
        raise ProfileNotFound(f"{name} has no version {version!r}; it has {there}. Give one of these, or {name!r} alone for the newest")
    return versions[_numbers(version)]


def _known() -> str:
    return ", ".join(_names()) or f"no profiles ({registry_path()} is empty)"


def _names() -> list[str]:
    root = registry_path()
    return sorted(f.name for f in root.iterdir() if NAME.fullmatch(f.name) and _versions(f.name)) if root.is_dir() else []


def _versions(name: str) -> dict[tuple[int, ...], Path]:
    folder = registry_path() / name
    return {_numbers(f.name): f for f in folder.iterdir() if VERSION.fullmatch(f.name) and f.is_dir()} if folder.is_dir() else {}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


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
