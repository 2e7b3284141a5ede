"""Shards counted on a Ray cluster: the same tasks and the same parts as on one machine, so the same result.

A worker writes its parts where the driver reads them if both see the same folder; otherwise they travel through Ray's object store. A task
whose node is lost is run again elsewhere: parts are written whole or not at all, so nothing is counted twice.
"""

import io
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from dft_stats.build.job import Job
from dft_stats.build.parts import Draft
from dft_stats.build.shards import Shard, Texts
from dft_stats.errors import CorpusError

if find_spec("ray") is None:
    raise ImportError("counting on a Ray cluster needs ray: pip install 'dft-stats[ray]'")

import ray

RETRIES = 10  # of a task whose node or process was lost


def run_on_ray(shards: Iterator[Shard | Texts | None], job: Job, folder: Path, workers: int) -> Iterator[int]:
    """Count shards on the cluster that `RAY_ADDRESS` or `ray start` of this machine names. Yields the characters of each.

    Args:
        shards: what to count; None where all before has to be done first. Every node has to reach the files, and to have dft_stats and
            numba installed.
        job: how.
        folder: where the driver keeps parts.
        workers: more than 1: how many tasks are under way at a time; 1: as many as the cluster has CPUs.

    Raises:
        CorpusError: there is no cluster.
    """
    if not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False)
        except (ConnectionError, RuntimeError) as error:
            raise CorpusError("there is no Ray cluster to count on: start one (`ray start --head`), or set RAY_ADDRESS") from error
    most = workers if workers > 1 else max(1, 2 * int(ray.cluster_resources().get("CPU", 1)))
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f".seen-by-{uuid.uuid4().hex}"
    mark.touch()
    task = ray.remote(num_cpus=1, max_retries=RETRIES, memory=job.memory)(count_remotely)
    waiting: dict[ray.ObjectRef, str] = {}
    try:
        for shard in shards:
            if shard is not None:
                waiting[task.remote(shard, job, str(folder), mark.name)] = shard.key
            while waiting and (shard is None or len(waiting) >= most):
                yield from _finished(waiting, folder)
        while waiting:
            yield from _finished(waiting, folder)
    finally:
        mark.unlink(missing_ok=True)
        for reference in waiting:
            ray.cancel(reference, force=True)


def count_remotely(shard: Shard | Texts, job: Job, folder: str, mark: str) -> tuple[int, bytes | None]:
    """Characters, and the parts packed if the driver's folder is not to be seen from here."""
    if (Path(folder) / mark).exists():
        return job.to_disk(shard, Path(folder)), None
    with tempfile.TemporaryDirectory(prefix="dft-stats-") as name:
        characters = job.to_disk(shard, Path(name))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(Path(name) / shard.key, arcname=".")
        return characters, packed.getvalue()


def _finished(waiting: "dict[ray.ObjectRef, str]", folder: Path) -> Iterator[int]:
    """Wait for a task, and take over what it counted."""
    (reference, *_), _ = ray.wait(list(waiting), num_returns=1)
    key = waiting.pop(reference)
    try:
        characters, packed = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from error
    except ray.exceptions.RayError as error:
        raise CorpusError(f"a shard could not be counted on the cluster: {error}; run again, what is done is not counted again") from error
    if packed is not None:
        with Draft(folder / key) as draft, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(draft, filter="data")
    yield characters
