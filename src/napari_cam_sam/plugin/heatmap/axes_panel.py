"""What the axes of the image are, in words, and a choice where that is open or out of order."""

from __future__ import annotations

from contextlib import suppress
from itertools import permutations
from typing import Any

from qtpy.QtWidgets import QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.axes import AXIS_NAMES, choose_axes
from napari_cam_sam.plugin.layers.conversion import is_own
from napari_cam_sam.plugin.layers.layer_axes import (
    KEY,
    LayerAxes,
    axes_of,
    choose_letters,
    needs_a_channel,
    one_channel,
    put_in_order,
)
from napari_cam_sam.plugin.qt.dock import connect_to_layers
from napari_cam_sam.plugin.qt.messages import Message
from napari_cam_sam.plugin.qt.widgets import SpinBox, ValueComboBox, button, hbox, vbox
from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["AxesPanel"]

_WORK = (
    "The axes cannot change while there is work on this image: save it and delete its layers first."
)


class AxesPanel(QWidget):
    """Says what reading the image decided, and lets its axes be chosen; hidden without need.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        # Whether a choice was refused, as there is work on the image.
        self._refused = False
        self.choice = ValueComboBox("What each axis of the image is, from first to last.")
        self.apply = button(
            "Reorder axes",
            "Moves time or channels first, then slices, rows and columns, as the docks need. "
            "Pixel values do not change.",
        )
        self.channel = SpinBox()
        self.channel.setPrefix("channel ")
        self.channel.setToolTip("The channel to extract as a layer of its own (a time series).")
        self.words = Message()
        self._chooser = QWidget()
        vbox(self._chooser, self.choice, hbox(self.channel, self.apply))
        vbox(self, self.words, self._chooser)
        self.choice.chosen.connect(self._chosen)
        self.apply.clicked.connect(self.put_in_order)
        workspace.image_changed.connect(self.look)
        workspace.prompts.changed.connect(self._look_if_refused)
        connect_to_layers(self, workspace.viewer, self._look_if_refused)
        self.look()

    def look(self) -> None:
        """Show what is known of the axes of the image that is worked on now."""
        layer = self._workspace.image_layer
        if layer is None:
            self.setVisible(False)
            return
        known = axes_of(layer)
        open_ = layer.ndim > 3 or not known.usable
        self._chooser.setVisible(open_)
        if open_:
            self._offer(layer, known)
        notes: tuple[str, ...] = ()
        with suppress(CamSamError):
            notes = self._workspace.image().notes
        self._refused = self._refused and self._has_work(layer)
        words = _WORK if self._refused else " ".join((*_in_words(layer, known), *notes))
        self.words.setText(words)
        self.setVisible(open_ or bool(words))

    def _look_if_refused(self, _: object = None) -> None:
        if self._refused:
            self.look()  # the work may be gone

    def put_in_order(self) -> None:
        """Lay the image out as the docks need it; of five axes one channel becomes a layer."""
        layer = self._workspace.image_layer
        if layer is None:
            return
        try:
            roles = axes_of(layer).roles
            if roles is not None and needs_a_channel(roles):
                data, keywords = one_channel(layer, self.channel.value())
                new = self._workspace.viewer.add_image(data, **keywords)
                layer.visible = False
                self._workspace.choose_image(new)
            else:
                self._turn(layer)
        except CamSamError as error:
            self.words.setText(str(error))

    def _turn(self, layer: Any) -> None:
        """Put a layer's axes in order; the viewer goes on showing the slice that it showed."""
        dims, before = self._workspace.viewer.dims, axes_of(layer).letters or ""
        first = dims.ndim - layer.ndim
        shown = dict(zip(before, dims.current_step[first:], strict=True))
        put_in_order(layer)
        after = axes_of(layer).letters or ""
        steps = [shown[letter] for letter in after]
        dims.set_current_step(range(first, dims.ndim), steps)

    def _offer(self, layer: Any, known: LayerAxes) -> None:
        readings = {choose_axes(one).words: one for one in _readings(layer.ndim)}
        if known.roles is not None and known.letters is not None:
            readings[known.roles.words] = known.letters
        self.choice.offer([("choose…", None), *readings.items()])
        self.choice.set_value(known.letters if known.roles is not None else None)
        roles = known.roles
        self.apply.setEnabled(roles is not None and not known.usable)
        self.apply.setVisible(not known.usable)
        alone = roles is not None and needs_a_channel(roles)
        self.channel.setVisible(alone)
        if roles is not None and alone:
            data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
            self.channel.setMaximum(int(data.shape[roles.channels]) - 1)

    def _chosen(self) -> None:
        layer, letters = self._workspace.image_layer, self.choice.value()
        if layer is None or letters is None:
            return
        before = axes_of(layer)
        after = LayerAxes(letters, "chosen")
        if before.usable and not after.usable and self._has_work(layer):
            self._refused = True
            self.look()
            return
        choose_letters(layer, letters)
        if before.usable and after.usable:
            self.look()  # the same pixels by another name: what was found on them stays
        else:
            self._workspace.shown.renew()

    def _has_work(self, layer: Any) -> bool:
        """Check whether layers of ours with something in them lie over the image as it lies."""
        return any(
            is_own(one) and one.metadata[KEY].get("of") == layer.unique_id and len(one.data)
            for one in self._workspace.viewer.layers
        )


def _readings(ndim: int) -> list[str]:
    """List what the axes of an image may be, rows and columns last as napari shows them.

    Of those that read alike, as points in time are slices where there are none, the last counts.
    """
    first = ["".join(letters) + "YX" for letters in permutations("TCZ", ndim - 2) if ndim < 6]
    rest = [f"{one[:-2]}YXC" for one in ("TZYX", "ZYX") if len(one) + 1 == ndim]
    return first + rest


def _in_words(layer: Any, known: LayerAxes) -> list[str]:
    roles = known.roles
    if roles is None:
        return [
            f"The image does not say which of its {layer.ndim} axes are slices, time and "
            "channels: choose."
        ]
    if layer.ndim > 3 and known.source == "convention":
        return [
            f"The image does not name its axes: read as {roles.words}, a time series. Choose if "
            "this is wrong."
        ]
    if not known.usable:
        if needs_a_channel(roles):
            return [f"Axes: {roles.words}. Choose a channel to extract as a layer."]
        return [f"Axes: {roles.words}. Reorder them to work on this image."]
    said = []
    if layer.ndim > 3 or "C" in roles.letters:
        said.append(f"Axes: {roles.words}.")
    if layer.ndim == 4:
        name = AXIS_NAMES.get(roles.letters[0], "series")
        said.append(f"The {name} slider chooses what is worked on.")
    if roles.slices is not None and roles.letters[roles.slices] == "T":
        said.append("The slices are time points.")
    return said
