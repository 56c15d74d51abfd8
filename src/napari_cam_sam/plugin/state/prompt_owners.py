"""Whose prompts lie on a plane: of which extraction each object is, and which are the user's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.prompt_provenance import column
from napari_cam_sam.plugin.layers.prompt_table import Plane, Vertices, places_of
from napari_cam_sam.prompts.data import PlanePrompts

__all__ = ["check_object_free", "objects_of_the_user", "owners", "row_owners"]

Layers = Iterable[tuple[Vertices, pd.DataFrame]]


def row_owners(data: Vertices, features: pd.DataFrame) -> Iterator[tuple[Plane, int, int, bool]]:
    """Return whose each prompt of a layer is.

    Parameters
    ----------
    data : ndarray or list of ndarray
        Coordinates of points, or vertices of shapes.
    features : pandas.DataFrame

    Returns
    -------
    iterator of tuple
        Its plane, its object, the first object of the extraction that placed it (0 where that is
        not known), and whether the user did.
    """
    ids, extraction, source = (
        column(features, name, len(data)) for name in ("object", "extraction_id", "source")
    )
    places = map(tuple, places_of(data, features).tolist())
    mine = (source == "user").tolist()
    return zip(places, np.maximum(1, ids).tolist(), extraction.tolist(), mine, strict=True)


def owners(layers: Layers) -> dict[Plane, dict[int, int]]:
    """Return of which extraction each object on a plane is.

    What the user draws beside prompts of an object goes with them; an object of which no
    extraction is known stands for itself.

    Parameters
    ----------
    layers : iterable of tuple
        Coordinates and features of each.

    Returns
    -------
    dict
        By plane and object, the first object that the extraction makes.
    """
    found: dict[Plane, dict[int, int]] = {}
    for data, features in layers:
        for plane, object_id, extraction_id, _ in row_owners(data, features):
            of = found.setdefault(plane, {})
            if extraction_id or object_id not in of:
                of[object_id] = extraction_id or object_id
    return found


def objects_of_the_user(layers: Layers) -> dict[Plane, set[int]]:
    """Return the objects of which prompts of the user's lie on each plane.

    Parameters
    ----------
    layers : iterable of tuple
        Coordinates and features of each.

    Returns
    -------
    dict
        Planes without any are left out.
    """
    found: dict[Plane, set[int]] = {}
    for data, features in layers:
        for plane, object_id, _, mine in row_owners(data, features):
            if mine:
                found.setdefault(plane, set()).add(object_id)
    return found


def check_object_free(
    planes: Iterable[PlanePrompts], extraction_id: int, of: Mapping[Plane, Mapping[int, int]]
) -> None:
    """Check that no object to place has prompts of another extraction on its plane.

    Parameters
    ----------
    planes : iterable of PlanePrompts
        To place.
    extraction_id : int
        The first object that their extraction makes.
    of : mapping
        From `owners`.

    Raises
    ------
    CamSamError
        If one has; it names an object that is free.
    """
    for plane in planes:
        there = of.get((plane.axis, plane.index), {})
        for one in plane.objects:
            if there.get(one.object_id, extraction_id) != extraction_id:
                free = 1 + max(object_id for ids in of.values() for object_id in ids)
                raise CamSamError(
                    f"Object {one.object_id} has other prompts on slice {plane.index}: choose "
                    f"object {free}, or clear that slice first."
                )
