import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image as PillowImage
from PIL import ImageOps

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.reading import read_image, read_labels
from napari_cam_sam.images.tiff_colours import TRANSPARENT

RNG = np.random.default_rng(5)
GRAY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (6, 9, 4), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize(
    "pixels", [GRAY, RGB, RGBA, GRAY.astype(np.uint16) * 257], ids=["gray", "rgb", "rgba", "deep"]
)
def test_pixels_as_stored(tmp_path, pixels, suffix):
    path = tmp_path / f"a{suffix}"
    PillowImage.fromarray(pixels).save(path)
    image = read_image(path)
    np.testing.assert_array_equal(image.plane(0, 0), pixels)
    assert (image.rgb, image.name, image.geometry.unit) == (pixels.ndim == 3, "a", "pixel")
    assert image.data.dtype == pixels.dtype


def test_jpeg(tmp_path):
    smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    PillowImage.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert not image.rgb
    np.testing.assert_allclose(image.plane().astype(int), smooth, atol=8)
    PillowImage.fromarray(RGB).convert("CMYK").save(tmp_path / "b.jpeg")
    assert read_image(tmp_path / "b.jpeg").plane().shape == RGB.shape


def test_png_modes(tmp_path):
    bits = GRAY > 99
    PillowImage.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png").data, bits * 255)
    np.testing.assert_array_equal(read_labels(tmp_path / "bits.png").data, bits * 1)

    gray_alpha = np.stack([GRAY, GRAY[::-1]], axis=-1)
    PillowImage.fromarray(gray_alpha, "LA").save(tmp_path / "la.png")
    image = read_image(tmp_path / "la.png")
    assert not image.rgb
    np.testing.assert_array_equal(image.data, GRAY)

    palette = PillowImage.fromarray(GRAY % 3, "P")
    palette.putpalette([10, 20, 30, 0, 255, 0, 9, 8, 7])
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "p.png").data, GRAY % 3)
    colours = np.array([[10, 20, 30], [0, 255, 0], [9, 8, 7]])[GRAY % 3]
    np.testing.assert_array_equal(read_image(tmp_path / "p.png").data, colours)


@pytest.mark.parametrize(
    ("shape", "axes", "frame", "expected", "rgb"),
    [
        ((6, 9), "YX", None, (6, 9), False),
        ((4, 6, 9), "ZYX", None, (4, 6, 9), False),
        ((4, 6, 9), "TYX", None, (4, 6, 9), False),
        ((6, 9, 3), "YXS", None, (6, 9, 3), True),
        ((4, 6, 9, 3), "ZYXS", None, (4, 6, 9, 3), True),
        ((2, 4, 6, 9), "TZYX", 1, (4, 6, 9), False),
        ((4, 2, 6, 9), "ZCYX", 1, (4, 6, 9), False),
        ((2, 6, 9), "CYX", 0, (6, 9), False),
        ((1, 4, 6, 9), "TZYX", None, (4, 6, 9), False),
    ],
)
def test_tiff_axes(tmp_path, shape, axes, frame, expected, rgb):
    data = RNG.integers(0, 256, shape, dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", data, metadata={"axes": axes},
        photometric="rgb" if rgb else "minisblack",
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif", frame)
    assert (image.data.shape, image.rgb) == (expected, rgb)
    position = next((i for i, axis in enumerate(axes) if axis in "TC"), None)
    if frame is not None:
        data = data.take(frame, axis=position)
    np.testing.assert_array_equal(image.data, data.reshape(expected))


def test_tiff_frames_must_be_chosen(tmp_path):
    data = np.zeros((2, 4, 6, 9), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "TZYX"}, photometric="minisblack")
    with pytest.raises(CamSamError, match="2 frames"):
        read_image(tmp_path / "a.tif")
    with pytest.raises(CamSamError, match="frames are 0 to 1"):
        read_image(tmp_path / "a.tif", 2)


def test_tiff_with_too_many_axes(tmp_path):
    data = np.zeros((2, 3, 4, 5, 6, 9), np.uint8)
    axes = {"axes": "TZCQYX"}
    tifffile.imwrite(tmp_path / "a.tif", data, metadata=axes, photometric="minisblack")
    with pytest.raises(CamSamError, match="axes TZCQYX do not say"):
        read_image(tmp_path / "a.tif", 0)


def test_planar_colour_and_palette_tiff(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, RGB)
    colormap = np.zeros((3, 256), np.uint16)
    colormap[:, 1] = (0, 65535, 256 * 7)
    tifffile.imwrite(
        tmp_path / "p.tif", (GRAY > 99).astype(np.uint8), photometric="palette", colormap=colormap
    )
    np.testing.assert_array_equal(read_labels(tmp_path / "p.tif").data, GRAY > 99)
    image = read_image(tmp_path / "p.tif")
    assert image.rgb
    np.testing.assert_array_equal(np.unique(image.data[GRAY > 99], axis=0), [[0, 255, 7]])


