"""Images of a study on the workers of dask.distributed, on this machine or on others.

Each worker has the study once, by a plugin that workers which join later get too, and loads each
model once. The caller writes the results, so that workers need no access to the study's folder,
only to the images, and for what should be encoded once to the folder of embeddings. Import it only
where dask is.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from distributed import Client, KilledWorker, WorkerPlugin, as_completed, get_worker

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.cache.embeddings import CacheParameters, open_cache
from napari_cam_sam.studies.cases import Case
from napari_cam_sam.studies.config.plan import Study
from napari_cam_sam.studies.run.local_cluster import dying_workers, local_cluster
from napari_cam_sam.studies.run.models import Models
from napari_cam_sam.studies.run.tasks import CaseResult, failed_case, run_case

__all__ = ["StudyPlugin", "run_on_cluster"]

# Waiting tasks a worker: enough that none is idle while results are written, and few enough that
# a million images are no burden to the scheduler.
_AHEAD = 2
_CONNECT_SECONDS = 30
# How often the workers are counted, of which some may have joined or left.
_COUNT_SECONDS = 1.0
_LOOK_SECONDS = 0.02
# Processes that are started in a worker's place before anything is finished.
_MOST_STARTS = 4


class StudyPlugin(WorkerPlugin):
    """What each worker holds of a study: its models and its cache, filled as they are needed.

    Parameters
    ----------
    study : Study
    device : str
        ``"auto"`` takes a GPU a worker, in turn by the number in the worker's name.
    cache : CacheParameters
    """

    def __init__(self, study: Study, device: str, cache: CacheParameters) -> None:
        # Others may run studies on the same workers at the same time.
        self.name = f"napari-cam-sam-study-{uuid.uuid4().hex}"
        self.study = study
        self.device = device
        self.cache = cache

    def setup(self, worker: Any) -> None:
        """Prepare a worker that has just started, or has just been given the study."""
        self._models = Models(_device_of(self.device, worker.name), self.study.allowed)
        self._embeddings = open_cache(self.cache)
        # Models and the number of threads are the process's: its images take turns.
        self._turn = threading.Lock()

    def run(self, case: Case) -> CaseResult:
        """Run an image on this worker."""
        with self._turn, warnings.catch_warnings():
            # Who gave the study has loaded its models, and was told what they warn of.
            warnings.simplefilter("ignore")
            return run_case(self.study, case, self._models, self._embeddings)


def _device_of(device: str, name: Any) -> str:
    """Choose for each of several workers on one machine a GPU of its own, where there are some."""
    import torch

    if device != "auto" or not torch.cuda.is_available():
        return device
    number = re.search(r"\d+$", str(name))
    return f"cuda:{int(number[0]) % torch.cuda.device_count() if number else 0}"


def _run_on_worker(plugin_name: str, case: Case) -> CaseResult:
    plugin: Any = get_worker().plugins[plugin_name]
    result: CaseResult = plugin.run(case)
    return result


def run_on_cluster(
    study: Study,
    cases: Sequence[Case],
    device: str,
    cache: CacheParameters,
    scheduler: str | None,
    workers: int,
) -> Iterator[tuple[Case, CaseResult]]:
    """Run cases on dask workers.

    The images of a worker that dies are run again by others. An image whose workers die again and
    again, also when it is the only one that is run, becomes a failed one.

    Parameters
    ----------
    study : Study
    cases : sequence of Case
    device : str
    cache : CacheParameters
        Of each worker; they share the folder.
    scheduler : str or None
        Address; None to start workers on this machine.
    workers : int
        How many to start here.

    Yields
    ------
    case, result
        As they are finished.

    Raises
    ------
    CamSamError
        If all workers die as they start, there is no scheduler at the address or it is gone, or
        the workers have another version of this package.
    """
    plugin = StudyPlugin(study, device, cache)
    with _client(scheduler, workers) as (client, starts), _forgotten(client, plugin.name):
        try:
            client.register_plugin(plugin)
        except OSError:
            pass  # a worker died as it got it; those that take its place get it as they start
        except Exception as error:  # whatever loading it raised on a worker
            raise CamSamError(
                f"The workers could not be given the study ({error!r}): install the same version "
                "of napari-cam-sam for them."
            ) from error
        waiting, under_way = iter(cases), as_completed()
        suspects: list[Case] = []
        of: dict[Any, Case] = {}
        clock, room = 0.0, 0
        begun = starts()

        def submit(case: Case) -> Any:
            # Not pure: a case that failed before is run again, not remembered.
            return client.submit(_run_on_worker, plugin.name, case, pure=False)

        def wait_for(future: Any, case: Case) -> CaseResult | None:
            """Return what an image came to; None where it was on workers that died."""
            try:
                result: CaseResult = future.result()
            except KilledWorker:
                return None
            except CancelledError as error:
                raise CamSamError(
                    "The dask scheduler is gone; what is finished stays, and the same command "
                    "goes on."
                ) from error
            except Exception as error:  # of dask itself: what an image fails of is a result
                return failed_case(study, case, f"{type(error).__name__}: {error}")
            return result

        while True:
            if time.monotonic() - clock > _COUNT_SECONDS:
                clock, room = time.monotonic(), _AHEAD * max(1, len(client.nthreads()))
            while len(of) < room and (case := next(waiting, None)) is not None:
                future = submit(case)
                of[future.key] = case
                under_way.add(future)
            if not of:
                break
            if not under_way.has_ready():
                if scheduler is None and starts() - begun > _MOST_STARTS * workers:
                    raise dying_workers(workers)
                time.sleep(_LOOK_SECONDS)
                continue
            future, begun = next(under_way), starts()
            case = of.pop(future.key)
            result = wait_for(future, case)
            if result is None:
                suspects.append(case)
                continue
            future.release()
            yield case, result
        # Which of the images on a worker killed it is not known: each of them has a try alone.
        for case in suspects:
            result = wait_for(submit(case), case)
            if result is None:
                reason = "Each worker that ran this image died, perhaps for lack of memory."
                result = failed_case(study, case, reason)
            yield case, result


@contextmanager
def _forgotten(client: Client, plugin_name: str) -> Iterator[None]:
    """Let workers that stay forget a study, with its models, once it is over."""
    try:
        yield
    finally:
        with suppress(Exception):  # the scheduler may be gone, and nothing is lost by it
            client.unregister_worker_plugin(plugin_name)


@contextmanager
def _client(scheduler: str | None, workers: int) -> Iterator[tuple[Client, Callable[[], int]]]:
    """Connect to a scheduler, or start one; with it what counts the processes started here."""
    with ExitStack() as stack:
        target: Any = scheduler
        starts: Callable[[], int] = lambda: 0  # noqa: E731
        if scheduler is None:
            target = stack.enter_context(local_cluster(workers))
            starts = lambda: target.starts  # noqa: E731
        try:
            client = stack.enter_context(Client(target, timeout=_CONNECT_SECONDS))
        except (OSError, ValueError) as error:
            raise CamSamError(
                f"There is no dask scheduler at {scheduler} ({error}): start one with "
                "'dask scheduler', and give its address, e.g. tcp://host:8786."
            ) from error
        yield client, starts
