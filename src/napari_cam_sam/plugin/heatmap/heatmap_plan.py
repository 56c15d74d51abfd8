"""What pressing the button for heatmaps would do, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.heatmap.classifier_panel import ClassifierPanel
from napari_cam_sam.plugin.heatmap.pixel_set_panel import PixelSetPanel
from napari_cam_sam.plugin.qt.task_progress import duration
from napari_cam_sam.plugin.state.plane_words import along_words, slider_label

if TYPE_CHECKING:
    from napari_cam_sam.images.image import Image
    from napari_cam_sam.plugin.state.shown_image import ShownImage
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["HeatmapPlan", "plan_heatmaps"]

_NO_CLASSIFIER = "No classifier? Go to step 2: draw a box."
_OR_TRUTH = "No classifier? Go to step 2: draw a box, or take boxes from a truth."
_NOT_NEEDED = "No classifier chosen; boxes need none."


@dataclass(frozen=True)
class HeatmapPlan:
    """What pressing the button would do.

    Attributes
    ----------
    indices : sequence of int
        The planes, along the axis shown.
    total : int
        How many planes that axis has.
    words : str
        What would be explained where, and on which device, e.g. ``"lesion for all 24 axial
        slices, on the CPU"``.
    seconds : float or None
        How long it would take; None where that is not known.
    """

    indices: Sequence[int]
    total: int
    words: str
    seconds: float | None

    @property
    def sentence(self) -> str:
        """The plan as the dock shows it."""
        long = "" if self.seconds is None else f", {duration(self.seconds)}"
        return f"Heatmap of {self.words}{long}."


def plan_heatmaps(
    workspace: Workspace,
    classifier: ClassifierPanel,
    pixels: PixelSetPanel,
    indices: Sequence[int],
    pace: float | None,
) -> HeatmapPlan:
    """Return what would be computed by the choices of the dock.

    Parameters
    ----------
    workspace : Workspace
    classifier : ClassifierPanel
    pixels : PixelSetPanel
    indices : sequence of int
        The slices that are chosen.
    pace : float or None
        Seconds that a slice takes.

    Returns
    -------
    HeatmapPlan

    Raises
    ------
    CamSamError
        If nothing could be; its words say what is missing.
    """
    (axis, shown), image = workspace.plane(), workspace.image()
    if classifier.name.value() is None:
        raise CamSamError(_without_classifier(workspace, axis))
    what, loaded, total = classifier.target_words(), classifier.loaded(), image.n_planes(axis)
    if loaded is not None and loaded.of_volumes:
        indices, where = range(total), "the whole volume"
    else:
        where = _span(indices, image, axis, workspace.shown)
        if tuple(indices) == (shown,):
            where += slider_label(workspace.shown)
    if loaded is not None and loaded.segments:
        what += f" {pixels.words()},"
    words = f"{what} for {where}, on the {classifier.device_words()}"
    return HeatmapPlan(indices, total, words, None if pace is None else pace * len(indices))


def _without_classifier(workspace: Workspace, axis: int) -> str:
    """Return what to do without a classifier, where that is not done yet."""
    if workspace.prompts.planes(axis) or workspace.masks.accepted:
        return _NOT_NEEDED
    return _NO_CLASSIFIER if workspace.truth() is None else _OR_TRUTH


def _span(indices: Sequence[int], image: Image, axis: int, shown: ShownImage) -> str:
    """Return in words which slices are computed, e.g. ``"all 24 axial slices"``.

    Parameters
    ----------
    indices : sequence of int
        At least one.
    image : Image
    axis : int
    shown : ShownImage

    Returns
    -------
    str
    """
    if image.spatial_ndim == 2:
        return "the picture"
    n = len(indices)
    words = f"{'all ' * (n == image.n_planes(axis))}{n} slices" if n > 1 else f"slice {indices[0]}"
    return along_words(shown, axis, words)
