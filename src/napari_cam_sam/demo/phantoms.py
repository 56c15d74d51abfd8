"""Phantoms with truth, each drawn anew from a seed: shapes, ultrasound-like, CT-like, mixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.demo.textures import (
    Array,
    blob_outline,
    blur,
    power_noise,
    rotated_grid,
    signed_radius,
    speckle,
)

__all__ = [
    "SHAPE_CLASSES",
    "ULTRASOUND_CLASSES",
    "Phantom",
    "mixed",
    "shapes",
    "ultrasound",
]

SHAPE_CLASSES = ("circle", "square", "triangle", "star", "cross")
ULTRASOUND_CLASSES = ("normal", "lesion")


@dataclass(frozen=True)
class Phantom:
    """A generated image and everything that is known about it.

    Attributes
    ----------
    image : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
    labels : ndarray of uint8, shape (rows, columns)
        0 is background, 1, 2, … one value an object.
    class_index : int
        Index into the family's class names.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    class_index: int


def _to_uint8(field: Array) -> NDArray[np.uint8]:
    return np.clip(np.rint(field), 0, 255).astype(np.uint8)


def _polygon_distance(
    shape: tuple[int, int], centre: tuple[float, float], radius: float, angle: float, kind: str
) -> Array:
    """Return for every pixel how far inside one of the named shapes it lies, in pixels."""
    u, v = rotated_grid(shape, centre, angle)
    if kind == "circle":
        field = radius - np.hypot(u, v)
    elif kind == "square":
        field = 0.82 * radius - np.maximum(abs(u), abs(v))
    elif kind == "triangle":
        normals = [np.pi / 2 + k * 2 * np.pi / 3 for k in range(3)]
        field = 0.55 * radius - np.max([u * np.cos(a) + v * np.sin(a) for a in normals], axis=0)
    elif kind == "star":
        sector = np.mod(np.arctan2(v, u), 2 * np.pi / 5) - np.pi / 5
        distance = np.hypot(u, v)
        x, y = distance * np.cos(sector), distance * abs(np.sin(sector))
        # The edge from the inner corner (on the axis) to the tip (36 degrees off it).
        inner, tip = 0.45 * radius, 1.1 * radius
        ax, ay = inner, 0.0
        bx, by = tip * np.cos(np.pi / 5), tip * np.sin(np.pi / 5)
        length = np.hypot(bx - ax, by - ay)
        field = -((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / length
    else:
        arm = 0.34 * radius
        upright = np.minimum(arm - abs(u), radius - abs(v))
        across = np.minimum(radius - abs(u), arm - abs(v))
        field = np.maximum(upright, across)
    return np.asarray(field, dtype=np.float32)


def shapes(seed: int, *, size: int = 128, objects: int = 1) -> Phantom:
    """Draw geometric shapes of one class on a textured, noisy background.

    Parameters
    ----------
    seed : int
        The same seed gives the same phantom.
    size : int
        Rows and columns.
    objects : int
        Number of shapes, at most 3; they do not touch.

    Returns
    -------
    Phantom
        3-channel image; `class_index` into `SHAPE_CLASSES`.

    Notes
    -----
    The setting is that of Paradowski's study of Grad-CAM points for Segment Anything (five
    shapes, 3 channels); blur, shading, low contrast and texture make it harder than it looks.
    """
    rng = np.random.default_rng((101, seed))
    class_index = int(rng.integers(len(SHAPE_CLASSES)))
    frame = (size, size)
    labels = np.zeros(frame, np.uint8)
    cover = np.zeros(frame, np.float32)
    placed: list[tuple[float, float, float]] = []
    for value in range(1, objects + 1):
        for _ in range(60):
            radius = float(rng.uniform(0.11, 0.26 if objects == 1 else 0.17) * size)
            centre = rng.uniform(1.12 * radius, size - 1.12 * radius, 2)
            if all(np.hypot(*(centre - p[:2])) > 1.3 * (radius + p[2]) for p in placed):
                placed.append((float(centre[0]), float(centre[1]), radius))
                break
        else:
            break
        field = _polygon_distance(
            frame, placed[-1][:2], radius, rng.uniform(0, 2 * np.pi), SHAPE_CLASSES[class_index]
        )
        labels[field > 0] = value
        cover = np.maximum(cover, np.clip(field + 0.5, 0, 1))
    cover = blur(cover, float(rng.uniform(0.3, 1.2)))[..., None]
    background = rng.uniform(30, 220, 3)
    while True:
        foreground = rng.uniform(10, 245, 3)
        if 35 < abs(foreground - background).mean() < 150:
            break
    exponent = rng.uniform(0.6, 1.8)
    texture = power_noise(rng, frame, exponent)[..., None] * rng.uniform(4, 16)
    inner = power_noise(rng, frame, 1.0)[..., None] * rng.uniform(0, 10)
    shading = np.linspace(-1, 1, size, dtype=np.float32)[:, None, None] * rng.uniform(-15, 15)
    image = (background + texture) * (1 - cover) + (foreground + inner) * cover + shading
    image = image + rng.standard_normal((*frame, 3), dtype=np.float32) * rng.uniform(3, 12)
    return Phantom(_to_uint8(image.astype(np.float32)), labels, class_index)


def _tissue(rng: np.random.Generator, frame: tuple[int, int]) -> Array:
    """Echogenicity in decibels of layered tissue with a bright skin and wavy boundaries."""
    rows = np.arange(frame[0], dtype=np.float32)[:, None] / frame[0]
    wave = power_noise(rng, frame, 2.2) * rng.uniform(0.01, 0.06)
    depth = rows + wave
    field = np.zeros(frame, np.float32)
    edges = np.sort(rng.uniform(0.05, 0.95, rng.integers(2, 6)))
    for edge in edges:
        step = rng.uniform(-9, 9)
        field += step / (1 + np.exp(-(depth - edge) / rng.uniform(0.004, 0.03)))
    for _ in range(int(rng.integers(0, 6))):
        middle, width = rng.uniform(0.1, 0.95), rng.uniform(0.004, 0.02)
        tilt = (np.arange(frame[1], dtype=np.float32)[None, :] / frame[1] - 0.5) * rng.uniform(
            -0.4, 0.4
        )
        field += rng.uniform(-6, 10) * np.exp(-(((depth + tilt - middle) / width) ** 2))
    # Fibres: bright streaks, much longer across the beam than along it.
    streaks = blur(
        rng.standard_normal(frame, dtype=np.float32),
        (float(rng.uniform(0.8, 2.5)), float(rng.uniform(5, 20))),
    )
    field += np.maximum(streaks / streaks.std() - rng.uniform(-0.5, 1), 0) * rng.uniform(0, 6)
    field += power_noise(rng, frame, rng.uniform(1.0, 2.0)) * rng.uniform(1, 4)
    return np.asarray(field - field.mean(), dtype=np.float32)


def ultrasound(seed: int, *, size: int = 256, lesion: bool | None = None) -> Phantom:
    """Draw an ultrasound-like image: layers, log-compressed speckle, shadows, maybe a lesion.

    Parameters
    ----------
    seed : int
        The same seed gives the same phantom.
    size : int
        Rows and columns.
    lesion : bool or None
        Whether there is a lesion; None lets the seed decide, one half each.

    Returns
    -------
    Phantom
        Gray image; `class_index` into `ULTRASOUND_CLASSES`.
    """
    rng = np.random.default_rng((102, seed))
    coin = bool(rng.integers(2))
    present = coin if lesion is None else lesion
    frame = (size, size)
    rows = np.arange(size, dtype=np.float32)[:, None]
    columns = np.arange(size, dtype=np.float32)[None, :]
    decibels = _tissue(rng, frame)
    for _ in range(int(rng.integers(0, 4))):
        # Shadows of ribs, nipple and poor contact: dark wedges that are no lesion.
        start, middle, width = rng.uniform(0, 0.7), rng.uniform(0, 1), rng.uniform(0.02, 0.1)
        beam = np.exp(-(((columns / size - middle) / width) ** 2))
        onset = 1 / (1 + np.exp(-(rows / size - start) / 0.04))
        decibels -= rng.uniform(2, 12) * beam * onset
    labels = np.zeros(frame, np.uint8)
    if present:
        radius = float(np.exp(rng.uniform(np.log(0.07), np.log(0.28))) * size)
        aspect = float(rng.uniform(0.45, 1.0))
        radii = (radius * aspect, radius)
        angle = float(rng.normal(0, 0.35))
        rough = float(rng.choice([0.05, 0.15, 0.3]))
        outline = blob_outline(rng, rough, 12)
        centre = (
            float(rng.uniform(0.15 * size + radii[0] * 0.5, 0.85 * size - radii[0] * 0.5)),
            float(rng.uniform(0.1 * size + radii[1] * 0.5, 0.9 * size - radii[1] * 0.5)),
        )
        field = signed_radius(frame, centre, radii, angle, outline)
        labels[field > 0] = 1
        softness = rng.uniform(0.5, 0.08 * radius + 1.5)
        cover = 1 / (1 + np.exp(-np.clip(field / softness, -30, 30)))
        contrast = -rng.uniform(4, 17) if rng.random() < 0.93 else rng.uniform(4, 10)
        inside = contrast + power_noise(rng, frame, 1.2) * rng.uniform(0.3, 3)
        decibels = decibels * (1 - cover * rng.uniform(0.5, 1)) + inside * cover
        if rng.random() < 0.4:
            rim = np.exp(-(((field + 0.5 * softness) / (1.5 + 0.06 * radius)) ** 2))
            decibels += rng.uniform(1, 7) * rim
        beam = np.exp(-(np.clip(abs(columns - centre[1]) / (0.75 * radii[1]), 0, 6) ** 4))
        below = 1 / (
            1
            + np.exp(-np.clip((rows - centre[0] - 0.6 * radii[0]) / (0.25 * radii[0] + 2), -30, 30))
        )
        decibels += rng.uniform(-9, 6) * beam * below * (1 - cover)
    decibels -= (rows / size) * rng.uniform(-3, 8)
    grain = (float(rng.uniform(0.4, 1.1)), float(rng.uniform(0.6, 2.2)))
    amplitude = 20 * np.log10(np.maximum(speckle(rng, frame, grain), 1e-3)) * rng.uniform(0.35, 1)
    signal = blur(np.asarray(decibels + amplitude, dtype=np.float32), float(rng.uniform(0.3, 1.0)))
    gain, level = rng.uniform(4.0, 7.5), rng.uniform(70, 135)
    return Phantom(_to_uint8(level + gain * signal), labels, int(present))


def mixed(seed: int, *, size: int = 256) -> Phantom:
    """Draw one to four blobs of any contrast, texture and edge on an arbitrary background.

    Parameters
    ----------
    seed : int
        The same seed gives the same phantom.
    size : int
        Rows and columns.

    Returns
    -------
    Phantom
        Gray image; a later object covers an earlier one; `class_index` is 0.
    """
    rng = np.random.default_rng((103, seed))
    frame = (size, size)
    image = power_noise(rng, frame, rng.uniform(0.8, 2.2)) * rng.uniform(2, 25)
    for _ in range(int(rng.integers(0, 4))):
        region = power_noise(rng, frame, 2.4) > rng.uniform(-1, 1)
        image += blur(region.astype(np.float32), float(rng.uniform(0.5, 4))) * rng.uniform(-45, 45)
    labels = np.zeros(frame, np.uint8)
    for value in range(1, int(rng.integers(1, 5)) + 1):
        radius = float(np.exp(rng.uniform(np.log(0.035), np.log(0.3))) * size)
        radii = (radius * float(rng.uniform(0.45, 1)), radius)
        centre = tuple(float(x) for x in rng.uniform(0.08 * size, 0.92 * size, 2))
        if rng.random() < 0.3:
            kind = SHAPE_CLASSES[int(rng.integers(len(SHAPE_CLASSES)))]
            field = _polygon_distance(
                frame, (centre[0], centre[1]), radius, rng.uniform(0, 6.3), kind
            )
        else:
            outline = blob_outline(rng, float(rng.choice([0.02, 0.1, 0.25])), 10)
            field = signed_radius(
                frame, (centre[0], centre[1]), radii, rng.uniform(0, 6.3), outline
            )
        inside = field > 0
        if rng.random() < 0.1:
            inside &= ~(field > 0.55 * radius)
        labels[inside] = value
        cover = blur(inside.astype(np.float32), float(rng.uniform(0.4, 1 + 0.08 * radius)))
        strength = rng.uniform(10, 80) * rng.choice([-1, 1])
        inner = strength + power_noise(rng, frame, rng.uniform(0.5, 2)) * rng.uniform(0, 12)
        keep = rng.uniform(0, 1)
        image = image * (1 - cover * keep) + inner * cover
    style = rng.random()
    if style < 0.4:
        grain = (float(rng.uniform(0.4, 1.5)), float(rng.uniform(0.4, 2)))
        image += 20 * np.log10(np.maximum(speckle(rng, frame, grain), 1e-3)) * rng.uniform(1, 5)
    elif style < 0.8:
        image += power_noise(rng, frame, rng.uniform(0, 0.6)) * rng.uniform(1, 20)
    image = blur(np.asarray(image, dtype=np.float32), float(rng.uniform(0.2, 1.2)))
    image += np.linspace(-1, 1, size, dtype=np.float32)[:, None] * rng.uniform(-25, 25)
    return Phantom(_to_uint8(image + rng.uniform(60, 190)), labels, 0)
