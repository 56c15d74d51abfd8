"""Scores of a run against its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.metrics.prompt_quality import score_prompts
from napari_cam_sam.metrics.scoring import Scores, score_heatmap, score_labels, score_masks
from napari_cam_sam.pipeline.parameters import RunParameters
from napari_cam_sam.prompts.data import PlanePrompts

__all__ = [
    "check_truth_label", "object_scores", "plane_scores", "truth_labels", "truth_plane",
    "volume_scores",
]  # fmt: skip

# The finest atlases of organs have some 200.
_MOST_LABELS = 500


def plane_scores(
    labels: NDArray[Any],
    prompts: PlanePrompts,
    heatmap: NDArray[np.float32] | None,
    truth: NDArray[Any],
    spacing: Sequence[float],
    parameters: RunParameters,
) -> dict[int, Scores]:
    """Score a plane: by label where the prompts know the truth's labels, else as a whole."""
    present: set[int] = set()
    if parameters.by_label:
        # Propagation may have taken an object to a plane on which the truth has it not.
        present = {int(v) for plane in (truth, labels) for v in np.unique(plane) if v > 0}
    scored = {
        label: (
            labels == label,
            truth == label,
            tuple(o for o in prompts.objects if o.object_id == label),
        )
        for label in sorted(present)
    }
    whole = {parameters.truth_label or 0: (labels > 0, truth > 0, prompts.objects)}
    return {
        label: object_scores(predicted, answer, replace(prompts, objects=own), heatmap, spacing)
        for label, (predicted, answer, own) in (scored or whole).items()
    }


def object_scores(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    prompts: PlanePrompts,
    heatmap: NDArray[np.float32] | None,
    spacing: Sequence[float],
) -> Scores:
    """Score one object of a plane: its mask, and where it is there its prompts and the heatmap."""
    parts = [score_masks(prediction, truth, spacing)]
    if truth.any():
        if heatmap is not None:
            parts.append(score_heatmap(heatmap, truth))
        if prompts.objects:
            parts.append(Scores(score_prompts(prompts, truth, spacing)))
    return _joined(parts)


def _joined(parts: Sequence[Scores]) -> Scores:
    values = {name: value for part in parts for name, value in part.values.items()}
    return Scores(values, tuple(dict.fromkeys(flag for part in parts for flag in part.flags)))


def check_truth_label(truth: Image, parameters: RunParameters) -> None:
    """Refuse a label that the truth has not."""
    if parameters.truth_label is None:
        return
    known: set[int] = set()
    for plane in truth.planes(0):
        known.update(int(v) for v in np.unique(plane))
    if parameters.truth_label not in known or parameters.truth_label == 0:
        there = ", ".join(str(v) for v in sorted(known - {0})) or "none"
        raise CamSamError(
            f"The truth {truth.name} has no label {parameters.truth_label}; it has: {there}."
        )


def truth_labels(truth: Image, parameters: RunParameters, indices: range) -> set[int]:
    """Labels of the truth on the planes of a run."""
    known: set[int] = set()
    for index in indices:
        known.update(int(v) for v in np.unique(truth_plane(truth, parameters, index)))
    known = {label for label in known if label > 0}
    if parameters.by_label and len(known) > _MOST_LABELS:
        raise CamSamError(
            f"The truth {truth.name} has {len(known)} different labels: is it an image? "
            "Else name the label that is meant."
        )
    return known


def truth_plane(truth: Image, parameters: RunParameters, index: int) -> NDArray[Any]:
    """Read a plane of the truth, with the label that is meant alone."""
    plane = np.asarray(truth.plane(parameters.axis, index))
    if parameters.truth_label is None:
        return plane
    return np.where(plane == parameters.truth_label, plane, 0)


def volume_scores(
    image: Image,
    truth: Image,
    labels: NDArray[Any],
    heatmap: NDArray[np.float32] | None,
    parameters: RunParameters,
    indices: range,
    known: set[int],
) -> tuple[Scores, dict[int, Scores]]:
    """Score the planes that were run as one volume, and by label, in the image's spacing."""
    axis, spacing = parameters.axis, image.geometry.spacing
    inside = tuple(
        slice(indices.start, indices.stop) if a == axis else slice(None) for a in range(3)
    )
    answer = np.stack([truth_plane(truth, parameters, i) for i in indices], axis=axis)
    parts = [score_masks(labels[inside] > 0, answer > 0, spacing)]
    if heatmap is not None:
        parts.append(score_heatmap(heatmap[inside], answer > 0))
    by_label = parameters.by_label and len(known) > 1
    return _joined(parts), (
        score_labels(labels[inside], answer, spacing, sorted(known)) if by_label else {}
    )
