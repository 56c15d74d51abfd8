import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images import windows
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.windows import (
    Window,
    WindowParameters,
    apply_window,
    parse_window,
    resolve_window,
)

RNG = np.random.default_rng(1)


def limits(window: Window) -> tuple[float, float]:
    return window.low, window.high


# Widths and levels as radiology text books give them.
@pytest.mark.parametrize(
    ("name", "width", "level"),
    [
        ("ct-brain", 80, 40),
        ("ct-subdural", 200, 75),
        ("ct-stroke", 40, 40),
        ("ct-bone", 1800, 400),
        ("ct-lung", 1500, -600),
        ("ct-mediastinum", 350, 50),
        ("ct-abdomen", 400, 50),
        ("ct-liver", 150, 30),
    ],
)
def test_ct_presets(name, width, level):
    volume = RNG.integers(-1000, 2000, (2, 5, 5), dtype=np.int16)
    window = resolve_window(image_from_array(volume), parse_window(name))
    assert limits(window) == (level - width / 2, level + width / 2)
    assert name in window.description


def test_percentiles_are_of_the_volume_and_exact_when_small():
    volume = RNG.normal(size=(4, 30, 31)) * np.arange(1, 5)[:, None, None]
    image = image_from_array(da.from_array(volume, chunks=(1, 30, 31)))
    assert limits(resolve_window(image)) == tuple(np.percentile(volume, (0.5, 99.5)))
    window = resolve_window(image, parse_window("percentiles:1,90"))
    assert limits(window) == tuple(np.percentile(volume, (1, 90)))
    window = resolve_window(image, parse_window("minmax"))
    assert limits(window) == (volume.min(), volume.max())


@pytest.mark.parametrize("shape", [(20, 64, 64), (7, 50, 60), (64, 8, 100)])
def test_a_large_volume_is_sampled_evenly_and_the_same_each_time(monkeypatch, shape):
    monkeypatch.setattr(windows, "_MOST_SAMPLES", 8000)
    # A ramp along the columns: a step in tune with the rows would see a few columns only.
    volume = np.broadcast_to(np.arange(shape[-1], dtype=np.int16), shape)
    taken = windows._collect(image_from_array(volume))[3]
    assert 2500 <= taken.size <= 8000
    np.testing.assert_array_equal(np.unique(taken), np.arange(shape[-1]))
    whole = np.percentile(volume, (0.5, 50, 99.5))
    np.testing.assert_allclose(np.percentile(taken, (0.5, 50, 99.5)), whole, atol=1)
    again = windows._collect(image_from_array(volume))[3]
    np.testing.assert_array_equal(taken, again)


def test_extremes_are_exact_in_a_sampled_volume(monkeypatch):
    monkeypatch.setattr(windows, "_MOST_SAMPLES", 50)
    volume = np.zeros((5, 20, 20), np.float32)
    volume[3, 7, 11], volume[2, 1, 1], volume[4, 4, 4] = 9, -3, np.nan
    window = resolve_window(image_from_array(volume), parse_window("minmax"))
    assert (limits(window), window.n_not_finite) == ((-3, 9), 1)


@pytest.mark.parametrize("kind", ["auto", "minmax", "limits:0,1", "ct-brain"])
def test_values_that_are_not_finite_are_counted_and_left_out(kind):
    volume = RNG.random((3, 10, 10))
    volume[0, 0, :2], volume[1, 1, 1], volume[2, 2, 2] = np.nan, np.inf, -np.inf
    window = resolve_window(image_from_array(volume), parse_window(kind))
    assert window.n_not_finite == 4
    if kind == "auto":
        finite = volume[np.isfinite(volume)]
        assert limits(window) == tuple(np.percentile(finite, (0.5, 99.5)))


def test_values_that_are_not_finite_become_black_or_white():
    plane = np.array([[np.nan, np.inf, -np.inf, 0.0, 10.0, 5.0]])
    gray = apply_window(plane, Window(0, 10, 3, ""))
    np.testing.assert_array_equal(gray, [[0, 255, 0, 0, 255, 128]])


