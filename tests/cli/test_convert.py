"""From any format to any other on the command line, and what is lost is said."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

import napari_cam_sam as ncs
from napari_cam_sam.cli import main
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.segments import Segment
from napari_cam_sam.images.writing import write_image

SHAPE = (3, 4, 5)
VALUES = np.random.default_rng(0).integers(-500, 900, SHAPE).astype(np.int16)
AFFINE = np.array([[0.1, 0.0, 0.8, -40], [0.2, 1.1, 0.0, 12], [2.9, -0.2, 0.1, 100], [0, 0, 0, 1]])
SPACING = tuple(float(s) for s in np.linalg.norm(AFFINE[:3, :3], axis=0))
VOLUMES = (".nii.gz", ".nrrd", ".mha", ".mgz")


def scan() -> Image:
    return Image(VALUES, False, Geometry(SPACING, AFFINE, "mm"), "scan")


@pytest.mark.parametrize(("first", "second"), itertools.permutations(VOLUMES, 2))
def test_volumes_keep_values_and_place(tmp_path: Path, first: str, second: str, capsys) -> None:
    write_image(tmp_path / f"a{first}", scan())
    assert main(["convert", str(tmp_path / f"a{first}"), str(tmp_path / f"b{second}")]) == 0
    told = capsys.readouterr()
    assert told.out == f"Image of 3 × 4 × 5 written to {tmp_path / f'b{second}'}\n"
    assert told.err == ""
    back = ncs.read_image(tmp_path / f"b{second}")
    np.testing.assert_array_equal(back.data, VALUES)
    np.testing.assert_allclose(back.geometry.affine, AFFINE, atol=1e-4)


def test_a_picture_has_no_place_and_that_is_said(tmp_path: Path, capsys) -> None:
    image = replace(scan(), data=VALUES.astype(np.float32))
    write_image(tmp_path / "a.nrrd", image)
    assert main(["convert", str(tmp_path / "a.nrrd"), str(tmp_path / "b.tif"), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["shape"] == [3, 4, 5]
    assert told.err == "napari-cam-sam: note: a: TIFF holds no place in the world: it is lost.\n"
    back = ncs.read_image(tmp_path / "b.tif")
    np.testing.assert_array_equal(back.data, VALUES)
    assert back.geometry.spacing == pytest.approx(SPACING, rel=1e-4)
    write_image(tmp_path / "a.nrrd", scan())
    with pytest.warns(UserWarning, match="spacing of a is lost: TIFF holds none for values of"):
        assert main(["convert", str(tmp_path / "a.nrrd"), str(tmp_path / "b.tif")]) == 0


def test_what_has_no_place_gets_one_where_the_format_needs_one(tmp_path: Path, capsys) -> None:
    flat = Image(VALUES, False, Geometry((2.0, 0.5, 0.25), None, "mm"), "scan")
    write_image(tmp_path / "a.mha", flat)
    assert main(["convert", str(tmp_path / "a.mha"), str(tmp_path / "b.nii")]) == 0
    assert "NIfTI needs a place in the world, and it has none" in capsys.readouterr().err
    back = ncs.read_image(tmp_path / "b.nii")
    assert back.geometry.spacing == (2, 0.5, 0.25)
    np.testing.assert_array_equal(back.data, VALUES)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("b.png", "cannot hold an array of shape (3, 4, 5)"),
        ("b.jpg", "cannot hold an array of shape (3, 4, 5)"),
        ("b.xyz", "not an image that can be read or written here"),
        ("b.dcm", "DICOM labels belong to a series: name its folder or file by --on"),
        ("a.mha", "This is the image itself"),
        ("gone/b.nrrd", "could not be written"),
    ],
)
@pytest.mark.filterwarnings("ignore:The spacing of a is lost")
def test_what_cannot_be_is_refused(tmp_path: Path, capsys, target: str, words: str) -> None:
    write_image(tmp_path / "a.mha", scan())
    assert main(["convert", str(tmp_path / "a.mha"), str(tmp_path / target)]) == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mha"]


def test_colour_and_values_beyond_a_type_are_refused(tmp_path: Path, capsys) -> None:
    colour = Image(np.zeros((*SHAPE, 3), np.uint8), True, scan().geometry, "scan")
    write_image(tmp_path / "a.nrrd", colour)
    assert main(["convert", str(tmp_path / "a.nrrd"), str(tmp_path / "b.nii.gz")]) == 2
    assert "NIfTI cannot hold colour here" in capsys.readouterr().err
    large = Image(np.full(SHAPE, 2**40), False, scan().geometry, "scan")
    write_image(tmp_path / "a.mha", large)
    assert main(["convert", str(tmp_path / "a.mha"), str(tmp_path / "b.mgz")]) == 2
    assert "MGH holds whole numbers within ±2147483647" in capsys.readouterr().err


def test_a_frame_is_chosen(tmp_path: Path, capsys) -> None:
    values = np.arange(120, dtype=np.int16).reshape(5, 4, 3, 2)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    paths = [str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nrrd")]
    assert main(["convert", *paths]) == 2
    assert "series of 2 frames: choose one" in capsys.readouterr().err
    assert main(["convert", *paths, "--frame", "1"]) == 0
    np.testing.assert_array_equal(ncs.read_image(paths[1]).data, values[..., 1].T)


def test_names_of_labels(tmp_path: Path, capsys) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1], labels[2] = 1, 255
    segments = [Segment(1, "Liver"), Segment(255, "Lesion", (255, 0, 0))]
    ncs.write_labels(tmp_path / "a.seg.nrrd", labels, scan(), segments=segments)
    with pytest.warns(UserWarning, match=r"names of the labels are lost: NIfTI holds none"):
        assert main(["convert", str(tmp_path / "a.seg.nrrd"), str(tmp_path / "b.nii.gz")]) == 0
    assert capsys.readouterr().out.startswith("Labels of 3 × 4 × 5 written to")
    # Values stay what they are: of 1 and 255 no mask is made.
    assert main(["convert", str(tmp_path / "b.nii.gz"), str(tmp_path / "c.seg.nrrd")]) == 0
    back = ncs.read_labels(tmp_path / "c.seg.nrrd")
    np.testing.assert_array_equal(back.data, labels)
    assert [one.name for one in back.segments] == ["Label 1", "Label 255"]
    command = ["convert", str(tmp_path / "a.seg.nrrd"), str(tmp_path / "d.seg.nrrd")]
    assert main([*command, "--segment", "lesion"]) == 0
    back = ncs.read_labels(tmp_path / "d.seg.nrrd")
    np.testing.assert_array_equal(back.data, np.where(labels == 255, 255, 0))
    assert [one.name for one in back.segments] == ["Lesion"]
    capsys.readouterr()
    assert main([*command, "--segment", "spleen"]) == 2
    assert "Unknown segment 'spleen'" in capsys.readouterr().err


def test_dicom_to_volumes_and_labels_back_onto_the_series(tmp_path: Path, capsys) -> None:
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1] / "images" / "dicom"))
    from dicom_files import make_file

    folder = tmp_path / "scans"
    folder.mkdir()
    for index in range(3):
        make_file(
            folder / f"{index}", VALUES[index], SeriesInstanceUID="1.2.3.4",
            ImagePositionPatient=[0, 0, 2.0 * index], InstanceNumber=index + 1,
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )  # fmt: skip
    assert main(["convert", str(folder), str(tmp_path / "scan.nrrd")]) == 0
    image = ncs.read_image(folder)
    back = ncs.read_image(tmp_path / "scan.nrrd")
    np.testing.assert_array_equal(back.data, np.asarray(image.data))
    assert back.geometry.matches(image.geometry) is None

    labels = (np.asarray(image.data) > 300).astype(np.uint8)
    ncs.write_labels(tmp_path / "a.seg.nrrd", labels, back, segments=[Segment(1, "Liver")])
    seg = str(tmp_path / "seg.dcm")
    assert main(["convert", str(tmp_path / "a.seg.nrrd"), seg, "--on", str(folder)]) == 0
    assert main(["convert", seg, str(tmp_path / "b.seg.nrrd"), "--on", str(folder)]) == 0
    found = ncs.read_labels(tmp_path / "b.seg.nrrd")
    np.testing.assert_array_equal(found.data, labels)
    assert [one.name for one in found.segments] == ["Liver"]
    assert found.geometry.matches(image.geometry) is None
    capsys.readouterr()
    assert main(["convert", str(folder), str(tmp_path / "c.nrrd"), "--on", str(folder)]) == 2
    assert "--on is for labels alone" in capsys.readouterr().err
