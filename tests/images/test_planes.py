import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.planes import parse_planes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, range(10)),
        ("2:5", range(2, 5)),
        ("7", range(7, 8)),
        (" 3 : 4 ", range(3, 4)),
        (":", range(10)),
        ("8:", range(8, 10)),
        (":1", range(1)),
        ("0:10", range(10)),
    ],
)
def test_choices(text, expected):
    assert parse_planes(text, 10) == expected


@settings(deadline=None)
@given(
    st.integers(1, 500).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(0, n - 1), st.integers(1, n))
    )
)
def test_agrees_with_slices(numbers):
    n, start, stop = numbers
    if start < stop:
        assert list(parse_planes(f"{start}:{stop}", n)) == list(range(n))[start:stop]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10", "out of range"),
        ("2:11", "out of range"),
        ("10:", "out of range"),
        ("5:5", "none"),
        ("5:2", "none"),
        ("-1", "no choice"),
        ("0:-1", "no choice"),
        ("", "no choice"),
        ("a:b", "no choice"),
        ("1:2:3", "no choice"),
        ("1 2", "no choice"),
        ("9" * 5000, "no choice"),
        (":" + "9" * 5000, "no choice"),
        ("1.5", "no choice"),
    ],
)
def test_refusals(text, words):
    with pytest.raises(CamSamError, match=words):
        parse_planes(text, 10)
