"""Which images there are to train on, and their labels: from folders, tables and truths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.images.formats import saved_from, suffix_of
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import check_same_grid, read_image, read_labels
from napari_cam_sam.parsing import parse_csv, read_text
from napari_cam_sam.text import find_file, plain_cell, recorded

__all__ = [
    "LeftOut",
    "Sample",
    "SampleSet",
    "images_under",
    "name_of",
    "samples_from_csv",
    "samples_from_folder",
    "samples_from_volumes",
]


@dataclass(frozen=True)
class Sample:
    """A plane and its label.

    Attributes
    ----------
    image : Path or Image
        File, or an image in memory.
    label : str
        Name of its class.
    group : str
        Samples of one group (a patient, a volume) stay in one part of the split; empty for a
        sample that is a group of its own.
    axis : int
        Array axis that the plane cuts.
    plane : int or None
        Index along it; None for the only plane of a 2D image.
    """

    image: Path | Image
    label: str
    group: str = ""
    axis: int = 0
    plane: int | None = None

    @property
    def name(self) -> str:
        """How tables and messages call it."""
        text = name_of(self.image)
        return text if self.plane is None else f"{text}, slice {self.plane} along axis {self.axis}"


def name_of(image: Path | Image) -> str:
    """Return how tables and messages call an image.

    Parameters
    ----------
    image : Path or Image

    Returns
    -------
    str
        The path as it is recorded, or the name of an image in memory.
    """
    return recorded(image) if isinstance(image, Path) else image.name


@dataclass(frozen=True)
class LeftOut:
    """Something that was found and not taken.

    Attributes
    ----------
    name : str
        Of a file, a folder or a plane.
    reason : str
        Why it was not taken; the end of a sentence that begins with the name.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class SampleSet:
    """Samples, and what was left out in finding them.

    Attributes
    ----------
    samples : tuple of Sample
    left_out : tuple of LeftOut
    """

    samples: tuple[Sample, ...]
    left_out: tuple[LeftOut, ...] = ()


def samples_from_folder(folder: str | Path) -> SampleSet:
    """Take every image under a folder with one folder a class.

    Images may lie in folders inside a class's folder; files and folders whose names start with a
    dot are passed over. Files that are no images by their suffix are left out and named, as are
    folders that ``napari-cam-sam run`` wrote, what docks saved beside an image (see `saved_from`),
    and masks: ``NAME_mask`` or ``NAME_mask_1`` beside ``NAME``, as BUSI has them.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    SampleSet
        Classes in the order of their names, files in natural order (2 before 10).

    Raises
    ------
    CamSamError
        If there is no such folder, or not two classes with images in it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> for name in ("benign", "malignant"):
    ...     Path("images", name).mkdir(parents=True)
    ...     Image.fromarray(np.zeros((32, 32), np.uint8)).save(f"images/{name}/1.png")
    >>> samples = ncs.samples_from_folder("images")
    >>> [sample.label for sample in samples.samples]
    ['benign', 'malignant']
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "This is a file" if folder.exists() else "This does not exist"
        raise refusal(f"{what}: name a folder that holds one folder a class", folder)
    found: list[Sample] = []
    left_out: list[LeftOut] = []
    for class_folder in _visible(folder):
        if not class_folder.is_dir():
            left_out.append(LeftOut(recorded(class_folder), "lies in no class's folder"))
            continue
        before = len(found)
        for path in _files(class_folder):
            reason = _why_no_image(path)
            if reason is None:
                found.append(Sample(path, recorded(class_folder.name)))
            else:
                left_out.append(LeftOut(recorded(path), reason))
        if len(found) == before:
            left_out.append(LeftOut(recorded(class_folder), "holds no image"))
    classes = list(dict.fromkeys(sample.label for sample in found))
    if len(classes) < 2:
        there = f"only images of {classes[0]!r}" if classes else "no images"
        raise refusal(
            f"This folder has {there} in its folders: training needs two classes or more, one "
            "folder a class",
            folder,
        )
    return SampleSet(tuple(found), tuple(left_out))


def images_under(paths: Iterable[Path]) -> SampleSet:
    """Take images without labels, e.g. those that are to be held out.

    Parameters
    ----------
    paths : iterable of Path
        Images, and folders of which every image at any depth is taken.

    Returns
    -------
    SampleSet
        Labels are empty; in folders, what is no image is passed over as in
        :func:`samples_from_folder`.

    Raises
    ------
    CamSamError
        If a path is not there, is no image, or a folder holds none.
    """
    found: list[Sample] = []
    for path in paths:
        if not path.is_dir():
            suffix_of(path)
            found.append(Sample(path, ""))
            continue
        inside = [Sample(file, "") for file in _files(path) if _why_no_image(file) is None]
        if not inside:
            raise refusal("This folder holds no image", path)
        found += inside
    return SampleSet(tuple(found))


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Return a key that sorts paths with numbers by their value: 2 before 10."""
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p.lower()) for p in parts] + [
        (0, 0, str(path))
    ]


def _visible(folder: Path) -> list[Path]:
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise refusal(f"This could not be read: {error.strerror}", folder) from error
    # A link back would show every image again, and as another class.
    here = folder.absolute()
    above = {os.path.realpath(one) for one in (here, *here.parents, *here.resolve().parents)}
    inside = [
        path for path in inside if not (path.is_symlink() and os.path.realpath(path) in above)
    ]
    return sorted(inside, key=_natural_order)


