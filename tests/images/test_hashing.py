import hashlib

import numpy as np
import pytest
from PIL import Image as PillowImage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.hashing import image_hash
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.reading import read_image


def test_a_file_s_hash_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "a.png"
    PillowImage.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(path)
    image = read_image(path)
    assert image_hash(image) == hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    with pytest.raises(CamSamError, match="could not be read"):
        image_hash(image)


def test_an_array_s_hash_knows_type_shape_and_values():
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    changed = data.copy()
    changed[1, 2, 3] += 1
    arrays = [data, data.astype(np.int32), data.reshape(2, 4, 3), changed]
    hashes = [image_hash(image_from_array(array)) for array in arrays]
    assert len(set(hashes)) == 4
    assert hashes[0] == image_hash(image_from_array(np.asfortranarray(data)))
