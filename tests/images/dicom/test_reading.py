import shutil
import zipfile

import numpy as np
import pydicom
import pytest
from dicom_files import AXIAL, change, stored

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.reading import read_series
from napari_cam_sam.images.dicom.series import find_series
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.images.windows import resolve_window

CORONAL = (1, 0, 0, 0, 0, -1)
OBLIQUE = (0.8, 0.6, 0, 0, 0, -1)


def refused(path, sentence, **choices):
    with pytest.raises(CamSamError) as error:
        read_image(path, **choices)
    said = str(error.value)
    assert sentence in said, said
    assert said.endswith(f"({path}).")
    for secret in ("Möller", "Änne", "4711", "1970", "2024"):
        assert secret not in said
    return said


def test_slices_lie_in_the_order_of_their_positions_whatever_their_names(write):
    folder = write(each=lambda i: {"InstanceNumber": 10 - i})[0].parent
    image = read_image(folder)
    np.testing.assert_array_equal(image.data, stored(4))
    np.testing.assert_allclose(image.geometry.spacing, (2, 0.5, 0.75))
    expected = [[0, 0, -0.75, 10], [0, -0.5, 0, -20], [2, 0, 0, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.geometry.affine, expected)
    assert image.notes == ()
    assert [frame.path.name for frame in image.source.frames] == [
        path.name for path in sorted(folder.iterdir(), key=lambda p: height(p))
    ]


def height(path):
    return pydicom.dcmread(path).ImagePositionPatient[2]


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE])
def test_each_voxel_lies_where_the_standard_says(write, orientation):
    folder = write(orientation=orientation)[0].parent
    image = read_image(folder)
    for index, frame in enumerate(image.source.frames):
        data = pydicom.dcmread(frame.path)
        np.testing.assert_array_equal(image.plane(0, index), data.pixel_array)
        row, column = 3, 2
        lps = (
            np.array(data.ImagePositionPatient)
            + np.array(data.ImageOrientationPatient[:3]) * data.PixelSpacing[1] * column
            + np.array(data.ImageOrientationPatient[3:]) * data.PixelSpacing[0] * row
        )
        np.testing.assert_allclose(
            image.geometry.affine @ (index, row, column, 1), [*lps * (-1, -1, 1), 1], atol=1e-6
        )


def test_cuts_along_each_axis_are_those_of_the_whole(write):
    image = read_image(write()[0].parent)
    values = stored(4)
    np.testing.assert_array_equal(image.plane(2, 1), values[:, :, 1])
    np.testing.assert_array_equal(image.plane(1, 3), values[:, 3])
    np.testing.assert_array_equal(image.data[-1, ..., ::2], values[-1, :, ::2])
    np.testing.assert_array_equal(np.asarray(image.data), values)


def test_only_the_slice_that_is_read_is_decoded(write, monkeypatch):
    from napari_cam_sam.images.dicom import reading

    read = []
    plain = reading.read_frame
    monkeypatch.setattr(
        reading, "read_frame", lambda f, s: (read.append(f.file.instance_number), plain(f, s))[1]
    )
    image = read_image(write()[0].parent)
    image.plane(0, 2), image.plane(0, 2)
    assert read == [3]
    image.plane(1, 0)
    assert sorted(read) == [1, 2, 3, 4]


def test_threads_read_the_same_slices(write):
    from concurrent.futures import ThreadPoolExecutor

    values = stored(40, (64, 64))
    image = read_image(write(at=np.arange(40.0), values=values)[0].parent)
    order = np.random.default_rng(5).permutation(np.arange(40).repeat(4))
    with ThreadPoolExecutor(8) as pool:
        planes = list(pool.map(lambda k: image.plane(0, int(k)), order))
        cuts = list(pool.map(lambda k: image.plane(1, int(k)), range(64)))
    assert all(np.array_equal(p, values[k]) for p, k in zip(planes, order, strict=True))
    assert all(np.array_equal(cut, values[:, k]) for k, cut in enumerate(cuts))


