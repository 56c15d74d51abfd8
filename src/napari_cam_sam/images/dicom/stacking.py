"""Frames as a volume: in order along the normal, evenly spaced, or a sentence that says why not.

highdicom.spatial sorts frames, too, but says only whether they are a volume, and costs a second to
import. Here each thing that keeps them from being one has its own words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.frame_values import Vector, normal_of
from napari_cam_sam.images.dicom.heads import FrameHead
from napari_cam_sam.images.geometry import Geometry, default_geometry

__all__ = ["SPACINGS", "Spacing", "Stack", "check_orientation", "distances", "stack_frames"]

Spacing = Literal["refuse", "as-is", "even"]
SPACINGS = ("refuse", "as-is", "even")
"""What is done with slices that are not evenly spaced."""

_EVEN = 0.02
"""How far a slice may lie from its place on an even grid, as a fraction of the spacing."""
_ROUNDED = 0.006
"""The same in mm: half of the last digit where positions have two."""
_TILT = 0.002
"""How far slices may shift sideways for each mm from one to the next: a tenth of a degree."""
_SAME = 1e-3
_ORTHONORMAL = 5e-3
_EXACT = 1e-4


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames in the order of the image's first axis.

    Attributes
    ----------
    frames : tuple of FrameHead
        As they were measured.
    geometry : Geometry
        Of the image that is made of them.
    places : ndarray of float64 or None
        For each slice of the image where it lies among the frames, e.g. 2.5 between the third
        and the fourth; None where the slices are the frames.
    notes : tuple of str
    """

    frames: tuple[FrameHead, ...]
    geometry: Geometry
    places: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()


def stack_frames(frames: Sequence[FrameHead], spacing: Spacing = "refuse") -> Stack:
    """Sort frames by their position along the normal, and say where they lie.

    Parameters
    ----------
    frames : sequence of FrameHead
        Of one orientation and size.
    spacing : {"refuse", "as-is", "even"}
        What to do with slices that are not evenly spaced: refuse them, take them as if they
        were, or resample them.

    Returns
    -------
    Stack
        A single frame without a position is 2D.

    Raises
    ------
    CamSamError
        If they are no volume.
    """
    first = frames[0].values
    for frame in frames:
        _check_pixels(frame.values.spacing)
    if first.position is None or first.orientation is None:
        return _flat(frames)
    check_orientation(first.orientation)
    if len(frames) == 1:
        return _single(frames[0])
    along = distances(frames)
    order = np.argsort(along, kind="stable")
    frames, along = [frames[i] for i in order], along[order]
    steps = np.diff(along)
    if (steps < _SAME).any():
        raise CamSamError(_doubled(along))
    positions = np.array([frame.values.position for frame in frames])
    _check_sideways(positions, np.array(normal_of(first.orientation)), along)
    mean = (along[-1] - along[0]) / (len(frames) - 1)
    away = np.abs(along - (along[0] + mean * np.arange(len(frames)))).max()
    if away <= max(_EVEN * mean, min(_ROUNDED, mean / 4)):
        across = (positions[-1] - positions[0]) / (len(frames) - 1)
        return Stack(tuple(frames), _geometry(frames[0], across))
    if spacing == "refuse":
        raise CamSamError(_uneven(along))
    if spacing == "as-is":
        across = (positions[-1] - positions[0]) / (len(frames) - 1)
        note = (
            f"Its slices are not evenly spaced ({steps.min():.4g} to {steps.max():.4g} mm), and "
            f"are taken as if they were {mean:.4g} mm apart: sizes across slices are wrong."
        )
        return Stack(tuple(frames), _geometry(frames[0], across), None, (note,))
    return _resampled(frames, along, positions)


def check_orientation(orientation: Vector) -> None:
    """Refuse directions that are no unit vectors at a right angle.

    Parameters
    ----------
    orientation : tuple of float
        Of a row and of a column.
    """
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > _ORTHONORMAL or (
        abs(row @ column) > _ORTHONORMAL
    ):
        raise CamSamError(
            "The orientation is broken: the directions of its rows and columns are not of length 1 "
            "at a right angle"
        )


def distances(frames: Sequence[FrameHead]) -> NDArray[np.float64]:
    """Return how far along the normal of the first each frame lies, in mm.

    Parameters
    ----------
    frames : sequence of FrameHead
        With positions.

    Returns
    -------
    ndarray of float64
    """
    normal = np.array(normal_of(frames[0].values.orientation or (1, 0, 0, 0, 1, 0)))
    normal /= max(float(np.linalg.norm(normal)), 1e-12)
    found: NDArray[np.float64] = np.array([frame.values.position for frame in frames]) @ normal
    return found


def _check_pixels(spacing: Vector | None) -> None:
    if spacing is not None and min(spacing) <= 0:
        raise CamSamError(
            f"The spacing of its pixels is stated as {spacing[0]:g} × {spacing[1]:g} mm: each must "
            "be above zero"
        )


