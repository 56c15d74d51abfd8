"""Which planes: the one that is shown, a range, or all along the axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget
from superqt.utils import signals_blocked

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.widgets import SpinBox, ValueComboBox, vbox
from napari_cam_sam.plugin.state.shown_image import ShownImage

__all__ = ["PlaneRange"]

_SHOWN, _RANGE, _ALL = "shown", "range", "all"


class PlaneRange(QWidget):
    """A choice of planes along the axis in view, numbered as in the image.

    Parameters
    ----------
    shown : ShownImage
    """

    changed = Signal()

    def __init__(self, shown: ShownImage) -> None:
        super().__init__()
        self._shown = shown
        self._few = 0
        self.picked = False
        """Whether the user chose, or a session did."""
        self.scope = ValueComboBox("Slices along the axis that the viewer scrolls now.")
        self.first, self.last = SpinBox(), SpinBox()
        for spin, words, hint in (
            (self.first, "from", "First slice"),
            (self.last, "to", "Last slice, included"),
        ):
            spin.setPrefix(f"{words} ")
            spin.setToolTip(f"{hint}; numbered as in the image, from 0.")
            spin.valueChanged.connect(self.changed)
        self.setToolTip(self.scope.toolTip())
        # Below one another: beside each other they are wider than a dock beside an image may be.
        vbox(self, self.scope, self.first, self.last)
        self.scope.offer([("this slice", _SHOWN), ("from … to …", _RANGE), ("all", _ALL)])
        self.scope.currentIndexChanged.connect(self._scope_changed)
        self._show_range()

    def prefer_all(self, most: int) -> None:
        """Choose all planes of an axis with no more than these, until another choice is made."""
        self._few = most
        self.fit()
        self.changed.emit()

    def indices(self) -> Sequence[int]:
        """List the planes that are chosen.

        Raises
        ------
        CamSamError
            Without an image, or where the viewer shows no single plane of it.
        """
        axis, index = self._shown.plane()
        scope = self.scope.value()
        if scope == _ALL:
            return range(self._shown.image().n_planes(axis))
        if scope == _RANGE:
            low, high = sorted((self.first.value(), self.last.value()))
            return range(low, high + 1)
        return range(index, index + 1)

    def fit(self) -> None:
        """Set the range to end where the axis in view does, and choose what suits that axis."""
        try:
            axis, _ = self._shown.plane()
            end = self._shown.image().n_planes(axis) - 1
        except CamSamError:
            end = 0
        if not self.picked:
            with signals_blocked(self.scope):
                self.scope.set_value(_ALL if 0 < end < self._few else _SHOWN)
        at_end = self.last.value() == self.last.maximum()
        self.first.setMaximum(end)
        self.last.setMaximum(end)
        if at_end:
            self.last.setValue(end)

    def state(self) -> dict[str, Any]:
        """Return the choice as plain data, for the session."""
        return {"planes": self.scope.value(), "range": [self.first.value(), self.last.value()]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Set the choice from a session."""
        self.picked = "planes" in state
        self.scope.set_value(state.get("planes"))
        for spin, value in zip((self.first, self.last), state.get("range", ()), strict=False):
            spin.setValue(value)

    def _scope_changed(self) -> None:
        self.picked = True
        self._show_range()
        self.changed.emit()

    def _show_range(self) -> None:
        for spin in (self.first, self.last):
            spin.setVisible(self.scope.value() == _RANGE)
