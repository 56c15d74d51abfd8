"""Which labels layer is the truth."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.layers.conversion import frame_shown, image_of, is_own
from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.state.shown_image import ShownImage

__all__ = ["TruthLayer"]

# Labels of ours that show something, and are no answer of anybody's.
_NO_TRUTH = ("preview", "comparison", "explained")


class TruthLayer(QObject):
    """The labels layer that was chosen as the truth of the image, or that most likely is it.

    Parameters
    ----------
    shown : ShownImage
    parent : QObject
    """

    changed = Signal()
    """Another one was chosen."""

    def __init__(self, shown: ShownImage, parent: QObject) -> None:
        super().__init__(parent)
        self._shown = shown
        self._chosen: Any = None
        # By layer: the array that was looked at, and whether it was empty then.
        self._began_empty: dict[Any, tuple[Any, bool]] = {}
        shown.image_chosen.connect(self._forget)

    def candidates(self) -> list[Any]:
        """List all labels layers but those that only show something."""
        return [
            layer
            for layer in self._shown.viewer.layers
            if isinstance(layer, Labels) and mark_of(layer).get("role") not in _NO_TRUTH
        ]

    def choose(self, layer: Any | None) -> None:
        """Set the truth, in every dock."""
        if layer is not self._chosen:
            self._chosen = layer
            self.changed.emit()

    def find(self) -> Any | None:
        """Find the layer that was chosen, else one on the image's grid that is not ours.

        New labels, which begin empty, are for painting: only the user can say that they are the
        truth, by the list or by their name.
        """
        if self._chosen is not None and self._chosen in self._shown.viewer.layers:
            return self._chosen
        fitting = [
            layer
            for layer in self.candidates()
            if not is_own(layer) and self._shown.mismatch(layer) is None
        ]
        called = [x for x in fitting if any(w in x.name.lower() for w in ("truth", "gt"))]
        filled = [layer for layer in fitting if not self._was_empty(layer)]
        named = [layer for layer in filled if "label" in layer.name.lower()]
        return (called or named or filled or [None])[0]

    def _was_empty(self, layer: Any) -> bool:
        """Return whether labels held nothing when they were looked at first."""
        data = layer.data
        if not isinstance(data, np.ndarray):
            return False  # not in memory: nobody paints there
        seen, answer = self._began_empty.get(layer.unique_id, (None, False))
        if seen is None or seen() is not data:
            answer = not data.any()
            self._began_empty[layer.unique_id] = weakref.ref(data), answer
        return answer

    def read(self, layer: Any | None) -> Image:
        """Return what a layer holds as the truth of the image, of a series that of the frame shown.

        Parameters
        ----------
        layer : napari.layers.Labels or None
            As `find` gives it.

        Returns
        -------
        Image
            Its values are the layer's own.

        Raises
        ------
        CamSamError
            Without a layer, or where it does not lie on the image's grid.
        """
        if layer is None or layer not in self._shown.viewer.layers:
            raise CamSamError(
                "No ground truth: press Open mask…, or add labels on the image's grid."
            )
        reason = self._shown.mismatch(layer)
        if reason is not None:
            raise CamSamError(reason)
        return image_of(layer, frame_shown(self._shown.viewer, layer))

    def _forget(self) -> None:
        self._chosen = None
