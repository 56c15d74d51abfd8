"""Series of DICOM on the command line: listed, chosen, run, and nothing of the patient told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "images" / "dicom"))
from dicom_files import make_file

import napari_cam_sam as ncs
from napari_cam_sam.cli import main

SECRETS = ("Möller", "Änne", "ID4711", "19700101", "20240131", "2024-01-31")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two series of a disc on a gray ground."""
    rows, columns = np.indices((48, 48))
    disc = np.where((rows - 24) ** 2 + (columns - 20) ** 2 < 100, 300, 20).astype(np.int16)
    target = tmp_path / "scans"
    target.mkdir()
    for uid, count in (("1.2.3.4", 3), ("1.2.3.5", 2)):
        for index in range(count):
            make_file(
                target / f"{uid}-{index}", disc + index, SeriesInstanceUID=uid,
                ImagePositionPatient=[0, 0, 2.0 * index], InstanceNumber=index + 1,
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            )  # fmt: skip
    return target


def test_series_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["series", str(folder)]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["id", "kind", "number"]
    assert [row.split()[-8] for row in rows] == ["48", "48"]
    assert main(["series", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["series"]
    assert [(one["slices"], one["uid"]) for one in found] == [(3, "1.2.3.4"), (2, "1.2.3.5")]
    assert found[0]["spacing"] == [2.0, 0.5, 0.75]
    assert found[0]["date"] == "2024-01-31"
    assert all(secret not in json.dumps(found) for secret in SECRETS[:-1])


def test_what_cannot_be_opened_says_why(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (folder / "1.2.3.4-1").unlink()
    assert main(["series", str(folder)]) == 0
    assert "see below" not in capsys.readouterr().out  # two slices are even
    (tmp_path / "empty").mkdir()
    assert main(["series", str(tmp_path / "empty")]) == 2
    assert "This folder is empty" in capsys.readouterr().err


def test_a_run_takes_a_series_and_tells_nothing_of_the_patient(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["run", str(folder), "--segmenter", "seeded", "--prompts", "truth-box"]
    assert main(start) == 2
    assert "choose one by its id (series)" in capsys.readouterr().err
    chosen = ncs.read_image(folder, series="1.2.3.4")
    ncs.write_labels(tmp_path / "truth.nii.gz", (np.asarray(chosen.data) > 200) * 1, chosen)
    more = ["--series", "1.2.3.4", "--truth", str(tmp_path / "truth.nii.gz"), "--json"]
    assert main([*start, *more]) == 0
    out, err = capsys.readouterr()
    output = tmp_path / "scans-1.2.3.4-cam-sam"
    assert json.loads(out)["output"] == str(output)
    record = json.loads((output / "run.json").read_text())
    assert record["image"]["series"] == "1.2.3.4"
    assert record["image"]["path"] == str(folder.resolve())
    labels = ncs.read_labels(output / "labels.nii.gz")
    assert labels.geometry.matches(chosen.geometry) is None
    written = [file.read_bytes() for file in output.rglob("*") if file.is_file()]
    for secret in SECRETS:
        assert secret not in out + err
        assert all(secret.encode() not in content for content in written)
