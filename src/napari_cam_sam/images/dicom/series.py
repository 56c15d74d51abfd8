"""The series of images in a folder, a DICOMDIR, a zip or a file, as a list to choose from."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_cam_sam.errors import CamSamError, reads, refusal
from napari_cam_sam.images.dicom.files import DicomFiles, Update, dicom_files
from napari_cam_sam.images.dicom.grouping import Group, group_frames
from napari_cam_sam.images.dicom.heads import FrameHead, read_heads
from napari_cam_sam.images.dicom.pixels import check_pixels
from napari_cam_sam.images.dicom.stacking import stack_frames

__all__ = ["DicomSeries", "choose_series", "find_series"]

_DIGITS = 8
_LISTED = 12
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_NO_IMAGES = {
    "RTSTRUCT": "a structure set (RTSTRUCT)", "SEG": "a segmentation (SEG)",
    "SR": "a structured report (SR)", "PR": "a presentation state (PR)",
    "KO": "a selection of key images (KO)", "DOC": "a document (DOC)",
    "RTPLAN": "a radiotherapy plan (RTPLAN)", "REG": "a registration (REG)",
    "ECG": "a waveform (ECG)", "AU": "sound (AU)",
}  # fmt: skip


@dataclass(frozen=True)
class DicomSeries:
    """Images of one series on one grid: a volume, volumes over time, or pictures.

    It names no patient.

    Attributes
    ----------
    id : str
        Short, and the same each time: what ``--series`` takes.
    uid : str
        Of the series; several entries have the same where it holds more than one grid.
    modality, description : str
    part : str
        What tells it from other entries of its series, e.g. ``"echo 5 ms"``; else empty.
    number : int or None
        Of the series.
    date : str
        As ``2026-01-31``, or empty.
    rows, columns, slices, frames : int
        Frames are points in time, b-values, or pictures without a place.
    frame_names : tuple of str
        For example ``"b 1000"``; empty where nothing names a frame.
    spacing : tuple of float or None
        Between slices, rows and columns in mm, or rows and columns of a picture; None where the
        file does not say it, or there is trouble.
    trouble : str
        Why it cannot be opened as it is; empty where it can.
    files : int
    volumes : tuple of (tuple of FrameHead)
        The frames, each as its slices in no order.
    where : Path
        What was searched.
    notes : tuple of str
        Sentences on what was found beside it, e.g. damaged files.
    """

    id: str
    uid: str
    modality: str
    description: str
    part: str
    number: int | None
    date: str
    rows: int
    columns: int
    slices: int
    frames: int
    frame_names: tuple[str, ...]
    spacing: tuple[float, ...] | None
    trouble: str
    files: int
    volumes: tuple[tuple[FrameHead, ...], ...] = field(repr=False, compare=False)
    where: Path = field(repr=False, compare=False)
    notes: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def title(self) -> str:
        """Modality, number, description and part in one line, for lists on the screen."""
        number = "" if self.number is None else str(self.number)
        return " ".join(filter(None, (self.modality, number, self.description, self.part)))

    @property
    def name(self) -> str:
        """Modality, number and part, for records: a description may hold whatever was typed."""
        return replace(self, description="").title


@reads("DICOM")
def find_series(
    path: str | os.PathLike[str], update: Update | None = None
) -> tuple[DicomSeries, ...]:
    """Find the series of images at a path, from the headers of its files alone.

    Localizers are left out where there is anything else.

    Parameters
    ----------
    path : path-like
        A file, a folder with all below it, a DICOMDIR or a zip.
    update : callable, optional
        Is told how many files were read, and of how many; what it raises ends the search.

    Returns
    -------
    tuple of DicomSeries
        Never empty; by study and number of the series.

    Raises
    ------
    CamSamError
        If there is no image, or the path cannot be read.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> (series,) = ncs.find_series(get_testdata_file("CT_small.dcm"))
    >>> series.id, series.title, series.slices, series.spacing
    ('f5b37f91', 'CT 1', 1, (5.0, 0.661468, 0.661468))
    """
    where = Path(path)
    listed = dicom_files(where, update)
    heads, broken = _read_all(listed, where, update)
    images = [head for head in heads if _is_image(head)]
    kept = [head for head in images if "LOCALIZER" not in head.file.image_type] or images
    if not kept:
        raise refusal(_nothing(listed, heads, broken), where)
    used = {head.file.series_uid for head in kept}
    blank = sum(_is_blank(head) and head.file.series_uid in used for head in heads)
    notes = _notes(listed, broken, blank)
    kept, again = _once(kept)
    by_series: dict[tuple[str, str], list[FrameHead]] = {}
    for head in kept:
        by_series.setdefault((head.file.series_uid, ""), []).append(head)
    found = [
        _entry(group, where, notes + (again.get(uid, ()) if uid else ()))
        for (uid, _), frames in by_series.items()
        for group in group_frames(frames)
    ]
    return tuple(
        sorted(found, key=lambda s: (s.volumes[0][0].file.study_uid, s.number or 0, s.uid, s.part))
    )


def choose_series(found: Sequence[DicomSeries], wanted: str | None, where: object) -> DicomSeries:
    """Choose a series by its id, the first letters of it, or its UID.

    Parameters
    ----------
    found : sequence of DicomSeries
    wanted : str or None
        None where there is but one.
    where : object
        What was searched, for errors.

    Returns
    -------
    DicomSeries

    Raises
    ------
    CamSamError
        If none or several fit; it lists them.
    """
    if wanted is None:
        if len(found) == 1:
            return found[0]
        raise refusal(_choice(found), where)
    text = wanted.strip().lower()
    fitting = [s for s in found if text and (s.id.startswith(text) or s.uid == text)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise refusal(_choice(fitting), where)
    raise refusal(f"There is no series {wanted!r}. {_choice(found)}", where)


def _choice(found: Sequence[DicomSeries]) -> str:
    lines = [f"{s.id} ({_summary(s)})" for s in found[:_LISTED]]
    more = f", and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    same = len(found) > 1 and len({s.uid for s in found}) == 1
    orientations = {s.volumes[0][0].values.orientation for s in found}
    if same and len(orientations) > 1:
        what = f"The slices of this series lie in mixed orientations, and make {len(found)} volumes"
    elif same:
        what = f"The slices of this one series are not on one grid, and make {len(found)} volumes"
    else:
        what = f"This holds {len(found)} series"
    return f"{what}: choose one by its id (series): {'; '.join(lines)}{more}"


def _summary(series: DicomSeries) -> str:
    size = f"{series.slices} slice{'s' * (series.slices != 1)}"
    if series.frames > 1:
        size += f", {series.frames} frames"
    return f"{series.name}: {size}"


def _is_image(head: FrameHead) -> bool:
    file = head.file
    return bool(
        file.pixel_keyword and file.rows and file.columns
        and file.sop_class_uid not in _SEGMENTATIONS
    )  # fmt: skip


def _read_all(
    listed: DicomFiles, where: Path, update: Update | None
) -> tuple[list[FrameHead], int]:
    """Read the headers; one of a single file must be sound, of many the others are taken."""
    heads: list[FrameHead] = []
    broken = listed.broken
    for index, path in enumerate(listed.files):
        if update is not None:
            update(index, len(listed.files))
        try:
            heads += read_heads(path)
        except CamSamError as error:
            if len(listed.files) == 1:
                raise refusal(str(error), where) from error.__cause__
            broken += 1
        except OSError:
            if len(listed.files) == 1:
                raise
            broken += 1
    return heads, broken


def _nothing(listed: DicomFiles, heads: Sequence[FrameHead], broken: int) -> str:
    """Say why there is no image."""
    if not listed.files and listed.broken and not listed.others:
        return "There is no DICOM here, though names of files say so"
    if not listed.files:
        one = listed.others == 1
        files = "its one file is none" if one else f"none of its {listed.others} files is"
        return f"There is no DICOM here: {files}. Of other formats name one file"
    if broken and not heads:
        return f"All {broken} DICOM files here are truncated or damaged"
    what = "This" if len(listed.files) == 1 else "All DICOM here"
    if any(head.file.encrypted for head in heads):
        return f"{what} is encrypted, and without pixels that could be shown"
    modalities = Counter(head.file.modality for head in heads)
    names = [_NO_IMAGES[m] for m, _ in modalities.most_common(3) if m in _NO_IMAGES]
    if names:
        labels = {"SEG", "RTSTRUCT"} & set(modalities)
        how = ", which opens as labels" if labels and len(names) == 1 else ""
        return f"{what} holds no image: it is {', '.join(names)}{how}"
    return f"{what} holds no pixel data"


def _is_blank(head: FrameHead) -> bool:
    return not head.file.pixel_keyword and head.file.modality not in _NO_IMAGES


def _notes(listed: DicomFiles, broken: int, blank: int) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if blank:
        files = "1 file of it holds" if blank == 1 else f"{blank} files of it hold"
        notes += (f"{files} no pixels.",)
    if broken:
        files = "1 DICOM file is" if broken == 1 else f"{broken} DICOM files are"
        notes += (f"{files} truncated or damaged, and left out.",)
    if listed.missing:
        files = "1 file" if listed.missing == 1 else f"{listed.missing} files"
        notes += (f"{files} that the DICOMDIR names are not there.",)
    return notes


def _once(
    heads: Sequence[FrameHead],
) -> tuple[list[FrameHead], dict[str, tuple[str, ...]]]:
    """Leave out copies of the same file, and note by series how many."""
    seen: dict[tuple[str, str, int], FrameHead] = {}
    kept: list[FrameHead] = []
    copies: Counter[str] = Counter()
    for head in heads:
        key = (head.file.series_uid, head.file.sop_instance_uid, head.number)
        if not head.file.sop_instance_uid:
            kept.append(head)
        elif key not in seen:
            seen[key] = head
            kept.append(head)
        elif seen[key].values == head.values:
            copies[head.file.series_uid] += 1
        else:
            kept.append(head)
    notes: dict[str, tuple[str, ...]] = {
        uid: (f"{n} image{'s are' if n > 1 else ' is'} there twice, and read once.",)
        for uid, n in copies.items()
    }
    return kept, notes


def _entry(group: Group, where: Path, notes: tuple[str, ...]) -> DicomSeries:
    volume = group.frames[0]
    file = volume[0].file
    spacing: tuple[float, ...] | None = None
    trouble = ""
    try:
        check_pixels(file)
        stack = stack_frames(volume)
        spacing = stack.geometry.spacing if stack.geometry.unit == "mm" else None
    except CamSamError as error:
        trouble = str(error)
    name = hashlib.sha256(f"{file.series_uid}\n{group.label}".encode()).hexdigest()
    return DicomSeries(
        id=name[:_DIGITS],
        uid=file.series_uid,
        modality=file.modality,
        description=file.description,
        part=group.label,
        number=file.series_number,
        date=file.date,
        rows=volume[0].rows,
        columns=volume[0].columns,
        slices=len(volume),
        frames=len(group.frames),
        frame_names=group.names if any(group.names) else (),
        spacing=spacing,
        trouble=trouble,
        files=len({frame.file.path for frames in group.frames for frame in frames}),
        volumes=group.frames,
        where=where,
        notes=notes,
    )
