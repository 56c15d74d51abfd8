"""An image of two or three dimensions with its geometry, read one plane at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry, default_geometry
from napari_cam_sam.images.segments import Segment
from napari_cam_sam.text import shown

__all__ = ["Image", "choose_frame", "image_from_array", "more_images_note"]


@dataclass(frozen=True, eq=False)
class Image:
    """A gray or colour image: an array, perhaps on disk, and where it lies.

    Attributes
    ----------
    data : array-like
        Shape (row, column), (plane, row, column), or either with a last axis of 3 or 4 colour
        channels; boolean, integer or floating. Anything with ``shape``, ``dtype`` and basic
        indexing: numpy, dask, or a volume on disk. It is indexed plane by plane only.
    rgb : bool
        True where the last axis is colour: RGB, or RGB and alpha.
    geometry : Geometry
        One spacing for each spatial axis.
    name : str
        For tables, titles and file names; what cannot be shown of it is escaped, see
        `napari_cam_sam.text`.
    path : Path or None
        File that it came from.
    source : object or None
        What writing in the same format needs, e.g. the NIfTI header; private to this room.
    notes : tuple of str
        Sentences on what reading decided, e.g. which unit was taken: for `run` and the docks to
        show, and for records.
    windows : tuple of (str, float, float)
        Presets of the file: a name, perhaps empty, and the values that become black and white.
    segments : tuple of Segment
        What the labels of its file are called, where it says so.

    Raises
    ------
    CamSamError
        If the array has another number of dimensions, no elements, or is not numeric.

    Examples
    --------
    >>> image = ncs.image_from_array(np.zeros((24, 64, 48), np.int16))
    >>> image.spatial_shape, image.n_planes(axis=2), image.plane(2, 0).shape
    ((24, 64, 48), 48, (24, 64))
    """

    data: Any
    rgb: bool
    geometry: Geometry
    name: str
    path: Path | None = None
    source: object | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    windows: tuple[tuple[str, float, float], ...] = ()
    segments: tuple[Segment, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", shown(self.name))
        shape = tuple(self.data.shape)
        kind = np.dtype(self.data.dtype).kind
        if kind not in "biuf":
            raise CamSamError(
                f"{self.name} holds values of type {self.data.dtype}; "
                "an image holds integers or real numbers."
            )
        if self.rgb and (len(shape) not in (3, 4) or shape[-1] not in (3, 4)):
            raise CamSamError(
                f"{self.name} has shape {shape}; a colour image has 3 or 4 channels last, "
                "after (row, column) or (slice, row, column)."
            )
        if not self.rgb and len(shape) not in (2, 3):
            raise CamSamError(
                f"{self.name} has {len(shape)} dimensions; an image has (row, column) or "
                "(slice, row, column), and one frame of a series is chosen by its index."
            )
        if 0 in shape:
            raise CamSamError(f"{self.name} is empty: its shape is {shape}.")
        if len(self.geometry.spacing) != self.spatial_ndim:
            raise CamSamError(
                f"{self.name} has {self.spatial_ndim} spatial axes, but "
                f"{len(self.geometry.spacing)} spacings."
            )

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape without the colour channels: (row, column) or (plane, row, column)."""
        shape = tuple(int(n) for n in self.data.shape)
        return shape[:-1] if self.rgb else shape

    @property
    def spatial_ndim(self) -> int:
        """2 for a single image, 3 for a volume or stack."""
        return len(self.spatial_shape)

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes along which planes can be cut: (0,) in 2D, (0, 1, 2) in 3D."""
        return (0,) if self.spatial_ndim == 2 else (0, 1, 2)

    def n_planes(self, axis: int = 0) -> int:
        """Count the planes along an axis; a 2D image has one, along axis 0.

        Raises
        ------
        CamSamError
            If the image has no such axis.
        """
        self._check_axis(axis)
        return 1 if self.spatial_ndim == 2 else self.spatial_shape[axis]

    def plane_shape(self, axis: int = 0) -> tuple[int, int]:
        """Return rows and columns of the planes along an axis.

        Raises
        ------
        CamSamError
            If the image has no such axis.
        """
        self._check_axis(axis)
        if self.spatial_ndim == 2:
            rows, columns = self.spatial_shape
        else:
            rows, columns = (n for i, n in enumerate(self.spatial_shape) if i != axis)
        return rows, columns

    def plane(self, axis: int = 0, index: int = 0) -> NDArray[Any]:
        """Read one plane, and nothing else, from where the data lie.

        Parameters
        ----------
        axis : int
            Array axis that the plane cuts. The two others, in their order, are its rows and
            columns.
        index : int
            Position along the axis, from 0.

        Returns
        -------
        ndarray, shape (row, column) or (row, column, channel)
            Raw values, neither windowed nor checked; to be treated as read-only.

        Raises
        ------
        CamSamError
            If the axis or the index does not exist.
        """
        count = self.n_planes(axis)
        if not 0 <= index < count:
            raise CamSamError(
                f"{self.name} has no slice {index} along axis {axis}: "
                f"its slices are 0 to {count - 1}."
            )
        return np.asarray(self.data[self.plane_index(axis, index)])

    def plane_index(self, axis: int, index: int) -> tuple[int | slice, ...]:
        """Return the index of a plane in an array on this image's grid."""
        if self.spatial_ndim == 2:
            return (slice(None), slice(None))
        return (slice(None),) * axis + (index,)

    def planes(self, axis: int = 0) -> Iterator[NDArray[Any]]:
        """Read the planes along an axis one after the other."""
        for index in range(self.n_planes(axis)):
            yield self.plane(axis, index)

    def _check_axis(self, axis: int) -> None:
        if axis not in self.axes:
            known = "only axis 0" if self.spatial_ndim == 2 else "axes 0, 1 and 2"
            raise CamSamError(f"{self.name} has {known}, not axis {axis}.")


