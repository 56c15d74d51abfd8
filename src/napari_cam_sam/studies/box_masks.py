"""Masks that a segmenter makes of a data set's boxes, as a data set to compare heatmaps with.

So "Utilizing Segment Anything Model for Assessing Localization of GRAD-CAM in Medical Imaging"
gets a truth where people have drawn boxes alone.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import WindowParameters, resolve_window
from napari_cam_sam.images.writing import write_atomically, write_labels
from napari_cam_sam.pipeline.planes import window_plane
from napari_cam_sam.prompts.data import Box, ObjectPrompt
from napari_cam_sam.sam.segmenter import Segmenter
from napari_cam_sam.studies.cases import Case, Dataset, read_case

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
        Single images. What has no boxes is listed as it is.
    segmenter : Segmenter
    folder : Path
        Gets ``masks`` and ``cases.csv``; made where it is missing.
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
        If an image cannot be read, or the folder not written.
    """
    try:
        (folder / "masks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CamSamError(f"{folder} could not be made: {error.strerror}.") from error
    rows: list[tuple[str, ...]] = []
    for done, case in enumerate(dataset.cases, start=1):
        name = case.image_id.removeprefix("boxes/")
        if any(";" in str(path) for path in (case.image, *case.truths)):
            raise CamSamError(f"{case.image_id} cannot be listed: a path of it holds a semicolon.")
        rows.append(_row(case, case.image_id, case.truths, case.boxes))
        if case.boxes:
            # A number keeps apart what differs by a folder alone.
            mask = folder.resolve() / "masks" / f"{done:06d}-{Path(name).name}.png"
            _segment(case, segmenter, mask)
            rows.append(_row(case, f"sam/{name}", (mask,), ()))
        if progress is not None:
            progress(done, len(dataset.cases))

    def write(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(_COLUMNS)
            writer.writerows(rows)

    write_atomically(folder / "cases.csv", write)
    return folder / "cases.csv"


def _segment(case: Case, segmenter: Segmenter, path: Path) -> None:
    image, _ = read_case(case)
    plane = window_plane(image, 0, 0, resolve_window(image, WindowParameters()))
    prompts = [ObjectPrompt(i, (), box) for i, box in enumerate(case.boxes, start=1)]
    found = segmenter.decode(segmenter.encode(plane), prompts, multimask=False)
    write_labels(path, np.any([one.masks[0] for one in found], axis=0), image)


def _row(
    case: Case, name: str, truths: tuple[Path, ...], boxes: tuple[Box, ...]
) -> tuple[str, ...]:
    corners = (f"{box.row_min} {box.column_min} {box.row_max} {box.column_max}" for box in boxes)
    group = case.group or case.image_id
    return (
        name, str(case.image.resolve()), ";".join(str(path.resolve()) for path in truths),
        ";".join(corners), case.label or "", group, case.split or "",
    )  # fmt: skip
