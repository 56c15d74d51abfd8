"""Files of many frames with functional groups, in any order, of one volume or several."""

import numpy as np
import pydicom
import pytest
from dicom_files import AXIAL, make_file, stored
from pydicom.dataset import Dataset

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.series import find_series
from napari_cam_sam.images.reading import read_image

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
CORONAL = (1, 0, 0, 0, 0, -1)


def item(**tags):
    found = Dataset()
    for name, value in tags.items():
        setattr(found, name, value)
    return found


def frame(height, orientation=AXIAL, slope=None, echo=None, time=None, b=None, stack="1"):
    group = item(
        PlanePositionSequence=[item(ImagePositionPatient=[1.0, 2.0, float(height)])],
        FrameContentSequence=[item(StackID=stack)],
    )
    if orientation is not None:
        group.PlaneOrientationSequence = [item(ImageOrientationPatient=list(orientation))]
    if slope is not None:
        group.PixelValueTransformationSequence = [item(RescaleSlope=slope, RescaleIntercept=-1)]
    if echo is not None:
        group.MREchoSequence = [item(EffectiveEchoTime=echo)]
    if time is not None:
        group.FrameContentSequence[0].TemporalPositionIndex = time
    if b is not None:
        group.MRDiffusionSequence = [item(DiffusionBValue=float(b))]
    return group


def enhanced(tmp_path, frames, values=None, **tags):
    values = stored(len(frames)) if values is None else values
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.75], SliceThickness=9.0)],
        FrameVOILUTSequence=[item(WindowCenter=100, WindowWidth=50)],
    )
    own = {
        "SOPClassUID": ENHANCED_MR, "Modality": "MR", "PixelSpacing": None,
        "SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": frames,
    }  # fmt: skip
    return make_file(tmp_path / "a.dcm", values, **own | tags), values


def test_frames_are_sorted_and_scaled_each_by_its_own_slope(tmp_path):
    heights = (4, 0, 6, 2)
    path, values = enhanced(tmp_path, [frame(h, slope=h + 1.0) for h in heights])
    image = read_image(path)
    order = np.argsort(heights)
    expected = values[order] * (np.array(heights)[order] + 1.0)[:, None, None] - 1
    np.testing.assert_allclose(image.data, expected)
    np.testing.assert_allclose(image.geometry.spacing, (2, 0.5, 0.75))  # not of its thickness
    assert [one.number for one in image.source.frames] == [2, 4, 1, 3]
    assert image.windows == (("", 75.0, 125.0),)
    np.testing.assert_allclose(image.geometry.affine[:3, 3], (-1, -2, 0))


def test_packed_frames_are_found_in_any_order(tmp_path):
    path, values = enhanced(tmp_path, [frame(h) for h in (6, 4, 2, 0)], stored(4, (32, 40)))
    data = pydicom.dcmread(path)
    data.compress("1.2.840.10008.1.2.5")
    data.save_as(path)
    np.testing.assert_array_equal(read_image(path).data, values[::-1])


def test_echoes_times_and_b_values(tmp_path):
    pairs = [(h, e) for e in (5.0, 9.0) for h in (0, 2, 4)]
    path, values = enhanced(tmp_path, [frame(h, echo=e) for h, e in pairs])
    assert [one.part for one in find_series(path)] == ["echo 5 ms", "echo 9 ms"]
    pairs = [(h, t) for h in (0, 2, 4) for t in (1, 2)]
    path, values = enhanced(tmp_path, [frame(h, time=t) for h, t in pairs])
    np.testing.assert_array_equal(read_image(path, 1).data, values[1::2])
    path, values = enhanced(tmp_path, [frame(h, b=500 * t) for h, t in pairs])
    assert find_series(path)[0].frame_names == ("b 500", "b 1000")


def test_orientations_are_volumes_to_choose_from(tmp_path):
    frames = [frame(h) for h in (0, 2, 4)]
    for place in (10.0, 13.0):
        group = frame(0, CORONAL, stack="2")
        group.PlanePositionSequence[0].ImagePositionPatient = [0, place, 0]
        frames.append(group)
    path, values = enhanced(tmp_path, frames)
    with pytest.raises(CamSamError, match="mixed orientations"):
        read_image(path)
    parts = {one.part: one for one in find_series(path)}
    coronal = read_image(path, series=parts["coronal"].id)
    np.testing.assert_allclose(coronal.geometry.spacing[0], 3)
    np.testing.assert_array_equal(np.sort(coronal.data[...].ravel()), np.sort(values[3:].ravel()))


def test_stacks_at_the_same_places_are_series(tmp_path):
    pairs = [(h, s) for s in "12" for h in (0, 2, 4)]
    path, _ = enhanced(tmp_path, [frame(h, stack=s) for h, s in pairs])
    assert [one.part for one in find_series(path)] == ["stack 1", "stack 2"]


@pytest.mark.parametrize(
    ("frames", "tags", "sentence"),
    [
        ([frame(0), frame(1)], {"NumberOfFrames": 9}, "declares 9 frames, but describes 2"),
        ([frame(0), frame(1), frame(3)], {}, "1 slice is missing"),
        ([frame(0), frame(1), frame(1), frame(2)], {}, "Slices are doubled"),
        ([frame(0)], {"NumberOfFrames": 0}, None),
    ],
)
def test_bad_ones(tmp_path, frames, tags, sentence):
    path, values = enhanced(tmp_path, frames, **tags)
    if sentence is None:
        np.testing.assert_array_equal(read_image(path).data, values)
        return
    with pytest.raises(CamSamError, match=sentence):
        read_image(path)


def test_uneven_frames_of_one_file_are_resampled(tmp_path):
    values = np.stack([np.full((5, 4), v, np.int16) for v in (0, 10, 30)])
    path, _ = enhanced(tmp_path, [frame(0), frame(1), frame(3)], values)
    assert read_image(path, spacing="even").data[:, 0, 0].tolist() == [0, 10, 20, 30]


def test_a_series_of_files_of_several_frames_is_one_over_time(tmp_path):
    folder = tmp_path / "times"
    folder.mkdir()
    for time in (1, 2):
        frames = [frame(h, time=time) for h in (0, 2, 4)]
        path, values = enhanced(tmp_path, frames, SOPInstanceUID=f"1.2.{time}")
        path.rename(folder / f"{time}")
    (series,) = find_series(folder)
    assert (series.frames, series.slices, series.files) == (2, 3, 2)
    np.testing.assert_array_equal(read_image(folder, 1).data, values)