def test_one_file_is_a_volume_of_one_slice(write):
    path = write(at=(0.0,), SliceThickness=3)[0]
    image = read_image(path)
    assert image.spatial_shape == (1, 5, 4)
    assert image.geometry.spacing == (3, 0.5, 0.75)
    assert read_image(path).source.frames[0].number == 1
    change(path, SliceThickness=0)
    assert read_image(path).notes == ("Its one slice has no thickness: 1 mm is taken.",)


# What tells volumes apart


def test_echoes_are_series_of_their_own(write):
    write(EchoTime=5.0)
    folder = write(EchoTime=9.5, values=stored(4) + 1)[0].parent
    found = find_series(folder)
    assert [(one.part, one.slices) for one in found] == [("echo 5 ms", 4), ("echo 9.5 ms", 4)]
    refused(folder, "choose one by its id (series)")
    second = read_image(folder, series=found[1].id)
    np.testing.assert_array_equal(second.data, stored(4) + 1)
    refused(folder, "There is no series 'ffffffffff'", series="ffffffffff")


@pytest.mark.parametrize(
    ("tag", "values", "names"),
    [
        ("TemporalPositionIdentifier", (1, 2, 3), ("time 1", "time 2", "time 3")),
        ("DiffusionBValue", (0.0, 500.0, 1000.0), ("b 0", "b 500", "b 1000")),
        ("AcquisitionNumber", (1, 2, 3), ("acquisition 1", "acquisition 2", "acquisition 3")),
        ("AcquisitionTime", ("100000", "100100", "100200"), ()),
    ],
)
def test_times_and_b_values_are_frames(write, tag, values, names):
    for shift, value in enumerate(values):
        folder = write(values=stored(4) + shift, **{tag: value})[0].parent
    (series,) = find_series(folder)
    assert (series.frames, series.slices, series.frame_names) == (3, 4, names)
    refused(folder, "is a series of 3 frames: choose one, from 0 to 2")
    for shift in range(3):
        image = read_image(folder, shift)
        np.testing.assert_array_equal(image.data, stored(4) + shift)
        assert f"Frame {shift} of 0 to 2" in image.notes[0]
    refused(folder, "no frame 3", frame=3)


def test_b_value_and_direction_together_are_frames(write):
    for shift, (b, way) in enumerate([(0, None), (800, [1, 0, 0]), (800, [0, 1, 0])]):
        more = {} if way is None else {"DiffusionGradientOrientation": way}
        folder = write(values=stored(4) + shift, DiffusionBValue=float(b), **more)[0].parent
    (series,) = find_series(folder)
    assert series.frame_names == ("b 0", "b 800, direction 0 1 0", "b 800, direction 1 0 0")


def test_trigger_times_that_differ_from_slice_to_slice_order_what_lies_at_one_place(write):
    for shift in range(3):
        folder = write(
            values=stored(4) + shift,
            each=lambda i, shift=shift: {"TriggerTime": 100.0 * shift + 7 * i},
        )[0].parent
    (series,) = find_series(folder)
    assert series.frames == 3
    np.testing.assert_array_equal(read_image(folder, 2).data, stored(4) + 2)


