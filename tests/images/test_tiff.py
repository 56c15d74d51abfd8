"""TIFF against its writers and other readers, pixel by pixel, and against what its header says."""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.reading import read_image, read_labels

RNG = np.random.default_rng(7)


def noise(*shape: int, dtype: Any = np.uint8, most: int | None = None) -> NDArray[Any]:
    if np.dtype(dtype).kind == "f":
        return RNG.normal(size=shape).astype(dtype)
    return RNG.integers(0, (most or np.iinfo(dtype).max) + 1, shape, dtype=dtype)


def smooth(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    """Values that compress: a slope with a step."""
    values = np.linspace(0, np.iinfo(dtype).max, int(np.prod(shape))).reshape(shape)
    return values.astype(dtype)


# Colours


@pytest.mark.parametrize("compression", ["", "Deflate", "LZW", "PackBits"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_simpleitk_writes_has_the_pixels_that_it_wrote(
    tmp_path: Path, channels: int, dtype: Any, compression: str
) -> None:
    pixels = noise(40, 48, channels, dtype=dtype)[..., 0 if channels == 1 else slice(None)]
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "a.tif"))
    writer.SetUseCompression(bool(compression))
    if compression:
        writer.SetCompressor(compression)
    writer.Execute(SimpleITK.GetImageFromArray(pixels, isVector=channels > 1))
    image = read_image(tmp_path / "a.tif")
    assert image.data.dtype == dtype
    np.testing.assert_array_equal(image.data, pixels)


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (np.uint8, {"compression": "lzw", "predictor": 2}),
        (np.uint16, {"compression": "lzw", "predictor": 2, "byteorder": ">"}),
        (np.uint16, {"compression": "zstd", "tile": (16, 16)}),
        (np.uint16, {"compression": "jpeg2000"}),
        (np.uint8, {"compression": "webp", "compressionargs": {"lossless": True}}),
        (np.uint8, {"compression": "lzma", "bigtiff": True}),
        (np.uint16, {"compression": "png"}),
        (np.int16, {"compression": "zlib", "predictor": 2}),
        (np.uint32, {"byteorder": ">"}),
        (np.float32, {"compression": "zlib", "predictor": 3}),
        (np.float16, {"compression": "zlib", "predictor": 3}),
        (np.float64, {"compression": "lzw", "rowsperstrip": 7}),
    ],
)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_pixels_do_not_differ_by_how_they_are_stored(
    tmp_path: Path, planar: str, dtype: Any, options: dict[str, Any]
) -> None:
    pixels = noise(40, 48, 3, dtype=dtype)
    gray = pixels[..., 0].copy()
    if options.get("compression") != "webp":
        tifffile.imwrite(tmp_path / "gray.tif", gray, photometric="minisblack", **options)
        np.testing.assert_array_equal(read_image(tmp_path / "gray.tif").data, gray)
    elif planar == "separate":
        return  # WebP has no single channels
    stored = pixels if planar == "contig" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tifffile.imwrite(
        tmp_path / "rgb.tif", stored, photometric="rgb", planarconfig=planar, **options
    )
    image = read_image(tmp_path / "rgb.tif")
    assert image.rgb
    np.testing.assert_array_equal(image.data, pixels)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_samples_are_read_as_they_are(tmp_path: Path, bits: int) -> None:
    gray = noise(20, 24, dtype=np.uint16, most=2**bits - 1)
    tifffile.imwrite(tmp_path / "a.tif", gray, bitspersample=bits, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, gray)
    colour = noise(20, 24, 3, dtype=np.uint16, most=2**bits - 1)
    tifffile.imwrite(tmp_path / "b.tif", colour, bitspersample=bits, photometric="rgb")
    # Models see colour of 16 bits as it is: 4095 of 4095 is white.
    full = np.rint(colour * (65535 / (2**bits - 1)))
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").data, full)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("white", [False, True])
def test_gray_of_few_bits_is_as_pillow_reads_it(tmp_path: Path, bits: int, white: bool) -> None:
    gray = noise(20, 24, most=2**bits - 1)
    photometric = "miniswhite" if white else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", gray, bitspersample=bits, photometric=photometric)
    with PillowImage.open(tmp_path / "a.tif") as other:
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, np.array(other))


