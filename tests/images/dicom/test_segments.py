from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from dicom_series import LPS, write_series
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.reading import read_dicom
from napari_cam_sam.images.dicom.segments import read_segmentation, segments_of
from napari_cam_sam.images.dicom.source import DicomFrame, DicomSource
from napari_cam_sam.images.geometry import Geometry, spacing_from_affine
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import read_labels

DATA = Path(__file__).parents[4] / "shared/data/dicom"
AFFINE = LPS @ np.array([[0, 0, 0.7, -30], [0, 0.7, 0, -20], [2.5, 0, 0, 40], [0, 0, 0, 1.0]])


@pytest.fixture
def series(tmp_path) -> Image:
    values = np.arange(5 * 12 * 16, dtype=np.int16).reshape(5, 12, 16)
    return read_dicom(write_series(tmp_path / "series", values, AFFINE))


@pytest.fixture
def labels() -> np.ndarray:
    array = np.zeros((5, 12, 16), np.uint8)
    array[1:4, 2:8, 3:9] = 1
    array[2, 8:11, 10:15] = 2
    return array


def headers(image: Image) -> list[Any]:
    return [pydicom.dcmread(f.path, stop_before_pixels=True) for f in image.source.frames]


def write_seg(path: Path, image: Image, array: Any, kind: str = "BINARY", **more: Any) -> Path:
    """Write a segmentation as another program would, by highdicom."""
    names = more.pop("names", ["Liver", "Lesion", "Vein"])
    values = getattr(array, "array", array)
    count = values.shape[-1] if values.ndim == 4 else int(max(1, values.max()))
    numbers = more.pop("numbers", None) or range(1, count + 1)
    made_by = hd.AlgorithmIdentificationSequence("x", codes.DCM.ArtificialIntelligence, "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = hd.seg.Segmentation(
            more.pop("sources", None) or headers(image),
            array,
            kind,
            [
                hd.seg.SegmentDescription(
                    n, name, codes.SCT.Organ, codes.SCT.Liver, "AUTOMATIC", made_by
                )
                for n, name in zip(numbers, names, strict=False)
            ],
            hd.UID(), 5, hd.UID(), 1, "maker", "model", "1", "1", **more,
        )  # fmt: skip
    data.save_as(path)
    return path


def change(path: Path, change: Any) -> Path:
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_labels_lie_on_the_series(tmp_path, series, labels, kind):
    path = write_seg(tmp_path / "seg.dcm", series, labels, kind)
    (found,) = read_segmentation(path, series)
    assert np.array_equal(found.data, labels)
    assert found.geometry is series.geometry
    assert found.source is series.source
    assert found.name == "Liver, Lesion"
    assert [(one.number, one.name) for one in found.segments] == [(1, "Liver"), (2, "Lesion")]
    assert found.segments[0].kind == ("10200004", "SCT", "Liver")
    assert segments_of(path) == found.segments
    assert found.data.dtype == np.uint8


def test_a_label_map_keeps_numbers_with_gaps(tmp_path, series, labels):
    labels = np.array([0, 3, 700], np.uint16)[labels]
    path = write_seg(tmp_path / "seg.dcm", series, labels, "LABELMAP", numbers=[3, 700])
    (found,) = read_segmentation(path, series)
    assert np.array_equal(found.data, labels)
    (found,) = read_segmentation(path, series, [700])
    assert np.array_equal(found.data, np.where(labels == 700, 700, 0))


def test_without_its_series_it_lies_on_its_own_slices(tmp_path, series, labels):
    path = write_seg(tmp_path / "seg.dcm", series, labels)
    (found,) = read_segmentation(path)
    assert found.spatial_shape == (3, 12, 16)
    there = np.linalg.inv(series.geometry.affine) @ found.geometry.affine
    first = int(np.round(there[0, 3]))
    step = int(np.round(there[0, 0]))
    assert np.array_equal(found.data, labels[first::step][:3])
    assert found.geometry.unit == "mm"


def test_one_segment_is_chosen_by_name_or_number(tmp_path, series, labels):
    path = write_seg(tmp_path / "seg.dcm", series, labels)
    for wanted in (["lesion"], ["2"], [2]):
        (found,) = read_segmentation(path, series, wanted)
        assert np.array_equal(found.data, np.where(labels == 2, 2, 0))
        assert found.name == "Lesion"
    with pytest.raises(CamSamError, match=r"Unknown segment 'Spleen'.*1 \(Liver\), 2 \(Lesion\)"):
        read_segmentation(path, series, ["Spleen"])
    same = write_seg(tmp_path / "same.dcm", series, labels, names=["A", "A"])
    with pytest.raises(CamSamError, match=r"More than one segment is called 'A': .* 1 and 2"):
        read_segmentation(same, series, ["A"])


