"""What is broken in an MGH file is said in a sentence."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.reading import read_image


def mgh(**changes) -> bytes:
    header = {
        "version": 1, "dims": (5, 4, 3, 1), "type": 0, "good": 1, "delta": (1, 1, 1),
        "axes": (1, 0, 0, 0, 1, 0, 0, 0, 1), "centre": (0, 0, 0), **changes,
    }  # fmt: skip
    raw = struct.pack(
        ">7ih15f", header["version"], *header["dims"], header["type"], 0, header["good"],
        *header["delta"], *header["axes"], *header["centre"],
    )  # fmt: skip
    return raw.ljust(284, b"\0") + bytes(range(60))


def test_a_sound_one(tmp_path):
    (tmp_path / "a.mgh").write_bytes(mgh(centre=(10, 20, 30)))
    image = read_image(tmp_path / "a.mgh")
    np.testing.assert_array_equal(np.ravel(image.data), range(60))
    np.testing.assert_allclose(image.geometry.affine[:3, 3], (7.5, 18, 28.5))


BROKEN = [
    ({"version": 2}, "does not begin with its version, 1"),
    ({"dims": (5, 4, 0, 1)}, r"states the sizes \[5, 4, 0, 1\]"),
    ({"dims": (5, -4, 3, 1)}, "states the sizes"),
    ({"dims": (2**31 - 1,) * 4}, "states the sizes"),
    ({"dims": (50_000, 40_000, 30_000, 1)}, "it is truncated or damaged"),
    ({"dims": (5, 4, 4, 1)}, "truncated or damaged"),
    ({"type": 77}, "values of the type 77"),
    ({"delta": (0, 1, 1)}, "must be above zero"),
    ({"delta": (float("nan"), 1, 1)}, "not finite"),
    ({"axes": (1, 0, 0, 1, 0, 0, 0, 0, 1)}, "do not span a volume"),
    ({"centre": (float("inf"), 0, 0)}, "not finite"),
]


@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
@pytest.mark.parametrize(("changes", "message"), BROKEN)
def test_what_is_wrong_is_said(tmp_path, changes, message, suffix):
    raw = mgh(**changes)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix == ".mgz" else raw)
    with pytest.raises(CamSamError, match=message) as error:
        read_image(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("keep", [1, 60, 200, 300])
@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
def test_a_truncated_file(tmp_path, keep, suffix):
    raw = mgh()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(raw)[: keep // 3] if suffix == ".mgz" else raw[:keep])
    with pytest.raises(CamSamError, match=r"truncated|damaged"):
        read_image(path)


def test_what_unpacks_without_end_is_refused(tmp_path):
    (tmp_path / "a.mgz").write_bytes(gzip.compress(mgh()) + gzip.compress(bytes(2**24)) * 64)
    with pytest.raises(CamSamError, match="More follows its voxels than the header can explain"):
        read_image(tmp_path / "a.mgz")
