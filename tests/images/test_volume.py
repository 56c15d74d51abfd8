import io
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images import volume
from napari_cam_sam.images.volume import VolumeOnDisk

DATA = np.random.default_rng(3).integers(-2000, 2000, (6, 5, 7)).astype(">i2")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("volume") / "raw"
    path.write_bytes(b"x" * 13 + DATA.tobytes())
    return path


def slices(n):
    bound = st.none() | st.integers(-n - 2, n + 2)
    return st.integers(-n, n - 1) | st.builds(
        slice, bound, bound, st.sampled_from([None, 1, 2, 3, -1, -2])
    )


@settings(deadline=None)
@given(st.tuples(*(slices(n) for n in DATA.shape)), st.integers(0, 3), st.sampled_from([70, 200]))
def test_indexes_as_numpy_does(path, key, length, block):
    key = key[:length]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volume, "_BLOCK_BYTES", block)  # of one plane, and of two
        result = VolumeOnDisk(path, DATA.dtype, DATA.shape, offset=13)[key]
    assert result.dtype == np.int16
    np.testing.assert_array_equal(result, DATA[key])


@pytest.mark.parametrize("key", [..., (..., 2), (1, ..., 2), (..., slice(1, 3), 0), (1, 2, 3, ...)])
def test_ellipsis(path, key):
    lazy = VolumeOnDisk(path, DATA.dtype, DATA.shape, offset=13)
    np.testing.assert_array_equal(lazy[key], DATA[key])


def test_is_an_array_for_numpy_and_scales(path):
    lazy = VolumeOnDisk(path, DATA.dtype, DATA.shape, offset=13, slope=0.5, inter=-7)
    assert (lazy.ndim, len(lazy), lazy.dtype) == (3, 6, np.float64)
    np.testing.assert_array_equal(np.asarray(lazy), DATA * 0.5 - 7)
    assert np.asarray(lazy, dtype=np.float32).dtype == np.float32
    with pytest.raises(IndexError):
        lazy[6]


def test_travels_to_other_processes(path):
    lazy = pickle.loads(pickle.dumps(VolumeOnDisk(path, DATA.dtype, DATA.shape, offset=13)))
    np.testing.assert_array_equal(lazy[2], DATA[2])


def test_a_file_that_vanished_is_one_clear_error(tmp_path):
    path = tmp_path / "gone"
    path.write_bytes(DATA.tobytes())
    lazy = VolumeOnDisk(path, DATA.dtype, DATA.shape)
    path.write_bytes(b"short")
    with pytest.raises(CamSamError, match="can no longer be read"):
        lazy[0]
    path.unlink()
    with pytest.raises(CamSamError, match="can no longer be read"):
        lazy[0]


def test_threads_may_read_a_file_object_together(path):
    wrong: list[int] = []
    with path.open("rb") as file:
        assert isinstance(file, io.BufferedReader)
        lazy = VolumeOnDisk(file, DATA.dtype, DATA.shape, offset=13)

        def read(index: int) -> None:
            for _ in range(100):
                if not np.array_equal(lazy[index], DATA[index]):
                    wrong.append(index)

        threads = [threading.Thread(target=read, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