@pytest.mark.parametrize("compression", ["raw", "group3", "group4", "tiff_ccitt", "tiff_lzw"])
def test_one_bit(tmp_path: Path, compression: str) -> None:
    mask = np.kron(noise(5, 6, most=1), np.ones((4, 8), np.uint8)).astype(bool)
    PillowImage.fromarray(mask).save(tmp_path / "a.tif", compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages.first.bitspersample == 1
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, mask)
    with PillowImage.open(tmp_path / "a.tif") as other:
        np.testing.assert_array_equal(np.array(other), mask)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_0_is_white_an_image_is_inverted(tmp_path: Path, dtype: Any) -> None:
    pixels = noise(20, 24, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, np.iinfo(dtype).max - pixels)
    assert "inverted" in " ".join(image.notes)
    if dtype == np.uint8:
        with PillowImage.open(tmp_path / "a.tif") as other:
            np.testing.assert_array_equal(image.data, np.array(other))
    with pytest.raises(CamSamError, match="0 is white in this file"):
        read_labels(tmp_path / "a.tif")


def test_labels_of_imagej_are_as_stored_where_0_is_white(tmp_path: Path) -> None:
    mask = noise(20, 24, most=1) * np.uint8(255)
    described = "ImageJ=1.54f\nimages=1\n"
    tifffile.imwrite(
        tmp_path / "a.tif", mask, photometric="miniswhite", description=described, metadata=None
    )
    labels = read_labels(tmp_path / "a.tif")
    np.testing.assert_array_equal(labels.data, mask)
    assert "0 is white" in " ".join(labels.notes)


def test_signed_values_are_not_inverted(tmp_path: Path) -> None:
    pixels = noise(20, 24, dtype=np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, pixels)
    assert "0 is white" in " ".join(image.notes)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_alpha(tmp_path: Path, kind: str, dtype: Any, compression: str | None) -> None:
    most = np.iinfo(dtype).max
    plain = noise(20, 24, 3, dtype=dtype)
    alpha = noise(20, 24, 1, dtype=dtype)
    stored = plain
    if kind == "assocalpha":
        stored = (plain.astype(np.uint64) * alpha // most).astype(dtype)
    rgba = np.concatenate([stored, alpha], axis=-1)
    tifffile.imwrite(
        tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=[kind], compression=compression
    )
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data[..., 3], alpha[..., 0])
    if kind == "assocalpha":
        # What a division by alpha can give back: within one step of the quotient.
        error = np.abs(image.data[..., :3].astype(float) - plain)
        assert (error <= most / np.maximum(alpha, 1) + 1).all()
        if dtype == np.uint8:
            with PillowImage.open(tmp_path / "a.tif") as other:
                np.testing.assert_array_equal(image.data, np.array(other.convert("RGBA")))
    else:
        np.testing.assert_array_equal(image.data, rgba)
    assert ("transparent" in " ".join(image.notes)) == (kind != "unspecified")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_with_alpha_is_gray_and_two_channels_are_two(tmp_path: Path, dtype: Any) -> None:
    both = noise(20, 24, 2, dtype=dtype)
    for kind in ("unassalpha", "unspecified"):
        tifffile.imwrite(
            tmp_path / f"{kind}.tif", both, photometric="minisblack", planarconfig="contig",
            extrasamples=[kind],
        )  # fmt: skip
    np.testing.assert_array_equal(read_image(tmp_path / "unassalpha.tif").data, both[..., 0])
    with pytest.raises(CamSamError, match="2 channels: choose one"):
        read_image(tmp_path / "unspecified.tif")
    np.testing.assert_array_equal(
        read_image(tmp_path / "unspecified.tif", channel=1).data, both[..., 1]
    )


