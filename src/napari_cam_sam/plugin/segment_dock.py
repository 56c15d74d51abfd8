"""The third step: Segment Anything on the prompts, and masks into labels."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.forms import Choice, button, form, listen
from napari_cam_sam.plugin.importing import import_torch
from napari_cam_sam.plugin.layers import frame_shown, image_of, is_own
from napari_cam_sam.plugin.mask_layers import PlaneMasks
from napari_cam_sam.plugin.preferences import preferences
from napari_cam_sam.plugin.task_row import TaskRow, duration
from napari_cam_sam.plugin.tasks import Newest
from napari_cam_sam.plugin.workspace import Snapshot, workspace_of
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.registry import (
    REGISTRY,
    default_segmenter,
    is_installed,
    segmenter_names,
)

if TYPE_CHECKING:
    import napari

    from napari_cam_sam.sam.embeddings import EmbeddingCache
    from napari_cam_sam.sam.segmenter import Segmenter

__all__ = ["SegmentDock"]

_BROWSE = "Open a checkpoint…"
_HINTS = {
    "seeded": "Needs no weights: a random walk from the prompts.",
    "compact-sam": "Shipped; it learned from phantoms alone. For trying out.",
}
# A segmenter that encodes a plane in less time does so at every edit.
_AT_ONCE_SECONDS = 1.0
# While a prompt is dragged, masks on the way are shown no more often than this.
_SHOWN_SECONDS = 0.3
_TELL_MS = 100


class SegmentDock(QWidget):
    """Choose a segmenter; make masks of the prompts, choose among them, accept them.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    segmented = Signal(bool)
    """A run is over; True if it ran to its end."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        self.masks = self.workspace.masks
        self._pace: dict[str, float] = {}
        self._chosen_for: object = None

        self.segmenter = Choice("The model that turns prompts into masks.")
        self.target = Choice(
            "The labels layer that accepted masks go into, as labels of their objects."
        )
        self.overlap = Choice("What becomes of labels of other objects that a mask covers.")
        self.run = button("Segment plane (S)", "The prompts of the plane shown.")
        self.run_all = button("…all prompted (Shift-S)", "Every plane along the axis with prompts.")
        self.live = QCheckBox("Live: again whenever a prompt moves")
        self.live.setChecked(True)
        self.live.setToolTip("Decodes at once where the plane is encoded.")
        self.before = button("◀", "The candidate mask before this one.")
        self.after = button("▶", "The next candidate mask.")
        self.which = Choice("Whose candidates the arrows flip through.")
        self.shown = QLabel()
        self.shown.setWordWrap(True)
        self.accept = button("Accept (C)", "Writes the mask of this plane into the labels.")
        self.accept_all = button("Accept all", "Writes every mask of the preview.")
        self.undo = button("Undo acceptance", "Labels as they were before, masks in the preview.")
        self.row = TaskRow()

        whole = QVBoxLayout(self)
        whole.addLayout(form((("Segmenter", self.segmenter),)))
        buttons = QGridLayout()
        buttons.addWidget(self.run, 0, 0)
        buttons.addWidget(self.run_all, 0, 1)
        whole.addLayout(buttons)
        whole.addWidget(self.live)
        flip = QHBoxLayout()
        for widget in (self.before, self.after, self.which):
            flip.addWidget(widget)
        whole.addLayout(flip)
        whole.addWidget(self.shown)
        whole.addLayout(form((("Into", self.target), ("Overlap", self.overlap))))
        accepting = QHBoxLayout()
        accepting.addWidget(self.accept)
        accepting.addWidget(self.accept_all)
        accepting.addWidget(self.undo)
        whole.addLayout(accepting)
        whole.addWidget(self.row)
        whole.addStretch()

        self._list_segmenters()
        self.overlap.offer(
            [
                ("keep what is there", "keep", "Labels of other objects stay."),
                ("overwrite", "overwrite", "The new mask wins."),
            ]
        )
        self._shown_at = self._moved_at = 0.0
        self._asked: tuple[Any, ...] = ()
        self._newest = Newest(self._decoded, self._refused, self)
        self._tell_timer = QTimer(self)
        self._tell_timer.setSingleShot(True)
        self._tell_timer.setInterval(_TELL_MS)
        self._tell_timer.timeout.connect(self._tell)
        self._live_timer = QTimer(self)
        self._live_timer.setSingleShot(True)
        self._live_timer.setInterval(0)
        self._live_timer.timeout.connect(self._decode_live)
        workspace = self.workspace
        self.segmenter.chosen.connect(self._segmenter_chosen)
        self.target.chosen.connect(self._target_chosen)
        self.run.clicked.connect(lambda: self.segment())
        self.run_all.clicked.connect(lambda: self.segment_all())
        self.before.clicked.connect(lambda: self.flip(-1))
        self.after.clicked.connect(lambda: self.flip(1))
        self.accept.clicked.connect(lambda: self.accept_masks())
        self.accept_all.clicked.connect(lambda: self.accept_masks(everywhere=True))
        self.undo.clicked.connect(self.undo_accept)
        self.row.ended.connect(self._ended)
        workspace.prompts.changed.connect(self._prompts_changed)
        workspace.prompts.moving.connect(self._prompt_moving)
        workspace.plane_changed.connect(self._tell)
        workspace.image_changed.connect(self._image_changed)
        workspace.segmenter_changed.connect(self._segmenter_changed)
        self.masks.changed.connect(self._tell)
        events = napari_viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            listen(self, event, self._list_targets)
        self._image_changed()
        workspace.register("segment", self.segment)
        workspace.register("segment all", self.segment_all)
        workspace.register("accept", self.accept_masks)
        workspace.register_state("segment", self.state, self.set_state)

    # What there is to choose from

    def _list_segmenters(self) -> None:
        items: list[tuple[str, Any, str]] = []
        folder = preferences().cache_folder or None
        for name in segmenter_names():
            if name in REGISTRY:
                entry = REGISTRY[name]
                ready = is_installed(name, folder)
                text = name if ready else f"{name} (download, {entry.size / 1e6:.0f} MB)"
                items.append((text, name, entry.note or entry.licence))
            else:
                items.append((name, name, _HINTS.get(name, "")))
        self.segmenter.offer([*items, (_BROWSE, _BROWSE, "A .pth or .safetensors of a SAM.")])
        preferred = preferences().segmenter
        if preferred:
            self.choose(preferred)
        else:
            self.segmenter.set_value(default_segmenter(folder))

    def _image_changed(self) -> None:
        self._newest.drop()
        layer = self.workspace.image_layer
        if layer is not self._chosen_for:
            self._chosen_for = layer
            suited = self.workspace.suggestion("segmenter")
            if suited is not None and self.segmenter.value() == "seeded":
                self.segmenter.set_value(suited)
        self._list_targets()
        self._tell()

    def _list_targets(self, _: object = None) -> None:
        own = [x for x in self.workspace.labels_layers() if not is_own(x)]
        ours = self.workspace.own("labels")
        name = "a new layer" if ours is None else ours.name
        self.target.offer([(name, None), *((layer.name, layer) for layer in own)])

    def _target_chosen(self) -> None:
        self.masks.target = self.target.value()

    def choose(self, segmenter: str) -> None:
        """Choose a segmenter by its name, or by the path of a checkpoint."""
        if not self.segmenter.set_value(segmenter):
            self.segmenter.insertItem(0, Path(segmenter).name, segmenter)
            self.segmenter.setCurrentIndex(0)
        self._tell()

    def _segmenter_chosen(self) -> None:
        if self.segmenter.value() == _BROWSE:
            path, _ = QFileDialog.getOpenFileName(
                self, "A SAM's checkpoint", "", "Checkpoints (*.pth *.pt *.safetensors)"
            )
            self.segmenter.set_value(default_segmenter(preferences().cache_folder or None))
            if path:
                self.choose(path)
        self._tell()

    def _segmenter_changed(self) -> None:
        self._newest.drop()
        self._tell()

    def _loaded(self) -> Segmenter | None:
        """Give the segmenter if it is the one that is chosen."""
        held = self.workspace.segmenter_held
        wanted = (self.segmenter.value(), self.workspace.device)
        return self.workspace.segmenter if held == wanted else None

    def state(self) -> dict[str, Any]:
        """Give the choices as plain data, for the session."""
        return {
            "segmenter": self.segmenter.value(),
            "overlap": self.overlap.value(),
            "live": self.live.isChecked(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take choices from a session."""
        if state.get("segmenter"):
            self.choose(state["segmenter"])
        self.overlap.set_value(state.get("overlap"))
        self.live.setChecked(bool(state.get("live", True)))

    # Segmenting

    def segment(self, everywhere: bool = False) -> bool:
        """Make masks of the prompts of the plane shown, or of every plane that has some.

        Returns
        -------
        bool
            False where nothing could be started; why is said.
        """
        workspace = self.workspace
        try:
            snapshot = workspace.snapshot()
            if everywhere:
                todo = list(workspace.prompts.read_all(snapshot.axis))
            else:
                todo = [workspace.prompts.read(snapshot.axis, snapshot.index)]
            todo = [plane for plane in todo if plane.objects]
            if not todo:
                where = "No plane along this axis has" if everywhere else "This plane has no"
                raise CamSamError(f"{where} prompts: place some (step 2), or draw a box.")
        except CamSamError as error:
            self.row.say(str(error))
            # The dock may be scrolled elsewhere when a key is pressed.
            show_info(str(error))
            return False
        self._newest.drop()
        held, name, device = self._loaded(), str(self.segmenter.value()), workspace.device
        embeddings = workspace.embeddings

        def steps() -> Generator[Any]:
            segmenter = held
            if segmenter is None:
                segmenter = _load(name, device)
                yield segmenter
            for prompts in todo:
                begin = time.monotonic()
                masks = _decode(segmenter, name, embeddings, snapshot, prompts)
                yield masks, time.monotonic() - begin

        def show(step: Any) -> None:
            if not isinstance(step, tuple):
                workspace.segmenter, workspace.segmenter_held = step, (name, device)
                workspace.segmenter_changed.emit()
                return
            masks, seconds = step
            self._pace[name] = seconds
            self.masks.put(masks)

        if held is None:
            self.row.say(f"Loading {name}…")
        description = f"Masks of {len(todo)} plane{'s' if len(todo) > 1 else ''}"
        started = self.row.start(
            steps,
            len(todo) + (held is None),
            description,
            show,
            lambda: workspace.is_current(snapshot),
        )
        self._enable()
        return started

    def segment_all(self) -> bool:
        """Make masks of every plane with prompts along the axis shown; as `segment`."""
        return self.segment(everywhere=True)

    def _prompt_moving(self) -> None:
        # Not at every move: where a prompt is let go counts, and nothing shall be in its way then.
        if time.monotonic() - self._moved_at > _SHOWN_SECONDS:
            self._moved_at = time.monotonic()
            self._decode_live()

    def _prompts_changed(self) -> None:
        # At once: a timer would come only after the window has painted what was dragged.
        self._decode_live()
        if not self._tell_timer.isActive():
            self._tell_timer.start()

    def _decode_live(self) -> None:
        """Decode the plane shown again, if that takes no time worth a bar."""
        workspace = self.workspace
        try:
            axis, index = workspace.plane()
            prompts = workspace.prompts.read(axis, index)
            if not prompts.objects:
                self._newest.drop()
                self.masks.drop(axis, index)
                return
            segmenter = self._loaded()
            if not self.live.isChecked() or segmenter is None or self.row.busy:
                return
            # At the end of a drag a prompt becomes the user's, where it was decoded already.
            wanted = (id(workspace.image_layer), self.segmenter.value(), _places(prompts))
            if wanted == self._asked and self._newest.busy:
                return
            known = self.masks.get(axis, index)
            same = known is not None and _places(known.prompts) == _places(prompts)
            if same and not self._newest.busy:
                self.masks.credit(prompts)
                return
            self._asked = wanted
            snapshot = workspace.snapshot()
        except CamSamError as error:
            self.row.say(str(error))
            return
        name = str(self.segmenter.value())
        quick = self._pace.get(name, np.inf) < _AT_ONCE_SECONDS
        embeddings = workspace.embeddings

        def question() -> PlaneMasks | None:
            if not quick and embeddings.get(segmenter, snapshot.plane(index)) is None:
                return None
            return _decode(segmenter, name, embeddings, snapshot, prompts)

        self._newest.ask(question)

    def _decoded(self, masks: PlaneMasks | None) -> None:
        if masks is None or self.workspace.image_layer is None:
            return
        now = time.monotonic()
        if self._newest.overtaken and now - self._shown_at < _SHOWN_SECONDS:
            return  # a newer one is on its way, and painting this one would delay it
        self._shown_at = now
        self.masks.put(masks)
        if not self._newest.overtaken:
            self._decode_live()

    def _refused(self, sentence: str) -> None:
        self.row.say(sentence)

    def _ended(self, complete: bool) -> None:
        self._tell()
        self.segmented.emit(complete)
        # What the user moved meanwhile is decoded now.
        self._live_timer.start()

    def stop(self) -> None:
        """Cancel what runs; masks that are made stay."""
        self._newest.drop()
        self.row.stop()

    # Choosing and accepting

    def flip(self, step: int) -> None:
        """Show another candidate on the plane shown."""
        try:
            axis, index = self.workspace.plane()
        except CamSamError as error:
            self.row.say(str(error))
            return
        self.masks.flip(axis, index, step, self.which.value())

    def accept_masks(self, everywhere: bool = False) -> None:
        """Write the mask of the plane shown, or all of the preview, into the labels."""
        try:
            axis, index = self.workspace.plane()
            planes = self.masks.planes(axis) if everywhere else [index]
            count = self.masks.accept(axis, planes, self.overlap.value())
        except CamSamError as error:
            self.row.say(str(error))
            return
        if count == 0:
            self.row.say("There is no mask to accept here: press S first.")
            show_info("There is no mask to accept here: press S first.")
        else:
            what = "mask of this plane" if not everywhere else f"masks of {count} planes"
            self.row.say(f"Accepted the {what}; Ctrl-Z takes it back.")

    def undo_accept(self) -> None:
        """Take back what was accepted last."""
        count = self.masks.undo_accept()
        self.row.say(f"Taken back on {count} planes." if count else "Nothing was accepted.")

    # In words

    def _enable(self) -> None:
        self.run.setEnabled(not self.row.busy)
        self.run_all.setEnabled(not self.row.busy)

    def _tell(self) -> None:
        """Say what is shown on this plane, and what pressing the button would do."""
        self._enable()
        workspace = self.workspace
        try:
            axis, index = workspace.plane()
            masks = self.masks.get(axis, index)
            n_planes = len(workspace.prompts.planes(axis))
            prompted = bool(workspace.prompts.read(axis, index).objects)
        except CamSamError as error:
            self.row.say(str(error))
            self.shown.setText("")
            self.run.setEnabled(False)
            self.run_all.setEnabled(False)
            return
        for one in (self.before, self.after, self.accept):
            one.setEnabled(masks is not None)
        self.accept_all.setEnabled(bool(self.masks.planes(axis)))
        if masks is None:
            self.which.offer([("all objects", None)])
            self.shown.setText("No mask on this plane yet." if prompted else "No prompts here.")
        else:
            ids = sorted({one.object_id for one in masks.found})
            self.which.offer([("all objects", None), *((f"object {i}", i) for i in ids)])
            self.shown.setText(self._words_of(masks))
        if not self.row.busy:
            self.row.say(self._plan(n_planes))

    def _plan(self, n_planes: int) -> str:
        name = str(self.segmenter.value())
        pace = self._pace.get(name)
        words = f"{name} on the {'CPU' if self._on_cpu() else self.workspace.device}"
        if n_planes:
            words += f"; {n_planes} plane{'s' if n_planes > 1 else ''} with prompts"
            if pace is not None:
                words += f", {duration(pace * n_planes)} for all"
        if name == "compact-sam":
            words += ". It learned from phantoms alone: for trying out"
        return words + "."

    def _on_cpu(self) -> bool:
        segmenter = self._loaded()
        if segmenter is not None:
            return segmenter.device == "cpu"
        return self.workspace.device in ("auto", "cpu")

    def _words_of(self, masks: PlaneMasks) -> str:
        """Say which candidates are shown, and how good they are held to be."""
        parts = []
        for one, chosen in zip(masks.found, masks.chosen, strict=True):
            which = f"mask {chosen + 1} of {len(one.masks)}"
            label = f"object {one.object_id}: " if len(masks.found) > 1 else ""
            parts.append(f"{label}{which}, the model expects IoU {one.scores[chosen]:.2f}")
        words = "; ".join(parts) + "."
        dice = self._dice(masks)
        if dice is not None:
            words += f" Dice with the truth {dice:.3f}."
        now = self.workspace.prompts.read(masks.prompts.axis, masks.prompts.index)
        if _places(now) != _places(masks.prompts) and not self._newest.busy:
            words += " It is of the prompts as they were before: press S."
        return words

    def _dice(self, masks: PlaneMasks) -> float | None:
        """Dice of the masks shown with the truth, where there is one on this plane."""
        from napari_cam_sam.metrics.overlap import overlap

        workspace, truth = self.workspace, self.workspace.truth()
        if truth is None or workspace.mismatch(truth) is not None:
            return None
        prompts = masks.prompts
        image = image_of(truth, frame_shown(workspace.viewer, truth))
        answer = image.plane(prompts.axis, prompts.index) > 0
        if not answer.any():
            return None
        whole = np.zeros(answer.shape, bool)
        for mask in masks.masks().values():
            whole |= mask
        return overlap(whole, answer).dice


