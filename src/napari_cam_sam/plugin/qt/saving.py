"""Saving from a dock: a button, a dialog whose first choice is right, and what came of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.formats import NIFTI, suffix_of
from napari_cam_sam.images.geometry import standing_affine
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.writing import write_heatmap, write_labels_to_see
from napari_cam_sam.plugin.qt.plain_text import confirm
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.widgets import button, vbox
from napari_cam_sam.text import shown

__all__ = ["Saving", "SavingRow", "file_name", "folder_beside", "heatmap_saving", "labels_saving"]

_NIFTI = (("NIfTI, compressed (*.nii.gz)", ".nii.gz"), ("NIfTI (*.nii)", ".nii"))
_DICOM = (
    ("DICOM segmentation (*.dcm)", ".dcm"),
    ("RT structure set, contours (*.rtstruct.dcm)", ".rtstruct.dcm"),
)
_MAP = ("DICOM parametric map (*.dcm)", ".dcm")
_TIFF, _PNG = ("TIFF (*.tif)", ".tif"), ("PNG (*.png)", ".png")
_METAIMAGE = ("MetaImage (*.mha)", ".mha")
_LABELS = (("NRRD with names, of 3D Slicer (*.seg.nrrd)", ".seg.nrrd"), _METAIMAGE)
_HEATMAPS: tuple[tuple[str, str], ...] = (("NRRD (*.nrrd)", ".nrrd"), _METAIMAGE)


@dataclass(frozen=True)
class Saving:
    """What is to be saved, and as what.

    Attributes
    ----------
    what : str
        In words, e.g. ``"labels"``.
    name : str
        Suggested for the file, without its suffix.
    folder : Path or None
        Where the dialog begins.
    kinds : sequence of (str, str)
        As the dialog lists them, each with the suffix that is added; the first is preselected.
    write : callable
        Writes the file at a path, in a thread, and returns what is to be said of it, if anything.
    """

    what: str
    name: str
    folder: Path | None
    kinds: Sequence[tuple[str, str]]
    write: Callable[[Path], str | None]


class SavingRow(QWidget):
    """A button that asks for a file, and a line that says what was saved, or why not.

    Parameters
    ----------
    text, hint : str
        Of the button.
    what : callable
        Gives what is to be saved now; its `CamSamError` is said.
    state : callable, optional
        What such an error is of, as `TaskProgress.show_error` takes it.
    """

    def __init__(
        self,
        text: str,
        hint: str,
        what: Callable[[], Saving],
        state: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self._what, self._state = what, state
        self.button = button(text, hint)
        self.row = TaskProgress(lines=2, room=False)
        vbox(self, self.button, self.row)
        self.button.clicked.connect(self.save)
        self.row.ended.connect(self._ended)

    def forget(self) -> None:
        """Clear what was saved: what is there now is something else."""
        if not self.row.busy:
            self.row.set_result("")

    def _ended(self, complete: bool) -> None:
        self.button.setEnabled(True)
        if not complete:
            self.row.set_message("")  # after an error is read nothing is being saved any more

    def save(self) -> None:
        """Ask for a file, and save into it in the background."""
        try:
            saving = self._what()
            path = ask_path(self, saving)
        except CamSamError as error:
            self.row.show_error(str(error), self._state)
            return
        if path is None:
            return

        def steps() -> Generator[Any]:
            yield saving.write(path)

        def done(words: str | None) -> None:
            where = shown(path.parent) + (f": {words}" if words else "")
            self.row.set_result(f"Saved {saving.what} as {shown(path.name)}, in {where}.")

        if self.row.start(steps, 1, f"Saving {saving.what}", done):
            self.button.setEnabled(False)
            self.row.set_message(f"Saving {saving.what}…")


def ask_path(parent: QWidget, saving: Saving) -> Path | None:
    """Ask for a file; None where the user would rather not.

    A name without a suffix gets that of the kind chosen. What is there is written over only
    after a question: the dialog's own, or ours where the dialog saw the name without its suffix.
    """
    first = saving.kinds[0][1]
    name = file_name(saving.name, saving.what)
    start = str((saving.folder or Path()) / f"{name}{first}")
    filters = ";;".join(words for words, _ in saving.kinds)
    chosen, kind = QFileDialog.getSaveFileName(parent, f"Save {saving.what}", start, filters)
    if not chosen:
        return None
    suffixes = dict(saving.kinds)
    path = Path(chosen)
    if _NIFTI[0][1] in suffixes.values():
        path = _mended(path)
    meant = suffixes.get(kind, first)
    if meant.count(".") > 1 and path.suffix == ".dcm" and not path.name.lower().endswith(meant):
        path = path.with_suffix("")  # of ".rtstruct.dcm" Qt adds but the last part
    if not (path.name.lower().endswith(tuple(suffixes.values())) or _has_suffix(path)):
        path = path.with_name(path.name + meant)
    question = f"{shown(path.name)} already exists. Replace it?"
    if (
        path != Path(chosen)
        and path.exists()
        and not confirm(parent, f"Save {saving.what}", question)
    ):
        return None
    return path


def file_name(text: str, otherwise: str) -> str:
    """Return a text as the name of a file, without what no file system takes.

    Parameters
    ----------
    text : str
        E.g. a layer's name.
    otherwise : str
        The name where nothing is left of it.

    Returns
    -------
    str
    """
    return re.sub(r'[\x00-\x1f/\\:*?"<>|]+', "_", text).strip(" .") or otherwise


def _mended(path: Path) -> Path:
    """Mend what Qt makes of a name when another kind is chosen: it knows but the last suffix.

    Of ``a.nii.gz`` it makes ``a.nii.nii`` or ``a.nii.tif``, and of ``a.png`` ``a.gz``.
    """
    name = re.sub(
        r"\.(?:nii|seg)(\.(?:nii|gz|tif|png|mha|dcm))$",
        lambda found: found[0] if found[0].lower() == ".nii.gz" else found[1],
        path.name,
        flags=re.IGNORECASE,
    )
    name = re.sub(r"\.nii\.nrrd$", ".seg.nrrd", name, flags=re.IGNORECASE)
    name = re.sub(r"(?<!\.nii)\.gz$", ".nii.gz", name, flags=re.IGNORECASE)
    return path.with_name(name)


def _has_suffix(path: Path) -> bool:
    """Check whether a name says that it is an image: a wrong kind is refused by its name."""
    try:
        suffix_of(path)
    except CamSamError:
        return False
    return True


def labels_saving(layer: Any, image: Image, file: Path | None = None) -> Saving:
    """Return how labels are saved on the grid of their image; the values are copied now.

    Parameters
    ----------
    layer : napari.layers.Labels
    image : Image
        That the labels are of.
    file : Path, optional
        Of the image: they are saved beside it, and not in its place.

    Returns
    -------
    Saving
    """
    values = np.array(layer.data[0] if getattr(layer, "multiscale", False) else layer.data)
    pixels = image.spatial_ndim == 2 and image.geometry.unit == "pixel"
    flat = (_PNG, _TIFF) if pixels else (_TIFF,)
    first: Sequence[tuple[str, str]] = ()
    if isinstance(image.source, DicomSource):
        first = _DICOM if image.geometry.affine is not None else _DICOM[:1]
    of_file = _with_file(image, file)
    return _saving("labels", values, of_file, flat, _LABELS, write_labels_to_see, first)


def heatmap_saving(layer: Any, image: Image, file: Path | None = None) -> Saving:
    """Return how heatmaps are saved on the grid of their image; the values are copied now.

    Parameters
    ----------
    layer : napari.layers.Image
    image : Image
        That the heatmaps are of.
    file : Path, optional
        As of `labels_saving`.

    Returns
    -------
    Saving
    """
    values, others = np.array(layer.data), _HEATMAPS
    if isinstance(image.source, DicomSource) and image.geometry.affine is not None:
        others = (*others, _MAP)
    return _saving("heatmap", values, _with_file(image, file), (_TIFF,), others, write_heatmap)


def _with_file(image: Image, file: Path | None) -> Image:
    """Return an image that knows its file, which napari's own readers do not tell."""
    return image if image.path is not None else replace(image, path=file)


