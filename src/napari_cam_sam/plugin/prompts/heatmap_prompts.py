"""Prompts from heatmaps, and which heatmap the prompts of a slice were taken from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.state.plane_words import picture_words
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.parameters import PromptParameters

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["HeatmapPrompts"]


class HeatmapPrompts:
    """Takes prompts from the heatmaps of an image, and keeps what is known of these.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        # Of the prompts that were taken last.
        self._last: tuple[HeatmapRecord, ...] = ()
        self._by_plane: dict[tuple[int, int], HeatmapRecord] = {}

    def given(self, everywhere: bool) -> dict[int, NDArray[np.float32]]:
        """Return the heatmaps to take prompts from, by slice.

        Raises
        ------
        CamSamError
            Where there is none.
        """
        heatmaps, (axis, shown) = self._workspace.heatmaps, self._workspace.plane()
        indices = heatmaps.computed_planes(axis) if everywhere else [shown]
        given = {i: v for i in indices if (v := heatmaps.values(axis, i)) is not None}
        if not given:
            raise CamSamError(self._none(everywhere))
        return given

    def lacking(self, everywhere: bool) -> str:
        """Return why there is nothing to take prompts from; empty where there is something."""
        heatmaps = self._workspace.heatmaps
        try:
            axis, shown = self._workspace.plane()
        except CamSamError as error:
            return str(error)
        there = heatmaps.computed_planes(axis) if everywhere else heatmaps.record(axis, shown)
        return "" if there else self._none(everywhere)

    def _none(self, everywhere: bool) -> str:
        which = "on any slice" if everywhere else "on this slice"
        words = f"No heatmap {which}: compute one first (step 1), or draw a box."
        return picture_words(self._workspace.shown, words)

    def records(self, indices: Iterable[int]) -> dict[int, HeatmapRecord]:
        """Return what is known of the heatmaps of slices along the axis shown, by slice."""
        heatmaps, (axis, _) = self._workspace.heatmaps, self._workspace.plane()
        return {i: n for i in indices if (n := heatmaps.record(axis, i)) is not None}

    def jobs(
        self, given: Mapping[int, NDArray[np.float32]], parameters: PromptParameters, first: int
    ) -> list[Callable[[], PlanePrompts]]:
        """Return what makes the prompts of each slice, in a thread.

        Parameters
        ----------
        given : dict of int to ndarray
            As of `given`.
        parameters : PromptParameters
        first : int
            The number of the first object.
        """
        from napari_cam_sam.prompts.strategies import prompts_from_heatmap

        (axis, _), notes = self._workspace.plane(), self.records(given)

        def one(index: int, heat: NDArray[np.float32]) -> PlanePrompts:
            if notes[index].reason:
                return PlanePrompts(axis, index, (), notes[index].reason)
            # A copy: the layer may be written meanwhile.
            return prompts_from_heatmap(
                heat.copy(), parameters, axis=axis, index=index, first_id=first
            )

        return [partial(one, i, v) for i, v in given.items()]

    def forget(self) -> None:
        """Forget where prompts were taken from: another image is worked on."""
        self._by_plane = {}

    def were_taken(
        self, planes: Iterable[PlanePrompts], notes: Mapping[int, HeatmapRecord]
    ) -> None:
        """Keep which heatmaps prompts were taken from; none where they are from a truth.

        Parameters
        ----------
        planes : iterable of PlanePrompts
        notes : dict of int to HeatmapRecord
            As of `records`.
        """
        self._last = tuple(notes.values())
        for plane in planes:
            key = plane.axis, plane.index
            self._by_plane.pop(key, None)
            if plane.index in notes:
                self._by_plane[key] = notes[plane.index]

    def is_newer(self, axis: int, index: int) -> bool:
        """Return whether the heatmap of a slice was computed after its prompts were taken."""
        note = self._workspace.heatmaps.record(axis, index)
        return note is not None and note != self._by_plane.get((axis, index), note)

    def words(self) -> tuple[str, str]:
        """Return the class of the last prompts in words, and whether another is chosen now."""
        if not self._last:
            return "", ""
        chosen = self._workspace.docks.state_of("heatmap") or {}
        other = next((w for note in self._last if (w := note.other_words(chosen))), "")
        return " of " + " and ".join(sorted({note.target for note in self._last})), other