def test_an_acquisition_number_that_differs_between_places_splits_nothing(write):
    folder = write(each=lambda i: {"AcquisitionNumber": i // 2})[0].parent
    assert read_image(folder).spatial_shape == (4, 5, 4)


def test_localizers_are_left_out(write):
    folder = write()[0].parent
    write(at=(0.0,), SeriesInstanceUID="1.2.3.9", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert len(find_series(folder)) == 1
    for path in folder.iterdir():
        if pydicom.dcmread(path).SeriesInstanceUID == "1.2.3.4":
            path.unlink()
    assert find_series(folder)[0].slices == 1  # where there is nothing else, it is shown


def test_mixed_orientations_are_volumes_to_choose_from(write):
    write()
    folder = write(orientation=CORONAL, at=(0, 1, 2))[0].parent
    said = refused(folder, "lie in mixed orientations, and make 2 volumes")
    assert "axial" in said
    assert "coronal" in said
    sizes = {one.part: one.slices for one in find_series(folder)}
    assert sizes == {"axial": 4, "coronal": 3}


def test_one_uid_with_other_geometry_is_two_volumes(write):
    write()
    folder = write(PixelSpacing=[0.9, 0.9])[0].parent
    refused(folder, "not on one grid, and make 2 volumes")
    assert [one.part for one in find_series(folder)] == ["0.5 mm", "0.9 mm"]


def test_other_frames_of_reference_split_what_lies_at_the_same_places_alone(write):
    write(FrameOfReferenceUID="1.2.3.6")
    folder = write(FrameOfReferenceUID="1.2.3.7")[0].parent
    assert [(one.part, one.slices) for one in find_series(folder)] == [("part 1", 4), ("part 2", 4)]
    folder = write("own", each=lambda i: {"FrameOfReferenceUID": f"1.2.3.{i + 6}"})[0].parent
    assert read_image(folder).spatial_shape == (4, 5, 4)


def test_a_slice_that_was_taken_again_is_a_volume_of_its_own(write):
    write(AcquisitionNumber=1)
    folder = write(at=(2.0,), AcquisitionNumber=2)[0].parent
    assert [(one.part, one.slices) for one in find_series(folder)] == [
        ("1 slice", 1), ("4 slices", 4),
    ]  # fmt: skip


def test_a_mosaic_is_refused(write):
    folder = write(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])[0].parent
    refused(folder, "are tiles of a larger one")
    assert "tiles" in find_series(folder)[0].trouble


def test_a_file_that_is_there_twice_is_read_once(write):
    path = write()[0]
    shutil.copy(path, path.with_name("copy"))
    image = read_image(path.parent)
    assert image.spatial_shape == (4, 5, 4)
    assert image.notes == ("1 image is there twice, and read once.",)


# What is no volume


def test_gantry_tilt(write):
    shear = np.tan(np.radians(14))
    folder = write(each=lambda i: {"ImagePositionPatient": [0, 2.0 * i * shear, 2.0 * i]})[0].parent
    refused(folder, "The gantry was tilted by 14.0°")
    folder = write("bent", each=lambda i: {"ImagePositionPatient": [0, i % 2, 2.0 * i]})[0].parent
    refused(folder, "shifted sideways against one another by up to 1 mm")


@pytest.mark.parametrize(
    ("at", "sentence"),
    [
        ((0, 1, 2, 4, 5), "1 slice is missing: they lie 1 mm apart, but 2 mm between the slices"),
        ((0, 1, 2, 5, 6), "2 slices are missing"),
        ((0, 1, 2.3, 3.3, 4.3), "not evenly spaced: they lie 1 to 1.3 mm apart"),
        ((0, 1, 2, 2, 3), "Slices are doubled: 1 position is taken by more than one"),
    ],
)
def test_uneven_slices(write, at, sentence):
    folder = write(at=at)[0].parent
    refused(folder, sentence)
    (series,) = find_series(folder)
    assert sentence in series.trouble
    assert series.spacing is None
    if "doubled" in sentence:
        refused(folder, sentence, spacing="as-is")
        return
    as_is = read_image(folder, spacing="as-is")
    assert as_is.spatial_shape[0] == 5
    assert "are taken as if they were" in as_is.notes[0]
    assert not as_is.source.resampled
    np.testing.assert_allclose(as_is.geometry.spacing[0], at[-1] / 4)
    even = read_image(folder, spacing="even")
    assert "resampled from 5 slices" in even.notes[0]
    assert even.source.resampled
    assert len(even.source.frames) == 5
    ends = [
        image.geometry.affine @ (image.spatial_shape[0] - 1, 0, 0, 1) for image in (as_is, even)
    ]
    np.testing.assert_allclose(ends[0], ends[1])
    np.testing.assert_array_equal(even.plane(0, 0), stored(5)[0])
    np.testing.assert_array_equal(even.plane(0, even.spatial_shape[0] - 1), stored(5)[4])


def test_even_spacing_weighs_what_a_slice_lies_between(write):
    values = np.stack([np.full((5, 4), v, np.int16) for v in (0, 10, 20, 40)])
    folder = write(at=(0, 1, 2, 4), values=values)[0].parent
    image = read_image(folder, spacing="even")
    assert image.data[:, 0, 0].tolist() == [0, 10, 20, 30, 40]
    assert image.data.dtype == np.int16


@pytest.mark.parametrize("at", [(0, 0.62, 1.25, 1.87, 2.5), (0, 1.001, 2.0, 2.999, 4.0)])
def test_rounded_positions_are_even(write, at):
    assert read_image(write(at=at)[0].parent).spatial_shape[0] == 5


def test_all_slices_at_the_same_position(write):
    folder = write(at=(0, 0, 0, 0))[0].parent
    refused(folder, "This is no volume: all 4 slices lie at the same position")
    assert read_image(folder, 1).spatial_shape == (1, 5, 4)


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"PixelSpacing": [0, 0.5]}, "spacing of its pixels is stated as 0 × 0.5 mm"),
        ({"PixelSpacing": [-0.5, 0.5]}, "stated as -0.5 × 0.5 mm"),
        ({"PixelSpacing": None}, "does not state the spacing of its pixels"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]}, "The orientation is broken"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "The orientation is broken"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "The orientation is broken"),
        ({"Rows": 65000}, "it declares 1 × 65000 × 4 pixels"),
        ({"BitsAllocated": 12}, "it declares 16 bits in 12"),
        ({"SamplesPerPixel": 2, "PlanarConfiguration": 0}, "declares 2 values for a pixel"),
        ({"TransferSyntaxUID": "1.2.840.10008.1.2.4.102"}, "packed in a way that nothing here"),
    ],
)
def test_broken_headers(write, tags, sentence):
    paths = write(**tags)
    refused(paths[0].parent, sentence)
    refused(paths[0], sentence)


