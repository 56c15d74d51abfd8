import numpy as np
import pytest
from scipy import ndimage
from skimage import color, exposure

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.preprocessing import PreprocessingParameters, preprocess

RNG = np.random.default_rng(2)
GRAY = RNG.integers(60, 120, (40, 56), dtype=np.uint8)
COLOUR = RNG.integers(60, 120, (40, 56, 3), dtype=np.uint8)


@pytest.mark.parametrize("plane", [GRAY, COLOUR])
def test_nothing_by_default(plane):
    assert preprocess(plane) is plane
    np.testing.assert_array_equal(preprocess(plane, PreprocessingParameters(clahe_tiles=3)), plane)


def test_clahe_of_gray_is_scikit_image_s():
    expected = exposure.equalize_adapthist(GRAY / 255, kernel_size=(5, 7), clip_limit=0.02)
    result = preprocess(GRAY, PreprocessingParameters(clahe=True, clahe_clip=0.02))
    np.testing.assert_array_equal(result, np.rint(255 * expected))
    assert result.std() > GRAY.std()


def test_clahe_of_colour_changes_lightness_and_keeps_the_hue():
    soft = np.stack([GRAY, GRAY - 5, GRAY - 10], axis=-1).astype(np.uint8)
    result = preprocess(soft, PreprocessingParameters(clahe=True))
    before, after = color.rgb2lab(soft), color.rgb2lab(result)
    assert after[..., 0].std() > 1.5 * before[..., 0].std()
    inside = (after[..., 0] > 20) & (after[..., 0] < 90)  # beyond, sRGB cannot show the colour
    assert np.abs(after - before)[inside][:, 1:].max() < 1.5


def test_strong_clahe_on_saturated_colour_is_silent_and_in_range():
    saturated = np.where(COLOUR > 90, 255, 0).astype(np.uint8)
    result = preprocess(saturated, PreprocessingParameters(clahe=True, clahe_clip=1.0))
    assert result.dtype == np.uint8
    assert result.shape == saturated.shape


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_clahe_leaves_a_constant_plane(shape):
    plane = np.full(shape, 77, np.uint8)
    result = preprocess(plane, PreprocessingParameters(clahe=True))
    np.testing.assert_allclose(result, plane, atol=1)


def test_blend_lies_between():
    whole = preprocess(GRAY, PreprocessingParameters(clahe=True)).astype(float)
    mixed = preprocess(GRAY, PreprocessingParameters(clahe=True, blend_weight=0.25))
    assert np.abs(mixed - (0.25 * whole + 0.75 * GRAY)).max() <= 0.7
    none = preprocess(GRAY, PreprocessingParameters(clahe=True, blend_weight=0.0))
    np.testing.assert_array_equal(none, GRAY)


def test_brightness_and_contrast():
    plane = np.array([[0, 100, 127, 128, 200, 255]], np.uint8)
    result = preprocess(plane, PreprocessingParameters(contrast=2, brightness=10))
    expected = np.clip(np.rint(2.0 * (plane - 127.5) + 137.5), 0, 255)
    np.testing.assert_array_equal(result, expected)


def test_colour_range_by_hand():
    plane = np.full((30, 30, 3), (200, 200, 200), np.uint8)
    plane[5:20, 5:20] = (120, 30, 90)
    plane[5:12, 5:12] = (140, 60, 110)
    plane[10, 14] = (200, 200, 200)  # a hole, to be filled
    plane[25, 25] = (120, 30, 90)  # a speck, to be removed
    parameters = PreprocessingParameters(
        colour_range=True, colour_low=(100, 20, 80), colour_high=(150, 70, 120),
        morphology_radius=1,
    )  # fmt: skip
    result = preprocess(plane, parameters)
    kept = result.any(axis=-1)
    expected = np.zeros((30, 30), bool)
    expected[5:20, 5:20] = True
    # An opening by a disk of radius 1 takes the corner pixels of a square, nothing else.
    expected[[5, 5, 19, 19], [5, 19, 5, 19]] = False
    np.testing.assert_array_equal(kept, expected)
    assert result[10, 14].tolist() == [255, 255, 255]
    assert result[18, 18].tolist() == [round((v - 30) * 255 / 170) for v in (120, 30, 90)]


def test_colour_range_of_gray_fills_holes_and_stretches():
    plane = np.full((20, 20), 10, np.uint8)
    plane[4:16, 4:16] = 100
    plane[8, 8], plane[6:14, 12] = 10, 150
    parameters = PreprocessingParameters(
        colour_range=True, colour_low=(90,) * 3, colour_high=(160,) * 3, morphology_radius=0
    )
    result = preprocess(plane, parameters)
    filled = ndimage.binary_fill_holes(plane >= 90)
    assert not result[~filled].any()
    assert (result[8, 8], result[7, 12], result[5, 5]) == (0, 255, round(90 / 140 * 255))


def test_colour_range_without_any_pixel_is_black():
    parameters = PreprocessingParameters(colour_range=True, colour_low=(250, 250, 250))
    assert not preprocess(COLOUR, parameters).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour_low": (9, 0, 0), "colour_high": (8, 9, 9)},
        {"colour_high": (0, 0, 256)},
        {"colour_low": (0, 0)},
        {"morphology_radius": -1},
        {"clahe_clip": 0.0},
        {"clahe_tiles": 0},
        {"clahe": True, "blend_weight": 1.5},
        {"blend_weight": 0.5},
        {"contrast": -1.0},
        {"contrast": np.nan},
        {"brightness": 300.0},
    ],
)
def test_refuses_values_out_of_range(wrong):
    with pytest.raises(CamSamError, match="Preprocessing: "):
        PreprocessingParameters(**wrong)
