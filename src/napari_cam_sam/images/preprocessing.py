"""Optional changes of a windowed plane before a model sees it.

The three ways are those of "SAM to assess Grad-CAM" (malaria): the paper found that equalisation
helps on single cells and that none helps on smears. So each is off by default.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.schemas import check_fields

__all__ = ["PreprocessingParameters", "preprocess"]


@dataclass(frozen=True)
class PreprocessingParameters:
    """What to change; with the defaults, nothing.

    The steps run in this order, each on the result of the one before.

    Attributes
    ----------
    colour_range : bool
        Keep the pixels whose every channel lies within ``colour_low`` to ``colour_high``: the
        mask is opened, closed and its holes filled, what lies outside becomes black, and the
        contrast of what is left is stretched to 0 to 255.
    colour_low, colour_high : tuple of int
        Red, green, blue (or three times gray) in 0 to 255, both included.
    morphology_radius : int
        Radius in pixels of the disk that opens and closes the mask; 0 for neither.
    clahe : bool
        Contrast-limited adaptive histogram equalisation (scikit-image) of the lightness L of
        CIELAB, or of gray; it stretches each plane to the full range.
    clahe_clip : float
        Clip limit in (0, 1]; higher gives more contrast.
    clahe_tiles : int
        Tiles along each side.
    blend_weight : float
        Share of the equalised plane in its blend with the plane before, in [0, 1]; 1 is all.
        Needs ``clahe``.
    contrast : float
        Factor on the distance from middle gray (127.5), 0 or more; 1 changes nothing.
    brightness : float
        Added afterwards, in -255 to 255; 0 changes nothing.

    Raises
    ------
    CamSamError
        If a value is out of its range.
    """

    colour_range: bool = False
    colour_low: tuple[int, int, int] = (0, 0, 0)
    colour_high: tuple[int, int, int] = (255, 255, 255)
    morphology_radius: int = 2
    clahe: bool = False
    clahe_clip: float = 0.01
    clahe_tiles: int = 8
    blend_weight: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        pairs = list(zip(self.colour_low, self.colour_high, strict=False))
        checks = {
            "colour_low and colour_high need three values each in 0 to 255, low not above high": (
                len(self.colour_low) == len(self.colour_high) == 3
                and all(0 <= low <= high <= 255 for low, high in pairs)
            ),
            "morphology_radius must be 0 or more": self.morphology_radius >= 0,
            "clahe_clip must lie above 0 and not above 1": 0 < self.clahe_clip <= 1,
            "clahe_tiles must be 1 or more": self.clahe_tiles >= 1,
            "blend_weight must lie in 0 to 1": 0 <= self.blend_weight <= 1,
            "blend_weight below 1 needs clahe": self.clahe or self.blend_weight == 1,
            "contrast must be a number of 0 or more": 0 <= self.contrast < np.inf,
            "brightness must lie in -255 to 255": -255 <= self.brightness <= 255,
        }
        for rule, kept in checks.items():
            if not kept:
                raise CamSamError(f"Preprocessing: {rule}.")


def preprocess(
    plane: NDArray[np.uint8], parameters: PreprocessingParameters | None = None
) -> NDArray[np.uint8]:
    """Change a windowed plane as the parameters say.

    Parameters
    ----------
    plane : ndarray of uint8, shape (row, column) or (row, column, 3)
    parameters : PreprocessingParameters or None
        Default: nothing is changed.

    Returns
    -------
    ndarray of uint8
        Same shape; the plane itself where nothing is to be changed.
    """
    parameters = parameters or PreprocessingParameters()
    if parameters.colour_range:
        plane = _keep_colour_range(plane, parameters)
    if parameters.clahe and parameters.blend_weight > 0:
        equalised = _equalise(plane, parameters)
        weight = parameters.blend_weight
        plane = _to_uint8(weight * equalised + (1 - weight) * plane.astype(np.float64))
    if parameters.contrast != 1 or parameters.brightness != 0:
        centred = plane.astype(np.float64) - 127.5
        plane = _to_uint8(parameters.contrast * centred + 127.5 + parameters.brightness)
    return plane


def _keep_colour_range(
    plane: NDArray[np.uint8], parameters: PreprocessingParameters
) -> NDArray[np.uint8]:
    from scipy import ndimage
    from skimage import morphology

    # A gray plane is the colour (gray, gray, gray).
    channels = plane if plane.ndim == 3 else plane[..., np.newaxis]
    low = np.array(parameters.colour_low, dtype=np.uint8)
    high = np.array(parameters.colour_high, dtype=np.uint8)
    mask = ((channels >= low) & (channels <= high)).all(axis=-1)
    if parameters.morphology_radius > 0:
        radius = parameters.morphology_radius
        disk = morphology.disk(radius, dtype=bool)  # type: ignore[no-untyped-call]
        mask = ndimage.binary_opening(mask, disk)
        # Closing erodes from the border; on a padded mask it leaves what touches the border.
        padded = np.pad(mask, radius, mode="edge")
        mask = ndimage.binary_closing(padded, disk)[radius:-radius, radius:-radius]
    mask = ndimage.binary_fill_holes(mask)
    result = np.zeros_like(plane)
    if mask.any():
        kept = plane[mask].astype(np.float64)
        lowest, highest = kept.min(), kept.max()
        if highest > lowest:
            kept = (kept - lowest) * (255 / (highest - lowest))
        result[mask] = _to_uint8(kept)
    return result


def _equalise(plane: NDArray[np.uint8], parameters: PreprocessingParameters) -> NDArray[np.float64]:
    """Return an equalised plane, in 0 to 255."""
    from skimage import color

    if plane.ndim == 2:
        return 255 * _clahe(plane / 255.0, parameters)
    lab = color.rgb2lab(plane)
    lab[..., 0] = 100 * _clahe(lab[..., 0] / 100, parameters)
    with warnings.catch_warnings():
        # With a new lightness some colours leave what sRGB can show; they are clipped to it.
        warnings.filterwarnings("ignore", message=".*negative Z values.*")
        rgb: NDArray[np.float64] = 255 * color.lab2rgb(lab)
    return rgb


def _clahe(values: NDArray[Any], parameters: PreprocessingParameters) -> NDArray[np.float64]:
    from skimage import exposure

    if values.min() == values.max():
        return values  # scikit-image stretches its result to [0, 1]; a constant has no contrast
    tiles = parameters.clahe_tiles
    kernel = [max(1, -(-side // tiles)) for side in values.shape]
    equalised: NDArray[np.float64] = exposure.equalize_adapthist(
        np.clip(values, 0, 1), kernel_size=kernel, clip_limit=parameters.clahe_clip
    )
    return equalised


def _to_uint8(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
