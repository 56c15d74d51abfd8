"""Saved annotation sessions: what a reviewer did on an image, to reopen and to run again."""

from napari_cam_sam.session.data import (
    SINGLE,
    Acceptance,
    ImageRecord,
    MaskSource,
    Overlap,
    Session,
    check_session_image,
    image_record,
)
from napari_cam_sam.session.masks import Written, accept_masks, chosen_masks, place_masks
from napari_cam_sam.session.replay import replay
from napari_cam_sam.session.storage import FILE, read_session, write_session

__all__ = [
    "FILE",
    "SINGLE",
    "Acceptance",
    "ImageRecord",
    "MaskSource",
    "Overlap",
    "Session",
    "Written",
    "accept_masks",
    "check_session_image",
    "chosen_masks",
    "image_record",
    "place_masks",
    "read_session",
    "replay",
    "write_session",
]
