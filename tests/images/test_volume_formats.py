"""NRRD, MetaImage and MGH hold what NIfTI holds: values, place, unit; others read the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.hashing import image_hash
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import read_image, read_labels
from napari_cam_sam.images.segments import Segment
from napari_cam_sam.images.volume import PartOnDisk, VolumeOnDisk
from napari_cam_sam.images.writing import write_heatmap, write_image, write_labels

ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
MGH = (".mgz", ".mgh")
SHAPE = (3, 4, 5)


def geometry(angles=(20, -35, 70), spacing=(6.5, 0.9, 0.8), flips=(1, 1, 1), origin=(90, -126, 72)):
    affine = np.eye(4)
    turned = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine[:3, :3] = turned * spacing * flips
    affine[:3, 3] = origin
    return Geometry(tuple(float(s) for s in spacing), affine, "mm")


def volume(dtype="int16", where: Geometry | None = None, shape=SHAPE) -> Image:
    values = np.random.default_rng(2).normal(0, 90, shape).astype(dtype)
    return Image(values, False, where or geometry(), "scan")


def world_of(image: sitk.Image) -> np.ndarray:
    """The affine of an image of SimpleITK, for (k, j, i) and to RAS."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return (np.diag([-1, -1, 1, 1]) @ affine)[:, [2, 1, 0, 3]]


def itk_image(values: np.ndarray, affine: np.ndarray, *, vector=False) -> sitk.Image:
    image = sitk.GetImageFromArray(values, isVector=vector)
    steps = (np.diag([-1, -1, 1, 1]) @ affine)[:, [2, 1, 0, 3]]
    lengths = np.linalg.norm(steps[:3, :3], axis=0)
    image.SetDirection((steps[:3, :3] / lengths).ravel())
    image.SetSpacing(lengths)
    image.SetOrigin(steps[:3, 3])
    return image


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64",
                                   "uint64", "float32", "float64", ">i2", ">f4"])  # fmt: skip
@pytest.mark.parametrize("suffix", ITK)
def test_itk_reads_what_is_written(tmp_path, suffix, dtype):
    image = volume(dtype)
    write_image(tmp_path / f"a{suffix}", image)
    found = sitk.ReadImage(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), image.data)
    np.testing.assert_allclose(world_of(found), image.geometry.affine, atol=1e-6)


