"""The image that is worked on: its layer, and the frame, plane and window of it that are shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from napari.layers import Image as ImageLayer
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import Window, WindowParameters, parse_window
from napari_cam_sam.models.names import is_factory
from napari_cam_sam.plugin.layers.conversion import (
    frame_shown,
    image_of,
    in_units,
    is_own,
    plane_shown,
)
from napari_cam_sam.plugin.layers.layer_axes import mark_of
from napari_cam_sam.plugin.layers.layer_geometry import misplaced, true_geometry
from napari_cam_sam.plugin.layers.views import View
from napari_cam_sam.plugin.qt.timers import single_shot_timer
from napari_cam_sam.plugin.state.image_keys import FrameKey, PixelsKey
from napari_cam_sam.plugin.state.mask_finder import MaskFinder
from napari_cam_sam.plugin.state.snapshot import Snapshot

__all__ = ["ShownImage"]

NO_IMAGE = "Open an image first: drop a file, or File → Open Sample."
ONLY_A_MASK = "Open an image first: only a mask is open."


@dataclass(frozen=True)
class _ShownPlane:
    axis: int
    index: int
    frame: int | None


class ShownImage(QObject):
    """The image layer that is worked on, and what the viewer shows of it.

    Signals say that something changed, and no more: whoever listens reads it here.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    parent : QObject
    """

    asked_for = Signal()
    """The user chose the image that is worked on, be it another than before or not."""
    image_about_to_change = Signal()
    image_chosen = Signal()
    """Another layer is worked on; `image_changed` follows."""
    frame_changed = Signal()
    """Another frame of the same layer is; `image_changed` follows."""
    pixels_replaced = Signal()
    """The layer has other pixels; `image_changed` follows."""
    image_changed = Signal()
    window_changed = Signal()
    axis_changed = Signal(int)
    """Planes along an axis are shown, where before there were none or those along another."""
    plane_changed = Signal()

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.window_parameters: WindowParameters | None = None
        self.changing = False
        """Whether another image is being chosen: what hears of it first must not ask the others."""
        self._layer: Any = None
        self._chosen = False
        self.masks = MaskFinder(viewer.layers)
        """Which of the image layers are masks."""
        self._opening = 0
        self._left_frame: int | None = None
        self._seen_frame: int | None = None
        self._told_frame: int | None = None
        self._replaced: dict[Any, int] = {}
        self._windows: dict[Any, Window] = {}
        self._lock = threading.Lock()
        # A text says why there is none.
        self._plane: _ShownPlane | str | None = None
        # Scrolling sends several events a step: one look after them all.
        self._look = single_shot_timer(self, self.look_at_plane)
        dims = viewer.dims.events
        layers = viewer.layers.events
        for event in (
            dims.order, dims.ndisplay, dims.current_step, layers.inserted, layers.removed
        ):  # fmt: skip
            event.connect(self._plane_may_differ)

    # The image

    def images(self) -> list[Any]:
        """List the image layers that are the user's."""
        return [x for x in self.viewer.layers if isinstance(x, ImageLayer) and not is_own(x)]

    def to_choose(self) -> list[Any]:
        """List the images to choose from: all but the masks of which there are labels."""
        layers = self.viewer.layers
        return [
            one
            for one in self.images()
            if one == self._layer or self.masks.taken.get(one.unique_id) not in layers
        ]

    @property
    def layer(self) -> Any | None:
        """The image layer that is worked on."""
        return self._layer

    @property
    def is_picture(self) -> bool:
        """Whether the image that is worked on has two axes: there are no slices to go through."""
        return self._layer is not None and bool(self._layer.ndim == 2)

    def is_used(self, layer: Any) -> bool:
        """Return whether layers of ours lie over an image layer: there is work on it."""
        return any(mark_of(x).get("of") == layer.unique_id for x in self.viewer.layers)

    def choose(self, layer: Any | None) -> None:
        """Work on another image layer, because the user says so."""
        self._chosen = True
        self._choose(layer)
        self.asked_for.emit()

    def follow(self, layer: Any) -> None:
        """Work on another image layer, because the user looks at it."""
        self._chosen = False
        self._choose(layer)

    def _choose(self, layer: Any | None) -> None:
        if layer is self._layer:
            return
        self.image_about_to_change.emit()
        self._opening += 1
        with self._change():
            if self._layer is not None:
                self._layer.events.data.disconnect(self.renew)
            self._layer, self._seen_frame = layer, None
            self.window_parameters = None
            if layer is not None:
                layer.events.data.connect(self.renew)
            self._plane = None
            self.image_chosen.emit()
            self._tell_image()
        self._look.start()

    def choose_last(self) -> None:
        """Work on the image added last, where the one worked on is gone or turns out as a mask.

        A mask is worked on only where there is no other image, or where the user chose it.
        """
        layer, there = self._layer, self.images()
        gone = layer is None or layer not in self.viewer.layers
        if not gone and (len(there) < 2 or self._chosen):
            return
        if gone or (self.masks.is_mask(layer) and not self.is_used(layer)):
            proper = [x for x in there if not self.masks.is_mask(x)] if len(there) > 1 else there
            self._chosen = False
            self._choose((proper or there or [None])[-1])

    def renew(self, _: object = None) -> None:
        """Forget what was found on the image: its pixels are others, or its axes mean others."""
        self._opening += 1
        self._windows.clear()
        self._replaced[self._layer.unique_id] = self._replaced.get(self._layer.unique_id, 0) + 1
        with self._change():
            self.pixels_replaced.emit()
            if self.frame() != self._told_frame:  # a shorter series has no such frame
                self.frame_changed.emit()
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
        """Return the chosen image, of a series the frame shown.

        Raises
        ------
        CamSamError
            If there is none, or its layer is none that can be worked on.
        """
        if self._layer is None:
            raise CamSamError(self._no_image())
        return image_of(self._layer, self.frame())

    def _no_image(self) -> str:
        """Return in words what to open."""
        masks = any(isinstance(x, Labels) and not is_own(x) for x in self.viewer.layers)
        return ONLY_A_MASK if masks else NO_IMAGE

    def frame(self) -> int | None:
        """Return the point in time shown, of a series; else None."""
        layer = self._layer
        if self._left_frame is not None:
            return self._left_frame
        # Of one that just went the viewer has forgotten the axes, and it is still to be saved.
        if layer is not None and layer in self.viewer.layers:
            self._seen_frame = frame_shown(self.viewer, layer)
        return None if layer is None else self._seen_frame

    @contextmanager
    def at_frame(self, frame: int | None) -> Iterator[None]:
        """Work on a frame that was left, which the viewer does not show any more."""
        before, self._left_frame = self._left_frame, frame
        try:
            yield
        finally:
            self._left_frame = before

    def frame_key(self) -> FrameKey:
        """Return what tells apart the image and the frame from others."""
        return FrameKey(None if self._layer is None else self._layer.unique_id, self.frame())

    def pixels_key(self) -> PixelsKey:
        """Return what tells apart the pixels from others."""
        layer, frame = self.frame_key()
        return PixelsKey(layer, frame, self._replaced.get(layer, 0))

    def suggestion(self, name: str) -> str | None:
        """Return what a sample says suits it: its ``classifier``, ``target`` or ``segmenter``.

        What stands in a layer may be from a file, which has no code run: no factory is returned.
        """
        found = None if self.layer is None else mark_of(self.layer).get(name)
        return found if isinstance(found, str) and not is_factory(found) else None

    def mismatch(self, layer: Any, of: Any = None) -> str | None:
        """Return why a layer does not lie on the grid of an image; None where it does.

        Parameters
        ----------
        layer : napari layer
        of : napari.layers.Image, optional
            The one that is worked on, by default.
        """
        try:
            image = self.image() if of is None else image_of(of, frame_shown(self.viewer, of))
            other = image_of(layer, frame_shown(self.viewer, layer))
        except CamSamError as error:
            return str(error)
        if other.spatial_shape != image.spatial_shape:
            return (
                f"{layer.name} has shape {other.spatial_shape}, {image.name} "
                f"{image.spatial_shape}: they must be of one grid."
            )
        # A layer made in the viewer, as by its button for new labels, copies what is shown alone.
        true = true_geometry(layer)
        reason = (
            misplaced(layer, self._layer if of is None else of)
            if true is None
            else image.geometry.matches(true)
        )
        if reason is None:
            return None
        words = f"{layer.name} does not lie where {image.name} does: {reason}"
        if true is not None:
            return f"{words}."
        return f"{words}; if it belongs there, copy the scale and transforms of {image.name} to it."

    # The plane

    def plane(self) -> tuple[int, int]:
        """Return axis and index of the plane shown.

        Raises
        ------
        CamSamError
            Without an image, or where the viewer shows no single plane of it.
        """
        if self._layer is None:
            raise CamSamError(self._no_image())
        return plane_shown(self.viewer, self._layer)

    def show_plane(self, axis: int, index: int) -> None:
        """Scroll to a plane, turning the view where it shows another axis."""
        layer = self._layer
        if layer is None or layer.ndim == 2:
            return
        # The two axes that are shown keep their order: no view comes out transposed.
        self._turn(axis, [a for a in range(3) if a != axis])
        dims = self.viewer.dims
        middle = [(n - 1) / 2 for n in self.image().spatial_shape]
        middle[axis] = index
        frames = [float(self.frame() or 0)]
        world = layer.data_to_world((*frames[: layer.ndim - 3], *middle))
        offset = dims.ndim - layer.ndim
        if dims.units is not None:
            world = in_units(world, layer.units, dims.units[-layer.ndim :])
        dims.set_point(range(offset, dims.ndim), [float(v) for v in world])

    def turn(self, view: View) -> None:
        """Look along another axis, at the slice last seen there, the right way up."""
        # Newer versions of napari have the camera in the scene, and warn where it was.
        camera = getattr(self.viewer, "scene", self.viewer).camera
        camera.orientation2d = ("down", "right")
        self._turn(view.axis, [view.down, view.right], anew=True)

    def _turn(self, axis: int, shown: list[int], anew: bool = False) -> None:
        """Show planes along an axis; what shows them already is left as it is, unless anew."""
        dims = self.viewer.dims
        if dims.ndisplay != 2:
            dims.ndisplay = 2
        *front, _, _, _ = range(dims.ndim)
        space = range(dims.ndim - 3, dims.ndim)
        if anew or [d for d in dims.not_displayed if d in space] != [space[axis]]:
            dims.order = (*front, space[axis], *(space[a] for a in shown))

    def look_at_plane(self) -> None:
        """Emit which plane is shown, if it is another than before."""
        now: _ShownPlane | str
        try:
            now = _ShownPlane(*self.plane(), self.frame())
        except CamSamError as error:
            now = str(error)
        if now == self._plane:
            return
        before, self._plane = self._plane, now
        if isinstance(now, _ShownPlane):
            # The frame may have moved before the plane was looked at, or in three dimensions.
            if now.frame != self._told_frame:
                self._go_to_frame()
            # Also where nothing was shown, as in three dimensions or of an image just chosen.
            if not isinstance(before, _ShownPlane) or now.axis != before.axis:
                self.axis_changed.emit(now.axis)
        self.plane_changed.emit()

    def _go_to_frame(self) -> None:
        """Go to another point in time: another image, with layers of its own."""
        # The work on the frame that is left is saved while it is still the one worked on.
        with self.at_frame(self._told_frame):
            self.image_about_to_change.emit()
        with self._change():
            self.frame_changed.emit()
            self._tell_image()

    def _plane_may_differ(self, _: object = None) -> None:
        self._look.start()

    def snapshot(self) -> Snapshot:
        """Return what a thread needs to know of the image and the plane shown.

        Raises
        ------
        CamSamError
            As `image` and `plane`.
        """
        image = self.image()
        axis, index = self.plane()
        return Snapshot(
            self._layer,
            image,
            axis,
            index,
            self.window_parameters or self.default_window(),
            self.frame(),
            self._opening,
            self._windows,
            self._lock,
        )

    def is_current(self, snapshot: Snapshot) -> bool:
        """Check whether image, data and frame of a snapshot are still those worked on."""
        return (
            snapshot.opening == self._opening
            and snapshot.layer in self.viewer.layers
            and self.frame() == snapshot.frame
        )

    # The window

    def choose_window(self, parameters: WindowParameters | None) -> None:
        """Set the window that the image is looked at through; None for the one that suits it."""
        if parameters != self.window_parameters:
            self.window_parameters = parameters
            self.window_changed.emit()

    def default_window(self) -> WindowParameters:
        """Return the window that suits the image: a sample's own, else as the core chooses."""
        if self._layer is None:
            return WindowParameters()
        return parse_window(mark_of(self._layer).get("window", "auto"))
