"""Running a study: image by image, resumed where it was stopped, here or on a cluster."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.records.folders import folder_lock
from napari_cam_sam.records.values import package_versions, plain
from napari_cam_sam.sam.cache.embeddings import CacheParameters, open_cache
from napari_cam_sam.sam.cache.store import embedding_folder
from napari_cam_sam.studies.cases import Case, Dataset
from napari_cam_sam.studies.config.plan import Study, plan_data, plan_differences, plan_hash
from napari_cam_sam.studies.data.datasets import read_dataset
from napari_cam_sam.studies.record import read_record
from napari_cam_sam.studies.run.models import Models
from napari_cam_sam.studies.run.stamps import case_stamp, model_stamps, what_changed
from napari_cam_sam.studies.run.tasks import CaseResult, run_case
from napari_cam_sam.studies.table import (
    case_file,
    check_table,
    read_about,
    read_rows,
    write_case,
    write_tables,
)
from napari_cam_sam.text import recorded

__all__ = ["Estimate", "StudyResult", "estimate_study", "read_cases", "run_study"]

Progress = Callable[[int, int], None]

# A hidden file older than this is of a process that was killed.
_UNFINISHED_SECONDS = 3600.0


@dataclass(frozen=True)
class StudyResult:
    """What a study leaves in its folder.

    Attributes
    ----------
    folder : Path
    record : dict
        The content of ``study.json``.
    """

    folder: Path
    record: dict[str, Any]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The tidy table, see :data:`napari_cam_sam.studies.table.COLUMNS`."""
        path = self.folder / "results.parquet"
        rows = read_rows(path)
        # The study may have been run again since: the record on disk is of the table there.
        record: dict[str, Any] = {}
        with suppress(CamSamError):  # of a folder without one, the rows are taken as they are
            record = read_record(self.folder / "study.json")
        check_table(rows, record, path)
        table: pd.DataFrame = rows.to_pandas()
        return table


@dataclass(frozen=True)
class Estimate:
    """What a study would take.

    Attributes
    ----------
    cases : int
    settings : int
    done : int
        Cases whose results are in the folder already.
    case_seconds : float
        Of the case that was measured, nothing found on disk.
    seconds : float
        Of all cases that are left, one after the other.
    """

    cases: int
    settings: int
    done: int
    case_seconds: float
    seconds: float


def read_cases(study: Study, limit: int | None = None) -> Dataset:
    """List the images of a study.

    Parameters
    ----------
    study : Study
    limit : int, optional
        List the first images alone.

    Returns
    -------
    Dataset

    Raises
    ------
    CamSamError
        As `read_dataset`.
    """
    source = study.dataset
    dataset = read_dataset(source.layout, source.path, **source.options)
    cases = dataset.cases if limit is None else dataset.cases[:limit]
    return Dataset(dataset.name, cases, dataset.problems)


