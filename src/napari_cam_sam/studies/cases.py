"""One image of a study with what is known about it, and reading both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import check_same_grid, read_image, read_labels
from napari_cam_sam.prompts.data import Box

__all__ = ["Case", "Dataset", "boxes_of_mask", "read_case", "read_prediction"]

_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Case:
    """One image of a study, by the files that belong to it.

    Attributes
    ----------
    image_id : str
        Unique in its data set; may hold ``/``.
    image : Path
    truths : tuple of Path
        Masks or labels; several are masks of one object each and are united.
    boxes : tuple of Box
        Boxes of the truth, in pixels of the image.
    label : str or None
        Class of the image.
    group : str or None
        What must not be torn apart: the patient, or copies of one image. None where it is only
        itself.
    split : str or None
        The part of the data set that it is in, e.g. ``"train"``.
    prediction : Path or None
        A mask that somebody else made, to be scored as it is.
    frame : int or None
        Which frame or channel of a file that holds several.
    segments : tuple of str
        Names or numbers of those that are the truth, where its file names segments; all if none.
    """

    image_id: str
    image: Path
    truths: tuple[Path, ...] = ()
    boxes: tuple[Box, ...] = ()
    label: str | None = None
    group: str | None = None
    split: str | None = None
    prediction: Path | None = None
    frame: int | None = None
    segments: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The image, its truths, and the prediction where there is one."""
        return (self.image, *self.truths, *filter(None, [self.prediction]))


@dataclass(frozen=True)
class Dataset:
    """The images of a study.

    Attributes
    ----------
    name : str
    cases : tuple of Case
        Ordered by their ids; one or more.
    problems : tuple of str
        A sentence for each thing that does not fit, e.g. a mask without an image.
    """

    name: str
    cases: tuple[Case, ...]
    problems: tuple[str, ...] = ()


def read_case(case: Case) -> tuple[Image, Image | None]:
    """Read a case's image and its truth.

    Parameters
    ----------
    case : Case

    Returns
    -------
    image : Image
    truth : Image or None
        Labels on the image's grid. Several files are united to 1; one file keeps its labels, but
        a mask of 0 and 255 alone reads as 0 and 1. Without a file, 1 inside the boxes. None
        where the case has neither.

    Raises
    ------
    CamSamError
        For a file that is missing or damaged, a truth on another grid, or a box outside of the
        image.
    """
    image = read_image(case.image, case.frame)
    if case.truths:
        read = [_read_mask(path, image, case.segments) for path in case.truths]
        if len(read) == 1:
            return image, read[0]
        notes = tuple(dict.fromkeys(note for one in read for note in one.notes))
        united = np.zeros(image.spatial_shape, np.uint8)
        for one in read:
            united |= np.asarray(one.data) != 0
        return image, replace(
            image, data=united, rgb=False, name=f"{image.name}, truth", notes=notes
        )
    if case.boxes:
        mask = _mask_of_boxes(case.boxes, image)
        return image, replace(image, data=mask, rgb=False, name=f"{image.name}, boxes", notes=())
    return image, None


def read_prediction(case: Case, image: Image) -> Image | None:
    """Read the mask that a case brings along.

    Parameters
    ----------
    case : Case
    image : Image
        The case's own.

    Returns
    -------
    Image or None
        As the truth of `read_case`.

    Raises
    ------
    CamSamError
        If the file is missing, damaged or on another grid.
    """
    return None if case.prediction is None else _read_mask(case.prediction, image)


def boxes_of_mask(mask: NDArray[Any]) -> tuple[Box, ...]:
    """Return the bounding boxes of the 8-connected components of a plane's mask, in reading order.

    Parameters
    ----------
    mask : ndarray of bool or int, shape (rows, columns)
        What is not 0 is object.

    Returns
    -------
    tuple of Box
    """
    parts, _ = ndimage.label(mask != 0, _EIGHT)
    return tuple(
        Box(rows.start, columns.start, rows.stop, columns.stop, source="truth")
        for rows, columns in ndimage.find_objects(parts)
    )


def _read_mask(path: Path, image: Image, segments: Sequence[str] = ()) -> Image:
    labels = read_labels(path, like=image, segments=segments or None)
    check_same_grid(image, labels)
    # 0 and 255 is how pictures of masks are saved; 255, in 16 bit 65535, is then no label.
    if isinstance(labels.data, np.ndarray):
        objects = [value for value in np.unique(labels.data).tolist() if value != 0]
        if objects in ([255], [65535]):
            return replace(labels, data=(labels.data != 0).astype(np.uint8))
    return labels


def _mask_of_boxes(boxes: tuple[Box, ...], image: Image) -> NDArray[np.uint8]:
    if image.spatial_ndim != 2:
        raise CamSamError(f"{image.name} is a volume: boxes are a truth for single images only.")
    mask = np.zeros(image.spatial_shape, np.uint8)
    for box in boxes:
        # A pixel belongs to the box that covers its centre.
        rows = slice(max(0, math.ceil(box.row_min)), max(0, math.ceil(box.row_max)))
        columns = slice(max(0, math.ceil(box.column_min)), max(0, math.ceil(box.column_max)))
        if mask[rows, columns].size == 0:
            raise CamSamError(
                f"The box from row {box.row_min:g}, column {box.column_min:g} to row "
                f"{box.row_max:g}, column {box.column_max:g} covers no pixel of {image.name}, "
                f"which has {mask.shape[0]} rows and {mask.shape[1]} columns."
            )
        mask[rows, columns] = 1
    return mask
