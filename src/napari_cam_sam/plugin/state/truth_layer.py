"""Which labels layer is the truth."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.layers.conversion import frame_shown, hides, image_of, is_own
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
        self.shown = shown
        # By image, the labels that were chosen.
        self._chosen: dict[Any, Any] = {}
        # By labels, the picture that they were made, opened or chosen for.
        self._owners: dict[Any, Any] = {}
        # By layer: the array that was looked at, and whether it was empty then.
        self._began_empty: dict[Any, tuple[Any, bool]] = {}

    def candidates(self) -> list[Any]:
        """List the labels layers but what only shows something, or lies on another image alone."""
        return [
            layer
            for layer in self.shown.viewer.layers
            if isinstance(layer, Labels)
            and mark_of(layer).get("role") not in _NO_TRUTH
            and not self._is_elsewhere(layer)
        ]

    def _is_elsewhere(self, layer: Any) -> bool:
        """Return whether labels lie on the grid of another image, and not on this one's."""
        shown = self.shown
        return shown.mismatch(layer) is not None and any(
            shown.mismatch(layer, one) is None for one in shown.images() if one != shown.layer
        )

    def choose(self, layer: Any | None) -> None:
        """Set the truth, in every dock."""
        if layer is not self._chosen.get(self._image()):
            self._chosen[self._image()] = layer
            self.claim(layer)
            self.changed.emit()

    def claim(self, layer: Any | None) -> None:
        """Note that labels are the truth of the picture that is worked on, and of no other.

        Pictures have one grid as soon as they are of one size. What lies on the grid of a volume
        may be of several, and so may what lies on channels, which are seen together.
        """
        shown = self.shown
        if layer is None or not shown.is_picture or not hides(shown.layer):
            return
        if shown.mismatch(layer) is None:
            self._owners.setdefault(layer.unique_id, self._image())

    def owner(self, layer: Any) -> Any | None:
        """Return the id of the image that labels are of, where that is known."""
        return mark_of(layer).get("of", self._owners.get(layer.unique_id))

    def is_of_another(self, layer: Any) -> bool:
        """Return whether labels are known to be of another image than the one worked on."""
        return self.owner(layer) not in (None, self._image())

    def _image(self) -> Any:
        return self.shown.frame_key().layer

    def find(self) -> Any | None:
        """Find the layer that was chosen, else one on the image's grid that is not ours.

        New labels, which begin empty, are for painting: only the user can say that they are the
        truth, by the list or by their name.
        """
        chosen = self._chosen.get(self._image())
        if chosen is not None and chosen in self.shown.viewer.layers:
            return chosen
        fitting = [
            layer
            for layer in self.candidates()
            if not is_own(layer)
            and not self.is_of_another(layer)
            and self.shown.mismatch(layer) is None
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
        if layer is None or layer not in self.shown.viewer.layers:
            raise CamSamError(
                "No ground truth: press Open mask…, or add labels on the image's grid."
            )
        reason = self.shown.mismatch(layer)
        if reason is not None:
            raise CamSamError(reason)
        return image_of(layer, frame_shown(self.shown.viewer, layer))
