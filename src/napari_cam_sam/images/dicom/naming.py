"""Codes of SNOMED CT and colours for the names of segments."""

from __future__ import annotations

import re
from typing import Any

from napari_cam_sam.images.segments import Segment

__all__ = ["KNOWN", "codes_for", "colour_for"]

_ANATOMY = "AnatomicalStructure"
_ABNORMAL = "MorphologicallyAbnormalStructure"

KNOWN = {
    "liver": (_ANATOMY, "Liver", (221, 130, 101)),
    "kidney": (_ANATOMY, "Kidney", (185, 102, 83)),
    "lung": (_ANATOMY, "Lung", (197, 165, 145)),
    "spleen": (_ANATOMY, "Spleen", (157, 108, 162)),
    "pancreas": (_ANATOMY, "Pancreas", (249, 180, 111)),
    "stomach": (_ANATOMY, "Stomach", (216, 132, 105)),
    "heart": (_ANATOMY, "Heart", (206, 110, 84)),
    "aorta": (_ANATOMY, "Aorta", (224, 97, 76)),
    "brain": (_ANATOMY, "Brain", (250, 250, 225)),
    "breast": (_ANATOMY, "Breast", (244, 214, 190)),
    "prostate": (_ANATOMY, "Prostate", (230, 158, 140)),
    "bladder": (_ANATOMY, "Bladder", (222, 154, 132)),
    "uterus": (_ANATOMY, "Uterus", (255, 152, 213)),
    "thyroid": (_ANATOMY, "Thyroid", (62, 162, 114)),
    "spinal cord": (_ANATOMY, "SpinalCord", (244, 214, 49)),
    "lymph node": (_ANATOMY, "LymphNode", (68, 172, 100)),
    "bone": (_ANATOMY, "Bone", (241, 214, 145)),
    "lesion": (_ABNORMAL, "Lesion", (226, 60, 60)),
    "mass": (_ABNORMAL, "Mass", (144, 238, 144)),
    "nodule": (_ABNORMAL, "Nodule", (255, 179, 71)),
    "neoplasm": (_ABNORMAL, "Neoplasm", (192, 104, 88)),
    "tumour": (_ABNORMAL, "Neoplasm", (192, 104, 88)),
    "tumor": (_ABNORMAL, "Neoplasm", (192, 104, 88)),
    "metastasis": (_ABNORMAL, "NeoplasmSecondary", (220, 80, 150)),
    "cyst": (_ABNORMAL, "Cyst", (205, 205, 100)),
    "edema": (_ABNORMAL, "Edema", (140, 224, 228)),
    "oedema": (_ABNORMAL, "Edema", (140, 224, 228)),
    "necrosis": (_ABNORMAL, "Necrosis", (216, 191, 216)),
    "hemorrhage": (_ABNORMAL, "Hemorrhage", (188, 65, 28)),
}
"""Category, type and colour of common names; the codes as pydicom's SNOMED CT calls them."""
_ANY = ("Tissue", "Tissue")
_COLOURS = (
    (128, 174, 128), (241, 214, 145), (177, 122, 101), (111, 184, 210), (216, 101, 79),
    (221, 130, 101), (144, 238, 144), (192, 104, 88), (220, 245, 20), (78, 63, 0),
    (255, 250, 220), (230, 220, 70),
)  # fmt: skip


def codes_for(segment: Segment) -> tuple[Any, Any]:
    """Return the codes of a segment's category and type.

    Parameters
    ----------
    segment : Segment

    Returns
    -------
    category, kind : pydicom.sr.coding.Code
        Its own; else those of its name in `KNOWN`, where sides and a number at the end do not
        count; else tissue, which says nothing false.
    """
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    if segment.category is not None and segment.kind is not None:
        return Code(*segment.category), Code(*segment.kind)
    category, kind = _entry(segment.name)[:2]
    return getattr(codes.SCT, category), getattr(codes.SCT, kind)


def colour_for(segment: Segment) -> tuple[int, int, int]:
    """Return the colour that a segment is written with.

    Parameters
    ----------
    segment : Segment

    Returns
    -------
    tuple of int
        Its own, that of its name, or one by its number.
    """
    if segment.colour is not None:
        return segment.colour
    known = _entry(segment.name)
    return known[2] if known[2] else _COLOURS[(segment.number - 1) % len(_COLOURS)]


def _entry(name: str) -> tuple[str, str, tuple[int, int, int] | None]:
    words = re.sub(r"[\W_]+", " ", name.casefold())
    words = re.sub(r"\b(left|right)\b|\d+ *$", " ", words)
    return KNOWN.get(" ".join(words.split()), (*_ANY, None))
