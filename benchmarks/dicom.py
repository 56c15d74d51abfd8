"""How long a DICOM series of 600 slices takes to its first slice, and how much memory as a whole.

    python benchmarks/dicom.py
    python benchmarks/dicom.py --short

The script writes CT series of 600 files of 512 × 512, uncompressed and packed as JPEG 2000. They
are read by this package, by pydicom as one does it at first (every file, sorted by position, then
stacked), and by SimpleITK's series reader. Every figure is from a process of its own, whose
packages are imported before the clock starts; peaks of memory are the operating system's, with
Python and all packages. Then a segmentation of 20 segments is written.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

DISTINCT = 20
"""So many slices differ, and are written over and over: packing takes long."""

# What each process runs: SETUP imports, and defines first() and whole() for `folder`.
MEASURE = """
import json, resource, sys, time
import numpy as np

folder, what, output = json.loads(sys.argv[1])

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

{setup}

before = peak()
begin = time.perf_counter()
checked = globals()[what]()
print(json.dumps({{
    "seconds": time.perf_counter() - begin, "peak": peak(), "before": before, "sum": int(checked),
}}))
"""

OURS = """
import pydicom, napari_cam_sam as ncs

ncs.read_image, ncs.write_labels  # imports what they need

def first():
    return ncs.read_image(folder).data[0].sum(dtype=np.int64)

def whole():
    return np.asarray(ncs.read_image(folder).data).sum(dtype=np.int64)

def walked():
    image = ncs.read_image(folder)
    return sum(image.data[k].sum(dtype=np.int64) for k in range(len(image.data)))

def written():
    import highdicom.seg
    global begin
    image = ncs.read_image(folder)
    labels = np.zeros(image.spatial_shape, np.uint8)
    z, y, x = image.spatial_shape
    for k in range(20):
        size = y // 10
        top, left = (k // 5) * y // 4 + y // 40, (k % 5) * x // 5 + x // 40
        labels[k * z // 40 : k * z // 40 + z // 2, top : top + size, left : left + size] = k + 1
    segments = [ncs.Segment(k, f"Organ {k}") for k in range(1, 21)]
    begin = time.perf_counter()
    ncs.write_labels(output, labels, image, segments=segments)
    return 0
"""

# Neither has a slice before it has them all.
PYDICOM = """
import os
import pydicom

def whole():
    files = [pydicom.dcmread(os.path.join(folder, name)) for name in os.listdir(folder)]
    files.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    volume = np.stack([
        (one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)).astype(np.int16)
        for one in files
    ])
    return volume.sum(dtype=np.int64)
"""

SIMPLEITK = """
import SimpleITK

def whole():
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    image = reader.Execute()  # of which the array is a view
    return SimpleITK.GetArrayViewFromImage(image).sum(dtype=np.int64)
"""

PROGRAMS = {"ours": OURS, "pydicom": PYDICOM, "SimpleITK": SIMPLEITK}


def write_series(folder: Path, slices: int, side: int, *, packed: bool) -> None:
    """Write noise of a CT around a disc, one file a slice, numbered against their order."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows, columns = np.indices((side, side)) / side - 0.5
    disc = np.where(rows**2 + columns**2 < 0.15, 1064, 24)
    study, series, place = (generate_uid() for _ in range(3))
    pixels: dict[int, bytes] = {}
    for index in range(slices):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID, data.PositionReferenceIndicator = place, ""
        data.PatientName, data.PatientID, data.PatientBirthDate = "", "benchmark", ""
        data.PatientSex = data.AccessionNumber = data.StudyID = data.ReferringPhysicianName = ""
        data.StudyDate, data.StudyTime, data.KVP = "", "", "120"
        data.Modality, data.Manufacturer, data.SeriesNumber = "CT", "benchmark", 1
        data.InstanceNumber, data.ImageType = slices - index, ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient = [-180.0, -180.0, 0.5 * index]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.7, 0.7], 0.5
        data.Rows, data.Columns = side, side
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelRepresentation = 0
        data.RescaleIntercept, data.RescaleSlope = "-1024", "1"
        kind = index % DISTINCT
        if kind not in pixels:
            noise = np.random.default_rng(kind).normal(0, 12, disc.shape)
            plane = (disc + noise).clip(0).astype("<u2")
            pixels[kind] = _packed(plane) if packed else plane.tobytes()
        data.PixelData = pixels[kind]
        data["PixelData"].VR = "OW"
        if packed:
            data.file_meta.TransferSyntaxUID = JPEG2000Lossless
            data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        data.save_as(folder / f"{rng.integers(1 << 40):012x}", enforce_file_format=True)


