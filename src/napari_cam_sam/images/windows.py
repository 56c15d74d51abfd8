"""From raw intensities to 8-bit gray: one window for all planes of an image."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.image import Image
from napari_cam_sam.schemas import check_fields

__all__ = [
    "CT_PRESETS",
    "Window",
    "WindowParameters",
    "apply_window",
    "parse_window",
    "resolve_window",
    "window_text",
]

CT_PRESETS: dict[str, tuple[float, float]] = {
    "ct-brain": (0, 80),
    "ct-subdural": (-25, 175),
    "ct-stroke": (20, 60),
    "ct-bone": (-500, 1300),
    "ct-lung": (-1350, 150),
    "ct-mediastinum": (-125, 225),
    "ct-abdomen": (-150, 250),
    "ct-liver": (-45, 105),
}
"""Lowest and highest Hounsfield unit of the usual CT windows (level -/+ half the width)."""

_KINDS = ("auto", "minmax", "percentiles", "limits", *CT_PRESETS)
_AUTO_PERCENTILES = (0.5, 99.5)
_MOST_SAMPLES = 2_000_000


@dataclass(frozen=True)
class WindowParameters:
    """How to choose the window of an image.

    Attributes
    ----------
    kind : str
        ``"auto"``: 8-bit images and 16-bit or [0, 1] colour as they are, everything else by its
        percentiles 0.5 and 99.5. ``"minmax"``, ``"percentiles"`` (of the whole volume),
        ``"limits"``, or the name of a CT preset, for intensities in Hounsfield units.
    low, high : float or None
        Percentiles in [0, 100], or limits in the image's own intensities; None for other kinds.

    Raises
    ------
    CamSamError
        If the kind is unknown, or low and high do not fit it.

    Examples
    --------
    >>> ncs.WindowParameters("limits", low=-100, high=300).kind
    'limits'
    >>> ncs.WindowParameters("ct-brian")
    Traceback (most recent call last):
    ...
    napari_cam_sam.errors.CamSamError: Unknown window 'ct-brian'...
    """

    kind: str = "auto"
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kind not in _KINDS:
            raise unknown_name("window", self.kind, _KINDS)
        if self.kind not in ("percentiles", "limits"):
            if self.low is not None or self.high is not None:
                raise CamSamError(f"The window {self.kind!r} takes no numbers.")
            return
        if self.low is None or self.high is None:
            raise CamSamError(f"The window {self.kind!r} needs two numbers, low and high.")
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise CamSamError(
                f"The window {self.kind} {self.low:g} to {self.high:g} is empty: "
                "low must be below high."
            )
        if self.kind == "percentiles" and not 0 <= self.low < self.high <= 100:
            raise CamSamError(
                f"Percentiles lie between 0 and 100, not {self.low:g} to {self.high:g}."
            )


@dataclass(frozen=True)
class Window:
    """The intensities that become black and white.

    Attributes
    ----------
    low, high : float
        Raw intensity that becomes 0, and that becomes 255; low is below high.
    n_not_finite : int
        NaN and infinite values in the whole image.
    description : str
        How the window came about, for people and for the run record.

    Examples
    --------
    >>> image = ncs.image_from_array(np.array([[-300, 0], [50, 400]], np.int16))
    >>> window = ncs.resolve_window(image, ncs.WindowParameters("ct-abdomen"))
    >>> window.low, window.high
    (-150, 250)
    """

    low: float
    high: float
    n_not_finite: int
    description: str


def parse_window(text: str) -> WindowParameters:
    """Read a window as it is typed on the command line.

    Parameters
    ----------
    text : str
        ``"auto"``, ``"minmax"``, ``"percentiles:1,99"``, ``"limits:-100,300"`` or the name of a
        CT preset such as ``"ct-brain"``.

    Returns
    -------
    WindowParameters

    Raises
    ------
    CamSamError
        If the text is none of these.
    """
    kind, colon, numbers = text.strip().partition(":")
    if not colon:
        if "," in kind:
            raise CamSamError(
                f"The window {text!r} does not say what its numbers are: write limits:LOW,HIGH for "
                "intensities, or percentiles:LOW,HIGH."
            )
        return WindowParameters(kind)
    try:
        low, high = (float(number) for number in numbers.split(","))
    except ValueError:
        raise CamSamError(
            f"The window {text!r} needs two numbers after the colon, e.g. {kind}:1,99."
        ) from None
    return WindowParameters(kind, low, high)


def window_text(parameters: WindowParameters) -> str:
    """Return a window as `parse_window` reads it.

    Parameters
    ----------
    parameters : WindowParameters

    Returns
    -------
    str
    """
    if parameters.low is None:
        return parameters.kind
    return f"{parameters.kind}:{parameters.low!r},{parameters.high!r}"


def resolve_window(image: Image, parameters: WindowParameters | None = None) -> Window:
    """Choose the window for all planes of an image.

    Where it takes statistics it reads every plane once, one at a time. Up to two million values
    percentiles are exact; of a larger image they are taken of every n-th value, the same ones
    each time, so memory stays bounded. Minimum, maximum and the count of values that are not
    finite are always exact. An alpha channel is ignored.

    Parameters
    ----------
    image : Image
    parameters : WindowParameters or None
        Default: auto.

    Returns
    -------
    Window

    Raises
    ------
    CamSamError
        If the image has no finite value.

    Examples
    --------
    >>> image = ncs.image_from_array(np.arange(1000, dtype=np.int16).reshape(10, 10, 10))
    >>> window = ncs.resolve_window(image, ncs.WindowParameters("minmax"))
    >>> window.low, window.high
    (0.0, 999.0)
    """
    parameters = parameters or WindowParameters()
    dtype = np.dtype(image.data.dtype)
    fixed = _fixed_limits(parameters, dtype, image.rgb)
    if fixed is not None:
        n_not_finite = _collect(image)[2] if dtype.kind == "f" else 0
        how = "as it is, " if parameters.kind == "auto" else ""
        text = f"{parameters.kind}: {how}{fixed[0]:g} to {fixed[1]:g}"
        return Window(*fixed, n_not_finite, text)

    lowest, highest, n_not_finite, sample = _collect(image)
    if parameters.kind == "auto" and image.rgb and lowest >= 0 and highest <= 1:
        return Window(0.0, 1.0, n_not_finite, "auto: colour in [0, 1] as it is")
    if parameters.kind == "minmax":
        low, high, how = lowest, highest, "minimum to maximum"
    else:
        if parameters.low is None or parameters.high is None:
            percentiles = _AUTO_PERCENTILES
        else:
            percentiles = (parameters.low, parameters.high)
        low, high = (float(p) for p in np.percentile(sample, percentiles))
        how = f"percentiles {percentiles[0]:g} and {percentiles[1]:g}"
        if not low < high and lowest < highest:
            low, high = lowest, highest
            how = f"minimum to maximum, as {how} are equal"
    if not low < high:
        # A constant image: it becomes black, which shows that there is nothing to see.
        high, how = low + max(1.0, abs(low) * 1e-6), f"constant image ({low:g})"
    text = f"{parameters.kind}: {how}, {low:g} to {high:g}"
    return Window(low, high, n_not_finite, text)


def apply_window(plane: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """Turn a raw plane into 8 bits.

    NaN and minus infinity become 0, plus infinity 255; an alpha channel is dropped.

    Parameters
    ----------
    plane : ndarray, shape (row, column), or (row, column, 3 or 4)
    window : Window

    Returns
    -------
    ndarray of uint8, shape (row, column) or (row, column, 3)

    Raises
    ------
    CamSamError
        If the plane has no finite value.

    Examples
    --------
    >>> window = ncs.Window(low=-150, high=250, n_not_finite=0, description="soft tissue")
    >>> ncs.apply_window(np.array([[-300, 50, 400]], np.int16), window)
    array([[  0, 128, 255]], dtype=uint8)
    """
    if plane.ndim == 3:
        plane = plane[..., :3]
    if plane.dtype == np.uint8 and (window.low, window.high) == (0, 255):
        return plane.copy()
    # Integers above 24 bits need double precision; anything smaller is exact in single.
    exact = plane.dtype.itemsize > 2 and plane.dtype != np.float32
    values: NDArray[np.floating[Any]] = plane.astype(np.float64 if exact else np.float32)
    if plane.dtype.kind == "f":
        if not np.isfinite(values).any():
            raise CamSamError("The slice holds only NaN or infinite values: choose another one.")
        np.nan_to_num(values, copy=False, nan=window.low, posinf=window.high, neginf=window.low)
    np.clip(values, window.low, window.high, out=values)
    np.subtract(values, window.low, out=values)
    np.multiply(values, 255 / (window.high - window.low), out=values)
    gray: NDArray[np.uint8] = np.rint(values).clip(0, 255).astype(np.uint8)
    return gray


def _fixed_limits(
    parameters: WindowParameters, dtype: np.dtype[Any], rgb: bool
) -> tuple[float, float] | None:
    """Limits that need no statistics, or None."""
    if parameters.kind in CT_PRESETS:
        return CT_PRESETS[parameters.kind]
    if parameters.kind == "limits" and parameters.low is not None and parameters.high is not None:
        return parameters.low, parameters.high
    if parameters.kind == "auto":
        if dtype == np.bool_:
            return 0.0, 1.0
        if dtype == np.uint8:
            return 0.0, 255.0
        if rgb and dtype == np.uint16:
            return 0.0, 65535.0
    return None


def _collect(image: Image) -> tuple[float, float, int, NDArray[Any]]:
    """Read every plane once: extremes, number of values not finite, an evenly spread sample."""
    total = int(np.prod(image.spatial_shape)) * (3 if image.rgb else 1)
    width = image.spatial_shape[-1] * (3 if image.rgb else 1)
    step = -(-total // _MOST_SAMPLES)
    # A step that shares a divisor with the width would sample the same columns in every row.
    while step > 1 and gcd(step, width) > 1:
        step += 1
    lowest, highest = np.inf, -np.inf
    finite_count, position = 0, 0
    kept: list[NDArray[Any]] = []
    for plane in image.planes(0):
        values = (plane[..., :3] if image.rgb else plane).reshape(-1)
        sample = values[(-position) % step :: step]
        position += values.size
        if values.dtype.kind == "f":
            finite = values[np.isfinite(values)]
            sample = sample[np.isfinite(sample)]
        else:
            finite = values
        finite_count += finite.size
        if finite.size:
            lowest = min(lowest, float(finite.min()))
            highest = max(highest, float(finite.max()))
        kept.append(sample.copy())
    if finite_count == 0:
        raise CamSamError(f"{image.name} holds only NaN or infinite values: there is no image.")
    sample = np.concatenate(kept)
    if sample.size == 0:  # finite values so rare that none was sampled
        sample = np.array([lowest, highest])
    return lowest, highest, total - finite_count, sample
