import gzip
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.reading import check_same_grid, read_image, read_labels
from napari_cam_sam.images.windows import apply_window, resolve_window
from napari_cam_sam.images.writing import write_heatmap, write_labels

DATA = Path(__file__).resolve().parents[2].parent / "shared/data"
RNG = np.random.default_rng(4)
SHAPE = (7, 6, 5)  # i, j, k
VALUES = RNG.integers(-1000, 1000, SHAPE).astype(np.int16)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    return Rotation.from_euler("xyz", (x, y, z)).as_matrix()


def affine(matrix: np.ndarray, zooms=(0.8, 0.9, 6.5)) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3] = matrix @ np.diag(zooms)
    result[:3, 3] = (90, -126, -72)
    return result


AFFINES = {
    "RAS": affine(np.eye(3)),
    "LAS": affine(np.diag([-1.0, 1, 1])),
    "LPI flipped": affine(np.diag([-1.0, -1, -1])),
    "SAL permuted": affine(np.eye(3)[[2, 1, 0]] @ np.diag([1.0, 1, -1])),
    "oblique": affine(rotation(0.3, -0.2, 0.5)),
    "oblique flipped": affine(rotation(0.3, -0.2, 0.5) @ np.diag([1.0, -1, 1])),
}


def save(path, values=VALUES, matrix=AFFINES["LAS"], cls=nib.Nifti1Image, **codes):
    image = cls(values, matrix)
    image.set_sform(matrix, code=codes.get("sform", 1))
    image.set_qform(matrix, code=codes.get("qform", 1))
    image.header.set_xyzt_units(codes.get("unit", "mm"), "sec")
    nib.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", AFFINES)
def test_reads_transposed_with_the_world_kept(tmp_path, name, suffix):
    image = read_image(save(tmp_path / f"a{suffix}", matrix=AFFINES[name]))
    assert (image.spatial_shape, image.name, image.rgb) == ((5, 6, 7), "a", False)
    np.testing.assert_array_equal(image.data, VALUES.T)
    np.testing.assert_allclose(image.geometry.spacing, (6.5, 0.9, 0.8), rtol=1e-6)
    i, j, k = 3, 1, 4
    np.testing.assert_allclose(
        image.geometry.affine @ (k, j, i, 1), AFFINES[name] @ (i, j, k, 1), rtol=1e-5, atol=1e-4
    )
    for axis in image.axes:
        for index in range(image.n_planes(axis)):
            np.testing.assert_array_equal(image.plane(axis, index), VALUES.T.take(index, axis=axis))


