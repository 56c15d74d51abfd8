"""Which label of one or several layers: what these hold is found out in the background."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal

from napari_cam_sam.plugin.layers.conversion import frame_shown, image_of, labels_in, remarks_on
from napari_cam_sam.plugin.qt.latest import LatestOnly
from napari_cam_sam.plugin.qt.plain_text import show_error
from napari_cam_sam.plugin.qt.widgets import ValueComboBox

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["LabelChoice"]

_ALL = ("all labels", None)


class LabelChoice(ValueComboBox):
    """The list of the labels that layers hold; its value is None for all of them.

    Parameters
    ----------
    workspace : Workspace
    hint : str
    """

    found = Signal()
    """The labels were looked for: the list and the remark are of the layers as they are."""

    def __init__(self, workspace: Workspace, hint: str) -> None:
        super().__init__(hint)
        self._workspace = workspace
        self._of: tuple[Any, ...] = ()
        self._layers: Sequence[Any] = ()
        self.remark = ""
        """What is odd about the values of the layers; empty where nothing is."""
        self.finder = LatestOnly(self._offer, show_error, self)
        self.offer([_ALL])

    def expect(self, value: int | None) -> None:
        """Choose a label before the layers were looked through; gone where they lack it."""
        if value is not None and not self.set_value(value):
            self.offer([_ALL, _item(value)])
            self.set_value(value)

    def look_in(self, layers: Iterable[Any]) -> None:
        """List the labels of the layers that lie on the image's grid, if these are others now."""
        self._layers = tuple(layers)
        of = (*(layer.unique_id for layer in self._fitting()), self._workspace.frame())
        if of != self._of:
            self._of = of
            self.look_again()

    def look_again(self) -> None:
        """List the labels anew: the layers may have been painted in."""
        viewer = self._workspace.viewer
        images = [image_of(layer, frame_shown(viewer, layer)) for layer in self._fitting()]
        self.finder.ask(lambda: (labels_in(one.data for one in images), remarks_on(images)))

    def _fitting(self) -> list[Any]:
        return [layer for layer in self._layers if self._workspace.mismatch(layer) is None]

    def _offer(self, found: tuple[list[int], str]) -> None:
        values, self.remark = found
        self.offer([_ALL, *map(_item, values)])
        self.found.emit()


def _item(value: int) -> tuple[str, int]:
    return f"label {value}", value
