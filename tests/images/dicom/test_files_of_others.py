"""Every file that pydicom and highdicom bring along: read as pydicom does, or refused."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_color_lut, apply_modality_lut

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.reading import read_series
from napari_cam_sam.images.dicom.series import find_series

_NOT_DICOM = (".py", ".pyc", ".json", ".txt", ".pyi", ".typed", ".xml")
FILES = [
    path
    for package in (pydicom, highdicom)
    for path in sorted(Path(package.__file__).parent.rglob("*"))
    if path.is_file() and path.suffix not in _NOT_DICOM
]

DAMAGED = ("MR_truncated.dcm", "JPEG2000-embedded-sequence-delimiter.dcm")


def test_there_are_files() -> None:
    assert len(FILES) > 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_read_as_pydicom_does_or_refused(path: Path) -> None:
    found, why = attempt(lambda: find_series(path))
    if found is None:
        assert why.endswith(f"({path}).")
        return
    if path.name.startswith("DICOMDIR"):
        assert len(found) > 3
        return
    (series,) = found
    images, why = attempt(lambda: [read_series(series, i) for i in range(min(series.frames, 5))])
    if images is not None:
        _, why = attempt(lambda: [np.asarray(image.data) for image in images])
    assert bool(why) == (path.name in DAMAGED)
    if why:
        return
    expected = as_pydicom_reads(path)
    for image in images:
        values = np.asarray(image.data)
        if "MONOCHROME1" in " ".join(image.notes):
            continue  # test_pixels.py
        frames = [expected[frame.number - 1] for frame in image.source.frames]
        np.testing.assert_allclose(
            values.squeeze(), np.squeeze(np.stack(frames)), rtol=1e-5, atol=1e-5
        )


def attempt(read: Callable[[], Any]) -> tuple[Any, str]:
    """Return what is read, or None and why it is refused."""
    try:
        return read(), ""
    except CamSamError as error:
        return None, str(error)


def as_pydicom_reads(path: Path) -> np.ndarray:
    """Return the values of all frames; colours of eight or sixteen bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path, force=True)
        values = pixels(data)
    if int(data.get("NumberOfFrames") or 1) == 1:
        values = values[None]
    if data.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(values, data) >> 8
    if data.SamplesPerPixel == 3:
        return values >> 16 if values.dtype.itemsize == 4 else values
    if "DoseGridScaling" in data:
        return values * float(data.DoseGridScaling)
    return apply_modality_lut(values, data)


def pixels(data: pydicom.Dataset) -> np.ndarray:
    try:
        return data.pixel_array
    except RuntimeError:
        # JPEG of 12 bits, for which pydicom wants a package that is not free enough.
        import imagecodecs
        from pydicom.encaps import get_frame

        return np.asarray(imagecodecs.jpeg_decode(get_frame(data.PixelData, 0)))
