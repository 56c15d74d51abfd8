"""The choice of a truth, with a button that opens one from disk."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.drawn import is_drawn, read_label_sets
from napari_cam_sam.images.formats import JPEG, PILLOW, TIFF, VOLUMES
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import check_same_grid, read_labels
from napari_cam_sam.plugin.layers.layer_axes import KEY
from napari_cam_sam.plugin.layers.layer_geometry import path_of
from napari_cam_sam.plugin.layers.segment_look import segment_look
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.messages import Message
from napari_cam_sam.plugin.qt.plain_text import escape_markup
from napari_cam_sam.plugin.qt.widgets import ValueComboBox, button, hbox, vbox
from napari_cam_sam.plugin.state.mask_images import add_truth

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.image_keys import FrameKey
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["TruthRow"]

_SUFFIXES = (*VOLUMES, *(one for one in PILLOW if one not in JPEG), *TIFF, ".dcm")
_FILES = f"Masks ({' '.join(f'*{suffix}' for suffix in _SUFFIXES)});;All files (*)"


class TruthRow(QWidget):
    """A list of labels layers, beside a button that adds one from a file and makes it the truth.

    Parameters
    ----------
    workspace : Workspace
    layer : ValueComboBox
        The list.
    """

    def __init__(self, workspace: Workspace, layer: ValueComboBox) -> None:
        super().__init__()
        self._workspace = workspace
        self.setToolTip(layer.toolTip())
        self.open = button(
            "Open mask…",
            "Opens a mask on the image's grid, 0 for background: NIfTI, NRRD, PNG, TIFF, DICOM "
            "segmentation or contours…",
        )
        self.words = Message()
        self.words.hide()
        vbox(self, hbox(layer, self.open), self.words)
        self._latest = LatestOnly(self._opened, self.words.setText, self)
        self.open.clicked.connect(self._ask)
        layer.chosen.connect(self._forget)
        workspace.image_changed.connect(self._forget)

    @property
    def busy(self) -> bool:
        """Whether a file is being read."""
        return self._latest.busy

    def open_file(self, path: str | Path) -> None:
        """Read a mask in a thread, add it over the image and choose it; an error stays here.

        Parameters
        ----------
        path : str or Path
        """
        try:
            image = self._workspace.image()
        except CamSamError as error:
            self.words.setText(str(error))
            return
        self.words.setText(f"Opening {Path(path).name}…")
        key = self._workspace.shown.frame_key()
        self._latest.ask(partial(_read, Path(path), key, image))

    def _ask(self) -> None:
        known = path_of(self._workspace.image_layer)
        folder = "" if known is None else str(known.parent)
        path, _ = QFileDialog.getOpenFileName(self, "Open a mask", folder, _FILES)
        if path:
            self.open_file(path)

    def _opened(self, found: tuple[tuple[Image, ...], FrameKey]) -> None:
        masks, key = found
        workspace = self._workspace
        if key != workspace.shown.frame_key():
            self.words.setText("Another image was chosen: open its mask again.")
            return
        try:
            for mask in masks:
                check_same_grid(workspace.image(), mask)
        except CamSamError as error:
            self.words.setText(str(error))
            return
        layers = [_layer(mask, workspace) for mask in masks]
        for labels in reversed(layers):
            add_truth(workspace.truth_layer, labels)
        workspace.choose_truth(layers[0])
        notes = list(dict.fromkeys(note for mask in masks for note in mask.notes))
        if len(masks) > 1:
            notes.append(
                f"Segments overlap: they are {len(masks)} layers, of which the first is chosen."
            )
        self.words.setText(" ".join(notes))

    def _forget(self) -> None:
        self._latest.drop()
        self.words.setText("")


def _read(path: Path, key: FrameKey, image: Image) -> tuple[tuple[Image, ...], FrameKey]:
    """Read all of a mask, in a thread; segments that overlap are several."""
    masks = read_label_sets(path, image) if is_drawn(path) else (read_labels(path, like=image),)
    return tuple(replace(mask, data=np.array(mask.data)) for mask in masks), key


def _layer(mask: Image, workspace: Workspace) -> Labels:
    """Return a mask as a layer where the image is, also if that was moved in the viewer."""
    name, known = escape_markup(mask.name), {KEY: {"image": mask}} if mask.segments else {}
    return Labels(
        mask.data, name=name, metadata=known, **segment_look(mask), **workspace.placement()
    )