@pytest.mark.parametrize("wide", [True, False])
def test_a_palette_of_16_bits_and_one_of_8(tmp_path: Path, wide: bool) -> None:
    indices = noise(20, 24, most=3)
    colours = np.zeros((3, 256), np.uint16)
    colours[:, :4] = noise(3, 4)
    tifffile.imwrite(
        tmp_path / "a.tif", indices, photometric="palette", colormap=colours * (257 if wide else 1)
    )
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, colours.T[indices])
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").data, indices)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_a_palette_of_one_bit_is_as_pillow_reads_it(
    tmp_path: Path, turned: bool, alpha: bool
) -> None:
    bits = 8 if alpha else 1
    indices = noise(20, 24, most=1)
    colours = noise(3, 2**bits).astype(np.uint16)
    colours[:, :2] = [[240, 20], [250, 10], [220, 30]] if turned else [[20, 240]] * 3
    values = indices.astype(bool)
    if alpha:
        values = np.stack([indices, np.full_like(indices, 255)], axis=-1)
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="minisblack", planarconfig=1 if alpha else None,
        extrasamples=[2] if alpha else None,
        extratags=[(320, 3, colours.size, (colours * 257).ravel().tolist(), True)],
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:  # which writes 8 bits alone
        file.pages[0].tags[262].overwrite(3)
    pillow = np.asarray(PillowImage.open(tmp_path / "a.tif").convert("RGB"))
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, pillow)
    assert image.notes == ()
    labels = np.asarray(read_labels(tmp_path / "a.tif").data)
    np.testing.assert_array_equal(labels > 0, (indices == 0) if turned else (indices == 1))