@pytest.mark.parametrize("kind", ["auto", "minmax", "percentiles:1,99", "limits:0,1"])
def test_refuses_an_image_without_finite_values(kind):
    image = image_from_array(np.full((2, 3, 3), np.nan), name="hole.nii")
    with pytest.raises(CamSamError, match=r"hole\.nii holds only NaN"):
        resolve_window(image, parse_window(kind))


def test_refuses_a_plane_without_finite_values():
    with pytest.raises(CamSamError, match="slice holds only NaN"):
        apply_window(np.full((3, 3), np.nan), Window(0, 1, 9, ""))


@pytest.mark.parametrize("channels", [0, 3, 4])
def test_eight_bits_stay_as_they_are(channels):
    data = RNG.integers(10, 90, (6, 7, channels) if channels else (6, 7), dtype=np.uint8)
    image = image_from_array(data, rgb=bool(channels))
    window = resolve_window(image)
    assert limits(window) == (0, 255)
    gray = apply_window(image.plane(0, 0), window)
    np.testing.assert_array_equal(gray, data[..., :3] if channels else data)


def test_deeper_colour():
    deep = (RNG.random((5, 5, 3)) * 30000).astype(np.uint16)
    assert limits(resolve_window(image_from_array(deep, rgb=True))) == (0, 65535)
    unit = RNG.random((5, 5, 4))
    assert limits(resolve_window(image_from_array(unit, rgb=True))) == (0, 1)
    window = resolve_window(image_from_array(unit * 300, rgb=True))
    assert limits(window) == tuple(np.percentile(unit[..., :3] * 300, (0.5, 99.5)))


def test_boolean_planes():
    plane = np.array([[True, False]])
    window = resolve_window(image_from_array(plane))
    np.testing.assert_array_equal(apply_window(plane, window), [[255, 0]])


@pytest.mark.parametrize("value", [0.0, 7.0, -3e9])
def test_a_constant_image_is_black_and_says_so(value):
    image = image_from_array(np.full((2, 4, 4), value))
    window = resolve_window(image)
    assert "constant" in window.description
    assert not apply_window(image.plane(0, 0), window).any()


def test_equal_percentiles_fall_back_to_the_extremes_and_say_so():
    volume = np.zeros((10, 20, 20), np.float32)
    volume[5, 5, 5] = 4
    window = resolve_window(image_from_array(volume))
    assert limits(window) == (0, 4)
    assert "are equal" in window.description


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64]),
        (4, 5),
    ),
    st.floats(-1e5, 1e5),
    st.floats(1e-2, 1e5),
)
def test_agrees_with_the_formula_in_double_precision(plane, low, width):
    if plane.dtype.kind == "f" and not np.isfinite(plane).any():
        return
    window = Window(low, low + width, 0, "")
    if not window.low < window.high:
        return
    values = np.nan_to_num(plane.astype(np.float64), nan=low, posinf=window.high, neginf=window.low)
    scaled = (np.clip(values, low, window.high) - low) / (window.high - low) * 255
    gray = apply_window(plane, window)
    assert gray.dtype == np.uint8
    # Half a step of rounding, and what single precision loses far from zero.
    slack = 255 * 4 * np.finfo(np.float32).eps * max(abs(low), abs(window.high)) / width
    assert np.abs(gray - scaled).max() <= 0.501 + slack


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ct-brian", "Did you mean ct-brain"),
        ("limits", "needs two numbers"),
        ("limits:1", "two numbers after the colon"),
        ("limits:a,b", "two numbers after the colon"),
        ("limits:5,5", "low must be below high"),
        ("limits:0,inf", "low must be below high"),
        ("percentiles:-1,99", "between 0 and 100"),
        ("percentiles:1,101", "between 0 and 100"),
        ("auto:1,2", "takes no numbers"),
        ("", "Unknown window"),
        ("40,400", "write limits:LOW,HIGH"),
    ],
)
def test_refused_texts(text, words):
    with pytest.raises(CamSamError, match=words):
        parse_window(text)


def test_parsed_texts():
    assert parse_window("limits:-100,300") == WindowParameters("limits", -100, 300)
    assert parse_window(" percentiles:1, 99 ") == WindowParameters("percentiles", 1, 99)
    assert parse_window("auto") == WindowParameters()
