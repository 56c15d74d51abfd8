import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.reading import check_same_grid, read_image, read_labels

DATA = Path(__file__).resolve().parents[2].parent / "shared/data"
LABELS = np.array([[0, 1, 2], [3, 0, 200]], np.uint8)


@pytest.mark.parametrize("name", ["a.txt", "a.gz", "a.nii.bz2", "a"])
def test_refuses_other_suffixes(tmp_path, name):
    (tmp_path / name).write_bytes(b"data")
    with pytest.raises(CamSamError, match=r"use \.nii"):
        read_image(tmp_path / name)


def test_refuses_what_only_its_name_says_is_dicom(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"data")
    with pytest.raises(CamSamError, match="not a DICOM file"):
        read_image(tmp_path / "a.dcm")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".nii.gz"])
def test_refuses_missing_empty_and_folders(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(CamSamError, match="does not exist"):
        read_image(path)
    path.touch()
    with pytest.raises(CamSamError, match="empty"):
        read_labels(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(CamSamError, match="is a folder"):
        read_image(path)


def test_refuses_a_frame_of_a_single_image(tmp_path):
    PillowImage.fromarray(LABELS).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 0).spatial_shape == (2, 3)
    with pytest.raises(CamSamError, match="no frame 1"):
        read_image(tmp_path / "a.png", 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_labels_of_nifti(tmp_path, dtype):
    nib.save(nib.Nifti1Image(LABELS.T[..., None].astype(dtype), np.eye(4)), tmp_path / "a.nii.gz")
    labels = read_labels(tmp_path / "a.nii.gz")
    assert np.dtype(labels.data.dtype).kind in "iu"
    np.testing.assert_array_equal(labels.plane(0, 0), LABELS)


def test_labels_in_gray_colours(tmp_path):
    PillowImage.fromarray(np.stack([LABELS] * 3, axis=-1)).save(tmp_path / "a.png")
    labels = read_labels(tmp_path / "a.png")
    assert not labels.rgb
    np.testing.assert_array_equal(labels.data, LABELS)


def test_refuses_colours_fractions_and_jpeg_as_labels(tmp_path):
    PillowImage.fromarray(np.stack([LABELS, LABELS, LABELS + 1], axis=-1)).save(tmp_path / "a.png")
    with pytest.raises(CamSamError, match="Colours are no labels"):
        read_labels(tmp_path / "a.png")
    for value in (0.5, np.nan):
        tifffile.imwrite(tmp_path / "a.tif", np.array([[0, value]], np.float32))
        with pytest.raises(CamSamError, match=rf"e\.g\. {value}: labels are whole numbers"):
            read_labels(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.array([[0, 1e12]]))
    with pytest.raises(CamSamError, match="too large"):
        read_labels(tmp_path / "b.tif")
    PillowImage.fromarray(LABELS).save(tmp_path / "a.jpg")
    with pytest.raises(CamSamError, match="JPEG alters values"):
        read_labels(tmp_path / "a.jpg")


def test_same_grid():
    affine = np.diag([2.0, 1, 1, 1])
    geometry = Geometry((2.0, 1.0, 1.0), affine, "mm")
    image = image_from_array(np.zeros((3, 4, 5)), geometry=geometry, name="image")
    check_same_grid(image, image_from_array(np.zeros((3, 4, 5), int)))
    with pytest.raises(CamSamError, match="3 slices of 5 rows by 4 columns, but image is 3 sl"):
        check_same_grid(image, image_from_array(np.zeros((3, 5, 4)), name="truth"))
    moved = Geometry((2.0, 1.0, 1.0), affine + np.eye(4, k=3) * 5, "mm")
    with pytest.raises(CamSamError, match="same place: the first voxel lies at"):
        check_same_grid(image, image_from_array(np.zeros((3, 4, 5)), geometry=moved))
    colour = image_from_array(np.zeros((4, 5, 3)), rgb=True)
    check_same_grid(colour, image_from_array(np.zeros((4, 5), int)))


@pytest.mark.real_data
def test_real_ultrasound_and_masks():
    folder = DATA / "busi/images"
    if not folder.is_dir():
        pytest.skip("the real ultrasound images are not beside the project")
    masks = sorted(folder.glob("*/*_mask.png"))
    assert len(masks) == 51
    for path in masks:
        image = read_image(path.with_name(path.name.replace("_mask", "")))
        mask = read_labels(path)
        check_same_grid(image, mask)
        assert set(np.unique(mask.data)) == {0, 1}


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.nii.gz"])
def test_what_is_no_file_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(CamSamError, match=r"^This is a pipe.*\)\.$"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a\0.png", "n" * 300 + ".png", "\ud800.tif"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    with pytest.raises(CamSamError, match=r"^This could not be read: "):
        read_image(tmp_path / name)
