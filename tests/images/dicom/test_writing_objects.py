from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from dicom_round_trips import round_trip
from dicom_series import LPS, write_series
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.contour_writing import write_contours
from napari_cam_sam.images.dicom.contours import read_contours
from napari_cam_sam.images.dicom.drawn import drawn_segments
from napari_cam_sam.images.dicom.naming import KNOWN, codes_for, colour_for
from napari_cam_sam.images.dicom.reading import read_dicom
from napari_cam_sam.images.dicom.segmentation_writing import write_segmentation
from napari_cam_sam.images.dicom.segments import read_segmentation
from napari_cam_sam.images.dicom.source import DicomFrame, DicomSource
from napari_cam_sam.images.geometry import Geometry, spacing_from_affine
from napari_cam_sam.images.image import Image, image_from_array
from napari_cam_sam.images.reading import read_labels
from napari_cam_sam.images.segments import Segment
from napari_cam_sam.images.writing import write_labels

AFFINE = LPS @ np.array([[0, 0, 0.7, -30], [0, 0.7, 0, -20], [2.5, 0, 0, 40], [0, 0, 0, 1.0]])
SEGMENTS = (Segment(1, "Left kidney 2", (1, 200, 30)), Segment(2, "Läsion"))
KINDS = ("binary", "labelmap", "contours")


@pytest.fixture
def series(tmp_path) -> Image:
    return read_dicom(write_series(tmp_path / "series", np.zeros((5, 24, 26), np.int16), AFFINE))


@pytest.fixture
def labels() -> np.ndarray:
    array = np.zeros((5, 24, 26), np.uint8)
    array[1:4, 2:18, 3:19] = 1
    array[2, 5:9, 6:10] = 0
    array[2, 20:23, 10:15] = 2
    return array


def write(path: Path, kind: str, labels: Any, like: Image, *more: Any, **named: Any) -> Path:
    if kind == "contours":
        write_contours(path, labels, like, *more, **named)
    else:
        write_segmentation(path, labels, like, *more, kind=kind, **named)
    return path


def read(path: Path, like: Image) -> Any:
    kind = pydicom.dcmread(path).Modality
    (found,) = (read_contours if kind == "RTSTRUCT" else read_segmentation)(path, like)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_back(tmp_path, series, labels, kind):
    path = write(tmp_path / "out.dcm", kind, labels, series, SEGMENTS)
    found = read(path, series)
    assert np.array_equal(found.data, labels)
    assert [one.name for one in found.segments] == ["Left kidney 2", "Läsion"]
    assert np.abs(np.subtract(found.segments[0].colour, (1, 200, 30))).max() <= 1
    assert not list(tmp_path.glob(".*"))
    again = write(tmp_path / "again.dcm", kind, labels, series, SEGMENTS)
    one, other = pydicom.dcmread(path), pydicom.dcmread(again)
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID != other.SeriesInstanceUID
    for key in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert pydicom.uid.UID(one[key].value).is_valid


@pytest.mark.parametrize("kind", KINDS)
def test_patient_study_and_place_are_those_of_the_series(tmp_path, series, labels, kind):
    data: Any = pydicom.dcmread(write(tmp_path / "out.dcm", kind, labels, series, SEGMENTS))
    source: Any = pydicom.dcmread(series.source.frames[0].path)
    for key in ("PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
                "StudyTime", "AccessionNumber", "StudyID", "FrameOfReferenceUID"):  # fmt: skip
        assert data[key].value == source[key].value, key
    assert str(data.PatientName) == "Müller^Jörg"
    assert data.SpecificCharacterSet == "ISO_IR 192"
    assert data.Manufacturer == "napari-cam-sam"
    assert data.SeriesInstanceUID != source.SeriesInstanceUID


def test_a_segmentation_names_what_made_it_and_what_it_shows(tmp_path, series, labels):
    path = tmp_path / "out.dcm"
    write_segmentation(path, labels, series, SEGMENTS, algorithm="SAM ViT-B", version="1.0")
    seg = hd.seg.segread(path)
    first = seg.get_segment_description(1)
    assert first.segmented_property_type.meaning == "Kidney"
    assert first.segmented_property_category.meaning == "Anatomical Structure"
    assert (first.algorithm_type.value, first.SegmentAlgorithmName) == (
        "SEMIAUTOMATIC",
        "SAM ViT-B",
    )
    assert first.algorithm_identification.version == "1.0"
    references = seg.ReferencedSeriesSequence
    assert [one.SeriesInstanceUID for one in references] == [series.source.series_uid]
    assert {one.ReferencedSOPInstanceUID for one in references[0].ReferencedInstanceSequence} == {
        one.sop_instance_uid for one in series.source.frames
    }
    # By highdicom, that reads it by the images that frames were made from.
    uids = [one.sop_instance_uid for one in series.source.frames]
    pixels = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(pixels, labels)