def run_study(
    study: Study,
    folder: str | Path,
    *,
    progress: Progress | None = None,
    scheduler: str | None = None,
    workers: int = 0,
    limit: int | None = None,
    device: str = "auto",
    cache: CacheParameters | None = None,
    command: Sequence[str] = (),
    cancelled: Callable[[], bool] = lambda: False,
) -> StudyResult:
    r"""Run a study, or what is left of it, and write its results.

    Each image that is finished is a file of its own under ``cases``; the same call goes on after
    whatever stopped the last one. Images that failed are tried again.

    Parameters
    ----------
    study : Study
    folder : str or Path
        Made where it is missing.
    progress : callable, optional
        Called with the number of images done and of all.
    scheduler : str, optional
        Address of a dask scheduler, e.g. ``"tcp://host:8786"``, whose workers run the images.
    workers : int
        Processes on this machine that run the images; 0 for this process alone.
    limit : int, optional
        Run the first images alone.
    device : str
    cache : CacheParameters, optional
        Where embeddings are found and kept.
    command : sequence of str
        Arguments of the command line, for the record.
    cancelled : callable
        Asked between two images whether to stop; what is finished stays.

    Returns
    -------
    StudyResult

    Raises
    ------
    CamSamError
        If the folder holds another study or is written by one that runs, the data set or a model
        cannot be read, or the disk is full. What is finished stays in every case.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("lesions.yaml").write_text(
    ...     "dataset: {layout: phantoms, path: phantoms, kind: ultrasound, count: 2}\n"
    ...     "grid: {strategies: truth-box, segmenters: seeded}"
    ... )
    >>> found = ncs.run_study(ncs.read_study("lesions.yaml"), "lesions-study")
    >>> sorted(found.table["case"].unique())
    ['ultrasound-000000', 'ultrasound-000001']
    """
    folder = Path(folder)
    cache = cache or CacheParameters()
    # Workers elsewhere take the same folder, whatever their own would be.
    cache = replace(cache, folder=str(Path(cache.folder or embedding_folder()).absolute()))
    if scheduler is not None and workers:
        raise CamSamError("Give the address of a scheduler or a number of workers, not both.")
    with folder_lock(folder, "study"):
        dataset = read_cases(study, limit)
        plan = plan_hash(study)
        record = _begin(study, folder, dataset, plan, command)
        record |= {"limit": limit, "device": device, "scheduler": scheduler, "workers": workers}
        files = {one.image_id: case_file(folder / "cases", one.image_id) for one in dataset.cases}
        # Who gives the command to workers elsewhere need not have a GPU as they do.
        models = Models("cpu" if scheduler else device, study.allowed)
        stamps = model_stamps(study, models)
        about, record["again"] = _finished(dataset.cases, files, plan, stamps)
        left = [case for case in dataset.cases if case.image_id not in about]
        told, total = progress or (lambda done, of: None), len(dataset.cases)
        told(total - len(left), total)
        if left:
            models.check(study.settings)
            _write_record(folder, record)
            for case, result in _results(study, left, models, device, cache, scheduler, workers):
                stamp = case_stamp(case, stamps)
                about[case.image_id] = {**result.about, "plan": plan, "stamp": stamp}
                write_case(files[case.image_id], result.table, about[case.image_id])
                told(len(about), total)
                if cancelled():
                    break
        done = [files[case.image_id] for case in dataset.cases if case.image_id in about]
        rows_sha256 = write_tables(folder, done)
        # Last: a study that says that it is finished has the tables of all its cases.
        record = _end(record, about) | {"rows_sha256": rows_sha256}
        _write_record(folder, record)
    return StudyResult(folder, record)


def _results(
    study: Study,
    cases: Sequence[Case],
    models: Models,
    device: str,
    cache: CacheParameters,
    scheduler: str | None,
    workers: int,
) -> Iterator[tuple[Case, CaseResult]]:
    """Run cases here, or wherever the workers are, in the order in which they finish."""
    if scheduler is None and not workers:
        embeddings = open_cache(cache)
        for case in cases:
            yield case, run_case(study, case, models, embeddings)
        return
    try:
        from napari_cam_sam.studies.run.cluster import run_on_cluster
    except ImportError as error:
        raise CamSamError(
            "A study on several workers needs dask: install napari-cam-sam[cluster]."
        ) from error
    yield from run_on_cluster(study, cases, device, cache, scheduler, workers)


def estimate_study(study: Study, folder: Path, *, limit: int | None, device: str) -> Estimate:
    """Run one image of a study, keep nothing, and say how long all of them would take.

    Parameters
    ----------
    study : Study
    folder : Path
        Of its results, of which those that are there count as done.
    limit : int or None
        Count the first images alone.
    device : str

    Returns
    -------
    Estimate

    Raises
    ------
    CamSamError
        As :func:`run_study`; for an image that cannot be run its reason.
    """
    dataset = read_cases(study, limit)
    _check_folder(study, folder)
    files = {case.image_id: case_file(folder / "cases", case.image_id) for case in dataset.cases}
    models = Models(device, study.allowed)
    done, _ = _finished(dataset.cases, files, plan_hash(study), model_stamps(study, models))
    left = [case for case in dataset.cases if case.image_id not in done] or dataset.cases
    models.check(study.settings)
    for case in left:
        clock = time.perf_counter()
        result = run_case(study, case, models, open_cache(CacheParameters(disk_mb=0)))
        seconds = time.perf_counter() - clock
        if not result.about["failed"]:
            break
    if result.about["failed"]:
        raise CamSamError(f"No image could be run: {result.table['reason'].iloc[0]}")
    remaining = len(dataset.cases) - len(done)
    return Estimate(
        len(dataset.cases), len(study.settings), len(done), seconds, seconds * remaining
    )


