"""Masks that a segmenter makes of a data set's boxes, as a data set to compare heatmaps with.

So "Utilizing Segment Anything Model for Assessing Localization of GRAD-CAM in Medical Imaging"
gets a truth where people have drawn boxes alone.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.images.hashing import file_hash
from napari_cam_sam.images.raster import write_pillow
from napari_cam_sam.images.windows import WindowParameters, resolve_window
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.pipeline.heatmaps import window_plane
from napari_cam_sam.prompts.data import Box, ObjectPrompt
from napari_cam_sam.sam.segmenter import Segmenter
from napari_cam_sam.studies.cases import Case, Dataset, read_case
from napari_cam_sam.text import cell_text, recorded

__all__ = ["write_box_masks"]

_COLUMNS = ("id", "image", "truth", "boxes", "label", "group", "split")


def write_box_masks(
    dataset: Dataset,
    segmenter: Segmenter,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Segment every image from its boxes, and list its cases with those of the masks.

    Each box is a prompt of its own, of which the single mask is taken; an image's masks are
    united.

    Parameters
    ----------
    dataset : Dataset
        Single images. What has no boxes is listed as it is, and so is what cannot be read: it
        fails in the study, with its reason.
    segmenter : Segmenter
    folder : Path
        Gets ``masks`` and ``cases.csv``; made where it is missing. A mask of the same image, boxes
        and segmenter that is there already is not made again.
    progress : callable, optional
        Called after each image with the number done and the number of all.

    Returns
    -------
    Path
        Of ``cases.csv``, for the layout ``csv``: the cases of the data set, and one ``sam/NAME``
        for each ``boxes/NAME`` or ``NAME`` with boxes.

    Raises
    ------
    CamSamError
        If a path holds a semicolon, or the folder cannot be written.
    """
    try:
        (folder / "masks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(f"This folder could not be made: {error.strerror}", folder) from error
    rows: list[tuple[str, ...]] = []
    for done, case in enumerate(dataset.cases, start=1):
        name = case.image_id.removeprefix("boxes/")
        if any(";" in str(path) for path in (case.image, *case.truths)):
            raise CamSamError(f"{case.image_id} cannot be listed: a path of it holds a semicolon.")
        rows.append(_row(case, case.image_id, case.truths, case.boxes))
        if case.boxes:
            mask = _mask_of(case, segmenter, folder.resolve() / "masks")
            if mask is not None:
                rows.append(_row(case, f"sam/{name}", (mask,), ()))
        if progress is not None:
            progress(done, len(dataset.cases))

    def write(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(_COLUMNS)
            writer.writerows([cell_text(one) for one in row] for row in rows)

    write_atomically(folder / "cases.csv", write)
    return folder / "cases.csv"


def _mask_of(case: Case, segmenter: Segmenter, folder: Path) -> Path | None:
    """Return the file of a case's mask, made where it is not there.

    None where the image cannot be read.
    """
    try:
        image, _ = read_case(case)
        embedder = segmenter.model_hash + getattr(segmenter, "frame", "sam").removeprefix("sam")
        about = (embedder, file_hash(case.image), case.frame, case.boxes)
        digest = hashlib.sha256(repr(about).encode()).hexdigest()[:16]
        path = folder / f"{digest}.png"
        if path.is_file():
            return path
        plane = window_plane(image, 0, 0, resolve_window(image, WindowParameters()))
    except CamSamError:
        return None
    prompts = [ObjectPrompt(i, (), box) for i, box in enumerate(case.boxes, start=1)]
    found = segmenter.decode(segmenter.encode(plane), prompts, multimask=False)
    mask = np.any([one.masks[0] for one in found], axis=0).astype(np.uint8)
    write_atomically(path, lambda hidden: write_pillow(hidden, mask))
    return path


def _row(
    case: Case, name: str, truths: tuple[Path, ...], boxes: tuple[Box, ...]
) -> tuple[str, ...]:
    corners = (f"{box.row_min} {box.column_min} {box.row_max} {box.column_max}" for box in boxes)
    group = case.group or case.image_id
    return (
        name, recorded(case.image.resolve()), ";".join(recorded(p.resolve()) for p in truths),
        ";".join(corners), case.label or "", group, case.split or "",
    )  # fmt: skip
