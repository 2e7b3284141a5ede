"""Settings of all tests: no deadlines, so that a slow machine fails nothing, and the same examples every time.

`HYPOTHESIS_PROFILE=explore` draws others. Triton's kernels run in its interpreter, on a CPU; that must be said before it is imported,
and so must the settings of the Hub's client.
"""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nobody is there: no test asks the network by accident
os.environ["HF_HUB_DISABLE_XET"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_TOKEN"] = os.environ["HF_HUB_OFFLINE"] = os.environ["DFT_STATS_NAMESPACE"] = os.environ["DFT_STATS_LOCK"] = ""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.hub_control import HubServer, running
from tests.prose import documents as prose

if TYPE_CHECKING:
    from dft_stats.profile import Profile

settings.register_profile("dft-stats", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("explore", max_examples=400, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dft-stats"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tiny tensors: the threads of a busy machine wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache with nothing in it."""
    monkeypatch.setenv("DFT_STATS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Sixty documents."""
    return prose(60)


@pytest.fixture(scope="session")
def profile(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> "Profile":
    """All that is in the sixty documents."""
    from tests.profiles import profile_of  # the engine of builds, which most tests do without

    return profile_of(texts, tmp_path_factory.mktemp("profile") / "test")


@pytest.fixture(scope="session")
def hub_process() -> Iterator[HubServer]:
    """A Hub in a process of its own, for all tests."""
    with running() as server:
        yield server


@pytest.fixture
def server(hub_process: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The Hub with nothing in it, and caches with nothing in them."""
    hub_process.control("reset")
    monkeypatch.setenv("DFT_STATS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return hub_process