@pytest.mark.parametrize("flips", [(1, 1, 1), (1, -1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", ITK)
def test_what_itk_writes_is_read(tmp_path, suffix, packed, flips):
    image = volume("int16", geometry(flips=flips))
    written = itk_image(image.data, image.geometry.affine)
    sitk.WriteImage(written, tmp_path / f"a{suffix}", useCompression=packed)
    found = read_image(tmp_path / f"a{suffix}")
    assert found.name == "a"
    assert isinstance(found.data, VolumeOnDisk)
    assert found.data.dtype == np.int16
    np.testing.assert_array_equal(found.data, image.data)
    np.testing.assert_allclose(found.geometry.affine, image.geometry.affine, atol=1e-6)
    np.testing.assert_allclose(found.geometry.spacing, image.geometry.spacing, atol=1e-6)
    assert found.geometry.unit == "mm"
    assert found.notes == ()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
@pytest.mark.parametrize("suffix", MGH)
def test_nibabel_and_mgh_read_each_other(tmp_path, suffix, dtype):
    image = volume(dtype)
    write_image(tmp_path / f"a{suffix}", image)
    found = nibabel.load(tmp_path / f"a{suffix}")
    assert found.get_data_dtype().newbyteorder("=") == np.dtype(dtype)
    np.testing.assert_array_equal(np.asarray(found.dataobj).T, image.data)
    np.testing.assert_allclose(found.affine[:, [2, 1, 0, 3]], image.geometry.affine, atol=1e-4)

    affine = image.geometry.affine[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.MGHImage(image.data.T, affine), tmp_path / f"b{suffix}")
    back = read_image(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(back.data, image.data)
    np.testing.assert_allclose(back.geometry.affine, image.geometry.affine, atol=1e-4)
    assert back.notes == ()


@pytest.mark.parametrize("suffix", MGH)
def test_a_footer_of_freesurfer_is_no_surprise(tmp_path, suffix):
    image = nibabel.MGHImage(np.ones((4, 3, 2), np.float32), np.eye(4))
    image.header["tr"] = 2000
    nibabel.save(image, tmp_path / f"a{suffix}")
    assert read_image(tmp_path / f"a{suffix}").notes == ()


def test_mgh_without_a_place_is_where_freesurfer_puts_it(tmp_path):
    write_image(tmp_path / "a.mgh", volume())
    raw = bytearray((tmp_path / "a.mgh").read_bytes())
    raw[28:30] = b"\0\0"  # goodRASFlag
    (tmp_path / "a.mgh").write_bytes(raw)
    image = read_image(tmp_path / "a.mgh")
    np.testing.assert_allclose(
        image.geometry.affine[:, [2, 1, 0, 3]], nibabel.load(tmp_path / "a.mgh").affine, atol=1e-5
    )
    assert image.notes == (
        "It does not say where it lies: FreeSurfer's standard is taken, coronal, 1 mm.",
    )


def test_mgh_takes_the_type_that_holds_the_values(tmp_path):
    where = geometry()
    for dtype, values, stored in [
        ("uint16", [0, 1, 40_000], "int32"), ("uint16", [0, 300, 2], "int16"),
        ("int8", [-3, 4, 5], "int16"), ("int64", [-3, 4, 70_000], "int32"),
        ("bool", [0, 1, 1], "uint8"),
    ]:  # fmt: skip
        image = Image(np.array(values, dtype).reshape(1, 1, 3), False, where, "scan")
        write_image(tmp_path / "a.mgz", image)
        found = read_image(tmp_path / "a.mgz").data
        assert found.dtype == np.dtype(stored)
        np.testing.assert_array_equal(np.asarray(found).ravel(), values)
    large = Image(np.array([[[2**40]]]), False, where, "scan")
    with pytest.raises(CamSamError, match=r"MGH holds whole numbers within.*1099511627776"):
        write_image(tmp_path / "b.mgz", large)


def test_mgh_rounds_double_precision_and_says_so(tmp_path):
    with pytest.warns(UserWarning, match="MGH holds real values in single precision"):
        write_image(tmp_path / "a.mgz", volume("float64"))
    whole = volume("float64")
    whole = Image(np.round(whole.data), False, whole.geometry, "scan")
    write_image(tmp_path / "a.mgz", whole)  # loses nothing, so no warning
    np.testing.assert_array_equal(read_image(tmp_path / "a.mgz").data, whole.data)


@pytest.mark.parametrize("suffix", [*ITK, *MGH, ".nii.gz"])
def test_every_plane_is_read_alone(tmp_path, suffix):
    image = volume("int16")
    write_image(tmp_path / f"a{suffix}", image)
    found = read_image(tmp_path / f"a{suffix}")
    assert isinstance(found.data, VolumeOnDisk)
    for axis in range(3):
        for index in range(SHAPE[axis]):
            np.testing.assert_array_equal(found.plane(axis, index), image.plane(axis, index))


@pytest.mark.parametrize("suffix", [*ITK, ".tif"])
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_spacing_alone_and_no_spacing_are_kept(tmp_path, suffix, shape):
    spacing = (2.0, 0.5, 0.25)[-len(shape) :]
    for unit in ("mm", "pixel"):
        where = Geometry(spacing if unit == "mm" else (1.0,) * len(shape), None, unit)
        image = Image(np.zeros(shape, np.uint8), False, where, "scan")
        write_image(tmp_path / f"a{suffix}", image)
        found = read_image(tmp_path / f"a{suffix}")
        assert found.spatial_shape == shape
        assert found.geometry.affine is None
        assert found.geometry.unit == unit
        assert found.geometry.spacing == pytest.approx(where.spacing)
    if suffix in ITK:
        assert sitk.ReadImage(tmp_path / f"a{suffix}").GetSize() == shape[::-1]


@pytest.mark.parametrize("suffix", MGH)
def test_mgh_needs_a_place(tmp_path, suffix):
    flat = Image(np.zeros(SHAPE, np.uint8), False, Geometry((1.0, 1.0, 1.0)), "scan")
    with pytest.raises(CamSamError, match=r"scan has no affine, so save it as .nrrd, .mha or .tif"):
        write_image(tmp_path / f"a{suffix}", flat)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
@pytest.mark.parametrize("suffix", ITK)
def test_colour(tmp_path, suffix, shape, channels):
    values = np.random.default_rng(3).integers(0, 255, (*shape, channels), np.uint8)
    where = geometry() if len(shape) == 3 else Geometry((0.5, 0.25), None, "mm")
    image = Image(values, True, where, "scan")
    write_image(tmp_path / f"a{suffix}", image)
    found = read_image(tmp_path / f"a{suffix}")
    assert found.rgb
    np.testing.assert_array_equal(found.data, values)
    assert found.geometry.matches(where) is None
    other = sitk.ReadImage(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), values)
    sitk.WriteImage(other, tmp_path / f"b{suffix}")
    back = read_image(tmp_path / f"b{suffix}")
    assert back.rgb
    np.testing.assert_array_equal(back.data, values)


def test_colour_that_a_format_cannot_hold(tmp_path):
    image = Image(np.zeros((*SHAPE, 3), np.float32), True, geometry(), "scan")
    with pytest.raises(CamSamError, match="NRRD cannot hold colours of type float32"):
        write_image(tmp_path / "a.nrrd", image)
    for suffix, name in ((".mgz", "MGH"), (".nii.gz", "NIfTI")):
        with pytest.raises(CamSamError, match=f"{name} cannot hold colour here"):
            write_image(tmp_path / f"a{suffix}", image)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
def test_components_are_frames_one_of_which_is_chosen(tmp_path, suffix):
    values = np.random.default_rng(3).normal(size=(*SHAPE, 3)).astype(np.float32)
    sitk.WriteImage(itk_image(values, geometry().affine, vector=True), tmp_path / f"a{suffix}")
    with pytest.raises(CamSamError, match="series of 3 frames: choose one, from 0 to 2"):
        read_image(tmp_path / f"a{suffix}")
    for frame in range(3):
        image = read_image(tmp_path / f"a{suffix}", frame)
        assert isinstance(image.data, PartOnDisk)
        np.testing.assert_array_equal(image.data, values[..., frame])
        np.testing.assert_array_equal(image.plane(1, 2), values[:, 2, :, frame])
        np.testing.assert_array_equal(image.data[1:, ..., 2], values[1:, :, 2, frame])
        assert image.geometry.matches(geometry()) is None
    with pytest.raises(CamSamError, match="no frame 3"):
        read_image(tmp_path / f"a{suffix}", 3)


@pytest.mark.parametrize("suffix", MGH)
def test_frames_of_mgh(tmp_path, suffix):
    values = np.random.default_rng(3).integers(0, 99, (5, 4, 3, 2)).astype(np.int16)
    affine = geometry().affine[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.MGHImage(values, affine), tmp_path / f"a{suffix}")
    with pytest.raises(CamSamError, match="series of 2 frames"):
        read_image(tmp_path / f"a{suffix}")
    for frame in (0, 1):
        image = read_image(tmp_path / f"a{suffix}", frame)
        np.testing.assert_array_equal(image.data, values[..., frame].T)


def test_a_fourth_axis_of_metaimage_is_frames(tmp_path):
    values = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    text = (
        "NDims = 4\nTransformMatrix = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\nOffset = 1 2 3 0\n"
        "ElementSpacing = 0.5 0.6 2 1\nDimSize = 5 4 3 2\nElementType = MET_UCHAR\n"
        "ElementDataFile = LOCAL\n"
    )
    (tmp_path / "a.mha").write_bytes(text.encode() + values.tobytes())
    image = read_image(tmp_path / "a.mha", 1)
    np.testing.assert_array_equal(image.data, values[1])
    assert image.geometry.spacing == (2, 0.6, 0.5)
    np.testing.assert_array_equal(image.geometry.affine[:3, 3], (-1, -2, 3))


@pytest.mark.parametrize("suffix", [*ITK[:1], *ITK[2:3], *MGH[:1]])
def test_a_picture_in_space_becomes_one_slice(tmp_path, suffix):
    where = Geometry((0.9, 0.8), geometry().affine, "mm")
    image = Image(np.ones((4, 5), np.uint8), False, where, "scan")
    with pytest.warns(UserWarning, match="places volumes alone: the picture is written as one of"):
        write_image(tmp_path / f"a{suffix}", image)
    found = read_image(tmp_path / f"a{suffix}")
    assert found.spatial_shape == (1, 4, 5)
    np.testing.assert_allclose(found.geometry.affine, where.affine, atol=1e-4)


def test_values_of_another_file_count_for_the_hash(tmp_path):
    write_image(tmp_path / "a.mhd", volume())
    write_image(tmp_path / "b.mha", volume())
    before = image_hash(read_image(tmp_path / "a.mhd"))
    raw = bytearray((tmp_path / "a.raw").read_bytes())
    raw[0] ^= 1
    (tmp_path / "a.raw").write_bytes(raw)
    assert image_hash(read_image(tmp_path / "a.mhd")) != before


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_detached_values_replace_nothing_that_belongs_to_something_else(tmp_path, suffix):
    image = volume()
    write_image(tmp_path / f"a{suffix}", image)
    write_image(tmp_path / f"a{suffix}", image)  # its own
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"a{suffix}", "a.raw"])
    other = {".nhdr": ".mhd", ".mhd": ".nhdr"}[suffix]
    with pytest.raises(CamSamError, match=r"would replace a.raw, which belongs to something else"):
        write_image(tmp_path / f"a{other}", image)
    opened = read_image(tmp_path / f"a{suffix}")
    (tmp_path / f"a{other}").write_text("what it was is lost")
    with pytest.raises(CamSamError, match="would replace those of the image itself"):
        write_image(tmp_path / f"a{other}", opened)
    with pytest.raises(CamSamError, match="image itself"):
        write_image(tmp_path / f"a{suffix}", opened)
    np.testing.assert_array_equal(opened.data, image.data)


@pytest.mark.parametrize("suffix", [*ITK, *MGH, ".seg.nrrd"])
def test_labels_and_heatmaps(tmp_path, suffix):
    image = volume()
    labels = np.zeros(SHAPE, np.int64)
    labels[1, 1:3] = 7
    labels[2, 3] = 300
    write_labels(tmp_path / f"a{suffix}", labels, image)
    found = read_labels(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(found.data, labels)
    assert found.data.dtype.kind in "iu"
    assert found.geometry.matches(image.geometry) is None
    heat = np.linspace(0, 1, 60, dtype=np.float32).reshape(SHAPE)
    if suffix == ".seg.nrrd":
        with pytest.raises(CamSamError, match="holds labels alone"):
            write_heatmap(tmp_path / f"b{suffix}", heat, image)
        with pytest.raises(CamSamError, match="holds labels alone"):
            write_image(tmp_path / f"b{suffix}", image)
    else:
        write_heatmap(tmp_path / f"b{suffix}", heat, image)
        np.testing.assert_array_equal(read_image(tmp_path / f"b{suffix}").data, heat)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".mgz", ".tif"])