def test_label_numbers_with_gaps(tmp_path, series, labels):
    labels = np.array([0, 3, 700], np.int32)[labels]
    path = tmp_path / "out.dcm"
    with pytest.warns(UserWarning, match="numbered from 1: the labels 3, 700 become 1 to 2"):
        write_segmentation(path, labels, series, [Segment(700, "Cyst")])
    found = read(path, series)
    assert np.array_equal(np.array([0, 3, 700])[found.data], labels)
    assert [one.name for one in found.segments] == ["Label 3", "Cyst"]
    for kind in ("labelmap", "contours"):
        found = read(write(path, kind, labels, series), series)
        assert np.array_equal(found.data, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_a_resampled_series_go_back_to_its_slices(tmp_path, series, labels, kind):
    affine = series.geometry.affine.copy()
    affine[:3, 0] /= 2
    fine = replace(
        series,
        data=np.zeros((9, 24, 26), np.int16),
        geometry=Geometry(tuple(spacing_from_affine(affine)), affine, "mm"),
        source=replace(series.source, resampled=True),
    )
    path = write(tmp_path / "out.dcm", kind, np.repeat(labels, 2, axis=0)[:9], fine)
    assert np.array_equal(read(path, series).data, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_series_in_one_file_of_several_times(tmp_path, series, labels, kind):
    """Frames of two times lie in one place: each is referred to by its own number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        enhanced: Any = hd.legacy.LegacyConvertedEnhancedCTImage(
            [pydicom.dcmread(one.path) for one in series.source.frames],
            hd.UID(), 1, hd.UID(), 1,
        )  # fmt: skip
    groups = list(enhanced.PerFrameFunctionalGroupsSequence)
    enhanced.PerFrameFunctionalGroupsSequence = groups + groups
    enhanced.NumberOfFrames = 10
    enhanced.PixelData = enhanced.PixelData * 2
    enhanced.save_as(tmp_path / "enhanced.dcm")
    numbers = [10, 9, 8, 7, 6]
    frames = tuple(
        DicomFrame(tmp_path / "enhanced.dcm", enhanced.SOPClassUID, enhanced.SOPInstanceUID, n)
        for n in numbers
    )
    heights = [groups[n - 6].PlanePositionSequence[0].ImagePositionPatient[2] for n in numbers]
    source = DicomSource(
        frames, enhanced.SeriesInstanceUID, enhanced.StudyInstanceUID,
        enhanced.FrameOfReferenceUID, "CT",
    )  # fmt: skip
    affine = series.geometry.affine.copy()
    if np.sign(heights[1] - heights[0]) != np.sign(affine[2, 0]):
        affine[:3, 3] += affine[:3, 0] * 4
        affine[:3, 0] *= -1
    several = replace(
        series, source=source, geometry=Geometry(series.geometry.spacing, affine, "mm")
    )
    path = write(tmp_path / "out.dcm", kind, labels, several)
    found = read(path, several)
    assert np.array_equal(found.data, labels)
    if kind != "contours":
        for group in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
            (item,) = group.DerivationImageSequence[0].SourceImageSequence
            assert item.ReferencedFrameNumber in numbers


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_written_is_refused(tmp_path, series, labels, kind):
    path = tmp_path / "out.dcm"
    with pytest.raises(CamSamError, match="is written onto a DICOM series, and array was read"):
        write(path, kind, labels, image_from_array(np.zeros((5, 24, 26))))
    with pytest.raises(CamSamError, match="There is nothing to write"):
        write(path, kind, labels * 0, series)
    with pytest.raises(CamSamError, match="Labels in DICOM are 1 to 65535"):
        write(path, kind, labels.astype(int) * 65536, series)
    with pytest.raises(CamSamError, match="Labels in DICOM are 1 to 65535"):
        write(path, kind, -labels.astype(int), series)
    with pytest.raises(CamSamError, match="whole numbers"):
        write(path, kind, labels * 0.5, series)
    with pytest.raises(CamSamError, match="The labels have shape"):
        write(path, kind, labels[1:], series)
    with pytest.raises(CamSamError, match="This is a slice of the series, which would be lost"):
        write(series.source.frames[1].path, kind, labels, series)
    with pytest.raises(CamSamError, match="This could not be written"):
        write(tmp_path / "no folder" / "out.dcm", kind, labels, series)
    with pytest.raises(CamSamError, match="it is a folder"):
        write(tmp_path / "series", kind, labels, series)
    assert not path.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_what_was_there(tmp_path, series, labels, kind, monkeypatch):
    path = write(tmp_path / "out.dcm", kind, labels, series)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CamSamError, match="No space left on device"):
        write(path, kind, labels, series)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir() if one.name != "series"] == ["out.dcm"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_slice_that_is_gone_or_changed_is_said(tmp_path, series, labels, kind):
    data = pydicom.dcmread(series.source.frames[2].path)
    data.SOPInstanceUID = "1.2.3"
    data.save_as(series.source.frames[2].path)
    with pytest.raises(CamSamError, match="has changed since it was read"):
        write(tmp_path / "out.dcm", kind, labels, series)
    series.source.frames[2].path.unlink()
    with pytest.raises(CamSamError, match="does not exist"):
        write(tmp_path / "out.dcm", kind, labels, series)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "tags",
    [
        {"PatientSex": "m", "StudyDate": "gestern", "StudyTime": "9:30"},
        {"SpecificCharacterSet": "", "PatientName": "Ann"},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Ямада^太郎=山田^太郎"},
        dict.fromkeys(("PatientID", "PatientName", "StudyID", "StudyDate", "StudyTime",
                       "AccessionNumber", "PatientBirthDate", "PatientSex",
                       "ReferringPhysicianName", "SpecificCharacterSet")),
    ],
)  # fmt: skip
def test_headers_as_they_come_are_no_trouble_and_say_nothing(
    tmp_path, series, labels, kind, tags, recwarn
):
    for frame in series.source.frames:
        data = pydicom.dcmread(frame.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for key, value in tags.items():
                if value is None:
                    del data[key]
                elif key in ("StudyDate", "StudyTime"):
                    data.add(pydicom.dataelem.RawDataElement(
                        pydicom.tag.Tag(key), data[key].VR, len(value), value.encode(), 0,
                        False, True,
                    ))  # fmt: skip
                else:
                    setattr(data, key, value)
            data.save_as(frame.path)
    path = write(tmp_path / "out.dcm", kind, labels, series)
    assert not [one for one in recwarn if "Name" in str(one.message) or "Ann" in str(one.message)]
    found: Any = pydicom.dcmread(path)
    assert str(found.PatientName) == (tags.get("PatientName", "Müller^Jörg") or "")
    assert np.array_equal(read(path, series).data, labels)


def test_every_known_name_has_codes():
    for name in KNOWN:
        category, kind = codes_for(Segment(1, name.upper()))
        assert (category.scheme_designator, kind.scheme_designator) == ("SCT", "SCT")
    assert codes_for(Segment(1, "left Kidney 3"))[1].value == "64033007"
    assert codes_for(Segment(1, "no lesion"))[1].meaning == "Tissue"
    assert codes_for(Segment(1, "x", None, ("1", "99X", "y"), ("2", "99X", "z")))[1].value == "2"
    assert colour_for(Segment(7, "liver")) == KNOWN["liver"][2]
    assert colour_for(Segment(7, "?")) != colour_for(Segment(8, "?"))


@pytest.mark.parametrize("seed", range(1000, 1008))
def test_labels_come_back_through_every_format(tmp_path, seed):
    """A few of what `tools/dicom_round_trips.py` does two hundred times."""
    assert round_trip(seed, tmp_path) == []


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("kind", ["binary", "contours"])
def test_dciodvfy_finds_no_error(tmp_path, series, labels, kind):
    # It knows no label maps yet.
    path = write(tmp_path / "out.dcm", kind, labels, series, SEGMENTS)
    said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True).stderr
    assert "Error" not in said, said


@pytest.mark.parametrize("name", ["seg.dcm", "labelmap.dcm", "my-rtstruct.dcm"])
def test_write_labels_and_read_labels_know_dicom_by_name_and_content(
    tmp_path, series, labels, name
):
    write_labels(tmp_path / name, labels, series, segments=SEGMENTS)
    kinds = {"seg.dcm": "SEG", "labelmap.dcm": "SEG", "my-rtstruct.dcm": "RTSTRUCT"}
    data: Any = pydicom.dcmread(tmp_path / name)
    assert data.Modality == kinds[name]
    assert data.get("SegmentationType") == {"seg.dcm": "BINARY", "labelmap.dcm": "LABELMAP"}.get(
        name
    )
    (tmp_path / name).rename(tmp_path / "no-suffix")
    found = read_labels(tmp_path / "no-suffix", like=series)
    assert np.array_equal(found.data, labels)
    assert found.notes == ("Its labels are 1 (Left kidney 2) and 2 (Läsion).",)
    found = read_labels(tmp_path / "no-suffix", like=series, segments=["läsion"])
    assert np.array_equal(found.data, np.where(labels == 2, 2, 0))
    # What was read keeps its names.
    write_labels(tmp_path / "again.dcm", found.data, found, warn=False)
    assert drawn_segments(tmp_path / "again.dcm")[0].name == "Läsion"
    if name == "my-rtstruct.dcm":
        with pytest.raises(CamSamError, match="Contours lie on the slices of an image: name it"):
            read_labels(tmp_path / "no-suffix")


def test_segments_that_overlap_are_named_with_the_way_to_choose(tmp_path, series, labels):
    write_contours(tmp_path / "rt.dcm", labels, series, SEGMENTS)
    data: Any = pydicom.dcmread(tmp_path / "rt.dcm")
    data.ROIContourSequence[1].ContourSequence = data.ROIContourSequence[0].ContourSequence
    data.save_as(tmp_path / "rt.dcm")
    with pytest.raises(CamSamError, match=r"Segments 1 \(Left kidney 2\) and 2 \(Läsion\) overlap"):
        read_labels(tmp_path / "rt.dcm", like=series)
    found = read_labels(tmp_path / "rt.dcm", like=series, segments=[2])
    assert np.array_equal(found.data, np.where(labels == 1, 2, 0))


def test_files_without_segments_offer_no_choice(tmp_path, series, labels):
    write_labels(tmp_path / "labels.nii.gz", labels, series)
    with pytest.raises(CamSamError, match="This names no segments"):
        read_labels(tmp_path / "labels.nii.gz", segments=[1])


def test_the_command_line_takes_segmentations_and_contours_as_truth(
    tmp_path, series, labels, capsys
):
    from napari_cam_sam.cli import main

    write_labels(tmp_path / "seg.dcm", labels, series, segments=SEGMENTS)
    write_labels(tmp_path / "rtstruct.dcm", labels, series, segments=SEGMENTS)
    write_labels(tmp_path / "labels.nii.gz", labels, series)
    for prediction, truth, more in (
        ("labels.nii.gz", "seg.dcm", []),
        ("labels.nii.gz", "rtstruct.dcm", []),
        ("seg.dcm", "labels.nii.gz", []),
        ("seg.dcm", "seg.dcm", []),
        ("rtstruct.dcm", "seg.dcm", ["--image", str(tmp_path / "series")]),
    ):
        both = ["--prediction", str(tmp_path / prediction), "--truth", str(tmp_path / truth)]
        assert main(["metrics", *both, *more, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["dice"] == 1
    both = ["--prediction", str(tmp_path / "labels.nii.gz"), "--truth", str(tmp_path / "seg.dcm")]
    assert main(["metrics", *both, "--truth-segment", "Läsion", "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["dice"] < 1
    run = ["run", str(tmp_path / "series"), "--segmenter", "seeded", "--prompts", "truth-box"]
    run += ["--truth", str(tmp_path / "rtstruct.dcm"), "--truth-segment", "2", "--planes", "2"]
    assert main([*run, "--output", str(tmp_path / "out"), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["scores"]
    written = [one for one in (tmp_path / "out").rglob("*") if one.is_file()]
    assert written
    everything = (
        said.out + said.err + "".join(one.read_bytes().decode("utf-8", "ignore") for one in written)
    )
    for secret in ("Müller", "Jörg", "PID-4711", "19500203", "20200102", "ACC1", "Ref^Dr"):
        assert secret not in everything


def test_a_table_of_a_study_names_segments(tmp_path, labels):
    from napari_cam_sam.studies.cases import read_case
    from napari_cam_sam.studies.data.datasets import read_dataset

    write_series(tmp_path / "one", np.zeros((1, 24, 26), np.int16), AFFINE)
    image = read_dicom(tmp_path / "one")
    write_labels(tmp_path / "seg.dcm", labels[2:3], image, segments=SEGMENTS)
    (file,) = (tmp_path / "one").iterdir()
    table = tmp_path / "cases.csv"
    table.write_text(f"image,truth,segments\none/{file.name},seg.dcm,Läsion\n", encoding="utf-8")
    (case,) = read_dataset("csv", table).cases
    assert case.segments == ("Läsion",)
    _, truth = read_case(case)
    assert np.array_equal(truth.data, np.where(labels[2:3] == 2, 2, 0))


@pytest.mark.parametrize("name", ["seg.dcm", "rtstruct.dcm"])
def test_a_series_without_a_frame_of_reference_is_one_place_for_all(tmp_path, name):
    values = np.arange(5 * 12 * 16, dtype=np.int16).reshape(5, 12, 16)
    folder = write_series(tmp_path / "series", values, AFFINE)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        del data.FrameOfReferenceUID
        data.save_as(path)
    image = read_dicom(folder)
    labels = np.zeros(image.spatial_shape, np.uint8)
    labels[1:4, 2:8, 3:9] = 1
    places = set()
    for index in range(2):
        write_labels(tmp_path / f"{index}-{name}", labels, image)
        data = pydicom.dcmread(tmp_path / f"{index}-{name}")
        places.add(str(data.FrameOfReferenceUID))
        back = read_labels(tmp_path / f"{index}-{name}", like=image)
        np.testing.assert_array_equal(back.data, labels)
        assert not any("frame of reference" in note for note in back.notes)
    assert len(places) == 1
    assert places.pop()
