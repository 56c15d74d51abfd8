"""The first step: heatmaps of a classifier as a layer over the image."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.geometry import transform_of
from napari_cam_sam.plugin.importing import import_torch
from napari_cam_sam.plugin.layers import KEY, frame_shown, image_of, own_layer, plane_shown
from napari_cam_sam.plugin.tasks import Task

if TYPE_CHECKING:
    import napari

    from napari_cam_sam.images.image import Image

__all__ = ["HeatmapDock"]

_BROWSE = "Open a checkpoint…"
_PREDICTED = "the predicted class"
_SHOWN, _ALL = "the plane shown", "all planes"


class HeatmapDock(QWidget):
    """Choose an image, a classifier, a class and planes; compute heatmaps in the background.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._loaded: Any = None
        self._task: Task | None = None

        self.image = _box("The image that the classifier looks at.")
        self.classifier = _box("A shipped classifier, torchvision's, or your own checkpoint.")
        self.target = _box("The class whose evidence the heatmap shows.")
        self.method = _box("How the evidence is computed. Layer-CAM is a good start.")
        self.layer = _box("Which layer's maps: late layers mean more, early ones are finer.")
        self.planes = _box("Of the axis along which the viewer scrolls now.")
        self.planes.addItems([_SHOWN, _ALL])
        self.run = QPushButton("Compute heatmap")
        self.run.setToolTip("Starts in the background; the window stays usable.")
        self.cancel = QPushButton("Cancel")
        self.cancel.setEnabled(False)
        self.bar = QProgressBar()
        self.bar.setVisible(False)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

        form = QFormLayout()
        for name, widget in (
            ("Image", self.image),
            ("Classifier", self.classifier),
            ("Class", self.target),
            ("Method", self.method),
            ("Layer", self.layer),
            ("Planes", self.planes),
        ):
            form.addRow(name, widget)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run)
        buttons.addWidget(self.cancel)
        whole = QVBoxLayout(self)
        whole.addLayout(form)
        whole.addLayout(buttons)
        whole.addWidget(self.bar)
        whole.addWidget(self.words)
        whole.addStretch()

        self._list_classifiers()
        self.classifier.activated.connect(self._choose_classifier)
        self.run.clicked.connect(self.compute)
        self.cancel.clicked.connect(self.stop)
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self._list_images)
        dims = self._viewer.dims.events
        for event in (dims.order, dims.ndisplay, dims.current_step):
            event.connect(self._say)
        for box in (self.image, self.target, self.planes, self.method):
            box.currentIndexChanged.connect(self._say)
        self._list_images()

    # What there is to choose from

    def _list_images(self, _: object = None) -> None:
        chosen = self._image_layer()
        self.image.blockSignals(True)
        self.image.clear()
        for layer in self._viewer.layers:
            if isinstance(layer, ImageLayer) and "role" not in layer.metadata.get(KEY, {}):
                self.image.addItem(layer.name, layer)
        found = self.image.findData(chosen) if chosen is not None else -1
        self.image.setCurrentIndex(found if found >= 0 else self.image.count() - 1)
        self.image.blockSignals(False)
        self._say()

    def _list_classifiers(self) -> None:
        import_torch()
        from napari_cam_sam.cam.methods import METHODS
        from napari_cam_sam.models.classifiers import classifier_names

        self.classifier.addItem("choose one…", None)
        for name in classifier_names():
            self.classifier.addItem(name, name)
        self.classifier.addItem(_BROWSE, _BROWSE)
        self.method.addItems(list(METHODS))
        self.method.setCurrentText("layer-cam")

    def _choose_classifier(self, _: int = 0) -> None:
        """Load what was chosen, and list its classes and layers."""
        from napari_cam_sam.models.classifiers import list_layers, load_classifier

        name = self.classifier.currentData()
        if name == _BROWSE:
            name, _filter = QFileDialog.getOpenFileName(
                self, "A classifier's checkpoint", "", "Checkpoints (*.pth *.pt *.safetensors)"
            )
            if not name:
                self.classifier.setCurrentIndex(0)
                return
            self.classifier.insertItem(1, Path(name).name, name)
            self.classifier.setCurrentIndex(1)
        self._loaded = None
        self.target.clear()
        self.layer.clear()
        if name is not None:
            try:
                self._loaded = load_classifier(name)
            except CamSamError as error:
                self.classifier.setCurrentIndex(0)
                self.words.setText(str(error))
                raise
            self.target.addItem(_PREDICTED, None)
            for one in self._loaded.card.class_names:
                self.target.addItem(one, one)
            # The last class is the finding, where the first is its absence.
            self.target.setCurrentIndex(self.target.count() - 1 if self.target.count() == 3 else 0)
            for layer in list_layers(self._loaded):
                if len(layer.shape) == 4 and min(layer.shape[2:]) > 1:
                    grid = " × ".join(str(n) for n in layer.shape[2:])
                    self.layer.addItem(f"{layer.name}  ({grid})", layer.name)
            at = [self.layer.itemData(i) for i in range(self.layer.count())]
            default = self._loaded.default_layers[0]
            self.layer.setCurrentIndex(at.index(default) if default in at else -1)
        self._say()

    def choose(self, classifier: str, target: str | None = None) -> None:
        """Choose a classifier by its name in the list, and a class by its name."""
        self.classifier.setCurrentIndex(self.classifier.findData(classifier))
        self._choose_classifier()
        if target is not None:
            self.target.setCurrentIndex(self.target.findData(target))

    # What will happen, in words

    def _image_layer(self) -> Any | None:
        layer = self.image.currentData()
        return layer if layer is not None and layer in self._viewer.layers else None

    def _say(self, _: object = None) -> None:
        layer = self._image_layer()
        ready = layer is not None and self._loaded is not None
        self.run.setEnabled(ready and self._task is None)
        if self._task is not None:
            return
        if layer is None:
            self.words.setText("Open an image first: drop a file, or File → Open Sample.")
            return
        if self._loaded is None:
            self.words.setText("Choose a classifier. “lesion” suits the CT and ultrasound samples.")
            return
        try:
            axis, index = plane_shown(self._viewer, layer)
        except CamSamError as error:
            self.run.setEnabled(False)
            self.words.setText(str(error))
            return
        image = image_of(layer, frame_shown(self._viewer, layer))
        count = image.n_planes(axis)
        what = self.target.currentText()
        if self.planes.currentText() == _ALL:
            where = f"for {count} plane{'s' if count > 1 else ''}"
        else:
            where = f"for plane {index}"
        if image.spatial_ndim == 3:
            where += f" along axis {axis}"
        self.words.setText(f"Heatmap of {what} {where}, on the {self._loaded.device}.")

    # The work

    def compute(self) -> None:
        """Compute heatmaps in a thread and show each as it is ready."""
        from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
        from napari_cam_sam.images.windows import WindowParameters, apply_window, resolve_window

        layer = self._image_layer()
        if layer is None or self._loaded is None or self._task is not None:
            return
        axis, index = plane_shown(self._viewer, layer)
        image = image_of(layer, frame_shown(self._viewer, layer))
        indices = range(image.n_planes(axis))
        if self.planes.currentText() == _SHOWN:
            indices = range(index, index + 1)
        parameters = CamParameters(
            method=self.method.currentText(),
            target=self.target.currentData(),
            layers=(self.layer.currentData(),) if self.layer.currentIndex() >= 0 else (),
            batch_size=min(8, len(indices)),
        )
        # The window that the user sees: one for all planes, never the planes' own.
        low, high = (float(v) for v in layer.contrast_limits)
        limits = WindowParameters("limits", low, high) if not image.rgb else WindowParameters()
        classifier = self._loaded

        def steps() -> Generator[tuple[int, Any]]:
            window = resolve_window(image, limits)
            planes = (apply_window(image.plane(axis, i), window) for i in indices)
            yield from zip(indices, compute_heatmaps(classifier, planes, parameters), strict=True)

        target = self._heatmap_layer(layer, image)

        def show(found: tuple[int, Any]) -> None:
            at, heatmap = found
            target.data[image.slot(axis, at)] = heatmap.values
            target.refresh()
            likely = np.argsort(-heatmap.probabilities)[:3]
            names = classifier.card.class_names
            text = ", ".join(f"{names[i]} {heatmap.probabilities[i]:.2f}" for i in likely)
            reason = "" if heatmap.evidence else f" {heatmap.reason}"
            self.words.setText(f"Plane {at}: {text}.{reason}")

        viewer = self._viewer
        self._task = Task(
            steps,
            len(indices),
            f"Heatmaps of {image.name}",
            show,
            lambda: layer in viewer.layers and target in viewer.layers,
            self,
        )
        self._task.stepped.connect(self._stepped)
        self._task.ended.connect(self._ended)
        self.bar.setRange(0, len(indices))
        self.bar.setValue(0)
        self.bar.setVisible(True)
        self.run.setEnabled(False)
        self.cancel.setEnabled(True)
        self._task.start()

    def stop(self) -> None:
        """Cancel what runs; planes that are computed stay."""
        if self._task is not None:
            self._task.cancel()

    def _stepped(self, done: int, _total: int) -> None:
        self.bar.setValue(done)

    def _ended(self, _complete: bool) -> None:
        self._task = None
        self.bar.setVisible(False)
        self.cancel.setEnabled(False)
        self.run.setEnabled(self._image_layer() is not None)

    def _heatmap_layer(self, source: Any, image: Image) -> Any:
        """Find or add the layer over the image; planes not yet computed are 0, transparent."""
        size = image.spatial_shape
        found = own_layer(self._viewer, "heatmap", source)
        if found is not None and found.data.shape[-len(size) :] == size and found.ndim == len(size):
            return found
        where = transform_of(source)
        mark = source.metadata.get(KEY, {}) | {"role": "heatmap", "of": source.unique_id}
        if source.ndim > len(size):
            where = _last_axes(where, source, len(size))
        return self._viewer.add_image(
            np.zeros(size, np.float32),
            name=f"heatmap of {source.name}",
            colormap="inferno",
            blending="additive",
            opacity=0.6,
            contrast_limits=(0, 1),
            metadata={KEY: mark},
            **where,
        )

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Stop the work that would write into a window that is gone."""
        self.stop()
        super().closeEvent(event)


def _last_axes(where: dict[str, Any], source: Any, ndim: int) -> dict[str, Any]:
    """Give the transform of a series' last axes: a heatmap has no time."""
    affine = np.asarray(source.affine.affine_matrix)[-ndim - 1 :, -ndim - 1 :]
    return {
        "scale": where["scale"][-ndim:],
        "translate": where["translate"][-ndim:],
        "rotate": where["rotate"][-ndim:, -ndim:],
        "shear": np.zeros(ndim * (ndim - 1) // 2),
        "affine": affine,
        "units": where["units"][-ndim:],
        "axis_labels": where["axis_labels"][-ndim:],
    }


def _box(hint: str) -> QComboBox:
    box = QComboBox()
    box.setToolTip(hint)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    box.setMinimumContentsLength(14)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return box
