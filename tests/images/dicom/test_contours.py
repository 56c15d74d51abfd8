from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from dicom_series import LPS, write_series
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.contour_writing import write_contours
from napari_cam_sam.images.dicom.contours import read_contours, regions_of
from napari_cam_sam.images.dicom.reading import read_dicom
from napari_cam_sam.images.geometry import Geometry, spacing_from_affine
from napari_cam_sam.images.image import Image

DATA = Path(__file__).parents[4] / "shared/data/dicom/ct_rtstruct"
AFFINE = LPS @ np.array([[0, 0, 0.5, -30], [0, 0.5, 0, -20], [2.5, 0, 0, 40], [0, 0, 0, 1.0]])
SQUARE = np.array([(2.0, 2.0), (2.0, 12.0), (12.0, 12.0), (12.0, 2.0)])


@pytest.fixture
def series(tmp_path) -> Image:
    return read_dicom(write_series(tmp_path / "series", np.zeros((4, 20, 24), np.int16), AFFINE))


def points(image: Image, index: float, polygon: np.ndarray) -> list[str]:
    """Corners in pixels of a slice as coordinates in LPS mm."""
    homogeneous = np.column_stack([np.full(len(polygon), index), polygon, np.ones(len(polygon))])
    return [f"{v:.3f}" for v in (homogeneous @ (LPS @ image.geometry.affine).T)[:, :3].ravel()]


def item(**values: Any) -> Any:
    found = pydicom.Dataset()
    for key, value in values.items():
        setattr(found, key, value)
    return found


def write_rt(
    path: Path,
    image: Image,
    regions: Sequence[tuple[str, Sequence[tuple[float, np.ndarray]]]],
    *,
    kind: str = "CLOSED_PLANAR",
    references: bool = True,
) -> Path:
    """Write a structure set as another program would."""
    base = np.zeros(image.spatial_shape, np.uint8)
    base[0, 0, 0] = 1
    write_contours(path, base, image)
    data: Any = pydicom.dcmread(path)
    data.StructureSetROISequence = [
        item(ROINumber=n, ROIName=name) for n, (name, _) in enumerate(regions, 1)
    ]
    data.ROIContourSequence = [
        item(
            ReferencedROINumber=n,
            ROIDisplayColor=[10 * n, 20, 30],
            ContourSequence=[
                item(
                    ContourGeometricType=kind,
                    NumberOfContourPoints=len(polygon),
                    ContourData=points(image, index, polygon),
                )
                for index, polygon in contours
            ],
        )
        for n, (_, contours) in enumerate(regions, 1)
    ]
    if references:
        for region, (_, contours) in zip(data.ROIContourSequence, regions, strict=True):
            for contour, (index, _) in zip(region.ContourSequence, contours, strict=True):
                frame = image.source.frames[min(int(index), 3)]
                contour.ContourImageSequence = [
                    item(ReferencedSOPInstanceUID=frame.sop_instance_uid)
                ]
    data.save_as(path)
    return path


def test_contours_become_labels(tmp_path, series):
    path = write_rt(
        tmp_path / "rt.dcm",
        series,
        [("Liver", [(1, SQUARE), (2, SQUARE)]), ("Cyst", [(0, SQUARE)])],
    )
    (found,) = read_contours(path, series)
    expected = np.zeros((4, 20, 24), int)
    expected[1:3, 2:13, 2:13] = 1
    expected[0, 2:13, 2:13] = 2
    assert np.array_equal(found.data, expected)
    assert [(one.number, one.name, one.colour) for one in found.segments] == [
        (1, "Liver", (10, 20, 30)), (2, "Cyst", (20, 20, 30)),
    ]  # fmt: skip
    assert found.geometry is series.geometry
    assert regions_of(path) == found.segments
    (found,) = read_contours(path, series, ["cyst"])
    assert np.array_equal(found.data, np.where(expected == 2, 2, 0))


