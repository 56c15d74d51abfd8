"""Data sets as they lie on disk become the cases of a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from napari_cam_sam.errors import CamSamError, refusal, unknown_name
from napari_cam_sam.images.formats import is_file
from napari_cam_sam.images.windows import WindowParameters, apply_window, resolve_window
from napari_cam_sam.models.training.copies import Fingerprints, find_copies, fingerprint
from napari_cam_sam.models.training.split import join_groups
from napari_cam_sam.studies.cases import Case, Dataset, boxes_of_mask, read_case
from napari_cam_sam.studies.data.layouts import LAYOUTS

__all__ = ["LAYOUTS", "check_options", "read_dataset"]

_TRUTH_AS = ("given", "boxes", "both")


def read_dataset(layout: str, path: Path, *, draw: bool = True, **options: Any) -> Dataset:
    """List the images of a data set with what belongs to each.

    What is listed but missing or damaged stays a case, which fails with its reason when it is
    read, so that every image is in the results.

    Parameters
    ----------
    layout : str
        A key of `LAYOUTS`: ``busi``, ``folders``, ``msd``, ``bbbc041``, ``csv`` or ``phantoms``.
    path : Path
        The data set's folder or file.
    draw : bool
        Whether phantoms that are not there are drawn, which writes them.
    **options
        Those of the layout (see its function in `layouts`), and for every layout ``truth_as``:
        ``"given"``; ``"boxes"`` takes the bounding boxes of the components instead of the masks,
        which are read for it; ``"both"`` lists every image with a truth twice, as
        ``mask/NAME`` and ``boxes/NAME``, in one group. ``channel``: which channel, modality or
        frame of files that hold several, from 0. And ``join_copies``: True reads all
        images, and puts those into one group that are near-copies of each other or have copies
        of one group, see :mod:`~napari_cam_sam.models.training.copies`.

    Returns
    -------
    Dataset

    Raises
    ------
    CamSamError
        For an unknown layout or option, a missing path, a data set without an image, two images
        of one name, or a table that is broken.
    """
    check_options(layout, options)
    path = Path(path)
    if layout != "phantoms" and not path.exists():
        raise refusal("The data set does not exist: name its folder or file", path)
    truth_as = options.pop("truth_as", "given")
    if truth_as not in _TRUTH_AS:
        raise unknown_name("kind of truth", truth_as, _TRUTH_AS)
    join_copies, channel = options.pop("join_copies", False), options.pop("channel", None)
    if layout == "phantoms":
        options["draw"] = draw
    found = LAYOUTS[layout](path, **options)
    if channel is not None:
        cases_of_channel = tuple(replace(case, frame=channel) for case in found.cases)
        found = replace(found, cases=cases_of_channel)
    if not found.cases:
        reasons = " ".join(found.problems[:3])
        raise refusal(f"This holds no image in the layout {layout}. {reasons}".strip(), path)
    problems = list(found.problems)
    missing = [case.image for case in found.cases if not is_file(case.image)]
    if len(missing) == len(found.cases):
        raise CamSamError(f"None of the images of {path} is there, e.g. {missing[0]}.")
    for case in found.cases:
        problems += [f"{file} is listed but not there." for file in case.files if not is_file(file)]
    cases: list[Case] = []
    for case in _with_copies_joined(found.cases) if join_copies else found.cases:
        try:
            cases += [case] if truth_as == "given" else _with_boxes(case, truth_as)
        except CamSamError as error:
            problems.append(str(error))
            cases.append(case)  # it is in the results, with the reason why it failed
    cases.sort(key=lambda case: case.image_id)
    for one, other in pairwise(cases):
        if one.image_id == other.image_id:
            raise CamSamError(
                f"Two images of {path} are called {one.image_id!r}, {one.image} and "
                f"{other.image}: rename one."
            )
    return replace(found, cases=tuple(cases), problems=tuple(dict.fromkeys(problems)))


def check_options(layout: str, options: dict[str, Any]) -> None:
    """Refuse a layout or an option that there is not, before anything is read.

    Parameters
    ----------
    layout : str
    options : dict of str to object
        As `read_dataset` takes them.

    Raises
    ------
    CamSamError
        The message names the nearest known ones, or what the value must be.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    known = get_type_hints(LAYOUTS[layout])
    known |= {"truth_as": str, "join_copies": bool, "channel": int}
    for name in ("path", "draw", "return"):  # no options of a file's
        known.pop(name, None)
    for name, value in options.items():
        if name not in known:
            raise unknown_name(f"option of the layout {layout}", name, known)
        try:
            TypeAdapter(known[name]).validate_python(value, strict=True)
        except ValidationError as error:
            kinds = get_args(known[name]) if isinstance(known[name], UnionType) else [known[name]]
            words = " or ".join(_WORDS[kind] for kind in kinds if kind is not NoneType)
            raise CamSamError(
                f"The option {name!r} of the layout {layout} must be {words}, not {value!r}."
            ) from error


_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    str: "a text",
    Sequence[str]: "a list of texts",
    Mapping[str, str]: "texts by names",
}


def _with_copies_joined(cases: Sequence[Case]) -> list[Case]:
    """Put near-copies, and whoever shares a group with one of them, into one group."""
    # What cannot be read will fail with its reason, and is no copy of anything.
    copies = np.arange(len(cases))
    prints, readable = [], []
    for i, case in enumerate(cases):
        try:
            image, _ = read_case(replace(case, truths=(), boxes=()))
        except CamSamError:
            continue
        if image.spatial_ndim != 2:
            raise CamSamError(
                f"{case.image_id} is a volume: copies are looked for among single slices; give "
                "groups instead."
            )
        window = resolve_window(image, WindowParameters())
        prints.append(fingerprint(apply_window(image.plane(0, 0), window)))
        readable.append(i)
    copies[readable] = np.array(readable, int)[find_copies(Fingerprints.joined(prints))]
    numbers = join_groups([case.group or "" for case in cases], copies).tolist()
    # A group is called after its first case that has one, else after its first case.
    names: dict[int, str] = {}
    for number, case in sorted(
        zip(numbers, cases, strict=True), key=lambda pair: (pair[1].group is None, pair[1].image_id)
    ):
        names.setdefault(number, case.group or case.image_id)
    sizes = Counter(numbers)
    return [
        case if sizes[number] == 1 else replace(case, group=names[number])
        for number, case in zip(numbers, cases, strict=True)
    ]


def _with_boxes(case: Case, truth_as: str) -> list[Case]:
    boxes = case.boxes
    if case.truths:
        _, truth = read_case(case)
        assert truth is not None
        if truth.spatial_ndim != 2:
            raise CamSamError(f"{case.image_id} is a volume: its truth cannot become boxes.")
        boxes = boxes_of_mask(np.asarray(truth.data))
    boxed = replace(case, truths=(), boxes=boxes)
    if truth_as == "boxes":
        return [boxed]
    if not case.truths:
        return [case]
    group = case.group or case.image_id
    return [
        replace(case, image_id=f"mask/{case.image_id}", group=group),
        replace(boxed, image_id=f"boxes/{case.image_id}", group=group),
    ]
