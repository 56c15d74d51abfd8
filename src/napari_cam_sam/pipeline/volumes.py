"""Objects of a volume from the prompts of a run: along its axis, and along all three."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.writing import labels_dtype
from napari_cam_sam.pipeline.parameters import RunParameters, VolumeParameters
from napari_cam_sam.prompts.data import ObjectPrompt, PlanePrompts
from napari_cam_sam.sam.segmenter import Embedding, Segmenter
from napari_cam_sam.sam.volume.consensus import Consensus, find_consensus
from napari_cam_sam.sam.volume.neighbours import neighbour_prompt
from napari_cam_sam.sam.volume.propagation import PropagatedObject, propagate
from napari_cam_sam.sam.volume.seed_slices import trusted_planes
from napari_cam_sam.sam.volume.smoothing import smooth_along_axis

__all__ = ["Seen", "check_volume", "choose_planes", "find_objects"]

Sources = dict[int, tuple[PropagatedObject, ...]]


@dataclass(frozen=True, eq=False)
class Seen:
    """The planes of a volume as the segmenter sees them.

    Attributes
    ----------
    image : Image
    segmenter : Segmenter
    read_plane : callable
        Gives the plane of an axis and an index, as the segmenter encodes it.
    encode : callable
    heatmap : ndarray of float32, shape of the image's grid, or None
    """

    image: Image
    segmenter: Segmenter
    read_plane: Callable[[int, int], NDArray[np.uint8]]
    encode: Callable[[NDArray[np.uint8]], Embedding]
    heatmap: NDArray[np.float32] | None


def check_volume(image: Image, parameters: RunParameters, settings: VolumeParameters) -> None:
    """Check that propagation fits an image and a run, before anything is computed.

    Parameters
    ----------
    image : Image
    parameters : RunParameters
    settings : VolumeParameters

    Raises
    ------
    CamSamError
        Names what does not fit.
    """
    if image.spatial_ndim != 3:
        raise CamSamError(f"{image.name} is a single slice: propagation needs a volume.")
    if parameters.mask_from != "prompts":
        raise CamSamError(
            f"Propagation starts from prompts: masks from {parameters.mask_from!r} are of slices "
            "by themselves."
        )
    if parameters.mask_choice == "oracle":
        raise CamSamError(
            "Propagation cannot choose masks by the truth: take single, first or best."
        )
    if parameters.prompt_parameters.negatives == "adaptive":
        raise CamSamError(
            "Adaptive negative points come after a first mask, which propagation takes as it is: "
            "choose other negatives."
        )
    if not parameters.from_truth and parameters.cam.target is None:
        raise CamSamError(
            "Each slice has a predicted class of its own: name the class that is to be "
            "propagated as the target."
        )
    if settings.smooth > 0 and image.geometry.unit != "mm":
        raise CamSamError(f"{image.name} has no spacing in mm, in which smoothing is given.")


def choose_planes(
    prompted: Sequence[PlanePrompts],
    probabilities: Mapping[int, float],
    parameters: RunParameters,
    min_trust: float,
) -> tuple[PlanePrompts, ...]:
    """Choose which planes are propagated from; the others get a reason instead of prompts.

    Prompts from a truth are all right; of those from heatmaps the trusted planes are taken.

    Parameters
    ----------
    prompted : sequence of PlanePrompts
    probabilities : mapping of int to float
        Of the heatmap's target, by plane index.
    parameters : RunParameters
    min_trust : float
        The least probability.

    Returns
    -------
    tuple of PlanePrompts
        As many as were given.
    """
    if parameters.from_truth:
        return tuple(prompted)
    trusted = {p.index for p in trusted_planes(prompted, probabilities, min_trust)}

    def decided(plane: PlanePrompts) -> PlanePrompts:
        if not plane.objects or plane.index in trusted:
            return plane
        probability = probabilities[plane.index]
        reason = (
            f"the probability of the class, {probability:.2f}, is below {min_trust:g}"
            if probability < min_trust
            else "a neighbouring slice is more probable"
        )
        return PlanePrompts(plane.axis, plane.index, (), reason)

    return tuple(decided(plane) for plane in prompted)


def find_objects(
    seen: Seen,
    prompts: Sequence[PlanePrompts],
    axis: int,
    settings: VolumeParameters,
    done: Callable[[int], None],
) -> tuple[NDArray[Any], Sources, Consensus | None]:
    """Propagate prompts along an axis, smooth, and ask the other axes where that is wanted.

    Parameters
    ----------
    seen : Seen
    prompts : sequence of PlanePrompts
        Along `axis`; without any object nothing is found.
    axis : int
    settings : VolumeParameters
    done : callable
        Called with the number of planes that were decided since the last call; in the end they
        are all planes of all axes that were asked.

    Returns
    -------
    labels, sources, consensus
        As the attributes of ``RunResult``.
    """
    labels, sources = _along(seen, prompts, axis, settings, done)
    if not settings.consensus:
        return labels, sources, None
    volumes = {axis: labels}
    for other in {0, 1, 2} - {axis}:
        across = _prompts_across(labels, other, settings.propagation.margin)
        volumes[other] = _along(seen, across, other, settings, done)[0]
    spacing = seen.image.geometry.spacing
    consensus = find_consensus([volumes[one] for one in sorted(volumes)], spacing=spacing)
    return consensus.labels, sources, consensus


def _along(
    seen: Seen,
    prompts: Sequence[PlanePrompts],
    axis: int,
    settings: VolumeParameters,
    done: Callable[[int], None],
) -> tuple[NDArray[Any], Sources]:
    image = seen.image
    most = max((o.object_id for p in prompts for o in p.objects), default=0)
    labels = np.zeros(image.spatial_shape, labels_dtype(most))
    sources: Sources = {}
    if any(plane.objects for plane in prompts):
        for plane in propagate(
            image, seen.segmenter, prompts, partial(seen.read_plane, axis), settings.propagation,
            encode=seen.encode, heatmap=seen.heatmap,
        ):  # fmt: skip
            labels[image.plane_index(axis, plane.index)] = plane.labels
            sources[plane.index] = plane.objects
            done(1)
    done(image.n_planes(axis) - len(sources))
    if settings.smooth > 0:
        labels = smooth_along_axis(labels, axis, settings.smooth, image.geometry.spacing)
    return labels, dict(sorted(sources.items()))


def _prompts_across(labels: NDArray[Any], axis: int, margin: float) -> list[PlanePrompts]:
    """Box each object of a volume on the plane along another axis where it is largest."""
    found: dict[int, list[ObjectPrompt]] = {}
    for value in np.unique(labels[labels != 0]).tolist():
        planes = np.moveaxis(labels == value, axis, 0)
        index = int(planes.sum(axis=(1, 2)).argmax())
        box = neighbour_prompt(value, planes[index], "box", margin)
        found.setdefault(index, []).append(box)
    return [PlanePrompts(axis, index, tuple(boxes)) for index, boxes in sorted(found.items())]