def test_overlapping_segments_are_kept_apart(tmp_path, series, labels):
    stacked = np.stack([labels == 1, labels == 2, labels > 0], axis=-1)
    path = write_seg(tmp_path / "seg.dcm", series, stacked)
    one, other = read_segmentation(path, series)
    assert np.array_equal(one.data, labels)
    assert np.array_equal(other.data, np.where(labels > 0, 3, 0))
    assert [[s.number for s in found.segments] for found in (one, other)] == [[1, 2], [3]]


@pytest.mark.parametrize("what", ["PROBABILITY", "OCCUPANCY"])
def test_fractions_are_cut_at_a_threshold_that_is_said(tmp_path, series, labels, what):
    soft = np.where(labels == 1, 0.7, np.where(labels == 2, 0.4, 0.0))[..., None]
    path = write_seg(tmp_path / "seg.dcm", series, soft, "FRACTIONAL", fractional_type=what)
    (found,) = read_segmentation(path, series)
    assert np.array_equal(found.data, labels == 1)
    assert "50 % or more" in found.notes[1]
    (found,) = read_segmentation(path, series, threshold=0.3)
    assert np.array_equal(found.data, labels > 0)
    assert "30 %" in found.notes[1]


def test_frames_turned_and_cut_are_placed_rightly(tmp_path, series):
    rng = np.random.default_rng(0)
    labels = (rng.random((5, 12, 16)) > 0.5).astype(np.uint8)
    whole = hd.Volume(labels, LPS @ series.geometry.affine, "PATIENT")
    for name, volume in {
        "flipped": whole.flip_spatial([0, 1]),
        "transposed": whole.swap_spatial_axes(1, 2),
        "sagittal": whole.permute_spatial_axes([2, 0, 1]),
        "turned": whole.permute_spatial_axes([1, 2, 0]).flip_spatial([0, 2]),
    }.items():
        path = write_seg(tmp_path / f"{name}.dcm", series, volume)
        (found,) = read_segmentation(path, series)
        assert np.array_equal(found.data, labels), name
    path = write_seg(tmp_path / "cut.dcm", series, whole[1:3, 2:9, 4:16])
    (found,) = read_segmentation(path, series)
    expected = np.zeros_like(labels)
    expected[1:3, 2:9, 4:16] = labels[1:3, 2:9, 4:16]
    assert np.array_equal(found.data, expected)


def test_frames_beyond_the_image_may_be_empty_alone(tmp_path, series, labels):
    whole = hd.Volume(labels, LPS @ series.geometry.affine, "PATIENT").pad(2)
    path = write_seg(tmp_path / "seg.dcm", series, whole, omit_empty_frames=False)
    (found,) = read_segmentation(path, series)
    assert np.array_equal(found.data, labels)
    for axis in range(3):
        outside = whole.array.copy()
        outside[tuple(0 if a == axis else slice(3, 5) for a in range(3))] = 1
        path = write_seg(tmp_path / "seg.dcm", series, whole.with_array(outside))
        with pytest.raises(CamSamError, match=r"^Frame \d+ of this .* lies (beyond|partly)"):
            read_segmentation(path, series)


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        ([0, 0, 1.25], "lies between the slices [01] and [12]"),
        ([0.3, 0, 0], "lies between the pixels of the image"),
    ],
)
def test_frames_off_the_grid_are_refused(tmp_path, series, labels, move, reason):
    affine = LPS @ series.geometry.affine
    affine[:3, 3] += move
    volume = hd.Volume(labels, affine, "PATIENT")[0:2]
    volume.array[:] = 1
    path = write_seg(tmp_path / "seg.dcm", series, volume)
    with pytest.raises(CamSamError, match=reason):
        read_segmentation(path, series)


def test_pixels_of_another_size_are_refused(tmp_path, series, labels):
    affine = LPS @ series.geometry.affine
    affine[:3, 1] *= 2
    path = write_seg(tmp_path / "seg.dcm", series, hd.Volume(labels, affine, "PATIENT"))
    with pytest.raises(CamSamError, match="pixels of another size or direction"):
        read_segmentation(path, series)


def test_another_series_is_refused_by_its_name(tmp_path, series, labels):
    other = read_dicom(write_series(tmp_path / "other", np.zeros((5, 12, 16), np.int16), AFFINE))
    path = write_seg(tmp_path / "seg.dcm", series, labels)
    with pytest.raises(CamSamError) as error:
        read_segmentation(path, other)
    assert series.source.series_uid in str(error.value)
    assert other.source.series_uid in str(error.value)
    change(path, lambda data: data.pop("ReferencedSeriesSequence"))
    with pytest.raises(CamSamError, match="was drawn on other images than those of the series"):
        read_segmentation(path, other)

    def nameless(data: Any) -> None:
        for group in data.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence

    change(path, nameless)
    with pytest.raises(CamSamError, match="lies in the frame of reference"):
        read_segmentation(path, other)
    (found,) = read_segmentation(path, series)
    assert np.array_equal(found.data, labels)
    # An image that is from no series is believed, and its grid counts.
    (found,) = read_segmentation(path, replace(other, source=None))
    assert np.array_equal(found.data, labels)


