import os
import sys

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.labels import mask_in
from napari_cam_sam.images.reading import read_image, read_labels
from napari_cam_sam.images.writing import (
    heatmap_suffix,
    labels_suffix,
    write_atomically,
    write_heatmap,
    write_image,
    write_labels,
    write_labels_to_see,
)

PLANE = image_from_array(np.zeros((4, 5), np.uint8), name="plane")
STACK = image_from_array(np.zeros((3, 4, 5), np.uint8), name="stack")
PLACED = image_from_array(
    np.zeros((3, 4, 5), np.int16),
    geometry=Geometry((2.0, 1.0, 1.0), np.diag([2.0, 1, 1, 1]), "mm"),
)


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("first", "second"):
        write_atomically(path, lambda hidden, text=text: hidden.write_text(text))
        assert path.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.nii.gz"
    path.write_text("before")

    def fails(hidden):
        assert hidden.name.endswith("-a.nii.gz")
        hidden.write_text("half")
        raise error

    with pytest.raises((CamSamError, KeyboardInterrupt)) as caught:
        write_atomically(path, fails)
    if isinstance(error, OSError):
        assert str(caught.value) == f"This could not be written: No space left on device ({path})."
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".tif", ".png"])
def test_a_disk_that_fills(tmp_path, suffix):
    """A limit on the size of files fails in the same call as a full disk."""
    import resource

    noise = np.random.default_rng(0).integers(0, 60000, (300, 300)).astype(np.uint16)
    affine = np.eye(4) if suffix.startswith(".nii") else None
    like = image_from_array(noise, geometry=Geometry((1.0, 1.0), affine, "mm"))
    path = tmp_path / f"a{suffix}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(CamSamError, match="could not be written"):
            write_labels(path, noise, like)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    write_labels(path, noise, like)
    np.testing.assert_array_equal(read_labels(path).data, noise)


def test_folders_that_cannot_be_written(tmp_path):
    with pytest.raises(CamSamError, match="No such file or directory"):
        write_labels(tmp_path / "none/a.png", np.zeros((4, 5), int), PLANE)
    (tmp_path / "file").touch()
    with pytest.raises(CamSamError, match="could not be written"):
        write_labels(tmp_path / "file/a.png", np.zeros((4, 5), int), PLANE)
    (tmp_path / "a.png").mkdir()
    with pytest.raises(CamSamError, match="it is a folder"):
        write_labels(tmp_path / "a.png", np.zeros((4, 5), int), PLANE)


@pytest.mark.parametrize(
    ("highest", "dtype"), [(255, np.uint8), (256, np.uint16), (65535, np.uint16), (70000, np.int32)]
)
@pytest.mark.parametrize("kind", [np.int64, np.uint32])
def test_labels_take_the_smallest_type(tmp_path, highest, dtype, kind):
    labels = np.arange(60).reshape(3, 4, 5).astype(kind)
    labels[2, 3, 4] = highest
    for like, name in ((STACK, "a.tif"), (PLACED, "a.nii.gz")):
        write_labels(tmp_path / name, labels, like)
        back = read_labels(tmp_path / name)
        assert back.data.dtype == dtype
        np.testing.assert_array_equal(back.data, labels)


def test_png_labels(tmp_path):
    labels = np.arange(20).reshape(4, 5) * 100
    write_labels(tmp_path / "a.png", labels, PLANE)
    np.testing.assert_array_equal(np.array(PillowImage.open(tmp_path / "a.png")), labels)
    write_labels(tmp_path / "b.png", labels > 500, PLANE)
    np.testing.assert_array_equal(read_labels(tmp_path / "b.png").data, labels > 500)


@pytest.mark.parametrize("number", [1, 3, 300, 70_000])
def test_a_single_object_is_seen_in_a_png_and_read_as_an_object(tmp_path, number):
    labels = np.zeros((4, 5), np.int32)
    labels[1:3, 1:4] = number
    words = write_labels_to_see(tmp_path / "a.png", labels, PLANE)
    pixels = np.array(PillowImage.open(tmp_path / "a.png"))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.where(labels, 255, 0))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").data > 0, labels > 0)
    found = mask_in(image_from_array(pixels))
    assert found is not None
    np.testing.assert_array_equal(found.data > 0, labels > 0)
    assert words.startswith("the object is white (255)")
    assert ("number" in words) == (number != 1)


def test_several_objects_and_other_formats_keep_their_numbers(tmp_path):
    labels = np.zeros((4, 5), np.uint16)
    assert write_labels_to_see(tmp_path / "none.png", labels, PLANE) is None
    assert not read_labels(tmp_path / "none.png").data.any()
    labels[0] = 2
    assert write_labels_to_see(tmp_path / "one.tif", labels, PLANE) is None
    np.testing.assert_array_equal(read_labels(tmp_path / "one.tif").data, labels)
    labels[1] = 1
    for highest in (2, 255, 400):
        labels[2] = highest
        words = write_labels_to_see(tmp_path / "two.png", labels, PLANE)
        np.testing.assert_array_equal(read_labels(tmp_path / "two.png").data, labels)
        assert f"by its number, 1 to {highest}" in words
    labels = labels.astype(np.int32)
    labels[3] = 70_000
    with pytest.raises(CamSamError, match=r"use \.tif"):
        write_labels_to_see(tmp_path / "many.png", labels, PLANE)


@pytest.mark.parametrize("like", [PLANE, STACK])
def test_tiff_heatmaps_are_float32(tmp_path, like):
    heat = np.random.default_rng(0).random(like.spatial_shape)
    write_heatmap(tmp_path / "a.tif", heat, like)
    back = tifffile.imread(tmp_path / "a.tif")
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, heat.astype(np.float32))