@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 1), (4, 3), (0, 0)])
@pytest.mark.parametrize("name", AFFINES)
def test_labels_are_on_the_grid_of_the_source(tmp_path, name, codes):
    source = save(tmp_path / "a.nii", matrix=AFFINES[name], sform=codes[0], qform=codes[1])
    labels = (VALUES > 500).astype(np.uint8)
    write_labels(tmp_path / "labels.nii.gz", labels.T, read_image(source))
    before, after = nib.load(source), nib.load(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(np.asarray(after.dataobj), labels)
    assert after.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(after.affine, before.affine)
    for field in (
        "pixdim", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b",
        "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units", "dim",
    ):  # fmt: skip
        np.testing.assert_array_equal(after.header[field], before.header[field], err_msg=field)
    assert nib.aff2axcodes(after.affine) == nib.aff2axcodes(before.affine)
    check_same_grid(read_image(source), read_labels(tmp_path / "labels.nii.gz"))


@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
def test_one_frame_of_4d_is_3d_and_is_written_as_it_was(tmp_path, cls):
    source = save(tmp_path / "a.nii.gz", VALUES[..., None], cls=cls)
    image = read_image(source)
    assert image.spatial_shape == (5, 6, 7)
    write_labels(tmp_path / "b.nii.gz", np.ones((5, 6, 7), int), image)
    after = nib.load(tmp_path / "b.nii.gz")
    assert (type(after), after.shape) == (cls, (*SHAPE, 1))
    assert read_labels(tmp_path / "b.nii.gz").spatial_shape == (5, 6, 7)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_frame_of_several_is_3d(tmp_path, suffix):
    frames = np.stack([VALUES, VALUES + 1, VALUES * 2], axis=-1)
    source = save(tmp_path / f"a{suffix}", frames)
    for frame in range(3):
        np.testing.assert_array_equal(read_image(source, frame).data, frames[..., frame].T)
    write_labels(tmp_path / "b.nii", np.ones((5, 6, 7), int), read_image(source, 2))
    after = nib.load(tmp_path / "b.nii")
    assert after.shape == SHAPE
    np.testing.assert_array_equal(after.affine, nib.load(source).affine)
    with pytest.raises(CamSamError, match="3 frames: choose one, from 0 to 2"):
        read_image(source)
    with pytest.raises(CamSamError, match="frames are 0 to 2"):
        read_image(source, 3)


def test_two_dimensions(tmp_path):
    image = read_image(save(tmp_path / "a.nii", VALUES[..., 0]))
    assert (image.spatial_shape, image.axes) == ((6, 7), (0,))
    np.testing.assert_allclose(image.geometry.spacing, (0.9, 0.8), rtol=1e-6)
    np.testing.assert_array_equal(image.plane(), VALUES[..., 0].T)
    write_labels(tmp_path / "b.nii", np.ones((6, 7), int), image)
    assert nib.load(tmp_path / "b.nii").shape == (7, 6)


@pytest.mark.parametrize("dtype", ["u1", "i1", ">i2", "u2", "<i4", "u4", "i8", ">f4", "f8"])
def test_types_and_byte_orders(tmp_path, dtype):
    values = np.abs(VALUES % 100).astype(dtype)
    header = nib.Nifti1Header(endianness=np.dtype(dtype).newbyteorder("=").byteorder
                              if np.dtype(dtype).isnative else ">")  # fmt: skip
    header.set_data_dtype(np.dtype(dtype).newbyteorder("="))
    nib.save(nib.Nifti1Image(values, np.eye(4), header), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    assert image.data.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(image.plane(1, 2), values.T[:, 2])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_scaled_values_are_nibabel_s(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    scaled = nib.Nifti1Image(VALUES, np.eye(4))
    scaled.header.set_slope_inter(0.25, -1024)
    scaled.header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(VALUES * 0.25 - 1024, np.eye(4), scaled.header), path)
    reference = nib.load(path)
    assert reference.dataobj.slope != 1
    image = read_image(path)
    assert image.data.dtype == np.float64
    np.testing.assert_array_equal(image.plane(0, 3), reference.get_fdata()[..., 3].T)
    write_labels(tmp_path / "b.nii", np.full((5, 6, 7), 3), image)
    labels = nib.load(tmp_path / "b.nii")
    assert (labels.dataobj.slope, labels.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(np.unique(labels.dataobj), [3])


@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_colour_structs(tmp_path, channels):
    colours = RNG.integers(0, 256, (*SHAPE, len(channels)), dtype=np.uint8)
    struct = colours.view([(c, "u1") for c in channels])[..., 0]
    nib.save(nib.Nifti1Image(struct, np.eye(4)), tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    assert (image.rgb, image.spatial_shape) == (True, (5, 6, 7))
    np.testing.assert_array_equal(image.plane(2, 4), colours[4].transpose(1, 0, 2))
    write_labels(tmp_path / "b.nii.gz", np.ones((5, 6, 7), int), image)
    assert nib.load(tmp_path / "b.nii.gz").get_data_dtype() == np.uint8


@pytest.mark.parametrize(("unit", "mm"), [("micron", 1e-3), ("meter", 1e3), ("unknown", 1)])
def test_spacing_is_in_mm_and_the_file_keeps_its_unit(tmp_path, unit, mm):
    source = save(tmp_path / "a.nii", unit=unit)
    image = read_image(source)
    np.testing.assert_allclose(image.geometry.spacing, np.array((6.5, 0.9, 0.8)) * mm, rtol=1e-6)
    write_labels(tmp_path / "b.nii", np.zeros((5, 6, 7), int), image)
    after = nib.load(tmp_path / "b.nii")
    assert after.header.get_xyzt_units() == (unit, "sec")
    np.testing.assert_array_equal(after.affine, nib.load(source).affine)


def test_heatmaps_are_float32_and_headers_lose_what_belongs_to_the_values(tmp_path):
    image = nib.Nifti1Image(VALUES, AFFINES["oblique"])
    image.header["cal_max"], image.header["descrip"] = 700, b"scanner 3, somebody"
    image.header.set_intent("t test", (4.0,))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"somebody"))
    nib.save(image, tmp_path / "a.nii")
    heat = RNG.random((5, 6, 7))
    write_heatmap(tmp_path / "b.nii.gz", heat, read_image(tmp_path / "a.nii"))
    after = nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(np.asarray(after.dataobj), heat.T.astype(np.float32))
    assert after.get_data_dtype() == np.float32
    header = after.header
    assert (header["cal_max"], header["descrip"], header.extensions) == (0, b"", [])
    assert header.get_intent()[0] == "none"
    np.testing.assert_array_equal(after.affine, nib.load(tmp_path / "a.nii").affine)


def test_an_array_with_an_affine_is_written_in_its_place(tmp_path):
    source = read_image(save(tmp_path / "a.nii", matrix=AFFINES["oblique"]))
    image = image_from_array(np.asarray(source.data), geometry=source.geometry)
    write_labels(tmp_path / "b.nii.gz", np.ones((5, 6, 7), int), image)
    after = nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(after.affine, AFFINES["oblique"], atol=1e-4)
    assert after.header.get_xyzt_units()[0] == "mm"
    check_same_grid(source, read_labels(tmp_path / "b.nii.gz"))


def broken_header(path):
    raw = bytearray(save(path).read_bytes())
    raw[70:72] = (12345).to_bytes(2, "little")  # an unknown type code
    path.write_bytes(bytes(raw))


def zero_size(path):
    raw = bytearray(save(path).read_bytes())
    raw[42:44] = bytes(2)  # dim[1]
    path.write_bytes(bytes(raw))


def negative_size(path):
    raw = bytearray(save(path).read_bytes())
    raw[42:44] = (-3).to_bytes(2, "little", signed=True)
    path.write_bytes(bytes(raw))


def broken_affine(path):
    raw = bytearray(save(path).read_bytes())
    raw[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    path.write_bytes(bytes(raw))


def nan_affine(path):
    raw = bytearray(save(path).read_bytes())
    raw[280:284] = np.float32(np.nan).tobytes()
    path.write_bytes(bytes(raw))


def truncated(path):
    path.write_bytes(save(path).read_bytes()[:-50])


def header_only(path):
    path.write_bytes(save(path).read_bytes()[:100])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (broken_header, "header is broken"),
        (zero_size, "no voxels"),
        (negative_size, r"no voxels|header is broken"),
        (broken_affine, "spacing .* is broken"),
        (nan_affine, "affine|header is broken"),
        (truncated, "truncated"),
        (header_only, "not a NIfTI file or its header is broken"),
        (lambda p: save(p, np.zeros((3, 3, 3, 2, 2), np.int16)), "4 frames: choose one"),
        (lambda p: save(p, np.zeros(3, np.int16)), "1 dimensions"),
        (lambda p: save(p, np.zeros((3, 3, 3), np.complex64)), "complex64"),
        (lambda p: p.write_bytes(b"<!DOCTYPE html><html>" * 100), "not a NIfTI file"),
        (lambda p: p.write_bytes(os.urandom(2000)), "not a NIfTI file"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: None, "does not exist"),
    ],
)
def test_refuses_in_one_clear_line(tmp_path, capfd, spoil, words):
    path = tmp_path / "bad.nii"
    spoil(path)
    with pytest.raises(CamSamError, match=words) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert "bad.nii" in str(caught.value)
    assert capfd.readouterr() == ("", "")  # nibabel would tell its own story


@pytest.mark.parametrize("keep", [200, 0.5, 0.99, -1])
def test_refuses_truncated_gzip(tmp_path, keep):
    path = save(tmp_path / "bad.nii.gz", RNG.integers(0, 9999, (40, 40, 9)).astype(np.int16))
    raw = path.read_bytes()
    path.write_bytes(raw[: keep if isinstance(keep, int) else int(keep * len(raw))])
    with pytest.raises(CamSamError, match=r"truncated|header is broken"):
        read_image(path)


def test_refuses_damaged_gzip(tmp_path):
    path = save(tmp_path / "bad.nii.gz", RNG.integers(0, 9999, (40, 40, 9)).astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 255  # the check sum
    path.write_bytes(bytes(raw))
    with pytest.raises(CamSamError, match=r"truncated or damaged"):
        read_image(path)


def test_refuses_gzip_shorter_than_its_header_says(tmp_path):
    raw = save(tmp_path / "a.nii").read_bytes()
    (tmp_path / "bad.nii.gz").write_bytes(gzip.compress(raw[:-10]))
    with pytest.raises(CamSamError, match="truncated"):
        read_image(tmp_path / "bad.nii.gz")


def test_a_compressed_file_is_unpacked_once_and_leaves_nothing(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    opened = []
    monkeypatch.setattr(gzip, "open", lambda *a, _open=gzip.open: opened.append(a) or _open(*a))
    image = read_image(path)
    path.unlink()
    for index, plane in enumerate(image.planes(0)):
        np.testing.assert_array_equal(plane, VALUES.T[index])
    # nibabel may open the file for its header as well.
    assert sum("rb" in a for a in opened) == 1
    del image
    assert list(folder.iterdir()) == []


def test_a_plane_or_volume_without_finite_values_says_so(tmp_path):
    values = np.ones(SHAPE, np.float32)
    values[..., 2] = np.nan
    image = read_image(save(tmp_path / "a.nii.gz", values))
    window = resolve_window(image)
    assert window.n_not_finite == 42
    with pytest.raises(CamSamError, match="only NaN"):
        apply_window(image.plane(0, 2), window)
    with pytest.raises(CamSamError, match="b holds only NaN"):
        resolve_window(read_image(save(tmp_path / "b.nii", values * np.nan)))


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_no_room_to_unpack(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.zeros((64, 64, 64), np.int16))
    code = (
        "import resource, sys\n"
        "from napari_cam_sam.images.reading import read_image\n"
        "import nibabel\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    read_image(sys.argv[1])\nexcept Exception as e:\n    print(type(e).__name__, e)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("CamSamError")
    assert "set TMPDIR" in result.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak as Linux counts")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_planes_of_a_large_volume_take_little_memory(tmp_path, suffix):
    """512 x 512 x 200 int16 is 100 MiB; three planes along each axis, and the window, are few."""
    path = tmp_path / f"large{suffix}"
    header = nib.Nifti1Header()
    header.set_data_shape((512, 512, 200))
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    n_bytes = 512 * 512 * 200 * 2
    if suffix == ".nii":
        with path.open("wb") as file:  # zeros that take no disk
            file.write(header.binaryblock)
            file.truncate(352 + n_bytes)
    else:
        with gzip.open(path, "wb", compresslevel=1) as packed:
            packed.write(header.binaryblock + bytes(4))
            for _ in range(200):
                packed.write(bytes(512 * 512 * 2))
    code = (
        "import sys, resource, nibabel, numpy as np\n"
        "from napari_cam_sam.images.reading import read_image\n"
        "from napari_cam_sam.images.windows import resolve_window\n"
        "np.percentile(np.zeros(9), 5)\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak()\n"
        "image = read_image(sys.argv[1])\n"
        "for axis in image.axes:\n"
        "    for index in range(3):\n"
        "        assert image.plane(axis, 60 * index).size\n"
        "planes = peak() - before\n"
        "resolve_window(image)\n"
        "print(planes, peak() - before)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    planes, window = (float(number) for number in result.stdout.split())
    assert planes < 60
    assert window < 60


@pytest.mark.real_data
def test_the_real_brain(tmp_path):
    if not (DATA / "brain_mri").is_dir():
        pytest.skip("the real brain volume is not beside the project")
    path = DATA / "brain_mri/brain1_image.nii.gz"
    reference = nib.load(path)
    image = read_image(path)
    truth = read_labels(DATA / "brain_mri/brain1_label.nii.gz")
    assert nib.aff2axcodes(reference.affine) == ("L", "A", "S")
    assert image.spatial_shape == (25, 256, 256)
    np.testing.assert_allclose(image.geometry.spacing, (6.5, 0.78125, 0.78125))
    np.testing.assert_array_equal(image.data, np.asarray(reference.dataobj).T)
    check_same_grid(image, truth)
    assert sum(plane.any() for plane in truth.planes(0)) == 7
    write_labels(tmp_path / "labels.nii.gz", truth.data, image)
    after = nib.load(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(after.affine, reference.affine)
    np.testing.assert_array_equal(np.asarray(after.dataobj), nib.load(truth.path).dataobj)
    for field in ("pixdim", "xyzt_units", "sform_code", "qform_code"):
        np.testing.assert_array_equal(after.header[field], reference.header[field])


# What headers declare against what is there


def patched(path, matrix=AFFINES["LAS"], values=VALUES, cls=nib.Nifti1Image, **fields):
    """Write a file, and change fields of its header afterwards, as programs do."""
    source = save(path.with_name("source.nii"), values, matrix, cls)
    raw = bytearray(source.read_bytes())
    size = 540 if cls is nib.Nifti2Image else 348
    header = cls.header_class(bytes(raw[:size]), check=False)
    for name, value in fields.items():
        header[name] = value
    raw[:size] = header.binaryblock
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else bytes(raw))
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("shape", "frames"),
    [((7, 6, 5, 1, 1), 1), ((7, 6, 5, 1, 3), 3), ((7, 6, 5, 2, 3), 6), ((7, 6, 1, 1, 1, 1, 2), 2),
     ((7, 6, 1, 4), 4)],
)  # fmt: skip
def test_axes_after_the_third_are_frames(tmp_path, suffix, shape, frames):
    values = RNG.integers(0, 1000, shape).astype(np.int16)
    path = save(tmp_path / f"a{suffix}", values)
    reference = np.asarray(nib.load(path).dataobj).reshape(*shape[:3], frames, order="F")
    for frame in range(frames):
        image = read_image(path, frame)
        np.testing.assert_array_equal(image.data, reference[..., frame].T)
    if frames > 1:
        with pytest.raises(CamSamError, match=f"series of {frames} frames"):
            read_image(path)
    write_labels(tmp_path / "b.nii", np.ones(image.spatial_shape, int), image)
    written = nib.load(tmp_path / "b.nii")
    assert written.shape == (shape if frames == 1 else shape[:3])
    check_same_grid(image, read_labels(tmp_path / "b.nii"))


@pytest.mark.parametrize("code", [4, 5, 7])
def test_an_undefined_unit_is_mm_and_said(tmp_path, code):
    image = read_image(patched(tmp_path / "a.nii", xyzt_units=code | 8))
    np.testing.assert_allclose(image.geometry.spacing, (6.5, 0.9, 0.8), rtol=1e-6)
    assert f"code {code}, which is not defined: mm is taken" in image.notes[0]
    write_labels(tmp_path / "b.nii", np.zeros((5, 6, 7), int), image)
    assert int(nib.load(tmp_path / "b.nii").header["xyzt_units"]) == code | 8


@pytest.mark.parametrize("shape", [(7, 6), (7, 6, 1), (7, 1, 6), (1, 7, 6)])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_a_slice_without_thickness(tmp_path, shape, form):
    values = RNG.integers(0, 9, shape).astype(np.uint8)
    thin = shape.index(1) if 1 in shape else 2
    matrix = affine(rotation(0.3, -0.2, 0.5), (0.8, 0.9, 0.7))
    matrix[:3, thin] = 0
    fields = {f"srow_{name}": row for name, row in zip("xyz", matrix, strict=False)}
    if form == "qform":
        sizes = np.array([1, 0.8, 0.9, 0.7, 1, 1, 1, 1])
        sizes[1 + thin] = 0
        fields = {"sform_code": 0, "pixdim": sizes}
    path = patched(tmp_path / "a.nii", np.eye(4), values, **fields)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, values.T)
    expected = [s for axis, s in enumerate((0.8, 0.9, 0.7)) if axis != thin]
    others = [s for n, s in zip(shape[::-1], image.geometry.spacing, strict=True) if n > 1]
    np.testing.assert_allclose(others, expected[::-1], rtol=1e-5)
    assert bool(image.notes) == (len(shape) == 3)
    write_labels(tmp_path / "b.nii", np.ones(image.spatial_shape, int), image)
    check_same_grid(image, read_labels(tmp_path / "b.nii"))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("extra", [1, 84, 5000])
def test_what_follows_the_voxels_is_said(tmp_path, suffix, extra):
    raw = save(tmp_path / "source.nii").read_bytes() + bytes(extra)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix == ".nii.gz" else raw)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, VALUES.T)
    assert image.notes[0].startswith(f"{extra} bytes follow its voxels")
    assert not read_image(tmp_path / "source.nii").notes


def test_garbage_after_a_gzip_file(tmp_path):
    values = RNG.integers(0, 999, (20, 30, 4)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", values)
    path.write_bytes(path.read_bytes() + b"garbage" * 9)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, values.T)
    assert "passed over" in image.notes[0]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"vox_offset": 16}, "would begin at byte 16"),
        ({"vox_offset": -64}, "would begin at byte -64"),
        ({"vox_offset": 10**9}, "would begin at byte (1e[+]09|1000000000)"),
        ({"vox_offset": np.nan}, "would begin at byte (nan|17)"),
        ({"magic": b"ni1"}, r"\.img|header is broken"),
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "declares 32767 × 32767 × 32767"),
        ({"dim": [3, 7, -6, 5, 1, 1, 1, 1]}, "no voxels|header is broken"),
        ({"dim": [9, 7, 6, 5, 1, 1, 1, 1]}, "header is broken|declares"),
        ({"srow_x": [np.nan] * 4}, "is not finite"),
        ({"srow_x": [1, 1, 0, 0], "srow_y": [1, 1, 0, 0]}, "do not span a volume"),
        ({"sform_code": 0, "quatern_b": np.nan}, "not finite|header is broken"),
        ({"sform_code": 0, "pixdim": [1, np.nan, 1, 1, 1, 1, 1, 1]}, "not finite|header is broken"),
        ({"datatype": 1536, "bitpix": 128}, "1536 not supported|float128|longdouble"),
        ({"datatype": 32, "bitpix": 64}, "complex64"),
        ({"datatype": 1, "bitpix": 1}, "header is broken"),
    ],
)  # fmt: skip
def test_headers_that_cannot_be_are_refused(tmp_path, capfd, suffix, cls, fields, words):
    if cls is nib.Nifti2Image:  # whose offset is a whole number
        fields = {"magic": b"ni2"} if "magic" in fields else fields
        fields = {"vox_offset": 17} if "(nan" in words else fields
    if "datatype" in fields:
        fields = fields | {"dim": [3, 2, 2, 2, 1, 1, 1, 1]}
    path = patched(tmp_path / f"bad{suffix}", cls=cls, **fields)
    with pytest.raises(CamSamError, match=words) as caught:
        read_image(path)
    assert str(caught.value).endswith(f"({path}).")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [348, 351, 352])
