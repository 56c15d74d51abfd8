"""The page that compares the ways to a mask."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QTableWidget, QWidget

from napari_cam_sam.evaluation.truth import keep_label
from napari_cam_sam.plugin.layers.conversion import frame_shown, image_of
from napari_cam_sam.plugin.qt.tables import (
    NumberItem,
    fit_columns,
    format_score,
    make_read_only,
    set_headers,
    set_rows,
)
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.torch_import import import_torch
from napari_cam_sam.plugin.qt.widgets import button, vbox
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.evaluation.comparison import ComparedPlane, PlaneToCompare, VariantSummary
    from napari_cam_sam.evaluation.score_steps import ScoringInput
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["ComparePage"]

_BEFORE = ". Out of date: compare again."
_NO_HEATMAPS = "CAM alone and CAM → SAM are left out: they need heatmaps (step 1)."


class ComparePage(QWidget):
    """The ways to a mask, a line each, beside what the truth's prompts give.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._found: list[ComparedPlane] = []
        self.button = button(
            "Compare prompts",
            "Segments each slice from its prompts and from prompts of the ground truth.",
        )
        self.row = TaskProgress()
        self.table = QTableWidget(0, 5)
        make_read_only(self.table)
        self.table.setToolTip("All rows use the same slices and the same segmenter.")
        heads = [
            ("From", "What the masks are made from."),
            ("Dice", "Mean Dice over the slices with ground truth or with any mask."),
            ("IoU", "Mean IoU over the same slices."),
            ("Volume", "Dice of these slices taken as one volume."),
            ("% truth", "Mean Dice as a percentage of the last row's, prompts from the truth."),
        ]
        set_headers(self.table, heads)
        vbox(self, self.button, self.row, self.table).setContentsMargins(0, 4, 0, 0)
        self.row.ended.connect(self._ended)
        workspace.masks.accepted_changed.connect(self.mark_edited)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self._found = []
        self._of: tuple[Any, ...] = ()
        self._edited, self._words, self._has_cam = False, "", True
        self.lines: tuple[VariantSummary, ...] = ()
        self.table.setRowCount(0)

    def refresh(self, problem: str | None, key: tuple[Any, ...] | None) -> None:
        """Show what is missing, if anything is, and whether the lines are of what there is now.

        Parameters
        ----------
        problem : str or None
            What the scores lack already.
        key : tuple or None
            What is chosen to be compared.
        """
        if problem is None and self._workspace.segmenter is None:
            problem = "Load a segmenter first (step 3): draw a box, or press S."
        self.button.setEnabled(problem is None and not self.row.busy)
        if self.row.busy:
            return
        if problem is None and self.lines:
            self._show_age(key)
            return
        self.row.set_message(problem or self._plan())

    def _plan(self) -> str:
        """Return in words which rows there will be."""
        rows = "edited prompts or accepted labels, and the same segmenter with prompts from the "
        if self._with_heatmaps(self._workspace.plane()[0]):
            return f"Compares CAM alone, CAM → SAM, {rows}truth."
        return f"Compares {rows}truth. {_NO_HEATMAPS}"

    def _with_heatmaps(self, axis: int) -> list[int]:
        return list(self._workspace.heatmaps.computed_planes(axis))

    def mark_edited(self) -> None:
        """Take note that labels were edited: what was compared is of those before."""
        self._edited = True
        if self.lines and self.button.isEnabled():
            self.row.set_message(self._words + _BEFORE)

    def _show_age(self, key: tuple[Any, ...] | None) -> None:
        old = self._edited or self._of != self._made_from(key)
        self.row.set_message(self._words + (_BEFORE if old else "."))

    def _made_from(self, key: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """Return all that a comparison is made from but the labels' pixels."""
        workspace = self._workspace
        axis, heatmaps = workspace.plane()[0], workspace.heatmaps
        notes = [(i, heatmaps.record(axis, i)) for i in heatmaps.computed_planes(axis)]
        placed = self._placed(axis)
        return key, notes, placed, workspace.segmenter, workspace.prompt_parameters

    def _placed(self, axis: int) -> dict[int, PlanePrompts]:
        """Return the prompts of the planes that the user edited, by plane."""
        prompts = self._workspace.prompts
        if not self._with_heatmaps(axis):  # nothing but the user placed them
            return {one.index: one for one in prompts.read_all(axis)}
        edited = {index for at, index in prompts.touched() if at == axis}
        placed = {one.index: one for one in prompts.read_all(axis) if one.index in edited}
        # Also where the user deleted them all.
        return {index: placed.get(index, PlanePrompts(axis, index)) for index in edited}

    def start(self, job: ScoringInput, key: tuple[Any, ...]) -> bool:
        """Compare planes with truth or prediction in the background.

        Where some have a heatmap, those alone: every row is of the same planes.
        """
        workspace, axis = self._workspace, job.axis
        snapshot, with_heatmaps = workspace.snapshot(), self._with_heatmaps(axis)
        planes = with_heatmaps or range(job.image.n_planes(axis))
        segmenter, parameters = workspace.segmenter, workspace.prompt_parameters
        known = {i: workspace.heatmaps.evidence(axis, i) for i in with_heatmaps}
        heat = {i: None if one is None else one[1] for i, one in known.items()}
        placed, accepted = self._placed(axis), self._accepted(job)
        embeddings = workspace.embeddings

        def given() -> Iterator[PlaneToCompare]:
            from napari_cam_sam.evaluation.comparison import PlaneToCompare

            for i in planes:
                truth = job.plane(job.truth, i)
                if not truth.any() and not job.plane(job.prediction, i).any():
                    continue
                labels = None if accepted is None else accepted[job.image.plane_index(axis, i)]
                labels = labels if labels is not None and labels.any() else None
                yield PlaneToCompare(
                    i, snapshot.plane(i), heat.get(i), truth, placed.get(i), labels
                )

        def steps() -> Generator[Any]:
            import_torch()
            from napari_cam_sam.evaluation.comparison import compare_planes

            encode = partial(embeddings.encode, segmenter)
            yield from compare_planes(given(), segmenter, encode, parameters)

        self.clear()
        self._of, self._has_cam = self._made_from(key), bool(with_heatmaps)
        self.button.setEnabled(False)
        self.row.set_message(f"Comparing with {segmenter.name}…")
        return self.row.start(
            steps, len(planes), f"Comparison of {job.image.name}", self._found.append,
            lambda: snapshot.layer in workspace.viewer.layers,
        )  # fmt: skip

    def _accepted(self, job: ScoringInput) -> Any | None:
        """Return what the user accepted, of the label that is meant where it occurs."""
        workspace = self._workspace
        layer = workspace.masks.accept_layer()
        if layer is None or workspace.mismatch(layer) is not None:
            return None
        labels = np.array(image_of(layer, frame_shown(workspace.viewer, layer)).data)
        meant = keep_label(labels, job.label)
        return meant if meant.any() else labels

    def _ended(self, complete: bool) -> None:
        self.button.setEnabled(True)
        if not self._found:
            which = "slice with a heatmap" if self._has_cam else "slice"
            words = f"No {which} has a ground truth or a prediction."
            self.row.set_message(words if complete else "")
            return
        from napari_cam_sam.evaluation.comparison import (
            FROM_HEATMAPS,
            summarise_comparison,
        )

        self.lines = tuple(
            line
            for line in summarise_comparison(self._found)
            if self._has_cam or line.variant not in FROM_HEATMAPS
        )
        rows = []
        for line in self.lines:
            share = line.percent_of_truth_prompts
            last = NumberItem(format_score("", share, 1), share)
            rows.append((line.variant, line.dice, line.iou, line.volume_dice, last))
        set_rows(self.table, rows)
        fit_columns(self.table)
        words = f"{counted(self.lines[0].n_planes, 'slice')} with ground truth or masks"
        if self._workspace.shown.is_picture:
            words = "All rows are of this picture"
        if not self._has_cam:
            words += f". {_NO_HEATMAPS}".rstrip(".")
        self._words = words if complete else f"Stopped after {words}"
        self.row.set_message(f"{self._words}.")
