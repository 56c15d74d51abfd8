"""What of a truth is meant: an axis, planes, and a label."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image

__all__ = [
    "check_count",
    "check_truth_label",
    "keep_label",
    "planes_slice",
    "truth_labels",
    "truth_plane",
    "truth_volume",
]

# The finest atlases of organs have some 200.
_MOST_LABELS = 500


def keep_label(labels: NDArray[Any], label: int | None) -> NDArray[Any]:
    """Return labels with 0 in the place of all others but one.

    Parameters
    ----------
    labels : ndarray of bool or int
    label : int or None
        None for all.

    Returns
    -------
    ndarray
        Of the same type; for None the array that is given.
    """
    if label is None:
        return labels
    return np.where(labels == label, labels, np.zeros((), labels.dtype))


def truth_plane(truth: Image, axis: int, index: int, label: int | None) -> NDArray[Any]:
    """Load a plane of the truth, with the label that is meant alone.

    Parameters
    ----------
    truth : Image
    axis, index : int
    label : int or None
        None for all.

    Returns
    -------
    ndarray of bool or int, shape (rows, columns)
    """
    return keep_label(np.asarray(truth.plane(axis, index)), label)


def truth_volume(truth: Image, axis: int, indices: range, label: int | None) -> NDArray[Any]:
    """Load planes of the truth as one volume, with the label that is meant alone.

    Parameters
    ----------
    truth : Image
    axis : int
    indices : range
        Of the planes along it.
    label : int or None
        None for all.

    Returns
    -------
    ndarray of bool or int
        Of three axes, which are those of the truth.
    """
    return np.stack([truth_plane(truth, axis, index, label) for index in indices], axis=axis)


def planes_slice(axis: int, indices: range) -> tuple[slice, ...]:
    """Return what cuts planes that follow each other out of a volume.

    Parameters
    ----------
    axis : int
    indices : range
        With a step of 1.

    Returns
    -------
    tuple of three slices
    """
    return tuple(slice(indices.start, indices.stop) if a == axis else slice(None) for a in range(3))


def truth_labels(truth: Image, axis: int, indices: range, label: int | None) -> set[int]:
    """Return the labels of the truth on some planes.

    Parameters
    ----------
    truth : Image
    axis : int
    indices : range
    label : int or None
        The only one that is meant; None for all.

    Returns
    -------
    set of int
        Above 0.
    """
    known: set[int] = set()
    for index in indices:
        known.update(int(v) for v in np.unique(truth_plane(truth, axis, index, label)))
    return {value for value in known if value > 0}


def check_count(truth: Image, labels: Collection[int]) -> None:
    """Refuse more labels than a truth has whose labels are scored one by one.

    Parameters
    ----------
    truth : Image
    labels : collection of int

    Raises
    ------
    CamSamError
        If there are more than 500.
    """
    if len(labels) > _MOST_LABELS:
        raise CamSamError(
            f"The truth {truth.name} has {len(labels)} different labels: is it an image? "
            "Else name the label that is meant."
        )


def check_truth_label(truth: Image, label: int | None) -> None:
    """Refuse a label that the truth does not have.

    Parameters
    ----------
    truth : Image
    label : int or None

    Raises
    ------
    CamSamError
        Names the labels that it has.
    """
    if label is None:
        return
    known: set[int] = set()
    for plane in truth.planes(0):
        known.update(int(v) for v in np.unique(plane))
    if label not in known or label == 0:
        there = ", ".join(str(v) for v in sorted(known - {0})) or "none"
        raise CamSamError(f"The truth {truth.name} has no label {label}; it has: {there}.")
