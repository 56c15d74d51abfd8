"""What a run finds, on a plane and on an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import Heatmap
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import Window
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.metrics.summary import Summary
from napari_cam_sam.pipeline.parameters import RunParameters
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.volume.consensus import Consensus
from napari_cam_sam.sam.volume.propagation import PropagatedObject

__all__ = ["PlaneResult", "RunResult"]


@dataclass(frozen=True, eq=False)
class PlaneResult:
    """All that a run finds on one plane.

    Attributes
    ----------
    axis, index : int
    heatmap : Heatmap or None
        None where no classifier runs.
    prompts : PlanePrompts
        With what was added for an adaptive strategy.
    labels : ndarray of an unsigned integer type or int32, shape (rows, columns)
        One value an object, its id; 0 is background. Prompts from the truth have the truth's
        labels as ids.
    confidence : dict of int to float
        The segmenter's own estimate of its masks' IoU, by object.
    scores : dict of int to Scores
        By truth label where the prompts come from the truth, else 0 for all that is not 0;
        empty without truth.
    seconds : dict of str to float
        Spent in ``prompts``, ``encode``, ``decode``, ``scores``.
    """

    axis: int
    index: int
    heatmap: Heatmap | None
    prompts: PlanePrompts
    labels: NDArray[Any]
    confidence: dict[int, float]
    scores: dict[int, Scores]
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class RunResult:
    """All that a run finds on an image.

    Attributes
    ----------
    image : Image
    window : Window
    parameters : RunParameters
    labels : ndarray of an unsigned integer type or int32, shape of the image's grid
    heatmap : ndarray of float32, shape of the image's grid, or None
        0 on planes that were not run.
    grid_shape : tuple of int or None
        Rows and columns of the heatmaps before they were brought to the plane; of a 3D network
        the layer's grid in one window.
    prompts : tuple of PlanePrompts
        One a plane that was run, with a reason where there are none. Of a volume those that were
        propagated from, and a reason for every other plane.
    scores : dict of (int, int) to Scores
        By plane index and truth label, for planes where the truth or the prediction is not empty.
    empty_planes : int
        Planes left out of `scores` because both are empty.
    summary : dict of str to Summary
        Over `scores`, a metric.
    volume : Scores or None
        Of the planes that were run, as one volume; None without truth, or for a single plane.
    volume_labels : dict of int to Scores
        The same for each label of the truth, where the prompts come from the truth.
    probabilities : dict of int to float
        Probability of the heatmap's target, by plane index.
    confidence : dict of int to dict of int to float
        The segmenter's own estimates, by plane index and object.
    seconds : dict of str to float
        By stage.
    sources : dict of int to tuple of PropagatedObject
        Of a volume, by plane index: where the objects' masks along `parameters.axis` are from,
        before smoothing and consensus. Planes that no object reached are not in it.
    consensus : Consensus or None
        Of the ways along `parameters.axis` and the two other axes, in rising order.
    """

    image: Image
    window: Window
    parameters: RunParameters
    labels: NDArray[Any]
    heatmap: NDArray[np.float32] | None
    grid_shape: tuple[int, ...] | None
    prompts: tuple[PlanePrompts, ...]
    scores: dict[tuple[int, int], Scores]
    empty_planes: int
    summary: dict[str, Summary]
    volume: Scores | None
    volume_labels: dict[int, Scores]
    probabilities: dict[int, float]
    confidence: dict[int, dict[int, float]]
    seconds: dict[str, float]
    sources: dict[int, tuple[PropagatedObject, ...]] = field(default_factory=dict)
    consensus: Consensus | None = None
