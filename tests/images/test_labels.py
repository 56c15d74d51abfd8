"""What files mean as labels: rounding of scaled files, gray rims, palettes, masks of two values."""

import io

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter
from scipy import ndimage
from skimage.measure import label

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.labels import labels_of, labels_remark
from napari_cam_sam.images.reading import read_labels

FEW = np.array([[[0, 1, 2, 3], [3, 0, 1, 5]]])


def discs(size=256, fill=255):
    picture = PillowImage.new("L", (size, size))
    draw = ImageDraw.Draw(picture)
    for box in ((40, 30, 110, 95), (120, 140, 190, 220), (150, 20, 175, 60)):
        draw.ellipse([side * size / 256 for side in box], fill=fill)
    return picture


def jpeg(picture, quality):
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return PillowImage.open(stream).convert("L")


def save_scaled(path, values, dtype, inter=0.0):
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(values.T.astype(float) + inter, np.eye(4), header)
    image.set_data_dtype(dtype)
    nib.save(image, path)
    return np.rint(np.asarray(nib.load(path).dataobj) - inter).T


# Rounding after slopes


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.int8, np.int32])
@pytest.mark.parametrize("values", [FEW, FEW > 0, FEW * 4], ids=["few", "mask", "more"])
def test_labels_with_a_slope(tmp_path, dtype, values):
    path = tmp_path / "a.nii.gz"
    expected = save_scaled(path, values, dtype)
    assert nib.load(path).dataobj.slope != 1
    np.testing.assert_array_equal(expected, values)
    np.testing.assert_array_equal(read_labels(path).data, values)


def test_a_slope_that_nibabel_reads_as_not_quite_one(tmp_path):
    save_scaled(tmp_path / "a.nii", FEW > 0, np.int16)
    read = nib.load(tmp_path / "a.nii").get_fdata()
    assert 0 < np.abs(read - np.round(read)).max() < 1e-6
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii").data, FEW > 0)


