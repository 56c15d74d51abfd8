"""What ``session.json`` holds, and the way from a session to plain data and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.axes import parse_axes
from napari_cam_sam.prompts.serialise import PlaneEntry, PromptsFile, to_data
from napari_cam_sam.sam.run_length import RunLengthMask
from napari_cam_sam.schemas import check_json
from napari_cam_sam.session.data import (
    SINGLE,
    Acceptance,
    ImageRecord,
    MaskSource,
    Overlap,
    Session,
)
from napari_cam_sam.text import recorded, restored

__all__ = ["LABELS_FILE", "LabelsEntry", "session_data", "session_from_data"]

_FORMAT = "napari-cam-sam session"
_VERSION = 1
LABELS_FILE = re.compile(r"labels-[0-9a-f]{16}\.(nii\.gz|png|tif)")


def _check_sha256(value: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError("a sha256 of 64 hexadecimal digits")
    return value


def _check_date(value: str) -> str:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("a date and time in ISO 8601") from None
    return value


def _check_labels_file(name: str) -> str:
    if not LABELS_FILE.fullmatch(name):  # so that no path leads out of the folder
        raise ValueError("the name of a labels file")
    return name


def _check_window(window: tuple[float, float]) -> tuple[float, float]:
    if not window[0] < window[1]:
        raise ValueError("two numbers, low below high")
    return window


_Whole = Annotated[int, Field(ge=0)]
_Sha256 = Annotated[str, AfterValidator(_check_sha256)]
_Path = Annotated[str, AfterValidator(restored)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _ImageEntry(_Entry):
    name: str
    path: _Path | None
    sha256: _Sha256
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2, max_length=3)]
    spacing: tuple[Annotated[float, Field(gt=0)], ...]
    unit: Literal["mm", "pixel"]
    frame: _Whole | None
    axes: Annotated[str, AfterValidator(parse_axes)] | None = None
    channel: _Whole | None = None
    series: str | None = None


class _MaskEntry(_Entry):
    object: Annotated[int, Field(ge=1)]
    runs: tuple[_Whole, ...]


class _AcceptanceEntry(_Entry):
    prompts: PlaneEntry
    candidates: tuple[Annotated[int, Field(ge=SINGLE)], ...]
    overlap: Overlap
    segmenter: _Path
    segmenter_sha256: _Sha256
    window: Annotated[tuple[float, float], AfterValidator(_check_window)] | None
    source: MaskSource
    precision: Literal["float32", "bfloat16", "float16"]
    masks: tuple[_MaskEntry, ...]


class LabelsEntry(_Entry):
    """The file of a session's labels."""

    file: Annotated[str, AfterValidator(_check_labels_file)]
    sha256: _Sha256


class _SessionFile(_Entry):
    format: Literal["napari-cam-sam session"]
    version: Annotated[int, Field(ge=1)]
    saved_at: Annotated[str, AfterValidator(_check_date)]
    versions: dict[str, str | None]
    image: _ImageEntry
    choices: dict[str, Any]
    prompts: PromptsFile
    touched: tuple[tuple[_Whole, _Whole], ...]
    accepted: tuple[_AcceptanceEntry, ...]
    scores: tuple[dict[str, Any], ...]
    labels: LabelsEntry | None


def session_data(session: Session) -> dict[str, Any]:
    """Return a session as what JSON holds, but for tuples, and without its labels.

    Parameters
    ----------
    session : Session

    Returns
    -------
    dict
        That `session_from_data` takes, once it went through JSON.
    """
    image = vars(session.image) | {"path": _each_text(recorded, session.image.path)}
    # What chooses from a file is left out where nothing was chosen.
    chosen = ("axes", "channel", "series")
    image = {k: v for k, v in image.items() if k not in chosen or v is not None}
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "saved_at": session.saved_at,
        "versions": session.versions,
        "image": image,
        "choices": _each_text(recorded, session.choices),
        "prompts": to_data(session.prompts),
        "touched": session.touched,
        "accepted": [
            vars(one)
            | {"prompts": to_data([one.prompts])["planes"][0]}
            | {"segmenter": recorded(one.segmenter)}
            | {"masks": [{"object": m.object_id, "runs": m.runs} for m in one.masks]}
            for one in session.accepted
        ],
        "scores": session.scores,
        "labels": None,
    }


def session_from_data(data: object) -> tuple[Session, LabelsEntry | None]:
    """Check what `session_data` gave.

    Parameters
    ----------
    data : object
        As it was parsed from JSON.

    Returns
    -------
    session : Session
        Without its labels.
    labels : LabelsEntry or None
        Their file.

    Raises
    ------
    CamSamError
        Names the first wrong field by its place, e.g. ``accepted[3].overlap``.
    """
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise CamSamError(f"This is no session: its format is not {_FORMAT!r}.")
    number = data.get("version")
    if isinstance(number, int) and number > _VERSION:
        raise CamSamError(
            f"This session was saved by a newer napari-cam-sam: its version is {number}, and this "
            f"program reads {_VERSION}; install the newer one."
        )
    file = check_json(_SessionFile, data)
    image = ImageRecord(**vars(file.image))
    if len(image.spacing) != len(image.shape):
        raise CamSamError("image.spacing should be a number for each axis of image.shape.")
    prompts = file.prompts.prompts()
    for plane in prompts:
        _check_plane(plane.axis, plane.index, image.shape, "prompts")
    for i, (axis, index) in enumerate(file.touched):
        _check_plane(axis, index, image.shape, f"touched[{i}]")
    session = Session(
        image=image,
        choices=_each_text(restored, file.choices),
        prompts=prompts,
        touched=file.touched,
        accepted=tuple(
            _acceptance(entry, image.shape, f"accepted[{i}]")
            for i, entry in enumerate(file.accepted)
        ),
        scores=file.scores,
        saved_at=file.saved_at,
        versions=file.versions,
    )
    return session, file.labels


def _acceptance(entry: _AcceptanceEntry, shape: tuple[int, ...], place: str) -> Acceptance:
    prompts = entry.prompts.prompts()
    _check_plane(prompts.axis, prompts.index, shape, f"{place}.prompts")
    n = len(prompts.objects)
    if len(entry.candidates) != n:
        raise CamSamError(f"{place}.candidates should have {n} values, one an object.")
    if entry.masks and (entry.source == "prompted" or entry.candidates):
        raise CamSamError(f"{place}.masks should be empty where masks come from prompts.")
    rows, columns = (n for i, n in enumerate(shape) if len(shape) == 2 or i != prompts.axis)
    masks = []
    for k, mask in enumerate(entry.masks):
        try:
            masks.append(RunLengthMask(mask.object, (rows, columns), mask.runs))
        except CamSamError as error:
            raise CamSamError(f"{place}.masks[{k}] is wrong. {error}") from error
    return Acceptance(**vars(entry) | {"prompts": prompts, "masks": tuple(masks)})


def _check_plane(axis: int, index: int, shape: tuple[int, ...], place: str) -> None:
    counts = shape if len(shape) == 3 else (1,)
    if axis >= len(counts) or index >= counts[axis]:
        raise CamSamError(
            f"{place} names slice {index} of axis {axis}, which an image of shape {shape} does not "
            "have."
        )


def _each_text(change: Callable[[str], str], value: Any) -> Any:
    """Change every text in plain data: paths are recorded, and restored, wherever they stand."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _each_text(change, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_each_text(change, item) for item in value]
    return value
