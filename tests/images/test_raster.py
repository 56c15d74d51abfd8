import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.reading import read_image, read_labels

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
    words = r"bad\.\w+ is empty|(not a|neither a|truncated|damaged).*bad\.\w+\)\.$"
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
