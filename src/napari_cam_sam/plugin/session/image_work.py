"""What was done on the pixels of one image, for as long as it is in the layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.state.image_keys import PixelsKey
from napari_cam_sam.session import ImageRecord

if TYPE_CHECKING:
    from napari_cam_sam.plugin.session.recovery import RecoverableSession
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["AUTOSAVED", "ImageWork", "SavedSession", "has_work"]

AUTOSAVED = "Autosaved."
"""What is told after each autosave of the image that is worked on."""


@dataclass(eq=False)
class ImageWork:
    """The work on one image: what is saved of it goes into one folder, and nothing else does.

    Attributes
    ----------
    key : PixelsKey
    number : int
        Names its folder.
    record : ImageRecord or None
        None until the image was hashed.
    changes, saved, asked : int
        Edits so far; those that are on disk; those of the last write that was asked for.
    by_hand : int
        Edits up to the last save by hand: what that holds needs no autosave.
    asked_last, written : int
        Numbers of the last write that was asked for, and of the last that was done.
    owed : callable or None
        What could not be written while the image was not worked on any more.
    restored : RecoverableSession or None
        What was brought back into it, until a later save holds it.
    restored_after : int
        Number of the last write that was asked for before.
    """

    key: PixelsKey
    number: int
    record: ImageRecord | None = None
    changes: int = 0
    saved: int = 0
    asked: int = 0
    by_hand: int = -1
    asked_last: int = 0
    written: int = 0
    owed: Callable[[], SavedSession] | None = None
    restored: RecoverableSession | None = None
    restored_after: int = 0


@dataclass(frozen=True)
class SavedSession:
    """What a thread tells of a session that it saved.

    Attributes
    ----------
    folder : Path
    number : int
        Of the write.
    work : ImageWork
        What was saved.
    record : ImageRecord
    changes : int
        Edits that it holds.
    by_hand : bool
        Whether the user saved it.
    """

    folder: Path
    number: int
    work: ImageWork
    record: ImageRecord
    changes: int
    by_hand: bool

    def words(self, worked_on: bool) -> str:
        """Return what was saved, as a sentence; whether its image is the one that is worked on."""
        if self.by_hand:
            return f"Saved to {self.folder}."
        return AUTOSAVED if worked_on else f"The work on {self.record.name} was autosaved."


def has_work(workspace: Workspace, image: Image) -> bool:
    """Check whether there is anything in the layers that could be lost.

    Parameters
    ----------
    workspace : Workspace
    image : Image
        The workspace's.

    Returns
    -------
    bool
    """
    return bool(
        any(workspace.prompts.planes(axis) for axis in image.axes)
        or workspace.prompts.touched()
        or workspace.masks.work_layers()
        or workspace.masks.held()
        or workspace.tags.state()["planes"]
    )
