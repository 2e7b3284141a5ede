"""The Hub of `tests.hub_server`, seen from a test."""

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dft_stats.hub.connection import Hub, connect

ALICE, BOB, READER, OFFICIAL = "hf_alice_token", "hf_bob_token", "hf_reader_token", "hf_official_token"


@dataclass(frozen=True)
class HubServer:
    endpoint: str
    store: str

    def control(self, do: str, **given: Any) -> Any:
        """Do something behind everybody's back; see the server."""
        body = json.dumps({"do": do, **given}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/_control", body)) as answer:
            return json.loads(answer.read())

    def fault(self, kind: str, **given: Any) -> None:
        self.control("fault", kind=kind, **given)

    def log(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("log")
        return found

    def state(self, repo: str) -> dict[str, Any]:
        found: dict[str, Any] = self.control("log", repo=repo)
        return found

    def as_user(self, token: str | bool = ALICE, *, cache: Path = Path("hf"), offline: bool = False) -> Hub:
        """A connection with its own cache of the client's."""
        return connect(endpoint=self.endpoint, token=token, offline=offline, cache_dir=cache.absolute())


@contextmanager
def running() -> Iterator[HubServer]:
    process = subprocess.Popen([sys.executable, "-m", "tests.hub_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        yield HubServer(process.stdout.readline().strip(), process.stdout.readline().strip())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=10)


@contextmanager
def silence() -> Iterator[str]:
    """An address where calls are neither taken nor refused: a queue of length 0, and full."""
    with socket.socket() as door, ExitStack() as waiting:
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        for _ in range(8):
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(door.getsockname())
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
