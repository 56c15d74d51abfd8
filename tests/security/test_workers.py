"""Workers of a study on this machine: nobody else can give them work."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import distributed
import psutil
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.sam.cache.embeddings import CacheParameters
from napari_cam_sam.studies.config.plan import DatasetSource, Setting, Study
from napari_cam_sam.studies.run import cluster
from napari_cam_sam.studies.run.local_cluster import local_cluster
from napari_cam_sam.studies.run.runner import read_cases, run_study

NO_CACHE = CacheParameters(disk_mb=0)
INTRUDER = """\
import asyncio, os, ssl, sys
from distributed.comm import connect
from distributed.security import Security
address, user = sys.argv[1:]
trusting = Security.temporary().get_connection_args("client")
trusting["ssl_context"].check_hostname = False
trusting["ssl_context"].verify_mode = ssl.CERT_NONE

async def is_let_in(target, **credentials):
    try:
        comm = await connect(target, timeout=4, **credentials)
        await comm.write({"op": "identity", "reply": True})
        return "workers" in await asyncio.wait_for(comm.read(), 4)
    except (OSError, asyncio.TimeoutError) as error:
        print(type(error).__name__)
        return False

async def attempts():
    plain = await is_let_in(address.replace("tls://", "tcp://"))
    own = address.startswith("tls") and await is_let_in(address, **trusting)
    return plain, own

if user != "me":
    asyncio.run(attempts())  # afterwards Python itself may not be readable
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
    assert os.getuid() == int(user)
print("LET IN", asyncio.run(attempts()))
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    setting = Setting("box", None, "seeded", RunParameters(strategy="truth-box"))
    source = DatasetSource("phantoms", tmp_path / "images", {"kind": "ultrasound", "count": 4})
    return Study("box", source, (setting,))


def listening() -> list[Any]:
    """Give the sockets that this process and its children accept connections at."""
    me = psutil.Process()
    found = []
    for process in (me, *me.children(recursive=True)):
        found += [one for one in process.net_connections() if one.status == psutil.CONN_LISTEN]
    return found


def test_nobody_else_is_let_in_and_nothing_speaks_http(study: Study, tmp_path: Path) -> None:
    before = {one.laddr for one in listening()}
    running = cluster.run_on_cluster(study, read_cases(study).cases, "cpu", NO_CACHE, None, 2)
    next(running)
    addresses = [one.laddr for one in listening() if one.laddr not in before]
    # The scheduler, and of each worker itself and what watches over it.
    assert len(addresses) == 5
    assert {address.ip for address in addresses} == {"127.0.0.1"}
    for ip, port in addresses:
        with socket.create_connection((ip, port), 5) as plain:
            plain.settimeout(5)
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with suppress(ConnectionError):
                assert not plain.recv(100).startswith(b"HTTP")
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask_by_tls(ip, port, trusting)
    assert len(list(running)) == 3


def ask_by_tls(ip: str, port: int, trusting: ssl.SSLContext) -> None:
    """Ask for a page, without a certificate of our own."""
    with (
        socket.create_connection((ip, port), 5) as plain,
        trusting.wrap_socket(plain) as secure,
    ):
        secure.sendall(b"GET / HTTP/1.0\r\n\r\n")
        if not secure.recv(100):
            raise ConnectionResetError


@pytest.mark.parametrize("user", ["nobody", "me"])
def test_another_user_is_refused_by_the_scheduler(tmp_path: Path, user: str) -> None:
    if user == "nobody" and (not hasattr(os, "getuid") or os.getuid() != 0):
        pytest.skip("only root can become nobody")
    with local_cluster(1) as workers:
        address = workers.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        assert "LET IN (False, False)" in intrude(address, tmp_path, user)


def test_the_intruder_comes_in_where_there_are_no_credentials(tmp_path: Path) -> None:
    with distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp://", dashboard_address=None
    ) as workers:
        assert "LET IN (True, False)" in intrude(workers.scheduler_address, tmp_path, "me")


def intrude(address: str, folder: Path, user: str) -> str:
    """Try to reach a scheduler without its credentials, as another user or as this one."""
    script = folder / "intruder.py"
    script.write_text(INTRUDER)
    number = user if user == "me" else str(pwd.getpwnam(user).pw_uid)
    done = subprocess.run(
        [sys.executable, "-P", str(script), address, number],
        capture_output=True, text=True, timeout=240, cwd="/",
    )  # fmt: skip
    return done.stdout + done.stderr


def test_the_results_are_those_of_one_process(study: Study, tmp_path: Path) -> None:
    run_study(study, tmp_path / "one", cache=NO_CACHE, device="cpu")
    run_study(study, tmp_path / "many", cache=NO_CACHE, device="cpu", workers=2)
    for name in ("results.parquet", "results.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_workers_take_no_module_from_the_working_folder(
    study: Study, received: Path, nothing_ran: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("multiprocessing", "encodings", "tornado"):
        shutil.copy(received / "helpers.py", received / f"{name}.py")
    monkeypatch.chdir(received)
    run_study(study, received.parent / "out", cache=NO_CACHE, device="cpu", workers=1, limit=1)
    nothing_ran()
    assert "PYTHONSAFEPATH" not in os.environ


class _Dying(cluster.StudyPlugin):
    """Dies with its worker while it is set up: always, or the first time."""

    always = False

    def setup(self, worker: Any) -> None:
        seen = Path(self.study.dataset.path) / "seen"
        if self.always or not seen.exists():
            seen.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().setup(worker)


@pytest.fixture
def by_value() -> Any:
    """Let workers, which cannot import tests, have what stands here."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_a_worker_that_dies_as_it_gets_the_study_is_replaced(
    study: Study, tmp_path: Path, by_value: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = replace(study, dataset=replace(study.dataset, options={"kind": "shapes", "count": 2}))
    monkeypatch.setattr(cluster, "StudyPlugin", _Dying)
    result = run_study(study, tmp_path / "out", cache=NO_CACHE, device="cpu", workers=1)
    assert (tmp_path / "images" / "seen").exists()
    assert result.record["cases"] == {"all": 2, "done": 2, "failed": 0}


def test_workers_that_always_die_end_the_study_with_what_to_do(
    study: Study, tmp_path: Path, by_value: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "StudyPlugin", type("Dying", (_Dying,), {"always": True}))
    monkeypatch.setattr(cluster, "_MOST_STARTS", 1)
    with pytest.raises(CamSamError, match=r"die as they start.*take fewer than 1"):
        run_study(study, tmp_path / "out", cache=NO_CACHE, device="cpu", workers=1)


def test_a_worker_that_dies_before_anything_is_started_again(study: Study, tmp_path: Path) -> None:
    preload = tmp_path / "preload.py"
    # Dask runs a copy of it, which each worker has of its own.
    preload.write_text(
        "import os, pathlib\n"
        f"seen = pathlib.Path({str(tmp_path / 'started')!r})\n"
        "if not seen.exists():\n"
        "    seen.touch()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    with dask.config.set({"distributed.worker.preload": [str(preload)]}):
        result = run_study(
            study, tmp_path / "out", cache=NO_CACHE, device="cpu", workers=1, limit=1
        )
    assert (tmp_path / "started").exists()
    assert result.record["cases"]["failed"] == 0
