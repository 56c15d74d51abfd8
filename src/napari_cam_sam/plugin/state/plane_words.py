"""The plane shown in words, numbered as in the image and as by napari's slider.

A picture has no slices: what is said and offered of them is for volumes alone.
"""

from __future__ import annotations

import re

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QAbstractButton, QWidget

from napari_cam_sam.plugin.layers.layer_geometry import axis_steps
from napari_cam_sam.plugin.layers.views import views_of
from napari_cam_sam.plugin.state.shown_image import ShownImage

__all__ = [
    "PictureWords",
    "along_words",
    "picture_words",
    "plane_label",
    "slider_label",
    "slider_number",
]


def slider_number(shown: ShownImage, index: int) -> int:
    """Return the number that napari's slider shows on a plane along the axis that is shown.

    It counts from the head, the front or the right, as the image is shown; files may count from
    the other end.

    Parameters
    ----------
    shown : ShownImage
    index : int
        Number of the plane in the image.

    Returns
    -------
    int
        The same as ``index`` where the two agree, without a slider, and where the slider's steps
        are those of another layer's grid: its number is then of no plane.

    Raises
    ------
    CamSamError
        Without an image, or where the viewer shows no single plane of it.
    """
    axis, current = shown.plane()
    image, dims = shown.image(), shown.viewer.dims
    if image.spatial_ndim == 2:
        return index
    # The last of those that are not shown: time, where there is one, comes before space.
    hidden, planes = dims.not_displayed[-1], image.n_planes(axis)
    steps, _ = axis_steps(shown.layer)
    backwards = steps[axis, axis] < 0
    mirrored = planes - 1 - current if backwards else current
    if dims.nsteps[hidden] != planes or dims.current_step[hidden] != mirrored:
        return index
    return planes - 1 - index if backwards else index


def slider_label(shown: ShownImage) -> str:
    """Return what napari's slider shows on this plane, where that is not the plane's number.

    Parameters
    ----------
    shown : ShownImage

    Returns
    -------
    str
        E.g. ``" (the slider shows 12)"``; empty where both numbers are one, see `slider_number`.

    Raises
    ------
    CamSamError
        As `slider_number`.
    """
    _, index = shown.plane()
    number = slider_number(shown, index)
    return "" if number == index else f" (the slider shows {number})"


def plane_label(shown: ShownImage) -> str:
    """Return how a line on the plane shown begins.

    Parameters
    ----------
    shown : ShownImage

    Returns
    -------
    str
        E.g. ``"Slice 11 (the slider shows 12): "``; empty for a picture, which is all there is.

    Raises
    ------
    CamSamError
        As `slider_label`.
    """
    _, index = shown.plane()
    return "" if shown.is_picture else f"Slice {index}{slider_label(shown)}: "


def along_words(shown: ShownImage, axis: int, words: str) -> str:
    """Return words on slices that say which way these are cut.

    Parameters
    ----------
    shown : ShownImage
    axis : int
        That they are cut along.
    words : str
        E.g. ``"24 slices"``.

    Returns
    -------
    str
        E.g. ``"24 axial slices"``, or ``"24 slices along axis 0"`` where nothing says how a
        patient lies in the image.
    """
    names = [view.name.lower() for view in views_of(shown.layer) if view.axis == axis]
    if not names or names[0].startswith("axis"):
        return f"{words} along axis {axis}"
    return re.sub(r"\bslice", f"{names[0]} slice", words)


def picture_words(shown: ShownImage, text: str) -> str:
    """Return a text as it is said of the image worked on: of a picture without slices.

    Parameters
    ----------
    shown : ShownImage
    text : str
        E.g. ``"No prompts on this slice."``.

    Returns
    -------
    str
        E.g. ``"No prompts on this picture."``.
    """
    return re.sub(r"\bslice\b", "picture", text) if shown.is_picture else text


class PictureWords(QObject):
    """Hides what is for volumes alone while a picture is worked on, and renames other buttons.

    Parameters
    ----------
    shown : ShownImage
    of_volumes : list of QWidget
        Hidden for a picture.
    of_pictures : dict of QAbstractButton to str
        What buttons that say "slice" of a volume say of a picture.
    parent : QObject
    """

    def __init__(
        self,
        shown: ShownImage,
        of_volumes: list[QWidget],
        of_pictures: dict[QAbstractButton, str],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._shown, self._of_volumes = shown, of_volumes
        self._texts = [(one, one.text(), text) for one, text in of_pictures.items()]
        shown.image_changed.connect(self._refresh)
        self._refresh()

    def _refresh(self) -> None:
        picture = self._shown.is_picture
        for one in self._of_volumes:
            one.setVisible(not picture)
        for button, of_volume, of_picture in self._texts:
            button.setText(of_picture if picture else of_volume)