def _files(folder: Path) -> Iterable[Path]:
    for path in _visible(folder):
        # Of what a run wrote, heatmaps and pictures too, the folder alone is named.
        if path.is_dir() and not (path / "run.json").is_file():
            yield from _files(path)
        else:
            yield path


def _why_no_image(path: Path) -> str | None:
    """Return why a file or folder is nothing to train on; None where it is an image."""
    if path.is_dir():
        return "was written by a run"
    try:
        suffix_of(path)
    except CamSamError:
        return "is no image by its suffix"
    image = saved_from(path)
    if image is not None:
        return f"was saved of {image.name}"
    masked = re.fullmatch(r"(.+)_mask(_\d+)?(\..+)", path.name)
    if masked is not None and path.with_name(masked[1] + masked[3]).is_file():
        return f"is a mask of {masked[1] + masked[3]}"
    return None


def samples_from_csv(
    path: str | Path, *, axis: int = 0, truth_label: int | None = None
) -> SampleSet:
    """Take the images that a table lists.

    With the columns ``path`` and ``label`` each row is a plane; ``group``, ``axis`` and ``plane``
    are optional. With ``image`` and ``truth`` each row is a volume (or an image) whose planes
    are labelled by whether the truth is in them, as by `samples_from_volumes`; ``group`` is
    optional. Without it, planes of one volume are one group. Paths are relative to the table's
    folder.

    Parameters
    ----------
    path : str or Path
        Comma- or semicolon-separated, UTF-8, with a row of column names.
    axis : int
        Along which planes of volumes are taken.
    truth_label : int or None
        The label of the truths that is meant; None for any.

    Returns
    -------
    SampleSet

    Raises
    ------
    CamSamError
        If the table cannot be read, lacks a column or a value (the row is named), or is empty.
    """
    path = Path(path)
    columns, rows = parse_csv(read_text(path, "a table of images"), path, lower=True)
    kinds = (("image", "truth"), ("path", "label"))
    needed = next((names for names in kinds if set(names) <= set(columns)), None)
    if needed is None:
        raise refusal(
            f"The table has the columns {', '.join(columns) or 'of an empty file'}: it needs path "
            "and label, or image and truth",
            path,
        )
    if not rows:
        raise refusal("The table lists no images", path)
    for line, row in rows:
        for column in needed:
            if not row[column].strip():
                raise refusal(f"This row has no {column}", path, line)
    if needed == ("image", "truth"):
        return samples_from_volumes(
            [(_file(path, r["image"]), _file(path, r["truth"])) for _, r in rows],
            axis=axis,
            truth_label=truth_label,
            groups=[_text(row, "group") for _, row in rows],
        )
    return SampleSet(tuple(_row_sample(row, line, path) for line, row in rows))


def _row_sample(row: dict[str, str], line: int, table: Path) -> Sample:
    path = _file(table, row["path"])
    axis, plane = (_number(row, column, line, table) for column in ("axis", "plane"))
    # Neighbouring planes look alike: apart, they would make every figure too good.
    group = _text(row, "group") or ("" if plane is None else str(path))
    return Sample(path, _text(row, "label"), group, axis or 0, plane)


def _text(row: dict[str, str], column: str) -> str:
    return plain_cell(row.get(column, "").strip())


def _file(table: Path, cell: str) -> Path:
    return find_file(table.parent, plain_cell(cell.strip()))


def _number(row: dict[str, str], column: str, line: int, path: Path) -> int | None:
    text = _text(row, column)
    if not text:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise refusal(f"This row has {column} {text[:60]!r}: expected an index", path, line)
    return int(text)


def samples_from_volumes(
    pairs: Sequence[tuple[Path | Image, Path | Image]],
    *,
    axis: int = 0,
    truth_label: int | None = None,
    names: tuple[str, str] = ("absent", "present"),
    groups: Sequence[str] = (),
) -> SampleSet:
    """Label every plane of volumes by whether the truth is in it.

    Parameters
    ----------
    pairs : sequence of (image, truth)
        Files or images on one grid.
    axis : int
        Along which planes are taken; 2D images have one plane.
    truth_label : int or None
        The label of the truths that is meant; None for any that is not 0.
    names : tuple of str
        Labels of planes without and with it.
    groups : sequence of str
        A group a volume; empty for each volume a group of its own, in which a file that is given
        twice is once.

    Returns
    -------
    SampleSet
        A volume that cannot be read or whose truth is on another grid is left out and named.

    Raises
    ------
    CamSamError
        If no volume can be used.
    """
    found: list[Sample] = []
    left_out: list[LeftOut] = []
    for index, (image_source, truth_source) in enumerate(pairs):
        name = name_of(image_source)
        try:
            image = image_source if isinstance(image_source, Image) else read_image(image_source)
            truth = truth_source
            if not isinstance(truth, Image):
                truth = read_labels(truth, like=image)
            check_same_grid(image, truth)
            own = name if isinstance(image_source, Path) else f"{index}: {name}"
            group = (groups[index] if groups else "") or own
            planes = []
            for plane, values in enumerate(truth.planes(axis)):
                inside = values != 0 if truth_label is None else values == truth_label
                label = names[int(np.any(inside))]
                planes.append(Sample(image_source, label, group, axis, plane))
        except CamSamError as error:
            left_out.append(LeftOut(name, str(error)))
        else:
            found += planes
    if not found:
        reason = f" ({left_out[0].reason})" if left_out else ""
        raise CamSamError(f"There are no slices to train on: no volume could be used{reason}.")
    return SampleSet(tuple(found), tuple(left_out))
