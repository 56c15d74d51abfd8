"""How data sets lie on disk: a function a layout, each of which lists the cases.

Options that are paths are relative to the data set's own folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from napari_cam_sam.errors import CamSamError, refusal, unknown_name
from napari_cam_sam.images.formats import saved_from, stem_of, suffix_of
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.writing import write_image, write_labels
from napari_cam_sam.parsing import parse_csv, parse_json, read_text
from napari_cam_sam.prompts.data import Box
from napari_cam_sam.schemas import check_schema
from napari_cam_sam.studies.cases import Case, Dataset
from napari_cam_sam.text import find_file, plain_cell, recorded, restored, shown

__all__ = ["LAYOUTS", "bbbc041", "busi", "csv_table", "folders", "msd", "phantoms"]

INFECTED = ("gametocyte", "ring", "schizont", "trophozoite")
PHANTOMS = ("shapes", "ultrasound", "ct")


def busi(
    path: Path,
    *,
    classes: Sequence[str] | None = None,
    predictions: str | Mapping[str, str] | None = None,
) -> Dataset:
    """List BUSI as it is published: a folder a class, with images and masks side by side.

    The masks of ``NAME.png`` are ``NAME_mask.png``, ``NAME_mask_1.png``, and so on.

    Parameters
    ----------
    path : Path
        The folder of the class folders.
    classes : sequence of str, optional
        Which class folders; all by default.
    predictions : str or dict of str to str, optional
        Folder of masks ``NAME.png`` that somebody else made; or several by a name each, and then
        every image is listed once for each, as ``PREDICTIONS/NAME``, in one group.

    Returns
    -------
    Dataset
    """
    present = sorted(recorded(folder.name) for folder in _entries(path) if folder.is_dir())
    for name in classes or ():
        if name not in present:
            raise unknown_name("class folder", name, present)
    cases: list[Case] = []
    problems: list[str] = []
    for name in present if classes is None else sorted(set(classes)):
        files = _images_of(path / restored(name))
        masks: dict[str, list[Path]] = {}
        images: dict[str, Path] = {}
        for file in files:
            stem = stem_of(file)
            head, found, number = stem.rpartition("_mask")
            if found and (not number or (number[0] == "_" and number[1:].isdigit())):
                masks.setdefault(head, []).append(file)
            else:
                images[stem] = file
        for stem in sorted(masks.keys() - images.keys()):
            problems.append(f"{masks[stem][0]} is a mask without an image.")
        for stem, image in images.items():
            # A class without any mask, like the normal ones, has none to miss.
            if masks and stem not in masks:
                problems.append(f"{image} has no mask.")
            truths = tuple(masks.get(stem, ()))
            cases.append(Case(recorded(stem), image, truths, label=name))
    return _with_predictions(
        Dataset(recorded(path.name), tuple(cases), tuple(problems)), path, predictions
    )


def folders(
    path: Path,
    *,
    images: str = "images",
    masks: str | None = "masks",
    predictions: str | Mapping[str, str] | None = None,
) -> Dataset:
    """List a folder of images and one of masks, which have the same names but for the suffix.

    Subfolders, where there are some, are the classes and must be the same in both.

    Parameters
    ----------
    path : Path
    images, masks : str
        Folders within it; ``masks`` may be None.
    predictions : str or dict of str to str, optional
        See `busi`.

    Returns
    -------
    Dataset
    """
    found = _by_name(path / images)
    truths = {} if masks is None else _by_name(path / masks)
    problems = [f"{truths[one]} is a mask without an image." for one in truths if one not in found]
    if masks is not None:
        problems += [f"{found[name]} has no mask." for name in found if name not in truths]
    cases = tuple(
        Case(
            name,
            image,
            tuple(filter(None, [truths.get(name)])),
            label=name.rpartition("/")[0] or None,
        )
        for name, image in found.items()
    )
    return _with_predictions(
        Dataset(recorded(path.name), cases, tuple(problems)), path, predictions
    )


def msd(path: Path) -> Dataset:
    """List a task of the Medical Segmentation Decathlon: NIfTI files named in ``dataset.json``.

    Parameters
    ----------
    path : Path
        The task's folder, or its ``dataset.json``.

    Returns
    -------
    Dataset
    """
    table = path if path.is_file() else path / "dataset.json"
    content = check_schema(_Decathlon, _read_json(table), table)
    cases: list[Case] = []
    problems: list[str] = []
    for entry in content.training:
        image, label = table.parent / entry.image, entry.label
        if label is None:
            problems.append(f"{image} has no mask.")
        truths = () if label is None else (table.parent / label,)
        name = _name_of(image)
        cases.append(Case(name, image, truths, group=name, split="training"))
    for test in content.test or ():
        name = _name_of(image := table.parent / test)
        cases.append(Case(name, image, group=name, split="test"))
    name = shown(content.name or table.parent.name)
    return Dataset(name, tuple(cases), tuple(problems))


def bbbc041(
    path: Path, *, categories: Sequence[str] = INFECTED, images: str | None = None
) -> Dataset:
    """List blood smears with malaria (BBBC041): boxes of cells in ``training.json``, ``test.json``.

    An image with a box of one of the categories is labelled ``infected``, else ``uninfected``.

    Parameters
    ----------
    path : Path
        The data set's folder, or one of its JSON files.
    categories : sequence of str
        Cells whose boxes are the truth; the four infected stages by default.
    images : str, optional
        Folder to take the images from by their file names; by default they lie where the JSON
        file says, as seen from its own folder.

    Returns
    -------
    Dataset
    """
    tables = [path] if path.is_file() else sorted(path.glob("*.json"))
    if not tables:
        raise refusal("This folder holds neither training.json nor test.json", path)
    cases: list[Case] = []
    seen: set[str] = set()
    for table in tables:
        for number, entry in enumerate(check_schema(list[_Smear], _read_json(table), table)):
            stored = Path(entry.image.pathname.lstrip("/"))
            try:
                objects = [(one.category, _corners(one)) for one in entry.objects]
            except ValueError as error:
                raise refusal(f"A box of image {number} is broken: {error}", table) from error
            seen.update(category for category, _ in objects)
            image = table.parent / (stored if images is None else Path(images) / stored.name)
            boxes = tuple(box for category, box in objects if category in categories)
            label = "infected" if boxes else "uninfected"
            cases.append(Case(_name_of(image), image, (), boxes, label, split=recorded(table.stem)))
    for name in categories:
        if seen and name not in seen and tuple(categories) != INFECTED:
            raise unknown_name("category", name, sorted(seen))
    return Dataset(recorded(path.stem), tuple(cases))


def csv_table(path: Path) -> Dataset:
    """List cases from a CSV file with a row an image.

    The columns are ``image`` and, where wanted, ``id``, ``truth``, ``segments``, ``boxes``,
    ``label``, ``group``, ``split`` and ``prediction``. Paths are relative to the file; several
    truths, several segments of a truth that names them, and several boxes
    ``row_min column_min row_max column_max`` (ends exclusive), are separated by semicolons.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Dataset
    """
    known = (
        "image", "id", "truth", "segments", "boxes", "label", "group", "split", "prediction",
    )  # fmt: skip
    columns, rows = parse_csv(read_text(path, "a table of images"), path)
    if "image" not in columns:
        raise refusal(
            f"There is no column 'image'; the columns are {', '.join(columns) or 'none'}", path
        )
    problems = [
        str(refusal(f"The column {name!r} is none of {', '.join(known)} and is not used", path))
        for name in columns
        if name not in known
    ]
    cases: list[Case] = []
    for line, row in rows:
        where = f"{path}:{line}"
        cell = {name: plain_cell(row.get(name, "").strip()) for name in known}
        if not cell["image"]:
            problems.append(str(refusal("This row names no image", path, line)))
            continue
        image = find_file(path.parent, cell["image"])
        truths = tuple(find_file(path.parent, part.strip()) for part in _parts(cell["truth"]))
        cases.append(
            Case(
                cell["id"] or (Path(cell["image"]).parent / _name_of(image)).as_posix(),
                image,
                truths,
                tuple(_box(part, where) for part in _parts(cell["boxes"])),
                cell["label"] or None,
                cell["group"] or None,
                cell["split"] or None,
                find_file(path.parent, cell["prediction"]) if cell["prediction"] else None,
                segments=tuple(part.strip() for part in _parts(cell["segments"])),
            )
        )
    return Dataset(recorded(path.stem), tuple(cases), tuple(problems))


def phantoms(
    path: Path,
    *,
    kind: str = "shapes",
    count: int = 50,
    first_seed: int = 0,
    draw: bool = True,
) -> Dataset:
    """Draw phantoms with truth, once, into a folder.

    Parameters
    ----------
    path : Path
        Where they are kept; made where it is missing. What is there already is not drawn again.
    kind : {"shapes", "ultrasound", "ct"}
    count : int
    first_seed : int
        Of the first one; the others follow. Seeds from one million up were used in training and
        are refused.
    draw : bool
        False lists what is there and writes nothing.

    Returns
    -------
    Dataset
    """
    from napari_cam_sam.demo.phantoms import SHAPE_CLASSES, shapes, ultrasound
    from napari_cam_sam.demo.volumes import ct

    if kind not in PHANTOMS:
        raise unknown_name("kind of phantoms", kind, PHANTOMS)
    if count < 1 or first_seed < 0 or first_seed + count > 1_000_000:
        raise CamSamError(
            f"Phantoms {first_seed} to {first_seed + count - 1} cannot be drawn for a study: "
            "take one or more, of seeds from 0 to 999999, which no training saw."
        )
    folder = path / kind
    if path.is_dir():
        foreign = [one.name for one in path.iterdir() if one.name not in (*PHANTOMS, ".DS_Store")]
        if foreign and not folder.is_dir():
            raise refusal(
                f"This folder holds other things, e.g. {foreign[0]}: phantoms are drawn into a "
                "folder of their own; name a new one",
                path,
            )
    try:
        if draw:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(f"This folder could not be made: {error.strerror}", folder) from error
    suffix = ".nii.gz" if kind == "ct" else ".png"
    cases = []
    for seed in range(first_seed, first_seed + count):
        name = f"{kind}-{seed:06d}"
        image, truth = folder / f"{name}{suffix}", folder / f"{name}-truth{suffix}"
        # Of shapes the class is in the drawing alone.
        shape = shapes(seed) if kind == "shapes" else None
        label = "lesion" if shape is None else SHAPE_CLASSES[shape.class_index]
        if draw and not (image.is_file() and truth.is_file()):
            if kind == "ct":
                volume = ct(seed)
                labels = volume.labels
                geometry = Geometry(spacing=volume.spacing, affine=volume.affine, unit="mm")
                drawn = image_from_array(volume.hounsfield, geometry=geometry, name=name)
            else:
                phantom = shape or ultrasound(seed, lesion=True)
                labels = np.asarray(phantom.labels)
                drawn = image_from_array(phantom.image, rgb=phantom.image.ndim == 3, name=name)
            write_image(image, drawn)
            write_labels(truth, labels, drawn)
        cases.append(Case(name, image, (truth,), label=label, group=name))
    return Dataset(f"{kind} phantoms", tuple(cases))


LAYOUTS: dict[str, Callable[..., Dataset]] = {
    "busi": busi,
    "folders": folders,
    "msd": msd,
    "bbbc041": bbbc041,
    "csv": csv_table,
    "phantoms": phantoms,
}
"""The layouts by the names that a study file gives them."""


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds, but for hidden files, which archives from a Mac bring along."""
    _must_be_folder(folder)
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _must_be_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise refusal("This is not a folder", folder)


