from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from dicom_series import LPS, write_series
from napari_cam_sam.cli import main
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.report_writing import write_report
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.measurements import measure_labels
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.images.segments import Segment
from napari_cam_sam.images.writing import write_heatmap, write_labels

AFFINE = LPS @ np.array([[0, 0, 0.7, -30], [0, 0.7, 0, -20], [2.5, 0, 0, 40], [0, 0, 0, 1.0]])
SEGMENTS = (Segment(1, "Kidney"), Segment(2, "Läsion"))
VALUES = np.random.default_rng(0).integers(-100, 300, (5, 24, 26)).astype(np.int16)
LABELS = np.zeros((5, 24, 26), np.uint8)
LABELS[1:4, 2:18, 3:19] = 1
LABELS[2, 20:23, 10:15] = 2
dciodvfy = pytest.mark.skipif(
    not shutil.which("dciodvfy"), reason="dciodvfy (dicom3tools) is not installed"
)


@pytest.fixture
def series(tmp_path):
    return read_image(write_series(tmp_path / "series", VALUES, AFFINE))


def test_a_report_holds_what_was_measured(tmp_path, series):
    write_labels(tmp_path / "seg.dcm", LABELS, series, segments=SEGMENTS)
    found = measure_labels(LABELS, series, SEGMENTS)
    write_report(tmp_path / "sr.dcm", found, tmp_path / "seg.dcm", series)
    report: Any = hd.sr.srread(tmp_path / "sr.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [one.tracking_identifier for one in groups] == ["Kidney", "Läsion"]
    assert groups[0].finding_type.meaning == "Kidney"
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert groups[1].referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
    for one, group in zip(found, groups, strict=True):
        values = {
            (item.name.meaning, item.derivation and item.derivation.meaning): (
                item.value,
                item.unit,
            )
            for item in group.get_measurements()
        }
        assert values["Volume", None][0] == pytest.approx(one.volume_ml)
        assert values["Volume", None][1].value == "cm3"
        assert values["Long axis", None][0] == pytest.approx(one.longest_mm)
        assert values["Perpendicular Axis", None][0] == pytest.approx(one.perpendicular_mm)
        assert values["Attenuation Coefficient", "Mean"][0] == pytest.approx(one.mean)
        assert values["Attenuation Coefficient", "Mean"][1].value == "[hnsf'U]"
        assert values["Attenuation Coefficient", "Standard Deviation"][0] == pytest.approx(one.sd)
    write_report(tmp_path / "sr.dcm", found[1:], tmp_path / "seg.dcm", series)
    (group,) = hd.sr.srread(tmp_path / "sr.dcm").content.get_volumetric_roi_measurement_groups()
    assert group.tracking_identifier == "Läsion"
    strange = [replace(found[0], label=3)]
    with pytest.raises(CamSamError, match="The label 3 was measured, but is no segment of this"):
        write_report(tmp_path / "sr.dcm", strange, tmp_path / "seg.dcm", series)
    with pytest.raises(CamSamError, match="A report in DICOM is written onto a DICOM series"):
        write_report(tmp_path / "x.dcm", found, tmp_path / "seg.dcm", image_from_array(VALUES))


def test_the_command_measures_and_says_nothing_of_the_patient(tmp_path, series, capsys):
    write_labels(tmp_path / "seg.dcm", LABELS, series, segments=SEGMENTS)
    write_labels(tmp_path / "labels.nii.gz", LABELS, series)
    given = ["measure", str(tmp_path / "series"), "--labels"]
    output, report = tmp_path / "out.csv", tmp_path / "sr.dcm"
    more = ["--output", str(output), "--report", str(report), "--json"]
    assert main([*given, str(tmp_path / "seg.dcm"), *more]) == 0
    said = capsys.readouterr()
    (kidney, lesion) = json.loads(said.out)["measurements"]
    assert (kidney["name"], lesion["voxels"]) == ("Kidney", 15)
    with output.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["volume_ml"]) for row in rows] == [kidney["volume_ml"], lesion["volume_ml"]]
    for secret in ("Müller", "PID-4711", "19500203"):
        assert secret not in said.out + said.err + output.read_text()
    assert pydicom.dcmread(report).Modality == "SR"
    assert main([*given, str(tmp_path / "seg.dcm"), "--segment", "läsion", *more]) == 0
    assert [one["label"] for one in json.loads(capsys.readouterr().out)["measurements"]] == [2]
    assert main([*given, str(tmp_path / "labels.nii.gz")]) == 0
    assert "volume_ml" in capsys.readouterr().out
    assert main([*given, str(tmp_path / "labels.nii.gz"), "--report", str(report)]) == 2
    assert "A report refers to a DICOM segmentation" in capsys.readouterr().err


def test_a_map_is_read_back_as_it_was(tmp_path, series):
    values = np.random.default_rng(1).random((5, 24, 26)).astype(np.float32)
    write_heatmap(tmp_path / "map.dcm", values, series)
    back = read_image(tmp_path / "map.dcm")
    assert np.array_equal(np.stack(list(back.planes())), values)
    assert np.abs(back.geometry.affine - series.geometry.affine).max() < 1e-4
    data: Any = pydicom.dcmread(tmp_path / "map.dcm")
    heights = [
        float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        for group in data.PerFrameFunctionalGroupsSequence
    ]
    assert heights == sorted(heights)
    assert str(data.PatientName) == "Müller^Jörg"
    (mapping,) = data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert quantity.CodeMeaning == "Class activation"
    with pytest.raises(CamSamError, match="There is nothing to write"):
        write_heatmap(tmp_path / "map.dcm", values * np.nan, series)
    with pytest.raises(CamSamError, match="A parametric map in DICOM is written onto a DICOM s"):
        write_heatmap(tmp_path / "map.dcm", values, image_from_array(values))


@dciodvfy
def test_dciodvfy_finds_no_error(tmp_path, series):
    write_labels(tmp_path / "seg.dcm", LABELS, series, segments=SEGMENTS)
    found = measure_labels(LABELS, series, SEGMENTS)
    write_report(tmp_path / "sr.dcm", found, tmp_path / "seg.dcm", series)
    write_heatmap(tmp_path / "map.dcm", LABELS / 2, series)
    for name in ("sr.dcm", "map.dcm"):
        said = subprocess.run(
            ["dciodvfy", "-new", tmp_path / name], capture_output=True, text=True
        ).stderr
        assert "Error" not in said, said
