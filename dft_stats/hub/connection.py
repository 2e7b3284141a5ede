"""A Hub, as its client's settings say: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_HOME`, proxies. And its answers, explained."""

import errno
import ipaddress
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from dft_stats.errors import AccessDenied, DftStatsError, HubError, HubUnreachable, ProfileNotFound, VersionNotFound
from dft_stats.hub.token import Token
from dft_stats.output import safe

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LIBRARY = "dft-stats"
PATIENCE = 0.8  # seconds in which a Hub has to take the call
_PORTS = {"http": 80, "https": 443}
_BUSY = {407, 408, 429}
"""Answers of a Hub that has no time, or of a proxy before it; as are 500 and above."""
_OURS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
}
"""Errors of this machine's files, not of the network."""
_log = logging.getLogger("dft_stats")


@dataclass(frozen=True, slots=True)
class Hub:
    """Where to ask, and as whom."""

    endpoint: str
    token: Token
    is_offline: bool = False
    cache_dir: Path | None = None  # of the client; its own choice if None

    @property
    def given(self) -> dict[str, Any]:
        """What every download takes."""
        return {"endpoint": self.endpoint, "token": self.token.reveal(), "cache_dir": self.cache_dir, "library_name": LIBRARY}

    def api(self) -> "HfApi":
        """The client; it holds the token in clear, so it stays where it is made."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self.token.reveal(), library_name=LIBRARY)


def connect(
    *, endpoint: str | None = None, token: str | bool | None = None, offline: bool | None = None, cache_dir: Path | None = None
) -> Hub:
    """The Hub of these settings; nothing is sent yet.

    Args:
        endpoint: its address; `HF_ENDPOINT`, or huggingface.co, if None.
        token: one; True or None for what the client finds (`HF_TOKEN`, or what `hf auth login` stored); False for none.
        offline: True asks nothing of any Hub; `HF_HUB_OFFLINE` if None.
        cache_dir: folder of the client's cache; `HF_HUB_CACHE` if None.

    Raises:
        AccessDenied: a token was given for an address that is neither https nor this machine: it would travel in clear; or it is none.
        HubError: the address is none, or has a password in it.
    """
    from huggingface_hub import constants, get_token

    address = _checked(constants.ENDPOINT if endpoint is None else endpoint)
    found = token if isinstance(token, str) else None
    if token is True or (token is None and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN):
        found = get_token()
    if found and not re.fullmatch(r"[!-~]+", found):
        raise AccessDenied("the token has characters that no token has (blanks, or others than ASCII); check HF_TOKEN, or `hf auth login`")
    if found and not _is_private(address):
        if isinstance(token, str):
            raise AccessDenied(f"{address} is not https, so a token would travel in clear; use https, or give no token (token=False)")
        _log.warning("%s is not https: it is asked without your token", address)
        found = None
    return Hub(address, Token(found), constants.HF_HUB_OFFLINE if offline is None else offline, cache_dir)


def _checked(address: str) -> str:
    """An address without its last slash; refuses what is none. No password is repeated: it would stand in errors and in the cache."""
    try:
        url = urlsplit(address.strip())
        is_address = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_address = False
    if "@" in address:
        raise HubError(
            "the address of the Hub (HF_ENDPOINT) has a user name or a password in it, which is not supported: give the address alone, and "
            "who you are by HF_TOKEN"
        )
    if not is_address:
        raise HubError(
            f"{address!r} is no address of a Hub: expected one such as https://huggingface.co, which is asked where HF_ENDPOINT is not set"
        )
    return address.strip().rstrip("/")


def _is_private(address: str) -> bool:
    """Whether nobody on the way can read what is sent there."""
    url = urlsplit(address)
    if url.scheme == "https":
        return True
    if url.scheme != "http" or _proxy(address):
        return False
    if url.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        return False


def reach(hub: Hub) -> None:
    """Raise `HubUnreachable` within a second if nobody takes calls at the Hub's address, or at the proxy on the way to it."""
    if hub.is_offline:
        raise HubUnreachable(f"offline mode is on, so {hub.endpoint} is not asked (HF_HUB_OFFLINE, or offline=True)")
    proxy = _proxy(hub.endpoint)
    way = urlsplit(proxy or hub.endpoint)
    answered, said = threading.Event(), ["no answer"]

    def call(address: tuple[Any, ...]) -> None:
        family, kind, protocol, _, where = address
        try:
            with socket.socket(family, kind, protocol) as caller:
                caller.settimeout(PATIENCE)
                caller.connect(where)
            answered.set()
        except OSError as error:
            said[0] = str(error)

    def look_up() -> None:  # has no time limit of its own
        try:
            found = socket.getaddrinfo(way.hostname or "", way.port or _PORTS.get(way.scheme, 443), type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            said[0] = str(error)
            return
        callers = [threading.Thread(target=call, args=(address,), daemon=True) for address in found]
        for caller in callers:  # all at once: one of them may lead nowhere
            caller.start()
        for caller in callers:
            caller.join()

    first = threading.Thread(target=look_up, daemon=True)
    first.start()
    end = time.monotonic() + PATIENCE
    while first.is_alive() and not answered.wait(0.01) and time.monotonic() < end:
        pass
    if not answered.is_set():
        through = f" through the proxy {way.hostname}" if proxy else ""
        raise HubUnreachable(f"{hub.endpoint} cannot be reached{through} ({said[0]}); check the network, HF_ENDPOINT and the proxy")


def _proxy(address: str) -> str | None:
    """The proxy on the way to an address, by the variables that the client reads."""
    url, proxies = urlsplit(address), getproxies()
    found = None if proxy_bypass(url.hostname or "") else proxies.get(url.scheme) or proxies.get("all")
    return found if found is None or "://" in found else f"http://{found}"


@contextmanager
def explained(hub: Hub, repo: str, *, but: int | None = None) -> Iterator[None]:
    """Turn what the client raises into errors of ours, which say what to do and hold no token; all but answers of one status."""
    from huggingface_hub import errors

    try:
        yield
    except DftStatsError:
        raise
    except Exception as raised:
        error = raised.__cause__ if isinstance(raised, RuntimeError) and isinstance(raised.__cause__, Exception) else raised  # of an upload
        if isinstance(error, OSError) and error.errno in _OURS:
            raise  # of this machine, and it says so
        said = safe(hub.token.scrub(" ".join(str(error).split()))[:400])  # a stranger may have written it
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if status is not None and status == but:
            raise
        who, may = ("this token", "may not") if hub.token else ("nobody without a token", "may")
        if status is not None and (status >= 500 or status in _BUSY):
            fault: Exception = HubUnreachable(f"{hub.endpoint} answered {status} for {repo}: {said}")
        elif status is not None and _is_no_hub(response):
            fault = HubUnreachable(
                f"{hub.endpoint} answered {status} for {repo}, and not as a Hub does: {said}; check the network, its login page, the proxy "
                "and HF_ENDPOINT"
            )
        elif isinstance(error, errors.GatedRepoError):
            fault = AccessDenied(f"{repo} is gated: ask for access on {hub.endpoint}/datasets/{repo}, then give your token")
        elif isinstance(error, errors.RepositoryNotFoundError):
            fault = ProfileNotFound(f"{hub.endpoint} has no dataset {repo}, or {who} {may} see it; check the name and HF_TOKEN")
        elif isinstance(error, errors.RevisionNotFoundError):
            fault = VersionNotFound(f"{repo} has no such commit ({said})")
        elif isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
            fault = ProfileNotFound(f"{repo} holds no profile of dft_stats: {said}")
        elif status == 401:
            fault = AccessDenied(f"{hub.endpoint} refuses the token ({said}); log in with `hf auth login`, or give a valid HF_TOKEN")
        elif status == 403:
            fault = AccessDenied(f"{hub.endpoint} does not allow this to {who} ({said}); ask the owner of {repo} for the right to it")
        elif isinstance(error, errors.HfHubHTTPError) or status is not None:
            fault = HubError(f"{hub.endpoint} answered {status} for {repo}: {said}")
        elif isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError | OSError) or _is_transport(error):
            hint = "; where it has no Xet, as mirrors may not, set HF_HUB_DISABLE_XET=1" if "xet" in said.lower() else ""
            fault = HubUnreachable(f"{hub.endpoint} could not be read ({said}); try again, what was fetched is kept{hint}")
        elif isinstance(error, KeyError | TypeError | ValueError):
            fault = HubUnreachable(
                f"{hub.endpoint} does not answer as a Hub does for {repo} ({type(error).__name__}: {said}); check the network, its login "
                "page, the proxy and HF_ENDPOINT"
            )
        else:
            raise
        _strip(raised)
        raise fault from None


def _is_no_hub(response: Any) -> bool:
    """Whether a question was refused without a word of the Hub's, as by a proxy, or by the login page of a network.

    Questions alone: a Hub that refuses a change may do it with a bare status, and nothing is taken in its place.
    """
    is_question = response.request.method in ("GET", "HEAD") or "/paths-info/" in str(response.request.url)
    said = {"x-error-code", "x-error-message"} & {name.lower() for name in response.headers}
    return is_question and 400 <= response.status_code < 500 and not said


def _strip(error: BaseException | None) -> None:
    """Take requests and responses out of the client's errors, which stay behind ours as their context: their headers have the token."""
    while error is not None:
        for name in ("response", "request", "_request", "_response"):
            with suppress(Exception):
                setattr(error, name, None)
        error = error.__cause__ or error.__context__


def _is_transport(error: Exception) -> bool:
    """Whether the client's HTTP library raised it; which library that is depends on the client's version."""
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2")
