"""Real series of several vendors, beside what other programs made of them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.series import find_series
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import read_image

DATA = Path(__file__).resolve().parents[3].parent / "shared/data/dicom"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="real DICOM is not beside the project"),
]


def as_nifti(image: Image) -> nib.Nifti1Image:
    return nib.Nifti1Image(np.asarray(image.data).T, image.geometry.affine[:, [2, 1, 0, 3]])


@pytest.mark.parametrize("name", ["mr_generic", "mr_ge", "mr_compressed_j2k", "mr_compressed_rle"])
def test_voxels_and_affine_are_those_of_the_expected_nifti(name: str) -> None:
    ours = nib.as_closest_canonical(as_nifti(read_image(DATA / name)))
    expected = nib.as_closest_canonical(nib.load(DATA / f"{name}.nii.gz"))
    np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(expected.dataobj))
    np.testing.assert_allclose(ours.affine, expected.affine, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["ct_3slice", "ct_rtstruct", "mr_ge", "mr_compressed_j2k", "mr_non_isotropic"]
)
def test_simpleitk_reads_the_same(name: str) -> None:
    import SimpleITK

    image = read_image(DATA / name)
    assert isinstance(image.source, DicomSource)
    other = SimpleITK.ReadImage([str(frame.path) for frame in image.source.frames])
    np.testing.assert_allclose(image.data, SimpleITK.GetArrayFromImage(other), rtol=1e-5)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(other.GetDirection(), (3, 3)) * other.GetSpacing()
    affine[:3, 3] = other.GetOrigin()
    affine[:2] *= -1
    # It makes unit vectors of directions that were rounded.
    np.testing.assert_allclose(image.geometry.affine[:, [2, 1, 0, 3]], affine, atol=1e-4)


def test_single_frames_and_one_file_of_several_are_the_same_volume() -> None:
    single = read_image(DATA / "ct_oblique_23x38x3")
    several = read_image(DATA / "ct_oblique_23x38x3_multiframe.dcm")
    np.testing.assert_array_equal(single.data, several.data)
    assert single.geometry.matches(several.geometry, 1e-6) is None
    assert isinstance(several.source, DicomSource)
    assert isinstance(single.source, DicomSource)
    assert [frame.number for frame in several.source.frames] == [1, 2, 3]
    assert [frame.number for frame in single.source.frames] == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("refuse_gantry_tilt", "The gantry was tilted by 14.0°"),
        ("refuse_slice_increment", "1 slice is missing: they lie 5 mm apart, but 10 mm"),
        ("refuse_not_a_volume", "This is no volume: all 4 slices lie at the same position"),
        ("ct_3slice_liver_seg.dcm", "it is a segmentation"),
        ("ct_rtstruct/rt.dcm", "it is a structure set"),
    ],
)
def test_what_is_no_volume_is_refused_by_its_own_sentence(name: str, sentence: str) -> None:
    with pytest.raises(CamSamError) as error:
        read_image(DATA / name)
    assert sentence in str(error.value)
    assert str(error.value).endswith(f"({DATA / name}).")


def test_uneven_slices_are_opened_where_that_is_asked_for() -> None:
    folder = DATA / "refuse_slice_increment"
    as_is = read_image(folder, spacing="as-is")
    even = read_image(folder, spacing="even")
    assert as_is.spatial_shape == (4, 512, 512)
    assert even.spatial_shape == (5, 512, 512)
    np.testing.assert_allclose(even.geometry.spacing[0], 5, atol=1e-4)
    np.testing.assert_array_equal(even.plane(0, 2), as_is.plane(0, 2))
    np.testing.assert_array_equal(even.plane(0, 4), as_is.plane(0, 3))
    between = (as_is.plane(0, 2).astype(float) + as_is.plane(0, 3)) / 2
    assert np.abs(even.plane(0, 3) - between).max() <= 0.5
    assert isinstance(even.source, DicomSource)
    assert isinstance(as_is.source, DicomSource)
    assert (even.source.resampled, as_is.source.resampled) == (True, False)
    assert len(even.source.frames) == 4
    assert "resampled from 4 slices to 5" in even.notes[0]


def test_a_tree_of_folders_is_a_list_of_series() -> None:
    found = find_series(DATA)
    assert len({one.id for one in found}) == len(found)
    assert {"19aedcbd"} & {one.id for one in found}
    liver = next(one for one in found if one.id == "19aedcbd")
    assert (liver.modality, liver.slices, liver.rows, liver.columns) == ("CT", 3, 512, 512)
    np.testing.assert_allclose(liver.spacing, (1, 0.810547, 0.810547), atol=1e-6)
    assert [bool(one.trouble) for one in found].count(True) == 2
    with pytest.raises(CamSamError, match="choose one by its id"):
        read_image(DATA)
    assert read_image(DATA, series="19aed").spatial_shape == (3, 512, 512)
    assert read_image(DATA, series=liver.uid).spatial_shape == (3, 512, 512)


def test_slopes_that_differ_from_slice_to_slice_are_each_applied() -> None:
    import pydicom

    image = read_image(DATA / "mr_non_isotropic")
    assert image.data.dtype == np.float32
    assert isinstance(image.source, DicomSource)
    for index, frame in enumerate(image.source.frames):
        data = pydicom.dcmread(frame.path)
        expected = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        np.testing.assert_allclose(image.plane(0, index), expected, rtol=1e-6)
    assert image.geometry.spacing[1:] == (4.0, 6.39995861053464)
