"""Which labels layer is the truth."""

from __future__ import annotations

from typing import Any

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
        """Find the layer that was chosen, else one on the image's grid that is not ours."""
        if self._chosen is not None and self._chosen in self._shown.viewer.layers:
            return self._chosen
        fitting = [
            layer
            for layer in self.candidates()
            if not is_own(layer) and self._shown.mismatch(layer) is None
        ]
        named = [x for x in fitting if any(w in x.name.lower() for w in ("truth", "gt", "label"))]
        return (named or fitting or [None])[0]

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
