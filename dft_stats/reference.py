"""How a profile of the registry is asked for: `news`, `news@1.2`, `acme/contracts@1.2.0`, `acme/contracts@latest`."""

import re
from dataclasses import dataclass

from dft_stats.errors import ProfileNotFound

Numbers = tuple[int, int, int]

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NUMBER = "(?:0|[1-9][0-9]{0,8})"  # one spelling each: v01.0.0 is no version
_SPEC = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}){{0,2}}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TAG = re.compile(rf"v({_NUMBER})\.({_NUMBER})\.({_NUMBER})")
LATEST = "latest"
SPECS = '"1", "1.2", "1.2.0", "latest", or a commit of 40 hexadecimal digits'


@dataclass(frozen=True, slots=True)
class Reference:
    """A name and what is asked of its version."""

    name: str  # "news" of the official ones, "acme/contracts" of the Hub
    spec: str = ""  # "": any version; "1", "1.2", "1.2.0"; "latest"; a commit

    @property
    def is_repo(self) -> bool:
        """Whether it names a repository of the Hub, not an official profile."""
        return "/" in self.name

    @property
    def is_commit(self) -> bool:
        """Whether it asks for one commit."""
        return bool(_COMMIT.fullmatch(self.spec))

    @property
    def is_exact(self) -> bool:
        """Whether it asks for one version."""
        return self.spec.count(".") == 2

    def admits(self, version: Numbers) -> bool:
        """Whether a version is what was asked for; a commit is asked for by none."""
        if self.spec in ("", LATEST):
            return True
        return not self.is_commit and version[: self.spec.count(".") + 1] == tuple(map(int, self.spec.split(".")))

    def newest(self, versions: set[Numbers]) -> Numbers | None:
        """The highest version that is admitted."""
        return max((version for version in versions if self.admits(version)), default=None)

    def __str__(self) -> str:
        return f"{self.name}@{self.spec}" if self.spec else self.name


def parse(text: str) -> Reference | None:
    """What is asked for; None if the text is no name of a profile at all, such as a path.

    Raises:
        ProfileNotFound: it is one, and what stands behind the `@` is no version.
    """
    name, at, spec = text.partition("@")
    if not (_NAME.fullmatch(name) or _REPO.fullmatch(name)):
        return None
    if at and not (_SPEC.fullmatch(spec) or _COMMIT.fullmatch(spec) or spec == LATEST):
        raise ProfileNotFound(f"{name} has no version {spec!r}: behind the @ stands {SPECS}; {name!r} alone takes any")
    return Reference(name, spec)


def tag_of(version: str) -> str:
    """The tag of a version: "1.2.0" is v1.2.0."""
    return f"v{version}"


def version_of(tag: str) -> Numbers | None:
    """The version of a tag; None of a tag that is no version's."""
    found = _TAG.fullmatch(tag)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def numbers(version: str) -> Numbers:
    """A version such as "1.2.0" as numbers, which sort."""
    first, second, third = map(int, version.split("."))
    return first, second, third


def spelt(version: Numbers) -> str:
    """Numbers as "1.2.0"."""
    return ".".join(map(str, version))
