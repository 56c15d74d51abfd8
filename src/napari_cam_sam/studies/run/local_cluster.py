"""Workers on this machine that nobody but their user can reach.

Import it only where dask is.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from distributed import LocalCluster, Nanny, Scheduler, Worker
from distributed.http.routing import RoutingApplication
from distributed.security import Security
from tornado.httpserver import HTTPServer

from napari_cam_sam.errors import CamSamError

__all__ = ["dying_workers", "local_cluster"]

_TRIES = 3


class _Silent:
    """A server of dask without the HTTP port that each of them opens, asked for or not."""

    def start_http_server(self: Any, routes: Any, *_: Any, **__: Any) -> None:
        """Make the server that its owner will close, and let it listen to nothing."""
        self.http_application = RoutingApplication(routes)
        self.http_server = HTTPServer(self.http_application)


class _Scheduler(_Silent, Scheduler):
    pass


class _Worker(_Silent, Worker):
    pass


class _Nanny(Nanny):
    """What starts a worker process, and another one when it dies."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "worker_class": _Worker})
        self.starts = 0

    async def instantiate(self) -> Any:
        """Start a worker process."""
        self.starts += 1
        return await super().instantiate()


class _Cluster(LocalCluster):
    @property
    def starts(self) -> int:
        """How many worker processes were started until now."""
        return sum(nanny.starts for nanny in self.workers.values())

    async def _start(self) -> None:
        self.scheduler_spec = {**self.scheduler_spec, "cls": _Scheduler}
        await super()._start()


@contextmanager
def local_cluster(workers: int) -> Iterator[Any]:
    """Start worker processes, each with one thread.

    They talk by TLS, on the address of this machine alone, with a certificate that is made for
    them and is never written: whoever has not got it is refused, also on the same machine. There
    is no dashboard, and no HTTP port.

    Parameters
    ----------
    workers : int

    Yields
    ------
    LocalCluster
        Its ``starts`` counts the worker processes that were started until now.

    Raises
    ------
    CamSamError
        If the package that makes certificates is missing, or no worker can be started.
    """
    try:
        security = Security.temporary()
    except ImportError as error:
        raise CamSamError(
            "Workers that only you can reach need the package cryptography: "
            'pip install "napari-cam-sam[cluster]".'
        ) from error
    with ExitStack() as stack:
        # What is spilled there is unpickled: it must be nobody else's.
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="napari-cam-sam-"))
        # Python searches the working folder first for what it starts processes with.
        stack.enter_context(_environment("PYTHONSAFEPATH", "1"))
        cluster = _started(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            worker_class=_Nanny,
            host="127.0.0.1",
            protocol="tls://",
            security=security,
            dashboard_address=None,
            local_directory=scratch,
            silence_logs=logging.CRITICAL,
        )
        yield stack.enter_context(cluster)


def _started(**options: Any) -> _Cluster:
    """Start a cluster; a worker that dies as it starts ends the first tries alone."""
    for left in reversed(range(_TRIES)):
        try:
            return _Cluster(**options)
        except (OSError, RuntimeError, TimeoutError) as error:
            if not left:
                raise dying_workers(options["n_workers"]) from error
    raise AssertionError


def dying_workers(workers: int) -> CamSamError:
    """Build the error for workers that die before they run anything.

    Parameters
    ----------
    workers : int

    Returns
    -------
    CamSamError
    """
    return CamSamError(
        f"The workers die as they start, perhaps for lack of memory: take fewer than {workers} "
        "(--workers), or none."
    )


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
