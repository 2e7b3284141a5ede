"""How long the registry takes to answer: loading what is here, fetching from a Hub, and saying that nobody is there.

    python benchmarks/hub.py [--repetitions 5]

The Hub is the test server, a process on this machine, so the figures are those of the client and of ours, not of a network. The peer is
`huggingface_hub.snapshot_download` of the same files, which checks no hash.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time the registry.")
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"DFT_STATS_CACHE": f"{folder}/cache", "HF_HOME": f"{folder}/home"}
        os.chdir(folder)
        measure(Path(folder), repetitions)
    return 0


def measure(folder: Path, repetitions: int) -> None:
    """Publish `fiction` to a server process, and time what follows."""
    from huggingface_hub import snapshot_download

    from dft_stats.errors import HubUnreachable
    from dft_stats.hub.connection import connect
    from dft_stats.hub.push import push
    from dft_stats.registry import load
    from tests.hub_control import OFFICIAL, running, silence

    def nobody(name: str, endpoint: str) -> None:
        try:
            load(name, hub=connect(endpoint=endpoint, token=False))
        except HubUnreachable:
            return
        raise AssertionError("somebody answered")

    with running() as server:
        fiction = load("fiction")
        repo = "dft-stats/fiction"
        size = sum(entry["bytes"] for entry in fiction.manifest["tables"]) / 1e6
        print(f"fiction@{fiction.version}, {size:.1f} MB in 11 tables; seconds, median of {repetitions}")
        began = time.perf_counter()
        push(fiction, repo, hub=server.as_user(OFFICIAL, cache=folder / "publisher"), public=True)
        show("push, once", time.perf_counter() - began)
        caches = iter(range(10_000))

        def cold() -> None:
            os.environ["DFT_STATS_CACHE"] = f"{folder}/cache-{next(caches)}"
            load(f"{repo}@1.0.0", hub=server.as_user(False, cache=folder / f"cold-{next(caches)}"))

        def peer() -> None:
            snapshot_download(
                repo,
                repo_type="dataset",
                revision="v1.0.0",
                endpoint=server.endpoint,
                token=False,
                cache_dir=folder / f"peer-{next(caches)}",
            )

        ours, theirs = timed(cold, repetitions), timed(peer, repetitions)
        show("fetch, every hash checked, first reading apart", ours)
        show("  the client's snapshot_download, no hash", theirs)
        show("  ratio", ours / theirs)
        kept = server.as_user(False, cache=folder / "kept")
        load(f"{repo}@1.0.0", hub=kept)
        show("load a fixed version that is here (no request)", timed(lambda: load(f"{repo}@1.0.0", hub=kept), repetitions))
        show("load a range that is here (one request)", timed(lambda: load(f"{repo}@1", hub=kept), repetitions))
        show("load an embedded profile", timed(lambda: load("fiction"), repetitions))
        with silence() as swallowing:
            for what, endpoint in (
                ("say that nobody is at an address", "http://127.0.0.1:9"),
                ("say that there is no such host", "https://hub.invalid"),
                ("say that an address takes no calls", swallowing),
            ):
                show(what, timed(partial(nobody, "acme/none", endpoint), repetitions))


def timed(job: Callable[[], object], repetitions: int) -> float:
    """Seconds, the median."""
    found = []
    for _ in range(repetitions):
        began = time.perf_counter()
        job()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def show(what: str, seconds: float) -> None:
    """One line."""
    print(f"{what:60} {seconds:8.3f}")


if __name__ == "__main__":
    sys.exit(main())
