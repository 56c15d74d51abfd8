"""The rows of one image: what each setting found, or why it found nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import Heatmap
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.image_scores import (
    score_image,
    score_labels,
    score_pointing,
    score_volume,
)
from napari_cam_sam.evaluation.truth import planes_slice, truth_volume
from napari_cam_sam.images.image import Image
from napari_cam_sam.metrics.masks import TRUTH_EMPTY
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.studies.cases import Case
from napari_cam_sam.studies.config.settings import Setting

__all__ = ["CaseRows", "failure_reason", "without_truth"]

_LONGEST_REASON = 300


class CaseRows:
    """The rows of one image, as they are found.

    Parameters
    ----------
    study : str
        Its name.
    case : Case
    """

    def __init__(self, study: str, case: Case) -> None:
        self.rows: list[dict[str, Any]] = []
        self._head = {
            "study": study,
            "case": case.image_id,
            "group": case.group or "",
            "split": case.split or "",
            "label": case.label or "",
        }

    def add(
        self,
        columns: Mapping[str, str],
        axis: int,
        plane: int,
        status: str,
        reason: str = "",
        values: Mapping[str, float] | None = None,
        object_id: int = 0,
        step: int = 0,
    ) -> None:
        """Add a row a score, or one without any."""
        head = {
            **self._head, **columns, "axis": axis, "plane": plane, "object": object_id,
            "step": step, "status": status, "reason": reason,
        }  # fmt: skip
        known = {name: float(v) for name, v in (values or {}).items() if not np.isnan(v)}
        for metric, value in (known or {"": float("nan")}).items():
            self.rows.append({**head, "metric": metric, "value": value})

    def fail(
        self, columns: Mapping[str, str], axis: int, plane: int, error: Exception | str
    ) -> None:
        """Add a row that says why something failed."""
        reason = error if isinstance(error, str) else failure_reason(error)
        self.add(columns, axis, plane, "failed", reason)

    def add_heatmap(
        self,
        setting: Setting,
        index: int,
        heatmap: Heatmap,
        truth: NDArray[Any] | None,
        spacing: Sequence[float],
        more: Mapping[str, float],
    ) -> None:
        """Score the heatmap of a plane, with `more` beside its scores."""
        status, reason = ("ok", "") if heatmap.evidence else ("no-prompt", heatmap.reason or "")
        values = {"probability": heatmap.probability}
        if truth is None:
            status = "no-truth" if heatmap.evidence else status
            reason = reason or without_truth(truth)
        else:
            scores = score_pointing(truth, spacing, heatmap.values)
            values |= scores.values
            reason = reason or _remark(scores, truth)
        columns = setting.heatmap_columns()
        self.add(columns, setting.run.axis, index, status, reason, {**values, **more})

    def add_heatmap_volume(
        self,
        setting: Setting,
        heatmap: NDArray[np.float32],
        image: Image,
        truth: Image,
        indices: range,
    ) -> None:
        """Score the heatmaps of planes as one volume."""
        run = setting.run
        answer = truth_volume(truth, run.axis, indices, run.truth_label)
        inside = heatmap[planes_slice(run.axis, indices)]
        scores = score_pointing(answer, image.geometry.spacing, inside)
        about, said = setting.heatmap_columns(), _remark(scores, answer)
        self.add(about, run.axis, -1, "ok", said, scores.values)

    def add_prompts(
        self,
        setting: Setting,
        prompts: PlanePrompts,
        truth: NDArray[Any] | None,
        spacing: Sequence[float],
    ) -> None:
        """Score prompts alone."""
        values: dict[str, float] = {}
        status, reason = "ok", ""
        if not prompts.objects:
            status, reason = "no-prompt", prompts.reason or ""
        elif truth is None or not truth.any():
            status, reason = "no-truth", without_truth(truth)
        else:
            values = score_pointing(truth, spacing, prompts=prompts).values
        self.add(setting.columns(), prompts.axis, prompts.index, status, reason, values)

    def add_masks(
        self,
        setting: Setting,
        prompts: PlanePrompts,
        labels: NDArray[Any],
        truth: NDArray[Any] | None,
        spacing: Sequence[float],
        by_label: bool,
        step: int = 0,
        masks: Mapping[int, NDArray[np.bool_]] | None = None,
    ) -> None:
        """Score the masks of a plane as a whole, and each label where `by_label` says so.

        ``masks`` are those of each label by itself, where they may overlap.
        """
        columns, axis, index = setting.columns(), prompts.axis, prompts.index
        said = prompts.reason or ""
        status = "ok" if prompts.reason is None else "no-prompt"
        if truth is None:
            status = "no-truth" if status == "ok" else status
            self.add(columns, axis, index, status, said or without_truth(truth), step=step)
            return
        whole = setting.run.truth_label or 0
        found = {whole: score_image(labels, truth, spacing, prompts=prompts)}
        if by_label:
            found |= score_labels(labels, truth, spacing, prompts=prompts, masks=masks)
        self._add_scores(columns, axis, index, status, said, found, step)

    def add_volume(
        self,
        setting: Setting,
        labels: NDArray[Any],
        image: Image,
        truth: Image,
        indices: range,
        known: Collection[int],
        prompted: bool,
    ) -> None:
        """Score the masks of planes as one volume, and each of the `known` labels."""
        run = setting.run
        whole, by_label = score_volume(
            labels, truth, image.geometry.spacing, run.axis, indices,
            label=run.truth_label, labels_of_truth=known,
        )  # fmt: skip
        status, said = ("ok", "") if prompted else ("no-prompt", "No slice has prompts.")
        found = {run.truth_label or 0: whole, **by_label}
        self._add_scores(setting.columns(), run.axis, -1, status, said, found)

    def _add_scores(
        self,
        columns: Mapping[str, str],
        axis: int,
        index: int,
        status: str,
        said: str,
        found: Mapping[int, Scores],
        step: int = 0,
    ) -> None:
        """Add the rows of scores by label."""
        for label, scores in found.items():
            if "both-empty" in scores.flags:
                reason = "Neither the truth nor the mask has anything here."
                self.add(columns, axis, index, "no-truth", reason, None, label, step)
            else:
                reason = said or " ".join(scores.flags)
                self.add(columns, axis, index, status, reason, scores.values, label, step)


def failure_reason(error: Exception) -> str:
    """Return in one line why something failed.

    Parameters
    ----------
    error : Exception

    Returns
    -------
    str
        With the type's name before it where it is no error of a user.
    """
    text = " ".join(str(error).split())
    if not isinstance(error, CamSamError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:_LONGEST_REASON]


def without_truth(truth: NDArray[Any] | None) -> str:
    """Return why a plane has no truth to compare with.

    Parameters
    ----------
    truth : ndarray or None
        Empty, or none at all.

    Returns
    -------
    str
    """
    return "There is no truth." if truth is None else "The truth is empty here."


def _remark(scores: Scores, truth: NDArray[Any]) -> str:
    """Return what to know of the scores of a heatmap, or why there are none."""
    return " ".join(scores.flags) if truth.any() else TRUTH_EMPTY
