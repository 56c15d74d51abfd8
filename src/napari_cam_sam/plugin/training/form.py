"""How a classifier is trained: a preset, what is mostly changed, and the rest below."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget
from superqt.utils import signals_blocked

from napari_cam_sam.field_help import field_help
from napari_cam_sam.images.windows import CT_PRESETS, WindowParameters
from napari_cam_sam.models.names import OWN_NAMES, TORCHVISION_NAMES
from napari_cam_sam.models.training.parameters import (
    PRESETS,
    AugmentationParameters,
    TrainingParameters,
    training_preset,
)
from napari_cam_sam.plugin.qt.parameter_form import ParameterForm
from napari_cam_sam.plugin.qt.plain_text import Label
from napari_cam_sam.plugin.qt.widgets import (
    Section,
    SpinBox,
    ValueComboBox,
    form_layout,
    hbox,
    vbox,
)

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["TrainingForm", "parameters_from"]

_PRESETS = {
    "scratch": ("few images, no download", "For a few hundred images; needs no "
                "ImageNet weights. Fine grid: heatmaps with twice as many rows and columns."),
    "s1": ("S1: ResNet from ImageNet", "As in 'Weakly supervised automated extraction of optimal "
           "visual prompts': an extra head and weighted classes."),
    "s0": ("S0: MobileNetV3 from ImageNet", "As in 'SAM to assess Grad-CAM'."),
}  # fmt: skip
_REST = (
    "start", "fine_grid", "head", "dropout", "batch_size", "learning_rate", "backbone_rate",
    "weight_decay", "warm_up", "label_smoothing", "balance", "patience", "validation_part",
    "test_part", "join_copies", "precision",
)  # fmt: skip
# What switches show first where nothing is chosen.
_STARTS: dict[str, float] = {"backbone_rate": 1e-4, "patience": 10}
_AS_SHOWN = "shown"


class TrainingForm(QWidget):
    """The parameters of a training.

    Parameters
    ----------
    workspace : Workspace
        Gives the window in which images of the viewer are looked at.
    """

    changed = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._base = PRESETS["scratch"]
        helps = field_help(TrainingParameters)
        self.preset = ValueComboBox("Sets everything below; adjust it afterwards.")
        self.preset.offer(
            (_PRESETS[name][0], name, _PRESETS[name][1]) if name in _PRESETS else (name, name)
            for name in PRESETS
        )
        self.architecture = ValueComboBox(
            "The network that is trained. small-cnn and resnet18-narrow are small and quick; the "
            "others are torchvision's."
        )
        self.architecture.offer((name, name) for name in (*TORCHVISION_NAMES, *OWN_NAMES))
        self.rows = SpinBox(minimum=16, maximum=4096, singleStep=32)
        self.columns = SpinBox(minimum=16, maximum=4096, singleStep=32)
        size = QWidget()
        for widget in (self.rows, self.columns, size):
            widget.setToolTip(f"{helps['input_size']} Larger shows more detail but takes longer.")
        beside = hbox(self.rows, Label("×"), self.columns, parent=size)
        beside.setStretch(0, 1)
        beside.setStretch(2, 1)
        self.epochs = SpinBox(minimum=1, maximum=10_000, toolTip=helps["epochs"])
        self.seed = SpinBox(minimum=0, maximum=2**31 - 1)
        self.seed.setToolTip(f"{helps['seed']} The same seed gives the same classifier on the CPU.")
        self.channels = ValueComboBox("Whether the network sees gray or colour.")
        self.channels.offer((("same as the images", 0), ("1, gray", 1), ("3, colour", 3)))
        self.device = ValueComboBox("Where the network is trained.")
        devices = {"GPU if available": "auto", "CPU": "cpu", "CUDA": "cuda", "Apple GPU": "mps"}
        self.device.offer(devices.items())
        self.window = ValueComboBox(helps["window"])
        self.window.offer(
            [
                ("automatic", WindowParameters()),
                (
                    "as the image shown",
                    _AS_SHOWN,
                    "The window chosen for it in the step of heatmaps.",
                ),
                ("minimum to maximum", WindowParameters("minmax")),
                *((name, WindowParameters(name)) for name in CT_PRESETS),
            ]
        )
        self.rest = ParameterForm(TrainingParameters, _STARTS, only=_REST)
        self.augmentation = ParameterForm(AugmentationParameters)

        more = QWidget()
        rows = ("Device", self.device), ("Window", self.window), ("Channels", self.channels)
        vbox(more, form_layout(rows), self.rest)
        first = (
            ("Preset", self.preset), ("Network", self.architecture), ("Input size", size),
            ("Epochs", self.epochs), ("Seed", self.seed),
        )  # fmt: skip
        vbox(
            self,
            form_layout(first),
            Section("More settings", more, opened=False),
            Section("Augmentation", self.augmentation, opened=False),
        )

        self.set_value(self._base)
        self.preset.chosen.connect(lambda: self.set_value(training_preset(self.preset.value())))
        self.rows.valueChanged.connect(self._rows_changed)
        for spin in (self.columns, self.epochs, self.seed):
            spin.valueChanged.connect(self._emit_changed)
        for choice in (self.architecture, self.channels, self.device, self.window):
            choice.currentIndexChanged.connect(self._emit_changed)
        self.rest.changed.connect(self._emit_changed)
        self.augmentation.changed.connect(self._emit_changed)
        workspace.window_changed.connect(self._emit_changed)
        workspace.image_changed.connect(self._emit_changed)

    def value(self) -> TrainingParameters:
        """Return the parameters that the form shows.

        Raises
        ------
        CamSamError
            Where one is out of its range.
        """
        window = self.window.value()
        if window == _AS_SHOWN:
            window = self._workspace.window_parameters or self._workspace.default_window()
        return replace(
            self._base,
            **self.rest.values(),
            architecture=self.architecture.value(),
            input_size=(self.rows.value(), self.columns.value()),
            epochs=self.epochs.value(),
            seed=self.seed.value(),
            channels=self.channels.value(),
            device=self.device.value(),
            window=window,
            augmentation=self.augmentation.value(),
        )

    def set_value(self, value: TrainingParameters) -> None:
        """Show parameters."""
        self._base = value
        with signals_blocked(self):
            self._show(value)
        self._emit_changed()

    def _show(self, value: TrainingParameters) -> None:
        self.rows.setValue(value.input_size[0])
        self.columns.setValue(value.input_size[1])  # rows took them along where both were one
        self.epochs.setValue(value.epochs)
        self.seed.setValue(value.seed)
        self.architecture.set_value(value.architecture)
        self.channels.set_value(value.channels)
        self.device.set_value(value.device)
        if not self.window.set_value(value.window):
            window = value.window
            self.window.addItem(f"{window.kind} {window.low} to {window.high}", window)
            self.window.set_value(window)
        self.rest.set_value(value)
        self.augmentation.set_value(value.augmentation)

    def look_as_shown(self, shown: bool) -> None:
        """Choose the window of the image shown, or that which suits files, unless another is."""
        before, after = (WindowParameters(), _AS_SHOWN)[:: 1 if shown else -1]
        if self.window.value() == before:
            self.window.set_value(after)

    def state(self) -> dict[str, Any]:
        """Return the parameters as plain data, for the session."""
        return {**asdict(self.value()), "as_shown": self.window.value() == _AS_SHOWN}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take parameters from a session."""
        self.set_value(parameters_from(state))
        if state.get("as_shown"):
            self.window.set_value(_AS_SHOWN)

    def _rows_changed(self, rows: int) -> None:
        if self._square:
            self.columns.setValue(rows)
        self._emit_changed()

    def _emit_changed(self, *_: object) -> None:
        self._square = self.rows.value() == self.columns.value()
        if not self.signalsBlocked():
            self.changed.emit()


def parameters_from(plain: dict[str, Any]) -> TrainingParameters:
    """Return the parameters that the plain data of a session or of a training's record hold.

    Parameters
    ----------
    plain : dict
        As ``dataclasses.asdict`` makes it.

    Returns
    -------
    TrainingParameters

    Raises
    ------
    CamSamError
        For a value out of its range.
    KeyError, TypeError
        Where it is no such data.
    """
    known = {name: plain[name] for name in TrainingParameters.__dataclass_fields__ if name in plain}
    known["input_size"] = tuple(plain["input_size"])
    known["classes"] = tuple(plain["classes"])
    known["window"] = WindowParameters(**plain["window"])
    known["augmentation"] = AugmentationParameters(**plain["augmentation"])
    return TrainingParameters(**known)
