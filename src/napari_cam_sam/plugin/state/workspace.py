"""What the docks of one viewer share: the image, its models, its layers, and what was found."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import (
    Window,
    WindowParameters,
    parse_window,
)
from napari_cam_sam.models.names import is_factory
from napari_cam_sam.plugin.layers.conversion import (
    KEY,
    frame_shown,
    image_of,
    in_units,
    is_own,
    own_layer,
    plane_shown,
)
from napari_cam_sam.plugin.layers.layer_geometry import (
    misplaced,
    spatial_transform,
    true_geometry,
)
from napari_cam_sam.plugin.qt.dock import DeletedByQt
from napari_cam_sam.plugin.qt.plain_text import unmarked
from napari_cam_sam.plugin.state.dock_registry import DockRegistry
from napari_cam_sam.plugin.state.heatmap_layers import HeatmapLayers
from napari_cam_sam.plugin.state.layer_visibility import ShownLayers
from napari_cam_sam.plugin.state.list_changes import LayerQuiet
from napari_cam_sam.plugin.state.mask_layers import MaskLayers
from napari_cam_sam.plugin.state.plane_tags import PlaneTags
from napari_cam_sam.plugin.state.preferences import preferences
from napari_cam_sam.plugin.state.prompt_layers import PromptLayers
from napari_cam_sam.plugin.state.snapshot import Snapshot
from napari_cam_sam.prompts.parameters import PromptParameters
from napari_cam_sam.sam.cache.embeddings import open_cache

__all__ = ["Workspace"]

NO_IMAGE = "Open an image first: drop a file, or File → Open Sample."

# Labels of ours that show something, and are no answer of anybody's.
_NO_TRUTH = ("preview", "comparison", "explained")


class Workspace(DeletedByQt, QObject):
    """The state that the docks of one viewer share.

    Signals say that something changed, and no more: whoever listens reads it here.
    """

    image_about_to_change = Signal()
    image_changed = Signal()
    window_changed = Signal()
    plane_changed = Signal()
    classifier_changed = Signal()
    segmenter_changed = Signal()
    heatmaps_changed = Signal()
    truth_changed = Signal()
    labels_changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.classifier: Any = None
        self.segmenter: Any = None
        self.segmenter_held: tuple[str, str] | None = None
        chosen = preferences()
        self.device = chosen.device
        self.window_parameters: WindowParameters | None = None
        self.prompt_parameters = PromptParameters()
        self.embeddings = open_cache(chosen.cache())
        self._image_layer: Any = None
        self._opening = 0
        self._left_frame: int | None = None
        self._seen_frame: int | None = None
        self._told_frame: int | None = None
        self._replaced: dict[Any, int] = {}
        self.changing = False
        """Whether another image is being chosen: what hears of it first must not ask the others."""
        self._truth: Any = None
        self._windows: dict[Any, Window] = {}
        self._lock = threading.Lock()
        self._shown: tuple[Any, ...] | None = None
        self._shown_layers = ShownLayers(self)
        self.docks = DockRegistry(self)
        self.tags = PlaneTags(self)
        self.heatmaps = HeatmapLayers(self)
        self.prompts = PromptLayers(self)
        self.masks = MaskLayers(self)
        # Scrolling sends several events a step: one look after them all.
        self._look = QTimer(self)
        self._look.setSingleShot(True)
        self._look.setInterval(0)
        self._look.timeout.connect(self.look_at_plane)
        self._quiet = LayerQuiet(self)
        events = viewer.layers.events
        events.inserted.connect(self._layer_inserted)
        events.removed.connect(self._layer_removed)
        for event in (viewer.dims.events.order, viewer.dims.events.ndisplay):
            event.connect(self._plane_may_differ)
        viewer.dims.events.current_step.connect(self._plane_may_differ)
        self._take_an_image()

    # The image

    def images(self) -> list[Any]:
        """List the image layers that are the user's."""
        return [x for x in self.viewer.layers if isinstance(x, ImageLayer) and not is_own(x)]

    @property
    def image_layer(self) -> Any | None:
        """The image layer that is worked on."""
        return self._image_layer

    def choose_image(self, layer: Any | None) -> None:
        """Work on another image layer."""
        if layer is self._image_layer:
            return
        self.image_about_to_change.emit()
        self._opening += 1
        with self._change():
            if self._image_layer is not None:
                self._image_layer.events.data.disconnect(self._data_replaced)
            self._image_layer, self._seen_frame = layer, None
            self.window_parameters = self._truth = None
            if layer is not None:
                layer.events.data.connect(self._data_replaced)
            self._shown = None
            self.docks.forget_scores()
            self._tell_image()
        self._look.start()

    def _tell_image(self) -> None:
        self._told_frame = self.frame()
        self.image_changed.emit()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Go to another image: until all have heard of it, none is to gather what others hold."""
        before, self.changing = self.changing, True
        try:
            yield
        finally:
            self.changing = before

    def image(self) -> Image:
        """Give the chosen image, of a series the frame shown.

        Raises
        ------
        CamSamError
            If there is none, or its layer is none that can be worked on.
        """
        if self._image_layer is None:
            raise CamSamError(NO_IMAGE)
        return image_of(self._image_layer, self.frame())

    def frame(self) -> int | None:
        """Point in time shown, of a series; else None."""
        layer = self._image_layer
        if self._left_frame is not None:
            return self._left_frame
        # Of one that just went the viewer has forgotten the axes, and it is still to be saved.
        if layer is not None and layer in self.viewer.layers:
            self._seen_frame = frame_shown(self.viewer, layer)
        return None if layer is None else self._seen_frame

    @contextmanager
    def at_frame(self, frame: int | None) -> Iterator[None]:
        """Look at a frame that was left, which the viewer does not show any more."""
        before, self._left_frame = self._left_frame, frame
        try:
            yield
        finally:
            self._left_frame = before

    def work_key(self) -> tuple[Any, ...]:
        """Name the image and the frame worked on; an empty tuple without an image."""
        layer = self._image_layer
        return () if layer is None else (layer.unique_id, self.frame())

    def pixels_key(self) -> tuple[Any, ...]:
        """Name image and frame, and how often its pixels were replaced by others."""
        key = self.work_key()
        return (*key, self._replaced.get(key[0], 0)) if key else ()

    # While the viewer's list of layers changes

    @property
    def in_layer_event(self) -> bool:
        """Whether the viewer's list of layers is being changed: no layer may be added or removed.

        napari goes through the layers that were selected, and raises where one is gone meanwhile.
        """
        return self._quiet.busy

    def when_quiet(self, action: Callable[[], None]) -> None:
        """Do what adds or removes layers: now, or after the change of the list that goes on."""
        self._quiet.do(action)

    def plane(self) -> tuple[int, int]:
        """Give axis and index of the plane shown.

        Raises
        ------
        CamSamError
            Without an image, or where the viewer shows no single plane of it.
        """
        if self._image_layer is None:
            raise CamSamError(NO_IMAGE)
        return plane_shown(self.viewer, self._image_layer)

    def show_plane(self, axis: int, index: int) -> None:
        """Scroll to a plane, turning the view where it shows another axis."""
        layer = self._image_layer
        if layer is None or layer.ndim == 2:
            return
        viewer = self.viewer
        if viewer.dims.ndisplay != 2:
            viewer.dims.ndisplay = 2
        *front, _, _, _ = range(viewer.dims.ndim)
        space = range(viewer.dims.ndim - 3, viewer.dims.ndim)
        if [d for d in viewer.dims.not_displayed if d in space] != [space[axis]]:
            # The two axes that are shown keep their order: no view comes out transposed.
            shown = (d for d in space if d != space[axis])
            viewer.dims.order = (*front, space[axis], *shown)
        middle = [(n - 1) / 2 for n in self.image().spatial_shape]
        middle[axis] = index
        frames = [0.0 if self.frame() is None else float(self.frame() or 0)]
        point = (*frames[: layer.ndim - 3], *middle)
        offset = viewer.dims.ndim - layer.ndim
        world = self._in_viewer_units(layer, layer.data_to_world(point))
        viewer.dims.set_point(range(offset, viewer.dims.ndim), world)

    def _in_viewer_units(self, layer: Any, world: Any) -> list[float]:
        units = self.viewer.dims.units
        if units is None:
            return [float(v) for v in world]
        return in_units(world, layer.units, units[-layer.ndim :])

    def snapshot(self) -> Snapshot:
        """Read what a thread needs to know of the image and the plane shown.

        Raises
        ------
        CamSamError
            As `image` and `plane`.
        """
        image = self.image()
        axis, index = self.plane()
        parameters = self.window_parameters or self.default_window()
        return Snapshot(
            self._image_layer,
            image,
            axis,
            index,
            parameters,
            self.frame(),
            self._opening,
            self._windows,
            self._lock,
        )

    def is_current(self, snapshot: Snapshot) -> bool:
        """Tell whether image, data and frame of a snapshot are still those worked on."""
        return (
            snapshot.opening == self._opening
            and snapshot.layer in self.viewer.layers
            and self.frame() == snapshot.frame
        )

    def choose_window(self, parameters: WindowParameters | None) -> None:
        """Look at the image through another window; None for the one that suits it."""
        if parameters != self.window_parameters:
            self.window_parameters = parameters
            self.window_changed.emit()

    def default_window(self) -> WindowParameters:
        """Give the window that suits the image: a sample's own, else as the core chooses."""
        if self._image_layer is None:
            return WindowParameters()
        return parse_window(self._image_layer.metadata.get(KEY, {}).get("window", "auto"))

    def axes_chosen(self) -> None:
        """Look at the image anew, of whose axes the user has said what they are."""
        self._data_replaced()
        self._look.start()

    def _data_replaced(self, _: object = None) -> None:
        """Forget what was found on other pixels."""
        self._opening += 1
        self._windows.clear()
        layer: Any = self._image_layer
        self._replaced[layer.unique_id] = self._replaced.get(layer.unique_id, 0) + 1
        with self._change():
            self.heatmaps.forget()
            self._tell_image()

    def _layer_inserted(self, event: Any) -> None:
        with self._quiet.hold():
            self._take_an_image()
            self._adopt(event.value)

    def _adopt(self, layer: Any) -> None:
        """Let labels that were made over the image be saved on its grid.

        napari's button for new labels copies what is shown, which is not all that a file holds.
        """
        source = None if self._image_layer is None else self._image_layer.metadata.get(KEY, {})
        if not isinstance(layer, Labels) or not source or "image" not in source:
            return
        if "image" not in layer.metadata.get(KEY, {}) and self.mismatch(layer) is None:
            layer.metadata.setdefault(KEY, {})["image"] = source["image"]

    def _take_an_image(self) -> None:
        """Work on the image added last, where the one worked on is gone."""
        if self._image_layer is None or self._image_layer not in self.viewer.layers:
            there = self.images()
            self.choose_image(there[-1] if there else None)

    def _layer_removed(self, event: Any) -> None:
        with self._quiet.hold():
            self._take_an_image()
            self.heatmaps.layer_removed(event.value)

    def _plane_may_differ(self, _: object = None) -> None:
        self._look.start()

    def look_at_plane(self) -> None:
        """Tell everybody which plane is shown, if it is another than before."""
        try:
            shown: tuple[Any, ...] = (*self.plane(), self.frame())
        except CamSamError as error:
            shown = (str(error),)
        if shown != self._shown:
            before = self._shown if self._shown is not None and len(self._shown) == 3 else None
            # Also where nothing was shown, as in three dimensions or of an image just chosen.
            turned = len(shown) == 3 and (before is None or shown[0] != before[0])
            self._shown = shown
            # The frame may have moved before the plane was looked at, or in three dimensions.
            if len(shown) == 3 and shown[2] != self._told_frame:
                self._leave_frame(self._told_frame)
                self._show_frame()
            if turned:
                self._show_axis(shown[0])
            self.plane_changed.emit()

    def _leave_frame(self, frame: int | None) -> None:
        """Let the work on a frame be saved while it is still the one worked on."""
        with self.at_frame(frame):
            self.image_about_to_change.emit()

    def _show_frame(self) -> None:
        """Go to another point in time: another image, with layers of its own."""
        with self._change():
            self._shown_layers.show()
            self.docks.forget_scores()
            self._tell_image()

    def _show_axis(self, axis: int) -> None:
        """Hide what belongs to planes along other axes: it would lie across these as bands."""
        self.prompts.show_axis(axis)
        self.masks.show_axis()
        self.show_layers()

    def show_layers(self) -> None:
        """Show the layers of ours that are of the frame and the axis shown, and put away others.

        Raises
        ------
        CamSamError
            Where no single plane is shown.
        """
        self._shown_layers.show()

    # Layers of ours

    def suggestion(self, name: str) -> str | None:
        """Give what a sample says suits it: its ``classifier``, ``target`` or ``segmenter``.

        What stands in a layer may be from a file, which has no code run: no factory is given.
        """
        layer = self._image_layer
        found = None if layer is None else layer.metadata.get(KEY, {}).get(name)
        return found if isinstance(found, str) and not is_factory(found) else None

    def own(self, role: str, axis: int | None = None) -> Any | None:
        """Find the layer of ours with a role for the image, the axis and the frame shown."""
        if self._image_layer is None:
            return None
        return own_layer(self.viewer, role, self._image_layer, axis, self.frame())

    def mark(self, role: str, axis: int | None = None) -> dict[str, Any]:
        """Give the metadata of a new layer of ours over the image."""
        source = self._image_layer
        known = {k: v for k, v in source.metadata.get(KEY, {}).items() if k == "image"}
        own = {"role": role, "of": source.unique_id, "axis": axis, "frame": self.frame()}
        return {KEY: known | own}

    def placement(self) -> dict[str, Any]:
        """Give the transform of a new layer over the image, without its time."""
        return spatial_transform(self._image_layer, len(self.image().spatial_shape))

    def labels_layer(self, role: str, create: bool = False, dtype: Any = np.uint8) -> Any:
        """Find, or add, the labels layer of ours: ``"labels"`` accepted, ``"preview"`` not yet."""
        found = self.own(role)
        if found is not None or not create:
            return found
        image = self.image()
        preview = role == "preview"
        active = self.viewer.layers.selection.active
        layer = self.viewer.add_labels(
            np.zeros(image.spatial_shape, dtype),
            name=unmarked(f"{'mask preview' if preview else 'labels'} of {image.name}"),
            opacity=1.0 if preview else 0.6,
            metadata=self.mark(role),
            **self.placement(),
        )
        if preview:
            # An outline: what is accepted is filled, and the two must not be taken for each other.
            layer.contour = max(1, round(min(image.spatial_shape[-2:]) / 256))
            # What the brush did here would be lost with the next mask, and not be accepted.
            layer.editable = False
        self.put_below_prompts(layer, active)
        return layer

    def layers_of_role(self, role: str) -> list[Any]:
        """List the layers of ours with a role, whatever image, axis or frame they are of."""
        return [x for x in self.viewer.layers if x.metadata.get(KEY, {}).get("role") == role]

    def put_below_prompts(self, layer: Any, active: Any) -> None:
        """Move a new layer below the image's points and boxes; the user keeps what is active.

        It stays above its image: prompts of another one may lie below that.
        """
        layers, image = self.viewer.layers, self._image_layer
        marks = [x.metadata.get(KEY, {}) for x in layers]
        prompts = [
            i for i, mark in enumerate(marks)
            if mark.get("role") in ("points", "boxes") and mark.get("of") == image.unique_id
        ]  # fmt: skip
        place = max(min(prompts, default=len(layers)), layers.index(image) + 1)
        if layers.index(layer) > place:
            layers.move(layers.index(layer), place)
        if active is not None and active in layers:
            layers.selection.active = active

    # The truth

    def labels_layers(self) -> list[Any]:
        """List all labels layers but the preview."""
        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Labels)
            and layer.metadata.get(KEY, {}).get("role") not in _NO_TRUTH
        ]

    def mismatch(self, layer: Any) -> str | None:
        """Say in words why a layer does not lie on the image's grid; None where it does."""
        try:
            image, other = self.image(), image_of(layer, frame_shown(self.viewer, layer))
        except CamSamError as error:
            return str(error)
        if other.spatial_shape != image.spatial_shape:
            return (
                f"{layer.name} has shape {other.spatial_shape}, {image.name} "
                f"{image.spatial_shape}: they must be of one grid."
            )
        # A layer made in the viewer, as by its button for new labels, copies what is shown alone.
        true = true_geometry(layer)
        if true is not None:
            reason = image.geometry.matches(true)
        else:
            reason = misplaced(layer, self._image_layer)
        if reason is None:
            return None
        words = f"{layer.name} does not lie where {image.name} does: {reason}"
        if true is not None:
            return f"{words}."
        return f"{words}; if it belongs there, copy the scale and transforms of {image.name} to it."

    def choose_truth(self, layer: Any | None) -> None:
        """Take a labels layer as the truth, in every dock."""
        if layer is not self._truth:
            self._truth = layer
            self.truth_changed.emit()

    def truth(self) -> Any | None:
        """Give the labels layer that was chosen as the truth, or that most likely is it.

        That is one that is not ours, on the image's grid.
        """
        if self._truth is not None and self._truth in self.viewer.layers:
            return self._truth
        fitting = [
            layer
            for layer in self.labels_layers()
            if not is_own(layer) and self.mismatch(layer) is None
        ]
        named = [x for x in fitting if any(w in x.name.lower() for w in ("truth", "gt", "label"))]
        return (named or fitting or [None])[0]
