"""The task of a study: one image with all settings, the same in every process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from napari_cam_sam.errors import CamSamError, show_traceback
from napari_cam_sam.images.hashing import file_hash, file_states
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.studies.cases import Case
from napari_cam_sam.studies.config.plan import Study
from napari_cam_sam.studies.run.case_runner import CaseRunner
from napari_cam_sam.studies.run.models import Models
from napari_cam_sam.studies.run.planner import all_columns
from napari_cam_sam.studies.run.rows import CaseRows, failure_reason
from napari_cam_sam.studies.table import make_table

__all__ = ["CaseResult", "failed_case", "run_case"]


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What a study finds on one image.

    Attributes
    ----------
    table : DataFrame
        With the columns of :data:`~napari_cam_sam.studies.table.COLUMNS`.
    about : dict
        ``failed``: whether nothing could be run; ``encodes``: how many planes were ``done`` and
        ``found`` on disk; ``seconds`` by stage; ``files``: SHA-256 of the image, its truths and
        the prediction, in this order, and ``states`` of these before they were read; ``models``:
        see `Models.describe`; ``notes``: what reading them decided.
    """

    table: pd.DataFrame
    about: dict[str, Any]


def run_case(study: Study, case: Case, models: Models, embeddings: EmbeddingCache) -> CaseResult:
    """Run all settings of a study on one image.

    Each heatmap is computed once for all settings that share it, and each plane encoded once for
    a segmenter and a preprocessing. Whatever fails becomes a row with its reason.

    Parameters
    ----------
    study : Study
    case : Case
    models : Models
    embeddings : EmbeddingCache

    Returns
    -------
    CaseResult
        The same in every process: with the study's seed and number of threads.
    """
    begin, encoded, found = time.perf_counter(), embeddings.encoded, embeddings.from_disk
    states = file_states(case.files)
    try:
        with _reproducible(study):
            task = CaseRunner(study, case, models, embeddings)
            task.run()
        hashes = [file_hash(path) for path in case.files]
    except Exception as error:
        if not isinstance(error, CamSamError):
            show_traceback(error)
        return failed_case(study, case, failure_reason(error))
    task.seconds["total"] = time.perf_counter() - begin
    about = {
        "failed": False,
        "encodes": {"done": embeddings.encoded - encoded, "found": embeddings.from_disk - found},
        "seconds": {stage: round(value, 4) for stage, value in task.seconds.items()},
        "files": hashes,
        "states": states,
        "models": models.describe(),
        "notes": list(dict.fromkeys(task.notes)),
    }
    return CaseResult(make_table(task.found.rows), about)


def failed_case(study: Study, case: Case, reason: str) -> CaseResult:
    """Make the rows of an image of which nothing could be run.

    Parameters
    ----------
    study : Study
    case : Case
    reason : str

    Returns
    -------
    CaseResult
    """
    found = CaseRows(study.name, case)
    for axis, settings in groupby(study.settings, lambda one: one.run.axis):
        for columns in all_columns(settings):
            found.fail(columns, axis, -1, reason)
    about = {
        "failed": True, "encodes": {"done": 0, "found": 0}, "seconds": {}, "files": [], "models": {}
    }  # fmt: skip
    return CaseResult(make_table(found.rows), about)


@contextmanager
def _reproducible(study: Study) -> Iterator[None]:
    """Seed what is random, and let no number of threads or choice of a kernel change sums."""
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    flags = (cudnn.benchmark, cudnn.deterministic)
    # For libraries that draw from the global states, which are left as they were.
    states = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    np.random.seed(study.seed % 2**32)  # noqa: NPY002
    torch.manual_seed(study.seed)
    torch.set_num_threads(study.threads)
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        with threadpool_limits(study.threads):
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = flags
        torch.set_num_threads(threads)
        torch.set_rng_state(states[1])
        np.random.set_state(states[0])  # noqa: NPY002
