"""Series of DICOM that are full of words about a patient, and the list of these words."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

NEEDED = {
    "PatientName": "Grünäugl^Jørgæn",
    "PatientID": "ZQX-81-4711",
    "PatientBirthDate": "19610723",
    "StudyDate": "20170411",
    "StudyTime": "134759.620415",
    "StudyID": "STUZQ9",
    "AccessionNumber": "ACC99ZQ17",
    "ReferringPhysicianName": "Überbächer^Zdzisława^^Dr",
}
"""What an archive wants of every object in a study."""
NOT_NEEDED = {
    "OtherPatientIDs": "SVNR3377230761",
    "PatientBirthName": "Mädchenñame^Zoëlina",
    "PatientMotherBirthName": "Großmütterlein^Ägidia",
    "PatientBirthTime": "042317.118",
    "PatientAddress": "Ährengasse 17, 6300 Wörgl",
    "PatientTelephoneNumbers": "+43-5332-998877",
    "PatientComments": "Kommt mit Hündin Xanthippe",
    "PatientWeight": "81.3719",
    "MedicalRecordLocator": "MRLZQ556",
    "Occupation": "Glockengießer",
    "InstitutionName": "Spital Wörgl-Süd",
    "InstitutionAddress": "Krankenhausstraße 5",
    "InstitutionalDepartmentName": "Röntgenzimmer Zwölf",
    "StationName": "STATZQ3",
    "PerformingPhysicianName": "Quittenbaum^Vinzenz",
    "NameOfPhysiciansReadingStudy": "Jägersberger^Wanda",
    "PhysiciansOfRecord": "Xaverl^Ignatius",
    "OperatorsName": "Żółkiewska^Halszka",
    "RequestingPhysician": "Öttinger^Philomena",
    "SeriesDate": "20170412",
    "SeriesTime": "140211.317",
    "AcquisitionDate": "20170413",
    "AcquisitionTime": "140312.518",
    "ContentDate": "20170414",
    "ContentTime": "140413.719",
    "AcquisitionDateTime": "20170415140514.823",
    "AdmissionID": "ADMZQ73",
    "DeviceSerialNumber": "SERZQ-20-55",
    "ImageComments": "Bildnotiz Qwertzuiop",
}
DESCRIPTION = "Oberbauch Zwetschkenknödel"
PRIVATE = ("Sägebrecht^Kunigunde", "PRIVZQ-661", "Tochter Ottilie-Zäzilia")
DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
TIMES = ("PatientBirthTime", "StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")
_NAMES = tuple(key for key in NEEDED | NOT_NEEDED if "Name" in key and "Institution" not in key)


def fill(data: Any) -> None:
    """Write all of it into a header, in the charset of Unicode, and within sequences."""
    data.SpecificCharacterSet = "ISO_IR 192"
    for key, value in (NEEDED | NOT_NEEDED).items():
        setattr(data, key, value)
    data.SeriesDescription = DESCRIPTION
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = PRIVATE[1], "ISSZQ4"
    data.OtherPatientIDsSequence = [other]
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RPZQ88", "SPSZQ21"
    data.RequestAttributesSequence = [request]
    block = data.private_block(0x0009, "ACME ZQ", create=True)
    block.add_new(0x01, "PN", PRIVATE[0])
    block.add_new(0x02, "LO", PRIVATE[1])
    inner = Dataset()
    inner.add_new(0x00100010, "PN", PRIVATE[0])
    inner.private_block(0x0011, "ACME IN", create=True).add_new(0x01, "LT", PRIVATE[2])
    block.add_new(0x03, "SQ", [inner])


def words(*, needed: bool = True) -> list[str]:
    """Return all that tells of the patient, each part of a name by itself.

    Words of four letters occur in packed bytes by chance.
    """
    found = [*PRIVATE, "ISSZQ4", "RPZQ88", "SPSZQ21"]
    for key, value in ((NEEDED if needed else {}) | NOT_NEEDED).items():
        if key in DATES:
            found += _dates(value)
        elif key in TIMES:
            found += [value, f"{value[:2]}:{value[2:4]}:{value[4:6]}"]
        elif key not in _NAMES:
            found.append(value)
    names = [v for k, v in ((NEEDED if needed else {}) | NOT_NEEDED).items() if k in _NAMES]
    found += [part for name in (*names, *PRIVATE[:1]) for part in name.split("^") if len(part) > 4]
    return [*found, "20170415140514", "2017-04-15"]


def _dates(digits: str) -> list[str]:
    day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    forms = ("%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")
    return [*(day.strftime(form) for form in forms), f"{day.day}.{day.month}.{day.year}"]


def make_series(folder: Path, *, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write four slices of a disc on a gray ground."""
    folder.mkdir(parents=True)
    rows, columns = np.indices((64, 64))
    disc = np.where((rows - 30) ** 2 + (columns - 34) ** 2 < 150, 300, 20)
    noise = np.random.default_rng(0).integers(0, 30, (4, 64, 64))
    study, series, place = (generate_uid() for _ in range(3))
    for index in range(4):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = syntax
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        fill(data)
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID, data.PositionReferenceIndicator = place, ""
        data.Modality, data.PatientSex, data.Manufacturer = "CT", "M", "Test"
        data.SeriesNumber, data.InstanceNumber, data.KVP = 3, index + 1, "120"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.Rows, data.Columns = 64, 64
        data.ImagePositionPatient = [-20.0, -30.0, 2.5 * index]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.8, 0.8], 2.5
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        data.RescaleIntercept, data.RescaleSlope = 0, 1
        data.PixelData = (disc + noise[index] + index).astype("<i2").tobytes()
        data.save_as(folder / f"{index:03d}.dcm", enforce_file_format=True)
    return folder


def copy_series(source: Path, folder: Path) -> Path:
    """Copy a real series, as if its patient's data had never been taken away."""
    folder.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        data = pydicom.dcmread(path)
        fill(data)
        data.save_as(folder / path.name)
    return folder