@pytest.mark.parametrize(("slope", "inter"), [(0.1, 0.0), (0.1, -3.0), (1 / 3, 1.0), (2.0, -1.0)])
def test_a_slope_and_an_intercept(tmp_path, slope, inter):
    labels = np.array([[[1, 3, 5, 7, 101]]])
    stored = np.rint((labels - inter) / slope).astype(np.int16)
    image = nib.Nifti1Image(stored.T, np.eye(4))
    nib.save(image, tmp_path / "a.nii")
    with (tmp_path / "a.nii").open("r+b") as file:
        file.seek(112)
        file.write(np.array([slope, inter], "<f4").tobytes())
    assert np.allclose(nib.load(tmp_path / "a.nii").get_fdata().T, labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii").data, labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".nii.gz", ".tif"])
def test_noise_of_single_precision(tmp_path, dtype, suffix):
    noisy = (FEW * 1000 * (1 + 1e-7)).astype(dtype)
    noisy[0, 0, 0] = -1e-7
    if suffix == ".tif":
        tifffile.imwrite(tmp_path / "a.tif", noisy, photometric="minisblack")
    else:
        nib.save(nib.Nifti1Image(noisy.T, np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(
        np.asarray(read_labels(tmp_path / f"a{suffix}").data).reshape(FEW.shape), FEW * 1000
    )


def test_high_labels_keep_every_digit(tmp_path):
    labels = np.array([[[0, 2**24 + 1, 2**31 - 1]]])
    nib.save(nib.Nifti1Image(labels.T.astype(np.float64), np.eye(4)), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii").data, labels)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.5"), (1.00003, "1.00003"), (1.25, "1.25"), (2.0000301, "2.00003"),
     (np.nan, "nan"), (np.inf, "inf"), (-0.4, "-0.4")],
)  # fmt: skip
def test_fractions_are_refused_with_the_digits_that_matter(value, shown):
    with pytest.raises(CamSamError, match=rf"no labels, e\.g\. {shown}\d*: labels are whole"):
        labels_of(image_from_array(np.array([[0.0, value, 3.0]])))


def test_a_probability_with_a_fine_slope_is_no_mask(tmp_path):
    for dtype in (np.uint8, np.int16):
        save_scaled(tmp_path / "a.nii", np.linspace(0, 1, 60).reshape(3, 4, 5), dtype)
        with pytest.raises(CamSamError, match="a soft mask is cut at a threshold first"):
            read_labels(tmp_path / "a.nii")


def test_negative_values_are_no_labels(tmp_path):
    for dtype in (np.int16, np.float32):
        nib.save(nib.Nifti1Image((FEW - 1).T.astype(dtype), np.eye(4)), tmp_path / "a.nii")
        with pytest.raises(CamSamError, match=r"Negative values, e\.g\. -1"):
            read_labels(tmp_path / "a.nii")


# Gray rims


RIMS = {
    "bilinear": lambda p: p.resize((100, 100), PillowImage.Resampling.BILINEAR),
    "lanczos": lambda p: p.resize((300, 300), PillowImage.Resampling.LANCZOS),
    "half": lambda p: p.resize((128, 128), PillowImage.Resampling.BOX),
    "blurred": lambda p: p.filter(ImageFilter.GaussianBlur(1.5)),
    "matte": lambda p: p.filter(ImageFilter.GaussianBlur(6)),
    "jpeg 30": lambda p: jpeg(p, 30),
    "jpeg 75": lambda p: jpeg(p, 75),
    "jpeg 95": lambda p: jpeg(p, 95),
    "jpeg 100": lambda p: jpeg(p, 100),
}


@pytest.mark.parametrize("name", RIMS)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".nii.gz"])
def test_gray_rims_are_cut_at_half(tmp_path, name, suffix):
    values = np.asarray(RIMS[name](discs()))
    assert len(np.unique(values)) > 3
    path = tmp_path / f"a{suffix}"
    if suffix == ".nii.gz":
        nib.save(nib.Nifti1Image(values.T[..., None], np.eye(4)), path)
    elif suffix == ".tif":
        tifffile.imwrite(path, values)
    else:
        PillowImage.fromarray(values).save(path)
    labels = read_labels(path)
    np.testing.assert_array_equal(
        np.asarray(labels.data).reshape(values.shape), np.where(values >= 128, 255, 0)
    )
    assert "cut at half, so 128 and more is object" in labels.notes[0]
    assert label(np.asarray(labels.data)).max() == 3


def test_gray_rims_of_a_palette_in_any_order(tmp_path):
    values = np.asarray(discs().resize((100, 100), PillowImage.Resampling.BILINEAR))
    order = np.random.default_rng(0).permutation(256).astype(np.uint8)
    picture = PillowImage.fromarray(np.argsort(order).astype(np.uint8)[values], mode="P")
    picture.putpalette(np.repeat(order[:, None], 3, axis=1).tobytes())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        np.asarray(PillowImage.open(tmp_path / "a.png").convert("L")), values
    )
    labels = read_labels(tmp_path / "a.png")
    np.testing.assert_array_equal(labels.data, np.where(values >= 128, 255, 0))
    assert "brightness of its palette" in labels.notes[0]


def voronoi(cells, size=200):
    generator = np.random.default_rng(1)
    seeds = np.zeros((size, size), bool)
    seeds[tuple(generator.integers(0, size, (2, cells)))] = True
    where = ndimage.distance_transform_edt(~seeds, return_distances=False, return_indices=True)
    regions = np.unique(where[0] * size + where[1], return_inverse=True)[1].reshape(size, size)
    return generator.permutation(regions.max() + 1)[regions]


def scattered(side, count=76):
    generator, labels = np.random.default_rng(1), np.zeros((200, 200), np.uint8)
    for value in range(1, count + 1):
        row, column = generator.integers(0, 200 - side, 2)
        labels[row : row + side, column : column + side] = value
    return labels