def test_names_that_a_format_cannot_hold_are_said_to_be_lost(tmp_path, suffix):
    image = volume() if suffix != ".tif" else volume(where=Geometry((1.0, 1.0, 1.0)))
    labels = np.ones(SHAPE, np.uint8)
    with pytest.warns(UserWarning, match=r"names of the labels are lost: .* holds none; .seg.nrrd"):
        write_labels(tmp_path / f"a{suffix}", labels, image, segments=[Segment(1, "Liver")])
    write_labels(tmp_path / f"a{suffix}", labels, image, segments=[Segment(1, "Liver")], warn=False)


def test_two_writings_are_the_same_bytes(tmp_path):
    for suffix in (*ITK, *MGH):
        write_image(tmp_path / f"a{suffix}", volume())
        first = (tmp_path / f"a{suffix}").read_bytes()
        write_image(tmp_path / f"a{suffix}", volume())
        assert (tmp_path / f"a{suffix}").read_bytes() == first
        (tmp_path / "a.raw").unlink(missing_ok=True)


finite = st.floats(-500, 500, width=32)


@pytest.mark.slow
@settings(
    max_examples=200, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.05, 20)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    origin=st.tuples(finite, finite, finite),
    seed=st.integers(0, 2**16),
)
def test_any_place_goes_around_all_formats(tmp_path, shape, angles, spacing, flips, origin, seed):
    """NIfTI to .seg.nrrd to MetaImage to MGH and back: values equal, the place to 1e-4."""
    where = geometry(angles, spacing, flips, origin)
    values = np.random.default_rng(seed).integers(0, 300, shape).astype(np.int32)
    image = Image(values, False, where, "scan")
    like, stops = image, [".nii.gz", ".seg.nrrd", ".mha", ".mgz", ".nrrd", ".nii"]
    for suffix in stops:
        path: Path = tmp_path / f"a{suffix}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names are lost on the way
            write_labels(path, np.asarray(like.data), like)
        like = read_labels(path, exact=True)
        np.testing.assert_array_equal(like.data, values)
        np.testing.assert_allclose(like.geometry.affine, where.affine, atol=1e-4)
