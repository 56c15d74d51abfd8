"""Names for the masks of a plane, from texts, and a filter by them."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QLineEdit, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.messages import Message
from napari_cam_sam.plugin.qt.torch_import import import_torch
from napari_cam_sam.plugin.qt.widgets import (
    FractionSlider,
    ValueComboBox,
    button,
    form_layout,
    hbox,
    vbox,
)
from napari_cam_sam.plugin.segment.automatic.automatic_run import FoundMasks, TextLabels
from napari_cam_sam.sam.everything.parameters import NAMING_CAUTION, NamingParameters

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.snapshot import Snapshot
    from napari_cam_sam.sam.everything.text_labels import TextModel

__all__ = ["TextLabelJob", "TextLabelPanel", "can_name"]

_MISSING = 'Labelling needs open_clip: pip install "napari-cam-sam[text]".'


def can_name() -> bool:
    """Check whether open_clip is installed, without importing it.

    Returns
    -------
    bool
    """
    return importlib.util.find_spec("open_clip") is not None


@dataclass(frozen=True, eq=False)
class TextLabelJob:
    """All that a thread needs to name the masks of a plane.

    Attributes
    ----------
    snapshot : Snapshot
    found : FoundMasks
    parameters : NamingParameters
    model : TextModel or None
        None if it is to be loaded.
    of : tuple of (str, str or None, str)
        Architecture or hub name, weights, device.
    """

    snapshot: Snapshot
    found: FoundMasks
    parameters: NamingParameters
    model: TextModel | None
    of: tuple[str, str | None, str]

    @property
    def total(self) -> int:
        """How many steps there are."""
        batches = -(-len(self.found.masks) // self.parameters.batch_size)
        return (self.model is None) + batches + 1

    def steps(self) -> Generator[TextModel | TextLabels | None]:
        """Load the model where it is not, and name batch by batch, in a thread.

        Yields
        ------
        TextModel, TextLabels or None
            The model once it is loaded, the labels at the end, and None after each batch.
        """
        import_torch()
        from napari_cam_sam.sam.everything import text_labels as naming

        model = self.model
        if model is None:
            model = naming.load_text_model(*self.of)
            yield model
        plane = self.snapshot.plane(self.found.index)
        masks, size = self.found.arrays(), self.parameters.batch_size
        parts = [np.zeros((0, len(self.parameters.classes)), np.float32)]
        # A call a batch: between two of them the work can be cancelled.
        for start in range(0, len(masks), size):
            batch = masks[start : start + size]
            parts.append(naming.name_masks(model, plane, batch, self.parameters))
            yield None
        yield TextLabels(self.parameters, np.concatenate(parts))


class TextLabelPanel(QWidget):
    """Which texts, by which model, and which of the masks so named are listed."""

    wanted = Signal()
    """Masks are to be named."""
    filtered = Signal()
    """Other names, or another probability, are to be listed."""

    def __init__(self) -> None:
        super().__init__()
        self._held: tuple[tuple[str, str | None, str], TextModel] | None = None
        self.classes = _field(
            "a lesion, normal tissue",
            "Two texts or more, separated by commas. Include one for everything else.",
        )
        self.sentence = _field(
            NamingParameters.templates[0],
            "The sentence around each text, which stands at {}. Leave empty for two common ones; "
            "medical models need their own, e.g. this is an ultrasound image of {}",
        )
        self.model = _field(
            "ViT-B-32",
            "An open_clip architecture, with a checkpoint below; or hf-hub:OWNER/MODEL "
            "(downloaded) or local-dir:FOLDER, without one.",
        )
        self.weights = _field(
            "checkpoint file or open_clip tag",
            "A .pt, .pth or .safetensors file of that architecture, or an open_clip tag such as "
            "laion2b_s34b_b79k (downloaded).",
        )
        self.browse = button("…", "Open a checkpoint.")
        self.name = button("Label masks", f"Labels each mask of this slice. {NAMING_CAUTION}")
        self.setToolTip(NAMING_CAUTION)
        self.reason = Message()
        self.text = ValueComboBox("Shows only the masks that match this text.")
        self.threshold = FractionSlider("Minimum probability of that text.", 0.5)
        self.offer(None)

        beside = QWidget()
        hbox(self.weights, self.browse, parent=beside).setStretch(0, 1)
        beside.setToolTip(self.weights.toolTip())
        asked = form_layout(
            (
                ("Texts", self.classes),
                ("Sentence", self.sentence),
                ("Model", self.model),
                ("Weights", beside),
            )
        )
        kept = form_layout((("Show", self.text), ("Min. probability", self.threshold)))
        vbox(self, asked, self.name, self.reason, kept)
        self.browse.clicked.connect(self._browse)
        self.name.clicked.connect(self.wanted)
        self.text.chosen.connect(self.filtered)
        self.threshold.changed.connect(self.filtered)

    def naming(self, snapshot: Snapshot, found: FoundMasks, device: str) -> TextLabelJob:
        """Return the work that names masks as the fields say.

        Raises
        ------
        CamSamError
            For texts that cannot be used, or without a model.
        """
        texts = tuple(part.strip() for part in self.classes.text().split(",") if part.strip())
        sentence = self.sentence.text().strip()
        parameters = NamingParameters(texts)
        if sentence:
            parameters = replace(parameters, templates=(sentence,))
        name = self.model.text().strip()
        if not name:
            raise CamSamError(
                "No model: enter an open_clip architecture such as ViT-B-32 and its checkpoint, or "
                "hf-hub:OWNER/MODEL."
            )
        of = name, self.weights.text().strip() or None, device
        held = self._held
        model = held[1] if held is not None and held[0] == of else None
        return TextLabelJob(snapshot, found, parameters, model, of)

    def adopt(self, model: TextModel, of: tuple[str, str | None, str]) -> None:
        """Keep a model that was loaded; the one before it goes."""
        self._held = of, model

    def allow(self, reason: str | None) -> None:
        """Offer naming, or say why not."""
        if not can_name():
            reason = _MISSING
        self.name.setEnabled(reason is None)
        self.reason.setText(reason or "")

    def offer(self, names: TextLabels | None) -> None:
        """List the texts that masks can be filtered by."""
        classes: Sequence[str] = () if names is None else names.parameters.classes
        self.text.offer([("all masks", None), *((text, text) for text in classes)])
        for widget in (self.text, self.threshold):
            widget.setEnabled(names is not None)

    def kept(self, names: TextLabels | None) -> set[int] | None:
        """Return the masks that are listed; None for all."""
        text = self.text.value()
        if names is None or text is None:
            return None
        return set(names.members(text, self.threshold.value()))

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Open an open_clip checkpoint", "", "Checkpoints (*.pt *.pth *.safetensors)"
        )
        if path:
            self.weights.setText(path)


def _field(placeholder: str, hint: str) -> Any:
    field = QLineEdit()
    field.setPlaceholderText(placeholder)
    field.setToolTip(hint)
    return field
