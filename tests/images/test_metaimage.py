"""MetaImage as others write it, and what is broken in it."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.reading import read_image

VALUES = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)  # k, j, i
PLACE = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 10 20 30\nElementSpacing = 0.5 0.75 2\n"


def written(path: Path, *fields: str, place=PLACE, kind="MET_SHORT", file="LOCAL",
            data: bytes | None = None) -> Path:  # fmt: skip
    head = "ObjectType = Image\nNDims = 3\nBinaryData = True\n" + place
    head += "".join(f"{one}\n" for one in fields)
    head += f"DimSize = 4 3 2\nElementType = {kind}\nElementDataFile = {file}\n"
    path.write_bytes(head.encode() + (VALUES.tobytes() if data is None else data))
    return path


@pytest.mark.parametrize(
    "place",
    [
        PLACE,
        PLACE.replace("TransformMatrix", "Rotation").replace("Offset", "Position"),
        PLACE.replace("TransformMatrix", "Orientation").replace("Offset", "Origin"),
        PLACE.replace("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", ""),
        PLACE.replace("ElementSpacing", "ElementSize"),
        PLACE.replace(" = ", "=").replace("Offset", "OFFSET"),
        PLACE + "AnatomicalOrientation = RAI\nCenterOfRotation = 0 0 0\nDistanceUnits = mm\n",
    ],
)
def test_names_of_the_place(tmp_path, place):
    image = read_image(written(tmp_path / "a.mha", place=place))
    np.testing.assert_array_equal(image.data, VALUES)
    np.testing.assert_allclose(image.geometry.affine[:3, 3], (-10, -20, 30))
    np.testing.assert_allclose(
        image.geometry.affine[:3, :3], [[0, 0, -0.5], [0, -0.75, 0], [2, 0, 0]]
    )
    assert image.geometry.spacing == (2, 0.75, 0.5)
    assert image.notes == ()


def test_without_a_place_the_spacing_alone(tmp_path):
    image = read_image(written(tmp_path / "a.mha", place="ElementSpacing = 0.5 0.75 2\n"))
    assert image.geometry.affine is None
    assert (image.geometry.spacing, image.geometry.unit) == ((2, 0.75, 0.5), "mm")
    image = read_image(written(tmp_path / "a.mha", place=""))
    assert (image.geometry.spacing, image.geometry.unit) == ((1, 1, 1), "pixel")


@pytest.mark.parametrize(("unit", "mm"), [("um", 1e-3), ("cm", 10), ("?", 1)])
def test_units(tmp_path, unit, mm):
    image = read_image(written(tmp_path / "a.mha", f"DistanceUnits = {unit}"))
    assert image.geometry.spacing == pytest.approx((2 * mm, 0.75 * mm, 0.5 * mm))
    np.testing.assert_allclose(image.geometry.affine[:3, 3], np.array((-10, -20, 30)) * mm)
    assert image.notes == ()


def test_a_unit_that_is_no_length_is_said(tmp_path):
    image = read_image(written(tmp_path / "a.mha", "DistanceUnits = furlongs per day"))
    assert "is no known length: mm is taken" in image.notes[0]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("MET_LONG", "<i4"), ("MET_ULONG", "<u4"), ("MET_LONG_LONG", "<i8"), ("MET_CHAR", "i1"),
     ("MET_DOUBLE", "<f8"), ("MET_USHORT_ARRAY", "<u2"), ("met_float", "<f4")],
)  # fmt: skip
def test_types(tmp_path, kind, dtype):
    path = written(tmp_path / "a.mha", kind=kind, data=VALUES.astype(dtype).tobytes())
    image = read_image(path)
    assert image.data.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image.data, VALUES)


@pytest.mark.parametrize("field", ["ElementByteOrderMSB", "BinaryDataByteOrderMSB"])
def test_big_end_first(tmp_path, field):
    path = written(tmp_path / "a.mha", f"{field} = True", data=VALUES.astype(">i2").tobytes())
    np.testing.assert_array_equal(read_image(path).data, VALUES)


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
@pytest.mark.parametrize("size", [True, False])
def test_packed(tmp_path, pack, size):
    data = pack(VALUES.tobytes())
    fields = ["CompressedData = True", *([f"CompressedDataSize = {len(data)}"] if size else [])]
    np.testing.assert_array_equal(
        read_image(written(tmp_path / "a.mha", *fields, data=data)).data, VALUES
    )
    (tmp_path / "b.zraw").write_bytes(data)
    path = written(tmp_path / "b.mhd", *fields, file="b.zraw", data=b"")
    np.testing.assert_array_equal(read_image(path).data, VALUES)


def test_a_header_in_the_file_of_the_values(tmp_path):
    (tmp_path / "b.raw").write_bytes(b"whatever" + VALUES.tobytes())
    for size in (8, -1):
        path = written(tmp_path / "b.mhd", f"HeaderSize = {size}", file="b.raw", data=b"")
        np.testing.assert_array_equal(read_image(path).data, VALUES)


def test_more_bytes_than_declared_are_noted(tmp_path):
    image = read_image(written(tmp_path / "a.mha", data=VALUES.tobytes() * 2))
    assert image.notes[0].startswith("48 bytes follow its voxels and are not read")


def test_metaimageio_reads_what_is_written(tmp_path):
    metaimageio = pytest.importorskip("metaimageio")
    from napari_cam_sam.images.writing import write_image

    image = read_image(written(tmp_path / "a.mha"))
    write_image(tmp_path / "b.mha", image)
    values, fields = metaimageio.read(tmp_path / "b.mha")
    np.testing.assert_array_equal(values, VALUES)
    np.testing.assert_allclose(fields["ElementSpacing"], (0.5, 0.75, 2))
    np.testing.assert_allclose(fields["Offset"], (10, 20, 30))


BROKEN = [
    ("NDims = 3", "NDims = 7", "it states 7 dimensions"),
    ("NDims = 3", "NDims = x", "The header is broken"),
    ("NDims = 3\n", "", "states no ndims"),
    ("DimSize = 4 3 2", "DimSize = 4 3", "its dimsize has 2 numbers instead of 3"),
    ("DimSize = 4 3 2", "DimSize = 4 3 0", "each size must be 1 or more"),
    ("DimSize = 4 3 2", "DimSize = 4 3 -2", "each size must be 1 or more"),
    ("DimSize = 4 3 2", "DimSize = 4 3 200", "stores 48 bytes: it is truncated or damaged"),
    ("DimSize = 4 3 2", "DimSize = 400000 300000 200000", "it is truncated or damaged"),
    ("DimSize = 4 3 2", "DimSize = 1e9 3 2", "The header is broken"),
    ("MET_SHORT", "MET_STRING", "its type is STRING"),
    ("MET_SHORT", "", "states no elementtype"),
    ("BinaryData = True", "BinaryData = False", "written as text"),
    ("BinaryData = True", "CompressedData = True", "truncated or damaged"),
    ("BinaryData = True", "ElementNumberOfChannels = 0", "each size must be 1 or more"),
    ("BinaryData = True", "ElementNumberOfChannels = x", "The header is broken"),
    ("BinaryData = True", "HeaderSize = -5", "it skips -5 bytes"),
    ("BinaryData = True", "HeaderSize = 99999999999", "truncated or damaged"),
    ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0", "transformmatrix has 6 numbers instead of 9"),
    ("1 0 0 0 1 0 0 0 1", "1 0 0 1 0 0 0 0 1", "do not span a volume"),
    ("1 0 0 0 1 0 0 0 1", "nan 0 0 0 1 0 0 0 1", "not finite"),
    ("0.5 0.75 2", "0 0.75 2", "must be above zero"),
    ("0.5 0.75 2", "0.5 0.75", "elementspacing has 2 numbers"),
    ("10 20 30", "10 20 inf", "not finite"),
    ("LOCAL", "LIST", "several files"),
    ("LOCAL", "a%03d.raw 1 3 1", "several files"),
    ("LOCAL", "gone.raw", "gone.raw, is not there beside it"),
    ("LOCAL", "/etc/passwd", "outside of its own folder"),
    ("LOCAL", "../a.raw", "outside of its own folder"),
    ("LOCAL", "b/../../a.raw", "outside of its own folder"),
    ("LOCAL", "", "states no elementdatafile"),
    ("ObjectType = Image", "no header at all", "is not a MetaImage file"),
]


@pytest.mark.parametrize(("old", "new", "message"), BROKEN)
def test_what_is_wrong_is_said(tmp_path, old, new, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.raw").write_bytes(bytes(48))
    path = written(tmp_path / "in/a.mha")
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    with pytest.raises(CamSamError, match=message) as error:
        read_image(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [3, 20, 100, -1, -30])
@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_file(tmp_path, keep, packed):
    data = zlib.compress(VALUES.tobytes()) if packed else VALUES.tobytes()
    path = written(tmp_path / "a.mha", *(["CompressedData = True"] if packed else []), data=data)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CamSamError):
        read_image(path)


def test_what_unpacks_without_end_is_refused(tmp_path):
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**24)) for _ in range(64)) + packer.flush()
    path = written(tmp_path / "a.mha", "CompressedData = True", data=bomb)
    with pytest.raises(CamSamError, match="More follows its voxels than the header can explain"):
        read_image(path)
    head = path.read_bytes()[:4000].replace(b"DimSize = 4 3 2", b"DimSize = 40000 30000 200")
    (tmp_path / "b.mha").write_bytes(head)
    with pytest.raises(CamSamError, match="it is truncated or damaged"):
        read_image(tmp_path / "b.mha")


def test_pixels_for_a_header_are_no_header(tmp_path):
    (tmp_path / "a.mha").write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(CamSamError, match="not a MetaImage file"):
        read_image(tmp_path / "a.mha")