def _load(name: str, device: str) -> Segmenter:
    import_torch()
    from napari_cam_sam.sam.loading import load_segmenter

    return load_segmenter(name, device, preferences().cache_folder or None)


def _decode(
    segmenter: Segmenter,
    name: str,
    embeddings: EmbeddingCache,
    snapshot: Snapshot,
    prompts: PlanePrompts,
) -> PlaneMasks:
    """Encode a plane where it is not yet, and decode its prompts; in a thread."""
    from napari_cam_sam.prompts.bounds import check_prompts
    from napari_cam_sam.sam.choice import choose_mask

    plane = snapshot.plane(prompts.index)
    check_prompts(prompts, (plane.shape[0], plane.shape[1]))
    found = segmenter.decode(embeddings.encode(segmenter, plane), prompts.objects)
    window = snapshot.window()
    return PlaneMasks(
        prompts,
        tuple(found),
        tuple(choose_mask(one, "best") for one in found),
        name,
        segmenter.model_hash,
        (window.low, window.high),
    )


def _places(prompts: PlanePrompts) -> tuple[Any, ...]:
    """Give all of a plane's prompts that a segmenter looks at: not their source or score."""
    return tuple(
        (
            one.object_id,
            tuple((p.row, p.column, p.positive) for p in one.points),
            one.box and (one.box.row_min, one.box.column_min, one.box.row_max, one.box.column_max),
        )
        for one in prompts.objects
    )
