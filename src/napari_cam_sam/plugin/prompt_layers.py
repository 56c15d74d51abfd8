"""Prompts as layers that can be edited: points and boxes with their provenance."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.boxes_layer import BoxesLayer
from napari_cam_sam.plugin.layers import KEY
from napari_cam_sam.plugin.prompt_features import (
    COLUMNS,
    box_of,
    complete,
    entries,
    frame,
    number,
    point_of,
    records,
    table_of,
)
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point

if TYPE_CHECKING:
    from napari_cam_sam.plugin.workspace import Workspace

__all__ = ["COLOURS", "Conflict", "PromptLayers"]

Conflict = Literal["keep", "replace", "add"]
Plane = tuple[int, int]

COLOURS = {"positive": "#21e05c", "negative": "#ff3d3d", "cam": "#ffb000", "truth": "#35d0ff",
           "user": "#ffffff"}  # fmt: skip
_SYMBOLS = {"positive": "disc", "negative": "x"}
_UNDO_LEVELS = 100
# Edits of one drag come one after the other: a pause of this length ends a step of the history.
_PAUSE_MS = 250


@dataclass(frozen=True, eq=False)
class _State:
    """Both layers at one moment."""

    points: NDArray[np.float64]
    point_features: pd.DataFrame
    boxes: list[NDArray[np.float64]]
    kinds: list[str]
    box_features: pd.DataFrame
    touched: frozenset[Plane]


class PromptLayers(QObject):
    """The points layer and the boxes layer over the image, read and written as prompts.

    What the user draws, moves, turns or deletes becomes the user's, and so does its plane.

    Parameters
    ----------
    workspace : Workspace
    """

    changed = Signal()
    """Whatever changed the prompts: the user, a new extraction, undo."""
    moving = Signal()
    """A prompt is being dragged; `changed` follows when it is let go."""
    settled = Signal()
    """The same, once a drag or a burst is over."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._workspace = workspace
        self._writing = False
        self._undo: list[_State] = []
        self.edited_at = 0.0
        """When prompts were last changed, on the clock of `time.monotonic`."""
        self._redo: list[_State] = []
        # A shape that was dragged is told of at the end: what was before must be known by then.
        self._last: _State | None = None
        self._before: _State | None = None
        self._object, self._polarity, self._axis = 1, "positive", 0
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._settle)
        self._heard: list[Any] = []
        self._removed_places: set[Plane] = set()
        workspace.image_changed.connect(self._forget)
        workspace.viewer.layers.events.removed.connect(self._layer_removed)

    # The layers

    @property
    def polarity(self) -> str:
        """Of new points: ``"positive"`` or ``"negative"``."""
        return self._polarity

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
                name=f"boxes of {image.name}",
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
                name=f"points of {image.name}",
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
        self._object = object_id
        for layer in (self.points, self.boxes):
            if layer is None:
                continue
            layer.feature_defaults = pd.DataFrame([self._defaults()])
            chosen = sorted(layer.selected_data)
            if chosen:
                self._keep_for_undo()
                table = layer.features.copy()
                table.loc[chosen, "object"] = object_id
                self._set_features(layer, table)
                self._touch_rows(layer, chosen)

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
        self._last = self._state()
        layer.events.data.connect(self._edited)
        layer.mouse_drag_callbacks.append(self._dragged)

    def _layer_removed(self, event: Any) -> None:
        if event.value in self._heard:
            self._heard.remove(event.value)
            self._clear_history()
            self.changed.emit()
            self.settled.emit()

    def _forget(self) -> None:
        self._clear_history()
        self.changed.emit()
        self.settled.emit()

    def _clear_history(self) -> None:
        self._undo.clear()
        self._redo.clear()
        self._last = self._before = None

    def show_axis(self, axis: int) -> None:
        """Show the points along an axis alone; boxes across the view are hidden anyway."""
        layer = self.points
        if layer is not None and layer.ndim == 3 and len(layer.data):
            layer.shown = [row["axis"] == axis for row in records(layer.features, len(layer.data))]

    # Reading

    def read(self, axis: int, index: int) -> PlanePrompts:
        """Give the prompts on a plane, of each object its points and one entry a box."""
        return self._gathered(self._rows(axis), axis).get(index, PlanePrompts(axis, index))

    def read_all(self, axis: int) -> tuple[PlanePrompts, ...]:
        """Give the prompts of every plane along an axis that has some."""
        found = self._gathered(self._rows(axis), axis)
        return tuple(found[index] for index in sorted(found))

    def planes(self, axis: int) -> list[int]:
        """List the planes along an axis that have prompts."""
        return sorted({index for index, _, _ in self._rows(axis)})

    def touched(self) -> set[Plane]:
        """Planes on which the user added, changed or deleted prompts."""
        return {
            (int(a), int(i))
            for layer in (self.points, self.boxes)
            if layer is not None
            for a, i in layer.metadata.get("touched", ())
        }

    def _rows(self, axis: int) -> Iterator[tuple[int, int, Point | Box]]:
        """Yield plane, object and prompt of all that lies along an axis."""
        flat = len(self._workspace.image().spatial_shape) == 2 if self._heard else False
        for layer, convert in ((self.points, point_of), (self.boxes, box_of)):
            if layer is None:
                continue
            data = layer.data
            for vertices, row in zip(data, records(layer.features, len(data)), strict=True):
                if not flat and int(row["axis"]) != axis:
                    continue
                vertices = np.atleast_2d(np.asarray(vertices, float))
                index = 0 if flat else round(float(vertices[:, axis].mean()))
                in_plane = vertices if flat else np.delete(vertices, axis, axis=1)
                prompt = convert(in_plane, row)
                if prompt is not None:
                    yield index, max(1, int(row["object"])), prompt

    def _gathered(
        self, rows: Iterable[tuple[int, int, Point | Box]], axis: int
    ) -> dict[int, PlanePrompts]:
        points: dict[tuple[int, int], list[Point]] = {}
        boxes: dict[tuple[int, int], list[Box]] = {}
        for index, object_id, prompt in rows:
            if isinstance(prompt, Point):
                points.setdefault((index, object_id), []).append(prompt)
            else:
                boxes.setdefault((index, object_id), []).append(prompt)
        objects: dict[int, list[ObjectPrompt]] = {}
        for index, object_id in sorted({*points, *boxes}):
            own, rects = points.get((index, object_id), []), boxes.get((index, object_id), [])
            objects.setdefault(index, []).extend(entries(object_id, own, rects))
        return {i: PlanePrompts(axis, i, tuple(found)) for i, found in objects.items()}

    # Writing

    def write(self, planes: Iterable[PlanePrompts], conflict: Conflict = "keep") -> int:
        """Place prompts in the layers, as one step of the history.

        Parameters
        ----------
        planes : iterable of PlanePrompts
            Of planes that the user did not touch, they replace what is there.
        conflict : {"keep", "replace", "add"}
            For planes that the user touched: leave them as they are, replace the prompts there,
            or add to them.

        Returns
        -------
        int
            On how many planes prompts were placed.
        """
        points, boxes = self.create()
        self._keep_for_undo()
        touched = self.touched()
        wanted, cleared = [], set()
        for plane in planes:
            key = (plane.axis, plane.index)
            if key in touched and conflict == "keep":
                continue
            if key not in touched or conflict == "replace":
                cleared.add(key)
            wanted.append(plane)
        with self._as_ours():
            self._remove_planes(cleared)
            rows: list[dict[str, Any]] = []
            places = []
            drawn, frames = [], []
            for plane in wanted:
                for prompt in plane.objects:
                    base = {"object": prompt.object_id, "axis": plane.axis, "plane": plane.index}
                    for point in prompt.points:
                        places.append(self._lifted(point.row, point.column, plane))
                        polarity = "positive" if point.positive else "negative"
                        rows.append(
                            base | {"polarity": polarity, "source": point.source}
                            | {"score": number(point.score)}
                        )  # fmt: skip
                    if prompt.box is not None:
                        drawn.append(self._rectangle(prompt.box, plane))
                        frames.append(
                            base | {"polarity": "positive", "source": prompt.box.source}
                            | {"score": number(prompt.box.score)}
                        )  # fmt: skip
            if places:
                table = pd.concat([complete(points.features, len(points.data)), frame(rows)])
                points.add(np.array(places))
                self._set_features(points, table)
            if drawn:
                table = pd.concat([complete(boxes.features, len(boxes.data)), frame(frames)])
                boxes.add(drawn, shape_type="rectangle")
                self._set_features(boxes, table)
            # napari selects what is added: T, Delete and the object's number would mean all of it.
            points.selected_data = boxes.selected_data = set()
            self._set_touched(touched - (cleared if conflict == "replace" else set()))
        self._announce()
        return sum(bool(plane.objects) for plane in wanted)

    def clear(self, axis: int, index: int) -> None:
        """Remove the prompts of a plane; it counts as the user's choice."""
        if self.points is None and self.boxes is None:
            return
        self.create()
        self._keep_for_undo()
        with self._as_ours():
            self._remove_planes({(axis, index)})
            self._set_touched(self.touched() | {(axis, index)})
        self._announce()

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
            with self._as_ours():
                points.current_face_color = COLOURS[self._polarity]
                points.current_symbol = _SYMBOLS[self._polarity]
            self.changed.emit()
            return self._polarity
        self._keep_for_undo()
        table = points.features.copy()
        now = "positive" if table.loc[chosen[0], "polarity"] == "negative" else "negative"
        table.loc[chosen, "polarity"] = now
        self._set_features(points, table)
        self._touch_rows(points, chosen)
        self._announce()
        return now

    def _remove_planes(self, planes: set[Plane]) -> None:
        for layer in (self.points, self.boxes):
            if layer is None or not planes or not len(layer.data):
                continue
            table = complete(layer.features, len(layer.data))
            keys = [self._place(layer, i, table) for i in range(len(layer.data))]
            gone = [i for i, key in enumerate(keys) if key in planes]
            if gone:
                layer.selected_data = set(gone)
                layer.remove_selected()

    def _place(self, layer: Any, i: int, table: pd.DataFrame) -> Plane:
        """Axis and index of the plane on which a prompt lies."""
        vertices = np.atleast_2d(np.asarray(layer.data[i], float))
        if vertices.shape[1] == 2:
            return 0, 0
        axis = int(table["axis"].iloc[i])
        return axis, round(float(vertices[:, axis].mean()))

    def _lifted(self, row: float, column: float, plane: PlanePrompts) -> NDArray[np.float64]:
        """Bring a position on a plane to the layer's coordinates."""
        flat = np.array([row, column], float)
        if len(self._workspace.image().spatial_shape) == 2:
            return flat
        return np.insert(flat, plane.axis, plane.index)

    def _rectangle(self, box: Box, plane: PlanePrompts) -> NDArray[np.float64]:
        """Give the four corners of a box, round its pixels: each reaches half a pixel further."""
        top, bottom = box.row_min - 0.5, box.row_max - 0.5
        left, right = box.column_min - 0.5, box.column_max - 0.5
        corners = ((top, left), (top, right), (bottom, right), (bottom, left))
        return np.array([self._lifted(*corner, plane) for corner in corners])

    # Edits by the user

    def _edited(self, event: Any) -> None:
        """Make what the user added, moved or deleted the user's."""
        action = str(getattr(event.action, "value", event.action))
        if self._writing:
            return
        layer = event.source
        if action in ("adding", "changing", "removing"):
            self._keep_for_undo()
            if action == "removing":
                self._removed_places = self._places(layer, event.data_indices)
            return
        self._keep_for_undo()
        count = len(layer.data)
        if action == "removed":
            self._set_touched(self.touched() | self._removed_places)
        elif count:
            rows = sorted({int(i) % count for i in event.data_indices})
            if action == "added":
                self._label_new(layer, rows)
            else:
                # Whoever sets all data at once names every row: those that differ were edited.
                rows = [i for i in rows if self._differs(layer, i)]
            if rows:
                self._touch_rows(layer, rows)
        self._announce()

    def _differs(self, layer: Any, row: int) -> bool:
        """Tell whether a prompt is not where it was before this burst of edits."""
        before = self._before
        if before is None:
            return True
        old: Any = before.points if layer is self.points else before.boxes
        return len(old) != len(layer.data) or not np.array_equal(old[row], layer.data[row])

    def _dragged(self, layer: Any, event: Any) -> Iterator[None]:
        """Tell of a shape that is being dragged: its layer tells only at the end."""
        yield
        while event.type == "mouse_move":
            if layer.selected_data:
                self.moving.emit()
            yield

    def _places(self, layer: Any, indices: Iterable[int]) -> set[Plane]:
        table = complete(layer.features, len(layer.data))
        count = len(layer.data)
        return {self._place(layer, int(i) % count, table) for i in indices} if count else set()

    def _label_new(self, layer: Any, rows: list[int]) -> None:
        """Say of new prompts where they lie, and what the heatmap has there."""
        try:
            axis, shown = self._workspace.plane()
        except CamSamError:
            # In three dimensions no plane is shown: along the axis that was, where it was put.
            axis, shown = (
                self._axis,
                round(float(np.atleast_2d(layer.data[rows[0]])[0][self._axis])),
            )
        self._axis = axis
        if layer.ndim == 3:
            self._put_on_plane(layer, rows, axis, shown)
        table = complete(layer.features, len(layer.data))
        flat = layer.ndim == 2
        table.loc[rows, "axis"] = 0 if flat else axis
        table.loc[rows, "polarity"] = self._polarity if layer is self.points else "positive"
        table.loc[rows, "object"] = self._object
        for i in rows:
            index = 0 if flat else self._place(layer, i, table)[1]
            table.loc[i, "plane"] = index
            vertices = np.atleast_2d(np.asarray(layer.data[i], float))
            in_plane = vertices if flat else np.delete(vertices, axis, axis=1)
            table.loc[i, "score"] = self._score(in_plane, axis, index)
        self._set_features(layer, table)

    def _put_on_plane(self, layer: Any, rows: list[int], axis: int, index: int) -> None:
        """Move new prompts to where they were seen, on the plane shown.

        The cursor's coordinate along the axis is fractional where the viewer stands between two
        planes, and in a layer that lies oblique it changes over the plane: napari draws the plane
        without its slant, but turns the cursor's place into data with it.
        """
        origin = np.array(layer.data_to_world(np.zeros(3)))
        steps = np.array([np.array(layer.data_to_world(e)) - origin for e in np.eye(3)]).T
        inside = [a for a in range(3) if a != axis]
        data = [np.atleast_2d(np.array(one, float)) for one in layer.data]
        for i in rows:
            world = data[i] @ steps.T + origin
            seen = (world - origin)[:, inside] @ np.linalg.inv(steps[np.ix_(inside, inside)]).T
            data[i][:, inside], data[i][:, axis] = seen, index
        with self._as_ours():
            if layer.metadata[KEY]["role"] == "points":
                layer.data = np.concatenate(data)
            elif any(not np.allclose(a, b) for a, b in zip(data, layer.data, strict=True)):
                layer.data = list(zip(data, layer.shape_type, strict=True))

    def _score(self, in_plane: NDArray[np.float64], axis: int, index: int) -> float:
        """Give the heatmap's value at a point, or its mean in a box; NaN without heatmap."""
        image = self._workspace.image()
        if not 0 <= index < image.n_planes(axis):
            return float("nan")
        values = self._workspace.heatmap_values(axis, index)
        if values is None:
            return float("nan")
        low = np.clip(np.round(in_plane.min(axis=0)).astype(int), 0, np.array(values.shape) - 1)
        high = np.clip(np.round(in_plane.max(axis=0)).astype(int), low, np.array(values.shape) - 1)
        return float(values[low[0] : high[0] + 1, low[1] : high[1] + 1].mean())

    def _touch_rows(self, layer: Any, rows: list[int]) -> None:
        """Mark prompts, and the planes on which they lie, as the user's."""
        table = complete(layer.features, len(layer.data))
        table.loc[rows, "source"] = "user"
        for i in rows:
            table.loc[i, "plane"] = self._place(layer, i, table)[1]
        self._set_features(layer, table)
        self.create()
        self._set_touched(self.touched() | {self._place(layer, i, table) for i in rows})

    def _set_touched(self, planes: set[Plane]) -> None:
        # On both layers: the user may delete one of them.
        for layer in (self.points, self.boxes):
            if layer is not None:
                layer.metadata["touched"] = sorted(planes)

    def mark_touched(self, planes: Iterable[Plane]) -> None:
        """Take planes as the user's, e.g. those of a session that is opened again."""
        self.create()
        self._set_touched(set(planes))

    def _set_features(self, layer: Any, table: pd.DataFrame) -> None:
        """Set features, and colours and symbols by them."""
        table = table.reset_index(drop=True)
        with self._as_ours():
            layer.features = table
            if layer.metadata[KEY]["role"] == "points":
                polarity = [p if p in _SYMBOLS else "positive" for p in table["polarity"]]
                if polarity:
                    layer.face_color = [COLOURS[p] for p in polarity]
                    layer.border_color = [COLOURS.get(s, "#ffffff") for s in table["source"]]
                    layer.symbol = [_SYMBOLS[p] for p in polarity]
            elif len(table):
                layer.edge_color = [COLOURS.get(s, "#ffffff") for s in table["source"]]
            layer.feature_defaults = pd.DataFrame([self._defaults()])

    @contextmanager
    def _as_ours(self) -> Iterator[None]:
        """Change layers without taking it for an edit by the user."""
        before, self._writing = self._writing, True
        try:
            yield
        finally:
            self._writing = before

    def _announce(self) -> None:
        self._pause.start()
        self.changed.emit()

    # Undo and redo

    def undo(self) -> bool:
        """Go back before the last edit; False where there is none."""
        self._settle()
        return self._step(self._undo, self._redo)

    def redo(self) -> bool:
        """Take back the last undo; False where there is none."""
        self._settle()
        return self._step(self._redo, self._undo)

    def _step(self, back: list[_State], forth: list[_State]) -> bool:
        if not back:
            return False
        forth.append(self._state())
        self._restore(back.pop())
        self.changed.emit()
        self.settled.emit()
        return True

    def _keep_for_undo(self) -> None:
        """Keep the state before a burst of edits, once a burst."""
        if self._before is None:
            self._before = self._last or self._state()
            self._pause.start()

    def _settle(self) -> None:
        """End a burst: what was before it is one step of the history."""
        self._pause.stop()
        if self._before is None:
            return
        before, self._before = self._before, None
        self._last = self._state()
        if not _same(before, self._last):
            self._undo.append(before)
            self.edited_at = time.monotonic()
            del self._undo[:-_UNDO_LEVELS]
            self._redo.clear()
        self.settled.emit()

    def _state(self) -> _State:
        points, boxes = self.points, self.boxes
        n_points = 0 if points is None else len(points.data)
        n_boxes = 0 if boxes is None else len(boxes.data)
        return _State(
            np.array(points.data, float) if points is not None else np.zeros((0, 2)),
            complete(points.features, n_points) if points is not None else table_of(0),
            [np.array(v, float) for v in boxes.data] if boxes is not None else [],
            [str(kind) for kind in boxes.shape_type] if boxes is not None else [],
            complete(boxes.features, n_boxes) if boxes is not None else table_of(0),
            frozenset(self.touched()),
        )

    def _restore(self, state: _State) -> None:
        points, boxes = self.create()
        with self._as_ours():
            for layer in (points, boxes):
                layer.selected_data = set(range(len(layer.data)))
                layer.remove_selected()
            if len(state.points):
                points.add(state.points)
            self._set_features(points, state.point_features)
            if state.boxes:
                boxes.add(state.boxes, shape_type=state.kinds)
            self._set_features(boxes, state.box_features)
            for layer in (points, boxes):
                layer.selected_data = set()
            self._set_touched(set(state.touched))
        self._last = self._state()


def _same(one: _State, other: _State) -> bool:
    return (
        np.array_equal(one.points, other.points)
        and len(one.boxes) == len(other.boxes)
        and all(np.array_equal(a, b) for a, b in zip(one.boxes, other.boxes, strict=True))
        and one.point_features.equals(other.point_features)
        and one.box_features.equals(other.box_features)
        and one.touched == other.touched
    )