def _packed(plane: NDArray[np.uint16]) -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(plane).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    return encapsulate([stream.getvalue()])


def measure(program: str, what: str, folder: Path, output: Path | None = None) -> dict[str, float]:
    """Run a program in a process of its own."""
    given = json.dumps([str(folder), what, str(output)])
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(setup=PROGRAMS[program]), given],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{program} ended with {done.returncode}: {done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Write the series, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3, help="uncompressed; else once")
    parser.add_argument("--short", action="store_true", help="a smoke test of small slices")
    options = parser.parse_args()
    if options.short:
        options.slices, options.side, options.repeats = 40, 64, 1
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, pydicom {pydicom.__version__}"
    )
    with tempfile.TemporaryDirectory() as place:
        for kind in ("uncompressed", "JPEG 2000"):
            folder = Path(place) / kind
            write_series(folder, options.slices, options.side, packed=kind != "uncompressed")
            _table(kind, folder, options.repeats if kind == "uncompressed" else 1)
        done = measure("ours", "written", Path(place) / "uncompressed", Path(place) / "seg.dcm")
        size = (Path(place) / "seg.dcm").stat().st_size / 2**20
    print(
        f"\na segmentation of 20 segments: {done['seconds']:.1f} s, {size:.0f} MiB, peak "
        f"{done['peak']:.0f} MiB"
    )


def _table(kind: str, folder: Path, repeats: int) -> None:
    size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    print(f"\n{kind}, {size:.0f} MiB on disk")
    print(f"{'':<10}{'first slice':>14}{'whole':>10}{'peak, whole':>14}{'imports alone':>15}")
    found: dict[str, tuple[float, float, float]] = {}
    sums: dict[str, float] = {}
    # In turn, so that what else the machine does falls on all alike.
    taken = [
        (name, measure(name, what, folder))
        for _ in range(repeats)
        for name, what in [("ours", "first"), *((program, "whole") for program in PROGRAMS)]
    ]
    firsts = [one["seconds"] for _, one in taken[:: len(PROGRAMS) + 1]]
    del taken[:: len(PROGRAMS) + 1]
    for name in PROGRAMS:
        runs = [one for program, one in taken if program == name]
        whole, peak, before = (
            statistics.median(one[key] for one in runs) for key in ("seconds", "peak", "before")
        )
        first = statistics.median(firsts) if name == "ours" else whole
        sums[name] = runs[0]["sum"]
        found[name] = (first, whole, peak)
        print(f"{name:<10}{first:>12.2f} s{whole:>8.2f} s{peak:>10.0f} MiB{before:>11.0f} MiB")
    walked = measure("ours", "walked", folder)
    ours = found["ours"]
    for name in ("pydicom", "SimpleITK"):
        print(
            f"to {name}: first slice faster by {found[name][0] / ours[0]:.1f}, memory of the whole "
            f"{ours[2] / found[name][2]:.2f}"
        )
    print(f"ours, every slice read and none kept: {walked['seconds']:.2f} s, peak "
          f"{walked['peak']:.0f} MiB")  # fmt: skip
    if len({*sums.values(), walked["sum"]}) != 1:
        print(f"The programs do not read the same values; their sums are {sums}")


if __name__ == "__main__":
    main()
