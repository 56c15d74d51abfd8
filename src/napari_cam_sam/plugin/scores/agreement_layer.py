"""The layer that shows where prediction and truth agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.layers.styles import LABELS
from napari_cam_sam.plugin.qt.plain_text import RichLabel, escape_markup

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["AGREEMENT", "AgreementLayer", "legend"]

AGREEMENT = {
    1: ("TP", "in both"),
    2: ("FP", "only in the prediction"),
    3: ("FN", "only in the ground truth"),
}
"""What the values of the layer mean, in short and in words."""


class AgreementLayer:
    """The labels layer that shows where prediction and truth agree.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def there(self) -> list[Any]:
        """List the layers of agreement over the image: one, or none."""
        image = self._workspace.image_layer
        return [
            layer
            for layer in self._workspace.viewer.layers
            if image is not None
            and mark_of(layer).get("role") == "comparison"
            and mark_of(layer).get("of") == image.unique_id
        ]

    def show(self, data: NDArray[np.uint8], name: str) -> None:
        """Show an array of `AGREEMENT`, which the layer does not copy."""
        viewer = self._workspace.viewer
        layer = self._workspace.own("comparison")
        for old in self.there():
            if old != layer:
                viewer.layers.remove(old)
        if layer is not None and layer.data.shape == data.shape:
            layer.data, layer.name = data, f"TP/FP/FN of {name}"
            return
        active = viewer.layers.selection.active
        LABELS["comparison"].add(
            viewer,
            data,
            name=escape_markup(f"TP/FP/FN of {name}"),
            metadata=self._workspace.mark("comparison"),
            **self._workspace.placement(),
        )
        # The user goes on to paint in the layer that was selected.
        viewer.layers.selection.active = active

    def refresh(self) -> None:
        """Show what changed in the array."""
        for layer in self.there():
            layer.refresh()

    def remove(self) -> None:
        """Take the layer away."""
        self._workspace.layer_list.when_quiet(self._remove)

    def _remove(self) -> None:
        for layer in self.there():
            self._workspace.viewer.layers.remove(layer)


def legend() -> RichLabel:
    """Return a label that says what the colours of the layer mean.

    Returns
    -------
    RichLabel
    """
    colours: Any = LABELS["comparison"].colours
    made = RichLabel(
        " ".join(
            f'<span style="color:{colours[value]}">■</span>&nbsp;{short}'
            for value, (short, _) in AGREEMENT.items()
        )
    )
    made.setToolTip("; ".join(f"{n}: {words}" for n, words in AGREEMENT.values()))
    return made