def _saving(
    what: str,
    values: Any,
    image: Image,
    flat: Sequence[tuple[str, str]],
    others: Sequence[tuple[str, str]],
    write: Callable[[Path, Any, Image], str | None],
    first: Sequence[tuple[str, str]] = (),
) -> Saving:
    kinds: Sequence[tuple[str, str]] = _NIFTI  # pictures would lose the affine
    if image.geometry.affine is None:
        kinds = (*flat, *_NIFTI) if image.spatial_ndim == 2 else (*_NIFTI, *flat)
    kinds = (*kinds, *others)

    def to(path: Path) -> str | None:
        like = image
        if image.geometry.affine is None and path.name.lower().endswith(NIFTI):
            like = replace(image, geometry=standing_affine(image.geometry), source=None)
        return write(path, values, like)

    return Saving(what, f"{image.name}-{what}", folder_beside(image.path), (*first, *kinds), to)


def folder_beside(path: Path | None) -> Path | None:
    """Return the folder that holds a file, or the folder of a series.

    Parameters
    ----------
    path : Path or None

    Returns
    -------
    Path or None
        The home folder where nothing can be written there, as on a disc with scans.
    """
    if path is None:
        return None
    folder = path.resolve().parent if path.is_dir() else path.parent
    return folder if os.access(folder, os.W_OK) else Path.home()
