"""File formats by their suffix, and the checks that come before any of them."""

from __future__ import annotations

from pathlib import Path

from napari_cam_sam.errors import reason_of, refusal
from napari_cam_sam.limits import check_regular

__all__ = [
    "JPEG",
    "METAIMAGE",
    "MGH",
    "NIFTI",
    "NRRD",
    "PILLOW",
    "SAVED",
    "SEG_NRRD",
    "TIFF",
    "VOLUMES",
    "check_file",
    "has_suffix",
    "is_file",
    "saved_from",
    "stem_of",
    "suffix_of",
]

NIFTI = (".nii", ".nii.gz")
SEG_NRRD = ".seg.nrrd"
NRRD = (SEG_NRRD, ".nrrd", ".nhdr")
METAIMAGE = (".mha", ".mhd")
MGH = (".mgz", ".mgh")
VOLUMES = (*NIFTI, *NRRD, *METAIMAGE, *MGH)
"""Suffixes of what holds an image's place in the world."""
JPEG = (".jpg", ".jpeg")
PILLOW = (".png", *JPEG)
TIFF = (".tif", ".tiff")
SAVED = ("labels", "heatmap")
"""What docks save beside an image, as NAME-labels and NAME-heatmap."""


def suffix_of(path: Path) -> str:
    """Return the suffix of a supported image file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        In lower case; ``.nii.gz`` and ``.seg.nrrd`` count as one.

    Raises
    ------
    CamSamError
        If the suffix is none of the supported ones.
    """
    suffix = _known_suffix(path)
    if suffix is None:
        raise refusal(
            "This is not an image that can be read or written here: "
            "use .nii, .nii.gz, .nrrd, .nhdr, .seg.nrrd, .mha, .mhd, .mgz, .mgh, .png, .jpg, "
            ".jpeg, .tif or .tiff",
            path,
        )
    return suffix


def has_suffix(path: Path) -> bool:
    """Return whether a path has the suffix of a supported image file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool
    """
    return _known_suffix(path) is not None


def _known_suffix(path: Path) -> str | None:
    name = path.name.lower()
    return next((one for one in (*VOLUMES, *PILLOW, *TIFF) if name.endswith(one)), None)


def stem_of(path: Path) -> str:
    """Return a file's name without its supported suffix.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
    """
    return path.name[: -len(suffix_of(path))]


def saved_from(path: Path) -> Path | None:
    """Return the image beside which labels or heatmaps were saved as the docks name them.

    Parameters
    ----------
    path : Path
        E.g. ``scan-labels.png``.

    Returns
    -------
    Path or None
        E.g. ``scan.jpg``; None where the file has another name, or no such image lies beside it.
    """
    name, _, what = stem_of(path).rpartition("-")
    if not name or what not in SAVED:
        return None
    beside = (path.with_name(name + suffix) for suffix in (*VOLUMES, *PILLOW, *TIFF))
    return next((one for one in beside if is_file(one)), None)


def is_file(path: Path) -> bool:
    """Return whether there is a file; there is none of a name that no file can have.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool
    """
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with NUL or half a character
        return False


def check_file(path: Path) -> None:
    """Refuse what no format can be read from.

    Parameters
    ----------
    path : Path

    Raises
    ------
    CamSamError
        If the path is missing, a directory, empty, or may not be read.
    """
    try:
        if path.is_dir():
            raise refusal("This is a folder: name one image file", path)
        check_regular(path, "an image")
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise refusal("This file does not exist", path) from None
    except (OSError, ValueError) as error:  # ValueError: a name with NUL or half a character
        raise refusal(f"This could not be read: {reason_of(error)}", path) from error
    if empty:
        raise refusal("This file is empty: it holds 0 bytes", path)