def test_slices_that_are_not_evenly_spaced_count_where_they_are(tmp_path, series, labels):
    def moved(data: Any) -> None:
        data.ImagePositionPatient[2] += 0.8

    change(series.source.frames[2].path, moved)
    image = read_dicom(tmp_path / "series", spacing="as-is")
    path = write_seg(tmp_path / "seg.dcm", image, labels)
    (found,) = read_segmentation(path, image)
    assert np.array_equal(found.data, labels)
    with pytest.raises(CamSamError, match="not evenly spaced: name the series"):
        read_segmentation(path)


def test_a_resampled_image_takes_the_nearest_slice(tmp_path, series, labels):
    path = write_seg(tmp_path / "seg.dcm", series, labels)
    affine = series.geometry.affine.copy()
    affine[:3, 0] /= 2
    fine = replace(
        series,
        data=np.zeros((9, 12, 16), np.int16),
        geometry=Geometry(tuple(spacing_from_affine(affine)), affine, "mm"),
        source=replace(series.source, resampled=True),
    )
    (found,) = read_segmentation(path, fine)
    assert np.array_equal(found.data[::2], labels)
    assert np.array_equal(found.data[1::2], labels[:-1])
    assert "nearest one measured" in found.notes[-1]


def test_a_file_of_several_frames_is_a_series_too(tmp_path, series, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        enhanced = hd.legacy.LegacyConvertedEnhancedCTImage(
            [pydicom.dcmread(one.path) for one in series.source.frames],
            hd.UID(), 1, hd.UID(), 1,
        )  # fmt: skip
    enhanced.save_as(tmp_path / "enhanced.dcm")
    frames = tuple(
        DicomFrame(tmp_path / "enhanced.dcm", enhanced.SOPClassUID, enhanced.SOPInstanceUID, n + 1)
        for n in range(5)
    )
    source = DicomSource(
        frames, enhanced.SeriesInstanceUID, enhanced.StudyInstanceUID,
        enhanced.FrameOfReferenceUID, "CT",
    )  # fmt: skip
    several = replace(series, source=source)
    path = write_seg(tmp_path / "seg.dcm", several, labels, sources=[enhanced])
    (found,) = read_segmentation(path, several)
    assert np.array_equal(found.data, labels)


def test_a_single_slice_gets_its_labels(tmp_path, labels):
    image = read_dicom(write_series(tmp_path / "one", np.zeros((1, 12, 16), np.int16), AFFINE))
    flat = Image(
        image.plane(), False, Geometry((0.7, 0.7), AFFINE, "mm"), "flat", None, image.source
    )
    path = write_seg(tmp_path / "seg.dcm", image, labels[2:3])
    (found,) = read_segmentation(path, image)
    assert np.array_equal(found.data, labels[2:3])
    (found,) = read_segmentation(path, flat)
    assert np.array_equal(found.data, labels[2])


def test_deflated_and_without_a_preamble(tmp_path, series, labels):
    path = write_seg(tmp_path / "seg.dcm", series, labels)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "deflated.dcm")
    bare = pydicom.Dataset(pydicom.dcmread(path))
    bare.save_as(tmp_path / "bare", implicit_vr=True, little_endian=True)
    for name in ("deflated.dcm", "bare"):
        (found,) = read_segmentation(tmp_path / name, series)
        assert np.array_equal(found.data, labels), name
        assert read_labels(tmp_path / name, like=series).segments == found.segments


def test_what_is_none_is_refused(tmp_path, series, labels):
    with pytest.raises(CamSamError, match="This is DICOM, but no segmentation"):
        read_segmentation(series.source.frames[0].path, series)
    (tmp_path / "text.dcm").write_text("hello" * 100)
    with pytest.raises(CamSamError, match="This is not DICOM"):
        read_segmentation(tmp_path / "text.dcm", series)
    path = write_seg(tmp_path / "seg.dcm", series, labels)
    whole = path.read_bytes()
    for part in (100, 300, 1000, len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:part])
        with pytest.raises(CamSamError, match=r"^This .*seg\.dcm\)\.$"):
            read_segmentation(path, series)


