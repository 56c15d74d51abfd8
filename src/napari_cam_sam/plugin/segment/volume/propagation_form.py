"""By which rules masks go through a volume, and what comes of them: two forms."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.qt.parameter_form import ParameterForm
from napari_cam_sam.plugin.qt.widgets import vbox
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.volume.parameters import PropagationParameters

__all__ = ["PropagationForm", "reachable"]

# What a rule that is off starts with when it is switched on.
_STARTS = {
    "min_score": 0.5, "max_area_ratio": 2.0, "min_iou": 0.5, "min_evidence": 0.2, "max_planes": 5,
    "max_distance_mm": 15.0,
}  # fmt: skip
_OF_POINTS = ("points", "negatives")


@dataclass(frozen=True)
class _Smoothing:
    """What is done with the masks when all are there.

    Attributes
    ----------
    smooth_along_axis_mm : float or None
        Blur the outlines from plane to plane by a Gaussian of this standard deviation. The
        prompted planes stay as they are.
    """

    smooth_along_axis_mm: float | None = None


class PropagationForm(QWidget):
    """The rules of propagation and of smoothing, those alone that matter to the rule chosen."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.rule = ParameterForm(PropagationParameters, _STARTS)
        self.rule.set_value(PropagationParameters())
        self.smoothing = ParameterForm(_Smoothing, {"smooth_along_axis_mm": 2.0})
        vbox(self, self.rule, self.smoothing)
        self.rule.changed.connect(self._rule_changed)
        self.smoothing.changed.connect(self.changed)
        self._rule_changed()

    def fitting(self, image: Image) -> tuple[PropagationParameters, float | None]:
        """Return the rules, and the sigma to smooth with in mm or None, for a volume.

        Raises
        ------
        CamSamError
            If a value is out of its range, or is in mm and the volume's spacing is not.
        """
        parameters: PropagationParameters = self.rule.value()
        sigma: float | None = self.smoothing.value().smooth_along_axis_mm
        if image.geometry.unit != "mm" and (sigma or parameters.max_distance_mm is not None):
            raise CamSamError(f"{image.name} has no spacing in mm: switch off the settings in mm.")
        return parameters, sigma or None

    def state(self) -> dict[str, Any]:
        """Return the rules as plain data, for the session; nothing where a value is refused."""
        with suppress(CamSamError):
            return {
                "rule": asdict(self.rule.value()),
                "smoothing": asdict(self.smoothing.value()),
            }
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the rules of a session."""
        if "rule" in state:
            self.rule.set_value(PropagationParameters(**state["rule"]))
        if "smoothing" in state:
            self.smoothing.set_value(_Smoothing(**state["smoothing"]))

    def _rule_changed(self) -> None:
        hidden = () if self.rule.widget("rule").value() == "points" else _OF_POINTS
        self.rule.hide_fields(hidden)
        self.changed.emit()


def reachable(
    image: Image,
    prompts: tuple[PlanePrompts, ...],
    parameters: PropagationParameters,
    more: int = 0,
) -> set[int]:
    """List the planes that masks may come to, and some more each way.

    Parameters
    ----------
    image : Image
    prompts : tuple of PlanePrompts
        All along one axis; at least one.
    parameters : PropagationParameters
    more : int
        How many planes are added each way.

    Returns
    -------
    set of int
    """
    axis = prompts[0].axis
    n_planes = image.n_planes(axis)
    reach = float(n_planes)
    if parameters.max_planes is not None:
        reach = min(reach, parameters.max_planes)
    if parameters.max_distance_mm is not None:
        reach = min(reach, parameters.max_distance_mm / image.geometry.spacing[axis])
    far = math.floor(reach * (1 + 1e-6)) + more
    reached = np.zeros(n_planes, bool)
    for plane in prompts:
        reached[max(0, plane.index - far) : max(0, plane.index + far + 1)] = True
    return set(np.flatnonzero(reached).tolist())