def test_a_file_of_a_header_alone_is_truncated(tmp_path, suffix, kept):
    raw = patched(tmp_path / "whole.nii").read_bytes()[:kept]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix == ".nii.gz" else raw)
    with pytest.raises(CamSamError, match=r"^This .*truncated") as caught:
        read_image(path)
    assert "first that can be" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_giant_sizes_of_nifti_2(tmp_path, suffix):
    for dim in ([3, 2**62, 2**62, 2**62], [7, *[2**40] * 7], [2, 2**31, 2**31]):
        sizes = [*dim, *[1] * (8 - len(dim))]
        path = patched(tmp_path / f"a{suffix}", cls=nib.Nifti2Image, dim=sizes)
        with pytest.raises(CamSamError, match=r"truncated or damaged|header is broken"):
            read_image(path, 0)


def test_a_size_of_zero_is_one_and_said(tmp_path):
    path = patched(
        tmp_path / "a.nii", sform_code=0, qform_code=0, pixdim=[1, 0, 0.9, 6.5, 1, 1, 1, 1]
    )
    image = read_image(path)
    np.testing.assert_allclose(image.geometry.spacing, (6.5, 0.9, 1), rtol=1e-6)
    assert "stated as 0: 1 is taken" in image.notes[0]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("length", [7, 2**31 - 16, -32])