def _begin(
    study: Study, folder: Path, dataset: Dataset, plan: str, command: Sequence[str]
) -> dict[str, Any]:
    """Make the folder, refuse one of another study, and begin the record."""
    known = _check_folder(study, folder)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        (folder / "cases").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(
            f"The study cannot be written, {error.strerror or error}: name another folder", folder
        ) from error
    for unfinished in (folder / "cases").glob(".*.parquet"):
        with suppress(OSError):  # of a process that was killed; a young one may be of one that runs
            if time.time() - unfinished.stat().st_mtime > _UNFINISHED_SECONDS:
                unfinished.unlink()
    return {
        "name": study.name,
        "state": "running",
        "plan": plan,
        "study": plan_data(study),
        "compare": plain(study.compare),
        "left_out": list(study.left_out),
        "dataset": dataset.name,
        "problems": list(dataset.problems),
        "cases": {"all": len(dataset.cases), "done": 0, "failed": 0},
        "threads": study.threads,
        "command": list(command),
        "folder": recorded(os.getcwd()),
        "started": known.get("started") or now,
        "runs": [*(known.get("runs") or ()), {"started": now, "command": list(command)}],
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": package_versions(),
    }


def _check_folder(study: Study, folder: Path) -> dict[str, Any]:
    """Read the record of a folder; refuse that of another study."""
    path = folder / "study.json"
    if folder.exists() and not folder.is_dir():
        raise refusal("This is a file: name a folder for the study", folder)
    if not path.exists():
        return {}
    known = read_record(path)
    if known.get("study") is None:
        raise refusal("This is no record of a study: name another folder", path)
    differences = plan_differences(known["study"], plan_data(study))
    if differences:
        raise refusal(
            f"This folder holds another study: {'; '.join(differences[:3])}. Name another folder "
            "with --output, or make the study again what it was",
            folder,
        )
    return known


def _finished(
    cases: Sequence[Case], files: Mapping[str, Path], plan: str, models: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Find the cases that need not be run, and say why others that were are run again."""
    done: dict[str, dict[str, Any]] = {}
    again: Counter[str] = Counter()
    for case in cases:
        path = files[case.image_id]
        about = read_about(path)
        if about is None:
            if path.exists():
                again["the file of its results is damaged"] += 1
            continue
        if about.get("failed", True) or about.get("plan") != plan:
            continue
        reason = what_changed(about, case, case_stamp(case, models))
        if reason:
            again[reason] += 1
        else:
            done[case.image_id] = about
    return done, dict(again)


def _end(record: dict[str, Any], about: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Complete the record with what all cases say, those of earlier runs included."""
    encodes: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    models: dict[str, Any] = {}
    for one in about.values():
        encodes.update(one["encodes"])
        seconds.update(one["seconds"])
        for name, model in one["models"].items():
            if model not in models.setdefault(name, []):
                models[name].append(model)
    record["problems"] += [
        f"{case}: {note}" for case in sorted(about) for note in about[case].get("notes", ())
    ]
    hashes = [[case, about[case]["files"]] for case in sorted(about)]
    failed = sum(one["failed"] for one in about.values())
    record["state"] = "finished" if len(about) == record["cases"]["all"] else "stopped"
    record["cases"] |= {"done": len(about), "failed": failed}
    record["encodes"] = {"done": encodes["done"], "found": encodes["found"]}
    record["seconds"] = {stage: round(value, 3) for stage, value in sorted(seconds.items())}
    # One entry a model; several where machines differ in device or precision.
    record["models"] = {name: models[name] for name in sorted(models)}
    record["data_sha256"] = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
    record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    return record


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    text = json.dumps(plain(record), indent=2, allow_nan=False) + "\n"
    write_atomically(folder / "study.json", lambda path: path.write_text(text, encoding="utf-8"))
