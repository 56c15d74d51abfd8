"""Files of DICOM that are made for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
AXIAL = (1, 0, 0, 0, 1, 0)


def make_file(path: Path, values: np.ndarray, **tags: Any) -> Path:
    """Write one file; ``tags`` are set as they are, and None takes one away."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(tags.pop("TransferSyntaxUID", ExplicitVRLittleEndian))
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = CT_CLASS
    data.SOPInstanceUID = generate_uid()
    data.StudyInstanceUID = "1.2.3"
    data.SeriesInstanceUID = "1.2.3.4"
    data.FrameOfReferenceUID = "1.2.3.5"
    data.PatientName, data.PatientID = "Möller^Änne", "ID4711"
    data.PatientBirthDate, data.StudyDate = "19700101", "20240131"
    data.Modality, data.SeriesNumber, data.SeriesDescription = "CT", 3, "thorax"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    colour = values.ndim == 3 and values.shape[-1] == 3
    data.Rows, data.Columns = values.shape[-3:-1] if colour else values.shape[-2:]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    elif values.ndim == 3:
        data.NumberOfFrames = len(values)
    data.BitsAllocated = data.BitsStored = 8 * values.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    data.PixelSpacing = [0.5, 0.75]
    data.StudyTime, data.StudyID = "120000", "1"
    pixels = values.tobytes() + b"\0" * (values.nbytes % 2)
    data.PixelData = encapsulate([pixels]) if meta.TransferSyntaxUID.is_compressed else pixels
    for name, value in tags.items():
        if value is None:
            if name in data:
                delattr(data, name)
        else:
            setattr(data, name, value)
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)
    return path


def stored(count: int, shape: tuple[int, int] = (5, 4), dtype: Any = np.int16) -> np.ndarray:
    """Return slices that all differ."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 200, (count, *shape)).astype(dtype)


def change(path: Path, **tags: Any) -> Path:
    """Set tags of a file that is there."""
    data = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path)
    return path