def test_extensions_that_do_not_fit_are_refused(tmp_path, suffix, length):
    image = nib.Nifti1Image(VALUES, np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"somebody"))
    nib.save(image, tmp_path / "source.nii")
    raw = bytearray((tmp_path / "source.nii").read_bytes())
    np.testing.assert_array_equal(read_image(tmp_path / "source.nii").data, VALUES.T)
    raw[352:356] = np.int32(length).tobytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix == ".nii.gz" else bytes(raw))
    with pytest.raises(CamSamError, match=f"extension of {length} bytes does not fit"):
        read_image(path)


def test_what_follows_the_voxels_without_end_is_not_unpacked(tmp_path):
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), path)
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    packed = packer.compress(path.read_bytes())
    for _ in range(130):  # MiB, of which 64 are read
        packed += packer.compress(bytes(2**20))
    whole = tmp_path / "b.nii.gz"
    whole.write_bytes(packed + packer.flush())
    with pytest.raises(CamSamError, match="More follows its voxels than the header"):
        read_image(whole)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("start", [0, 4, 348])
def test_a_header_that_is_no_voxels(tmp_path, kind, start):
    """Readers differ on files whose voxels would begin in the header; nibabel shows it as some."""
    path = tmp_path / "a.nii"
    nib.save(kind(np.ones((4, 5, 6), np.int16), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    at, form = (108, "<f") if kind is nib.Nifti1Image else (168, "<q")
    content[at : at + struct.calcsize(form)] = struct.pack(form, start)
    path.write_bytes(bytes(content))
    with pytest.raises(CamSamError, match=r"begin at byte .* the first that can be is (352|544)"):
        read_image(path)


def test_a_series_without_a_frame_says_so_before_its_path(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 3), np.int16), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(CamSamError, match=r"^This is a series of 3 frames.*a\.nii\)\.$"):
        read_image(tmp_path / "a.nii")
