"""The first step: heatmaps of a classifier or a network as a layer over the image."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal

from napari_cam_sam.cam.names import METHOD_NAMES, WITHOUT_LAYERS
from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.heatmap.axes_panel import AxesPanel
from napari_cam_sam.plugin.heatmap.classifier_panel import ClassifierPanel
from napari_cam_sam.plugin.heatmap.found_words import found_words
from napari_cam_sam.plugin.heatmap.heatmap_plan import HeatmapPlan, plan_heatmaps
from napari_cam_sam.plugin.heatmap.heatmap_run import HeatmapRun, HeatmapSettings
from napari_cam_sam.plugin.heatmap.pixel_set_panel import PixelSetPanel
from napari_cam_sam.plugin.heatmap.scroll_follower import ScrollFollower
from napari_cam_sam.plugin.heatmap.view_buttons import ViewButtons
from napari_cam_sam.plugin.heatmap.window_choice import WindowChoice
from napari_cam_sam.plugin.layers.layer_geometry import path_of
from napari_cam_sam.plugin.qt.dock import Dock, connect_to_layers
from napari_cam_sam.plugin.qt.messages import WrappingLabel
from napari_cam_sam.plugin.qt.parameter_form import ParameterForm
from napari_cam_sam.plugin.qt.saving import Saving, SavingRow, heatmap_saving
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.widgets import (
    FractionSlider,
    ValueComboBox,
    allow,
    button,
    form_layout,
    vbox,
)
from napari_cam_sam.plugin.qt.wording import why_not
from napari_cam_sam.plugin.state.image_notice import ImageNotice
from napari_cam_sam.plugin.state.plane_range import PlaneRange
from napari_cam_sam.plugin.state.preferences import preferences
from napari_cam_sam.plugin.viewer.attach import workspace_of

if TYPE_CHECKING:
    import napari

    from napari_cam_sam.plugin.state.snapshot import Snapshot

__all__ = ["HeatmapDock"]

_NO_HEATMAP = "No heatmap along this axis yet: compute one first."


class HeatmapDock(Dock):
    """Choose an image, a classifier, a class and planes; compute heatmaps in the background.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    help_section = "Heatmap"

    computed = Signal(bool)
    """A computation is over; True if it ran to its end."""
    planned = Signal()
    """What pressing the button would do may be another now."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        # What a task is for says what a press of the button does meanwhile.
        self._loading = self._queued = False
        self._chosen_for: object = None
        # The last ones that can be: the form shows others while they are typed.
        self._occlusion = OcclusionParameters()
        self._build()
        ImageNotice(self.workspace, self)
        self._connect()
        self._fit_model()
        self._image_changed()
        self.workspace.docks.register("use classifier", self.take_trained)
        self.workspace.docks.take_over("heatmap", self, self._beside, self._begin_with)
        preferred = preferences().classifier
        if preferred and self.classifier.name.value() is None:
            self.choose(preferred)

    def _build(self) -> None:
        self.image = ValueComboBox("The image to work on.")
        self.axes = AxesPanel(self.workspace)
        self.views = ViewButtons(self.workspace)
        self.window = WindowChoice(self.workspace)
        self.classifier = ClassifierPanel(self.workspace, self)
        self.code = self.classifier.code
        self.method = ValueComboBox(
            "How the heatmap is computed. Layer-CAM is a good start.",
            ((name, name, hint) for name, hint in METHOD_NAMES.items()),
        )
        self.method.set_value("layer-cam")
        self.occlusion = ParameterForm(OcclusionParameters, starts={"fill": 128.0})
        self.occlusion.set_value(self._occlusion)
        self.least = FractionSlider("Slices below this probability get an empty heatmap.", 0.5)
        self.pixels = PixelSetPanel(self.workspace)
        self.planes = PlaneRange(self.workspace.shown)
        self.run = button("Compute heatmap", "Runs in the background.")
        self.found = WrappingLabel()
        self.row = TaskProgress()
        self.saving = SavingRow(
            "Save heatmap…",
            "Saves the heatmaps along this axis on the image grid; slices that were not computed "
            "are 0.",
            self._to_save,
            lambda: why_not(self._to_save),
        )
        self._run = HeatmapRun(self.workspace, self.classifier, self.row, self)
        self._follower = ScrollFollower(
            self.workspace, self.classifier, self._run, self.row, self._settings
        )
        self.follow = self._follower.switch

        self._rows = form_layout(
            (
                ("Image", self.image),
                ("View", self.views),
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
        vbox(
            self, self.code, self._rows, self.occlusion, self.follow, self.run, self.row,
            self.found, self.saving, margins=None,
        ).addStretch()  # fmt: skip

    def _connect(self) -> None:
        workspace = self.workspace
        self.image.chosen.connect(lambda: workspace.choose_image(self.image.value()))
        self.classifier.load_wanted.connect(self.load)
        self.classifier.restored.connect(self._load_if_seen)
        self.planes.changed.connect(self._refresh)
        self.classifier.changed.connect(self._fit_model)
        self.classifier.changed.connect(self._show_found)
        self.least.changed.connect(self._show_found)
        workspace.truth_changed.connect(self._refresh)
        workspace.prompts.settled.connect(self._refresh)
        workspace.masks.accepted_changed.connect(self._refresh)
        for signal in (
            self.classifier.changed,
            self.pixels.changed,
            self.method.chosen,
            self.occlusion.changed,
            self.least.changed,
            workspace.window_changed,
        ):
            signal.connect(self._refresh)
            signal.connect(self._follower.look_soon)
        self.run.clicked.connect(lambda: self.compute())
        self._run.ended.connect(self._ended)
        workspace.image_changed.connect(self._image_changed)
        workspace.plane_changed.connect(self._plane_changed)
        workspace.heatmaps_changed.connect(self._show_found)
        # What was saved is another than what is there now.
        for signal in (workspace.image_changed, workspace.heatmaps_changed):
            signal.connect(self.saving.forget)
        connect_to_layers(self, workspace.viewer, self._list_images)

    # What there is to choose from

    def _list_images(self, _: object = None) -> None:
        self.image.offer((layer.name, layer) for layer in self.workspace.shown.to_choose())
        self.image.set_value(self.workspace.image_layer)
        self._refresh()

    def _image_changed(self) -> None:
        self._list_images()
        self._rows.setRowVisible(self.views, self.views.useful)
        self._fit_model()
        # Another image, not new pixels in the same: what suits it is chosen, once.
        image = self.workspace.shown.frame_key().layer
        if image != self._chosen_for:
            self._chosen_for = image
            self.code.forget()
            suited = self.workspace.suggestion("classifier")
            if suited is not None:
                self.choose(suited, self.workspace.suggestion("target"))
        self.window.fill()
        self._plane_changed()

    def _fit_model(self) -> None:
        """Show what the model that is loaded needs to know: a classifier has no pixels."""
        loaded = self.classifier.loaded()
        self._rows.setRowVisible(self.pixels, loaded is not None and loaded.segments)
        has_order = loaded is not None and loaded.has_order
        picture = self.workspace.shown.is_picture
        self._rows.setRowVisible(self.classifier.order, has_order and not picture)
        if self.classifier.takes_volumes:
            self.follow.setChecked(False)

    def _plane_changed(self) -> None:
        self.planes.fit()
        self._refresh()
        self._show_found()
        self._follower.look_soon()

    def choose(self, classifier: str, target: str | None = None) -> None:
        """Choose a classifier by name or path, and the class to explain once it is loaded."""
        self.classifier.choose(classifier, target)
        self._load_if_seen()

    def take_trained(self, path: str) -> None:
        """Choose a classifier that was trained just now, and show that it is chosen."""
        self.classifier.trained = path
        self.choose(path)
        self.come_forward()

    def _load_if_seen(self) -> None:
        if self.isVisible():
            self.load()
        self._refresh()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Load what is chosen once the dock is on the screen."""
        super().showEvent(event)
        QTimer.singleShot(50, self.load)

    def load(self) -> None:
        """Load the chosen classifier in the background, and list its classes and layers."""
        if self.classifier.name.value() is not None and self.classifier.loaded() is None:
            if self._run.start(self._settings(), None):
                self._loading = True
            self._refresh()

    def state(self) -> dict[str, Any]:
        """Return the choices as plain data, for the session."""
        return {
            **self.classifier.state(),
            **self.planes.state(),
            "pixels": self.pixels.state(),
            "method": self.method.value(),
            "occlusion": asdict(self._occlusion),
            "at_least": self.least.value(),
            "window": self.window.state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take choices from a session; what is no longer there is passed over."""
        self.window.set_state(state.get("window"))
        self._image_changed()
        self.method.set_value(state.get("method"))
        self.occlusion.set_value(OcclusionParameters(**state.get("occlusion", {})))
        self.planes.set_state(state)
        self.pixels.set_state(state.get("pixels") or {})
        self.least.set_value(state.get("at_least", 0.5))
        self.classifier.set_state(state)
        self._refresh()

    def _beside(self) -> dict[str, Any]:
        """Return what the next dock begins with, beside the choices, and for which image it is."""
        return {
            "image": self._chosen_for, "picked": self.planes.picked,
            "follow": self.follow.isChecked(),
        }  # fmt: skip

    def _begin_with(self, state: dict[str, Any], image: object, picked: bool, follow: bool) -> None:
        """Go on with the choices of the dock before; what is of its image alone stays with that."""
        here = self.workspace.shown.frame_key().layer
        self._chosen_for = here
        state = {**state, "window": self.window.state()}
        if not picked:
            del state["planes"]
        if image != here:
            state["pixels"] = {**state["pixels"], "pixel": None}
        self.set_state(state)
        self.follow.setChecked(follow)
        if image != here:
            self._chosen_for = image
            self._image_changed()

    # What will happen, in words

    def plan(self) -> HeatmapPlan:
        """Return what pressing the button would do.

        Raises
        ------
        CamSamError
            If it could do nothing; its words say what is missing.
        """
        indices = self.planes.indices()
        if self.method.value() == "occlusion":
            self._occlusion = self.occlusion.value()
        pace = self._run.pace(str(self.classifier.name.value()), str(self.method.value()))
        return plan_heatmaps(self.workspace, self.classifier, self.pixels, indices, pace)

    def _refresh(self, _: object = None) -> None:
        # Without a classifier only what images and boxes need is there.
        classifier, picture = self.classifier, self.workspace.shown.is_picture
        chosen = classifier.name.value() is not None
        for one in (classifier.target, self.least, self.method, classifier.layer):
            self._rows.setRowVisible(one, chosen)
        of_planes = chosen and not classifier.takes_volumes and not picture
        self._rows.setRowVisible(self.planes, of_planes)
        self.follow.setVisible(of_planes)
        self.occlusion.setVisible(chosen and self.method.value() == "occlusion")
        classifier.layer.setEnabled(self.method.value() not in WITHOUT_LAYERS)
        for row in (self.row, self.saving.row):
            row.look_again()
        self._show_plan()
        self._offer_saving()
        self.planned.emit()

    def _show_plan(self) -> None:
        try:
            plan = self.plan()
        except CamSamError as error:
            self.run.setEnabled(False)
            no_image = self.workspace.image_layer is None
            self.row.set_message((no_image and self.classifier.trained_words()) or str(error))
            return
        self.run.setEnabled(not (self.row.busy and not self._follower.computes))
        if not self.row.busy:
            self.row.set_message(
                self.classifier.trained_words() + plan.sentence + self.classifier.caution()
            )

    def _show_found(self) -> None:
        chosen = self.state() if self.classifier.loaded() is not None else {}
        self.found.setText(found_words(self.workspace, chosen))
        self._offer_saving()

    def _offer_saving(self) -> None:
        if self.saving.row.busy:
            return
        reason = ""
        try:
            if self.workspace.own("heatmap", self.workspace.plane()[0]) is None:
                reason = _NO_HEATMAP
        except CamSamError as error:
            reason = str(error)
        allow(self.saving.button, reason)

    # The work

    def _settings(self, snapshot: Snapshot | None = None) -> HeatmapSettings:
        """Read what the dock shows, before a thread starts; with an image also its pixels.

        Raises
        ------
        CamSamError
            If the pixels to explain are not there.
        """
        pixels = None
        if snapshot is not None:
            pixels = self.pixels.value_for(self.classifier.loaded(), snapshot)
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
        self._follower.stop()
        if self.row.busy and (self._loading or self._follower.computes):
            self._queued = True  # as soon as the classifier is there, or the plane before is done
            return True
        try:
            snapshot, indices = self.workspace.snapshot(), self.planes.indices()
            settings = self._settings(snapshot)
        except CamSamError as error:
            why = partial(why_not, lambda: self._settings(self.workspace.snapshot()))
            self.row.show_error(str(error), why)
            return False
        started = self._run.start(settings, snapshot, indices)
        if started:
            self.run.setEnabled(False)
        return started

    def _to_save(self) -> Saving:
        axis, _ = self.workspace.plane()
        layer = self.workspace.own("heatmap", axis)
        if layer is None:
            raise CamSamError(_NO_HEATMAP)
        image, file = self.workspace.image(), path_of(self.workspace.image_layer)
        return heatmap_saving(layer, image, file)

    def _ended(self, complete: bool) -> None:
        if complete and not self._loading:
            self.classifier.trained = ""  # it was seen to be chosen
        self._loading = False
        queued, self._queued = self._queued, False
        self._refresh()
        if queued and self.classifier.loaded() is not None:
            if self.compute():
                return
            complete = False
        self.computed.emit(complete)
