"""The planes of an image with their heatmaps, whatever the model takes: planes or volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice, repeat, tee
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.volume_heatmaps import compute_volume_heatmap, planes_of
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import Window, WindowParameters, apply_window, parse_window
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.pipeline.parameters import RunParameters

__all__ = [
    "ExplainableModel",
    "check_volume_for",
    "explain_planes",
    "explain_volume",
    "planes_with_heatmaps",
    "takes_image",
    "window_plane",
    "with_model_window",
]

ExplainableModel = Classifier | SegmentationNetwork
ReadRegion = Callable[[int, int], NDArray[np.bool_]]


def planes_with_heatmaps(
    image: Image,
    classifier: ExplainableModel | None,
    parameters: RunParameters,
    indices: range,
    window: Window,
    truth: Image | None = None,
    region: Image | None = None,
) -> Iterator[tuple[int, NDArray[np.uint8], Heatmap | None]]:
    """Compute the heatmaps of planes, in batches.

    Parameters
    ----------
    image : Image
    classifier : Classifier, SegmentationNetwork or None
        Without one there are no heatmaps.
    parameters : RunParameters
    indices : range
        Of the planes.
    window : Window
    truth, region : Image, optional
        For pixel sets of segmentation networks.

    Yields
    ------
    index : int
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Windowed.
    heatmap : Heatmap or None
    """
    axis, cam = parameters.axis, parameters.cam
    planes: Iterator[NDArray[np.uint8]]
    planes = (window_plane(image, axis, index, window) for index in indices)
    heatmaps: Iterator[Heatmap | None] = repeat(None)
    given = _given_pixels(parameters, truth, region)
    if takes_image(classifier):
        heatmaps = explain_planes(image, classifier, cam, window, axis, indices, given)
    elif classifier is not None:
        regions = None if given is None else (given(axis, index) for index in indices)
        planes, batches = tee(planes)  # the classifier is a batch ahead
        heatmaps = compute_heatmaps(classifier, batches, cam, regions=regions)
    yield from zip(indices, planes, heatmaps, strict=False)


def _given_pixels(
    parameters: RunParameters, truth: Image | None, region: Image | None
) -> ReadRegion | None:
    """Return what reads M of a plane by axis and index, where the pixel set is given."""
    kind = None if parameters.cam.pixel_set is None else parameters.cam.pixel_set.kind
    source = {"truth": truth, "region": region}.get(kind or "")
    if source is None:
        return None
    label = parameters.truth_label if kind == "truth" else None

    def read(axis: int, index: int) -> NDArray[np.bool_]:
        plane = np.asarray(source.plane(axis, index))
        return np.asarray(plane != 0 if label is None else plane == label)

    return read


def takes_image(model: ExplainableModel | None) -> TypeGuard[SegmentationNetwork]:
    """Return whether a model needs the image itself, and not windowed planes one by one.

    Parameters
    ----------
    model : Classifier, SegmentationNetwork or None

    Returns
    -------
    bool
        True for 3D networks, and for bundles with transforms of their own.
    """
    return isinstance(model, SegmentationNetwork) and (
        model.card.sees_volumes or model.card.preparation is not None
    )


def explain_planes(
    image: Image,
    network: SegmentationNetwork,
    cam: CamParameters,
    window: Window,
    axis: int,
    indices: Iterable[int],
    read_region: ReadRegion | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Heatmap]:
    """Explain planes by a network that needs the image itself, see :func:`takes_image`.

    A 3D network, and a bundle that prepares volumes and sees their slices, explain the whole
    volume once, and these are its planes. A bundle of single pictures is run on each plane.

    Parameters
    ----------
    image, network, cam, window
        As of :func:`explain_volume`.
    axis : int
        That the planes cut.
    indices : iterable of int
        Of the planes; one after the other.
    read_region, progress
        As of :func:`explain_volume`.

    Yields
    ------
    Heatmap
    """
    if network.card.sees_volumes or image.spatial_ndim == 2:
        whole = explain_volume(image, network, cam, window, read_region, progress)
        chosen = list(indices)
        yield from islice(planes_of(whole, axis), chosen[0], chosen[-1] + 1)
        return
    geometry = replace(image.geometry, spacing=image.geometry.plane_spacing(axis), affine=None)
    for index in indices:
        region = None if read_region is None else read_region(axis, index)
        plane = image.plane(axis, index)
        yield compute_volume_heatmap(network, plane, cam, region=region, geometry=geometry)


def explain_volume(
    image: Image,
    network: SegmentationNetwork,
    cam: CamParameters,
    window: Window,
    read_region: ReadRegion | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Heatmap:
    """Explain a volume by a 3D network or a bundle, whichever axis its planes are cut along.

    A bundle gets the image's own values, which its transforms prepare, and no window.

    Parameters
    ----------
    image : Image
    network : SegmentationNetwork
    cam : CamParameters
    window : Window
    read_region : callable, optional
        Gives M of a plane by axis and index, for pixel sets that are given.
    progress : callable, optional
        As of :func:`~napari_cam_sam.cam.volume_heatmaps.compute_volume_heatmap`.

    Returns
    -------
    Heatmap
        On the image's grid; :func:`~napari_cam_sam.cam.volume_heatmaps.planes_of` cuts it.

    Raises
    ------
    CamSamError
        If the image is no gray volume, or as `compute_volume_heatmap`.
    """
    check_volume_for(network, image)
    planes = range(image.n_planes(0))
    if network.card.preparation is not None:
        volume = np.stack([image.plane(0, index) for index in planes])
    else:
        volume = np.stack([window_plane(image, 0, index, window) for index in planes])
    region = None
    if read_region is not None:
        region = np.stack([read_region(0, index) for index in planes])
    if image.spatial_ndim == 2:
        volume, region = volume[0], None if region is None else region[0]
    return compute_volume_heatmap(
        network, volume, cam, region=region, geometry=image.geometry, progress=progress
    )


def with_model_window(parameters: RunParameters, model: ExplainableModel | None) -> RunParameters:
    """Take the window that a segmentation network was trained with, where none is named.

    Parameters
    ----------
    parameters : RunParameters
    model : Classifier, SegmentationNetwork or None

    Returns
    -------
    RunParameters
    """
    named = parameters.window != WindowParameters()
    if named or not isinstance(model, SegmentationNetwork) or model.card.window is None:
        return parameters
    return replace(parameters, window=parse_window(model.card.window))


def window_plane(image: Image, axis: int, index: int, window: Window) -> NDArray[np.uint8]:
    """Read a plane through a window.

    Parameters
    ----------
    image : Image
    axis, index : int
    window : Window

    Returns
    -------
    ndarray of uint8, shape (rows, columns) or (rows, columns, 3)

    Raises
    ------
    CamSamError
        Names the plane, where it cannot be read or windowed.
    """
    try:
        return apply_window(image.plane(axis, index), window)
    except CamSamError as error:
        raise CamSamError(f"Slice {index} along axis {axis} of {image.name}: {error}") from error


def check_volume_for(network: SegmentationNetwork, image: Image) -> None:
    """Refuse an image that a 3D network cannot take.

    Parameters
    ----------
    network : SegmentationNetwork
    image : Image

    Raises
    ------
    CamSamError
        If the image is a single slice, or in colour.
    """
    if network.card.spatial_dims == 2:
        return
    if image.spatial_ndim != 3 or image.rgb:
        raise CamSamError(
            f"{network.name} is a 3D network and takes gray volumes: {image.name} is "
            f"{'a single slice' if image.spatial_ndim != 3 else 'in colour'}; choose a 2D network."
        )
