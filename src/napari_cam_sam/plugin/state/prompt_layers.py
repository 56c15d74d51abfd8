"""Prompts as layers that can be edited: points and boxes with their provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.boxes_layer import BoxesLayer
from napari_cam_sam.plugin.layers.conversion import KEY
from napari_cam_sam.plugin.layers.prompt_provenance import (
    COLUMNS,
    complete,
    frame,
    table_from,
    table_of,
)
from napari_cam_sam.plugin.layers.prompt_table import (
    Plane,
    box_rows,
    places_of,
    point_rows,
    prompted,
    read_rows,
)
from napari_cam_sam.plugin.qt.plain_text import unmarked
from napari_cam_sam.plugin.state.prompt_edits import UserEdits
from napari_cam_sam.plugin.state.prompt_history import Held, PromptHistory, State, held_by
from napari_cam_sam.plugin.state.prompt_owners import (
    check_object_free,
    objects_of_the_user,
    owners,
    row_owners,
)
from napari_cam_sam.prompts.data import PlanePrompts

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["COLOURS", "Conflict", "PromptLayers"]

Conflict = Literal["keep", "replace", "add"]

COLOURS = {"positive": "#21e05c", "negative": "#ff3d3d", "cam": "#ffb000", "truth": "#35d0ff",
           "user": "#ffffff"}  # fmt: skip
_SYMBOLS = {"positive": "disc", "negative": "x"}


class PromptLayers(QObject):
    """The points layer and the boxes layer over the image, read and written as prompts.

    What the user draws, moves, turns or deletes becomes the user's, and so does its plane.

    Parameters
    ----------
    workspace : Workspace
    """

    changed = Signal()
    """Whatever changed the prompts: the user, a new extraction, undo."""
    ignored = Signal(str)
    """Why what the user drew is no prompt."""
    object_chosen = Signal(int)
    """The object that new prompts belong to is another."""
    moving = Signal()
    """A prompt is being dragged; `changed` follows when it is let go."""
    settled = Signal()
    """The same, once a drag or a burst is over."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._workspace = workspace
        self.writing = False
        """Whether layers are changed by the docks, not by the user."""
        self._object, self._polarity = 1, "positive"
        self._heard: list[Any] = []
        self._history = PromptHistory(self._state, self._restore, self)
        self._history.settled.connect(self.settled)
        self._edits = UserEdits(self, workspace, self._history)
        workspace.image_changed.connect(self._forget)
        workspace.viewer.layers.events.removing.connect(self._layer_goes)
        workspace.viewer.layers.events.removed.connect(self._layer_removed)

    # The layers

    @property
    def polarity(self) -> str:
        """Of new points: ``"positive"`` or ``"negative"``."""
        return self._polarity

    @property
    def object_id(self) -> int:
        """The object that new prompts belong to."""
        return self._object

    @property
    def edited_at(self) -> float:
        """When what an undo would take back was done, on the clock of `time.monotonic`."""
        # What is not settled yet is what it would take back.
        self.settle()
        return self._history.edited_at

    @property
    def undone_at(self) -> float:
        """When what a redo would bring back was undone, on the same clock."""
        return self._history.undone_at

    @property
    def points(self) -> Any | None:
        """The points layer, if there is one."""
        return self._listened("points")

    @property
    def boxes(self) -> Any | None:
        """The boxes layer, if there is one."""
        return self._listened("boxes")

    def create(self) -> tuple[Any, Any]:
        """Give both layers, added where they are not there; the boxes lie below the points."""
        viewer, image = self._workspace.viewer, self._workspace.image()
        ndim = len(image.spatial_shape)
        size = max(3.0, min(image.spatial_shape[-2:]) / 40)
        boxes, points = self.boxes, self.points
        if boxes is None:
            drawn = BoxesLayer(
                None,
                ndim=ndim,
                name=unmarked(f"boxes of {image.name}"),
                face_color="transparent",
                edge_color=COLOURS["user"],
                edge_width=max(1.0, size / 6),
                features=table_of(0),
                feature_defaults=pd.DataFrame([self._defaults()]),
                metadata=self._workspace.mark("boxes"),
                **self._workspace.placement(),
            )
            drawn.plane_shown = self._workspace.plane
            boxes = viewer.add_layer(drawn)
            self._listen(boxes)
        if points is None:
            points = viewer.add_points(
                np.zeros((0, ndim)),
                ndim=ndim,
                name=unmarked(f"points of {image.name}"),
                face_color=COLOURS["positive"],
                border_color=COLOURS["user"],
                border_width=0.15,
                size=size,
                features=table_of(0),
                feature_defaults=pd.DataFrame([self._defaults()]),
                metadata=self._workspace.mark("points"),
                **self._workspace.placement(),
            )
            self._listen(points)
        return points, boxes

    def set_object(self, object_id: int) -> None:
        """Choose the object that new prompts belong to; selected prompts move to it too."""
        self._object, moved = object_id, False
        for layer in (self.points, self.boxes):
            if layer is None:
                continue
            layer.feature_defaults = pd.DataFrame([self._defaults()])
            chosen = sorted(layer.selected_data)
            if chosen:
                self._history.edit()
                table = complete(layer.features, len(layer.data))
                table.loc[chosen, ["object", "first"]] = object_id, 0
                self._edits.mark(layer, chosen, table)
                moved = True
        self.object_chosen.emit(object_id)
        if moved:
            self.changed.emit()

    def _defaults(self) -> dict[str, Any]:
        return COLUMNS | {"object": self._object, "polarity": self._polarity}

    def _listened(self, role: str) -> Any | None:
        """Find a layer of ours; one that came with a session or a drop is listened to as well."""
        layer = self._workspace.own(role)
        if layer is not None and layer not in self._heard:
            self._listen(layer)
        return layer

    def _listen(self, layer: Any) -> None:
        self._heard.append(layer)
        self._history.look()
        self._edits.listen(layer)

    def _layer_goes(self, event: Any) -> None:
        """Keep what a layer holds that is about to be removed: undo brings it back."""
        if self._workspace.viewer.layers[event.index] in (self.points, self.boxes):
            self._history.edit()

    def _layer_removed(self, event: Any) -> None:
        if event.value in self._heard:
            self._heard.remove(event.value)
            self.changed.emit()

    def _forget(self) -> None:
        self._history.forget()
        self.changed.emit()
        self.settled.emit()

    def show_axis(self, axis: int) -> None:
        """Show the points along an axis alone; boxes across the view are hidden anyway."""
        layer = self.points
        if layer is not None and layer.ndim == 3 and len(layer.data):
            layer.shown = places_of(layer.data, layer.features)[:, 0] == axis

    # Reading

    def read(self, axis: int, index: int) -> PlanePrompts:
        """Give the prompts on a plane, of each object its points and one entry a box."""
        return read_rows(self._held(), axis, index).get(index, PlanePrompts(axis, index))

    def read_all(self, axis: int) -> tuple[PlanePrompts, ...]:
        """Give the prompts of every plane along an axis that has some."""
        found = read_rows(self._held(), axis)
        return tuple(found[index] for index in sorted(found))

    def planes(self, axis: int) -> list[int]:
        """List the planes along an axis that have prompts."""
        return sorted(prompted(self._held(), axis))

    def _held(self) -> list[tuple[Any, pd.DataFrame]]:
        there = [layer for layer in (self.points, self.boxes) if layer is not None]
        return [(layer.data, layer.features) for layer in there]

    def touched(self) -> set[Plane]:
        """Planes on which the user added, changed or deleted prompts."""
        return {
            (int(a), int(i))
            for layer in (self.points, self.boxes)
            if layer is not None
            for a, i in layer.metadata.get("touched", ())
        }

    def edited(self, first: int | None = None) -> set[Plane]:
        """Planes on which the user edited what an extraction would replace.

        Parameters
        ----------
        first : int, optional
            The first object that the extraction makes; None for one that replaces all.
        """
        touched = self.touched()
        if first is None or not touched:
            return touched
        mine, of = objects_of_the_user(self._held()), owners(self._held())
        # Where nothing of the user's is left, what was deleted may have been of any object.
        return {p for p in touched if p not in mine or first in {of[p][o] for o in mine[p]}}

    # Writing

    def write(
        self,
        planes: Iterable[PlanePrompts],
        conflict: Conflict = "keep",
        first: int | None = None,
    ) -> int:
        """Place prompts in the layers, as one step of the history.

        Parameters
        ----------
        planes : iterable of PlanePrompts
            Where the user edited nothing that they replace, they do so at once.
        conflict : {"keep", "replace", "add"}
            For planes where the user did (`edited`): leave them as they are, replace the prompts
            there, or add to them.
        first : int, optional
            The first object that the prompts can be of. They replace what was placed from the
            same one, of however many objects that was; None to replace all.

        Returns
        -------
        int
            On how many planes prompts were placed.

        Raises
        ------
        CamSamError
            If an object has prompts of others on a plane. Nothing is placed then.
        """
        points, boxes = self.create()
        touched, mine = self.touched(), self.edited(first)
        wanted, cleared = [], set()
        for plane in planes:
            key = (plane.axis, plane.index)
            if key in mine and conflict == "keep":
                continue
            if key not in mine or conflict == "replace":
                cleared.add(key)
            wanted.append(plane)
        if first is not None:
            check_object_free(wanted, first, owners(self._held()))
        self._history.edit()
        with self.as_ours():
            self._remove_planes(cleared, first)
            if conflict == "replace":
                touched -= cleared - objects_of_the_user(self._held()).keys()
            places, rows = point_rows(wanted, points.ndim)
            if places:
                table = _table_with(points, rows, first or 0)
                points.add(np.array(places))
                self.set_features(points, table)
            drawn, rows = box_rows(wanted, boxes.ndim)
            if drawn:
                table = _table_with(boxes, rows, first or 0)
                boxes.add(drawn, shape_type="rectangle")
                self.set_features(boxes, table)
            # napari selects what is added: T, Delete and the object's number would mean all of it.
            points.selected_data = boxes.selected_data = set()
            self.set_touched(touched)
        self.changed.emit()
        return sum(bool(plane.objects) for plane in wanted)

    def clear(self, axis: int, index: int) -> None:
        """Remove the prompts of a plane; it counts as the user's choice."""
        if self.points is None and self.boxes is None:
            return
        self.create()
        self._history.edit()
        with self.as_ours():
            self._remove_planes({(axis, index)})
            self.set_touched(self.touched() | {(axis, index)})
        self.changed.emit()

    def switch_polarity(self) -> str:
        """Turn the selected points, or where none is selected what new points will be.

        Returns
        -------
        str
            The polarity that now holds.
        """
        points, _ = self.create()
        # While points are added the last one is selected, but what is meant are those to come.
        chosen = [] if str(points.mode) == "add" else sorted(points.selected_data)
        if not chosen:
            self._polarity = "positive" if self._polarity == "negative" else "negative"
            points.feature_defaults = pd.DataFrame([self._defaults()])
            with self.as_ours():
                points.current_face_color = COLOURS[self._polarity]
                points.current_symbol = _SYMBOLS[self._polarity]
            self.changed.emit()
            return self._polarity
        self._history.edit()
        table = complete(points.features, len(points.data))
        now = "positive" if table.loc[chosen[0], "polarity"] == "negative" else "negative"
        table.loc[chosen, "polarity"] = now
        self._edits.mark(points, chosen, table)
        self.changed.emit()
        return now

    def _remove_planes(self, planes: set[Plane], first: int | None = None) -> None:
        """Remove the prompts on planes: what was placed from an object, or all."""
        of = owners(self._held())
        for layer in (self.points, self.boxes):
            if layer is None or not planes:
                continue
            gone = [
                i
                for i, (plane, object_id, _) in enumerate(row_owners(layer.data, layer.features))
                if plane in planes and (first is None or of[plane][object_id] == first)
            ]
            if gone:
                _remove(layer, gone)

    def mark_touched(self, planes: Iterable[Plane]) -> None:
        """Take planes as the user's, e.g. those of a session that is opened again."""
        self.create()
        self.set_touched(planes)

    def set_touched(self, planes: Iterable[Plane]) -> None:
        """Write into the layers which planes are the user's."""
        # On both layers: the user may delete one of them.
        for layer in (self.points, self.boxes):
            if layer is not None:
                layer.metadata["touched"] = sorted(planes)

    def set_features(self, layer: Any, table: pd.DataFrame) -> None:
        """Set features, and colours and symbols by them."""
        table = table.reset_index(drop=True)
        with self.as_ours():
            layer.features = table
            if layer.metadata[KEY]["role"] == "points":
                polarity = [p if p in _SYMBOLS else "positive" for p in table["polarity"]]
                if polarity:
                    layer.face_color = [COLOURS[p] for p in polarity]
                    layer.border_color = [COLOURS.get(s, "#ffffff") for s in table["source"]]
                    layer.symbol = [_SYMBOLS[p] for p in polarity]
                    with suppress(CamSamError):  # in three dimensions no axis is shown
                        self.show_axis(self._workspace.plane()[0])
            elif len(table):
                layer.edge_color = [COLOURS.get(s, "#ffffff") for s in table["source"]]
            layer.feature_defaults = pd.DataFrame([self._defaults()])

    @contextmanager
    def as_ours(self) -> Iterator[None]:
        """Change layers without taking it for an edit by the user."""
        before, self.writing = self.writing, True
        try:
            yield
        finally:
            self.writing = before
            if not before:
                self._edits.count(self.points, self.boxes)

    # Undo and redo

    def settle(self) -> None:
        """End a burst of edits now, if one is going on: it is one step of the history."""
        self._history.settle()

    def undo(self) -> bool:
        """Go back before the last edit; False where there is none."""
        return self._told(self._history.undo())

    def redo(self) -> bool:
        """Take back the last undo; False where there is none."""
        return self._told(self._history.redo())

    def _told(self, stepped: bool) -> bool:
        if stepped:
            self.changed.emit()
            self.settled.emit()
        return stepped

    def _state(self) -> State:
        held = held_by(self.points, points=True), held_by(self.boxes, points=False)
        return State(*held, frozenset(self.touched()))

    def _restore(self, state: State) -> None:
        points, boxes = self.create()
        with self.as_ours():
            for layer, wanted in ((points, state.points), (boxes, state.boxes)):
                self._put_back(layer, wanted)
            self.set_touched(state.touched)

    def _put_back(self, layer: Any, wanted: Held) -> None:
        """Bring a layer back to what it held; rows before the first that differs stay."""
        now = held_by(layer, points=layer is self.points)
        same = now.same_rows(wanted)
        if same < len(now.data):
            _remove(layer, range(same, len(now.data)))
        if same < len(wanted.data):
            kinds = {"shape_type": list(wanted.kinds[same:])} if wanted.kinds else {}
            layer.add(wanted.data[same:], **kinds)
        if not now.same(wanted):
            self.set_features(layer, table_from(wanted.features))
        layer.selected_data = set()


def _table_with(layer: Any, rows: list[dict[str, Any]], first: int) -> pd.DataFrame:
    """Give the features of what a layer holds and of new rows, placed from an object."""
    there = complete(layer.features, len(layer.data))
    return pd.concat([there, frame(rows).assign(first=first)])


def _remove(layer: Any, rows: Iterable[int]) -> None:
    layer.selected_data = set(rows)
    layer.remove_selected()
