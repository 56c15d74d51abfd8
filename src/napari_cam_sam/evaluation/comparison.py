"""Ways to a mask of a plane, compared with the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.overlap import OverlapCounts, overlap
from napari_cam_sam.metrics.summary import percent_of_reference
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.parameters import PromptParameters, truth_parameters
from napari_cam_sam.prompts.strategies import (
    add_adaptive_negatives,
    prompts_from_heatmap,
    prompts_from_mask,
    pseudo_mask,
)
from napari_cam_sam.sam.labels import segment_plane
from napari_cam_sam.sam.mask_choice import MaskChoice
from napari_cam_sam.sam.segmenter import Embedding, Segmenter

__all__ = [
    "CAM_ALONE",
    "CAM_TO_SAM",
    "EDITED",
    "FROM_HEATMAPS",
    "TRUTH_PROMPTS",
    "VARIANTS",
    "ComparedPlane",
    "PlaneToCompare",
    "VariantSummary",
    "compare_plane",
    "compare_planes",
    "summarise_comparison",
]

Encode = Callable[[NDArray[np.uint8]], Embedding]

CAM_ALONE = "CAM alone"
CAM_TO_SAM = "CAM → SAM"
EDITED = "edited"
TRUTH_PROMPTS = "same segmenter, prompts from the truth"
VARIANTS = (CAM_ALONE, CAM_TO_SAM, EDITED, TRUTH_PROMPTS)
FROM_HEATMAPS = (CAM_ALONE, CAM_TO_SAM)
"""The variants that mean nothing where no plane has a heatmap."""


@dataclass(frozen=True, eq=False)
class PlaneToCompare:
    """What is known of a plane before it is compared.

    Attributes
    ----------
    index : int
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Windowed.
    heatmap : ndarray of float32, shape (rows, columns), or None
        None where there is no evidence.
    truth : ndarray of bool or int, shape (rows, columns)
        What is not 0 is truth; every positive value gets prompts of its own.
    prompts : PlanePrompts or None
        As the user left them; None where nothing was edited.
    labels : ndarray of bool or int, shape (rows, columns), or None
        What the user accepted, which goes before ``prompts``.
    """

    index: int
    plane: NDArray[np.uint8]
    heatmap: NDArray[np.floating] | None
    truth: NDArray[Any]
    prompts: PlanePrompts | None = None
    labels: NDArray[Any] | None = None


@dataclass(frozen=True)
class ComparedPlane:
    """How each variant agrees with the truth on a plane.

    Attributes
    ----------
    index : int
    overlaps : dict of str to OverlapCounts
        By variant.
    """

    index: int
    overlaps: dict[str, OverlapCounts]

    @property
    def counts(self) -> bool:
        """Whether the truth or any variant has something here."""
        return any(
            one.true_positives + one.false_positives + one.false_negatives
            for one in self.overlaps.values()
        )


@dataclass(frozen=True)
class VariantSummary:
    """One variant over all planes that count.

    Attributes
    ----------
    variant : str
    dice, iou : float
        Means over the planes where the truth or any variant is not empty, the same planes for
        all; NaN where there is none.
    volume_dice : float
        Of all planes as one volume.
    percent_of_truth_prompts : float
        Mean Dice as a percentage of that of the truth's prompts; NaN where that is 0.
    n_planes : int
        How many planes count.
    """

    variant: str
    dice: float
    iou: float
    volume_dice: float
    percent_of_truth_prompts: float
    n_planes: int


def compare_plane(
    given: PlaneToCompare,
    segmenter: Segmenter,
    encode: Encode,
    parameters: PromptParameters,
    *,
    mask_choice: MaskChoice = "best",
) -> dict[str, NDArray[np.bool_]]:
    """Segment a plane in each of the four ways.

    Parameters
    ----------
    given : PlaneToCompare
    segmenter : Segmenter
    encode : callable
        Gives the embedding of a windowed plane from this segmenter, e.g. one that is kept. It is
        called once, and only where something has prompts.
    parameters : PromptParameters
        The strategy that turns the heatmap into prompts.
    mask_choice : {"single", "first", "best", "oracle"}

    Returns
    -------
    dict of str to ndarray of bool, shape (rows, columns)
        In the order of `VARIANTS`. A plane that was not edited has the mask of `CAM_TO_SAM` as
        that of `EDITED`.

    Raises
    ------
    CamSamError
        For arrays that do not fit the plane.
    """
    shape = given.plane.shape[:2]
    for name in ("heatmap", "truth", "labels"):
        array = getattr(given, name)
        if array is not None and array.shape != shape:
            raise CamSamError(
                f"Slice {given.index}: the {name} has shape {array.shape}, the slice {shape}."
            )
    embedding: Embedding | None = None

    def segment(prompts: PlanePrompts, by_label: bool = False) -> NDArray[np.bool_]:
        nonlocal embedding
        if not prompts.objects:
            return np.zeros(shape, dtype=bool)
        embedding = embedding or encode(given.plane)
        labels, _ = segment_plane(
            segmenter, embedding, prompts,
            mask_choice=mask_choice, truth=given.truth, by_label=by_label,
        )  # fmt: skip
        return np.asarray(labels > 0)

    alone = from_cam = np.zeros(shape, dtype=bool)
    if given.heatmap is not None:
        alone = pseudo_mask(given.heatmap, parameters)
        prompts = prompts_from_heatmap(given.heatmap, parameters)
        from_cam = segment(prompts)
        more = add_adaptive_negatives(prompts, given.heatmap, from_cam, parameters)
        from_cam = from_cam if more is prompts else segment(more)
    edited = from_cam
    if given.labels is not None:
        edited = given.labels != 0
    elif given.prompts is not None:
        edited = segment(given.prompts)
    # With the kind of prompt and the margin of the rule that it stands beside.
    rule = truth_parameters(
        f"truth-{parameters.kind}", margin=parameters.margin, min_area=parameters.min_area
    )
    whole = given.truth.dtype == np.bool_
    from_truth = segment(prompts_from_mask(given.truth, rule), by_label=not whole)
    return dict(zip(VARIANTS, (alone, from_cam, edited, from_truth), strict=True))


def compare_planes(
    planes: Iterable[PlaneToCompare],
    segmenter: Segmenter,
    encode: Encode,
    parameters: PromptParameters,
    *,
    mask_choice: MaskChoice = "best",
) -> Iterator[ComparedPlane]:
    """Compare plane by plane, holding the masks of one.

    Parameters
    ----------
    planes : iterable of PlaneToCompare
        Read one at a time.
    segmenter, encode, parameters, mask_choice
        As for `compare_plane`.

    Yields
    ------
    ComparedPlane
    """
    for given in planes:
        masks = compare_plane(given, segmenter, encode, parameters, mask_choice=mask_choice)
        truth = given.truth != 0
        yield ComparedPlane(given.index, {v: overlap(mask, truth) for v, mask in masks.items()})


def summarise_comparison(planes: Sequence[ComparedPlane]) -> tuple[VariantSummary, ...]:
    """Summarise a comparison.

    Parameters
    ----------
    planes : sequence of ComparedPlane

    Returns
    -------
    tuple of VariantSummary
        In the order of `VARIANTS`.
    """
    counted = [plane for plane in planes if plane.counts]
    reference = [plane.overlaps[TRUTH_PROMPTS].dice for plane in counted]
    lines = []
    for variant in VARIANTS:
        found = [plane.overlaps[variant] for plane in counted]
        dice = [one.dice for one in found]
        mean_dice = mean_iou = volume_dice = float("nan")
        if found:
            together = OverlapCounts(*np.sum([astuple(one) for one in found], axis=0).tolist())
            mean_dice, volume_dice = float(np.mean(dice)), together.dice
            mean_iou = float(np.mean([one.iou for one in found]))
        means = mean_dice, mean_iou, volume_dice, percent_of_reference(dice, reference)
        lines.append(VariantSummary(variant, *means, len(counted)))
    return tuple(lines)
