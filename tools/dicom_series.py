"""Series of CT written by pydicom with any geometry, for round trips and tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_cam_sam.images.geometry import spacing_from_affine

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_series(
    folder: Path, values: NDArray[np.int16], affine: NDArray[np.float64], *, reverse: bool = False
) -> Path:
    """Write a CT series with an affine of ours, (slice, row, column) to RAS+ mm."""
    folder.mkdir(parents=True, exist_ok=True)
    world = LPS @ affine
    spacing = spacing_from_affine(world)
    study, series, place = generate_uid(), generate_uid(), generate_uid()
    for index, plane in enumerate(values):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.SOPClassUID = CTImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.SpecificCharacterSet = "ISO_IR 100"
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID, data.Modality = place, "CT"
        data.PatientName, data.PatientID = "Müller^Jörg", "PID-4711"
        data.PatientBirthDate, data.PatientSex = "19500203", "M"
        data.StudyDate, data.StudyTime = "20200102", "101010"
        data.AccessionNumber, data.StudyID, data.ReferringPhysicianName = "ACC1", "S1", "Ref^Dr"
        data.SeriesNumber, data.InstanceNumber = 3, len(values) - index if reverse else index + 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.Manufacturer, data.KVP, data.PositionReferenceIndicator = "Test", "120", ""
        data.Rows, data.Columns = plane.shape
        position = world[:3, 3] + index * world[:3, 0]
        data.ImagePositionPatient = [f"{v:.10g}"[:16] for v in position]
        turns = np.concatenate([world[:3, 2] / spacing[2], world[:3, 1] / spacing[1]])
        data.ImageOrientationPatient = [f"{v:.12f}"[:16] for v in turns]
        data.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[2]:.10g}"]
        data.SliceThickness = f"{spacing[0]:.10g}"
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        data.RescaleIntercept, data.RescaleSlope = "0", "1"
        data.PixelData = np.ascontiguousarray(plane, "<i2").tobytes()
        path = folder / f"{(len(values) - index if reverse else index):04d}.dcm"
        data.save_as(path, enforce_file_format=True)
    return folder
