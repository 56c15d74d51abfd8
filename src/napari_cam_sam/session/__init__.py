"""Saved annotation sessions: what a reviewer did on an image, to reopen and to run again."""

from napari_cam_sam.session.storage import (
    FILE,
    FORMAT,
    SINGLE,
    VERSION,
    Acceptance,
    ImageRecord,
    MaskSource,
    Overlap,
    Session,
    check_session_image,
    chosen_masks,
    image_record,
    place_masks,
    read_session,
    replay,
    write_session,
)

__all__ = [
    "FILE",
    "FORMAT",
    "SINGLE",
    "VERSION",
    "Acceptance",
    "ImageRecord",
    "MaskSource",
    "Overlap",
    "Session",
    "check_session_image",
    "chosen_masks",
    "image_record",
    "place_masks",
    "read_session",
    "replay",
    "write_session",
]