@pytest.mark.parametrize(
    ("unit", "mm"), [("um", 1e-3), ("micron", 1e-3), ("cm", 10), ("inch", 25.4), ("far", 0)]
)
def test_tiff_spacing_as_imagej_writes_it(tmp_path, unit, mm):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((4, 6, 9), np.uint8), imagej=True, resolution=(2.0, 4.0),
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": unit},
    )  # fmt: skip
    geometry = read_image(tmp_path / "a.tif").geometry
    assert geometry.unit == ("mm" if mm else "pixel")
    expected = (3 * mm, mm / 4, mm / 2) if mm else (1, 1, 1)
    np.testing.assert_allclose(geometry.spacing, expected)


@pytest.mark.parametrize(
    ("resolution", "spacing"), [((1.0, 1.0), -2.0), ((1.0, 1.0), "far"), ((0.0, 0.0), 1.0)]
)
def test_tiff_spacing_that_makes_no_sense_is_one_pixel(tmp_path, resolution, spacing):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((4, 6, 9), np.uint8), imagej=True, resolution=resolution,
        metadata={"axes": "ZYX", "spacing": spacing, "unit": "mm"},
    )  # fmt: skip
    assert read_image(tmp_path / "a.tif").geometry.unit == "pixel"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("content", [b"", b"hello, I am text " * 9, b"cut"])
def test_refuses_files_that_are_no_images(tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    if content == b"cut":
        PillowImage.fromarray(RNG.integers(0, 255, (99, 99), dtype=np.uint8)).save(path)
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    words = r"(is empty|not a|neither a|truncated|damaged).*bad\.\w+\)\.$"
    with pytest.raises(CamSamError, match=words) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pixels", [GRAY, RGB, GRAY.astype(np.uint16) * 257])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressions_that_other_tools_write(tmp_path, compression, pixels):
    pages = [PillowImage.fromarray(pixels), PillowImage.fromarray(pixels[::-1].copy())]
    pages[0].save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, pixels)
    pages[0].save(
        tmp_path / "b.tif", compression=compression, save_all=True, append_images=pages[1:]
    )
    np.testing.assert_array_equal(
        read_image(tmp_path / "b.tif").data, np.stack([pixels, pixels[::-1]])
    )


# Orientation: what ImageOps.exif_transpose shows


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("colour", [False, True])
def test_orientation_is_applied_to_image_and_mask(tmp_path, colour, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    pixels = np.kron(RNG.integers(0, 2, (4, 6), dtype=np.uint8), np.ones((8, 8), np.uint8)) * 200
    shown = np.stack([pixels] * 3, axis=-1) if colour else pixels
    if suffix == ".tif":
        tifffile.imwrite(
            path, shown, photometric="rgb" if colour else "minisblack",
            extratags=[(274, 3, 1, orientation, True)],
        )  # fmt: skip
    exif = PillowImage.Exif()
    exif[274] = orientation
    if suffix != ".tif":
        PillowImage.fromarray(shown).save(path, exif=exif)
    # Pillow turns a TIFF by itself as it loads it, and some not rightly.
    PillowImage.fromarray(shown).save(tmp_path / "other.png", exif=exif)
    with PillowImage.open(path if suffix == ".jpg" else tmp_path / "other.png") as file:
        expected = np.array(ImageOps.exif_transpose(file))
    image = read_image(path)
    np.testing.assert_array_equal(image.data, expected)
    assert image.data.flags.c_contiguous
    assert ("orientation tag" in " ".join(image.notes)) == (orientation != 1)
    if suffix != ".jpg":
        labels = read_labels(path)
        np.testing.assert_array_equal(labels.data, expected[..., 0] if colour else expected)
        assert labels.notes == image.notes


def test_a_jpeg_of_12_bits_has_an_orientation_too(tmp_path):
    deep = np.tile(np.linspace(0, 4095, 48).astype(np.uint16), (40, 1))
    content = imagecodecs.jpeg8_encode(deep, level=100, bitspersample=12)
    exif = PillowImage.Exif()
    exif[274] = 6
    tag = exif.tobytes()
    tag = b"\xff\xe1" + struct.pack(">H", len(tag) + 2) + tag
    (tmp_path / "a.jpg").write_bytes(content[:2] + tag + content[2:])
    image = read_image(tmp_path / "a.jpg")
    np.testing.assert_allclose(image.data, np.rot90(deep, -1).astype(int), atol=4)
    assert "orientation tag" in image.notes[0]


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_means_nothing_changes_nothing(tmp_path, orientation):
    exif = PillowImage.Exif()
    exif[274] = orientation
    PillowImage.fromarray(GRAY).save(tmp_path / "a.png", exif=exif)
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.data, GRAY)
    assert image.notes == ()


