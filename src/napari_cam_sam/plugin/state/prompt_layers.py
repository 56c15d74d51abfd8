"""Prompts as layers that can be edited: points and boxes with their provenance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import pandas as pd
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.plugin.layers.prompt_provenance import complete, table_of
from napari_cam_sam.plugin.layers.prompt_table import (
    Plane,
    box_rows,
    point_rows,
    prompted,
    read_rows,
)
from napari_cam_sam.plugin.state.heatmap_layers import HeatmapLayers
from napari_cam_sam.plugin.state.own_layers import OwnLayers
from napari_cam_sam.plugin.state.prompt_edits import UserEdits
from napari_cam_sam.plugin.state.prompt_history import PromptHistory
from napari_cam_sam.plugin.state.prompt_layer_pair import PromptLayerPair, remove_rows
from napari_cam_sam.plugin.state.prompt_owners import (
    check_object_free,
    objects_of_the_user,
    owners,
    row_owners,
)
from napari_cam_sam.prompts.data import PlanePrompts

__all__ = ["Conflict", "PromptLayers"]

Conflict = Literal["keep", "replace", "add"]


class PromptLayers(PromptLayerPair):
    """The points layer and the boxes layer over the image, read and written as prompts.

    What the user draws, moves, turns or deletes becomes the user's, and so does its plane.

    Parameters
    ----------
    own : OwnLayers
    heatmaps : HeatmapLayers
        Give what the user draws its score.
    parent : QObject
    """

    object_chosen = Signal(int)
    """The object that new prompts belong to is another."""
    settled = Signal()
    """As `changed`, once a drag or a burst is over."""

    def __init__(self, own: OwnLayers, heatmaps: HeatmapLayers, parent: QObject) -> None:
        super().__init__(own, parent)
        shown = own.shown
        self._history = PromptHistory(self.state, self.set_state, self)
        self._history.settled.connect(self.settled)
        self._edits = UserEdits(self, own.shown, heatmaps, self._history)
        shown.image_changed.connect(self._forget)
        shown.axis_changed.connect(self.show_axis)
        events = shown.viewer.layers.events
        events.removing.connect(self._layer_goes)
        events.removed.connect(self._layer_removed)

    # The layers

    def set_object(self, object_id: int) -> None:
        """Choose the object that new prompts belong to; selected prompts move to it too."""
        super().set_object(object_id)
        moved = False
        for layer in self.there():
            chosen = sorted(layer.selected_data)
            if chosen:
                self._history.edit()
                table = complete(layer.features, len(layer.data))
                table.loc[chosen, ["object", "extraction_id"]] = object_id, 0
                self._edits.mark(layer, chosen, table)
                moved = True
        self.object_chosen.emit(object_id)
        if moved:
            self.changed.emit()

    def _layer_goes(self, event: Any) -> None:
        """Keep what a layer holds that is about to be removed: undo brings it back."""
        if self._shown.viewer.layers[event.index] in (self.points, self.boxes):
            self._history.edit()

    def _layer_removed(self, event: Any) -> None:
        if event.value in self._known:
            self._known.remove(event.value)
            self.changed.emit()

    def _forget(self) -> None:
        self._history.forget()
        self.changed.emit()
        self.settled.emit()

    # Reading

    def read(self, axis: int, index: int) -> PlanePrompts:
        """Return the prompts on a plane, of each object its points and one entry a box."""
        return read_rows(self.held(), axis, index).get(index, PlanePrompts(axis, index))

    def read_all(self, axis: int) -> tuple[PlanePrompts, ...]:
        """Return the prompts of every plane along an axis that has some."""
        found = read_rows(self.held(), axis)
        return tuple(found[index] for index in sorted(found))

    def planes(self, axis: int) -> list[int]:
        """List the planes along an axis that have prompts."""
        return sorted(prompted(self.held(), axis))

    def edited(self, extraction_id: int | None = None) -> set[Plane]:
        """Return the planes on which the user edited what an extraction would replace.

        Parameters
        ----------
        extraction_id : int, optional
            The first object that the extraction makes; None for one that replaces all.
        """
        touched = self.touched()
        if extraction_id is None or not touched:
            return touched
        mine, of = objects_of_the_user(self.held()), owners(self.held())
        # Where nothing of the user's is left, what was deleted may have been of any object.
        return {p for p in touched if p not in mine or extraction_id in {of[p][o] for o in mine[p]}}

    # Writing

    def write(
        self,
        planes: Iterable[PlanePrompts],
        conflict: Conflict = "keep",
        extraction_id: int | None = None,
    ) -> int:
        """Place prompts in the layers, as one step of the history.

        Parameters
        ----------
        planes : iterable of PlanePrompts
            Where the user edited nothing that they replace, they do so at once.
        conflict : {"keep", "replace", "add"}
            For planes where the user did (`edited`): leave them as they are, replace the prompts
            there, or add to them.
        extraction_id : int, optional
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
        touched, mine = self.touched(), self.edited(extraction_id)
        wanted, cleared = [], set()
        for plane in planes:
            key = (plane.axis, plane.index)
            if key in mine and conflict == "keep":
                continue
            if key not in mine or conflict == "replace":
                cleared.add(key)
            wanted.append(plane)
        if extraction_id is not None:
            check_object_free(wanted, extraction_id, owners(self.held()))
        self._history.edit()
        with self.as_ours():
            self._remove_planes(cleared, extraction_id)
            if conflict == "replace":
                touched -= cleared - objects_of_the_user(self.held()).keys()
            for layer, rows_of in ((points, point_rows), (boxes, box_rows)):
                new = rows_of(wanted, layer.ndim)
                if new:
                    there = complete(layer.features, len(layer.data))
                    rows = table_of([row for _, row in new])
                    layer.add([place for place, _ in new])
                    rows["extraction_id"] = extraction_id or 0
                    self.set_features(layer, pd.concat([there, rows]))
            # napari selects what is added: T, Delete and the object's number would mean all of it.
            points.selected_data = boxes.selected_data = set()
            self.set_touched(touched)
        self.changed.emit()
        return sum(bool(plane.objects) for plane in wanted)

    def clear(self, axis: int, index: int) -> None:
        """Remove the prompts of a plane; it counts as the user's choice."""
        if not self.there():
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
            self.set_polarity("positive" if self.polarity == "negative" else "negative")
            self.changed.emit()
            return self.polarity
        self._history.edit()
        table = complete(points.features, len(points.data))
        now = "positive" if table.loc[chosen[0], "polarity"] == "negative" else "negative"
        table.loc[chosen, "polarity"] = now
        self._edits.mark(points, chosen, table)
        self.changed.emit()
        return now

    def _remove_planes(self, planes: set[Plane], extraction_id: int | None = None) -> None:
        """Remove the prompts on planes: what was placed from an object, or all."""
        of = owners(self.held())
        for layer in self.there() if planes else ():
            gone = [
                i
                for i, (plane, object_id, *_) in enumerate(row_owners(layer.data, layer.features))
                if plane in planes
                and (extraction_id is None or of[plane][object_id] == extraction_id)
            ]
            if gone:
                remove_rows(layer, gone)

    def mark_touched(self, planes: Iterable[Plane]) -> None:
        """Set which planes are the user's, e.g. those of a session that is opened again."""
        self.create()
        self.set_touched(planes)

    # Undo and redo

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

    def settle(self) -> None:
        """End a burst of edits now, if one is going on: it is one step of the history."""
        self._history.settle()

    def undo(self) -> bool:
        """Go back before the last edit; False where there is none."""
        return self._told(self._history.undo())

    def redo(self) -> bool:
        """Redo the last undo; False where there is none."""
        return self._told(self._history.redo())

    def _told(self, stepped: bool) -> bool:
        if stepped:
            self.changed.emit()
            self.settled.emit()
        return stepped
