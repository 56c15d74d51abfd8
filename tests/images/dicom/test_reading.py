import numpy as np
import pytest
from dicom_files import stored

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.reading import read_image


def refused(path, sentence, **choices):
    with pytest.raises(CamSamError) as error:
        read_image(path, **choices)
    assert sentence in str(error.value), str(error.value)
    for secret in ("Möller", "4711", "1970", "2024"):
        assert secret not in str(error.value)
    return str(error.value)


def test_slices_lie_in_the_order_of_their_positions_whatever_their_names(write):
    folder = write(each=lambda i: {"InstanceNumber": 10 - i})[0].parent
    image = read_image(folder)
    np.testing.assert_array_equal(image.data, stored(4))
    np.testing.assert_allclose(image.geometry.spacing, (2, 0.5, 0.75))
    expected = [[0, 0, -0.75, 10], [0, -0.5, 0, -20], [2, 0, 0, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.geometry.affine, expected)
    assert image.notes == ()
