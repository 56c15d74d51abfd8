"""How a volume lies before a 3D network: its axes turned, its voxels resampled."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.models.segment.bundle_frames import BundleFrame, check_windowed
from napari_cam_sam.models.segmentation_cards import SegmentationCard

__all__ = ["VolumeFrame"]

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class VolumeFrame:
    """The way of a volume into a network's frame and back.

    Axes are exchanged and turned over, never rotated by less. Voxels are resampled edge on edge
    (``align_corners=False``), so that what lies somewhere stays there to a fraction of a voxel.

    Attributes
    ----------
    volume_shape : tuple of int
        Planes, rows and columns.
    order : tuple of int
        For each axis of the frame the volume's axis that it is.
    flipped : tuple of bool
        For each axis of the frame whether it runs backwards.
    shape : tuple of int
        Of the frame.
    """

    volume_shape: tuple[int, int, int]
    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    shape: tuple[int, int, int]

    @classmethod
    def fit(
        cls,
        volume_shape: tuple[int, int, int],
        card: SegmentationCard,
        geometry: Geometry | None = None,
    ) -> VolumeFrame | BundleFrame:
        """Fit a volume into the frame that a card asks for.

        Parameters
        ----------
        volume_shape : tuple of int
        card : SegmentationCard
            Its orientation and spacing.
        geometry : Geometry, optional
            Of the volume.

        Returns
        -------
        VolumeFrame or BundleFrame
            The second for a card with a preparation, whose transforms MONAI runs.

        Raises
        ------
        CamSamError
            If the card asks for an orientation or a spacing and the volume has none.
        """
        if card.preparation is not None:
            check_windowed(card.preparation)
            return BundleFrame(volume_shape, card.preparation, geometry)
        order, flipped = (0, 1, 2), (False, False, False)
        if card.plane_order == "columns-rows":
            order = (2, 1, 0)
        if card.orientation is not None:
            if geometry is None or geometry.affine is None:
                raise CamSamError(
                    f"The network sees volumes as {card.orientation}, and this one does not say "
                    "how it lies: give a NIfTI file, or a card without orientation."
                )
            order, flipped = _axes(geometry.affine, card.orientation)
        shape = tuple(volume_shape[axis] for axis in order)
        if card.spacing is not None:
            if geometry is None or geometry.unit != "mm":
                raise CamSamError(
                    f"The network sees voxels of {card.spacing} mm, and this volume has no "
                    "spacing in mm: give a NIfTI file, or a card without spacing."
                )
            shape = tuple(
                max(1, round(n * geometry.spacing[axis] / wanted))
                for n, axis, wanted in zip(shape, order, card.spacing, strict=True)
            )
        return cls(volume_shape, order, flipped, (shape[0], shape[1], shape[2]))

    def apply(self, volume: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resample a windowed volume to the frame; trilinear where voxels change their size."""
        turned = self._turned(volume)
        if turned.shape == self.shape:
            return turned
        return np.rint(_resized(turned, self.shape)).astype(np.uint8)

    def apply_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Resample a mask to the frame: true where most of the voxel is.

        A mask that is too small for the frame's voxels marks those that it lies in.
        """
        turned = self._turned(mask)
        if turned.shape == self.shape:
            return turned
        inside = _resized(turned, self.shape) > 0.5
        if not inside.any() and turned.any():
            scale = np.array(self.shape) / np.array(turned.shape)
            at = ((np.argwhere(turned) + 0.5) * scale).astype(int)
            inside[tuple(np.minimum(at, np.array(self.shape) - 1).T)] = True
        return inside

    def back(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample a map of the frame to the volume's voxels: trilinear, edges on edges."""
        turned_shape = tuple(self.volume_shape[axis] for axis in self.order)
        if values.shape != turned_shape:
            values = _resized(values, turned_shape)
        unflipped = np.flip(values, self._backwards)
        return np.ascontiguousarray(unflipped.transpose(np.argsort(self.order)))

    def back_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Resample a mask of the frame to the volume's voxels."""
        return self.back(mask.astype(np.float32)) >= 0.5

    def _turned(self, volume: NDArray[Scalar]) -> NDArray[Scalar]:
        if volume.shape != self.volume_shape:
            raise CamSamError(
                f"The volume has shape {volume.shape}, the frame is for {self.volume_shape}."
            )
        turned = volume.transpose(self.order)
        return np.flip(turned, self._backwards)

    @property
    def _backwards(self) -> tuple[int, ...]:
        return tuple(axis for axis, flip in enumerate(self.flipped) if flip)


def _axes(
    affine: NDArray[np.float64], orientation: str
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Find for each letter the volume's axis nearest to it, and whether it runs against it."""
    orientations = import_module("nibabel.orientations")  # untyped in part
    wanted = orientations.axcodes2ornt(orientation)
    found = orientations.ornt_transform(orientations.io_orientation(affine), wanted)
    i, j, k = (int(axis) for axis in np.argsort(found[:, 0]))
    turned = [bool(direction < 0) for direction in found[:, 1]]
    return (i, j, k), (turned[i], turned[j], turned[k])


def _resized(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    out = nn.functional.interpolate(tensor, shape, mode="trilinear", align_corners=False)
    resized: NDArray[np.float32] = out[0, 0].numpy()
    return resized