def image_from_array(
    data: Any,
    *,
    rgb: bool = False,
    frame: int | None = None,
    geometry: Geometry | None = None,
    name: str = "array",
) -> Image:
    """Make an image of an array in memory, of a dask array, or of another lazy array.

    Parameters
    ----------
    data : array-like
        (row, column), (plane, row, column), or with ``frame`` one axis more in front; with
        ``rgb`` 3 or 4 channels last.
    rgb : bool
        Whether the last axis is colour.
    frame : int or None
        Index along the first axis of (frame, plane, row, column); needed where there is more
        than one frame.
    geometry : Geometry or None
        Default: one pixel a step.
    name : str

    Returns
    -------
    Image

    Raises
    ------
    CamSamError
        If the array is no image, or the frame is missing or out of range.

    Examples
    --------
    >>> geometry = ncs.Geometry(spacing=(5.0, 0.7, 0.7), unit="mm")
    >>> image = ncs.image_from_array(np.zeros((24, 64, 48)), geometry=geometry, name="scan")
    >>> image.name, image.spatial_ndim, image.geometry.unit
    ('scan', 3, 'mm')
    >>> ncs.image_from_array(np.zeros((64, 48, 3), np.uint8), rgb=True).spatial_ndim
    2
    """
    if not hasattr(data, "shape") or not hasattr(data, "dtype"):
        data = np.asarray(data)
    if len(data.shape) - rgb == 4:
        data = data[choose_frame(frame, int(data.shape[0]), name)]
    elif frame is not None:
        choose_frame(frame, 1, name)
    if geometry is None:
        geometry = default_geometry(3 if len(data.shape) - rgb == 3 else 2)
    return Image(data=data, rgb=rgb, geometry=geometry, name=name)


def more_images_note(count: int) -> tuple[str, ...]:
    """Return the note that a file holds more images than the one that is read.

    Parameters
    ----------
    count : int
        How many more.

    Returns
    -------
    tuple of str
        One or none.
    """
    if count < 1:
        return ()
    images = "image" if count == 1 else "images"
    return (f"Its file holds {count} more {images}: the first is read.",)


def choose_frame(frame: int | None, count: int, name: str) -> int:
    """Check a frame index.

    Parameters
    ----------
    frame : int or None
        None only where there is a single frame.
    count : int
        Frames that there are.
    name : str
        Of the image, for errors.

    Returns
    -------
    int
        The index, 0 for None.

    Raises
    ------
    CamSamError
        If a choice is needed and missing, or is out of range.
    """
    if frame is None:
        if count > 1:
            raise CamSamError(
                f"{name} is a series of {count} frames: choose one, from 0 to {count - 1}."
            )
        return 0
    if not 0 <= frame < count:
        raise CamSamError(f"{name} has no frame {frame}: its frames are 0 to {count - 1}.")
    return frame