def _check_sideways(
    positions: NDArray[np.float64], normal: NDArray[np.float64], along: NDArray[np.float64]
) -> None:
    """Refuse slices that do not lie straight behind one another."""
    normal = normal / np.linalg.norm(normal)
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    extent = float(along[-1] - along[0])
    bound = max(_TILT * extent, 4 * _ROUNDED)
    if np.linalg.norm(sideways, axis=1).max() <= bound:
        return
    shear = sideways[-1] / extent
    bent = np.linalg.norm(sideways - np.outer(along - along[0], shear), axis=1).max()
    if bent <= bound:
        angle = np.degrees(np.arctan(np.linalg.norm(shear)))
        raise CamSamError(
            f"The gantry was tilted by {angle:.1f}°: each slice is shifted against the one before, "
            "so they are no volume with right angles. Resample the series first, e.g. with dcm2niix"
        )
    raise CamSamError(
        f"Its slices are shifted sideways against one another by up to "
        f"{np.linalg.norm(sideways, axis=1).max():.3g} mm, so they are no volume"
    )


def _doubled(along: NDArray[np.float64]) -> str:
    count = int((np.diff(along) < _SAME).sum())
    if count == len(along) - 1:
        return (
            f"All {len(along)} slices lie at the same position, so they are no volume, and nothing "
            "in their headers tells them apart"
        )
    places = "position is" if count == 1 else "positions are"
    return (
        f"Slices are doubled: {count} {places} taken by more than one slice, and nothing in their "
        "headers says which belongs to which volume"
    )


def _uneven(along: NDArray[np.float64]) -> str:
    steps = np.diff(along)
    choice = 'to open them all the same, choose the spacing "as-is", or "even" to resample them'
    usual = _usual(steps)
    wide = steps > 1.5 * usual
    times = steps / usual
    if wide.any() and (np.abs(times - np.round(times)) <= 0.1).all() and (~wide).any():
        missing = int(np.round(times[wide] - 1).sum())
        at = int(np.argmax(wide))
        slices = "1 slice is" if missing == 1 else f"{missing} slices are"
        return (
            f"{slices} missing: they lie {usual:.4g} mm apart, but {steps[at]:.4g} mm between the "
            f"slices {at} and {at + 1}; {choice}"
        )
    return (
        f"Its slices are not evenly spaced: they lie {steps.min():.4g} to {steps.max():.4g} mm "
        f"apart; {choice}"
    )


def _usual(steps: NDArray[np.float64]) -> float:
    """Return the median, of two the smaller."""
    return float(np.sort(steps)[(len(steps) - 1) // 2])


def _resampled(
    frames: list[FrameHead], along: NDArray[np.float64], positions: NDArray[np.float64]
) -> Stack:
    """Return a stack of evenly spaced slices, each between two frames or on one."""
    step = _usual(np.diff(along))
    extent = float(along[-1] - along[0])
    count = round(extent / step) + 1
    if count > 4 * len(frames) + 16:
        raise CamSamError(
            f"Its slices lie so far apart that {count} would have to be made of {len(frames)}"
        )
    even = along[0] + np.arange(count) * (extent / (count - 1))
    places = np.interp(even, along, np.arange(len(along), dtype=float))
    near = np.abs(places - np.round(places)) * step < _SAME
    places[near] = np.round(places[near])
    across = (positions[-1] - positions[0]) / (count - 1)
    note = (
        f"Its slices are not evenly spaced: it is resampled from {len(frames)} slices to {count}, "
        f"{np.linalg.norm(across):.4g} mm apart."
    )
    return Stack(tuple(frames), _geometry(frames[0], across), places, (note,))


def _single(frame: FrameHead) -> Stack:
    values = frame.values
    assert values.orientation is not None
    normal = np.array(normal_of(values.orientation))
    thickness = values.between if values.between and values.between > 0 else values.thickness
    notes: tuple[str, ...] = ()
    if not thickness or thickness <= 0:
        thickness, notes = 1.0, ("Its one slice has no thickness: 1 mm is taken.",)
    across = normal / np.linalg.norm(normal) * thickness
    return Stack((frame,), _geometry(frame, across), None, notes)


def _flat(frames: Sequence[FrameHead]) -> Stack:
    """Return a picture without a place in the patient."""
    if len(frames) != 1:
        raise CamSamError(
            f"This is no volume: its {len(frames)} images have no position in the patient"
        )
    values = frames[0].values
    if values.spacing is None:
        return Stack((frames[0],), default_geometry(2))
    return Stack((frames[0],), Geometry(values.spacing, None, "mm"))


def _geometry(first: FrameHead, across: NDArray[np.float64]) -> Geometry:
    """Return the geometry in RAS+ of a stack that begins with a frame."""
    values = first.values
    assert values.orientation is not None
    assert values.position is not None
    if values.spacing is None:
        raise CamSamError("The header does not state the spacing of its pixels")
    row, column = np.array(values.orientation[:3]), np.array(values.orientation[3:])
    # Only what was rounded to few digits: by the standard's equation directions count as given.
    row, column = (
        way if abs(np.linalg.norm(way) - 1) < _EXACT else way / np.linalg.norm(way)
        for way in (row, column)
    )
    affine = np.eye(4)
    # A step to the next row goes down a column, and the other way round.
    affine[:3, 0] = across
    affine[:3, 1] = column * values.spacing[0]
    affine[:3, 2] = row * values.spacing[1]
    affine[:3, 3] = values.position
    affine[:2] *= -1  # from the patient's left and back to right and front
    affine += 0.0  # no zeros with a minus
    spacing = (float(np.linalg.norm(across)), *values.spacing)
    return Geometry(spacing, affine, "mm")
