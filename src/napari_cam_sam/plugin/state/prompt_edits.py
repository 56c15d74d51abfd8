"""What the user edits in the layers of prompts, and what that marks as the user's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.boxes_layer import LEAST_SIDE, too_small
from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.layers.layer_geometry import axis_steps
from napari_cam_sam.plugin.layers.prompt_provenance import complete
from napari_cam_sam.plugin.layers.prompt_table import Plane, places_of, planes_of
from napari_cam_sam.plugin.state.boxed_points import points_to_go
from napari_cam_sam.plugin.state.heatmap_layers import HeatmapLayers
from napari_cam_sam.plugin.state.prompt_history import Held, PromptHistory, held_by
from napari_cam_sam.plugin.state.prompt_layer_pair import PromptLayerPair, remove_rows, touched_in
from napari_cam_sam.plugin.state.shown_image import ShownImage

__all__ = ["UserEdits"]


class UserEdits:
    """Listens to both layers: what is drawn, moved, pasted or deleted there is the user's.

    Parameters
    ----------
    pair : PromptLayerPair
        Whose layers are listened to.
    shown : ShownImage
    heatmaps : HeatmapLayers
    history : PromptHistory
        Is told before each edit.
    """

    def __init__(
        self,
        pair: PromptLayerPair,
        shown: ShownImage,
        heatmaps: HeatmapLayers,
        history: PromptHistory,
    ) -> None:
        self._pair, self._shown, self._heatmaps, self._history = pair, shown, heatmaps, history
        # Along which axis prompts are placed while the viewer shows three dimensions.
        self._axis = 0
        # Between napari's word that something is about to happen and that it has.
        self._amid = False
        # How many prompts a layer had: those beyond are new, whatever napari says or does not say.
        self._known: dict[str, int] = {}
        self._left: set[Plane] = set()
        # Where the mouse was pressed in a layer, and where it is.
        self._way: list[Any] = []
        # Whether it was let go elsewhere than where a move told of it last.
        self._leapt = False

        pair.found.connect(self._listen)
        pair.written.connect(self._count_all)

    def _listen(self, layer: Any) -> None:
        """Connect to what happens in a layer."""
        self._history.look()
        self._count(layer)
        layer.events.data.connect(self._edited)
        layer.events.set_data.connect(self._refreshed)
        layer.events.mode.connect(self._mode_chosen)
        layer.mouse_drag_callbacks.append(self._dragged)

    def _count_all(self) -> None:
        for layer in self._pair.there():
            self._count(layer)

    def _count(self, layer: Any) -> None:
        """Count the prompts in a layer: those beyond will be new."""
        if not self._amid:
            self._known[str(layer.unique_id)] = _length(layer)

    def mark(
        self, layer: Any, rows: Sequence[int], table: pd.DataFrame, left: Iterable[Plane] = ()
    ) -> None:
        """Make prompts, and the planes on which they lie, the user's.

        Parameters
        ----------
        layer : napari layer
        rows : sequence of int
        table : pandas.DataFrame
            Features that the layer is to have, complete.
        left : iterable of tuple
            Planes on which prompts were before.
        """
        places = places_of(layer.data, table)
        table.loc[rows, "source"] = "user"
        table.loc[rows, "plane"] = places[rows, 1]
        self._pair.set_features(layer, table)
        now = planes_of(layer.data, table, rows)
        self._pair.create()
        self._pair.set_touched(self._pair.touched() | now | set(left))

    # What napari says

    def _mode_chosen(self, event: Any) -> None:
        if str(event.source.mode).startswith("add") and event.source in self._pair.there():
            self._pair.begun.emit()

    def _edited(self, event: Any) -> None:
        action = str(getattr(event.action, "value", event.action))
        self._amid = action in ("adding", "changing", "removing")
        if self._pair.writing:
            return
        layer, ignored = event.source, 0
        ours = layer in self._pair.there()
        if ours:
            self._history.edit()
        count = _length(layer)
        rows = sorted({int(i) % count for i in event.data_indices}) if count else []
        if self._amid:
            if action == "removing":
                self._left = planes_of(layer.data, layer.features, rows)
            return
        left, self._left = self._left, set()
        if not ours:
            self._edited_elsewhere(layer, [] if action == "removed" else rows, left)
            return
        if action == "removed":
            self._pair.set_touched(self._pair.touched() | left)
        elif action == "added":
            # Of several shapes napari names only the last, and of a path that was given up after
            # its first vertex the one before it.
            first = self._known[str(layer.unique_id)]
            ignored = self._drawn(layer, first) if _drawing(layer) else 0
            self._added(layer, range(first, count - ignored))
        elif rows:
            self._moved(layer, rows)
        self._count_all()  # with a box its points may have gone
        self._pair.changed.emit()
        if ignored:
            self._pair.ignored.emit(
                f"A box with a side below {LEAST_SIDE} pixels is ignored: drag to its other corner."
            )

    def _drawn(self, layer: Any, first: int) -> int:
        """Remove new boxes that are too small, and end drawing after one that is not.

        Returns
        -------
        int
            How many were taken away.
        """
        # napari begins a box at a size that can be seen: of a click the way says that it is none.
        dragged = str(layer.mode) in ("add_rectangle", "add_ellipse") and len(self._way) > 0
        clicked = dragged and too_small(np.array(self._way))
        if dragged and not clicked and self._leapt:
            self._reach(layer)
        new = range(first, _length(layer))
        small = [i for i in new if clicked or too_small(layer.data[i])]
        if small:
            with self._pair.as_ours():
                remove_rows(layer, small)
        else:
            # napari is not done with the box: in the middle of it the mode cannot be another.
            QTimer.singleShot(0, partial(_select, layer))
        return len(small)

    def _reach(self, layer: Any) -> None:
        """Draw the last box anew, from where the mouse was pressed to where it was let go.

        napari follows the moves alone. While the window is at work, as at the first box of an
        image, the system leaves out moves that it was too busy to hear of.
        """
        start, end = (np.asarray(place, float) for place in self._way)
        first = int(np.argsort(np.abs(end - start))[-1])
        corners = np.array([start, start, end, end])
        corners[1, first], corners[3, first] = end[first], start[first]
        kind = layer.shape_type[-1]
        with self._pair.as_ours():
            remove_rows(layer, [_length(layer) - 1])
            layer.add(corners, shape_type=kind)

    def _refreshed(self, event: Any) -> None:
        """Find what was pasted: napari tells of it by no event of its own."""
        layer = event.source
        new = range(self._known[str(layer.unique_id)], _length(layer))
        ours = layer in self._pair.there()
        if self._pair.writing or self._amid or not new or not ours:
            return
        self._history.edit()
        self._added(layer, new, pasted=True)
        self._count(layer)
        self._pair.changed.emit()

    def _edited_elsewhere(self, layer: Any, rows: list[int], planes: set[Plane]) -> None:
        """Mark prompts of an image that is not the one worked on: in their own layer alone."""
        if rows:
            table = complete(layer.features, _length(layer))
            table.loc[rows, "source"] = "user"
            self._pair.set_features(layer, table)
            planes = planes_of(layer.data, table, rows)
        layer.metadata["touched"] = sorted(touched_in(layer) | planes)
        self._count(layer)

    def _dragged(self, layer: Any, event: Any) -> Iterator[None]:
        """Emit that a shape is being dragged: its layer tells only at the end."""
        self._history.hold()
        before, points = self._history.known().boxes, held_by(self._pair.points, points=True)
        boxes = layer is self._pair.boxes
        start = layer.world_to_data(event.position)
        self._way, self._leapt = [start, start], False
        try:
            yield
            while event.type == "mouse_move":
                self._way[1] = layer.world_to_data(event.position)
                if layer.selected_data:
                    if boxes:
                        self._take_points(points, before, layer.selected_data)
                    self._pair.moving.emit()
                yield
            told, self._way[1] = self._way[1], layer.world_to_data(event.position)
            # With Shift napari draws squares: these end elsewhere than the mouse.
            self._leapt = not event.modifiers and not np.allclose(told, self._way[1], atol=0.5)
            if boxes:  # napari may have moved it once more
                self._take_points(points, before, layer.selected_data)
        finally:
            self._history.let_go()

    # What follows from it

    def _take_points(self, points: Held, before: Held, moved: Iterable[int]) -> None:
        """Let points go with boxes that are moved, and come back with them.

        Parameters
        ----------
        points : Held
            At the beginning.
        before : Held
            The boxes then.
        moved : iterable of int
            Those of them that lie elsewhere now.
        """
        layer, boxes = self._pair.points, self._pair.boxes
        if layer is None or boxes is None or len(before.data) != boxes.nshapes:
            return
        wanted = points.without(points_to_go(points, before, boxes, moved))
        if not np.array_equal(wanted.data, layer.data):
            self._pair.set_points(wanted)

    def _moved(self, layer: Any, rows: list[int]) -> None:
        """Mark the prompts that are not where they were before this burst of edits."""
        before, left = self._history.before, set()
        if before is not None:
            held = before.points if _role(layer) == "points" else before.boxes
            data = layer.data
            if len(held.data) == len(data):
                # Whoever sets all data at once names every row: those that differ were edited.
                rows = [i for i in rows if not np.array_equal(held.data[i], data[i])]
                left = planes_of(held.data, held.features, rows)
                if held is before.boxes:
                    self._take_points(held_by(self._pair.points, points=True), held, rows)
        if rows:
            self.mark(layer, rows, complete(layer.features, len(layer.data)), left)

    def _added(self, layer: Any, new: range, pasted: bool = False) -> None:
        """Set where new prompts lie and what the heatmap has there, and mark them.

        What is pasted keeps the object and the polarity of what was copied.
        """
        rows = list(new)
        if not rows:
            return
        try:
            axis, shown = self._shown.plane()
        except CamSamError:
            # In three dimensions no plane is shown: along the axis that was, where it was put.
            axis = self._axis if layer.ndim == 3 else 0
            shown = round(float(np.atleast_2d(layer.data[rows[0]])[0][axis]))
        self._axis = axis
        if layer.ndim == 3:
            self._put_on_plane(layer, rows, axis, shown, pasted)
        data = layer.data
        table = complete(layer.features, len(data))
        table.loc[rows, "axis"] = 0 if layer.ndim == 2 else axis
        if not pasted:
            polarity = self._pair.polarity if _role(layer) == "points" else "positive"
            table.loc[rows, "polarity"] = polarity
            table.loc[rows, "object"] = self._pair.object_id
        indices = places_of(data, table)[:, 1]
        table.loc[rows, "score"] = [self._score(data[i], axis, int(indices[i])) for i in rows]
        self.mark(layer, rows, table)

    def _put_on_plane(
        self, layer: Any, rows: list[int], axis: int, index: int, pasted: bool
    ) -> None:
        """Move new prompts to where they were seen, on the plane shown.

        The cursor's coordinate along the axis is fractional where the viewer stands between two
        planes, and in a layer that lies oblique it changes over the plane: napari draws the plane
        without its slant, but turns the cursor's place into data with it. What is pasted has its
        place on the plane from what was copied.
        """
        steps, _ = axis_steps(layer)
        inside = [a for a in range(3) if a != axis]
        back = np.linalg.inv(steps[np.ix_(inside, inside)]).T
        data = layer.data
        moved: dict[int, NDArray[np.float64]] = {}
        for i in rows:
            vertices = np.atleast_2d(np.array(data[i], float))
            put = vertices.copy()
            put[:, axis] = index
            if not pasted:
                put[:, inside] = (vertices @ steps.T)[:, inside] @ back
            if not np.allclose(put, vertices):
                moved[i] = put
        if not moved:
            return
        all_of_them = [moved.get(i, np.atleast_2d(one)) for i, one in enumerate(data)]
        points = _role(layer) == "points"
        with self._pair.as_ours():
            layer.data = (
                np.concatenate(all_of_them)
                if points
                else list(zip(all_of_them, layer.shape_type, strict=True))
            )

    def _score(self, vertices: NDArray[Any], axis: int, index: int) -> float:
        """Return the heatmap's value at a point, or its mean in a box; NaN without heatmap."""
        values = self._heatmaps.values(axis, index)
        if values is None:
            return float("nan")
        vertices = np.atleast_2d(np.asarray(vertices, float))
        in_plane = np.delete(vertices, axis, axis=1) if vertices.shape[1] == 3 else vertices
        pixels = np.clip(np.rint(in_plane), 0, np.array(values.shape) - 1).astype(int)
        top, left = pixels.min(axis=0)
        bottom, right = pixels.max(axis=0)
        return float(values[top : bottom + 1, left : right + 1].mean())


def _drawing(layer: Any) -> bool:
    """Check whether the user draws boxes."""
    return _role(layer) == "boxes" and str(layer.mode).startswith("add_")


def _select(layer: Any) -> None:
    """Go back to selecting, where a box was drawn."""
    if _drawing(layer):
        layer.mode = "select"


def _role(layer: Any) -> str:
    return str(mark_of(layer)["role"])


def _length(layer: Any) -> int:
    return int(layer.nshapes) if _role(layer) == "boxes" else len(layer.data)
