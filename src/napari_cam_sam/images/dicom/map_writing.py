"""Heatmaps written as a DICOM parametric map of their series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.atomic import write_atomically
from napari_cam_sam.images.dicom.objects import (
    identity,
    name_frames,
    on_series,
    series_headers,
    slice_places,
    source_of,
)
from napari_cam_sam.images.dicom.silence import quiet
from napari_cam_sam.images.image import Image

__all__ = ["write_map"]


def write_map(path: Path, values: NDArray[Any], like: Image, *, name: str = "Heatmap") -> None:
    """Write real values as a DICOM parametric map of the series that their image was read from.

    Parameters
    ----------
    path : Path
    values : ndarray of float, shape of ``like.spatial_shape``
        Written as single precision, without a unit.
    like : Image
        Read from DICOM. Of a resampled series the values go back to the slices measured.
    name : str
        What the values are.

    Raises
    ------
    CamSamError
        If the image is from no series or its slices have no place, no value is a number, or the
        file cannot be written.
    """
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.codedict import codes

    source = source_of(like, path, "a parametric map")
    array = on_series(np.asarray(values), like, "values").astype(np.float32)
    finite = array[np.isfinite(array)]
    if not finite.size:
        raise refusal("There is nothing to write: no value is a number", path)
    low, high = float(finite.min()), float(finite.max())
    with quiet():
        headers = series_headers(source)
        places = slice_places(like, len(array), path) if len(headers) < len(array) else None
        data = ParametricMap(
            headers,
            array,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                RealWorldValueMapping(
                    lut_label="VALUE",
                    lut_explanation=name[:64],
                    unit=codes.UCUM.NoUnits,
                    value_range=(low, high),
                    slope=1.0,
                    intercept=0.0,
                    quantity_definition=codes.DCM.ClassActivation,
                )
            ],
            # A width below 1 is not for the usual function.
            voi_lut_transformations=[
                VOILUTTransformation(
                    window_center=(low + high) / 2,
                    window_width=max(high - low, 1e-6),
                    voi_lut_function="LINEAR_EXACT",
                )
            ],
            plane_positions=places,
            content_label="HEATMAP",
            content_description=name[:64],
            **identity("PM", name[:64]),
        )
        data.ContentCreatorName = ""
        data.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy(headers[0])]
        if places is not None:
            name_frames(data, source, like)
        _sort_frames(data)
        write_atomically(path, lambda hidden: data.save_as(hidden))


def _sort_frames(data: Any) -> None:
    """Turn frames round to run along the normal: dcmqi takes them in the order of the file."""
    if (
        int(data.NumberOfFrames) == 1
        or "PlaneOrientationSequence" not in (data.SharedFunctionalGroupsSequence[0])
    ):
        return
    groups = list(data.PerFrameFunctionalGroupsSequence)
    turns = data.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    x, y = np.array(turns.ImageOrientationPatient, float).reshape(2, 3)
    places = np.array([one.PlanePositionSequence[0].ImagePositionPatient for one in groups], float)
    order = np.argsort(places @ np.cross(x, y), kind="stable")
    frames = np.frombuffer(data.FloatPixelData, "<f4").reshape(len(groups), -1)
    data.FloatPixelData = frames[order].tobytes()
    for number, index in enumerate(order, 1):
        groups[index].FrameContentSequence[0].DimensionIndexValues = number
    data.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]


def _anatomy(header: Any) -> Any:
    """Return the part of the body as the series names it; dcmqi reads no map without one."""
    from highdicom.sr import CodedConcept
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    item = Dataset()
    item.AnatomicRegionSequence = header.get("AnatomicRegionSequence") or [
        CodedConcept.from_code(codes.SCT.AnatomicalStructure)
    ]
    side = str(header.get("ImageLaterality") or header.get("Laterality") or "")
    item.FrameLaterality = side if side in ("R", "L", "B") else "U"
    return item