@pytest.mark.parametrize("mode", ["CMYK", "LAB"])
def test_colours_that_are_not_read_are_named(tmp_path: Path, mode: str) -> None:
    PillowImage.fromarray(noise(20, 24, 4)[..., : len(mode)], mode).save(tmp_path / "a.tif")
    name = {"CMYK": "CMYK, for print", "LAB": "CIE Lab"}[mode]
    with pytest.raises(CamSamError, match=rf"^Its pixels are {name}.*a\.tif\)\.$"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_jpeg_in_tiff_is_as_pillow_reads_it(tmp_path: Path, photometric: str) -> None:
    row, column = np.mgrid[:64, :48]
    pixels = np.stack([column * 5, row * 3, row + column], axis=-1).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric=photometric, compression="jpeg",
        compressionargs={"level": 95},
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages.first.photometric == 6  # YCbCr
    with PillowImage.open(tmp_path / "a.tif") as other:
        np.testing.assert_allclose(
            read_image(tmp_path / "a.tif").data, np.array(other).astype(int), atol=1
        )


def test_ycbcr_without_jpeg_is_refused_by_name(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(16, 16, 3), photometric="ycbcr")
    with pytest.raises(CamSamError, match="YCbCr"):
        read_image(tmp_path / "a.tif")


def test_of_a_pyramid_the_finest_level_is_read(tmp_path: Path) -> None:
    pixels = noise(64, 48)
    with tifffile.TiffWriter(tmp_path / "sub.tif") as writer:
        writer.write(pixels, subifds=1, tile=(16, 16))
        writer.write(pixels[::2, ::2], subfiletype=1, tile=(16, 16))
    with tifffile.TiffWriter(tmp_path / "pages.tif") as writer:
        writer.write(pixels[::2, ::2], subfiletype=1, metadata=None)
        writer.write(pixels, metadata=None)
    for name in ("sub", "pages"):
        image = read_image(tmp_path / f"{name}.tif")
        np.testing.assert_array_equal(image.data, pixels)
        assert image.notes == ()


def test_images_that_are_left_are_counted(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for size in (32, 20, 27):
            writer.write(noise(size, size + 1), metadata=None)
    image = read_image(tmp_path / "a.tif")
    assert image.spatial_shape == (32, 33)
    assert image.notes == ("Its file holds 2 more images: the first is read.",)


# What is declared, and what is there

STACK = noise(6, 20, 24, dtype=np.uint16)


def _plain(path: Path) -> None:
    pages = [PillowImage.fromarray(one) for one in STACK]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def _lzw(path: Path) -> None:
    pages = [PillowImage.fromarray(one) for one in STACK]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")


WRITERS: dict[str, Callable[[Path], None]] = {
    "pillow": _plain,
    "pillow with LZW": _lzw,
    "tifffile": lambda path: tifffile.imwrite(path, STACK, metadata={"axes": "ZYX"}),
    "tifffile, deflate": lambda path: tifffile.imwrite(path, STACK, compression="zlib"),
    "imagej": lambda path: tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"}),
    "imagej, deflate": lambda path: tifffile.imwrite(
        path, STACK, imagej=True, metadata={"axes": "ZYX"}, compression="zlib"
    ),
    "ome": lambda path: tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX"}),
    "ome, tiles": lambda path: tifffile.imwrite(
        path, STACK, ome=True, metadata={"axes": "ZYX"}, tile=(16, 16), compression="lzw"
    ),
    "big": lambda path: tifffile.imwrite(path, STACK, bigtiff=True, metadata=None),
    "big endian": lambda path: tifffile.imwrite(path, STACK, byteorder=">", rowsperstrip=5),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_stack_that_broke_off_is_refused_wherever_it_broke(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "a.tif"
    WRITERS[writer](path)
    whole = path.read_bytes()
    np.testing.assert_array_equal(read_image(path).data, STACK)
    refused: list[str] = []
    for length in [*range(8, len(whole), 97), *range(len(whole) - 12, len(whole))]:
        path.write_bytes(whole[:length])
        try:
            data = read_image(path).data
        except CamSamError as error:
            refused.append(str(error))
        else:
            np.testing.assert_array_equal(data, STACK)
    assert len(refused) > 50
    assert all(re.fullmatch(r"[^\n]+a\.tif\)\.", words) for words in refused)


@pytest.mark.parametrize("writer", ["imagej", "imagej, deflate", "ome", "tifffile, deflate"])
def test_a_stack_whose_pages_end_early_is_refused(tmp_path: Path, writer: str) -> None:
    """The chain of pages ends in order, but after fewer than the metadata declare."""
    path = tmp_path / "a.tif"
    WRITERS[writer](path)
    with tifffile.TiffFile(path) as file:
        if len(file.pages) == 1:
            pytest.skip("one page stands for all of them")
        offset = file.pages[2].offset
        order = file.byteorder
    content = bytearray(path.read_bytes())
    after = offset + 2 + 12 * struct.unpack(order + "H", content[offset : offset + 2])[0]
    content[after : after + 4] = struct.pack(order + "I", 0)
    path.write_bytes(bytes(content))
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 3
    if writer == "imagej":  # whose pixels lie in one block behind the first page, all of them
        np.testing.assert_array_equal(read_image(path).data, STACK)
        return
    with pytest.raises(CamSamError, match=r"broke off|truncated"):
        read_image(path)


@pytest.mark.parametrize("name", ["StripOffsets", "StripByteCounts", "TileOffsets"])
@pytest.mark.parametrize("value", [0, 2**31])
def test_missing_strips_and_tiles_are_no_zeros(tmp_path: Path, name: str, value: int) -> None:
    path = tmp_path / "a.tif"
    layout: dict[str, Any] = {"tile": (16, 16)} if "Tile" in name else {"rowsperstrip": 5}
    tifffile.imwrite(path, STACK[0], compression="zlib", **layout)
    with tifffile.TiffFile(path, mode="r+b") as file:
        tag = file.pages.first.tags[name]
        tag.overwrite([*tag.value[:-1], min(value, 65535) if "Counts" in name else value])
    with pytest.raises(CamSamError, match=r"sparse|truncated|damaged"):
        read_image(path)


def test_a_page_chain_that_leads_nowhere_or_back_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for target in (2**30, 8):
        tifffile.imwrite(path, STACK[0], metadata=None)
        content = bytearray(path.read_bytes())
        at = struct.unpack("<I", content[4:8])[0]
        at += 2 + 12 * struct.unpack("<H", content[at : at + 2])[0]
        content[at : at + 4] = struct.pack("<I", target)
        path.write_bytes(bytes(content))
        with pytest.raises(CamSamError, match=r"truncated or damaged|not a TIFF"):
            read_image(path)


def test_a_missing_file_of_a_set_is_no_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, STACK[:2], ome=True, metadata={"axes": "ZYX"})
    text = path.read_bytes()
    xml = re.search(rb"<OME.*</OME>", text)
    assert xml is not None
    wider = xml[0].replace(b'SizeZ="2"', b'SizeZ="6"')
    assert len(wider) == len(xml[0])
    path.write_bytes(text.replace(xml[0], wider))
    with pytest.raises(CamSamError, match=r"missing|broke off"):
        read_image(path)


def test_a_small_file_that_declares_much_is_refused_at_once(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((8, 8), np.uint8), compression="zlib")
    path = tmp_path / "a.tif"
    path.write_bytes(buffer.getvalue())
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tag = file.pages.first.tags[name]
            tag.overwrite(60_000)
    with pytest.raises(CamSamError, match="declares"):
        read_image(path)


def test_a_description_of_what_a_picture_was_does_not_matter(tmp_path: Path) -> None:
    """As programs keep it that resize or cut a picture."""
    for shape in ((6, 99, 24), (99, 24), (40, 48, 3)):
        described = json.dumps({"shape": shape})
        tifffile.imwrite(tmp_path / "a.tif", STACK[0], description=described, metadata=None)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, STACK[0])
    tifffile.imwrite(
        tmp_path / "a.tif", STACK[0], description='{"shape": [6, 20, 24]}', metadata=None
    )
    with pytest.raises(CamSamError, match=r"broke off|truncated"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["BitsPerSample", "Compression", "SamplesPerPixel"])
def test_a_tag_that_says_how_pixels_are_stored_is_needed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0])
    with tifffile.TiffFile(path) as file:
        at = file.pages.first.tags[name].offset
    content = bytearray(path.read_bytes())
    content[at + 2 : at + 4] = b"\x42\x00"  # no such type of a tag
    path.write_bytes(bytes(content))
    with pytest.raises(CamSamError, match="truncated or damaged"):
        read_image(path)