def test_orientation_turns_spacing_and_every_slice(tmp_path):
    stack = RNG.integers(0, 256, (3, 6, 9), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", stack, imagej=True, resolution=(2.0, 4.0),
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": "mm"},
        extratags=[(274, 3, 1, 6, False)],
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, np.rot90(stack, -1, axes=(1, 2)))
    assert image.geometry.spacing == (3.0, 0.5, 0.25)


# PNG and JPEG that Pillow reads wrong, or half


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_of_16_bits_has_16_bits(tmp_path, interlaced, channels):
    pixels = RNG.integers(0, 65536, (20, 24, channels), dtype=np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png(pixels, interlaced))
    image = read_image(path)
    assert image.data.dtype == np.uint16
    if channels < 3:
        np.testing.assert_array_equal(image.data, pixels[..., 0])
        assert image.notes == (() if channels == 1 else (TRANSPARENT,))
    else:
        np.testing.assert_array_equal(image.data, pixels)
    if channels in (1, 3):
        other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        np.testing.assert_array_equal(image.data, other)


def test_a_png_with_one_transparent_colour_keeps_its_colours(tmp_path):
    for dtype, most in ((np.uint8, 255), (np.uint16, 65535)):
        pixels = RNG.integers(0, most + 1, (20, 24, 3), dtype=dtype)
        seen = struct.pack(">3H", *(int(v) for v in pixels[3, 4]))
        (tmp_path / "a.png").write_bytes(png(pixels, extra=chunk(b"tRNS", seen)))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, pixels)


def test_a_palette_with_alpha_is_its_colours(tmp_path):
    palette = PillowImage.fromarray(GRAY % 3, "P")
    palette.putpalette([10, 20, 30, 0, 255, 0, 9, 8, 7])
    palette.save(tmp_path / "p.png", transparency=bytes([0, 128, 255]))
    colours = np.array([[10, 20, 30], [0, 255, 0], [9, 8, 7]])[GRAY % 3]
    image = read_image(tmp_path / "p.png")
    np.testing.assert_array_equal(image.data, colours)
    assert image.notes == (TRANSPARENT,)
    np.testing.assert_array_equal(read_labels(tmp_path / "p.png").data, GRAY % 3)


def test_jpeg_of_12_bits_and_without_loss(tmp_path):
    deep = (RNG.random((40, 48)) * 4095).astype(np.uint16)
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(deep, level=100, bitspersample=12))
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg").data, deep.astype(int), atol=4)
    (tmp_path / "b.jpg").write_bytes(
        imagecodecs.jpeg8_encode(deep, lossless=True, bitspersample=16)
    )
    np.testing.assert_array_equal(read_image(tmp_path / "b.jpg").data, deep)


def test_cmyk_jpeg_with_and_without_adobes_marker(tmp_path):
    row, column = np.mgrid[:32, :48]
    inks = np.stack([row * 7, column * 5, row + column, row * 2], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    PillowImage.fromarray(inks, "CMYK").save(buffer, "JPEG", quality=100, subsampling=0)
    content = buffer.getvalue()
    at = content.index(b"Adobe") - 4
    (tmp_path / "a.jpg").write_bytes(content)
    inks = inks.astype(float)
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg").data, expected, atol=4)
    (tmp_path / "a.jpg").write_bytes(content[:at] + content[at + 16 :])
    with pytest.raises(CamSamError, match="CMYK, for print"):
        read_image(tmp_path / "a.jpg")


def test_of_an_animation_the_first_image_is_read(tmp_path):
    pages = [PillowImage.fromarray(one) for one in (RGB, 255 - RGB)]
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:])
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.data, RGB)
    assert image.notes == ("Its file holds 1 more image: the first is read.",)


