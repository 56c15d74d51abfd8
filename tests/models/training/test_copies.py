from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageEnhance

from napari_cam_sam.demo import phantoms
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.models.training.copies import Fingerprints, find_copies, fingerprint, near

BUSI = Path(__file__).resolve().parents[3].parent / "shared/data/busi_classification"


def joined(planes: list[np.ndarray]) -> Fingerprints:
    return Fingerprints.joined([fingerprint(plane) for plane in planes])


def changed(plane: np.ndarray) -> list[np.ndarray]:
    """The same picture saved anew: smaller, squashed, brighter, cropped, with a mark."""
    picture = Pillow.fromarray(plane)
    rows, columns = plane.shape
    marked = plane.copy()
    marked[20:24, 20:60] = 255
    return [
        np.asarray(picture.resize((columns // 2, rows // 2))),
        np.asarray(picture.resize((columns, rows * 2 // 3))),
        np.asarray(ImageEnhance.Brightness(picture).enhance(1.2)),
        plane[3:-2, 2:-4],
        marked,
        np.stack([plane] * 3, axis=-1),
    ]


def test_a_picture_is_found_again_and_others_are_not() -> None:
    first, second, third = (phantoms.ultrasound(seed, size=192).image for seed in (1, 2, 3))
    planes = [first, second, *changed(first), *changed(second), third]
    assert find_copies(joined(planes)).tolist() == [0, 1, *[0] * 6, *[1] * 6, 2]


def test_copies_of_copies_and_pairs_between_two_lots() -> None:
    plane = phantoms.ultrasound(4, size=192).image
    other = phantoms.ultrasound(5, size=192).image
    rows, columns = near(joined([other, plane]), joined([plane[2:], other, plane]))
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 2)]


def test_planes_without_contrast_are_no_copies() -> None:
    black = np.zeros((64, 64), np.uint8)
    assert find_copies(joined([black, black, black + 200])).tolist() == [0, 1, 2]
    assert find_copies(joined([])).tolist() == []


@pytest.mark.real_data
@pytest.mark.skipif(not BUSI.exists(), reason="the real BUSI images are not beside the project")
@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        # Looked at: other crops, marks drawn in, one picture in two classes, the same lesion.
        ("benign (154)", "benign (21)", True),
        ("benign (433)", "benign (435)", True),
        ("benign (435)", "malignant (145)", True),
        ("malignant (77)", "malignant (78)", True),
        ("malignant (114)", "malignant (14)", True),
        # And the nearest ones that are not.
        ("malignant (144)", "malignant (63)", False),
        ("benign (90)", "malignant (6)", False),
        ("malignant (177)", "malignant (72)", False),
        ("malignant (195)", "malignant (96)", False),
    ],
)
def test_pairs_of_busi_that_were_looked_at(first: str, second: str, alike: bool) -> None:
    planes = [
        np.asarray(read_image(BUSI / name.split()[0] / f"{name}.png").data)
        for name in (first, second)
    ]
    assert (find_copies(joined(planes)).tolist() == [0, 0]) is alike