@pytest.mark.parametrize(
    "broken",
    [
        lambda data: data.pop("SegmentSequence"),
        lambda data: data.pop("PixelData"),
        lambda data: data.pop("SharedFunctionalGroupsSequence"),
        lambda data: data.pop("PerFrameFunctionalGroupsSequence"),
        lambda data: setattr(data, "Rows", 65000),
        lambda data: setattr(data, "NumberOfFrames", 2_000_000_000),
        lambda data: setattr(data, "NumberOfFrames", 0),
        lambda data: setattr(data.SegmentSequence[1], "SegmentNumber", 1),
    ],
)
def test_broken_headers_are_refused(tmp_path, series, labels, broken):
    path = change(write_seg(tmp_path / "seg.dcm", series, labels), broken)
    with pytest.raises(CamSamError, match=r"seg\.dcm\)\.$"):
        read_segmentation(path, series)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_what_is_missing_and_not_needed_is_not_missed(tmp_path, series, labels, kind):
    path = write_seg(tmp_path / "seg.dcm", series, labels, kind)

    def bare(data: Any) -> None:
        for item in data.SegmentSequence:
            for key in ("SegmentAlgorithmType", "SegmentedPropertyTypeCodeSequence"):
                del item[key]
        del data.DimensionIndexSequence, data.FrameOfReferenceUID

    change(path, bare)
    (found,) = read_segmentation(path, series)
    assert np.array_equal(found.data, labels)


def test_frames_without_a_position_go_to_the_image_that_they_name(tmp_path, series, labels):
    path = write_seg(tmp_path / "seg.dcm", series, labels)

    def nowhere(data: Any) -> None:
        for group in data.PerFrameFunctionalGroupsSequence:
            del group.PlanePositionSequence

    change(path, nowhere)
    (found,) = read_segmentation(path, series)
    assert np.array_equal(found.data, labels)
    flat = replace(series, geometry=Geometry((1.0, 1.0, 1.0)))
    (found,) = read_segmentation(path, flat)
    assert np.array_equal(found.data, labels)


def test_a_segment_without_frames_is_empty(tmp_path, series, labels):
    path = write_seg(tmp_path / "seg.dcm", series, labels)
    change(path, lambda data: setattr(data.SegmentSequence[1], "SegmentNumber", 9))
    (found,) = read_segmentation(path, series)
    assert [one.number for one in found.segments] == [1, 9]
    assert np.array_equal(found.data, labels == 1)


def test_messages_say_nothing_of_the_patient(tmp_path, series, labels):
    path = write_seg(tmp_path / "seg.dcm", series, labels)

    def broken(data: Any) -> None:
        data.PatientBirthDate, data.PatientName = "19500203", "Müller^Jörg"
        del data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence

    change(path, broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CamSamError) as error:
            read_segmentation(path, series)
    assert not any(one in str(error.value) for one in ("Müller", "4711", "1950"))


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real DICOM files are not there")


def nrrd(name: str) -> np.ndarray:
    sitk = pytest.importorskip("SimpleITK")
    return sitk.GetArrayFromImage(sitk.ReadImage(str(DATA / name)))


@needs_data
@pytest.mark.real_data
def test_the_real_segmentations_equal_their_nrrd():
    image = read_dicom(DATA / "ct_3slice")
    (liver,) = read_segmentation(DATA / "ct_3slice_liver_seg.dcm", image)
    assert np.array_equal(liver.data, nrrd("ct_3slice_liver_seg.nrrd"))
    sets = read_segmentation(DATA / "ct_3slice_overlaps_seg.dcm", image)
    assert len(sets) == 3
    for number, found in enumerate(sets, 1):
        assert np.array_equal(found.data, nrrd(f"ct_3slice_overlaps_seg-{number}.nrrd"))
    oblique = read_dicom(DATA / "ct_oblique_23x38x3")
    (found,) = read_segmentation(DATA / "ct_oblique_23x38x3_seg.dcm", oblique)
    assert np.array_equal(found.data, nrrd("ct_oblique_23x38x3_label.nrrd"))
    with pytest.raises(CamSamError, match=r"belongs to the series 1\.2\.392.*, not to 1\.2\.826"):
        read_segmentation(DATA / "ct_3slice_liver_seg.dcm", oblique)


@needs_data
@pytest.mark.real_data
def test_the_real_segmentations_on_uneven_slices_lie_where_they_were_drawn():
    files = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests/77654033/CT2"
    image = read_dicom(files, spacing="as-is")
    (found,) = read_segmentation(DATA / "hd_seg_image_ct_binary.dcm", image)
    assert found.data.sum(axis=(1, 2)).tolist() == [0, 127, 256, 255]
    sets = read_segmentation(DATA / "hd_seg_image_ct_binary_overlap.dcm", image)
    assert [[one.name for one in found.segments] for found in sets] == [
        ["first segment"], ["second segment"],
    ]  # fmt: skip
