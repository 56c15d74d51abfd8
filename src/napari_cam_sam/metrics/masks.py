"""Checks and crops that the scores of masks share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cam_sam.errors import CamSamError

__all__ = [
    "BOTH_EMPTY",
    "PREDICTION_EMPTY",
    "TRUTH_EMPTY",
    "as_bool",
    "bounding_box",
    "check_labels",
    "check_spacing",
    "labels_pair",
    "mask_pair",
]

BOTH_EMPTY = "both-empty"
PREDICTION_EMPTY = "prediction-empty"
TRUTH_EMPTY = "truth-empty"


def check_labels(labels: ArrayLike, name: str) -> NDArray[Any]:
    """Return an array of bool or integers as it is, and refuse anything else.

    Parameters
    ----------
    labels : array
    name : str
        What it is, for errors, e.g. ``"truth"``.

    Returns
    -------
    ndarray of bool or int

    Raises
    ------
    CamSamError
        For another type, or an array without pixels.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "bui":
        raise CamSamError(
            f"The {name} must be a mask of a boolean or integer type, not {array.dtype}; "
            "threshold or round it first."
        )
    if array.size == 0 or array.ndim == 0:
        raise CamSamError(f"The {name} has no pixels (shape {array.shape}).")
    return array


def as_bool(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a boolean array as it is, and what is not 0 of any other.

    Parameters
    ----------
    array : ndarray of bool or int

    Returns
    -------
    ndarray of bool
    """
    return array if array.dtype == np.bool_ else np.not_equal(array, 0)


def labels_pair(prediction: ArrayLike, truth: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return prediction and truth as they are, and refuse a pair that does not fit together.

    Parameters
    ----------
    prediction, truth : array of bool or int

    Returns
    -------
    prediction, truth : ndarray of bool or int, of one shape

    Raises
    ------
    CamSamError
        For arrays of different shapes, without pixels, or of another type.
    """
    predicted, true = check_labels(prediction, "prediction"), check_labels(truth, "truth")
    if predicted.shape != true.shape:
        raise CamSamError(
            f"The prediction has shape {predicted.shape} but the truth {true.shape}; "
            "they must be of one shape."
        )
    return predicted, true


def mask_pair(
    prediction: ArrayLike, truth: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return prediction and truth as boolean arrays of one shape.

    Parameters
    ----------
    prediction, truth : array of bool or int
        What is not 0 is object.

    Returns
    -------
    prediction, truth : ndarray of bool

    Raises
    ------
    CamSamError
        As `labels_pair`.
    """
    predicted, true = labels_pair(prediction, truth)
    return as_bool(predicted), as_bool(true)


def check_spacing(spacing: Sequence[float], ndim: int) -> tuple[float, ...]:
    """Return the spacing as floats.

    Parameters
    ----------
    spacing : sequence of float
    ndim : int
        Axes of the array.

    Returns
    -------
    tuple of float

    Raises
    ------
    CamSamError
        Where it is not one positive number for each axis.
    """
    values = tuple(float(value) for value in spacing)
    if len(values) != ndim or not all(math.isfinite(v) and v > 0 for v in values):
        raise CamSamError(
            f"The spacing must be {ndim} positive numbers, one for each axis, not {values}."
        )
    return values


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Find the smallest window that holds all of a mask.

    The axis that is slowest in memory is cut first, so that a small object in a large volume
    costs one pass over it, in C and in Fortran order alike.

    Parameters
    ----------
    mask : ndarray of bool

    Returns
    -------
    tuple of slice or None
        One an axis; None for an empty mask.
    """
    window = [slice(None)] * mask.ndim
    for axis in sorted(range(mask.ndim), key=lambda a: -abs(mask.strides[a])):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        used = np.flatnonzero(mask[tuple(window)].any(axis=others))
        if used.size == 0:
            return None
        window[axis] = slice(int(used[0]), int(used[-1]) + 1)
    return tuple(window)