def test_no_decoder_names_the_package(write, monkeypatch):
    from pydicom.pixels.decoders import base

    paths = write(TransferSyntaxUID="1.2.840.10008.1.2.4.80")
    monkeypatch.setattr(base.Decoder, "available_plugins", property(lambda self: ()))
    refused(paths[0], "no decoder is installed: pip install pyjpegls")


def test_no_pixels(write):
    paths = write(PixelData=None)
    refused(paths[0], "This holds no pixel data")
    refused(paths[0].parent, "All DICOM here holds no pixel data")


def test_a_truncated_file_in_the_middle_of_a_series(write):
    paths = write()
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:-10])
    refused(paths[0].parent, "This is truncated: it declares 40 bytes of pixels, and 30 bytes")
    paths[1].write_bytes(whole[:200])
    assert "left out" in str(read_or_refuse(paths[0].parent))
    (series,) = find_series(paths[0].parent)
    assert series.notes == ("1 DICOM file is truncated or damaged, and left out.",)


def test_files_in_a_folder_are_not_named(write):
    paths = write()
    named = paths[0].rename(paths[0].with_name("Doe^John.dcm"))
    (series,) = find_series(named.parent)
    named.unlink()
    image = read_series(series)
    with pytest.raises(CamSamError) as error:
        np.asarray(image.data)
    assert "can no longer be read" in str(error.value)
    assert "Doe" not in str(error.value)


def read_or_refuse(path):
    """Return notes, or the sentence: what is missing may have been at an end."""
    try:
        return read_image(path).notes
    except CamSamError as error:
        return error


def test_a_file_without_pixels_in_the_middle_of_a_series(write):
    paths = sorted(write(), key=height)
    data = pydicom.dcmread(paths[1])
    del data.PixelData
    data.save_as(paths[1])
    said = refused(paths[0].parent, "1 slice is missing")
    assert "1 file of it holds no pixels" in said
    (paths[0].parent / "empty.dcm").touch()
    assert "1 DICOM file is truncated or damaged" in str(read_or_refuse(paths[0].parent))


