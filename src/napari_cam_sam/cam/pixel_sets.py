"""The pixels whose scores a heatmap of a segmentation network explains: the set M."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, unknown_name

__all__ = ["PixelKind", "PixelSet", "find_pixels", "no_region", "nth_component", "why_empty"]

PixelKind = Literal["whole", "predicted", "probability", "truth", "region", "pixel"]


@dataclass(frozen=True)
class PixelSet:
    """Which pixels M count in the score y = Σ logit of the class over M (Seg-Grad-CAM).

    M is a set of pixels of the plane, or of a 3D network's volume. The network's logits are
    interpolated to these pixels, linearly, and summed over M there; where the network's grid is
    the plane itself, that is the sum over M of the logits themselves.

    Attributes
    ----------
    kind : {"whole", "predicted", "probability", "truth", "region", "pixel"}
        The whole image; where the class is predicted; where its probability is above the
        threshold; where the truth is; a region that is given, e.g. a drawn one; or one pixel.
        Where a class is predicted it has the highest logit of all, or of a network whose classes
        are independent a probability above one half.
    threshold : float
        In [0, 1], of the probability; for ``"probability"`` alone.
    component : int
        0 for all of it; n for its n-th largest connected component, diagonal neighbours
        included. Of equally large ones the first in the order of the rows counts as larger.
    pixel : tuple of int or None
        For ``"pixel"``: (row, column), or of a 3D network (plane, row, column), not (x, y).

    Raises
    ------
    CamSamError
        For an unknown kind, a value out of its range, or a pixel that is missing or too much.

    Examples
    --------
    >>> ncs.PixelSet(kind="predicted", component=1).description
    'predicted region, component 1'
    >>> ncs.PixelSet(kind="pixel", pixel=(40, 60)).description
    'pixel (40, 60)'
    """

    kind: PixelKind = "predicted"
    threshold: float = 0.5
    component: int = 0
    pixel: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(PixelKind):
            raise unknown_name("pixel set", str(self.kind), get_args(PixelKind))
        if not 0 <= self.threshold <= 1:
            raise CamSamError(
                f"The threshold of the probability is {self.threshold}; expected 0 to 1."
            )
        if not _is_whole(self.component) or self.component < 0:
            raise CamSamError(
                f"The component is {self.component!r}; expected 0 for all, 1 for the largest, …"
            )
        if self.kind == "pixel":
            if self.pixel is None:
                raise CamSamError("The pixel set 'pixel' needs a pixel: its row and its column.")
            if len(self.pixel) not in (2, 3) or not all(map(_is_whole, self.pixel)):
                raise CamSamError(
                    f"The pixel is {self.pixel!r}; expected a row and a column, of a 3D network a "
                    "slice, a row and a column."
                )
        elif self.pixel is not None:
            raise CamSamError(f"A pixel is given, but the pixel set is {self.kind!r}, not 'pixel'.")

    @property
    def given(self) -> bool:
        """Whether M is handed on beside the image."""
        return self.kind in ("truth", "region")

    @property
    def description(self) -> str:
        """In words, e.g. ``"predicted region, component 1"``."""
        text = {
            "whole": "whole image",
            "predicted": "predicted region",
            "probability": f"probability above {self.threshold:g}",
            "truth": "truth",
            "region": "given region",
            "pixel": f"pixel {self.pixel}",
        }[self.kind]
        return f"{text}, component {self.component}" if self.component else text


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def find_pixels(
    pixel_set: PixelSet, shape: tuple[int, ...], region: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Return M, but for its choice of components.

    Parameters
    ----------
    pixel_set : PixelSet
    shape : tuple of int
        Of the plane or the volume.
    region : ndarray of bool or None
        What is predicted, above the threshold, the truth, or given; not needed for the others.

    Returns
    -------
    ndarray of bool, shape ``shape``

    Raises
    ------
    CamSamError
        If the region is missing or has another shape, or the pixel lies outside.
    """
    if pixel_set.kind == "whole":
        return np.ones(shape, dtype=bool)
    if pixel_set.kind == "pixel":
        pixel = pixel_set.pixel or ()
        inside = all(0 <= i < n for i, n in zip(pixel, shape, strict=False))
        if len(pixel) != len(shape) or not inside:
            raise CamSamError(
                f"There is no pixel {pixel} in an image of shape {shape}: it is counted from 0 in "
                f"the order {'slice, row, column' if len(shape) == 3 else 'row, column'}."
            )
        one = np.zeros(shape, dtype=bool)
        one[pixel] = True
        return one
    if region is None:
        raise no_region(pixel_set)
    if region.shape != shape:
        raise CamSamError(
            f"The region of the pixel set has shape {region.shape}, the image {shape}."
        )
    return np.asarray(region != 0)


def no_region(pixel_set: PixelSet) -> CamSamError:
    """Return the error that a truth or a region is missing.

    Parameters
    ----------
    pixel_set : PixelSet

    Returns
    -------
    CamSamError
    """
    what = "a truth" if pixel_set.kind == "truth" else "a region, as labels or a mask"
    return CamSamError(f"The pixel set {pixel_set.kind!r} needs {what}: give one.")


def nth_component(mask: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Return the n-th largest connected component of a mask.

    Parameters
    ----------
    mask : ndarray of bool
        Diagonal neighbours belong together.
    n : int
        Counted from 1; 0 for all of them.

    Returns
    -------
    ndarray of bool, shape of the mask
        Empty where there are fewer.
    """
    # The parser of the command line knows pixel sets, and should not wait for scipy.
    from scipy import ndimage

    if n == 0:
        return mask
    labels, _ = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    sizes = np.bincount(labels.ravel())[1:]
    if n > len(sizes):
        return np.zeros_like(mask)
    order = np.argsort(-sizes, kind="stable")
    return np.asarray(labels == order[n - 1] + 1)


def why_empty(pixel_set: PixelSet, name: str) -> str:
    """Return for people why M has no pixel.

    Parameters
    ----------
    pixel_set : PixelSet
    name : str
        The class.

    Returns
    -------
    str
        One sentence.
    """
    if pixel_set.component > 1:
        where = pixel_set.description.partition(",")[0]
        return f"There is no component {pixel_set.component} of the {where} of {name!r}."
    return {
        "predicted": f"No pixel is predicted as {name!r}.",
        "probability": f"No pixel is {name!r} with a probability above {pixel_set.threshold:g}.",
        "truth": "The truth is empty here.",
    }.get(pixel_set.kind, "The region of the pixel set is empty here.")
