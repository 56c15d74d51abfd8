"""Studies on worker processes: the same bytes, whoever dies."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import distributed
import pytest
import torch

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.sam.cache.embeddings import CacheParameters
from napari_cam_sam.studies.cases import Case
from napari_cam_sam.studies.config.plan import DatasetSource, Setting, read_study
from napari_cam_sam.studies.run import cluster
from napari_cam_sam.studies.run.runner import read_cases, run_study
from napari_cam_sam.studies.run.tasks import CaseResult

_run = cluster._run_on_worker


def deadly(plugin_name: str, case: Case) -> CaseResult:
    """Let one image kill its worker always, and another one the first time."""
    seen = case.image.with_suffix(".seen")
    if case.image_id == "b" or (case.image_id == "c" and not seen.exists()):
        seen.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return _run(plugin_name, case)


@pytest.mark.slow
def test_workers_that_are_killed_are_replaced_and_the_bytes_are_those_of_one_process(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read_study(study_file)
    for name, drawn in zip("abcd", read_cases(study).cases * 2, strict=False):
        for folder, file in (("images", drawn.image), ("masks", drawn.truths[0])):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "data" / folder / f"{name}.png")
    study = replace(study, dataset=DatasetSource("folders", tmp_path / "data"))
    alone = run_study(study, tmp_path / "alone", cache=CacheParameters(disk_mb=0))
    cache = CacheParameters(folder=str(tmp_path / "embeddings"))
    monkeypatch.setattr(cluster, "_run_on_worker", deadly)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
    # Each worker that is started anew takes seconds: one death is enough to suspect an image.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        many = run_study(study, tmp_path / "many", workers=2, cache=cache)
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert (tmp_path / "data" / "images" / "c.seen").exists()
    assert many.record["cases"] == {"all": 4, "done": 4, "failed": 1}
    failed = many.table[many.table["status"] == "failed"]
    assert set(failed["case"]) == {"b"}
    assert set(failed["reason"]) == {
        "Each worker that ran this image died, perhaps for lack of memory."
    }
    # What failed is tried again: here, where nothing kills.
    again = run_study(study, tmp_path / "many", cache=cache)
    assert again.record["cases"] == alone.record["cases"] == {"all": 4, "done": 4, "failed": 0}
    for name in ("results.parquet", "results.csv"):
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert again.record["models"].keys() == alone.record["models"].keys()
    assert again.record["data_sha256"] == alone.record["data_sha256"]


def test_two_studies_on_the_same_workers_do_not_mix(study_file: Path, tmp_path: Path) -> None:
    setting = Setting("box", None, "seeded", RunParameters(strategy="truth-box"))
    one = replace(read_study(study_file), settings=(setting,), name="one")
    other = replace(one, name="other")
    cases = read_cases(replace(one, dataset=replace(one.dataset, options={"count": 6}))).cases
    cache = CacheParameters(disk_mb=0)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as workers:
        address = workers.scheduler_address
        first = cluster.run_on_cluster(one, cases, "cpu", cache, address, 0)
        found = [next(first)]
        others = list(cluster.run_on_cluster(other, cases[:1], "cpu", cache, address, 0))
        found += first
        assert not [name for name in workers.workers[0].plugins if "study" in name]
    assert [set(result.table["study"]) for _, result in others] == [{"other"}]
    assert [set(result.table["study"]) for _, result in found] == [{"one"}] * 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is of a machine without a GPU")
def test_who_gives_the_command_needs_no_gpu(study_file: Path, tmp_path: Path) -> None:
    setting = Setting("cam", "lesion", "", RunParameters())
    study = replace(read_study(study_file), settings=(setting,))
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as workers:
        address = workers.scheduler_address
        result = run_study(study, tmp_path / "out", scheduler=address, device="cuda", limit=1)
    # These workers have none either.
    assert result.table["status"].unique().tolist() == ["failed"]
    assert "not available on this machine" in result.table["reason"].iloc[0]


def test_a_scheduler_that_is_not_there_is_said(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    study = read_study(study_file)
    for address in (f"tcp://127.0.0.1:{port}", "nonsense://x"):
        with pytest.raises(CamSamError, match="no dask scheduler at"):
            run_study(study, tmp_path / "out", scheduler=address)
    with pytest.raises(CamSamError, match="not both"):
        run_study(study, tmp_path / "out", scheduler="tcp://x:1", workers=2)


def test_without_dask_the_extra_is_named(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, cluster.__name__)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(CamSamError, match=r"needs dask: install napari-cam-sam\[cluster\]"):
        run_study(read_study(study_file), tmp_path / "out", workers=1)


def test_a_worker_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert cluster._device_of("auto", 3) == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    names: list[Any] = [0, 1, 2, "SLURMCluster-5", "tcp://host"]
    assert [cluster._device_of("auto", one) for one in names] == [
        "cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0",
    ]  # fmt: skip
    assert cluster._device_of("cpu", 1) == "cpu"