def test_inner_contours_are_holes_and_parts_are_parts(tmp_path, series):
    inner = np.array([(5.4, 5.4), (5.4, 8.6), (8.6, 8.6), (8.6, 5.4)])
    part = np.array([(15.5, 15.5), (15.5, 18.5), (18.5, 18.5), (18.5, 15.5)])
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, SQUARE), (1, inner), (1, part)])])
    (found,) = read_contours(path, series)
    expected = np.zeros((20, 24), int)
    expected[2:13, 2:13] = 1
    expected[6:9, 6:9] = 0
    expected[16:19, 16:19] = 1
    assert np.array_equal(found.data[1], expected)
    keyhole = np.concatenate([SQUARE, SQUARE[:1], inner, inner[:1]])
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, keyhole), (1, part)])])
    (found,) = read_contours(path, series)
    # The keyhole runs through centres of pixels, from (2, 2) to the hole: they belong.
    assert np.array_equal(found.data[1], expected)
    assert found.notes == ("Its labels are 1 (A).",)


def test_overlapping_regions_are_kept_apart(tmp_path, series):
    path = write_rt(
        tmp_path / "rt.dcm",
        series,
        [("A", [(1, SQUARE)]), ("B", [(1, SQUARE + 2)]), ("C", [(2, SQUARE)])],
    )
    one, other = read_contours(path, series)
    assert [[s.name for s in found.segments] for found in (one, other)] == [["A", "C"], ["B"]]


def test_a_contour_that_crosses_itself_is_filled_and_said(tmp_path, series):
    tie = np.array([(2.0, 2.0), (18.0, 18.0), (18.0, 2.0), (2.0, 18.0)]) + 0.3
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, tie)])])
    (found,) = read_contours(path, series)
    assert "A contour of 1 (A) crosses itself (slice 1)" in found.notes[1]
    both = found.data[1]
    assert (both[5, 10], both[15, 10], both[10, 5]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (1.5, "lies off every slice, at slice 1.50"),
        (4, "lies off every slice, at slice 4.00"),
        (-3, "lies off every slice, at slice -3.00"),
    ],
)
def test_points_off_every_slice_are_refused(tmp_path, series, index, reason):
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(index, SQUARE)])], references=False)
    with pytest.raises(CamSamError, match=rf"^Contour 1 of 1 \(A\) {reason}"):
        read_contours(path, series)


def test_a_contour_across_slices_is_refused(tmp_path, series):
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, SQUARE)])], references=False)
    data: Any = pydicom.dcmread(path)
    data.ROIContourSequence[0].ContourSequence[0].ContourData[2] += 2.5
    data.save_as(path)
    with pytest.raises(CamSamError, match=r"does not lie on one slice: it reaches from slice 1\.0"):
        read_contours(path, series)


def test_a_contour_that_names_another_image_is_refused(tmp_path, series):
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, SQUARE)])])
    data: Any = pydicom.dcmread(path)
    image = data.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0]
    image.ReferencedSOPInstanceUID = series.source.frames[2].sop_instance_uid
    data.save_as(path)
    with pytest.raises(CamSamError, match=r"was drawn on slice 2, but its points lie at slice 1"):
        read_contours(path, series)
    image.ReferencedSOPInstanceUID = "1.2.3"
    data.save_as(path)
    with pytest.raises(CamSamError, match=r"on the image 1\.2\.3, which the series does not hold"):
        read_contours(path, series)


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", "OPEN_NONPLANAR", "POINT", ""])
def test_open_contours_enclose_nothing(tmp_path, series, kind):
    path = write_rt(
        tmp_path / "rt.dcm", series, [("A", [(1, SQUARE)]), ("B", [(1, SQUARE), (2, SQUARE)])]
    )
    data: Any = pydicom.dcmread(path)
    data.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = kind
    data.save_as(path)
    (found,) = read_contours(path, series)
    assert [one.name for one in found.segments] == ["B"]
    assert "The region 1 (A) has no area" in found.notes[1]
    with pytest.raises(CamSamError, match=r"The region 1 \(A\) has no area"):
        read_contours(path, series, ["A"])
    data.ROIContourSequence[1].ContourSequence[0].ContourGeometricType = kind
    data.save_as(path)
    with pytest.raises(CamSamError, match=r"The region 2 \(B\) has contours that enclose nothing"):
        read_contours(path, series)


