"""Images as a network is shown them: read once, letterboxed, kept in memory as 8 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.letterbox import Letterbox
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.images.windows import Window, WindowParameters, apply_window, resolve_window
from napari_cam_sam.models.training.copies import Fingerprints, fingerprint
from napari_cam_sam.models.training.samples import LeftOut, Sample

__all__ = ["Frames", "read_frames", "windowed_planes"]


@dataclass(frozen=True, eq=False)
class Frames:
    """Samples with their pixels.

    Attributes
    ----------
    samples : tuple of Sample
        Those that could be read.
    pixels : ndarray of uint8, shape (n, channels, row, column)
        Letterboxed as :meth:`models.classifiers.Classifier.prepare` does it. One channel where
        no image has colours, else three.
    fingerprints : Fingerprints
        One a sample, of the whole plane.
    left_out : tuple of LeftOut
        Those that could not.
    """

    samples: tuple[Sample, ...]
    pixels: NDArray[np.uint8]
    fingerprints: Fingerprints
    left_out: tuple[LeftOut, ...]

    def data_hash(self) -> str:
        """Hash labels, groups and pixels, hexadecimal: the data, wherever they lie."""
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        numbers: dict[str, int] = {}  # a volume's group is called by its path
        for sample, frame in zip(self.samples, self.pixels, strict=True):
            number = numbers.setdefault(sample.group, len(numbers)) if sample.group else -1
            digest.update(f"{sample.label}\n{number}\n".encode())
            digest.update(frame.tobytes())
        return digest.hexdigest()


def windowed_planes(
    samples: Sequence[Sample], window: WindowParameters
) -> Iterator[NDArray[np.uint8] | CamSamError]:
    """Read the planes of samples in 8 bits, or say why one cannot be read.

    An image is opened once for samples that follow each other, and its window is one for all
    its planes.

    Parameters
    ----------
    samples : sequence of Sample
    window : WindowParameters

    Yields
    ------
    ndarray of uint8, shape (row, column) or (row, column, 3), or CamSamError
        One a sample; colours that are gray everywhere have no channels.
    """
    source: Path | Image | None = None
    opened: tuple[Image, Window] | CamSamError = CamSamError("")
    for sample in samples:
        if sample.image != source:
            source = sample.image
            try:
                image = read_image(source) if isinstance(source, Path) else source
                opened = (image, resolve_window(image, window))
            except CamSamError as error:
                opened = error
        if isinstance(opened, CamSamError):
            yield opened
            continue
        try:
            yield _plane(*opened, sample)
        except CamSamError as error:
            yield error


def _plane(image: Image, window: Window, sample: Sample) -> NDArray[np.uint8]:
    if sample.plane is None and image.spatial_ndim == 3:
        raise CamSamError(
            f"{sample.name} is a volume of {image.n_planes(sample.axis)} slices: label its slices, "
            "by a table with the columns path, label and plane, or image and truth."
        )
    plane = apply_window(image.plane(sample.axis, sample.plane or 0), window)
    if plane.ndim == 3 and (plane == plane[..., :1]).all():
        return np.ascontiguousarray(plane[..., 0])
    return plane


def read_frames(
    samples: Sequence[Sample],
    window: WindowParameters,
    input_size: tuple[int, int],
    progress: Callable[[int, int], None],
) -> Frames:
    """Read all samples into memory.

    Parameters
    ----------
    samples : sequence of Sample
    window : WindowParameters
    input_size : tuple of int
        Rows and columns.
    progress : callable
        Told (samples done, samples) after each; it may raise to stop.

    Returns
    -------
    Frames

    Raises
    ------
    CamSamError
        If they do not fit into memory.
    """
    _check_memory(len(samples), input_size)
    kept: list[Sample] = []
    frames: list[NDArray[np.uint8]] = []
    fingerprints: list[Fingerprints] = []
    left_out: list[LeftOut] = []
    planes = windowed_planes(samples, window)
    for done, (sample, plane) in enumerate(zip(samples, planes, strict=True), start=1):
        if isinstance(plane, CamSamError):
            left_out.append(LeftOut(sample.name, str(plane)))
        else:
            letterbox = Letterbox.fit((plane.shape[0], plane.shape[1]), input_size)
            kept.append(sample)
            frames.append(letterbox.apply(plane))
            fingerprints.append(fingerprint(plane))
        progress(done, len(samples))
    coloured = any(frame.ndim == 3 for frame in frames)
    pixels = np.empty((len(frames), 3 if coloured else 1, *input_size), dtype=np.uint8)
    for target, frame in zip(pixels, frames, strict=True):
        target[...] = frame if frame.ndim == 2 else frame.transpose(2, 0, 1)
    return Frames(tuple(kept), pixels, Fingerprints.joined(fingerprints), tuple(left_out))


def _check_memory(n: int, input_size: tuple[int, int]) -> None:
    # Colour, and once more while they are put together.
    needed = 6 * n * input_size[0] * input_size[1]
    free = psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise CamSamError(
            f"{n} images at {input_size[0]}×{input_size[1]} need up to {needed / 2**30:.1f} GiB "
            f"of memory, and {free / 2**30:.1f} GiB are free: choose a smaller input size or "
            "fewer images."
        )
