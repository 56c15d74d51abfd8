"""DICOM segmentations read as labels on the slices that they were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.dicom.datasets import damaged, opened
from napari_cam_sam.images.dicom.placing import check_belongs, first_fit, on_image, slice_numbers
from napari_cam_sam.images.dicom.segment_headers import (
    described,
    instances_of,
    series_of,
    sources_of_frame,
)
from napari_cam_sam.images.dicom.slices import NEAR, Slices, slices_of
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.geometry import LPS, Geometry, spacing_from_affine
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.segments import Segment, choose_segments
from napari_cam_sam.limits import check_array

__all__ = ["read_segmentation", "segments_of"]


def segments_of(path: Path) -> tuple[Segment, ...]:
    """List the segments of a DICOM segmentation.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of Segment

    Raises
    ------
    CamSamError
        If it is damaged, or none.
    """
    with damaged(path, "segmentation"):
        return described(opened(path, pixels=False), path)


def read_segmentation(
    path: Path,
    like: Image | None = None,
    segments: Sequence[str | int] | None = None,
    *,
    threshold: float = 0.5,
    most: int | None = None,
) -> tuple[Image, ...]:
    """Read a DICOM segmentation as labels, overlapping segments apart.

    Every frame is placed by its own position, so that a file with fewer slices than the series,
    in another order or turned in steps of 90° lies right. Voxels without a frame are background.

    Parameters
    ----------
    path : Path
    like : Image or None
        The image that it belongs to, whose grid the labels get. None for the grid of the
        segmentation itself, from its first slice to its last.
    segments : sequence of str or int, or None
        Names or numbers of those to read; None for all.
    threshold : float
        From which part of a voxel, or probability, on a fractional segment holds it.
    most : int or None
        How many images to make: reading ends once there are so many. None for all.

    Returns
    -------
    tuple of Image
        One where no segments overlap; else as few as a first fit finds, in the order of the
        segments. Labels are the numbers of the segments, which the image names.

    Raises
    ------
    CamSamError
        If it is damaged or none, belongs to another series, does not lie on the slices, or has
        no such segment.
    """
    data = opened(path)
    with damaged(path, "segmentation"):
        known = described(data, path)
        wanted = choose_segments(known, segments)
        _check_pixels(data, path)
        place = str(data.get("FrameOfReferenceUID", "") or "")
        check_belongs(series_of(data), instances_of(data), place, like, path, "segmentation")
        seg = _parsed(data, like)
        grid, target = _grid(seg, like, path)
        dtype = np.uint8 if max(one.number for one in known) < 256 else np.uint16
        shape = (len(grid.positions), *grid.shape) if grid else _flat_shape(like, path)
        check_array(shape, dtype, None, path)
        reader = _Reader(seg, grid, shape, path, threshold, slice_numbers(like))
        if str(data.get("SegmentationType", "")) == "LABELMAP":
            labels = reader.label_map({one.number for one in wanted}, dtype)
            found = [(labels, wanted)]
        else:
            found = reader.binary(wanted, dtype, most)
        notes = _notes(seg, threshold)
    return tuple(on_image(labels, held, target, grid, path, notes) for labels, held in found)


def _check_pixels(data: Any, path: Path) -> None:
    """Refuse what its header declares and its pixels cannot hold."""
    if "PixelData" not in data:
        raise refusal("This segmentation holds no pixels", path)
    frames, rows, columns = (
        int(data.get(key, 1) or 0) for key in ("NumberOfFrames", "Rows", "Columns")
    )
    stored, bits = len(data.PixelData), int(data.BitsAllocated)
    packed = data.file_meta.TransferSyntaxUID.is_encapsulated
    check_array((rows, columns), np.uint8, None, path)
    check_array(
        (frames, rows, columns), np.uint8, stored * (8 if bits == 1 else 1), path,
        in_memory=False, expansion=2000 if packed else 1,
    )  # fmt: skip


def _parsed(data: Any, like: Image | None) -> Any:
    """Return what decodes and places frames; its class for any image asks less than for this."""
    from highdicom import Image as Frames

    source = like.source if like is not None else None
    if not data.get("FrameOfReferenceUID") and isinstance(source, DicomSource):
        data.FrameOfReferenceUID = source.frame_of_reference_uid or "2.25.1"
    # Frames are placed by what each says itself: an index that is wrong does no harm.
    data.pop("DimensionIndexSequence", None)
    return Frames.from_dataset(data, copy=False)


def _grid(seg: Any, like: Image | None, path: Path) -> tuple[Slices | None, Image]:
    """Return the slices to place frames on, and the image whose grid the labels get."""
    if like is not None:
        return slices_of(like), like
    geometry = seg.get_volume_geometry(allow_missing_positions=True)
    if geometry is None:
        raise refusal(
            "The slices of this segmentation are not evenly spaced: name the series that it was "
            "drawn on",
            path,
        )
    affine = LPS @ np.asarray(geometry.affine)
    shape = tuple(int(n) for n in geometry.spatial_shape)
    check_array(shape, np.uint8, None, path)
    spacing = spacing_from_affine(affine)
    own = Image(
        np.broadcast_to(np.uint8(0), shape),
        rgb=False,
        geometry=Geometry(tuple(float(s) for s in spacing), affine, "mm"),
        name=path.name,
    )
    return slices_of(own), own


def _flat_shape(like: Image | None, path: Path) -> tuple[int, ...]:
    if like is None:
        raise refusal("This segmentation has no place: name the image that it was drawn on", path)
    shape = like.spatial_shape
    return shape if len(shape) == 3 else (1, *shape)


@dataclass(frozen=True, eq=False)
class _Reader:
    """What the frames of a segmentation need to get their places."""

    seg: Any
    grid: Slices | None
    shape: tuple[int, ...]
    path: Path
    threshold: float
    numbers: dict[tuple[str, int], int]

    def label_map(self, wanted: set[int], dtype: Any) -> NDArray[Any]:
        labels = np.zeros(self.shape, dtype)
        keep = np.zeros(np.iinfo(np.uint16).max + 1, dtype)
        keep[list(wanted)] = list(wanted)
        for frame in range(int(self.seg.NumberOfFrames)):
            view, pixels = self._place(labels, frame, keep[self.seg.get_stored_frame(frame + 1)])
            if ((view != 0) & (pixels != 0) & (view != pixels)).any():
                raise refusal(
                    "This label map is damaged: two of its frames have one place", self.path
                )
            np.copyto(view, pixels, where=pixels != 0)
        return labels

    def binary(
        self, wanted: Sequence[Segment], dtype: Any, most: int | None
    ) -> list[tuple[NDArray[Any], tuple[Segment, ...]]]:
        frames: dict[int, list[int]] = {}
        for frame in range(int(self.seg.NumberOfFrames)):
            frames.setdefault(self._segment_of(frame), []).append(frame)
        sets: list[tuple[NDArray[Any], list[Segment]]] = []
        for segment in wanted:
            masks = [self._mask(frame) for frame in frames.get(segment.number, ())]
            labels, held = first_fit(sets, partial(self._fits, masks), self.shape, dtype, self.path)
            for frame, pixels in masks:
                view, pixels = self._place(labels, frame, pixels)
                view[pixels] = segment.number
            held.append(segment)
            if len(sets) == most:
                break
        return [(labels, tuple(held)) for labels, held in sets]

    def _fits(self, masks: list[tuple[int, NDArray[Any]]], labels: NDArray[Any]) -> bool:
        for frame, pixels in masks:
            view, pixels = self._place(labels, frame, pixels)
            if view[pixels].any():
                return False
        return True

    def _mask(self, frame: int) -> tuple[int, NDArray[Any]]:
        pixels = self.seg.get_stored_frame(frame + 1)
        if str(self.seg.SegmentationType) == "FRACTIONAL":
            return frame, pixels >= self.threshold * float(self.seg.MaximumFractionalValue)
        return frame, pixels != 0

    def _groups(self, frame: int) -> tuple[Any, Any]:
        own = self.seg.get("PerFrameFunctionalGroupsSequence")
        shared = self.seg.SharedFunctionalGroupsSequence[0]
        return (own[frame] if own else shared), shared

    def _segment_of(self, frame: int) -> int:
        for group in self._groups(frame):
            if "SegmentIdentificationSequence" in group:
                return int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        raise refusal(
            f"This segmentation is damaged: frame {frame + 1} is of no segment", self.path
        )

    def _place(
        self, labels: NDArray[Any], frame: int, pixels: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the part of the labels that a frame covers, and its pixels as they lie there."""
        placed = any("PlanePositionSequence" in group for group in self._groups(frame))
        if self.grid is None or not placed:
            return labels[self._slice_by_name(frame)], self._same_size(pixels, frame)
        begin, rows, columns = self._corners(frame, pixels.shape)
        return _covered(labels, begin, rows, columns, pixels, self._refuse(frame))

    def _refuse(self, frame: int) -> Any:
        def refuse(reason: str) -> Exception:
            return refusal(f"Frame {frame + 1} of this segmentation {reason}", self.path)

        return refuse

    def _slice_by_name(self, frame: int) -> int:
        for group in self._groups(frame):
            for name in sources_of_frame(group):
                if name in self.numbers:
                    return self.numbers[name]
        if len(self.numbers) <= 1 and self.shape[0] == 1:
            return 0
        raise self._refuse(frame)("does not say which slice it belongs to")

    def _same_size(self, pixels: NDArray[Any], frame: int) -> NDArray[Any]:
        if pixels.shape != tuple(self.shape[1:]):
            raise self._refuse(frame)(
                f"has {pixels.shape[0]} rows and {pixels.shape[1]} columns, the image "
                f"{self.shape[1]} and {self.shape[2]}"
            )
        return pixels

    def _corners(
        self, frame: int, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Return the index of a frame's first pixel, and its steps along rows and columns."""
        from highdicom.spatial import PixelToReferenceTransformer

        assert self.grid is not None
        affine = PixelToReferenceTransformer.for_image(self.seg, frame_number=frame + 1).affine
        reach = [max(1, n - 1) for n in shape]
        origin = affine[:3, 3]
        ends = np.stack(
            [origin, origin + reach[0] * affine[:3, 1], origin + reach[1] * affine[:3, 0]]
        )
        index = self.grid.index_of(ends)
        whole = np.round(index)
        begin = whole[0].astype(np.intp)
        steps = []
        for n, end in zip(reach, whole[1:], strict=True):
            step = (end - whole[0]) / n
            if sorted(np.abs(step)) != [0, 0, 1]:
                raise self._refuse(frame)(
                    "has pixels of another size or direction than the image: resample it first"
                )
            steps.append(step.astype(np.intp))
        off = np.abs(index - whole).max(axis=0)
        if off[0] > NEAR:
            below = int(np.floor(index[0, 0]))
            raise self._refuse(frame)(f"lies between the slices {below} and {below + 1}")
        if off.max() > NEAR:
            raise self._refuse(frame)("lies between the pixels of the image: resample it first")
        return begin, steps[0], steps[1]


def _covered(
    labels: NDArray[Any],
    begin: NDArray[np.intp],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    pixels: NDArray[Any],
    refuse: Any,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a view of what a frame covers, with its rows and columns, and the frame cut to it."""
    row_axis, column_axis = int(np.abs(rows).argmax()), int(np.abs(columns).argmax())
    across = 3 - row_axis - column_axis
    place = int(begin[across])
    if not 0 <= place < labels.shape[across]:
        if pixels.any():
            raise refuse("lies beyond the first or the last slice of the image")
        return labels[0, :0, :0], pixels[:0, :0]
    view = np.moveaxis(labels, (across, row_axis, column_axis), (0, 1, 2))[place]
    cuts: list[slice] = []
    for axis, step in enumerate((rows[row_axis], columns[column_axis])):
        size, first = view.shape[axis], int(begin[row_axis if axis == 0 else column_axis])
        if step < 0:
            view, first = np.flip(view, axis), size - 1 - first
        low, high = max(0, first), max(0, min(size, first + pixels.shape[axis]))
        view = view[(slice(None),) * axis + (slice(low, max(low, high)),)]
        cuts.append(slice(low - first, max(low, high) - first))
    cut = pixels[cuts[0], cuts[1]]
    if cut.size < pixels.size and np.count_nonzero(cut) < np.count_nonzero(pixels):
        raise refuse("lies partly outside of the image")
    return view, cut


def _notes(seg: Any, threshold: float) -> tuple[str, ...]:
    if str(seg.SegmentationType) != "FRACTIONAL":
        return ()
    what = str(seg.get("SegmentationFractionalType", "PROBABILITY"))
    least = f"{threshold * 100:g} %"
    if what == "OCCUPANCY":
        return (f"Its segments are fractional: a voxel of which {least} or more is filled counts.",)
    return (f"Its segments are fractional: a voxel with a probability of {least} or more counts.",)
