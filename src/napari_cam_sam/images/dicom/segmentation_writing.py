"""Labels written as a DICOM segmentation of their series."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.images.atomic import write_atomically
from napari_cam_sam.images.dicom.naming import codes_for, colour_for
from napari_cam_sam.images.dicom.objects import (
    PROGRAM,
    identity,
    name_frames,
    named,
    on_series,
    program_version,
    series_headers,
    slice_places,
    source_of,
)
from napari_cam_sam.images.dicom.silence import quiet
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.segments import Segment

__all__ = ["write_segmentation"]


def write_segmentation(
    path: Path,
    labels: NDArray[Any],
    like: Image,
    segments: Sequence[Segment] = (),
    *,
    kind: Literal["binary", "labelmap"] = "binary",
    algorithm: str = PROGRAM,
    version: str = "",
    warn: bool = True,
) -> None:
    """Write labels as a DICOM segmentation of the series that their image was read from.

    Parameters
    ----------
    path : Path
    labels : ndarray of int, shape of ``like.spatial_shape``
    like : Image
        Read from DICOM. Of a resampled series the labels go back to the slices measured.
    segments : sequence of Segment
        Names, colours and codes; a label without one is called by its number.
    kind : {"binary", "labelmap"}
        One bit for each segment, which every reader knows and whose segments are numbered from 1
        without gaps; or one number for each voxel, which readers know since 2024.
    algorithm, version : str
        What made the labels, e.g. the name of the segmenter.
    warn : bool
        Whether to warn where segments get other numbers than the labels.

    Raises
    ------
    CamSamError
        If the image is from no series or its slices have no place, there are no labels, or the
        file cannot be written.
    """
    source = source_of(like, path, "a segmentation")
    array = on_series(np.asarray(labels), like, "labels")
    described = named(array, segments, path)
    numbers = [one.number for one in described]
    array = array.astype(np.uint8 if numbers[-1] < 256 else np.uint16)
    if kind == "binary" and numbers != list(range(1, len(numbers) + 1)):
        if warn:
            warnings.warn(
                "Segments of a binary segmentation are numbered from 1: the labels "
                f"{', '.join(map(str, numbers[:8]))} become 1 to {len(numbers)}; a label map keeps "
                f"them ({path}).",
                UserWarning,
                stacklevel=2,
            )
        table = np.zeros(numbers[-1] + 1, array.dtype)
        table[numbers] = np.arange(1, len(numbers) + 1)
        array = table[array]
        described = [replace(one, number=n) for n, one in enumerate(described, 1)]
    with quiet():
        data = _segmentation(
            array, described, like, source, kind, algorithm, version or program_version(), path
        )
        write_atomically(path, lambda hidden: data.save_as(hidden))


def _segmentation(
    array: NDArray[Any],
    segments: Sequence[Segment],
    like: Image,
    source: DicomSource,
    kind: str,
    algorithm: str,
    version: str,
    path: Path,
) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes

    made_by = AlgorithmIdentificationSequence(
        algorithm[:64], codes.DCM.ArtificialIntelligence, version[:64]
    )
    descriptions = []
    for one in segments:
        category, what = codes_for(one)
        descriptions.append(
            SegmentDescription(
                one.number,
                one.name.replace("\\", "/")[:64],
                category,
                what,
                "SEMIAUTOMATIC",
                made_by,
                display_color=CIELabColor.from_rgb(*colour_for(one)),
            )
        )
    headers = series_headers(source)
    places = slice_places(like, len(array), path) if len(headers) < len(array) else None
    data = Segmentation(
        headers,
        array,
        kind.upper(),
        descriptions,
        plane_positions=places,
        content_creator_name=None,
        content_description="Segmentation",
        **identity("SEG", "Segmentation"),
    )
    data.ContentCreatorName = ""
    if places is not None:
        name_frames(data, source, like)
    return data
