"""An image on its way through a bundle's own transforms, run by MONAI, and back by their inverse.

MONAI reads NIfTI as (i, j, k), and pictures as (column, row): each of our arrays the other way
round. So an image is given to it transposed, with the affine of its file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cam_sam.errors import CamSamError, reason_of
from napari_cam_sam.images.colours import to_channels
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.models.preparation import INTENSITY, RESAMPLING, Preparation, Step

__all__ = [
    "BundleFrame",
    "Prepared",
    "check_precision",
    "check_windowed",
    "prepare_image",
    "scaled_intensities",
]

# 2 GiB as float32: what an image may become.
_MOST_VOXELS = 1 << 29
_COARSE = 0.1


class BundleFrame:
    """The way of an image into a bundle's frame, noted as it goes, and back.

    Parameters
    ----------
    image_shape : tuple of int
        Planes, rows and columns, or rows and columns.
    preparation : Preparation
    geometry : Geometry, optional
        Needed where the preparation has an orientation or a spacing.

    Raises
    ------
    CamSamError
        If the geometry is missing, or MONAI.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        preparation: Preparation,
        geometry: Geometry | None = None,
    ) -> None:
        self.image_shape = image_shape
        self.preparation = preparation
        self._monai = _transforms()
        self._geometry = geometry
        self._affine = _affine(len(image_shape), preparation, geometry)
        self._spatial: list[Any] = []
        self._operations: list[Any] = []
        self._meta: dict[str, Any] = {}
        self._transformed: tuple[int, ...] = image_shape[::-1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape in the frame, after the image went there; one slice for an image of two axes."""
        first, second, *third = self._transformed
        return first, second, third[0] if third else 1

    def enter(
        self, channels: NDArray[np.float32], mask: NDArray[np.bool_] | None, steps: Sequence[Step]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Apply transforms to an image, and to a mask with it.

        Parameters
        ----------
        channels : ndarray of float32, shape (channels, *image_shape)
        mask : ndarray of bool, shape ``image_shape``, or None
        steps : sequence of Step

        Returns
        -------
        values : ndarray of float32, shape (channels, *shape)
        mask : ndarray of bool, shape ``shape``, or None
            True where most of the voxel is; one that is too small for that, where it lies.
        """
        meta_tensor = import_module("monai.data").MetaTensor
        data = {"image": meta_tensor(_reversed(channels), affine=self._affine.clone())}
        keys = ["image"]
        if mask is not None:
            given = _reversed(mask[None].astype(np.float32))
            data["mask"] = meta_tensor(given, affine=self._affine.clone())
            keys.append("mask")
        self._spatial = []
        for step in steps:
            if step.name in INTENSITY:
                data = _run(self._made(step, ["image"]), data, step.name)
                continue
            _check_result(step, data["image"])
            transform = self._made(step, keys)
            data = _run(transform, data, step.name)
            self._spatial.append(transform)
        image = data["image"]
        self._transformed = tuple(int(n) for n in image.shape[1:])
        self._operations, self._meta = deepcopy(image.applied_operations), deepcopy(image.meta)
        values = image.as_tensor().float().reshape(len(channels), *self.shape).numpy()
        if mask is None:
            return values, None
        inside = data["mask"].as_tensor()[0].numpy().reshape(self.shape)
        found = inside > 0.5
        if mask.any() and not found.any():
            found = inside > min(0.5, float(inside.max()) / 2)
        return values, found

    def back(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample a map of the frame to the image's pixels, by the inverse of each transform."""
        meta_tensor = import_module("monai.data").MetaTensor
        given = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        tensor = meta_tensor(
            given.reshape(1, *self._transformed),
            meta=deepcopy(self._meta),
            applied_operations=deepcopy(self._operations),
        )
        data = {"image": tensor}
        for transform in reversed(self._spatial):
            data = _run(transform.inverse, data, type(transform).__name__)
        found = data["image"].as_tensor()[0].numpy().transpose()
        if found.shape != self.image_shape:
            raise CamSamError(
                f"The bundle's transforms do not lead back: a map of {found.shape} for an image "
                f"of {self.image_shape}."
            )
        return np.ascontiguousarray(found, dtype=np.float32)

    def back_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Resample a mask of the frame to the image's pixels."""
        return self.back(mask.astype(np.float32)) >= 0.5

    def apply(self, volume: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Resample windowed values to the frame, in place of the intensities of the image.

        Raises
        ------
        CamSamError
            If the network would get something else: where a transform depends on the image's own
            values, or clips between voxels that were mixed.
        """
        check_windowed(self.preparation)
        spatial = [step for step in self.preparation.steps if step.name not in INTENSITY]
        values, _ = self.enter(volume[None].astype(np.float32), None, spatial)
        if self.preparation.clips_after_resampling:
            same = [step for step in spatial if step.name not in RESAMPLING]
            turned, _ = BundleFrame(self.image_shape, self.preparation, self._geometry).enter(
                volume[None].astype(np.float32), None, same
            )
            if turned.shape != values.shape or np.abs(turned - values).max() > 0.5:
                raise CamSamError(
                    "The bundle's transforms mix voxels before they clip, and a window clips "
                    "first: give the image itself, as run and the docks do."
                )
        return np.asarray(values[0], dtype=np.float32)

    def _made(self, step: Step, keys: list[str]) -> Any:
        """Make a transform of the list; its name was checked when the bundle was read."""
        more: dict[str, Any] = {"source_key": "image"} if step.name == "CropForegroundd" else {}
        if step.name == "Orientationd":
            more["labels"] = (("L", "R"), ("P", "A"), ("I", "S"))
        try:
            make = getattr(self._monai, step.name)
            # A map comes back without the mask.
            return make(keys=keys, allow_missing_keys=True, **step.arguments, **more)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise _refused(step.name, error) from error


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as a bundle's network gets it.

    Attributes
    ----------
    values : ndarray of float32, shape (channels, *frame.shape)
    mask : ndarray of bool, shape ``frame.shape``, or None
    frame : BundleFrame
        The way back.
    """

    values: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    frame: BundleFrame


def prepare_image(
    image: NDArray[Any],
    preparation: Preparation,
    channels: int,
    geometry: Geometry | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> Prepared:
    """Run a bundle's transforms on an image.

    Parameters
    ----------
    image : ndarray, shape (plane, row, column) or (row, column), for colour 3 or 4 channels last
        Its own values, not windowed.
    preparation : Preparation
    channels : {1, 3}
        Of the network. Gray is repeated for three, colour becomes luma for one.
    geometry : Geometry, optional
    mask : ndarray of bool, shape of the image's pixels, optional
        Goes with it.

    Returns
    -------
    Prepared

    Raises
    ------
    CamSamError
        If a transform does not suit the image, or a value is not finite.
    """
    colour = image.ndim > (3 if geometry is None else len(geometry.spacing))
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        raise CamSamError(
            "The image has values that are not finite (NaN), of which the bundle's transforms "
            "make nothing: replace them."
        )
    values = to_channels(values[..., :3] if colour else values, channels, rgb=colour)
    values = np.moveaxis(values, -1, 0)
    frame = BundleFrame(values.shape[1:], preparation, geometry)
    found, inside = frame.enter(values, mask, preparation.steps)
    if not np.isfinite(found).all():
        raise CamSamError(
            "The bundle's transforms make values of this image that are not finite; is it constant?"
        )
    return Prepared(found, inside, frame)


def check_windowed(preparation: Preparation) -> None:
    """Refuse to feed a network from windowed planes where they do not say enough.

    Parameters
    ----------
    preparation : Preparation

    Raises
    ------
    CamSamError
        Names the transform.
    """
    why = preparation.unfollowed()
    if why is not None:
        raise CamSamError(f"{why}: give the image itself, as run and the docks do.")


def scaled_intensities(values: Tensor, preparation: Preparation, *, whole: bool = True) -> Tensor:
    """Apply the intensity steps to an image that went through the card's window.

    Parameters
    ----------
    values : Tensor of float32, shape (channels, …)
        0 at the window's lower end, 1 at its upper one.
    preparation : Preparation
    whole : bool
        False for planes of a volume: 0 and 1 are then the ends of the volume, which these planes
        may not reach.

    Returns
    -------
    Tensor of float32, same shape

    Raises
    ------
    CamSamError
        If they cannot be taken on windowed values.
    """
    check_windowed(preparation)
    made = _transforms()
    data = {"image": values}
    for i, step in enumerate(s for s in preparation.steps if s.name in INTENSITY):
        name, arguments = step.name, dict(step.arguments)
        if i == 0 and name == "ScaleIntensityRanged":
            arguments |= {"a_min": 0.0, "a_max": 1.0}
        elif i == 0 and name == "ScaleIntensityd" and not whole:
            low, high = arguments.get("minv", 0.0), arguments.get("maxv", 1.0)
            name, arguments = "ScaleIntensityRanged", {"a_min": 0.0, "a_max": 1.0}
            arguments |= {"b_min": low, "b_max": high}
        transform = getattr(made, name)(keys=["image"], **arguments)
        data = _run(transform, data, name)
    return torch.as_tensor(data["image"]).float()


def check_precision(before: Tensor, after: Tensor, preparation: Preparation) -> None:
    """Refuse intensities for which 8 bits are too coarse.

    Parameters
    ----------
    before : Tensor
        Windowed values, a gray level being 1/255.
    after : Tensor
        What the intensity steps made of them.
    preparation : Preparation

    Raises
    ------
    CamSamError
        If a gray level stands for too large a part of a standard deviation, or of the range.
    """
    level = 1 / 255
    x, order = before.flatten()[:: max(1, before.numel() // 100_000)].sort()
    y = after.flatten()[:: max(1, before.numel() // 100_000)][order]
    # Of values about a level apart, so that what resampling left between levels counts little.
    later = torch.searchsorted(x, x + level * 0.99).clamp_max(len(x) - 1)
    apart = (x[later] - x).clamp_min(level / 2)
    steps = (y[later] - y).abs() / apart * level
    percentiles = any("Percentiles" in step.name for step in preparation.steps)
    if float(steps.max()) > (_COARSE / 2 if percentiles else _COARSE):
        raise CamSamError(
            f"A gray level of the window is {float(steps.max()):.2g} of what the bundle's network "
            "gets, which is too coarse: give the image itself, as run and the docks do."
        )


def _transforms() -> Any:
    try:
        return import_module("monai.transforms")
    except ImportError as error:
        raise CamSamError(
            "A bundle's transforms need MONAI: pip install 'napari-cam-sam[medical]'."
        ) from error


def _run(transform: Callable[[Any], Any], data: Any, name: str) -> Any:
    try:
        with torch.no_grad():
            return transform(data)
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AssertionError) as error:
        raise _refused(name, error) from error


def _refused(name: str, error: Exception) -> CamSamError:
    reason = reason_of(error.__cause__ or error)[:200]
    return CamSamError(f"{name} of the bundle cannot be applied to this image: {reason}.")


def _reversed(channels: NDArray[np.float32]) -> Tensor:
    """Convert (channels, plane, row, column) to MONAI's (channels, i, j, k), or 2D likewise."""
    axes = (0, *range(channels.ndim - 1, 0, -1))
    return torch.from_numpy(np.ascontiguousarray(channels.transpose(axes)))


def _affine(ndim: int, preparation: Preparation, geometry: Geometry | None) -> Tensor:
    """Return the affine of (i, j, k), as its file has it."""
    names = {step.name for step in preparation.steps}
    placed = geometry is not None and geometry.affine is not None
    if "Orientationd" in names and not placed:
        raise CamSamError(
            "The bundle turns images to an orientation, and this one does not say how it lies: "
            "give a NIfTI file."
        )
    if "Spacingd" in names and (geometry is None or geometry.unit != "mm"):
        raise CamSamError(
            "The bundle resamples images to a spacing, and this one has no spacing in mm: give a "
            "NIfTI file."
        )
    if geometry is not None and geometry.affine is not None:
        return torch.from_numpy(np.ascontiguousarray(geometry.affine[:, [2, 1, 0, 3]]))
    affine = torch.eye(4, dtype=torch.float64)
    if geometry is not None:
        for i, size in enumerate(geometry.spacing[::-1][:ndim]):
            affine[i, i] = size
    return affine


def _check_result(step: Step, image: Any) -> None:
    """Refuse a step that would make more voxels than memory should hold, before it does."""
    shape = [int(n) for n in image.shape[1:]]
    if step.name == "Spacingd":
        wanted = _each(step.arguments["pixdim"], len(shape))
        steps = np.linalg.norm(np.asarray(image.affine)[: len(shape), : len(shape)], axis=0)
        sizes = [w if w > 0 else s for w, s in zip(wanted, steps, strict=False)]
        shape = [int(n * s / w) + 1 for n, s, w in zip(shape, steps, sizes, strict=False)]
    elif step.name in ("Resized", "SpatialPadd", "ResizeWithPadOrCropd"):
        sizes = _each(step.arguments["spatial_size"], len(shape))
        shape = [max(n, int(s)) for n, s in zip(shape, sizes, strict=False)]
    elif step.name == "DivisiblePadd":
        sizes = _each(step.arguments["k"], len(shape))
        shape = [n + int(s) for n, s in zip(shape, sizes, strict=False)]
    if math.prod(shape) > _MOST_VOXELS:
        raise CamSamError(
            f"{step.name} of the bundle would make {' × '.join(map(str, shape))} voxels of this "
            f"image; at most {_MOST_VOXELS} are computed."
        )


def _each(value: Any, n: int) -> list[float]:
    """Return a value for each of n axes, the last one for those that have none."""
    listed = list(value) if isinstance(value, list | tuple) else [value]
    return (listed + [listed[-1]] * n)[:n]
