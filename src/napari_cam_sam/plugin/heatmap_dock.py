"""The first step: heatmaps of a classifier as a layer over the image."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_cam_sam.cam.names import METHOD_NAMES
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import CT_PRESETS, WindowParameters
from napari_cam_sam.models.names import classifier_names, shipped_classifiers
from napari_cam_sam.plugin.forms import Choice, FractionSlider, form, listen
from napari_cam_sam.plugin.importing import import_torch
from napari_cam_sam.plugin.preferences import preferences
from napari_cam_sam.plugin.task_row import TaskRow, duration
from napari_cam_sam.plugin.workspace import HeatmapNote, Snapshot, workspace_of

if TYPE_CHECKING:
    import napari

__all__ = ["HeatmapDock"]

_BROWSE = "Open a checkpoint…"
_SHOWN, _RANGE, _ALL = "shown", "range", "all"
_FOLLOW_MS = 120
# Planes in one pass of the model; a cancel waits for the pass that runs.
_BATCH = 4
_PAINT_SECONDS = 0.3


class HeatmapDock(QWidget):
    """Choose an image, a classifier, a class and planes; compute heatmaps in the background.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    computed = Signal(bool)
    """A computation is over; True if it ran to its end."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        self._layers: list[tuple[str, str]] = []
        self._pace: dict[tuple[str, str], float] = {}
        self._following = False
        self._chosen_for: object = None

        self.image = Choice("The image that the classifier looks at.")
        self.classifier = Choice("A shipped classifier, torchvision's, or your own checkpoint.")
        self.target = Choice("The class whose evidence the heatmap shows.")
        self.method = Choice("How the evidence is computed. Layer-CAM is a good start.")
        self.layer = Choice("Which layer's maps: late layers mean more, early ones are finer.")
        self.window = Choice("How intensities become gray for the models, the same on all planes.")
        self.device = Choice("Where the models run. auto: a GPU where there is one.")
        self.planes = Choice("Of the axis along which the viewer scrolls now.")
        self.first, self.last = QSpinBox(), QSpinBox()
        for spin, hint in ((self.first, "First plane."), (self.last, "Last plane, included.")):
            spin.setToolTip(hint)
            spin.valueChanged.connect(self._say)
        self.range = QWidget()
        between = QHBoxLayout(self.range)
        between.setContentsMargins(0, 0, 0, 0)
        between.addWidget(self.first)
        between.addWidget(QLabel("to"))
        between.addWidget(self.last)
        self.least = FractionSlider("Where the class is less probable, the plane has no evidence.")
        self.least.set_value(0.5)
        self.follow = QCheckBox("Follow: compute as I scroll")
        self.follow.setToolTip("Computes the plane shown, whenever it has no such heatmap yet.")
        self.run = QPushButton("Compute heatmap")
        self.run.setToolTip("Starts in the background; the window stays usable.")
        self.found = QLabel()
        self.found.setWordWrap(True)
        self.row = TaskRow()

        where = QWidget()
        beside = QHBoxLayout(where)
        beside.setContentsMargins(0, 0, 0, 0)
        beside.addWidget(self.planes)
        beside.addWidget(self.range)
        where.setToolTip(self.planes.toolTip())
        whole = QVBoxLayout(self)
        whole.addLayout(
            form(
                (
                    ("Image", self.image),
                    ("Window", self.window),
                    ("Classifier", self.classifier),
                    ("Class", self.target),
                    ("Method", self.method),
                    ("Layer", self.layer),
                    ("Device", self.device),
                    ("At least", self.least),
                    ("Planes", where),
                )
            )
        )
        whole.addWidget(self.follow)
        whole.addWidget(self.run)
        whole.addWidget(self.row)
        whole.addWidget(self.found)
        whole.addStretch()

        self.classifier.offer(
            [("choose one…", None)]
            + [(f"{name} (shipped)", name) for name in shipped_classifiers()]
            + [(name, name) for name in classifier_names() if name not in shipped_classifiers()]
            + [(_BROWSE, _BROWSE)]
        )
        self.method.offer((name, name, hint) for name, hint in METHOD_NAMES.items())
        self.method.set_value("layer-cam")
        self.device.offer([("auto", "auto"), ("CPU", "cpu")])
        self.planes.offer([("the plane shown", _SHOWN), ("from … to …", _RANGE), ("all", _ALL)])
        self.target.offer([("the predicted class", None)])
        self._follow_timer = QTimer(self)
        self._follow_timer.setSingleShot(True)
        self._follow_timer.setInterval(_FOLLOW_MS)
        self._follow_timer.timeout.connect(self._compute_followed)

        self.image.chosen.connect(lambda: self.workspace.choose_image(self.image.value()))
        self.classifier.chosen.connect(self._classifier_chosen)
        self.device.chosen.connect(self._device_chosen)
        self.window.chosen.connect(self._window_chosen)
        self.planes.chosen.connect(self._say)
        for choice in (self.target, self.method, self.layer):
            choice.chosen.connect(self._say)
            choice.chosen.connect(self._follow_soon)
        self.least.changed.connect(self._follow_soon)
        self.follow.toggled.connect(self._follow_soon)
        self.run.clicked.connect(lambda: self.compute())
        self.row.ended.connect(self._ended)
        self.workspace.image_changed.connect(self._image_changed)
        self.workspace.plane_changed.connect(self._plane_changed)
        self.workspace.classifier_changed.connect(self._list_classes)
        self.workspace.heatmaps_changed.connect(self._tell_found)
        events = napari_viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            listen(self, event, self._list_images)
        self.device.set_value(self.workspace.device)
        self._list_classes()
        self._image_changed()
        preferred = preferences().classifier
        if preferred and self.classifier.value() is None:
            self.choose(preferred)
        self.workspace.register_state("heatmap", self.state, self.set_state)

    # What there is to choose from

    def _list_images(self, _: object = None) -> None:
        self.image.offer((layer.name, layer) for layer in self.workspace.images())
        self.image.set_value(self.workspace.image_layer)
        self._say()

    def _image_changed(self) -> None:
        self._list_images()
        # Another image, not new pixels in the same: what suits it is chosen, once.
        layer = self.workspace.image_layer
        if layer is not self._chosen_for:
            self._chosen_for = layer
            suited = self.workspace.suggestion("classifier")
            if suited is not None:
                self.choose(suited, self.workspace.suggestion("target"))
        presets = [(name, WindowParameters(name)) for name in CT_PRESETS]
        chosen = self.workspace.window_parameters
        if chosen is not None and chosen.kind == "limits":
            presets.insert(0, (f"{chosen.low:g} to {chosen.high:g}", chosen))
        self.window.offer(
            [
                ("as suits the image", None, "A sample's own; 8-bit as it is; else percentiles."),
                ("as displayed now", "displayed", "The contrast limits of this moment, kept."),
                ("minimum to maximum", WindowParameters("minmax")),
                *presets,
            ]
        )
        self.window.set_value(chosen)
        self._plane_changed()

    def _plane_changed(self) -> None:
        try:
            axis, _ = self.workspace.plane()
            count = self.workspace.image().n_planes(axis)
        except CamSamError:
            count = 1
        for spin in (self.first, self.last):
            at_end = spin is self.last and spin.value() == spin.maximum()
            spin.setMaximum(count - 1)
            if at_end:
                spin.setValue(count - 1)
        self._say()
        self._tell_found()
        self._follow_soon()

    def _window_chosen(self) -> None:
        chosen = self.window.value()
        layer = self.workspace.image_layer
        if chosen == "displayed" and layer is not None and not getattr(layer, "rgb", False):
            low, high = (float(v) for v in layer.contrast_limits)
            chosen = WindowParameters("limits", low, high)
        self.workspace.choose_window(chosen if isinstance(chosen, WindowParameters) else None)
        self._say()
        self._follow_soon()

    def _device_chosen(self) -> None:
        self.workspace.device = self.device.value()
        if self.workspace.classifier is not None:
            self.load()
        self.workspace.segmenter_changed.emit()

    def _classifier_chosen(self) -> None:
        if self.classifier.value() == _BROWSE:
            path, _ = QFileDialog.getOpenFileName(
                self, "A classifier's checkpoint", "", "Checkpoints (*.pth *.pt *.safetensors)"
            )
            self.classifier.setCurrentIndex(0)
            if not path:
                return
            self._add_classifier(path)
        self.load()

    def _add_classifier(self, path: str) -> None:
        if not self.classifier.set_value(path):
            self.classifier.insertItem(1, Path(path).name, path)
            self.classifier.setCurrentIndex(1)

    def choose(self, classifier: str, target: str | None = None) -> None:
        """Choose a classifier by name or path, and the class to explain once it is loaded."""
        if not self.classifier.set_value(classifier):
            self._add_classifier(classifier)
        self._wanted_target = target
        if self.isVisible():
            self.load()
        self._say()

    _wanted_target: str | None = None
    _wanted_layer: str | None = None

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Load what is chosen once the dock is on the screen."""
        super().showEvent(event)
        if self.classifier.value() is not None and not self._is_loaded():
            QTimer.singleShot(50, self.load)

    def _is_loaded(self) -> bool:
        loaded = self.workspace.classifier
        name = self.classifier.value()
        return loaded is not None and loaded.name == name and self._device_fits(loaded)

    def _device_fits(self, loaded: Any) -> bool:
        wanted = self.workspace.device
        return wanted == "auto" or str(loaded.device).startswith(wanted)

    def load(self) -> None:
        """Load the chosen classifier in the background, and list its classes and layers."""
        if self.classifier.value() is None:
            self.workspace.classifier = None
            self.workspace.classifier_changed.emit()
            return
        if not self._is_loaded():
            self._start([], None)

    def _list_classes(self) -> None:
        classifier = self.workspace.classifier
        before = self.target.value()
        self.target.clear()
        self.target.addItem("the predicted class", None)
        self.layer.clear()
        if classifier is not None:
            names = classifier.card.class_names
            for name in names:
                self.target.addItem(name, name)
            wanted, self._wanted_target = self._wanted_target or before, None
            # The last class is the finding, where the first is its absence.
            known = wanted is not None and self.target.set_value(wanted)
            if not known and len(names) == 2:
                self.target.setCurrentIndex(2)
            for name, grid in self._layers:
                self.layer.addItem(f"{name}  ({grid})", name)
            if not (self._wanted_layer and self.layer.set_value(self._wanted_layer)):
                self.layer.set_value((*classifier.default_layers, None)[0])
            if self.classifier.value() != classifier.name:
                self._add_classifier(classifier.name)
        self._say()

    def state(self) -> dict[str, Any]:
        """Give the choices as plain data, for the session."""
        window = self.workspace.window_parameters
        return {
            "classifier": self.classifier.value(),
            "target": self.target.value(),
            "method": self.method.value(),
            "layer": self.layer.value(),
            "planes": self.planes.value(),
            "range": [self.first.value(), self.last.value()],
            "at_least": self.least.value(),
            "window": None if window is None else asdict(window),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take choices from a session; what is no longer there is passed over."""
        window = state.get("window")
        self.workspace.choose_window(WindowParameters(**window) if window else None)
        self._image_changed()
        self.method.set_value(state.get("method"))
        self.planes.set_value(state.get("planes"))
        for spin, value in zip((self.first, self.last), state.get("range", ()), strict=False):
            spin.setValue(value)
        self.least.set_value(state.get("at_least", 0.5))
        self._wanted_layer = state.get("layer")
        if state.get("classifier"):
            self.choose(state["classifier"], state.get("target"))
        if self._is_loaded():
            self._list_classes()

    # What will happen, in words

    def _indices(self) -> Sequence[int]:
        _, index = self.workspace.plane()
        axis, _ = self.workspace.plane()
        scope = self.planes.value()
        if scope == _ALL:
            return range(self.workspace.image().n_planes(axis))
        if scope == _RANGE:
            low, high = sorted((self.first.value(), self.last.value()))
            return range(low, high + 1)
        return range(index, index + 1)

    def _say(self, _: object = None) -> None:
        self.range.setVisible(self.planes.value() == _RANGE)
        try:
            axis, _index = self.workspace.plane()
            indices = self._indices()
            image = self.workspace.image()
        except CamSamError as error:
            self.run.setEnabled(False)
            self.row.say(str(error))
            return
        name = self.classifier.value()
        self.run.setEnabled(name is not None and not (self.row.busy and not self._following))
        if name is None:
            self.row.say("Choose a classifier: a checkpoint of yours, or a shipped one to try.")
            return
        if self.row.busy:
            return
        target = self.target.value() or self._wanted_target or "the predicted class"
        n = len(indices)
        where = f"plane {indices[0]}" if n == 1 else f"{n} planes"
        if image.spatial_ndim == 3:
            where += f" along axis {axis}"
        words = f"Heatmap of {target} for {where}, on the {self._device_words()}"
        pace = self._pace.get((str(name), str(self.method.value())))
        words += f", {duration(pace * n)}." if pace is not None else "."
        if name in shipped_classifiers():
            words += " It learned from phantoms alone: for trying out, not for patients' images."
        self.row.say(words)

    def _device_words(self) -> str:
        loaded = self.workspace.classifier
        name = str(loaded.device) if loaded is not None else self.workspace.device
        return {"cpu": "CPU", "auto": "GPU if there is one, else the CPU"}.get(name, name)

    def _tell_found(self) -> None:
        """Say what is known of the plane shown."""
        try:
            axis, index = self.workspace.plane()
            note = self.workspace.note(axis, index)
        except CamSamError:
            note = None
        if note is None:
            self.found.setText("")
            return
        likely = sorted(note.probabilities.items(), key=lambda pair: -pair[1])[:3]
        text = ", ".join(f"{name} {value:.2f}" for name, value in likely)
        reason = "" if note.reason is None else f" No evidence: {note.reason}"
        self.found.setText(f"Plane {index}: {text}.{reason}")

    # The work

    def _made_by(self) -> dict[str, Any]:
        """Name all that decides about a heatmap."""
        return {
            "classifier": self.classifier.value(),
            "target": self.target.value(),
            "method": self.method.value(),
            "layer": self.layer.value(),
            "at_least": self.least.value(),
            "window": repr(self.workspace.window_parameters or self.workspace.default_window()),
        }

    def compute(self) -> None:
        """Compute the heatmaps that are chosen, in a thread, and show each as it is ready."""
        if self._following:
            self.row.stop()
        if self.row.busy and (self._loading or self._following):
            self._queued = True  # as soon as the classifier is there, or the plane before is done
            return
        try:
            snapshot, indices = self.workspace.snapshot(), self._indices()
        except CamSamError as error:
            self.row.say(str(error))
            return
        self._following = False
        self._start(indices, snapshot)

    def _follow_soon(self, _: object = None) -> None:
        if self.follow.isChecked():
            self._follow_timer.start()

    def _compute_followed(self) -> None:
        """Compute the plane shown if it lacks such a heatmap; the newest plane wins."""
        if not self.follow.isChecked() or self.classifier.value() is None:
            return
        try:
            snapshot = self.workspace.snapshot()
        except CamSamError:
            return
        note = self.workspace.note(snapshot.axis, snapshot.index)
        if note is not None and note.made_by == self._made_by():
            return
        if self.row.busy:
            if self._following:
                self.row.stop()
                self._follow_timer.start()
            return
        self._following = True
        self._start([snapshot.index], snapshot)

    def _start(self, indices: Sequence[int], snapshot: Snapshot | None) -> None:
        """Load the classifier if it is not, then compute."""
        workspace = self.workspace
        name, device = str(self.classifier.value()), workspace.device
        loaded = workspace.classifier if self._is_loaded() else None
        wanted_target = self._wanted_target if loaded is None else None
        target, layer = self.target.value() or wanted_target, self.layer.value()
        least = self.least.value()
        method, made_by = str(self.method.value()), self._made_by()

        def steps() -> Generator[Any]:
            classifier = loaded
            if classifier is None:
                classifier, layers = _load(name, device)
                yield classifier, layers
            if snapshot is None:
                return
            from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps

            chosen = target
            if loaded is None and chosen is None and len(classifier.card.class_names) == 2:
                chosen = classifier.card.class_names[1]
            parameters = CamParameters(
                method=method,
                target=chosen,
                layers=(layer,) if loaded is not None and layer is not None else (),
                batch_size=min(_BATCH, max(1, len(indices))),
                # The predicted class is whatever is likeliest: there is nothing to fall short of.
                min_probability=least if chosen is not None else 0.0,
            )
            used = parameters.layers or classifier.default_layers
            made = made_by | {"target": chosen, "layer": (*used, None)[0]}
            planes = (snapshot.plane(i) for i in indices)
            begin = time.monotonic()
            found = compute_heatmaps(classifier, planes, parameters)
            for done, (index, heatmap) in enumerate(zip(indices, found, strict=True), start=1):
                yield index, heatmap, made, (time.monotonic() - begin) / done

        def show(step: tuple[Any, ...]) -> None:
            if len(step) == 2:
                workspace.classifier, self._layers = step
                self._offer_devices()
                workspace.classifier_changed.emit()
                self.row.say(f"Loaded {name}.")
                return
            index, heatmap, made, pace = step
            self._pace[name, method] = pace
            self._show(snapshot, index, heatmap, made)

        total = len(indices) + (loaded is None)
        description = f"Heatmaps of {snapshot.image.name}" if snapshot else f"Loading {name}"
        if loaded is None:
            self.row.say(f"Loading PyTorch and the classifier {name}…")
        started = self.row.start(
            steps,
            total,
            description,
            show,
            lambda: snapshot is None or workspace.is_current(snapshot),
        )
        if started:
            self._loading = snapshot is None
            self.run.setEnabled(False)

    def _show(self, snapshot: Any, index: int, heatmap: Any, made_by: dict[str, Any]) -> None:
        """Write one heatmap into the layer."""
        workspace = self.workspace
        if workspace.image_layer is not snapshot.layer:
            self.row.stop()
            return
        layer = self._target_layer(snapshot)
        if layer is None:
            self.row.stop()
            return
        names = workspace.classifier.card.class_names
        note = HeatmapNote(
            heatmap.target_name,
            {name: float(p) for name, p in zip(names, heatmap.probabilities, strict=True)},
            heatmap.reason,
            made_by,
        )
        workspace.set_note(layer, index, note)
        layer.data[snapshot.image.slot(snapshot.axis, index)] = heatmap.values
        try:
            across = workspace.plane()[0] != snapshot.axis
            seen = across or workspace.plane()[1] == index
        except CamSamError:
            across = seen = True
        now = time.monotonic()
        if seen and (not across or now - self._painted_at > _PAINT_SECONDS):
            # Painting takes longer than a small classifier: only what can be seen is painted.
            self._painted_at = now
            layer.refresh(thumbnail=False, highlight=False, extent=False)
            workspace.heatmaps_changed.emit()

    def _target_layer(self, snapshot: Any) -> Any | None:
        """Find the layer to write into; None if the user deleted it while the task ran."""
        layer = self.workspace.heatmap_layer(snapshot.axis)
        outgrown = layer is not None and layer.data.shape != snapshot.image.spatial_shape
        if outgrown or (layer is None and snapshot is not self._written):
            layer = self.workspace.heatmap_layer(snapshot.axis, create=True)
        self._written = snapshot
        return layer

    _written: object = None
    _loading = _queued = False
    _painted_at = 0.0

    def _offer_devices(self) -> None:
        """List the devices that there are, which PyTorch alone knows."""
        import torch

        found = [("auto", "auto"), ("CPU", "cpu")]
        found += [
            (torch.cuda.get_device_name(i), f"cuda:{i}") for i in range(torch.cuda.device_count())
        ]
        if torch.backends.mps.is_available():
            found.append(("Apple GPU", "mps"))
        self.device.offer(found)

    def stop(self) -> None:
        """Cancel what runs; planes that are computed stay."""
        self.row.stop()

    def _ended(self, complete: bool) -> None:
        self._following = self._loading = False
        queued, self._queued = self._queued, False
        if queued and self.workspace.classifier is not None:
            self.compute()
            return
        if self.workspace.classifier is None and self.classifier.value() is not None:
            # It could not be loaded; why stands in the notification.
            self.classifier.setCurrentIndex(0)
        with suppress(CamSamError):
            layer = self.workspace.heatmap_layer(self.workspace.plane()[0])
            if layer is not None:
                layer.refresh()
        self.workspace.heatmaps_changed.emit()
        self._say()
        self.computed.emit(complete)


def _load(name: str, device: str) -> tuple[Any, list[tuple[str, str]]]:
    """Load a classifier, and list the layers that have a grid."""
    import_torch()
    # The preview of a strategy needs it, and would load it while the window waits.
    import skimage.measure  # noqa: F401

    from napari_cam_sam.models.classifiers import list_layers, load_classifier

    classifier = load_classifier(name, device=device)
    layers = [
        (layer.name, " × ".join(str(int(n)) for n in layer.shape[2:]))
        for layer in list_layers(classifier)
        if len(layer.shape) == 4 and min(layer.shape[2:]) > 1
    ]
    default = (*classifier.default_layers,)
    known = {name for name, _ in layers}
    return classifier, layers + [(name, "its own") for name in default if name not in known]
