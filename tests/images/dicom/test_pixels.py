"""Values of every kind of pixels, beside what pydicom and highdicom make of them."""

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import make_file, stored
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut
from pydicom.uid import RLELossless, generate_uid

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.series import find_series
from napari_cam_sam.images.reading import read_image

RNG = np.random.default_rng(3)


def one(tmp_path, values, **tags):
    """Write a picture without a place, and read it."""
    return read_image(make_file(tmp_path / "a.dcm", values, **tags))


@pytest.mark.parametrize(
    ("stored_type", "tags", "read_type"),
    [
        (np.uint8, {}, np.uint8),
        (np.int8, {}, np.int8),
        (np.uint16, {}, np.uint16),
        (np.int16, {}, np.int16),
        (np.uint32, {}, np.uint32),
        (np.uint16, {"BitsStored": 12, "HighBit": 11}, np.uint16),
        (np.uint16, {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": -1024}, np.int16),
        (np.uint16, {"RescaleIntercept": -1024}, np.int32),
        (np.int16, {"RescaleIntercept": -1024}, np.int32),
        (np.int16, {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": -1024}, np.int16),
        (np.uint16, {"RescaleIntercept": 0.5}, np.float32),
        (np.uint16, {"RescaleSlope": 2}, np.float32),
        (np.uint16, {"RescaleSlope": 0.25, "RescaleIntercept": -3}, np.float32),
    ],
)
def test_types_and_scaling(tmp_path, stored_type, tags, read_type):
    bits = tags.get("BitsStored", 8 * np.dtype(stored_type).itemsize)
    low = -(1 << bits - 1) if np.dtype(stored_type).kind == "i" else 0
    values = RNG.integers(low, low + (1 << bits), (6, 7)).astype(stored_type)
    values[0, :2] = low, low + (1 << bits) - 1
    if "RescaleIntercept" in tags or "RescaleSlope" in tags:
        tags = {"RescaleSlope": 1, "RescaleIntercept": 0} | tags
    image = one(tmp_path, values, **tags)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    assert image.data.dtype == read_type
    np.testing.assert_allclose(image.data, apply_modality_lut(data.pixel_array, data), rtol=1e-6)
    assert image.spatial_shape == (6, 7)
    assert image.geometry.affine is None
    assert image.geometry.spacing == (0.5, 0.75)


def test_low_values_that_mean_bright_are_inverted(tmp_path):
    values = np.array([[0, 100, 4095]], np.uint16)
    tags = {
        "BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1",
        "Modality": "DX", "WindowCenter": 1000, "WindowWidth": 200,
    }  # fmt: skip
    image = one(tmp_path, values, **tags)
    assert image.data.tolist() == [[4095, 3995, 0]]
    assert "MONOCHROME1" in image.notes[0]
    assert image.windows == (("", 2995.0, 3195.0),)
    hounsfield = one(tmp_path, values, **tags | {"Modality": "CT"})
    assert hounsfield.data.tolist() == [[0, 100, 4095]]
    assert "its values are kept" in hounsfield.notes[0]


def test_a_table_of_values(tmp_path):
    table = Dataset()
    table.LUTDescriptor = [4, 0, 16]
    table.add_new(0x00283006, "US", [7, 900, 30, 65000])
    table.ModalityLUTType = "US"
    image = one(tmp_path, np.array([[0, 1], [2, 3]], np.uint8), ModalityLUTSequence=[table])
    assert image.data.tolist() == [[7, 900], [30, 65000]]


def test_a_slope_of_zero_is_passed_over(tmp_path):
    values = np.array([[0, 100, 4095]], np.uint16)
    image = one(tmp_path, values, RescaleSlope=0, RescaleIntercept=-5)
    assert image.data.tolist() == [[-5, 95, 4090]]
    assert "A slope of 0" in image.notes[0]


# Colours


def test_colours(tmp_path):
    rgb = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    image = one(tmp_path, rgb)
    assert image.rgb
    np.testing.assert_array_equal(image.data, rgb)
    planar = make_file(tmp_path / "b.dcm", rgb)
    data = pydicom.dcmread(planar)
    data.PlanarConfiguration, data.PixelData = 1, rgb.transpose(2, 0, 1).tobytes()
    data.save_as(planar)
    np.testing.assert_array_equal(read_image(planar).data, rgb)


def test_luminance_and_two_differences_become_colours(tmp_path):
    ybr = RNG.integers(60, 200, (6, 8, 3)).astype(np.uint8)
    image = one(tmp_path, ybr, PhotometricInterpretation="YBR_FULL")
    expected = pydicom.pixels.convert_color_space(ybr, "YBR_FULL", "RGB")
    np.testing.assert_array_equal(image.data, expected)


def test_a_palette(tmp_path):
    palette = {}
    for colour, shift in (("Red", 0), ("Green", 1), ("Blue", 2)):
        entries = (np.arange(256, dtype=np.uint16) * (shift + 1) % 256) * 257
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{colour}PaletteColorLookupTableData"] = entries.tobytes()
    values = RNG.integers(0, 256, (5, 6)).astype(np.uint8)
    image = one(tmp_path, values, PhotometricInterpretation="PALETTE COLOR", **palette)
    assert image.rgb
    assert image.data.dtype == np.uint8
    expected = (values.astype(int)[..., None] * [1, 2, 3]) % 256
    np.testing.assert_array_equal(image.data, expected)


# Packed pixels


@pytest.mark.parametrize(
    "syntax",
    [
        "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.70",
    ],
)  # fmt: skip
@pytest.mark.parametrize("signed", [False, True])
def test_packed_slices(write, syntax, signed):
    import imagecodecs

    values = stored(4, (64, 48), np.int16 if signed else np.uint16) * 5 - 300 * signed
    paths = write(values=values)
    for path in paths:
        data = pydicom.dcmread(path)
        if syntax.endswith("201"):
            packed = imagecodecs.htj2k_encode(data.pixel_array)
            data.PixelData = encapsulate([bytes(packed)])
            data["PixelData"].VR = "OB"
            data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        elif syntax.endswith("70"):
            # Lossless JPEG knows no sign.
            packed = imagecodecs.ljpeg_encode(data.pixel_array.view(np.uint16))
            data.PixelData = encapsulate([bytes(packed)])
            data["PixelData"].VR = "OB"
            data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        elif syntax.endswith("90"):
            packed = imagecodecs.jpeg2k_encode(data.pixel_array, level=0, codecformat="J2K")
            data.PixelData = encapsulate([bytes(packed)])
            data["PixelData"].VR = "OB"
            data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        else:
            data.compress(syntax)
        data.save_as(path)
    image = read_image(paths[0].parent)
    np.testing.assert_array_equal(image.data, values)
    truncated = sorted(paths[0].parent.iterdir())[1]
    truncated.write_bytes(truncated.read_bytes()[:-300])
    with pytest.raises(CamSamError, match="truncated or damaged"):
        np.asarray(read_image(paths[0].parent).data)


def test_a_packed_frame_of_another_size_is_not_decoded(write):
    paths = write(values=stored(4, (64, 48)))
    for path in paths:
        data = pydicom.dcmread(path)
        data.compress("1.2.840.10008.1.2.4.80")
        data.Rows = 63
        data.save_as(path)
    with pytest.raises(CamSamError, match="63 × 48 pixels, and its packed frames have 64 × 48"):
        read_image(paths[0].parent).plane(0, 0)


def test_rows_that_the_file_cannot_hold(write):
    paths = write(values=stored(4, (64, 48)))
    for path in paths:
        data = pydicom.dcmread(path)
        data.compress(RLELossless)
        data.Rows = data.Columns = 65000
        data.save_as(path)
    with pytest.raises(CamSamError, match=r"65000 × 65000 pixels, 7\.9 GiB, but stores"):
        read_image(paths[0].parent)


# Several frames in one file


def test_frames_of_a_clip_are_chosen(tmp_path):
    clip = stored(3, (6, 8), np.uint8)
    path = make_file(tmp_path / "a.dcm", clip, Modality="US")
    with pytest.raises(CamSamError, match="holds 3 pictures without a position"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, 2).data, clip[2])
    (series,) = find_series(path)
    assert (series.frames, series.slices) == (3, 1)
    np.testing.assert_array_equal(read_image(path, 1).source.frames[0].number, 2)


def test_dose_lies_at_its_offsets(tmp_path):
    dose = RNG.integers(0, 60000, (4, 5, 6)).astype(np.uint16)
    image = one(
        tmp_path, dose, Modality="RTDOSE", DoseGridScaling=0.001, ImagePositionPatient=[1, 2, 3],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], GridFrameOffsetVector=[0, 2.5, 5, 7.5],
    )  # fmt: skip
    np.testing.assert_allclose(image.data, dose * 0.001, rtol=1e-6)
    np.testing.assert_allclose(image.geometry.spacing, (2.5, 0.5, 0.75))
    assert image.geometry.affine[2, 0] == 2.5


def test_tomograms_of_nuclear_medicine(tmp_path):
    detector = Dataset()
    detector.ImagePositionPatient = [1, 2, 3]
    detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image = one(
        tmp_path, stored(4), Modality="NM", SpacingBetweenSlices=-3.0,
        ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
        DetectorInformationSequence=[detector],
    )  # fmt: skip
    # The frames go down, so that the last lies lowest.
    np.testing.assert_array_equal(image.data, stored(4)[::-1])
    np.testing.assert_allclose(image.geometry.spacing[0], 3)
    assert [frame.number for frame in image.source.frames] == [4, 3, 2, 1]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_one_file_made_by_highdicom_is_the_volume_of_its_slices(write, tmp_path, order):
    paths = write(
        PatientSex="", AccessionNumber="", ReferringPhysicianName="", PatientPosition="HFS",
        Manufacturer="", SliceThickness=2, KVP="", RescaleSlope=1, RescaleIntercept=-1024,
        PositionReferenceIndicator="", AcquisitionNumber=1, RescaleType="HU", Laterality=None,
        each=lambda i: {"RescaleIntercept": -1000 - i},
    )  # fmt: skip
    classic = read_image(paths[0].parent)
    sources = [pydicom.dcmread(paths[i]) for i in order]
    for source in sources:
        source.PatientName, source.StudyTime = "Doe^Jo", "120000"
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        sources, generate_uid(), 9, generate_uid(), 1
    )
    enhanced.save_as(tmp_path / "enhanced.dcm")
    several = read_image(tmp_path / "enhanced.dcm")
    np.testing.assert_array_equal(several.data, classic.data)
    np.testing.assert_allclose(several.geometry.affine, classic.geometry.affine)
    volume = highdicom.image.Image.from_dataset(enhanced).get_volume(
        apply_real_world_transform=False
    )
    # highdicom's first slice may be our last.
    assert np.array_equal(volume.array, several.data) or np.array_equal(
        volume.array[::-1], several.data
    )
    assert several.source.series_uid != classic.source.series_uid


# Sizes of what has no place


def region(x1, y1, dx, dy=None, unit=3, space=1):
    found = Dataset()
    found.RegionSpatialFormat, found.RegionDataType = space, 1
    found.RegionLocationMinX0 = found.RegionLocationMinY0 = 0
    found.RegionLocationMaxX1, found.RegionLocationMaxY1 = x1, y1
    found.PhysicalUnitsXDirection = found.PhysicalUnitsYDirection = unit
    found.PhysicalDeltaX, found.PhysicalDeltaY = dx, dx if dy is None else dy
    return found


@pytest.mark.parametrize(
    ("regions", "spacing", "said"),
    [
        ([region(8, 6, 0.02, 0.03)], (0.3, 0.2), ""),
        ([region(8, 6, 0.02), region(4, 2, 0.05)], (0.2, 0.2), "those of the largest"),
        ([region(8, 6, 0.02, unit=4), region(4, 2, 0.05)], (0.5, 0.5), ""),
        ([region(8, 6, -0.02, 0.02, space=2)], (1, 1), ""),
    ],
)
def test_regions_of_ultrasound_say_the_size_of_pixels(tmp_path, regions, spacing, said):
    image = one(
        tmp_path, stored(1, (6, 8), np.uint8)[0], Modality="US", PixelSpacing=None,
        SequenceOfUltrasoundRegions=regions,
    )  # fmt: skip
    np.testing.assert_allclose(image.geometry.spacing, spacing)
    assert image.geometry.unit == ("pixel" if spacing == (1, 1) else "mm")
    assert said in " ".join(image.notes)


def test_x_rays_are_measured_at_the_detector(tmp_path):
    image = one(
        tmp_path, stored(1, (6, 8))[0], Modality="DX", PixelSpacing=None,
        ImagerPixelSpacing=[0.2, 0.1],
    )  # fmt: skip
    assert image.geometry.spacing == (0.2, 0.1)
    assert "at the detector" in image.notes[0]


# Uptake


def uptake(**changes):
    drug = Dataset()
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 370e6, 6586.2
    drug.RadiopharmaceuticalStartTime = "100000"
    return {
        "Modality": "PT", "Units": "BQML", "CorrectedImage": ["DECY", "ATTN"],
        "DecayCorrection": "START", "PatientWeight": 70, "SeriesDate": "20240131",
        "SeriesTime": "110000", "AcquisitionDate": "20240131", "AcquisitionTime": "110030",
        "RadiopharmaceuticalInformationSequence": [drug], "RescaleSlope": 1.5,
        "RescaleIntercept": 0, "WindowCenter": 3000, "WindowWidth": 6000,
    } | changes  # fmt: skip


def test_activity_becomes_uptake_by_body_weight(write):
    image = read_image(write(**uptake(), each=lambda i: {"RescaleSlope": 1 + i})[0].parent)
    factor = 70_000 / (370e6 * 2 ** (-3600 / 6586.2))
    slopes = np.array([1, 2, 3, 4])[:, None, None]
    np.testing.assert_allclose(image.data, stored(4) * slopes * factor, rtol=1e-5)
    assert image.data.dtype == np.float32
    assert "SUV by body weight = Bq/ml × weight in g / dose left in Bq" in image.notes[0]
    assert "3600 s / 6586.2 s" in image.notes[0]
    np.testing.assert_allclose(image.windows[0][1:], (0, 6000 * factor))


def test_uptake_of_a_dose_at_injection_and_of_stored_values(write):
    image = read_image(write("a", **uptake(DecayCorrection="ADMIN"))[0].parent)
    np.testing.assert_allclose(image.data, stored(4) * 1.5 * 70_000 / 370e6, rtol=1e-5)
    image = read_image(write("b", **uptake(Units="GML"))[0].parent)
    np.testing.assert_allclose(image.data, stored(4) * 1.5)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"PatientWeight": None}, "does not state the weight"),
        ({"RadiopharmaceuticalInformationSequence": None}, "does not state the dose"),
        ({"CorrectedImage": ["DECY"]}, "not corrected for attenuation and decay"),
        ({"DecayCorrection": "NONE"}, "to which time decay is corrected"),
        ({"SeriesTime": "090000", "AcquisitionTime": "090000"}, "times of injection and scan"),
        ({"Units": "CNTS"}, "the file has no factor for them"),
        ({"Units": "PROPCPS"}, "they need Bq/ml"),
    ],
)
def test_activity_stays_where_uptake_cannot_be_computed(write, changes, why):
    image = read_image(write(**uptake(**changes))[0].parent)
    np.testing.assert_allclose(image.data, stored(4) * 1.5)
    assert why in image.notes[0]
