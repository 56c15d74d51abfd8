"""Files written whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from napari_cam_sam.errors import reason_of, refusal

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], writer: Callable[[Path], object]) -> None:
    """Write a file so that it is there whole or not at all.

    The writer fills a hidden file in the same folder, which takes the place of ``path`` only
    once it is on disk. What stood there before stays until then, and stays if writing fails.

    Parameters
    ----------
    path : path-like
        File to write or to replace.
    writer : callable
        Takes the path of the hidden file, which has the suffix of ``path``, and writes it.

    Raises
    ------
    CamSamError
        If the folder is missing or may not be written, the disk is full, or ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise refusal("This could not be written: it is a folder", path)
    hidden = path.with_name(f".{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        writer(hidden)
        with hidden.open("rb+") as file:
            os.fsync(file.fileno())  # a full disk may show only here
        os.replace(hidden, path)
    except OSError as error:
        raise refusal(f"This could not be written: {reason_of(error)}", path) from error
    finally:
        with suppress(OSError):
            hidden.unlink(missing_ok=True)
