"""The one workspace of each viewer, whose work is saved, and which hears the workflow's keys."""

from __future__ import annotations

import weakref
from typing import Any

from napari_cam_sam.plugin.session.manager import SessionManager
from napari_cam_sam.plugin.state.workspace import Workspace
from napari_cam_sam.plugin.viewer.edge_letters import EdgeLetters
from napari_cam_sam.plugin.viewer.key_bindings import KeyBindings

__all__ = ["ViewerWorkspace", "workspace_of"]


class ViewerWorkspace(Workspace):
    """A viewer's workspace with its session manager, keys and letters; get it by `workspace_of`.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.sessions = SessionManager(self)
        # What is bound to the viewer's keys holds the workspace: it lives as long as the viewer.
        self.keys = KeyBindings(self)
        self.letters = EdgeLetters(self)


_WORKSPACES: weakref.WeakValueDictionary[int, ViewerWorkspace] = weakref.WeakValueDictionary()


def workspace_of(viewer: Any) -> ViewerWorkspace:
    """Return the workspace of a viewer: one for all its docks, as long as the viewer lives.

    Parameters
    ----------
    viewer : napari.Viewer
        Or a proxy of it.

    Returns
    -------
    ViewerWorkspace
    """
    # Docks are given a proxy of the viewer, each its own.
    key = id(getattr(viewer, "__wrapped__", viewer))
    found = _WORKSPACES.get(key)
    if found is None:
        found = _WORKSPACES[key] = ViewerWorkspace(viewer)
    return found
