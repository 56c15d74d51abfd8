"""Units of length in all their spellings, against their definitions."""

import numpy as np
import pytest
import tifffile

from napari_cam_sam.images.reading import read_image
from napari_cam_sam.images.units import mm_in


@pytest.mark.parametrize(
    ("mm", "spellings"),
    [
        (1e-3, ["micron", "microns", "um", "\u00b5m", "\u03bcm", r"\u00B5m", "Micrometer", "µm "]),
        (1.0, ["mm", "MM", "millimeter", "millimetres", "Millimeter", "Mm"]),
        (25.4, ["in", "inch", "inches", "INCH", '"']),
        (1e-7, ["Angstrom", "angstroms", "\u00c5", "\u212b", "ångström"]),
        (1e-6, ["nm", "nanometer"]),
        (10.0, ["cm", "centimetre", "CM"]),
        (1000.0, ["m", "meter", "metres"]),
        (304.8, ["foot", "ft", "'"]),
    ],
)
def test_a_length_however_it_is_spelled(mm: float, spellings: list[str]) -> None:
    assert {spelling: mm_in(spelling) for spelling in spellings} == dict.fromkeys(spellings, mm)


@pytest.mark.parametrize(
    "text",
    ["", "pixel", "pixels", "px", "point", "sec", "kg", "A", "far", "gray value", "mm**99999999",
     "9**9**9 mm", "__import__", "reference frame", "mm" * 50, "1 mm"],
)  # fmt: skip
def test_what_is_no_length_is_none(text: str) -> None:
    assert mm_in(text) is None


SIZES = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}


@pytest.mark.parametrize(("unit", "mm"), [(None, 1e-3), ("nm", 1e-6), ("mm", 1.0), ("inch", 25.4)])
@pytest.mark.parametrize("order", ["ZYX", "CZYX", "ZCYX"])
def test_omes_physical_sizes_are_spacing(tmp_path, order, unit, mm) -> None:
    shape = [{"Z": 3, "C": 2, "Y": 8, "X": 9}[axis] for axis in order]
    units = {} if unit is None else {f"{name}Unit": unit for name in SIZES}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", np.zeros(shape, np.uint8), photometric="minisblack",
        metadata={"axes": order, **SIZES, **units},
    )  # fmt: skip
    image = read_image(tmp_path / "a.ome.tif", channel=1 if "C" in order else None)
    assert image.geometry.unit == "mm"
    np.testing.assert_allclose(image.geometry.spacing, (2 * mm, 0.5 * mm, 0.25 * mm))
    assert image.notes == ()


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}, "distance of its slices is not stated"),
        (SIZES | {"PhysicalSizeXUnit": "parsnips"}, "'parsnips', which is no unit of length"),
        (SIZES | {"PhysicalSizeX": -1.0}, "makes no sense"),
        ({}, ""),
        (SIZES | {f"{name}Unit": "pixel" for name in SIZES}, ""),
    ],
)
def test_a_spacing_that_is_not_taken_is_told(tmp_path, sizes, words) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif", np.zeros((3, 8, 9), np.uint8), photometric="minisblack",
        metadata={"axes": "ZYX", **sizes},
    )  # fmt: skip
    image = read_image(tmp_path / "a.ome.tif")
    assert image.geometry.unit == "pixel"
    assert words in " ".join(image.notes)
    assert bool(image.notes) == bool(words)


def test_of_one_slice_the_distance_of_slices_does_not_matter(tmp_path) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif", np.zeros((8, 9), np.uint8),
        metadata={"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5},
    )  # fmt: skip
    np.testing.assert_allclose(
        read_image(tmp_path / "a.ome.tif").geometry.spacing, (0.5e-3, 0.25e-3)
    )


def test_resolution_tags_alone_are_not_believed(tmp_path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((8, 9), np.uint8), resolution=(72, 72), resolutionunit="INCH"
    )
    assert read_image(tmp_path / "a.tif").geometry.unit == "pixel"
