"""The points layer and the boxes layer over the image: made, looked at, and coloured together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.layers.boxes_layer import BoxesLayer
from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.layers.prompt_provenance import COLUMNS, table_of
from napari_cam_sam.plugin.layers.prompt_table import Plane, places_of
from napari_cam_sam.plugin.layers.styles import PROMPTS
from napari_cam_sam.plugin.qt.plain_text import escape_markup
from napari_cam_sam.plugin.state.own_layers import OwnLayers
from napari_cam_sam.plugin.state.prompt_history import Held, State, held_by

__all__ = ["PromptLayerPair", "remove_rows", "touched_in"]


class PromptLayerPair(QObject):
    """Both layers; the planes that are the user's are noted in each.

    Parameters
    ----------
    own : OwnLayers
    parent : QObject
    """

    changed = Signal()
    """Whatever changed the prompts: the user, a new extraction, undo."""
    ignored = Signal(str)
    """Why what the user drew is no prompt."""
    begun = Signal()
    """The user begins to draw prompts, or asked for those of the truth."""
    moving = Signal()
    """A prompt is being dragged; `changed` follows when it is let go."""
    found = Signal(object)
    """A layer is ours that was not before: a new one, or one of a session or a drop."""
    written = Signal()
    """What the docks wrote is in the layers."""

    def __init__(self, own: OwnLayers, parent: QObject) -> None:
        super().__init__(parent)
        self._shown, self._own = own.shown, own
        self._known: list[Any] = []
        self.writing = False
        """Whether layers are changed by the docks, not by the user."""
        self.object_id = 1
        """The object that new prompts belong to."""
        self.polarity = "positive"
        """Of new points: ``"positive"`` or ``"negative"``."""

    @property
    def points(self) -> Any | None:
        """The points layer, if there is one."""
        return self._find("points")

    @property
    def boxes(self) -> Any | None:
        """The boxes layer, if there is one."""
        return self._find("boxes")

    def there(self) -> list[Any]:
        """List the layers that are there."""
        return [layer for layer in (self.points, self.boxes) if layer is not None]

    def create(self) -> tuple[Any, Any]:
        """Return both layers, added where they are not there; the boxes lie below the points."""
        viewer, image = self._shown.viewer, self._shown.image()
        shape = image.spatial_shape
        if self.boxes is None:
            boxes = BoxesLayer(None, **PROMPTS.boxes(shape), **self._made("boxes", image))
            boxes.plane_shown = self._shown.plane
            viewer.add_layer(boxes)
        if self.points is None:
            none = np.zeros((0, len(shape)))
            viewer.add_points(none, **PROMPTS.points(shape), **self._made("points", image))
        return self.points, self.boxes

    def _made(self, role: str, image: Image) -> dict[str, Any]:
        """Return what both layers are made of."""
        return {
            "ndim": len(image.spatial_shape),
            "name": escape_markup(f"{role} of {image.name}"),
            "features": table_of([]),
            "feature_defaults": self._defaults(),
            "metadata": self._own.mark(role),
            **self._own.placement(),
        }

    def _defaults(self) -> pd.DataFrame:
        """Return the features of prompts to come."""
        own = {"object": self.object_id, "polarity": self.polarity}
        return pd.DataFrame([COLUMNS | own])

    def _find(self, role: str) -> Any | None:
        layer = self._own.find(role)
        if layer is not None and layer not in self._known:
            self._known.append(layer)
            self.found.emit(layer)
        return layer

    # What they hold

    def held(self) -> list[tuple[Any, pd.DataFrame]]:
        """Return coordinates and features of each layer that is there."""
        return [(layer.data, layer.features) for layer in self.there()]

    def touched(self) -> set[Plane]:
        """Return the planes on which the user added, changed or deleted prompts."""
        return {plane for layer in self.there() for plane in touched_in(layer)}

    def set_touched(self, planes: Iterable[Plane]) -> None:
        """Write into the layers which planes are the user's."""
        # On both layers: the user may delete one of them.
        for layer in self.there():
            layer.metadata["touched"] = sorted(planes)

    def set_object(self, object_id: int) -> None:
        """Set the object that new prompts belong to."""
        self.object_id = object_id
        for layer in self.there():
            layer.feature_defaults = self._defaults()

    def set_polarity(self, polarity: str) -> None:
        """Set what new points are."""
        points, _ = self.create()
        self.polarity = polarity
        points.feature_defaults = self._defaults()
        with self.as_ours():
            points.current_face_color = PROMPTS.colours[polarity]
            points.current_symbol = PROMPTS.symbols[polarity]

    def set_features(self, layer: Any, table: pd.DataFrame) -> None:
        """Set features, and colours and symbols by them."""
        table = table.reset_index(drop=True)
        users = PROMPTS.edges["user"]
        edges = [PROMPTS.edges.get(source, users) for source in table["source"]]
        with self.as_ours():
            layer.features = table
            if edges and mark_of(layer)["role"] == "boxes":
                layer.edge_color = edges
            elif edges:
                known = PROMPTS.colours
                polarity = [p if p in known else "positive" for p in table["polarity"]]
                layer.face_color = [known[p] for p in polarity]
                layer.border_color = edges
                layer.symbol = [PROMPTS.symbols[p] for p in polarity]
                with suppress(CamSamError):  # in three dimensions no axis is shown
                    self.show_axis(self._shown.plane()[0])
            layer.feature_defaults = self._defaults()

    def show_axis(self, axis: int) -> None:
        """Show the points along an axis alone; boxes across the view are hidden anyway."""
        layer = self.points
        if layer is not None and layer.ndim == 3 and len(layer.data):
            layer.shown = places_of(layer.data, layer.features)[:, 0] == axis

    @contextmanager
    def as_ours(self) -> Iterator[None]:
        """Change layers without taking it for an edit by the user."""
        before, self.writing = self.writing, True
        try:
            yield
        finally:
            self.writing = before
            if not before:
                self.written.emit()

    # For the history

    def state(self) -> State:
        """Copy what both layers hold."""
        held = held_by(self.points, points=True), held_by(self.boxes, points=False)
        return State(*held, frozenset(self.touched()))

    def set_state(self, state: State) -> None:
        """Restore what both layers held."""
        points, boxes = self.create()
        with self.as_ours():
            for layer, wanted in ((points, state.points), (boxes, state.boxes)):
                self._put_back(layer, wanted, layer is points)
            self.set_touched(state.touched)

    def set_points(self, wanted: Held) -> None:
        """Let the points be what they were, e.g. at the beginning of a drag, or some of those."""
        with self.as_ours():
            self._put_back(self.points, wanted, points=True)

    def _put_back(self, layer: Any, wanted: Held, points: bool) -> None:
        """Restore what a layer held; rows before the first that differs stay."""
        now = held_by(layer, points)
        same = now.same_rows(wanted)
        if same < len(now.data):
            remove_rows(layer, range(same, len(now.data)))
        if same < len(wanted.data):
            kinds = {"shape_type": list(wanted.kinds[same:])} if wanted.kinds else {}
            layer.add(wanted.data[same:], **kinds)
        if now != wanted:
            self.set_features(layer, wanted.features)
        layer.selected_data = set()


def touched_in(layer: Any) -> set[Plane]:
    """Return the planes that are noted in a layer as the user's.

    Parameters
    ----------
    layer : napari layer

    Returns
    -------
    set of tuple
        Axis and index of each.
    """
    return {(int(axis), int(index)) for axis, index in layer.metadata.get("touched", ())}


def remove_rows(layer: Any, rows: Iterable[int]) -> None:
    """Remove prompts from a layer.

    Parameters
    ----------
    layer : napari layer
    rows : iterable of int
    """
    layer.selected_data = set(rows)
    layer.remove_selected()