def test_regions_without_contours_are_left_out_and_said(tmp_path, series):
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, SQUARE)]), ("Planned", [])])
    (found,) = read_contours(path, series)
    assert found.notes[1:] == ("The region 2 (Planned) has no area, it is empty: it is left out.",)
    path = write_rt(tmp_path / "rt.dcm", series, [("Planned", [])])
    with pytest.raises(CamSamError, match="No region of this structure set has an area"):
        read_contours(path, series)


def test_contours_of_another_series_are_refused_by_its_name(tmp_path, series):
    other = read_dicom(write_series(tmp_path / "other", np.zeros((4, 20, 24), np.int16), AFFINE))
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, SQUARE)])])
    with pytest.raises(CamSamError) as error:
        read_contours(path, other)
    assert series.source.series_uid in str(error.value)
    assert other.source.series_uid in str(error.value)


def test_contours_on_a_resampled_image_are_those_of_the_nearest_slice(tmp_path, series):
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, SQUARE)])])
    affine = series.geometry.affine.copy()
    affine[:3, 0] /= 2
    fine = replace(
        series,
        data=np.zeros((7, 20, 24), np.int16),
        geometry=Geometry(tuple(spacing_from_affine(affine)), affine, "mm"),
        source=replace(series.source, resampled=True),
    )
    (found,) = read_contours(path, fine)
    assert found.data.any(axis=(1, 2)).tolist() == [0, 0, 1, 1, 0, 0, 0]


def test_numbers_that_are_no_labels_are_counted_from_one(tmp_path, series):
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, SQUARE)]), ("B", [(2, SQUARE)])])
    data: Any = pydicom.dcmread(path)
    data.StructureSetROISequence[0].ROINumber = data.ROIContourSequence[0].ReferencedROINumber = 0
    data.save_as(path)
    (found,) = read_contours(path, series)
    assert [(one.number, one.name) for one in found.segments] == [(1, "A"), (2, "B")]
    assert found.data[2, 5, 5] == 2


@pytest.mark.parametrize(
    "broken",
    [
        lambda data: data.pop("StructureSetROISequence"),
        lambda data: data.pop("ROIContourSequence"),
        lambda data: setattr(data.StructureSetROISequence[1], "ROINumber", 1),
        lambda data: contour(data).pop("ContourData"),
        lambda data: setattr(contour(data), "ContourData", ["1", "2"]),
        lambda data: setattr(contour(data), "ContourData", ["1e400", "2", "3"]),
        lambda data: setattr(data, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
    ],
)
def test_broken_files_are_refused(tmp_path, series, broken):
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, SQUARE)]), ("B", [(2, SQUARE)])])
    data: Any = pydicom.dcmread(path)
    broken(data)
    data.save_as(path)
    with pytest.raises(CamSamError, match=r"rt\.dcm\)\.$"):
        read_contours(path, series)


def contour(data: Any) -> Any:
    return data.ROIContourSequence[0].ContourSequence[0]


def test_an_image_without_a_place_takes_no_contours(tmp_path, series):
    path = write_rt(tmp_path / "rt.dcm", series, [("A", [(1, SQUARE)])])
    flat = replace(series, source=None, geometry=Geometry((1.0, 1.0, 1.0)))
    with pytest.raises(CamSamError, match="has no place in the patient"):
        read_contours(path, flat)


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="the real DICOM files are not there")
def test_real_structure_sets():
    image = read_dicom(DATA)
    (found,) = read_contours(DATA / "rt.dcm", image)
    assert found.data.sum(axis=(1, 2)).tolist() == [1443, 0]
    assert "another frame of reference" in found.notes[1]
    for name in ("invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"):
        with pytest.raises(CamSamError, match=r"image 2\.16.*which the series does not hold"):
            read_contours(DATA / name, image)
        # Regions are listed without the series.
        assert [one.name for one in regions_of(DATA / name)] == ["ROI-1", "ROI-2", "ROI-3", "ROI-4"]
