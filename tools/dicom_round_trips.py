"""Labels through NIfTI, DICOM segmentations and contours and back, on random series.

    python tools/dicom_round_trips.py [COUNT]

Series are oblique, flipped, anisotropic, in any order, of 1 to 40 slices; labels have holes,
parts and single pixels. Prints what differs, and ends with 1 if anything does.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_series import write_series
from napari_cam_sam.images.dicom.contour_writing import write_contours
from napari_cam_sam.images.dicom.contours import read_contours
from napari_cam_sam.images.dicom.reading import read_dicom
from napari_cam_sam.images.dicom.segmentation_writing import write_segmentation
from napari_cam_sam.images.dicom.segments import read_segmentation
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import check_same_grid, read_labels
from napari_cam_sam.images.writing import write_labels


def random_affine(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return an affine of (slice, row, column) to RAS+ mm: any rotation, flips, spacing."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if rng.random() < 0.4:
        turn = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = turn * np.exp(rng.uniform(np.log(0.2), np.log(8), 3))
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


def random_labels(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return labels from 1 without gaps, with holes, parts and single pixels."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), [0.5, *rng.uniform(0.5, 4, 2)])
    count = int(rng.integers(1, 5))
    cuts = np.quantile(noise, np.sort(rng.uniform(0.2, 0.95, count)))
    labels = np.searchsorted(cuts, noise).astype(np.uint8)
    labels[tuple(int(rng.integers(n)) for n in shape)] = 1
    found = np.unique(labels[labels > 0])
    return np.searchsorted(np.concatenate([[0], found]), labels).astype(np.uint8)


def dice(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the least Dice of the labels of two arrays."""
    found = np.union1d(np.unique(one), np.unique(other))
    values = []
    for label in found[found > 0]:
        a, b = one == label, other == label
        values.append(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
    return float(min(values, default=1.0))


def round_trip(seed: int, folder: Path) -> list[str]:
    """Return what differs after one way through all formats."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 41)), *(int(n) for n in rng.integers(3, 65, 2)))
    affine = random_affine(rng)
    labels = random_labels(rng, shape)
    values = rng.integers(-1000, 1000, shape).astype(np.int16)
    write_series(folder / "series", values, affine, reverse=bool(rng.random() < 0.5))
    image = read_dicom(folder / "series")
    wrong = []
    if shape[0] == 1:
        same = labels.reshape(image.spatial_shape)
        if np.abs(np.abs(image.geometry.affine) - np.abs(affine))[:3, 1:].max() > 1e-4:
            wrong.append("affine of the slice")
    else:
        turned = np.abs(image.geometry.affine[:3, 0] - affine[:3, 0]).max() > 1e-3
        same = labels[::-1] if turned else labels
        own = affine.copy()
        if turned:
            own[:3, 3] += own[:3, 0] * (shape[0] - 1)
            own[:3, 0] *= -1
        if np.abs(own - image.geometry.affine).max() > 1e-4:
            wrong.append("affine of the series")
    write_labels(folder / "labels.nii.gz", same, image)
    nifti = read_labels(folder / "labels.nii.gz", exact=True)
    check_same_grid(image, nifti)
    start = np.asarray(nifti.data)
    for kind in ("binary", "labelmap"):
        path = folder / f"{kind}.dcm"
        write_segmentation(path, start, image, kind=kind)
        for like in (image, None):
            (back,) = read_segmentation(path, like)
            if like is not None and not np.array_equal(back.data, same):
                wrong.append(f"voxels of {kind}")
            if like is None:
                wrong += _placed(back, same, image, kind)
    write_contours(folder / "contours.dcm", start, image)
    (back,) = read_contours(folder / "contours.dcm", image)
    if dice(np.asarray(back.data), same) < 0.99:
        wrong.append(f"contours: Dice {dice(np.asarray(back.data), same):.4f}")
    write_labels(folder / "again.nii.gz", back.data, image)
    again = read_labels(folder / "again.nii.gz", exact=True)
    check_same_grid(nifti, again)
    if np.abs(again.geometry.affine - image.geometry.affine).max() > 1e-4:
        wrong.append("affine of the last NIfTI")
    return wrong


def _placed(alone: Image, same: NDArray[Any], image: Image, kind: str) -> list[str]:
    """Return what differs where a segmentation is read without its series: it is cut to slices."""
    same = same if same.ndim == 3 else same[None]
    there = np.linalg.inv(image.geometry.affine) @ alone.geometry.affine
    begin = np.round(there[:3, 3]).astype(int)
    count = alone.spatial_shape[0]
    sign = 1 if there[0, 0] > 0 else -1
    numbers = begin[0] + sign * np.arange(count)
    if numbers.min() < 0 or numbers.max() >= len(same):
        return [f"place of {kind} without its series"]
    if not np.array_equal(np.asarray(alone.data), same[numbers]):
        return [f"voxels of {kind} without its series"]
    return []


def main() -> int:
    """Run as many round trips as were asked for, 200 by default."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    bad = 0
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrong = round_trip(seed, Path(folder))
        if wrong:
            bad += 1
            print(f"{seed}: {', '.join(wrong)}")
    print(f"{count - bad} of {count} round trips gave back what went in")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