def nested(step, width=2):
    radius = np.hypot(*(np.indices((200, 200)) - 100))
    return np.clip((70 - radius) // width, 0, 5).astype(np.uint8) * step


INSTANCES = {
    "cells": voronoi(200), "many cells": voronoi(3000), "squares": scattered(6),
    "3 pixels": scattered(3), "2 pixels": scattered(2), "dots": scattered(1),
    "thin shells": nested(1), "thin shells of gray": nested(51),
    "every pixel": np.arange(900).reshape(30, 30),
    "with a border to ignore": np.where(nested(1, 9) > 4, 255, nested(1, 9)),
}  # fmt: skip


@pytest.mark.parametrize("name", INSTANCES)
def test_labels_of_objects_stay(tmp_path, name):
    values = INSTANCES[name]
    tifffile.imwrite(tmp_path / "a.tif", values.astype(np.uint16))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").data, values)
    image = image_from_array(values[None].astype(np.int32))
    np.testing.assert_array_equal(labels_of(image).data, values[None])


def test_a_gray_picture_is_no_truth(tmp_path):
    noise = np.random.default_rng(0).normal(size=(64, 64))
    picture = (np.clip(ndimage.gaussian_filter(noise, 2) * 4, -1, 1) * 120 + 128).astype(np.uint8)
    PillowImage.fromarray(picture).save(tmp_path / "a.png")
    with pytest.raises(CamSamError, match="A gray picture, not labels"):
        read_labels(tmp_path / "a.png")
    assert "count as objects: cut it at half" in str(labels_remark(image_from_array(picture)))


def head(kind):
    """Return a volume as scanners make it: air, skull, brain, noise, and a few bright vessels."""
    rng = np.random.default_rng(3)
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in (9, 64, 64)), indexing="ij")
    radius = np.sqrt((k / 2) ** 2 + j**2 + i**2)
    tissue = ndimage.gaussian_filter(rng.normal(size=radius.shape), 1.5)
    values = np.where(radius < 0.6, 900 + 800 * tissue, 0) + 8 * rng.random(radius.shape)
    values[4, 30:32, 28:30] = 3000
    if kind == "skull":
        values += np.where(np.abs(radius - 0.75) < 0.05, 1500, 0)
    if kind == "offset":  # nothing is black
        values = 7300 + values * 0.2 + 60 * rng.random(values.shape)
    return np.clip(values, 0, None).astype(np.int16)


@pytest.mark.parametrize("kind", ["stripped", "skull", "offset"])
def test_a_scan_on_a_dark_ground_is_no_truth(tmp_path, kind):
    values = head(kind)
    nib.save(nib.Nifti1Image(values.T, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(CamSamError, match="A gray picture, not labels"):
        read_labels(tmp_path / "a.nii.gz")


def test_a_small_mask_with_wide_rims_is_a_mask(tmp_path):
    blurred = ndimage.gaussian_filter(np.asarray(discs(96)).astype(float) > 0, 3.0, output=float)
    values = np.rint(blurred / blurred.max() * 255).astype(np.uint8)
    PillowImage.fromarray(values).save(tmp_path / "a.png")
    labels = read_labels(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(labels.data) > 0, values > 127)
    assert "cut at half" in " ".join(labels.notes)


def test_files_of_our_own_are_read_as_they_stand(tmp_path):
    values = np.asarray(discs().resize((100, 100), PillowImage.Resampling.BILINEAR))
    PillowImage.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png", exact=True).data, values)


# Two values, palettes, and few high labels


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0, 255, False),
        (0, 1, False),
        (0, 7, False),
        (10, 200, True),
        (1, 2, True),
        (254, 255, True),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".nii"])
