"""Which window turns the intensities of the image into gray levels."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_cam_sam.images.windows import CT_PRESETS, WindowParameters
from napari_cam_sam.plugin.layers.layer_geometry import file_of
from napari_cam_sam.plugin.qt.widgets import ValueComboBox

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["WindowChoice"]

_DISPLAYED = "displayed"


class WindowChoice(ValueComboBox):
    """The list of windows: of the image, of its layer and its file, and for CT.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(
            "How intensities become gray levels for the models; the same on all slices."
        )
        self._workspace = workspace
        self.chosen.connect(self._take)

    def fill(self) -> None:
        """List the windows there are for the image, and show the one that is chosen."""
        presets = [(name, WindowParameters(name)) for name in CT_PRESETS]
        presets[:0] = self._of_file()
        chosen = self._workspace.window_parameters
        known = [parameters for _, parameters in presets]
        if chosen is not None and chosen.kind == "limits" and chosen not in known:
            presets.insert(0, (f"{chosen.low:g} to {chosen.high:g}", chosen))
        self.offer(
            [
                ("automatic", None, "A sample's own; 8-bit as it is; else percentiles."),
                ("contrast limits now", _DISPLAYED, "The contrast limits of this moment, kept."),
                ("minimum to maximum", WindowParameters("minmax")),
                *presets,
            ]
        )
        self.set_value(chosen)

    def state(self) -> dict[str, Any] | None:
        """Return the window that was chosen as plain data, for the session; None for none."""
        chosen = self._workspace.window_parameters
        return None if chosen is None else asdict(chosen)

    def set_state(self, state: dict[str, Any] | None) -> None:
        """Choose the window of a session."""
        self._workspace.choose_window(WindowParameters(**state) if state else None)

    def _of_file(self) -> list[tuple[str, WindowParameters]]:
        """Return the presets that the file of the image proposes, as DICOM does."""
        layer = self._workspace.image_layer
        file = None if layer is None else file_of(layer)
        return [
            (f"{name or 'file'}: {low:g} to {high:g}", WindowParameters("limits", low, high))
            for name, low, high in (() if file is None else file.windows)
        ]

    def _take(self) -> None:
        chosen, layer = self.value(), self._workspace.image_layer
        if chosen == _DISPLAYED and layer is not None and not getattr(layer, "rgb", False):
            low, high = (float(v) for v in layer.contrast_limits)
            chosen = WindowParameters("limits", low, high)
        self._workspace.choose_window(chosen if isinstance(chosen, WindowParameters) else None)
