"""Questions to a Hub, each with an end: the client's own calls wait for ever, or as long as a busy server likes."""

import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dft_stats.errors import ProfileNotFound
from dft_stats.hub.connection import LIBRARY, Hub, explained, reach
from dft_stats.reference import Numbers, version_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TIMEOUT = 10.0  # seconds in which an answer has to come, all tries together
_TRIES, _WAIT, _LONGEST_WAIT = 4, 0.2, 4.0  # seconds, where the Hub is busy; who asks for a longer rest gets no further question
_LEAST = 0.1  # seconds of a try
_BUSY = {429, 500, 502, 503, 504}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_NAME = 96  # characters of "owner/name"
_MOST_PAGES = 20  # of a listing, a thousand files each: no repository of a profile has more


@dataclass(frozen=True, slots=True)
class Remote:
    """A file as the Hub has it."""

    size: int
    blob: str  # git's own hash of it, or of the pointer to a large one
    sha256: str | None  # of a large one


def is_same(data: bytes, remote: Remote) -> bool:
    """Whether a file is the one that the Hub has, by git's hash of it or, of a large one, its sha256."""
    if remote.sha256 is not None:
        return hashlib.sha256(data).hexdigest() == remote.sha256
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == remote.blob


def check_repo(repo: str) -> None:
    """Refuse what no repository is named, by the rules of the client, before it is asked.

    Raises:
        ProfileNotFound: why.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        if len(repo) > _MOST_NAME:
            raise HFValidationError(f"it has {len(repo)} characters, and {_MOST_NAME} is the most")
    except HFValidationError as error:
        raise ProfileNotFound(f"{repo!r} cannot be the name of a repository: {' '.join(str(error).split())}") from None


def published(hub: Hub, repo: str) -> dict[Numbers, str]:
    """The commit of each version that a repository has published. The answer, or that there is none, comes soon.

    Raises:
        ProfileNotFound: no such repository, or none that this token may see.
        AccessDenied: the token is refused.
        HubUnreachable: offline mode is on, or nobody answers.
        HubError: any other answer.
    """
    reach(hub)
    with explained(hub, repo):
        tags = [(version_of(tag["name"]), _commit(tag["targetCommit"])) for tag in _ask(hub, "GET", f"{repo}/refs").json()["tags"]]
    return {version: commit for version, commit in tags if version is not None}


def state_of(hub: Hub, repo: str) -> tuple[bool, str]:
    """(whether a repository is private, its newest commit)."""
    with explained(hub, repo):
        facts = _ask(hub, "GET", repo).json()
        return bool(facts["private"]), _commit(facts["sha"])


def some_files(hub: Hub, repo: str, commit: str, paths: "Iterable[str]") -> dict[str, Remote]:
    """Those of the files that a commit has, however many others it has."""
    with explained(hub, repo):
        form = {"paths": list(paths), "expand": "false"}
        found = _ask(hub, "POST", f"{repo}/paths-info/{commit}", data=form).json()
        return dict(_remotes(found))


def all_files(hub: Hub, repo: str, commit: str) -> dict[str, Remote]:
    """Every file of a commit."""
    found: dict[str, Remote] = {}
    with explained(hub, repo):
        address: str | None = f"{repo}/tree/{commit}?recursive=true&expand=false"
        for _ in range(_MOST_PAGES):
            if address is None:
                break
            answer = _ask(hub, "GET", address)
            found |= dict(_remotes(answer.json()))
            address = answer.links.get("next", {}).get("url")
        if address is not None:
            raise ValueError(f"more than {_MOST_PAGES} pages of files, which no repository of a profile has")
    return found


def _commit(given: Any) -> str:
    """A commit, which becomes a part of addresses and of paths."""
    if not (isinstance(given, str) and _COMMIT.fullmatch(given)):
        raise ValueError(f"{str(given)[:60]!r} is no commit")
    return given


def _remotes(items: Any) -> "Iterator[tuple[str, Remote]]":
    for item in items:
        if item["type"] == "file":
            yield str(item["path"]), Remote(int(item["size"]), str(item["oid"]), (item.get("lfs") or {}).get("oid"))


def _ask(hub: Hub, method: str, what: str, **more: Any) -> Any:
    """A response that is none of an error; `what` is a dataset's address behind the API's, or a whole one of the same Hub."""
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    root = f"{hub.endpoint}/api/datasets/"
    if "://" in what and not what.startswith(root):
        raise ValueError(f"a listing goes on at {what[:80]!r}, which is another server")  # it would be sent the token
    address = what if "://" in what else root + what
    headers = build_hf_headers(token=hub.token.reveal(), library_name=LIBRARY)
    end = time.monotonic() + TIMEOUT
    for attempt in range(_TRIES):
        left = max(_LEAST, end - time.monotonic())
        response = get_session().request(method, address, headers=headers, timeout=left, **more)
        wait = _rest(response.headers.get("Retry-After"), attempt)
        is_late = time.monotonic() + wait > end
        if response.status_code not in _BUSY or attempt == _TRIES - 1 or wait > _LONGEST_WAIT or is_late:
            break
        time.sleep(wait)
    hf_raise_for_status(response)
    return response


def _rest(asked: str | None, attempt: int) -> float:
    """Seconds before the next try."""
    return float(asked) if asked and asked.isascii() and asked.isdigit() else _WAIT * 2**attempt