def test_two_values_are_a_mask(tmp_path, low, high, said, suffix):
    inside = np.asarray(discs(64)) > 0
    values, path = np.where(inside, high, low).astype(np.uint8), tmp_path / f"a{suffix}"
    if suffix == ".nii":
        nib.save(nib.Nifti1Image(values.T[..., None], np.eye(4)), path)
    elif suffix == ".tif":
        tifffile.imwrite(path, values)
    else:
        PillowImage.fromarray(values).save(path)
    labels = read_labels(path)
    found = np.asarray(labels.data).reshape(inside.shape)
    np.testing.assert_array_equal(found, inside * high)
    assert ("the lower, is read as background" in " ".join(labels.notes)) == said


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("dark", "light"), [((0, 0, 0), (255, 255, 255)), ((40, 0, 60), (255, 200, 0))]
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("entries", [2, 256])
def test_of_two_colours_the_darker_is_background(tmp_path, turned, dark, light, suffix, entries):
    inside = np.asarray(discs(64)) > 0
    palette = np.zeros((entries, 3), np.uint8)
    palette[:2] = [light, dark] if turned else [dark, light]
    indices, path = (inside ^ turned).astype(np.uint8), tmp_path / f"a{suffix}"
    if suffix == ".png":
        picture = PillowImage.fromarray(indices, mode="P")
        picture.putpalette(palette.tobytes())
        picture.save(path)
    else:
        table = np.zeros((3, 256), np.uint16)
        table[:, :entries] = palette.T.astype(np.uint16) * 257
        tifffile.imwrite(path, indices, photometric="palette", colormap=table)
    labels = read_labels(path)
    np.testing.assert_array_equal(labels.data, inside)
    assert bool(labels.notes) == turned


def test_an_empty_mask_of_two_colours_is_empty(tmp_path):
    picture = PillowImage.fromarray(np.ones((8, 8), np.uint8), mode="P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "a.png")
    assert not np.any(read_labels(tmp_path / "a.png").data)


def test_numbers_of_a_palette_are_labels_as_in_voc(tmp_path):
    values = np.where(nested(1, 12) == 3, 15, nested(1, 12))
    values[-10:] = 255
    colours = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
    picture = PillowImage.fromarray(values, mode="P")
    picture.putpalette(colours.tobytes())
    picture.save(tmp_path / "a.png")
    labels = read_labels(tmp_path / "a.png")
    np.testing.assert_array_equal(labels.data, values)
    assert "entries are read as labels: 1, 2, 4, 5, 15 and 255" in labels.notes[0]


def test_few_labels_with_a_high_one_are_named(tmp_path):
    values = np.zeros((20, 20), np.uint8)
    values[:5], values[8:12], values[15:] = 1, 2, 255
    PillowImage.fromarray(values).save(tmp_path / "a.png")
    labels = read_labels(tmp_path / "a.png")
    np.testing.assert_array_equal(labels.data, values)
    assert "It holds the labels 1, 2 and 255, each read as a class" in labels.notes[0]
    values[values == 255] = 3
    PillowImage.fromarray(values).save(tmp_path / "a.png")
    assert not read_labels(tmp_path / "a.png").notes


def test_remarks_on_layers_that_stay_as_they_are():
    rims = np.asarray(discs().resize((100, 100), PillowImage.Resampling.BILINEAR))
    assert "gray values from 0 to 255" in str(labels_remark(image_from_array(rims, name="gt")))
    assert "both count as objects" in str(
        labels_remark(image_from_array(np.array([[10, 200] * 9])))
    )
    assert "negative values" in str(labels_remark(image_from_array(np.array([[0, -1]]))))
    assert labels_remark(image_from_array(np.array([[0, 1, 2]]))) is None
    assert labels_remark(image_from_array(np.array([[False, True]]))) is None


def test_a_large_plane_is_looked_at_by_rows(monkeypatch):
    """Counting its values must not need eight times the memory of a whole slide."""
    largest, count = 0, np.bincount

    def bincount(values, **options):
        nonlocal largest
        largest = max(largest, len(values))
        return count(values, **options)

    monkeypatch.setattr(np, "bincount", bincount)
    values = np.zeros((3000, 2000), np.uint8)
    values[5:50, 7:80], values[2990:, 100:] = 3, 200
    image = labels_of(image_from_array(values))
    assert 0 < largest <= 2**20
    assert "the labels 3 and 200" in image.notes[0]
