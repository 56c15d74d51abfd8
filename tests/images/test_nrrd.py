"""NRRD as others write it: spaces, units, kinds, encodings, values in another file."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import nrrd
import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.reading import read_image, read_labels
from napari_cam_sam.images.volume import PartOnDisk, VolumeOnDisk

DATA = Path(__file__).resolve().parents[2].parent / "shared/data/dicom"
VALUES = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)  # k, j, i
PLACE = "space directions: (0.5,0,0) (0,0.75,0) (0,0,2)\nspace origin: (10,20,30)\n"


def written(
    path: Path, *fields: str, data: bytes | None = None, sizes="4 3 2", kind="int16",
    encoding="raw", place=f"space: left-posterior-superior\n{PLACE}",
) -> Path:  # fmt: skip
    head = f"NRRD0004\n# a comment\ntype: {kind}\ndimension: {len(sizes.split())}\n{place}"
    head += f"sizes: {sizes}\nendian: little\nencoding: {encoding}\n"
    head += "".join(f"{one}\n" for one in fields) + "\n"
    path.write_bytes(head.encode() + (VALUES.tobytes() if data is None else data))
    return path


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)), ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)), ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)), ("Left-Anterior-Superior", (-1, 1, 1)),
    ],
)  # fmt: skip
def test_spaces(tmp_path, space, signs):
    image = read_image(written(tmp_path / "a.nrrd", place=f"space: {space}\n{PLACE}"))
    steps = np.array([[0, 0, 0.5], [0, 0.75, 0], [2, 0, 0]])
    np.testing.assert_allclose(image.geometry.affine[:3, :3], steps * np.array(signs)[:, None])
    np.testing.assert_allclose(image.geometry.affine[:3, 3], np.array((10, 20, 30)) * signs)
    assert image.geometry.spacing == (2, 0.75, 0.5)
    assert image.notes == ()
    np.testing.assert_array_equal(image.data, VALUES)


@pytest.mark.parametrize("space", ["space dimension: 3", "space: scanner-xyz", "space: 3DRH"])
def test_a_space_that_is_not_the_patients_keeps_the_spacing_alone(tmp_path, space):
    image = read_image(written(tmp_path / "a.nrrd", place=f"{space}\n{PLACE}"))
    assert image.geometry.affine is None
    assert image.geometry.spacing == (2, 0.75, 0.5)
    assert image.geometry.unit == "mm"
    assert "spacing alone is kept" in image.notes[0]


@pytest.mark.parametrize(
    ("fields", "spacing"),
    [
        ("space units: \"mm\" \"mm\" \"mm\"", (2, 0.75, 0.5)),
        ("space units: \"um\" \"um\" \"cm\"", (20, 0.75e-3, 0.5e-3)),
        ("space units: \"microns\" \"microns\" \"microns\"", (2e-3, 0.75e-3, 0.5e-3)),
    ],
)  # fmt: skip
def test_units_of_a_space(tmp_path, fields, spacing):
    image = read_image(written(tmp_path / "a.nrrd", fields))
    assert image.geometry.spacing == pytest.approx(spacing)
    assert image.notes == ()


def test_a_unit_that_is_no_length_is_said(tmp_path):
    image = read_image(written(tmp_path / "a.nrrd", 'space units: "s" "s" "s"'))
    assert image.geometry.spacing == (2, 0.75, 0.5)
    assert image.notes == ("Its unit 's' is no known length: mm is taken.",)


@pytest.mark.parametrize(
    ("fields", "spacing", "unit"),
    [
        (["spacings: 0.5 0.75 2"], (2, 0.75, 0.5), "mm"),
        (["spacings: 0.5 0.75 2", 'units: "um" "um" "um"'], (2e-3, 0.75e-3, 0.5e-3), "mm"),
        ([], (1, 1, 1), "pixel"),
        (["spacings: nan nan nan"], (1, 1, 1), "pixel"),
    ],
)
def test_without_a_space_the_spacings(tmp_path, fields, spacing, unit):
    image = read_image(written(tmp_path / "a.nrrd", *fields, place=""))
    assert image.geometry.affine is None
    assert image.geometry.spacing == pytest.approx(spacing)
    assert image.geometry.unit == unit


@pytest.mark.parametrize("kind", ["list", "vector", "time", "3-vector"])
def test_the_first_axis_may_be_frames(tmp_path, kind):
    values = np.arange(2 * 3 * 4 * 3, dtype=np.int16).reshape(2, 3, 4, 3)
    place = "space: LPS\nspace directions: none (0.5,0,0) (0,0.75,0) (0,0,2)\n"
    path = written(
        tmp_path / "a.nrrd", f"kinds: {kind} domain domain domain", sizes="3 4 3 2",
        place=place, data=values.tobytes(),
    )  # fmt: skip
    with pytest.raises(CamSamError, match="series of 3 frames"):
        read_image(path)
    image = read_image(path, 2)
    assert isinstance(image.data, PartOnDisk)
    np.testing.assert_array_equal(image.data, values[..., 2])
    assert image.geometry.spacing == (2, 0.75, 0.5)


@pytest.mark.parametrize(
    "kinds", ["kinds: domain domain domain list", "kinds: space space space time"]
)
def test_the_last_axis_may_be_frames(tmp_path, kinds):
    values = np.arange(3 * 24, dtype=np.int16).reshape(3, 2, 3, 4)
    place = "space: RAST\nspace directions: (0.5,0,0,0) (0,0.75,0,0) (0,0,2,0) (0,0,0,1)\n"
    path = written(tmp_path / "a.nrrd", kinds, sizes="4 3 2 3", place=place, data=values.tobytes())
    image = read_image(path, 1)
    assert isinstance(image.data, VolumeOnDisk)
    np.testing.assert_array_equal(image.data, values[1])
    assert image.geometry.affine is not None


def test_four_axes_without_a_word_are_frames_of_volumes(tmp_path):
    values = np.arange(3 * 24, dtype=np.int16).reshape(3, 2, 3, 4)
    path = written(tmp_path / "a.nrrd", sizes="4 3 2 3", place="", data=values.tobytes())
    np.testing.assert_array_equal(read_image(path, 2).data, values[2])


def test_two_axes_of_frames_are_counted_through(tmp_path):
    values = np.arange(2 * 24 * 2, dtype=np.int16).reshape(2, 2, 3, 4, 2)
    path = written(
        tmp_path / "a.nrrd", "kinds: vector domain domain domain time", sizes="2 4 3 2 2",
        place="", data=values.tobytes(),
    )  # fmt: skip
    np.testing.assert_array_equal(read_image(path, 2).data, values[1, ..., 0])
    with pytest.raises(CamSamError, match="no frame 4"):
        read_image(path, 4)


def test_list_of_three_bytes_is_no_colour(tmp_path):
    path = written(
        tmp_path / "a.nrrd", "kinds: list domain domain", sizes="3 4 2", kind="uint8", place="",
        data=bytes(range(24)),
    )  # fmt: skip
    image = read_image(path, 1)
    assert not image.rgb
    np.testing.assert_array_equal(image.data, np.arange(24).reshape(2, 4, 3)[..., 1])


def test_a_flat_image_in_space(tmp_path):
    path = written(
        tmp_path / "a.nrrd", sizes="4 6", data=VALUES.tobytes(),
        place="space: LPS\nspace directions: (0.5,0,0) (0,0.75,0)\nspace origin: (1,2,3)\n",
    )  # fmt: skip
    image = read_image(path)
    assert image.spatial_shape == (6, 4)
    assert image.geometry.spacing == (0.75, 0.5)
    np.testing.assert_allclose(image.geometry.affine[:3, 3], (-1, -2, 3))


@pytest.mark.parametrize("encoding", ["gzip", "gz", "GZIP", "bzip2", "bz2", "raw"])
@pytest.mark.parametrize("detached", [False, True])
def test_encodings(tmp_path, encoding, detached):
    pack = {"g": gzip.compress, "b": bz2.compress, "r": bytes}[encoding[0].lower()]
    data = pack(VALUES.tobytes())
    path = tmp_path / ("a.nhdr" if detached else "a.nrrd")
    if detached:
        (tmp_path / "values of a.bin").write_bytes(data)
        written(path, "data file: ./values of a.bin", encoding=encoding, data=b"")
    else:
        written(path, encoding=encoding, data=data)
    np.testing.assert_array_equal(read_image(path).data, VALUES)


def test_several_parts_of_gzip_are_one(tmp_path):
    raw = VALUES.tobytes()
    data = gzip.compress(raw[:20]) + gzip.compress(raw[20:])
    path = written(tmp_path / "a.nrrd", encoding="gzip", data=data)
    np.testing.assert_array_equal(read_image(path).data, VALUES)


def test_bytes_and_lines_before_the_values_are_skipped(tmp_path):
    raw = VALUES.tobytes()
    for fields, encoding, data in [
        (["byte skip: 5"], "raw", b"12345" + raw),
        (["byteskip: 5"], "gzip", gzip.compress(b"12345" + raw)),
        (["byte skip: -1"], "raw", b"whatever comes before" + raw),
        (["line skip: 2", "byte skip: 1"], "raw", b"one\ntwo\n." + raw),
        (["lineskip: 1"], "gzip", b"one\n" + gzip.compress(raw)),
    ]:
        path = written(tmp_path / "a.nrrd", *fields, encoding=encoding, data=data)
        np.testing.assert_array_equal(read_image(path).data, VALUES)


def test_big_end_first(tmp_path):
    path = written(tmp_path / "a.nrrd", data=VALUES.astype(">i2").tobytes())
    path.write_bytes(path.read_bytes().replace(b"endian: little", b"endian: big"))
    image = read_image(path)
    assert image.data.dtype == np.int16
    np.testing.assert_array_equal(image.data, VALUES)


def test_capitals_blanks_in_vectors_and_ends_of_lines_of_windows(tmp_path):
    head = (
        "NRRD0005\r\nTYPE: Signed Short\r\nDimension: 3\r\nSpace: RAS\r\nSizes: 4 3 2\r\n"
        "Space Directions: ( 0.5, 0, 0 ) (0 ,0.75, 0) (0, 0, 2)\r\nEndian: Little\r\n"
        "Encoding: Raw\r\nspace origin: ( 1, 2, 3 )\r\n\r\n"
    )
    (tmp_path / "a.nrrd").write_bytes(head.encode() + VALUES.tobytes())
    image = read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(image.data, VALUES)
    np.testing.assert_allclose(image.geometry.affine[:3, 3], (1, 2, 3))


def test_pynrrd_reads_what_is_written_and_the_reverse(tmp_path):
    from napari_cam_sam.images.writing import write_image

    image = read_image(written(tmp_path / "a.nrrd"))
    write_image(tmp_path / "b.nrrd", image)
    values, header = nrrd.read(str(tmp_path / "b.nrrd"), index_order="C")
    np.testing.assert_array_equal(values, VALUES)
    assert header["space"] == "left-posterior-superior"
    nrrd.write(str(tmp_path / "c.nrrd"), values, header, index_order="C")
    back = read_image(tmp_path / "c.nrrd")
    np.testing.assert_array_equal(back.data, VALUES)
    assert back.geometry.matches(image.geometry, 1e-9) is None


BROKEN = [
    ("type: int16", "type: block", "values of type block"),
    ("type: int16\n", "", "it states no type"),
    ("endian: little\n", "", "does not state the byte order"),
    ("sizes: 4 3 2", "sizes: 4 3", "3 dimensions and 2 sizes"),
    ("sizes: 4 3 2", "sizes: 4 3 0", "each size must be 1 or more"),
    ("sizes: 4 3 2", "sizes: 4 3 -2", "each size must be 1 or more"),
    ("sizes: 4 3 2", "sizes: 4 3 200", "stores 48 bytes: it is truncated or damaged"),
    ("sizes: 4 3 2", "sizes: 400000 300000 200000", "it is truncated or damaged"),
    ("sizes: 4 3 2", "sizes: 4 x 2", "The header is broken: could not convert"),
    ("dimension: 3", "dimension: x", "The header is broken"),
    ("encoding: raw", "encoding: hex", "written as hex, which is not read here"),
    ("encoding: raw", "encoding: ascii", "written as ascii, which is not read here"),
    ("encoding: raw", "encoding: gzip", "Not a gzipped file"),
    ("encoding: raw", "encoding: bz2", "truncated or damaged"),
    ("(0.5,0,0)", "(0,0,0)", "every spacing must be above zero"),
    ("(0.5,0,0)", "(0,0.75,0)", "three axes do not span a volume"),
    ("(0.5,0,0)", "(inf,0,0)", "The header is broken"),
    ("(0.5,0,0) (0,0.75,0)", "none none", "1 of its 3 axes lie in space"),
    ("(0.5,0,0) ", "", "other space directions"),
    ("space origin: (10,20,30)", "space origin: (10,20)", "has not 3 numbers"),
    ("space origin: (10,20,30)", "space origin: (nan,20,30)", "not finite"),
    ("encoding: raw", "encoding: raw\nkinds: domain", "3 dimensions and 1 kinds"),
    ("encoding: raw", "encoding: raw\nline skip: -2", "skips -2 lines"),
    ("encoding: raw", "encoding: raw\nline skip: 9", "has no 9 lines to skip"),
    ("encoding: raw", "encoding: raw\nbyte skip: -7", "-7 bytes before the values"),
    ("encoding: raw", "encoding: raw\nbyte skip: 1000000", "truncated or damaged"),
    ("encoding: raw", "encoding: gzip\nbyte skip: -1", "-1 bytes before the values"),
    ("encoding: raw", "encoding: raw\ndata file: LIST", "several files"),
    ("encoding: raw", "encoding: raw\ndata file: a%03d.raw 1 3 1", "several files"),
    ("encoding: raw", "encoding: raw\ndata file: gone.raw", "gone.raw, is not there beside it"),
    ("encoding: raw", "encoding: raw\ndata file: /etc/passwd", "outside of its own folder"),
    ("encoding: raw", "encoding: raw\ndata file: ../a.raw", "outside of its own folder"),
    ("encoding: raw", "encoding: raw\ndata file: b/../../a.raw", "outside of its own folder"),
    ("encoding: raw", "encoding: raw\ndata file: .", "outside of its own folder"),
    ("encoding: raw", "encoding: raw\nencoding: raw", "Duplicate header field"),
    ("encoding: raw", "encoding raw", "The header is broken"),
    ("NRRD0004", "NRRD9999", "Unsupported NRRD file version"),
    ("NRRD0004", "NOTHING0", "does not begin with NRRD"),
]


@pytest.mark.parametrize(("old", "new", "message"), BROKEN)
def test_what_is_broken_is_said(tmp_path, old, new, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.raw").write_bytes(bytes(48))
    path = written(tmp_path / "in/a.nrrd")
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    with pytest.raises(CamSamError, match=message) as error:
        read_image(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [3, 20, 100, -1, -30])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_a_truncated_file(tmp_path, keep, encoding):
    pack = {"g": gzip.compress, "b": bz2.compress, "r": bytes}[encoding[0]]
    path = written(tmp_path / "a.nrrd", encoding=encoding, data=pack(VALUES.tobytes()))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CamSamError):
        read_image(path)


def test_a_header_without_an_end(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"key:=value\n" * 500_000)
    with pytest.raises(CamSamError, match="it does not end"):
        read_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_what_unpacks_without_end_is_refused(tmp_path, encoding):
    """Some kilobytes that stand for a gigabyte: neither read to the end nor kept."""
    packer = {"gzip": gzip.compress, "bzip2": bz2.compress}[encoding]
    bomb = packer(bytes(2**24)) * 64
    path = written(tmp_path / "a.nrrd", encoding=encoding, data=bomb)
    with pytest.raises(CamSamError, match="More follows its voxels than the header can explain"):
        read_image(path)
    lies = written(
        tmp_path / "b.nrrd", encoding=encoding, data=bomb[:2000], sizes="40000 30000 200"
    )
    with pytest.raises(CamSamError, match="it is truncated or damaged"):
        read_image(lies)


def test_a_link_out_of_the_folder_is_the_users_own(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "far.raw").write_bytes(VALUES.tobytes())
    (tmp_path / "in/a.raw").symlink_to(tmp_path / "far.raw")
    path = written(tmp_path / "in/a.nhdr", "data file: a.raw", data=b"")
    np.testing.assert_array_equal(read_image(path).data, VALUES)


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not there")
@pytest.mark.parametrize(
    "name",
    ["ct_3slice_liver_seg", *(f"ct_3slice_overlaps_seg-{n}" for n in (1, 2, 3)),
     "ct_oblique_23x38x3_label"],
)  # fmt: skip
def test_the_files_of_dcmqi(name):
    import SimpleITK

    path = DATA / f"{name}.nrrd"
    other = SimpleITK.ReadImage(path)
    image = read_labels(path)
    np.testing.assert_array_equal(image.data, SimpleITK.GetArrayFromImage(other))
    assert image.geometry.spacing == pytest.approx(other.GetSpacing()[::-1])
    np.testing.assert_allclose(
        image.geometry.affine[:3, 3] * (-1, -1, 1), other.GetOrigin(), atol=1e-6
    )
