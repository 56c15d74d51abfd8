"""Mosaics of Siemens, beside what nibabel makes of them: on its own files."""

import gzip
from pathlib import Path

import nibabel.nicom
import numpy as np
import pytest
from nibabel.nicom import dicomwrappers

from napari_cam_sam.images.dicom.series import find_series
from napari_cam_sam.images.hashing import image_hash
from napari_cam_sam.images.reading import read_image

DATA = Path(nibabel.nicom.__file__).parent / "tests" / "data"
MOSAIC = DATA / "siemens_dwi_1000.dcm.gz"
pytestmark = pytest.mark.skipif(not MOSAIC.is_file(), reason="nibabel came without its test data")


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    """Unpack the mosaic, with pixels that differ: its own are taken out."""
    path = tmp_path / "series" / "a.dcm"
    path.parent.mkdir()
    data = bytearray(gzip.decompress(MOSAIC.read_bytes()))
    count = 896 * 896
    data[-2 * count :] = (np.arange(count) % 4001).astype("<u2").tobytes()
    path.write_bytes(data)
    return path


def test_a_mosaic_is_taken_apart_as_nibabel_does(mosaic: Path) -> None:
    image = read_image(mosaic)
    wrapper = dicomwrappers.wrapper_from_file(mosaic)
    np.testing.assert_array_equal(np.moveaxis(np.asarray(image.data), 0, -1), wrapper.get_data())
    assert image.spatial_shape == (48, 128, 128)
    lps = wrapper.affine @ (3, 5, 7, 1)  # row, column, slice
    np.testing.assert_allclose(
        image.geometry.affine @ (7, 3, 5, 1), lps * (-1, -1, 1, 1), atol=1e-4
    )
    assert image.source is None
    assert "taken apart" in image.notes[0]


def test_mosaics_of_a_series_are_frames(mosaic: Path) -> None:
    other = gzip.decompress((DATA / "siemens_dwi_0.dcm.gz").read_bytes())
    (mosaic.parent / "b.dcm").write_bytes(other)
    (series,) = find_series(mosaic.parent)
    assert (series.slices, series.frames, series.rows) == (48, 2, 128)
    assert series.frame_names == ("b 0", "b 1000")
    second = read_image(mosaic.parent, 1)
    assert second.data[...].any()
    assert not read_image(mosaic.parent, 0).data[...].any()
    assert len(image_hash(second)) == 64