def test_strips_that_do_not_cover_the_pages_are_refused(tmp_path: Path) -> None:
    """Else pixels are whatever was in memory before."""
    path = tmp_path / "a.tif"
    rgb = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    for predictor in (1, 2):
        tifffile.imwrite(path, rgb, compression="lzw", predictor=predictor)
        with tifffile.TiffFile(path) as file:
            at = file.pages.first.tags["ImageDescription"].offset
        content = bytearray(path.read_bytes())
        content[at : at + 2] = struct.pack("<H", 284)  # a text where the planar configuration is
        path.write_bytes(bytes(content))
        with pytest.raises(CamSamError, match="do not cover"):
            read_image(path)


@pytest.mark.parametrize("compression", ["zstd", "webp", "lzma", "jpegxl", "zlib", "lzw"])
def test_constant_areas_are_no_bombs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    """Most of a mask is constant, and newer compressions pack that ten times denser."""
    monkeypatch.setattr("napari_cam_sam.limits.SMALL_BYTES", 0)
    values = np.zeros((2048, 2048, 3), np.uint8)
    values[10:40, 20:60] = 9
    tifffile.imwrite(tmp_path / "a.tif", values, compression=compression, photometric="rgb",
                     compressionargs={"lossless": True} if compression == "webp" else None,
                     rowsperstrip=2048)  # fmt: skip
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").plane(0, 0), values)
