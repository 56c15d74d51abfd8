"""The first step: heatmaps of a classifier or a network as a layer over the image."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_cam_sam.cam.names import METHOD_NAMES, WITHOUT_LAYERS
from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import CT_PRESETS, WindowParameters
from napari_cam_sam.models.names import is_factory, shipped_classifiers, shipped_networks
from napari_cam_sam.plugin.heatmap.axes_panel import AxesRow
from napari_cam_sam.plugin.heatmap.classifier_panel import ClassifierChoice
from napari_cam_sam.plugin.heatmap.code_question import CodeQuestion
from napari_cam_sam.plugin.heatmap.heatmap_run import HeatmapPlan, HeatmapRun, HeatmapSettings
from napari_cam_sam.plugin.heatmap.pixel_set_panel import PixelChoice
from napari_cam_sam.plugin.qt.dock import Dock, connect_until_destroyed
from napari_cam_sam.plugin.qt.parameter_form import ParameterForm
from napari_cam_sam.plugin.qt.plain_text import Label
from napari_cam_sam.plugin.qt.saving import Saving, SavingRow, heatmap_saving
from napari_cam_sam.plugin.qt.task_progress import TaskProgress, duration
from napari_cam_sam.plugin.qt.widgets import (
    FractionSlider,
    ValueComboBox,
    button,
    form_layout,
)
from napari_cam_sam.plugin.state.plane_range import PlaneRange
from napari_cam_sam.plugin.state.plane_words import slider_label
from napari_cam_sam.plugin.state.preferences import preferences
from napari_cam_sam.plugin.viewer.attach import workspace_of

if TYPE_CHECKING:
    import napari

    from napari_cam_sam.plugin.state.snapshot import Snapshot

__all__ = ["HeatmapDock"]

_FOLLOW_MS = 120
_OF_CLASSIFIER = ("target", "layer", "classifier_sha256", "plane_order")


class HeatmapDock(Dock):
    """Choose an image, a classifier, a class and planes; compute heatmaps in the background.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    computed = Signal(bool)
    """A computation is over; True if it ran to its end."""
    planned = Signal()
    """What pressing the button would do may be another now."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        # What a task is for says what a press of the button does meanwhile.
        self._following = self._loading = self._queued = False
        self._chosen_for: object = None
        # The last ones that can be: the form shows others while they are typed.
        self._occlusion = OcclusionParameters()

        self.image = ValueComboBox("The image to work on.")
        self.axes = AxesRow(self.workspace)
        self.window = ValueComboBox(
            "How intensities become gray levels for the models; the same on all slices."
        )
        self.classifier = ClassifierChoice(self.workspace, self)
        self.code = CodeQuestion()
        self.method = ValueComboBox("How the heatmap is computed. Layer-CAM is a good start.")
        self.occlusion = ParameterForm(OcclusionParameters, starts={"fill": 128.0})
        self.occlusion.set_value(self._occlusion)
        self.least = FractionSlider("Slices below this probability get an empty heatmap.")
        self.least.set_value(0.5)
        self.pixels = PixelChoice(self.workspace)
        self.planes = PlaneRange(self.workspace.shown)
        self.follow = QCheckBox("Compute while scrolling")
        self.follow.setToolTip(
            "Computes the heatmap of each slice you scroll to, unless it is there already."
        )
        self.run = button("Compute heatmap", "Runs in the background.")
        self.found = Label()
        self.found.setWordWrap(True)
        self.row = TaskProgress()
        self.saving = SavingRow(
            "Save heatmap…",
            "Saves the heatmaps along this axis on the image grid; slices that were not computed "
            "are 0.",
            self._to_save,
        )
        self._run = HeatmapRun(self.workspace, self.classifier, self.row, self)

        whole = QVBoxLayout(self)
        self._rows = form_layout(
            (
                ("Image", self.image),
                ("Window", self.window),
                ("Classifier", self.classifier.name),
                ("Class", self.classifier.target),
                ("Explain", self.pixels),
                ("Min. probability", self.least),
                ("Method", self.method),
                ("Layer", self.classifier.layer),
                ("Slice order", self.classifier.order),
                ("Device", self.classifier.device),
                ("Slices", self.planes),
            )
        )
        # Over the whole width, or the names of four axes would be cut off.
        self._rows.insertRow(1, self.axes)
        whole.addWidget(self.code)
        whole.addLayout(self._rows)
        whole.addWidget(self.occlusion)
        whole.addWidget(self.follow)
        whole.addWidget(self.run)
        whole.addWidget(self.row)
        whole.addWidget(self.found)
        whole.addWidget(self.saving)
        whole.addStretch()

        self.method.offer((name, name, hint) for name, hint in METHOD_NAMES.items())
        self.method.set_value("layer-cam")
        self._follow_timer = QTimer(self)
        self._follow_timer.setSingleShot(True)
        self._follow_timer.setInterval(_FOLLOW_MS)
        self._follow_timer.timeout.connect(self._compute_followed)

        workspace = self.workspace
        self.image.chosen.connect(lambda: workspace.choose_image(self.image.value()))
        self.window.chosen.connect(self._window_chosen)
        self.classifier.load_wanted.connect(self.load)
        self.planes.changed.connect(self._say)
        self.classifier.changed.connect(self._fit_model)
        self.classifier.changed.connect(self._tell_found)
        workspace.truth_changed.connect(self._say)
        for signal in (
            self.classifier.changed,
            self.pixels.changed,
            self.method.chosen,
            self.occlusion.changed,
            self.least.changed,
            workspace.window_changed,
        ):
            signal.connect(self._say)
            signal.connect(self._follow_soon)
        self.follow.toggled.connect(self._follow_soon)
        self.run.clicked.connect(lambda: self.compute())
        self._run.ended.connect(self._ended)
        workspace.image_changed.connect(self._image_changed)
        workspace.plane_changed.connect(self._plane_changed)
        workspace.heatmaps_changed.connect(self._tell_found)
        # What was saved is another than what is there now.
        for signal in (workspace.image_changed, workspace.heatmaps_changed):
            signal.connect(self.saving.forget)
        events = napari_viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            connect_until_destroyed(self, event, self._list_images)
        self._fit_model()
        self._image_changed()
        preferred = preferences().classifier
        if preferred and self.classifier.name.value() is None:
            self.choose(preferred)
        workspace.docks.register_state("heatmap", self.state, self.set_state)
        workspace.docks.register("use classifier", self.choose)

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
            self.code.forget()
            suited = self.workspace.suggestion("classifier")
            if suited is not None:
                self.choose(suited, self.workspace.suggestion("target"))
        self._list_windows()
        self._plane_changed()

    def _list_windows(self) -> None:
        presets = [(name, WindowParameters(name)) for name in CT_PRESETS]
        chosen = self.workspace.window_parameters
        if chosen is not None and chosen.kind == "limits":
            presets.insert(0, (f"{chosen.low:g} to {chosen.high:g}", chosen))
        self.window.offer(
            [
                (
                    "automatic",
                    None,
                    "A sample's own; 8-bit as it is; else percentiles.",
                ),
                (
                    "contrast limits now",
                    "displayed",
                    "The contrast limits of this moment, kept.",
                ),
                ("minimum to maximum", WindowParameters("minmax")),
                *presets,
            ]
        )
        self.window.set_value(chosen)

    def _window_chosen(self) -> None:
        chosen = self.window.value()
        layer = self.workspace.image_layer
        if chosen == "displayed" and layer is not None and not getattr(layer, "rgb", False):
            low, high = (float(v) for v in layer.contrast_limits)
            chosen = WindowParameters("limits", low, high)
        self.workspace.choose_window(chosen if isinstance(chosen, WindowParameters) else None)

    def _fit_model(self) -> None:
        """Show what the model that is loaded needs to know: a classifier has no pixels."""
        loaded = self.classifier.loaded()
        self._show_row(self.pixels, loaded is not None and loaded.segments)
        self._show_row(self.classifier.order, loaded is not None and loaded.has_order)
        self._show_row(self.planes, not self._takes_volumes())
        self.follow.setVisible(not self._takes_volumes())
        if self._takes_volumes():
            self.follow.setChecked(False)

    def _show_row(self, widget: QWidget, shown: bool) -> None:
        self._rows.setRowVisible(widget, shown)

    def _takes_volumes(self) -> bool:
        loaded = self.classifier.loaded()
        return loaded is not None and loaded.of_volumes

    def _plane_changed(self) -> None:
        self.planes.fit()
        self._say()
        self._tell_found()
        self._follow_soon()

    def choose(self, classifier: str, target: str | None = None) -> None:
        """Choose a classifier by name or path, and the class to explain once it is loaded."""
        self.classifier.choose(classifier, target)
        if self.isVisible():
            self.load()
        self._say()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Load what is chosen once the dock is on the screen."""
        super().showEvent(event)
        QTimer.singleShot(50, self.load)

    def load(self) -> None:
        """Load the chosen classifier in the background, and list its classes and layers."""
        if self.classifier.name.value() is not None and self.classifier.loaded() is None:
            if self._run.start(self._recipe(), None):
                self._loading = True
            self._say()

    def state(self) -> dict[str, Any]:
        """Give the choices as plain data, for the session."""
        window = self.workspace.window_parameters
        return {
            **self.classifier.state(),
            **self.planes.state(),
            "pixels": self.pixels.state(),
            "method": self.method.value(),
            "occlusion": asdict(self._occlusion),
            "at_least": self.least.value(),
            "window": None if window is None else asdict(window),
            **self.code.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take choices from a session; what is no longer there is passed over."""
        window = state.get("window")
        self.workspace.choose_window(WindowParameters(**window) if window else None)
        self._image_changed()
        self.method.set_value(state.get("method"))
        self.occlusion.set_value(OcclusionParameters(**state.get("occlusion", {})))
        self.planes.set_state(state)
        self.pixels.set_state(state.get("pixels") or {})
        self.least.set_value(state.get("at_least", 0.5))
        self.classifier.choose_device(state.get("device"))
        self.code.forget()
        name = state.get("classifier")
        if name and is_factory(name) and not self._is_loaded(name):
            asked = {key: state.get(key) for key in ("classifier", *_OF_CLASSIFIER)}
            self.code.ask(name, asked, lambda: self._take_classifier(state))
        elif name:
            self._take_classifier(state)
        self._say()

    def _is_loaded(self, name: str) -> bool:
        """Tell whether it is a classifier that the user loaded himself."""
        held = self.workspace.classifier
        return held is not None and held.name == name

    def _take_classifier(self, state: dict[str, Any]) -> None:
        self.classifier.choose(state["classifier"], *(state.get(key) for key in _OF_CLASSIFIER))
        if self.isVisible():
            self.load()
        self._say()

    # What will happen, in words

    def plan(self) -> HeatmapPlan:
        """Give what pressing the button would do.

        Raises
        ------
        CamSamError
            If it could do nothing; its words say what is missing.
        """
        workspace = self.workspace
        axis, shown = workspace.plane()
        indices, image = self.planes.indices(), workspace.image()
        slider = slider_label(workspace.shown)
        if self.method.value() == "occlusion":
            self._occlusion = self.occlusion.value()
        name = self.classifier.name.value()
        if name is None:
            raise CamSamError("Choose a classifier: your own checkpoint, or a shipped one to try.")
        total = image.n_planes(axis)
        if self._takes_volumes():
            indices, where = range(total), "the whole volume"
        else:
            n = len(indices)
            where = f"slice {indices[0]}" if n == 1 else f"{'all ' * (n == total)}{n} slices"
            if image.spatial_ndim == 3:
                where += f" along axis {axis}"
            if tuple(indices) == (shown,):
                where += slider
        what, loaded = self.classifier.target_words(), self.classifier.loaded()
        if loaded is not None and loaded.segments:
            what += f" {self.pixels.words()},"
        pace = self._run.pace(str(name), str(self.method.value()))
        return HeatmapPlan(
            indices,
            total,
            f"{what} for {where}, on the {self.classifier.device_words()}",
            None if pace is None else pace * len(indices),
        )

    def _say(self, _: object = None) -> None:
        self.occlusion.setVisible(self.method.value() == "occlusion")
        self.classifier.layer.setEnabled(self.method.value() not in WITHOUT_LAYERS)
        self._tell_plan()
        self.planned.emit()

    def _tell_plan(self) -> None:
        try:
            plan = self.plan()
        except CamSamError as error:
            self.run.setEnabled(False)
            self.row.say(str(error))
            return
        self.run.setEnabled(not (self.row.busy and not self._following))
        if self.row.busy:
            return
        words = f"Heatmap of {plan.words}"
        words += f", {duration(plan.seconds)}." if plan.seconds is not None else "."
        if self.classifier.name.value() in {**shipped_classifiers(), **shipped_networks()}:
            words += " Trained on phantoms only: for trying out, not for patient images."
        self.row.say(words)

    def _tell_found(self) -> None:
        """Say what is known of the plane shown."""
        try:
            axis, index = self.workspace.plane()
            note = self.workspace.heatmaps.record(axis, index)
            slider = slider_label(self.workspace.shown)
        except CamSamError:
            note = None
        if note is None:
            self.found.setText("")
            return
        likely = sorted(note.probabilities.items(), key=lambda pair: -pair[1])[:3]
        text = ", ".join(f"{name} {value:.2f}" for name, value in likely)
        reason = "" if note.reason is None else f" No evidence: {note.reason}"
        # A network has a probability a pixel: the highest on the plane is told.
        most = "highest probability of " if note.made_by.get("pixels") else ""
        # Of a classifier that is not loaded yet no class is chosen.
        other = note.other_words(self.state()) if self.classifier.loaded() is not None else ""
        self.found.setText(f"Slice {index}{slider}: {most}{text}.{reason} {other}".rstrip())

    # The work

    def _recipe(self, snapshot: Snapshot | None = None) -> HeatmapSettings:
        """Read what the dock shows, before a thread starts; with an image also its pixels.

        Raises
        ------
        CamSamError
            If the pixels to explain are not there.
        """
        loaded, pixels = self.classifier.loaded(), None
        if snapshot is not None and (loaded is None or loaded.segments):
            try:
                pixels = self.pixels.value(snapshot)
            except CamSamError:
                # Of what is not loaded yet nobody knows whether it needs them.
                if loaded is not None:
                    raise
        return HeatmapSettings(
            str(self.classifier.name.value()),
            self.workspace.device,
            self.classifier.targets(),
            self.classifier.layers(),
            str(self.method.value()),
            self.least.value(),
            self.workspace.window_parameters or self.workspace.default_window(),
            pixels,
            self._occlusion,
            self.classifier.plane_order(),
        )

    def compute(self) -> bool:
        """Compute the heatmaps that are chosen, in a thread, and show each as it is ready.

        Returns
        -------
        bool
            False where nothing could be started; why is said, unless other work runs.
        """
        if self._following and not self._run.loading:
            self.row.stop()
        if self.row.busy and (self._loading or self._following):
            self._queued = True  # as soon as the classifier is there, or the plane before is done
            return True
        try:
            snapshot, indices = self.workspace.snapshot(), self.planes.indices()
            recipe = self._recipe(snapshot)
        except CamSamError as error:
            self.row.fail(str(error))
            return False
        started = self._run.start(recipe, snapshot, indices)
        if started:
            self.run.setEnabled(False)
        return started

    def _follow_soon(self, _: object = None) -> None:
        if self.follow.isChecked():
            self._follow_timer.start()

    def _compute_followed(self) -> None:
        """Compute the plane shown if it lacks such a heatmap; the newest plane wins."""
        if not self.follow.isChecked() or self.classifier.name.value() is None:
            return
        try:
            snapshot = self.workspace.snapshot()
            recipe, loaded = self._recipe(snapshot), self.classifier.loaded()
        except CamSamError:
            return
        note = self.workspace.heatmaps.record(snapshot.axis, snapshot.index)
        if note is not None and loaded is not None and note.made_by == recipe.made_by(loaded):
            return
        if not self.row.busy:
            self._following = self._run.start(recipe, snapshot, [snapshot.index])
        elif self._following:
            # A classifier that is half loaded is of use for the newest plane, too.
            if not self._run.loading:
                self.row.stop()
            self._follow_timer.start()

    def _to_save(self) -> Saving:
        axis, _ = self.workspace.plane()
        layer = self.workspace.own("heatmap", axis)
        if layer is None:
            raise CamSamError("No heatmap along this axis yet: compute one first.")
        return heatmap_saving(layer, self.workspace.image())

    def stop(self) -> None:
        """Cancel what runs; planes that are computed stay."""
        self.row.stop()

    def _ended(self, complete: bool) -> None:
        self._following = self._loading = False
        queued, self._queued = self._queued, False
        self._say()
        if queued and self.classifier.loaded() is not None:
            if self.compute():
                return
            complete = False
        self.computed.emit(complete)
