"""Labels from DICOM, be they a segmentation or contours, and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, reads, refusal
from napari_cam_sam.images.dicom.contour_writing import write_contours
from napari_cam_sam.images.dicom.contours import contour_series, read_contours, regions_of
from napari_cam_sam.images.dicom.datasets import damaged, object_kind, opened
from napari_cam_sam.images.dicom.segment_headers import series_of
from napari_cam_sam.images.dicom.segmentation_writing import write_segmentation
from napari_cam_sam.images.dicom.segments import read_segmentation, segments_of
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.segments import Segment, segments_in_words

__all__ = [
    "drawn_segments",
    "is_drawn",
    "read_drawn",
    "read_label_sets",
    "series_drawn_on",
    "write_drawn",
]


def is_drawn(path: Path) -> bool:
    """Return whether a file is a DICOM segmentation or an RT structure set.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool
        False where it cannot be read.
    """
    try:
        return object_kind(path) in ("segmentation", "contours")
    except CamSamError:
        return False


def drawn_segments(path: Path) -> tuple[Segment, ...]:
    """List the segments of a DICOM segmentation, or the regions of an RT structure set.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of Segment

    Raises
    ------
    CamSamError
        If it is damaged, or neither.
    """
    return regions_of(path) if object_kind(path) == "contours" else segments_of(path)


def series_drawn_on(path: Path) -> tuple[str, ...]:
    """Return the UIDs of the series that a segmentation or a structure set says it was drawn on.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of str
        None of a file that names but single images, or a place.

    Raises
    ------
    CamSamError
        If it is damaged, or neither.
    """
    what = "structure set" if object_kind(path) == "contours" else "segmentation"
    with damaged(path, what):
        data = opened(path, pixels=False)
        uids = contour_series(data) if what == "structure set" else series_of(data)
    return tuple(uids)


@reads("labels")
def read_label_sets(
    path: str | os.PathLike[str],
    like: Image | None = None,
    segments: Sequence[str | int] | None = None,
) -> tuple[Image, ...]:
    """Read a DICOM segmentation or an RT structure set, what overlaps apart.

    Parameters
    ----------
    path : path-like
    like : Image or None
        The image that it was drawn on; contours need it.
    segments : sequence of str or int, or None
        Names or numbers of those to read; None for all.

    Returns
    -------
    tuple of Image
        Labels; one where nothing overlaps. See `read_segmentation` and `read_contours`.

    Raises
    ------
    CamSamError
        As these do.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> image = ncs.read_image(get_testdata_file("CT_small.dcm"))
    >>> labels = np.zeros(image.spatial_shape, np.uint8)
    >>> labels[..., 40:60, 40:60] = 1
    >>> ncs.write_labels("rtstruct.dcm", labels, image, segments=[ncs.Segment(1, "Liver")])
    >>> [labels.name for labels in ncs.read_label_sets("rtstruct.dcm", image)]
    ['Liver']
    """
    return _sets(Path(path), like, segments, None)


def _sets(
    path: Path, like: Image | None, segments: Sequence[str | int] | None, most: int | None
) -> tuple[Image, ...]:
    if object_kind(path) != "contours":
        return read_segmentation(path, like, segments, most=most)
    if like is None:
        raise refusal("Contours lie on the slices of an image: name it as well", path)
    return read_contours(path, like, segments, most=most)


def read_drawn(
    path: Path, like: Image | None = None, segments: Sequence[str | int] | None = None
) -> Image:
    """Read a DICOM segmentation or an RT structure set as one image of labels.

    Parameters
    ----------
    path : Path
    like, segments
        As for `read_label_sets`.

    Returns
    -------
    Image
        Its notes say what its labels are.

    Raises
    ------
    CamSamError
        As `read_label_sets`, or if segments overlap.
    """
    found = _sets(path, like, segments, 2)
    if len(found) > 1:
        first, other = found[:2]
        above = other.segments[0]
        shared = np.unique(np.asarray(first.data)[np.asarray(other.data) == above.number])
        below = next(one for one in first.segments if one.number in shared)
        raise refusal(
            f"Segments {segments_in_words([below, above])} overlap, and one image of labels has "
            "one label a voxel: choose some by name or number (--truth-segment or --segment; "
            "segments= in Python)",
            path,
        )
    return found[0]


def write_drawn(
    path: Path,
    labels: NDArray[Any],
    like: Image,
    segments: Sequence[Segment] = (),
    *,
    warn: bool = True,
) -> None:
    """Write labels as what the name of a file says.

    Parameters
    ----------
    path : Path
        ``…rtstruct.dcm`` for contours, ``…labelmap.dcm`` for a label map, any other ``.dcm`` for
        a segmentation that every reader knows.
    labels, like, segments, warn
        As for `write_segmentation`.

    Raises
    ------
    CamSamError
        As `write_segmentation` and `write_contours` do.
    """
    name = path.name.lower()
    if name.endswith("rtstruct.dcm"):
        write_contours(path, labels, like, segments)
        return
    write_segmentation(
        path, labels, like, segments,
        kind="labelmap" if name.endswith("labelmap.dcm") else "binary", warn=warn,
    )  # fmt: skip