def test_what_is_no_dicom(tmp_path):
    refused(tmp_path, "This folder is empty")
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7" + b" " * 200)
    refused(tmp_path, "There is no DICOM here: its one file is none")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7" + b" " * 200)
    refused(tmp_path, "none of its 2 files is")
    (tmp_path / "a.dcm").write_bytes(b"\0" * 500)
    refused(tmp_path / "a.dcm", "This is not a DICOM file")
    (tmp_path / "a.dcm").write_bytes(b"")
    refused(tmp_path / "a.dcm", "This file is empty")
    refused(tmp_path / "b.dcm", "This file does not exist")


def test_encrypted(tmp_path, write):
    enveloped = bytes.fromhex("3082100006092a864886f70d010703a0821000") + b"\0" * 200
    (tmp_path / "a.dcm").write_bytes(enveloped)
    refused(tmp_path / "a.dcm", "This is DICOM in an encrypted envelope")
    hidden = pydicom.Dataset()
    hidden.EncryptedContent = b"1234"
    paths = write(PixelData=None, EncryptedAttributesSequence=[hidden])
    refused(paths[0], "This is encrypted")


def test_nested_a_thousand_deep(tmp_path, write):
    path = write(at=(0.0,))[0]
    data = path.read_bytes()
    begin = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    at = data.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(data[:at] + begin * 1000 + end * 1000 + data[at:])
    refused(path, "sequences lie in one another without end")


# Zips and directories


def test_a_zip_is_read_as_a_folder(write, tmp_path):
    folder = write()[0].parent
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in folder.iterdir():
            out.write(path, f"../Doe^John/{path.name}")
        out.writestr("readme.txt", "no image")
    image = read_image(archive)
    np.testing.assert_array_equal(image.data, stored(4))
    assert not (tmp_path / "Doe^John").exists()
    assert all("Doe" not in str(frame.path) for frame in image.source.frames)
    archive.write_bytes(archive.read_bytes()[:-300])
    refused(archive, "This zip is truncated or damaged")


def test_zips_that_are_refused(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("a", b"")
    data = bytearray(archive.read_bytes())
    for at in (data.index(b"PK\3\4") + 6, data.index(b"PK\1\2") + 8):
        data[at] |= 1
    archive.write_bytes(data)
    refused(archive, "This zip is encrypted")
    with zipfile.ZipFile(archive, "w") as out:
        pass
    refused(archive, "This zip is empty")


def test_a_dicomdir_names_the_files(tmp_path, write):
    from pydicom.fileset import FileSet

    files = FileSet()
    for path in write():
        files.add(path)
    files.write(tmp_path / "media")
    image = read_image(tmp_path / "media" / "DICOMDIR")
    np.testing.assert_array_equal(image.data, stored(4))
    np.testing.assert_array_equal(read_image(tmp_path / "media").data, stored(4))
    next(
        one for one in (tmp_path / "media").rglob("*") if one.is_file() and one.name != "DICOMDIR"
    ).unlink()
    (series,) = find_series(tmp_path / "media" / "DICOMDIR")
    assert series.notes == ("1 file that the DICOMDIR names are not there.",)


# Privacy


def test_nothing_of_the_patient_is_in_what_is_read(write):
    image = read_image(write()[0].parent)
    text = f"{image.name} {image.notes} {image.windows} {find_series(image.path)!r}"
    for secret in ("Möller", "4711", "1970"):
        assert secret not in text
    assert image.name == "CT 3"


def test_a_name_holds_no_slash(write):
    image = read_image(write(SeriesDescription="Axial T1/FLAIR\\..:*?")[0].parent)
    assert "/" not in image.name
    assert "\\" not in image.name


# Windows


def test_presets_of_the_file(write):
    folder = write(
        WindowCenter=[40, -600], WindowWidth=[400, 1500],
        WindowCenterWidthExplanation=["SOFT", "LUNG"], RescaleIntercept=-1024, RescaleSlope=1,
    )[0].parent  # fmt: skip
    image = read_image(folder)
    assert image.windows == (("SOFT", -160.0, 240.0), ("LUNG", -1350.0, 150.0))
    assert resolve_window(image).low < 0
