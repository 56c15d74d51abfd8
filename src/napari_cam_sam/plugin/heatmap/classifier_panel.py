"""Which classifier or network, which of its classes and layers, and where it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.names import (
    classifier_names,
    is_factory,
    shipped_classifiers,
    shipped_networks,
)
from napari_cam_sam.plugin.heatmap.code_question import CodeQuestion
from napari_cam_sam.plugin.heatmap.loaded_classifier import LoadedClassifier, described
from napari_cam_sam.plugin.qt.paths import CHECKPOINT_FILES
from napari_cam_sam.plugin.qt.plain_text import show_warning
from napari_cam_sam.plugin.qt.widgets import ValueComboBox
from napari_cam_sam.plugin.qt.wording import device_words
from napari_cam_sam.plugin.state.heatmap_record import PREDICTED, HeatmapRecord

if TYPE_CHECKING:
    from napari_cam_sam.models.classifiers import Classifier
    from napari_cam_sam.models.segmentation import SegmentationNetwork
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["ClassifierPanel"]

_BROWSE = "Open a checkpoint…"
_BUNDLE = "Open a MONAI bundle…"
_CHOICES = ("target", "layer", "classifier_sha256", "plane_order")
_ORDERS = (("rows, columns", "rows-columns"), ("columns, rows (nibabel)", "columns-rows"))
_MAY_GUESS = " In training it was not clearly better than guessing: its heatmaps may mean nothing."
_DEVICES = [("auto", "auto"), ("CPU", "cpu")]


@dataclass(frozen=True)
class _Wanted:
    """What was asked for of a classifier that is not loaded yet; None for what suits it."""

    target: str | None = None
    layer: str | None = None
    sha256: str | None = None
    plane_order: str | None = None


class ClassifierPanel(QObject):
    """The lists of classifiers, classes, layers and devices; a dock lays them out in its form.

    Parameters
    ----------
    workspace : Workspace
        Holds the classifier that is loaded, for all docks.
    parent : QWidget
        The dock.
    """

    load_wanted = Signal()
    """The user chose a classifier or a device: what is chosen now is to be loaded."""
    restored = Signal()
    """What a session chose is chosen now."""
    changed = Signal()
    """Another class or layer was chosen, or other ones are listed."""

    def __init__(self, workspace: Workspace, parent: QWidget) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._known: LoadedClassifier | None = None
        self._wanted = _Wanted()
        # That is not on the list, as long as PyTorch was not asked which there are.
        self._wanted_device: str | None = None
        self._listed: str | None = None
        # That was trained just now, until a heatmap is made with it.
        self.trained = ""
        self._shown: HeatmapRecord | None = None

        self.code = CodeQuestion()
        self.name = ValueComboBox(
            "A shipped model, a torchvision model, or your own classifier or segmentation network."
        )
        self.target = ValueComboBox(
            "The class to explain. Its probability on this slice is shown once the slice has a "
            "heatmap."
        )
        self.layer = ValueComboBox(
            "The layer that the map comes from: late layers carry more meaning, early ones finer "
            "detail."
        )
        self.order = ValueComboBox(
            "How slices are given to the model: rows first, as displayed, or columns first, for "
            "models trained on slices of nibabel arrays (which look transposed).",
            _ORDERS,
        )
        self.device = ValueComboBox("Where models run; auto uses a GPU if there is one.", _DEVICES)
        shipped, networks = shipped_classifiers(), shipped_networks()
        self.name.offer(
            [("choose…", None)]
            + [(f"{name} (shipped)", name) for name in shipped]
            + [(f"{name} (shipped, segmentation)", name) for name in networks]
            + [(name, name) for name in classifier_names() if name not in shipped]
            + [(_BROWSE, _BROWSE), (_BUNDLE, _BUNDLE)]
        )
        self.device.set_value(workspace.device)
        self.name.chosen.connect(self._name_chosen)
        self.device.chosen.connect(self._device_chosen)
        self.order.chosen.connect(self._order_chosen)
        self.target.chosen.connect(self.changed)
        self.layer.chosen.connect(self.changed)
        workspace.classifier_changed.connect(self._list)
        workspace.plane_changed.connect(self._show_probabilities)
        workspace.heatmaps_changed.connect(self._show_probabilities)
        self._list()

    def choose(
        self,
        name: str,
        target: str | None = None,
        layer: str | None = None,
        sha256: str | None = None,
        plane_order: str | None = None,
    ) -> None:
        """Choose a classifier by name or path, and class and layer, listed once it is loaded.

        Parameters
        ----------
        name : str
        target, layer : str, optional
        sha256 : str, optional
            Which it was; once it is loaded, it is told if it is another one now.
        plane_order : str, optional
            How planes lie before it; what its card says where None.
        """
        self.name.add_path(name, place=1)
        self._wanted = _Wanted(target, layer, sha256, plane_order)
        if self.loaded() is not None:
            self._list()

    def loaded(self) -> LoadedClassifier | None:
        """Return the classifier if it is the one that is chosen, on the device that is chosen."""
        held, wanted = self._workspace.classifier, self._workspace.device
        if held is None or held.name != self.name.value():
            return None
        if self._wanted.plane_order not in (None, held.card.plane_order):
            return None
        if wanted != "auto" and not str(held.device).startswith(wanted):
            return None
        return self._held()

    @property
    def takes_volumes(self) -> bool:
        """Whether the classifier is loaded, and takes a volume at once."""
        loaded = self.loaded()
        return loaded is not None and loaded.of_volumes

    def plane_order(self) -> str | None:
        """Return the order of rows and columns that is wanted, None for what the card says."""
        return self._wanted.plane_order

    def targets(self) -> tuple[str | None, ...]:
        """Return the classes that are wanted; the first that the classifier knows is taken."""
        shown = self.target.value()
        carried = self._is_listed() or shown != PREDICTED
        return self._wanted.target, shown if carried else None

    def layers(self) -> tuple[str | None, ...]:
        """Return the layers that are wanted, as `targets`."""
        # Layers of two classifiers may be called alike, and be others.
        return self._wanted.layer, self.layer.value() if self._is_listed() else None

    def target_words(self) -> str:
        """Return in words which class will be explained, as far as that is known."""
        return next((one for one in self.targets() if one is not None), "") or "the predicted class"

    def trained_words(self) -> str:
        """Return what to do with a classifier that was trained just now; empty for others."""
        if not self.trained or self.name.value() != self.trained:
            return ""
        said = f"{Path(self.trained).parent.name} is chosen."
        if self._workspace.image_layer is None:
            return f"{said} Open an image like those that it learned from, then compute a heatmap."
        return f"{said} Now press Compute heatmap. "

    def caution(self) -> str:
        """Return what to know of a model before it is used; empty for nothing."""
        if self.name.value() in (*shipped_classifiers(), *shipped_networks()):
            return " Trained on phantoms only: for trying out, not for patient images."
        loaded = self.loaded()
        return _MAY_GUESS if loaded is not None and loaded.guesses else ""

    def adopt(self, loaded: LoadedClassifier) -> None:
        """Take a classifier that was loaded, and list what there is to choose of it."""
        self._known = loaded
        self._workspace.classifier = loaded.classifier
        self._list_devices()
        self._workspace.classifier_changed.emit()

    def fall_back(self) -> None:
        """Choose what is loaded: what was chosen could not be."""
        self._wanted = _Wanted()
        held = self._workspace.classifier
        if held is None or not self.name.set_value(held.name):
            self.name.setCurrentIndex(0)
        if held is not None:
            self.order.set_value(held.card.plane_order)

    def device_words(self) -> str:
        """Return in words where the classifier runs, or will."""
        held = self._workspace.classifier
        return device_words(self._workspace.device if held is None else str(held.device))

    def choose_device(self, device: str | None) -> None:
        """Choose where the models run; what is not on the list is looked for with the next model.

        Parameters
        ----------
        device : str or None
            None for where they run now.
        """
        self._wanted_device = None
        if device in (None, self._workspace.device):
            return
        if self.device.set_value(device):
            self._workspace.device = self.device.value()
            self._workspace.segmenter_changed.emit()
        else:
            self._wanted_device = device

    def state(self) -> dict[str, Any]:
        """Return the choices as plain data, for the session."""
        loaded = self.loaded()
        return {
            "classifier": self.name.value(),
            "classifier_sha256": (
                self._wanted.sha256 if loaded is None else loaded.classifier.sha256
            ),
            "device": self._wanted_device or self._workspace.device,
            "target": self.target.value(),
            "layer": self.layer.value(),
            "plane_order": self._wanted.plane_order,
            **self.code.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the choices of a session; code that it names is run only if the user says so."""
        self.choose_device(state.get("device"))
        self.code.forget()
        name, held = state.get("classifier"), self._workspace.classifier
        # What the user loaded is no news.
        if name and is_factory(name) and (held is None or held.name != name):
            asked = {key: state.get(key) for key in ("classifier", *_CHOICES)}
            self.code.ask(name, asked, lambda: self._restore(state))
        elif name:
            self._restore(state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.choose(state["classifier"], *(state.get(key) for key in _CHOICES))
        self.restored.emit()

    def _held(self) -> LoadedClassifier:
        """Return what is loaded; of what another dock loaded only the default layers are known."""
        held = self._workspace.classifier
        if self._known is None or self._known.classifier is not held:
            self._known = described(held)
        return self._known

    def _name_chosen(self) -> None:
        self._wanted = _Wanted()
        if self.name.value() in (_BROWSE, _BUNDLE):
            if self.name.value() == _BUNDLE:
                path = QFileDialog.getExistingDirectory(self.name, "Open a MONAI bundle")
            else:
                path, _ = QFileDialog.getOpenFileName(
                    self.name, "Open a checkpoint", "", CHECKPOINT_FILES
                )
            self.name.setCurrentIndex(0)
            if not path:
                return
            self.name.add_path(path, place=1)
        if self.name.value() is None:
            self._workspace.classifier = None
            self._workspace.classifier_changed.emit()
        else:
            self.load_wanted.emit()

    def _device_chosen(self) -> None:
        self._wanted_device = None
        self._workspace.device = self.device.value()
        if self._workspace.classifier is not None:
            self.load_wanted.emit()
        self._workspace.segmenter_changed.emit()

    def _order_chosen(self) -> None:
        self._wanted = replace(self._wanted, plane_order=self.order.value())
        if self.name.value() is not None:
            self.load_wanted.emit()

    def _is_listed(self) -> bool:
        """Check whether the classes and layers on the lists are of the classifier chosen."""
        return self._listed is not None and self.name.value() == self._listed

    def _list(self) -> None:
        """List classes and layers of what is loaded; what was chosen stays, where it is there."""
        classifier = self._workspace.classifier
        if classifier is not None:
            self._warn_if_changed(classifier)
            self.name.add_path(classifier.name, place=1)
        targets, layers = self.targets(), self.layers()
        self.target.clear()
        self.target.addItem("the predicted class", PREDICTED)
        self.layer.clear()
        if classifier is not None:
            held = self._held()
            self.order.set_value(classifier.card.plane_order)
            for name in classifier.card.class_names:
                self.target.addItem(name, name)
            for name, grid in held.layers:
                self.layer.addItem(f"{name}  ({grid})", name)
            self.target.set_value(held.target(targets))
            self.layer.set_value(held.layer(layers))
            self._wanted = replace(self._wanted, target=None, layer=None)
        self._listed = None if classifier is None else classifier.name
        self._shown = None
        self._show_probabilities()
        self.changed.emit()

    def _warn_if_changed(self, classifier: Classifier | SegmentationNetwork) -> None:
        """Warn if a classifier is another than the one of that name that was asked for."""
        wanted = self._wanted.sha256
        self._wanted = replace(self._wanted, sha256=None)
        if wanted not in (None, classifier.sha256) and classifier.name == self.name.value():
            show_warning(
                f"{classifier.name} has changed since the session was saved: its sha256 is "
                f"{classifier.sha256[:12]}…, it was {str(wanted)[:12]}…."
            )

    def _show_probabilities(self) -> None:
        """Write behind each class its probability on the plane shown, where that is known."""
        note = self._note()
        if note is self._shown:
            return
        self._shown = note
        # A network has a probability a pixel: the highest on the plane is known.
        most = "up to " if note is not None and note.made_by.get("pixels") else ""
        for i in range(1, self.target.count()):
            name = self.target.itemData(i)
            likely = None if note is None else note.probabilities.get(name)
            self.target.setItemText(i, name if likely is None else f"{name} ({most}{likely:.2f})")

    def _note(self) -> HeatmapRecord | None:
        """Return what the classes on the list were found to be on the plane shown."""
        held, heatmaps = self._workspace.classifier, self._workspace.heatmaps
        try:
            note = heatmaps.record(*self._workspace.plane())
        except CamSamError:  # in three dimensions no plane is shown
            return None
        theirs = None if note is None else note.made_by.get("classifier_sha256")
        if held is None or note is None or theirs != held.sha256:
            return None
        order = note.made_by.get("plane_order", "rows-columns")
        return note if order == held.card.plane_order else None

    def _list_devices(self) -> None:
        """List the devices that there are, which PyTorch alone knows."""
        import torch

        gpus = range(torch.cuda.device_count())
        found = _DEVICES + [(torch.cuda.get_device_name(i), f"cuda:{i}") for i in gpus]
        if torch.backends.mps.is_available():
            found.append(("Apple GPU", "mps"))
        self.device.offer(found)
        # Preferences may name one that was not on the list before.
        self.device.set_value(self._workspace.device)
        wanted = self._wanted_device
        self.choose_device(wanted)
        if self._wanted_device is not None:
            self._wanted_device = None
            show_warning(
                f"The session's device {wanted} is not available: models run on "
                f"{self.device.currentText()}."
            )