def _is_image(path: Path) -> bool:
    try:
        suffix_of(path)
    except CamSamError:
        return False
    return path.is_file() and saved_from(path) is None


def _images_of(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if _is_image(entry)]


def _name_of(path: Path) -> str:
    """Return the name of a case: its file's as recorded, without a suffix of images."""
    try:
        return recorded(stem_of(path))
    except CamSamError:
        return recorded(path.name)


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the images below a folder by their relative path without the suffix."""
    _must_be_folder(folder)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts) or not _is_image(path):
            continue
        name = recorded(inside.with_name(stem_of(path)).as_posix())
        if name in found:
            raise refusal("Two images have the same name: rename one", f"{found[name]} and {path}")
        found[name] = path
    return found


def _with_predictions(
    dataset: Dataset, path: Path, predictions: str | Mapping[str, str] | None
) -> Dataset:
    """Add the masks that others made; images of which there is none in a folder stay without."""
    if predictions is None:
        return dataset
    several = not isinstance(predictions, str)
    named = {"": predictions} if isinstance(predictions, str) else dict(predictions)
    cases: list[Case] = []
    problems = list(dataset.problems)
    for name, folder in named.items():
        masks = _by_name(path / folder)
        for case in dataset.cases:
            mask = masks.pop(case.image_id, None)
            if mask is None:
                problems.append(f"{case.image} has no prediction in {path / folder}.")
            added = replace(case, prediction=mask)
            if several:
                added = replace(
                    added, image_id=f"{name}/{case.image_id}", group=case.group or case.image_id
                )
            cases.append(added)
        problems += [f"{mask} is a prediction without an image." for mask in masks.values()]
    return replace(dataset, cases=tuple(cases), problems=tuple(problems))


class _Pair(BaseModel):
    image: str
    label: str | None = None


class _Decathlon(BaseModel):
    training: list[_Pair]
    test: list[str] | None = None
    name: str | None = None


class _Point(BaseModel):
    r: float
    c: float


class _Bounds(BaseModel):
    minimum: _Point
    maximum: _Point


class _Object(BaseModel):
    category: str
    bounding_box: _Bounds


class _Place(BaseModel):
    pathname: str


class _Smear(BaseModel):
    image: _Place
    objects: list[_Object]


def _read_json(path: Path) -> Any:
    return parse_json(read_text(path, "a list of images"), path)


def _corners(entry: _Object) -> Box:
    low, high = entry.bounding_box.minimum, entry.bounding_box.maximum
    return _ordered((low.r, low.c, high.r, high.c))


def _ordered(values: Iterable[Any]) -> Box:
    row_min, column_min, row_max, column_max = map(float, values)
    box = Box(row_min, column_min, row_max, column_max, source="truth")
    if not all(map(math.isfinite, (row_min, column_min, row_max, column_max))):
        raise ValueError("a number of it is not finite")
    if not (box.row_min < box.row_max and box.column_min < box.column_max):
        raise ValueError("a box ends before it begins")
    return box


def _box(text: str, where: str) -> Box:
    parts = text.split()
    try:
        if len(parts) != 4:
            raise ValueError("it has four numbers")
        return _ordered(parts)
    except ValueError as error:
        raise refusal(
            f"The box {text.strip()[:60]!r} is broken, {error}: write "
            "'row_min column_min row_max column_max'",
            where,
        ) from error


def _parts(cell: str) -> list[str]:
    return [part for part in cell.split(";") if part.strip()]