def test_ycck_jpeg(tmp_path):
    row, column = np.mgrid[:32, :48]
    inks = np.stack([row * 7, column * 5, row + column, row * 2], axis=-1).astype(np.uint8)
    (tmp_path / "a.jpg").write_bytes(
        imagecodecs.jpeg8_encode(
            255 - inks, level=100, colorspace="CMYK", outcolorspace="YCCK", subsampling="444"
        )
    )
    inks = inks.astype(float)
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg").data, expected, atol=6)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("ended", [False, True])
def test_a_jpeg_that_breaks_off_is_refused(tmp_path, ended, options):
    row, column = np.mgrid[:120, :160]
    shape = 127 + 60 * np.sin(row / 7) + 60 * np.cos(column / 9) + RNG.normal(0, 4, row.shape)
    buffer = io.BytesIO()
    PillowImage.fromarray(shape.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", **options)
    content, path = buffer.getvalue(), tmp_path / "a.jpg"
    path.write_bytes(content)
    assert read_image(path).notes == ()
    for part in (0.3, 0.5, 0.7, 0.9):
        cut = content[: int(len(content) * part)]
        path.write_bytes(cut + b"\xff\xd9" * ended)  # with an end decoders fill in gray
        with pytest.raises(CamSamError, match="truncated"):
            read_image(path)


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "411", "440"])
@pytest.mark.parametrize("behind", [b"", b"\0" * 7, b"more" * 50])
def test_a_sound_jpeg_is_whole_however_it_is_sampled(tmp_path, behind, subsampling):
    plain = np.zeros((61, 83, 3), np.uint8)
    plain[10:40, 10:50] = RNG.integers(0, 256, (30, 40, 3))
    content = imagecodecs.jpeg8_encode(plain, subsampling=subsampling)
    (tmp_path / "a.jpg").write_bytes(content + behind)
    assert read_image(tmp_path / "a.jpg").spatial_shape == (61, 83)


@pytest.mark.parametrize(
    "options",
    [{"optimize": True}, {"progressive": True}, {"icc_profile": b"none" * 50_000},
     {"comment": b"x"}, {"quality": 1}, {"restart_marker_blocks": 3}, {"keep_rgb": True}],
)  # fmt: skip
def test_a_sound_jpeg_is_whole_whatever_else_it_holds(tmp_path, options):
    plain = np.zeros((61, 83, 3), np.uint8)
    plain[10:40, 10:50] = RNG.integers(0, 256, (30, 40, 3))
    PillowImage.fromarray(plain).save(tmp_path / "a.jpg", **options)
    assert read_image(tmp_path / "a.jpg").spatial_shape == (61, 83)


@pytest.mark.parametrize("black", [0, 255])
def test_a_jpeg_with_a_plain_border_is_whole(tmp_path, black):
    plain = np.full((64, 80), black, np.uint8)
    plain[20:30, 20:40] = 130
    PillowImage.fromarray(plain).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").spatial_shape == (64, 80)


def test_a_png_is_refused_wherever_it_is_cut_or_damaged(tmp_path):
    content, path = png(RGB), tmp_path / "a.png"
    rng = np.random.default_rng(0)
    for length in range(8, len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CamSamError, match="truncated"):
            read_image(path)
    for at in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged))
        with pytest.raises(CamSamError, match=r"a\.png\)\.$"):
            read_image(path)


def test_a_picture_above_pillows_limit_is_read(tmp_path):
    wide = np.zeros((14_000, 13_000), np.uint8)  # 182 megapixels
    wide[5, 7] = 200
    PillowImage.fromarray(wide).save(tmp_path / "a.png", compress_level=1)
    data = read_image(tmp_path / "a.png").data
    assert data.shape == wide.shape
    assert data[5, 7] == 200


def test_a_small_png_that_declares_much_is_refused_at_once(tmp_path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    body = header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(CamSamError, match="declares"):
        read_image(tmp_path / "a.png")


def chunk(name, content):
    ending = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + ending


def png(pixels, interlaced=False, extra=b""):
    """Write a PNG by its specification, without a library."""
    height, width, channels = pixels.shape
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
             (1, 0, 2, 1)] if interlaced else [(0, 0, 1, 1)]  # fmt: skip
    lines = b""
    for row, column, down, right in steps:
        for line in pixels[row::down, column::right].astype(pixels.dtype.newbyteorder(">")):
            lines += b"\0" + line.tobytes()
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    bits = 8 * pixels.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, int(interlaced))
    parts = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_almost_empty_mask_of_one_bit_is_no_bomb(tmp_path, monkeypatch, suffix):
    """Whole slides have masks that pack further than bytes do: eight pixels a byte, or a fax."""
    monkeypatch.setattr("napari_cam_sam.limits.SMALL_BYTES", 0)
    path, mask = tmp_path / f"m{suffix}", np.zeros((4000, 6000), bool)
    mask[100:130, 200:260] = True
    more = {"compression": "group4"} if suffix == ".tif" else {}
    PillowImage.fromarray(mask).save(path, **more)
    assert path.stat().st_size * 2000 < mask.size
    np.testing.assert_array_equal(read_labels(path).plane(0, 0), mask)


def test_no_byte_before_the_pixels_of_a_jpeg_holds_the_reader_up(tmp_path):
    path = tmp_path / "a.jpg"
    PillowImage.fromarray(np.full((16, 16), 90, np.uint8)).save(path)  # its last block is flat
    content = path.read_bytes()
    refused = 0
    for at in range(2, content.index(b"\xff\xda") + 4):
        for value in (0x00, 0x7F, 0xFF):
            path.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
            try:
                read_image(path)
            except CamSamError:
                refused += 1
    assert refused > 300
