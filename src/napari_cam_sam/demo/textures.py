"""Random fields, outlines and blurs from which the phantoms are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = [
    "Array",
    "blob_outline",
    "blur",
    "power_noise",
    "rotated_grid",
    "signed_radius",
    "speckle",
]

Array = NDArray[np.float32]


def _frequencies(shape: tuple[int, ...]) -> Array:
    axes = [np.fft.fftfreq(n) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    grids = np.meshgrid(*axes, indexing="ij", sparse=True)
    return np.asarray(np.sqrt(sum(g**2 for g in grids)), dtype=np.float32)


def power_noise(rng: np.random.Generator, shape: tuple[int, ...], exponent: float) -> Array:
    """Draw a random field whose amplitude falls with frequency as ``f**-exponent``.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Shape of the field, any number of axes.
    exponent : float
        0 is white noise; 1 to 2.5 look like tissue and clouds.

    Returns
    -------
    ndarray of float32, shape `shape`
        Mean 0, standard deviation 1.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    if exponent == 0:
        return white
    frequency = _frequencies(shape)
    frequency.flat[0] = np.inf
    field = fft.irfftn(fft.rfftn(white) * frequency**-exponent, s=shape)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), dtype=np.float32)


def blur(field: Array, sigma: float | tuple[float, ...]) -> Array:
    """Blur with a Gaussian, periodic at the border.

    Parameters
    ----------
    field : ndarray of float32
    sigma : float or tuple of float
        Standard deviation in pixels, one for all axes or one an axis.

    Returns
    -------
    ndarray of float32, same shape
    """
    sigmas = (sigma,) * field.ndim if isinstance(sigma, (int, float)) else sigma
    spectrum = fft.rfftn(field)
    for axis, s in enumerate(sigmas):
        last = axis == field.ndim - 1
        f = np.fft.rfftfreq(field.shape[axis]) if last else np.fft.fftfreq(field.shape[axis])
        gain = np.exp(-2 * (np.pi * s * f) ** 2).astype(np.float32)
        spectrum = spectrum * gain.reshape([-1 if a == axis else 1 for a in range(field.ndim)])
    return np.asarray(fft.irfftn(spectrum, s=field.shape), dtype=np.float32)


def speckle(rng: np.random.Generator, shape: tuple[int, int], grain: tuple[float, float]) -> Array:
    """Draw fully developed speckle: the amplitude of a filtered complex Gaussian field.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    grain : tuple of float
        Standard deviation of the point spread along rows (depth) and columns, in pixels.

    Returns
    -------
    ndarray of float32
        Rayleigh distributed, mean 1.
    """
    parts = [blur(rng.standard_normal(shape, dtype=np.float32), grain) for _ in range(2)]
    amplitude = np.hypot(*parts)
    return np.asarray(amplitude / amplitude.mean(), dtype=np.float32)


def blob_outline(
    rng: np.random.Generator, roughness: float, harmonics: int = 8
) -> tuple[Array, Array]:
    """Draw the harmonics of a random closed outline around the unit circle.

    Parameters
    ----------
    rng : numpy.random.Generator
    roughness : float
        0 for a circle; .3 is very rough.
    harmonics : int

    Returns
    -------
    cosines, sines : ndarray of float32, shape (harmonics,)
        Coefficients from the second harmonic up, falling with frequency.
    """
    order = np.arange(2, harmonics + 2)
    amplitude = roughness / order**1.2
    cosines = rng.standard_normal(harmonics) * amplitude
    sines = rng.standard_normal(harmonics) * amplitude
    return cosines.astype(np.float32), sines.astype(np.float32)


def rotated_grid(
    shape: tuple[int, int], centre: tuple[float, float], angle: float
) -> tuple[Array, Array]:
    """Return the coordinates of every pixel along two axes that are turned.

    Parameters
    ----------
    shape : tuple of int
    centre : tuple of float
        Row and column of the origin.
    angle : float
        Rotation in radians.

    Returns
    -------
    tuple of ndarray of float32, shape ``shape``
        In pixels.
    """
    rows, columns = np.meshgrid(
        np.arange(shape[0], dtype=np.float32) - centre[0],
        np.arange(shape[1], dtype=np.float32) - centre[1],
        indexing="ij",
    )
    c, s = np.cos(angle), np.sin(angle)
    return c * rows + s * columns, c * columns - s * rows


def signed_radius(
    shape: tuple[int, int],
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float,
    outline: tuple[Array, Array],
) -> Array:
    """Return for every pixel how far inside a blob it lies, in pixels, positive inside.

    Parameters
    ----------
    shape : tuple of int
    centre : tuple of float
        Row and column.
    radii : tuple of float
        Half axes in pixels before the outline modulates them.
    angle : float
        Rotation in radians.
    outline : tuple of ndarray
        From `blob_outline`.

    Returns
    -------
    ndarray of float32, shape ``shape``
    """
    u, v = rotated_grid(shape, centre, angle)
    u, v = u / radii[0], v / radii[1]
    theta = np.arctan2(v, u)
    edge = np.ones_like(theta)
    base = np.exp(1j * theta)
    power = base.copy()
    for a, b in zip(*outline, strict=True):
        power = power * base
        edge += a * power.real + b * power.imag
    distance = np.maximum(edge, 0.25) - np.hypot(u, v)
    return np.asarray(distance * np.sqrt(radii[0] * radii[1]), dtype=np.float32)
