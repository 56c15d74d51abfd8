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


def row_owners(data: Vertices, features: pd.DataFrame) -> Iterator[tuple[Plane, int, int]]:
    """Return of each prompt its plane, its object, and the first of what placed it with it."""
    ids = np.maximum(1, column(features, "object", len(data))).tolist()
    extraction = column(features, "extraction_id", len(data)).tolist()
    places = map(tuple, places_of(data, features).tolist())
    return zip(places, ids, extraction, strict=True)


def owners(layers: Layers) -> dict[Plane, dict[int, int]]:
    """Return of which extraction each object on a plane is, by the first object that it makes.

    What the user draws beside prompts of an object goes with them; an object of which no
    extraction is known stands for itself.
    """
    found: dict[Plane, dict[int, int]] = {}
    for data, features in layers:
        for plane, object_id, extraction_id in row_owners(data, features):
            of = found.setdefault(plane, {})
            if extraction_id or object_id not in of:
                of[object_id] = extraction_id or object_id
    return found


def objects_of_the_user(layers: Layers) -> dict[Plane, set[int]]:
    """Return the objects of which prompts of the user's lie on each plane."""
    found: dict[Plane, set[int]] = {}
    for data, features in layers:
        users = column(features, "source", len(data)) == "user"
        for mine, (plane, object_id, _) in zip(users, row_owners(data, features), strict=True):
            if mine:
                found.setdefault(plane, set()).add(object_id)
    return found


def check_object_free(
    planes: Iterable[PlanePrompts], extraction_id: int, of: Mapping[Plane, Mapping[int, int]]
) -> None:
    """Refuse prompts of an object that has others on the plane than were placed from the first.

    Raises
    ------
    CamSamError
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
