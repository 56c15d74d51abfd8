"""What a session says: its image, prompts, acceptances, scores and labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.axes import ChosenAxes
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.hashing import image_hash
from napari_cam_sam.images.image import Image
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.run_length import RunLengthMask

__all__ = [
    "SINGLE",
    "Acceptance",
    "ImageRecord",
    "MaskSource",
    "Overlap",
    "Session",
    "check_session_image",
    "image_record",
]

SINGLE = -1
"""Stands for the one mask of a decode with ``multimask=False`` where a candidate is recorded."""

Overlap = Literal["keep", "overwrite"]
MaskSource = Literal["prompted", "propagated", "interpolated", "automatic"]
"""Where the masks of a plane come from: prompts there, other planes, or everything mode."""


@dataclass(frozen=True)
class ImageRecord:
    """Which image a session is of.

    Attributes
    ----------
    name : str
    path : str or None
        File that it came from, absolute; None for an image in memory.
    sha256 : str
        See `image_hash`: of the file, or of the values where there is none.
    shape : tuple of int
        Without colour channels.
    spacing : tuple of float
        Along each axis of ``shape``, in ``unit``.
    unit : {"mm", "pixel"}
    frame : int or None
        Which frame, of a series.
    axes : str or None
        Letters of its file's axes, where they were chosen, see `read_image`.
    channel : int or None
        Which channel, where one was chosen beside a frame.
    series : str or None
        UID of the DICOM series that it is; ``sha256`` is then of its values.
    """

    name: str
    path: str | None
    sha256: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    frame: int | None = None
    axes: str | None = None
    channel: int | None = None
    series: str | None = None


@dataclass(frozen=True)
class Acceptance:
    """One plane whose masks the reviewer accepted.

    Attributes
    ----------
    prompts : PlanePrompts
        As they were decoded, all objects in one call. Without objects, and so without candidates,
        where ``masks`` are kept.
    candidates : tuple of int
        For each entry of ``prompts.objects``, in their order, the index of the mask that was
        taken of the segmenter's several, or `SINGLE`.
    overlap : {"keep", "overwrite"}
        What became of labels that were there before, see `accept_masks`.
    segmenter : str
        Name or path, as `load_segmenter` takes it.
    segmenter_sha256 : str
        The segmenter's ``model_hash``.
    window : tuple of float or None
        Raw intensities that became 0 and 255; None for the pixels of an 8-bit image as they are.
    source : {"prompted", "propagated", "interpolated", "automatic"}
        Where the masks come from. Those that this plane's prompts do not make are kept.
    precision : {"float32", "bfloat16", "float16"}
        In which the segmenter encoded the plane: another one gives other pixels at the borders.
    masks : tuple of RunLengthMask
        For ``source`` other than ``"prompted"``: the masks themselves.
    """

    prompts: PlanePrompts
    candidates: tuple[int, ...]
    overlap: Overlap
    segmenter: str
    segmenter_sha256: str
    window: tuple[float, float] | None
    source: MaskSource = "prompted"
    precision: str = "float32"
    masks: tuple[RunLengthMask, ...] = ()

    @property
    def object_ids(self) -> set[int]:
        """The objects of which masks were accepted."""
        prompted = {one.object_id for one in self.prompts.objects}
        return prompted | {one.object_id for one in self.masks}


@dataclass(frozen=True, eq=False)
class Session:
    """The state of a review.

    Attributes
    ----------
    image : ImageRecord
    choices : dict
        What the reviewer set, as plain data that only the viewer understands. Saving makes
        tuples lists, keys text, and numbers that are not finite None.
    prompts : tuple of PlanePrompts
        The prompts as they stand, one entry a plane.
    touched : tuple of (int, int)
        Axis and index of the planes whose prompts the reviewer edited.
    accepted : tuple of Acceptance
        In the order in which they were accepted; a plane may stand there several times.
    scores : tuple of dict
        Rows of the table of scores, plain data like ``choices``.
    labels : ndarray of int, shape of the image's grid, or None
        Accepted masks, and what was painted or erased by hand.
    saved_at : str
        Date and time in ISO 8601, UTC; `write_session` fills it in.
    versions : dict of str to str or None
        Packages and their versions; `write_session` fills them in.

    Examples
    --------
    >>> from napari_cam_sam.session import image_record
    >>> image = ncs.image_from_array(np.zeros((24, 64, 48), np.uint8), name="scan")
    >>> session = ncs.Session(image_record(image))
    >>> session.image.shape, session.accepted
    ((24, 64, 48), ())
    """

    image: ImageRecord
    choices: dict[str, Any] = field(default_factory=dict)
    prompts: tuple[PlanePrompts, ...] = ()
    touched: tuple[tuple[int, int], ...] = ()
    accepted: tuple[Acceptance, ...] = ()
    scores: tuple[dict[str, Any], ...] = ()
    labels: NDArray[Any] | None = None
    saved_at: str = ""
    versions: dict[str, str | None] = field(default_factory=dict)


def image_record(image: Image, frame: int | None = None) -> ImageRecord:
    """Record which image a session is of; it reads the whole file, so do it once.

    Parameters
    ----------
    image : Image
    frame : int or None
        Which frame of a series it is.

    Returns
    -------
    ImageRecord

    Raises
    ------
    CamSamError
        If the file can no longer be read.
    """
    chosen = image.source if isinstance(image.source, ChosenAxes) else None
    return ImageRecord(
        name=image.name,
        path=None if image.path is None else str(image.path.resolve()),
        sha256=image_hash(image),
        shape=image.spatial_shape,
        spacing=tuple(float(step) for step in image.geometry.spacing),
        unit=image.geometry.unit,
        frame=frame,
        axes=None if chosen is None else chosen.axes,
        channel=None if chosen is None else chosen.channel,
        series=_series_of(image),
    )


def _series_of(image: Image) -> str | None:
    return (image.source.series_uid or None) if isinstance(image.source, DicomSource) else None


def check_session_image(session: Session, image: Image, frame: int | None = None) -> None:
    """Check that an image is the one that a session is of, wherever it lies now.

    Parameters
    ----------
    session : Session
    image : Image
        Where the session's image was in memory, its values are compared, else its file.
    frame : int or None
        Which frame of a series it is.

    Raises
    ------
    CamSamError
        If frame, shape or content differ.
    """
    record = session.image
    if frame != record.frame:
        shown = "no frame of a series" if frame is None else f"frame {frame}"
        wanted = "no frame of one" if record.frame is None else f"frame {record.frame}"
        raise CamSamError(f"{image.name} is {shown}, but the session is of {wanted}.")
    if image.spatial_shape != record.shape:
        raise CamSamError(
            f"{image.name} is not the image of the session: its shape is {image.spatial_shape}, "
            f"that of {record.name} was {record.shape}."
        )
    uid = _series_of(image)
    if record.series is not None and uid is not None and uid != record.series:
        raise CamSamError(
            f"{image.name} is not the image of the session: its series is {uid}, that of "
            f"{record.name} was {record.series}."
        )
    found = image_hash(image if record.path is not None else replace(image, path=None))
    if found != record.sha256:
        raise CamSamError(
            f"{image.name} is not the image of the session, or was changed since: its sha256 is "
            f"{found[:12]}…, that of {record.name} was {record.sha256[:12]}…."
        )
