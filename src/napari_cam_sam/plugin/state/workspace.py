"""What the docks of one viewer share: the image, its models, its layers, and what was found."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_cam_sam.images.windows import WindowParameters
from napari_cam_sam.plugin.qt.dock import DeletedByQt
from napari_cam_sam.plugin.state.dock_registry import DockRegistry
from napari_cam_sam.plugin.state.heatmap_layers import HeatmapLayers
from napari_cam_sam.plugin.state.image_in_view import ImageInView
from napari_cam_sam.plugin.state.image_switch import ImageSwitch
from napari_cam_sam.plugin.state.layer_list import LayerListGuard
from napari_cam_sam.plugin.state.looks import Looks
from napari_cam_sam.plugin.state.mask_images import MaskImages
from napari_cam_sam.plugin.state.mask_layers import MaskLayers
from napari_cam_sam.plugin.state.own_layers import OwnLayers
from napari_cam_sam.plugin.state.plane_tags import PlaneTags
from napari_cam_sam.plugin.state.preferences import preferences
from napari_cam_sam.plugin.state.prompt_layers import PromptLayers
from napari_cam_sam.plugin.state.shown_image import ShownImage
from napari_cam_sam.plugin.state.truth_layer import TruthLayer
from napari_cam_sam.prompts.parameters import PromptParameters
from napari_cam_sam.sam.cache.embeddings import open_cache

__all__ = ["Workspace"]


class Workspace(DeletedByQt, QObject):
    """The state of one viewer, put together from its parts.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel

    Attributes
    ----------
    shown : ShownImage
        The image that is worked on.
    layers : OwnLayers
        The docks' own layers over it.
    truth_layer : TruthLayer
    heatmaps : HeatmapLayers
    prompts : PromptLayers
    masks : MaskLayers
    switch : ImageSwitch
        Shows the image that is worked on, and hides what is of others.
    in_view : ImageInView
        Follows the image that the user sees.
    looks : Looks
        Follow the view with the widths of lines.
    tags : PlaneTags
    docks : DockRegistry
    layer_list : LayerListGuard
    classifier, segmenter : object or None
        The models that are loaded; None for none.
    segmenter_held : tuple of str or None
        Name and device of the segmenter.
    device : str
        Where models are to run.
    embeddings : EmbeddingCache
    prompt_parameters : PromptParameters
    """

    classifier_changed = Signal()
    segmenter_changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.classifier: Any = None
        self.segmenter: Any = None
        self.segmenter_held: tuple[str, str] | None = None
        chosen = preferences()
        self.device = chosen.device
        self.prompt_parameters = PromptParameters()
        self.embeddings = open_cache(chosen.cache())
        # Who is told first of a change is who is made first.
        self.layer_list = LayerListGuard(viewer, self)
        self.shown = ShownImage(viewer, self)
        self.layers = OwnLayers(self.shown, self.layer_list)
        self.truth_layer = TruthLayer(self.shown, self)
        self.shown.frame_changed.connect(self.layers.show_fitting)
        self.docks = DockRegistry(self)
        self.shown.image_chosen.connect(self.docks.forget_scores)
        self.shown.frame_changed.connect(self.docks.forget_scores)
        self.tags = PlaneTags(self.shown, self.docks, self)
        self.heatmaps = HeatmapLayers(self.layers, self)
        self.prompts = PromptLayers(self.layers, self.heatmaps, self)
        self.masks = MaskLayers(self.layers, self.prompts, self)
        self.looks = Looks(self.shown, self.truth_layer, self.masks, self)
        self.shown.axis_changed.connect(self.layers.show_fitting)
        self.switch = ImageSwitch(self.layers, self.truth_layer, self)
        self.in_view = ImageInView(self.layers, self.switch, self)
        self._masks = MaskImages(self.in_view, self.truth_layer, self.layer_list, self)
        self._name_parts()
        viewer.layers.events.inserted.connect(self._layer_inserted)
        viewer.layers.events.removed.connect(self._layer_removed)
        self.shown.choose_last()

    def _name_parts(self) -> None:
        """Set short names for what docks and scripts ask for most."""
        shown, truth = self.shown, self.truth_layer
        self.image, self.plane, self.frame = shown.image, shown.plane, shown.frame
        self.images, self.choose_image = shown.images, shown.choose
        self.show_plane, self.mismatch = shown.show_plane, shown.mismatch
        self.snapshot, self.is_current = shown.snapshot, shown.is_current
        self.choose_window, self.default_window = shown.choose_window, shown.default_window
        self.suggestion = shown.suggestion
        self.own, self.mark = self.layers.find, self.layers.mark
        self.placement = self.layers.placement
        self.truth, self.choose_truth = truth.find, truth.choose
        self.labels_layers = truth.candidates
        self.image_changed, self.plane_changed = shown.image_changed, shown.plane_changed
        self.window_changed, self.truth_changed = shown.window_changed, truth.changed
        self.heatmaps_changed = self.heatmaps.changed
        self.labels_changed = self.masks.labels_changed

    @property
    def image_layer(self) -> Any | None:
        """The image layer that is worked on."""
        return self.shown.layer

    @property
    def window_parameters(self) -> WindowParameters | None:
        """The window that was chosen; None for the one that suits the image."""
        return self.shown.window_parameters

    def _layer_inserted(self, event: Any) -> None:
        with self.layer_list.hold():
            self.shown.choose_last()
            self.layers.adopt(event.value)

    def _layer_removed(self, event: Any) -> None:
        with self.layer_list.hold():
            self.shown.choose_last()
            self.heatmaps.layer_removed(event.value)
