"""The simulated annotator: a first point, then one where the prediction is most wrong.

The rule is algorithm 1 of Mazurowski et al., "Segment Anything Model for medical image analysis".
What a segmenter answers to the points is up to the caller; see `pipeline.annotation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Point
from napari_cam_sam.schemas import check_fields

__all__ = ["AnnotatorParameters", "class_masks", "first_point", "next_point"]

_MOST_CLASSES = 500


@dataclass(frozen=True)
class AnnotatorParameters:
    """How the simulated annotator goes on.

    Attributes
    ----------
    points : int
        How many points each object gets, one after the other; 1 or more.
    previous_logits : bool
        Whether the segmenter also sees the logits of its mask of the step before. Mazurowski et
        al. do not.
    seed : int
        Of the choice among pixels that are equally far from the border; 0 or more.

    Raises
    ------
    CamSamError
        For a value out of its range.
    """

    points: int = 9
    previous_logits: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        for name, least in (("points", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise CamSamError(
                    f"The annotator's {name} must be a whole number of {least} or more, "
                    f"not {value!r}."
                )


def class_masks(truth: NDArray[Any]) -> dict[int, NDArray[np.bool_]]:
    """Split labels into one binary problem a class.

    Parameters
    ----------
    truth : ndarray of bool or int, shape (rows, columns)

    Returns
    -------
    dict of int to ndarray of bool
        By label, each positive one that occurs; nothing for a truth without an object.

    Raises
    ------
    CamSamError
        If there are so many values that the truth must be an image.
    """
    labels = [int(value) for value in np.unique(truth) if value > 0]
    if len(labels) > _MOST_CLASSES:
        raise CamSamError(f"The truth has {len(labels)} different labels: is it an image?")
    return {label: truth == label for label in labels}


def first_point(truth: NDArray[np.bool_], rng: np.random.Generator) -> Point:
    """Click on the pixel of an object that is farthest from the background.

    Parameters
    ----------
    truth : ndarray of bool, shape (rows, columns)
        What lies outside of the plane is background.
    rng : numpy.random.Generator
        Chooses among pixels that are equally far.

    Returns
    -------
    Point
        Positive.

    Raises
    ------
    CamSamError
        If the truth is empty.
    """
    where = _deepest(truth, rng)
    if where is None:
        raise CamSamError("The truth is empty: there is nothing to click on.")
    return Point(*where, positive=True, source="truth")


def next_point(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], rng: np.random.Generator
) -> Point | None:
    """Click on the pixel that is deepest in the region where prediction and truth differ.

    Parameters
    ----------
    prediction, truth : ndarray of bool, shape (rows, columns)
        Of one class.
    rng : numpy.random.Generator
        Chooses among pixels that are equally deep.

    Returns
    -------
    Point or None
        Positive where the truth has been missed, negative where there is too much; None where
        there is no error.

    Raises
    ------
    CamSamError
        If the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise CamSamError(
            f"The prediction has shape {prediction.shape} but the truth {truth.shape}; "
            "they must be of one shape."
        )
    where = _deepest(prediction ^ truth, rng)
    if where is None:
        return None
    return Point(*where, positive=bool(truth[where]), source="truth")


def _deepest(region: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int] | None:
    """Draw one of the pixels that are farthest from what does not belong to a region."""
    windows = ndimage.find_objects(region.astype(np.uint8))
    if not windows:
        return None
    rows, columns = windows[0]
    # Nothing outside of the window belongs to the region, as the border of one pixel says.
    padded = np.pad(region[rows, columns], 1)
    # Squared distances are whole numbers, in which equally deep pixels are equal.
    squared = np.rint(ndimage.distance_transform_edt(padded)[1:-1, 1:-1] ** 2)
    best = np.argwhere(squared == squared.max())
    row, column = best[rng.integers(len(best))]
    return int(row) + rows.start, int(column) + columns.start
