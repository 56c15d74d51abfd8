"""Masks before and after they are accepted: the preview layer and the labels layer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.state.image_keys import FrameKey
from napari_cam_sam.plugin.state.image_masks import Accepted, ImageMasks
from napari_cam_sam.plugin.state.mask_preview import MaskPreview
from napari_cam_sam.plugin.state.own_layers import OwnLayers
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks
from napari_cam_sam.plugin.state.prompt_layers import PromptLayers
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.session import Acceptance, Overlap, Written, accept_masks

__all__ = ["MaskLayers"]


class MaskLayers(QObject):
    """The masks of the image's planes, shown in a preview layer until they are accepted.

    Parameters
    ----------
    own : OwnLayers
    prompts : PromptLayers
        What masks may be out of date with.
    parent : QObject
    """

    changed = Signal()
    accepted_changed = Signal()
    labels_changed = Signal(object)
    """What the preview or the labels show is another: axis and index of a plane, None for any."""

    def __init__(self, own: OwnLayers, prompts: PromptLayers, parent: QObject) -> None:
        super().__init__(parent)
        self._shown, self._own, self._prompts = own.shown, own, prompts
        self._preview = MaskPreview(own, lambda: self._here.masks, self)
        self._preview.drawn.connect(self.changed)
        # Looked up by the image and frame worked on whenever it is asked for: nobody can be given
        # the masks of another one, whichever hears first that the image changed.
        self._images: dict[FrameKey, ImageMasks] = {}
        self.taken_back_at = 0.0
        """When an acceptance was undone, if none followed, on the clock of `time.monotonic`."""
        shown = own.shown
        shown.pixels_replaced.connect(self._forget_pixels)
        shown.image_changed.connect(self._image_changed)
        shown.axis_changed.connect(self._show_axis)
        shown.viewer.layers.events.removed.connect(self._layer_removed)

    @property
    def _here(self) -> ImageMasks:
        """The masks of the image and frame worked on."""
        return self._images.setdefault(self._shown.frame_key(), ImageMasks())

    @property
    def target(self) -> Any | None:
        """The user's own labels layer to accept into; None for ours."""
        return self._here.target

    @target.setter
    def target(self, layer: Any | None) -> None:
        self._here.target = layer

    @property
    def accepted(self) -> list[Acceptance]:
        """What was accepted on the image, in that order, and not taken back by `undo_accept`."""
        return [one.record for one in self._here.accepted]

    @property
    def accepted_at(self) -> float:
        """When what an undo would take back was accepted, on the clock of `time.monotonic`."""
        undo = self._here.undo
        return undo[-1].at if undo else 0.0

    @property
    def can_undo(self) -> bool:
        """Whether an acceptance can be undone."""
        return bool(self._here.undo)

    def get(self, axis: int, index: int) -> PlaneMasks | None:
        """Return the masks of a plane that are not accepted yet."""
        return self._here.masks.get((axis, index))

    def held(self) -> list[PlaneMasks]:
        """List all masks of the image that are not accepted yet."""
        return [masks for _, masks in sorted(self._here.masks.items())]

    def planes(self, axis: int) -> list[int]:
        """List the planes along an axis with masks that are not accepted yet."""
        return sorted(index for at, index in self._here.masks if at == axis)

    def outdated(self, axis: int) -> list[int]:
        """List the planes along an axis whose masks are of prompts that lie elsewhere now."""
        now = {prompts.index: prompts for prompts in self._prompts.read_all(axis)}
        masks = self._here.masks
        return [
            index
            for index in self.planes(axis)
            if masks[axis, index].is_stale(now.get(index, PlanePrompts(axis, index)))
        ]

    def put(self, masks: PlaneMasks, keep_choice: bool = True) -> None:
        """Show the masks of a plane in the preview.

        Parameters
        ----------
        masks : PlaneMasks
        keep_choice : bool
            Whether a candidate that the user chose of the same segmenter's masks stays chosen.
        """
        key = (masks.prompts.axis, masks.prompts.index)
        before = self._here.masks.get(key)
        if keep_choice and before is not None and before.picked:
            same = before.segmenter_sha256 == masks.segmenter_sha256
            same &= [len(f.masks) for f in before.found] == [len(f.masks) for f in masks.found]
            if same:
                masks = replace(masks, chosen=before.chosen, picked=True)
        self._here.masks[key] = masks.lean()
        self._redraw(key)

    def credit(self, prompts: PlanePrompts) -> None:
        """Set the source and score of prompts that lie where those of the masks do."""
        key = (prompts.axis, prompts.index)
        masks = self._here.masks.get(key)
        if masks is not None and masks.prompts != prompts:
            self._here.masks[key] = replace(masks, prompts=prompts)
            self.changed.emit()

    def drop(self, axis: int, index: int) -> None:
        """Forget the masks of a plane that were not accepted."""
        if self._here.masks.pop((axis, index), None) is not None:
            self._redraw((axis, index))

    def flip(self, axis: int, index: int, step: int, object_id: int | None = None) -> None:
        """Show the next candidate, or the one before, of an object or of all."""
        masks = self._here.masks.get((axis, index))
        if masks is None:
            return
        chosen = tuple(
            (c + step) % len(one.masks) if object_id in (None, one.object_id) else c
            for c, one in zip(masks.chosen, masks.found, strict=True)
        )
        self._here.masks[axis, index] = replace(masks, chosen=chosen, picked=True)
        self._redraw((axis, index))

    def accept(self, axis: int, indices: list[int], overlap: Overlap) -> int:
        """Write the masks shown into the labels layer, each plane one step of its undo.

        Parameters
        ----------
        axis : int
        indices : list of int
            Planes without masks are passed over.
        overlap : {"keep", "overwrite"}
            Whether labels that are there stay.

        Returns
        -------
        int
            On how many planes masks were accepted.

        Raises
        ------
        CamSamError
            If the labels layer is not editable or cannot be written into, or has no label for an
            object of a mask. Nothing is written then.
        """
        here = self._here
        todo = [i for i in indices if (axis, i) in here.masks]
        if not todo:
            return 0
        layer = self._target()
        image = self._shown.image()
        earlier = [one.written for one in self._showing() if one.layer is layer]
        together: list[tuple[Accepted, PlaneMasks]] = []
        for index in todo:
            masks = here.masks[axis, index]
            written = accept_masks(layer.data, axis, index, masks.masks(), overlap, earlier)
            together.append((Accepted(masks.acceptance(overlap), layer, written), masks))
        for one, _ in together:
            one.write(image, one.written.where, one.written.after)
            here.accepted.append(one)
            del here.masks[one.plane]
        layer.refresh(extent=False)
        self._preview.draw((axis, index) for index in todo)
        here.remember(together)
        self.taken_back_at = 0.0
        self._accepted_changed()
        return len(todo)

    def undo_accept(self) -> int:
        """Undo what was accepted last: labels as they were, masks in the preview again.

        Pixels that were painted over since then stay, and so do newer masks in the preview: what
        was accepted can be made again, but nothing brings back a mask that is written over.

        Returns
        -------
        int
            On how many planes; 0 where nothing is left to take back.

        Raises
        ------
        CamSamError
            If the labels layer is not editable. Nothing is taken back then.
        """
        here = self._here
        if not here.undo:
            return 0
        image = self._shown.image()
        together = here.undo[-1].planes
        layer = together[0][0].layer
        # A layer that was removed, or took other data, holds nothing of it any more.
        holds = self._fits(layer)
        if holds:
            _check_editable(layer)
        here.undo.pop()
        self.taken_back_at = time.monotonic()
        gone = {one for one, _ in together}
        here.accepted = [one for one in here.accepted if one not in gone]
        for one, masks in together:
            if holds:
                ours = one.now(image) == one.written.after
                one.write(image, one.written.where[ours], one.written.before[ours])
            here.masks.setdefault(one.plane, masks.masks())
        if holds:
            layer.refresh(extent=False)
        self._preview.draw(one.plane for one, _ in together)
        self._accepted_changed()
        return len(together)

    def standing(self) -> tuple[Acceptance, ...]:
        """List the acceptances that still show in the labels.

        One is left out if no pixel that it wrote is left: the layer's own undo, or the eraser,
        took it back, and run again it would come out other than the labels are.
        """
        return tuple(one.record for one in self._showing())

    def stands_for(self, prompts: PlanePrompts) -> bool:
        """Check whether the labels show a mask that was accepted from these prompts.

        Parameters
        ----------
        prompts : PlanePrompts
            Of one plane.

        Returns
        -------
        bool
            False where any of them was moved, added or removed since, or where another mask of
            one of their objects was accepted after it.
        """
        ids = {one.object_id for one in prompts.objects}
        last = self._here.last_accepted((prompts.axis, prompts.index), ids)
        return (
            last is not None
            and last.record.prompts.coordinates() == prompts.coordinates()
            and self._fits(last.layer)
            and last.shows(self._shown.image())
        )

    def work_layers(self) -> list[Any]:
        """List the layers that hold the work on the image: ours, and others accepted into.

        One of the user's that was only chosen to accept into may hold a truth, no work.

        Where two have labels, those of the later one in the list were accepted later.
        """
        into = [one.layer for one in self._showing()]
        found = [self._own.find("labels"), *into]
        once = list(dict.fromkeys(reversed(found)))[::-1]
        return [layer for layer in once if layer is not None and self._fits(layer)]

    def _showing(self) -> list[Accepted]:
        accepted = self._here.accepted
        if not accepted:
            return []
        # Asked once for them all: a volume has many, and they are looked at as the user scrolls.
        image = self._shown.image()
        there = [layer for layer in {one.layer for one in accepted} if self._fits(layer)]
        return [one for one in accepted if one.layer in there and one.shows(image)]

    def _fits(self, layer: Any) -> bool:
        """Check whether a layer is still there, with an array in memory on the image's grid."""
        viewer = self._shown.viewer
        if layer not in viewer.layers or not isinstance(layer.data, np.ndarray):
            return False
        return bool(layer.data.shape == self._shown.image().spatial_shape)

    def restore(self, accepted: Iterable[Acceptance]) -> None:
        """Restore what a session says was accepted, in place of what was and of masks not accepted.

        No undo goes behind it. The session's labels are in our own layer by now; which of them
        were painted by hand it does not say, so those of an object count as its acceptance's.
        """
        here = self._here
        before = list(here.masks)
        here.target = None
        for part in (here.undo, here.accepted, here.masks):
            part.clear()
        self._preview.draw(before)
        layer = self._own.find("labels")
        if layer is not None:
            image = self._shown.image()
            for record in accepted:
                place = record.prompts.axis, record.prompts.index
                plane = np.asarray(layer.data[image.plane_index(*place)])
                # Most planes of a volume may hold nothing; to look for ids takes far longer.
                there = np.isin(plane, list(record.object_ids)) if plane.any() else plane
                where = np.flatnonzero(there).astype(np.uint32)
                after = plane.take(where)
                ids, before_it = frozenset(record.object_ids), np.zeros_like(after)
                written = Written(*place, ids, where, before_it, after)
                here.accepted.append(Accepted(record, layer, written))
        self._accepted_changed()

    def _accepted_changed(self) -> None:
        self.changed.emit()
        self.accepted_changed.emit()
        self.labels_changed.emit(None)

    def _show_axis(self, _: object = None) -> None:
        """Show the masks along the axis that the viewer shows alone."""
        self._preview.draw(())
        self.labels_changed.emit(None)

    def accept_layer(self) -> Any | None:
        """Return the labels layer that masks are accepted into: the user's choice, else ours."""
        if self.target is not None and self.target in self._shown.viewer.layers:
            return self.target
        return self._own.find("labels")

    def _target(self) -> Any:
        layer = self.accept_layer()
        if layer is None:
            layer = self._own.labels("labels")
        reason = self._shown.mismatch(layer)
        if reason is not None:
            raise CamSamError(reason)
        ndim = self._shown.image().spatial_ndim
        if layer.ndim != ndim:
            raise CamSamError(
                f"{layer.name} has {layer.ndim} axes, the image {ndim}: "
                "choose another labels layer, or a new one."
            )
        if not isinstance(layer.data, np.ndarray) or getattr(layer, "multiscale", False):
            raise CamSamError(
                f"{layer.name} cannot be written into, it is not a plain array in memory: choose "
                "another labels layer, or a new one."
            )
        _check_editable(layer)
        return layer

    def _redraw(self, key: tuple[int, int]) -> None:
        """Write a plane of the preview, and tell of it."""
        self._preview.draw([key])
        self.labels_changed.emit(key)
        self.changed.emit()

    def _forget_pixels(self) -> None:
        """Forget the masks of old pixels, and what would bring them back, of all frames."""
        layer = self._shown.frame_key().layer
        for of, one in self._images.items():
            if of.layer == layer:
                one.masks.clear()
                one.undo.clear()

    def _image_changed(self) -> None:
        """Go to another image or frame: each has its own masks."""
        self.taken_back_at = 0.0
        self._drop_gone()
        self._preview.draw_all_soon()
        self.changed.emit()

    def _layer_removed(self, event: Any) -> None:
        mark = mark_of(event.value)
        if mark.get("role") == "preview":
            of = self._images.get(FrameKey(mark.get("of"), mark.get("frame")))
            if of is not None and of.masks:
                of.masks.clear()
                self.changed.emit()
        self._drop_gone()

    def _drop_gone(self) -> None:
        """Forget the work on images that are gone: the masks of many planes are large."""
        there = {layer.unique_id for layer in self._shown.viewer.layers}
        self._images = {of: one for of, one in self._images.items() if of.layer in there}


def _check_editable(layer: Any) -> None:
    """Refuse to write where napari lets nobody paint; its lock is about deletion alone."""
    if not layer.editable:
        raise CamSamError(f"{layer.name} is not editable: make it so first.")