@pytest.mark.parametrize("spacing", [(0.25, 0.5), (3.0, 0.25, 0.5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_tiff_keeps_spacing(tmp_path, spacing, dtype):
    data = np.ones((3, 4, 5)[-len(spacing) :], dtype)
    image = image_from_array(data, geometry=Geometry(spacing, None, "mm"))
    write_image(tmp_path / "a.tif", image)
    back = read_image(tmp_path / "a.tif")
    assert back.geometry.unit == "mm"
    np.testing.assert_allclose(back.geometry.spacing, spacing, rtol=1e-6)
    np.testing.assert_array_equal(back.data, data)


@pytest.mark.parametrize(
    ("shape", "rgb", "suffix"),
    [
        ((4, 5), False, ".png"),
        ((4, 5, 3), True, ".png"),
        ((4, 5, 4), True, ".png"),
        ((4, 5, 3), True, ".tif"),
        ((2, 4, 5, 3), True, ".tif"),
        ((3, 4, 5), False, ".tif"),
        ((3, 4, 3), False, ".tif"),
        ((4, 5), False, ".jpg"),
        ((4, 5, 3), True, ".jpeg"),
    ],
)
@pytest.mark.parametrize("unit", ["pixel", "mm"])
def test_images_there_and_back(tmp_path, shape, rgb, suffix, unit):
    data = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if suffix.startswith(".j"):
        data[:] = 100
    geometry = Geometry((1.0,) * (len(shape) - rgb), None, unit)
    write_image(tmp_path / f"a{suffix}", image_from_array(data, rgb=rgb, geometry=geometry))
    back = read_image(tmp_path / f"a{suffix}")
    assert back.rgb == rgb
    np.testing.assert_array_equal(back.data, data)


def test_nifti_image_there_and_back(tmp_path):
    data = np.random.default_rng(0).normal(size=(3, 4, 5))
    write_image(tmp_path / "a.nii", image_from_array(data, geometry=PLACED.geometry))
    back = read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(back.data, data)
    assert back.geometry.matches(PLACED.geometry) is None


def test_suffixes():
    assert [labels_suffix(image) for image in (PLANE, STACK, PLACED)] == [".png", ".tif", ".nii.gz"]
    assert [heatmap_suffix(image) for image in (PLANE, STACK, PLACED)] == [
        ".tif",
        ".tif",
        ".nii.gz",
    ]


@pytest.mark.parametrize(
    ("name", "labels", "like", "words"),
    [
        ("a.png", np.zeros((5, 4), int), PLANE, r"have shape \(5, 4\), but plane has \(4, 5\)"),
        ("a.png", np.zeros((4, 5)), PLANE, "whole numbers"),
        ("a.tif", np.full((4, 5), 2**40), PLANE, "Labels lie in"),
        ("a.png", np.zeros((3, 4, 5), int), STACK, r"use \.tif"),
        ("a.png", np.full((4, 5), 70000), PLANE, r"use \.tif"),
        ("a.jpg", np.zeros((4, 5), int), PLANE, "JPEG cannot hold labels"),
        ("a.nii.gz", np.zeros((4, 5), int), PLANE, "plane has none"),
        ("a.tif", np.zeros((3, 4, 5), int), PLACED, "would lose the affine"),
        ("a.bmp", np.zeros((4, 5), int), PLANE, r"use \.nii"),
    ],
)
def test_refused_labels(tmp_path, name, labels, like, words):
    with pytest.raises(CamSamError, match=words):
        write_labels(tmp_path / name, labels, like)
    assert list(tmp_path.iterdir()) == []


def test_refused_heatmaps_and_images(tmp_path):
    with pytest.raises(CamSamError, match="cannot hold a heatmap"):
        write_heatmap(tmp_path / "a.png", np.zeros((4, 5)), PLANE)
    colour = image_from_array(np.zeros((4, 5, 4), np.uint8), rgb=True)
    for name in ("a.jpg", "a.nii"):
        with pytest.raises(CamSamError, match="cannot hold"):
            write_image(tmp_path / name, colour)


def test_never_writes_over_the_image_itself(tmp_path):
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), np.int16), np.eye(4)), path)
    before = path.read_bytes()
    with pytest.raises(CamSamError, match="the image itself"):
        write_labels(path, np.zeros((3, 4, 5), int), read_image(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("a.png", np.zeros((6, 9), np.uint8), "PNG and JPEG hold none"),
        ("a.jpg", np.zeros((6, 9), np.uint8), "PNG and JPEG hold none"),
        ("a.tif", np.zeros((6, 9), np.float64), "values of type float64"),
        ("a.tif", np.zeros((6, 9), np.int32), "values of type int32"),
        ("a.tif", np.zeros((6, 9), np.uint8), ""),
    ],
)
def test_that_a_spacing_is_lost_is_said(tmp_path, name, values, words):
    image = image_from_array(values, geometry=Geometry((0.5, 0.25), unit="mm"), name="scan")
    if words:
        with pytest.warns(UserWarning, match=f"^The spacing of scan is lost: .*{words}.*{name}"):
            write_image(tmp_path / name, image)
    else:
        write_image(tmp_path / name, image)
        assert read_image(tmp_path / name).geometry.spacing == (0.5, 0.25)


def test_that_colour_loses_its_place_in_the_world_is_said(tmp_path):
    pixels = np.zeros((3, 6, 9, 3), np.uint8)
    geometry = Geometry((2.0, 1.0, 1.0), affine=np.diag([2.0, 1, 1, 1]), unit="mm")
    image = image_from_array(pixels, rgb=True, geometry=geometry)
    with pytest.warns(UserWarning, match="place in the world"):
        write_image(tmp_path / "a.tif", image)
