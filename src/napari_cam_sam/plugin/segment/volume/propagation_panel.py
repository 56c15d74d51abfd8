"""From the prompts of some planes to masks on their neighbours: what the segment dock asks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.qt.messages import Message, WrappingLabel
from napari_cam_sam.plugin.qt.task_progress import TaskProgress, duration
from napari_cam_sam.plugin.qt.widgets import Section, ValueComboBox, button, form_layout, vbox
from napari_cam_sam.plugin.qt.wording import why_not
from napari_cam_sam.plugin.segment.live_masks import LiveMasks
from napari_cam_sam.plugin.segment.segmenter_choice import SegmenterChoice
from napari_cam_sam.plugin.segment.segmenter_job import read_prompts
from napari_cam_sam.plugin.segment.volume.propagation_form import PropagationForm, reachable
from napari_cam_sam.plugin.segment.volume.propagation_run import (
    PlaneStep,
    VolumeJob,
    chosen_candidates,
    propagate_steps,
)
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, drop_objects, join_plane_masks
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.volume.parameters import PropagationParameters
from napari_cam_sam.sam.volume.propagation import PropagatedObject
from napari_cam_sam.wording import listed, these_planes

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["PropagationPanel"]

_ALL, _SHOWN = "all", "shown"


@dataclass(eq=False)
class _Run:
    """What is known of the run that goes on, or of the last one."""

    job: VolumeJob
    ids: frozenset[int]
    standing: dict[int, PlanePrompts]
    accepted: dict[int, set[int]]
    reached: dict[int, set[int]] = field(default_factory=dict)
    left_alone: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    begun: bool = False

    def note(self, there: Collection[int], index: int) -> None:
        """Note which of the objects have a mask on a plane."""
        for object_id in self.ids:
            planes = self.reached.setdefault(object_id, set())
            (planes.add if object_id in there else planes.discard)(index)


class PropagationPanel(QWidget):
    """Goes out from prompted planes along the axis shown, masks of one plane to the next.

    Parameters
    ----------
    workspace : Workspace
    segmenter : SegmenterChoice
    row : TaskProgress
        Runs the task, and those of others: one at a time.
    live : LiveMasks
        Is told which masks not to replace by those of the prompts on their plane.
    """

    started = Signal()

    def __init__(
        self, workspace: Workspace, segmenter: SegmenterChoice, row: TaskProgress, live: LiveMasks
    ) -> None:
        super().__init__()
        self._workspace, self._segmenter, self._row, self._live = workspace, segmenter, row, live
        self._run: _Run | None = None
        self.running = False
        """Whether it is this run that the row shows."""
        self._outcome = ""
        self._ends: dict[tuple[int, int], dict[int, PropagatedObject]] = {}
        self._build()
        self.go.clicked.connect(lambda: self.propagate())
        self.start_from.currentIndexChanged.connect(lambda _: self.refresh())
        self.rules.changed.connect(self.refresh)
        row.ended.connect(self._ended)
        workspace.image_changed.connect(self._image_changed)
        self.refresh()
        workspace.docks.register("through", self.propagate)

    def _build(self) -> None:
        self.start_from = ValueComboBox(
            "The prompts to start from; masks spread from there to neighbouring slices.",
            (
                ("all slices with prompts", _ALL, "Between two of them, both directions meet."),
                ("this slice", _SHOWN, "Prompts on other slices are ignored."),
            ),
        )
        self.go = button(
            "Propagate through volume (Shift-T)",
            "Carries masks from slice to slice into the preview until the object ends; accepted "
            "masks stay.",
        )
        self.plan, self.result = WrappingLabel(), Message()
        self.rules = PropagationForm()

        rules = Section("Propagation and stopping rules", self.rules, opened=False)
        start = form_layout((("Start from", self.start_from),))
        vbox(self, start, self.plan, self.go, self.result, rules, margins=(8, 0, 0, 4))

    def state(self) -> dict[str, Any]:
        """Return the choices as plain data, for the session."""
        return {"from": self.start_from.value(), **self.rules.state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the choices of a session."""
        self.start_from.set_value(state.get("from"))
        self.rules.set_state(state)

    # Running

    def propagate(self) -> bool:
        """Go through the volume from the prompts.

        Returns
        -------
        bool
            False where nothing could be started; why is said.
        """
        if self._row.busy:
            return False
        workspace = self._workspace
        try:
            run = self._prepared()
        except CamSamError as error:
            self._row.refuse(str(error), lambda: why_not(self._prepared))
            return False
        job = run.job
        self._live.drop()
        self._run, self._running = run, True
        self._outcome = ""
        if job.run.loads:
            self._row.set_message(f"Loading {job.run.name}…")

        def show(step: Any) -> None:
            if isinstance(step, PlaneStep):
                self._show(run, step)
            else:
                self._segmenter.adopt(step, job.run.name, job.run.device)

        # One plane more each way, on which it is said that the range ends.
        reached = reachable(job.snapshot.image, job.prompts, job.parameters, more=1)
        total = len(job.prompts) + len(reached)
        self.running = self._row.start(
            lambda: propagate_steps(job),
            total + job.run.loads + (job.sigma is not None),
            f"Propagating through {job.snapshot.image.name}",
            show,
            lambda: workspace.is_current(job.snapshot),
            job.run.stop,
        )
        self.refresh()
        self.started.emit()
        return self.running

    def _prepared(self) -> _Run:
        """Read all that a run needs.

        Raises
        ------
        CamSamError
            If there is nothing to start from, or a rule does not fit the image.
        """
        workspace = self._workspace
        snapshot = workspace.snapshot()
        prompts, parameters, sigma = self._asked(snapshot.image, snapshot.axis, snapshot.index)
        heatmap = None
        if parameters.min_evidence is not None:
            heatmap = self._evidence(snapshot.image, snapshot.axis)
        run = self._segmenter.job(snapshot)
        job = VolumeJob(
            run,
            prompts,
            chosen_candidates(workspace.masks, prompts, run.name),
            parameters,
            heatmap,
            sigma,
        )
        accepted: dict[int, set[int]] = {}
        for one in workspace.masks.standing():
            if one.prompts.axis == snapshot.axis:
                accepted.setdefault(one.prompts.index, set()).update(one.object_ids)
        standing = {p.index: p for p in workspace.prompts.read_all(snapshot.axis)}
        return _Run(job, _ids(prompts), standing, accepted)

    def _asked(
        self, image: Image, axis: int, index: int
    ) -> tuple[tuple[PlanePrompts, ...], PropagationParameters, float | None]:
        """Return the prompts to start from, and the rules, as far as they fit the image."""
        if image.spatial_ndim != 3:
            raise CamSamError(f"{image.name} is a single slice: propagation needs a volume.")
        only = None if self.start_from.value() == _ALL else index
        prompts = read_prompts(self._workspace.prompts, axis, only)
        parameters, sigma = self.rules.fitting(image)
        computed = self._workspace.heatmaps.computed_planes(axis)
        if parameters.min_evidence is not None and not computed:
            raise CamSamError(
                "No heatmap along this axis: compute some (step 1), or switch off Min evidence."
            )
        return prompts, parameters, sigma

    def _evidence(self, image: Image, axis: int) -> NDArray[np.float32]:
        """Return the heatmaps along an axis; a plane without one has no say."""
        heatmaps = self._workspace.heatmaps
        whole = np.ones(image.spatial_shape, np.float32)
        for index in heatmaps.computed_planes(axis):
            whole[image.plane_index(axis, index)] = heatmaps.values(axis, index)
        return whole

    def _show(self, run: _Run, step: PlaneStep) -> None:
        """Write what a step brought into the preview."""
        masks, axis = self._workspace.masks, run.job.snapshot.axis
        if not run.begun:
            run.begun = True
            self._forget_last(run)
        for new in step.masks:
            index = new.prompts.index
            if new.is_stale(self._workspace.prompts.read(axis, index)):
                # What the user did there meanwhile is not to be answered with the masks of before.
                run.moved.add(index)
                continue
            known, accepted = masks.get(axis, index), run.accepted.get(index, set())
            if not accepted.isdisjoint(new.masks()):
                run.left_alone.add(index)
            together = join_plane_masks(new, known, run.ids, accepted)
            if together is not None and together is not known:
                self._put(run, together)
            run.note({i for i, mask in new.masks().items() if mask.any()}, index)
        for index in step.gone:
            self._leave_out(run, index)
            run.note(set(), index)
        for one in step.objects:
            if one.source == "none" and one.stopped is not None:
                self._ends.setdefault((axis, step.index), {})[one.object_id] = one

    def _forget_last(self, run: _Run) -> None:
        """Take away what an earlier run made of the same objects, and where it ended."""
        masks, axis = self._workspace.masks, run.job.snapshot.axis
        for index in masks.planes(axis):
            known = masks.get(axis, index)
            if known is not None and known.source in ("propagated", "interpolated"):
                self._leave_out(run, index)
        for key, ends in self._ends.items():
            if key[0] == axis:
                for object_id in run.ids & ends.keys():
                    del ends[object_id]

    def _leave_out(self, run: _Run, index: int) -> None:
        masks, axis = self._workspace.masks, run.job.snapshot.axis
        known = masks.get(axis, index)
        left = None if known is None else drop_objects(known, run.ids)
        if left is None:
            masks.drop(axis, index)
        elif left is not known:
            self._put(run, left)

    def _put(self, run: _Run, masks: PlaneMasks) -> None:
        # The run went out from the candidates that it says: another would not fit its neighbours.
        self._workspace.masks.put(masks, keep_choice=False)
        if masks.source != "prompted":
            plane = PlanePrompts(masks.prompts.axis, masks.prompts.index)
            self._live.leave(run.standing.get(plane.index, plane))

    def _ended(self, complete: bool) -> None:
        if not self.running or self._run is None:
            return
        self.running = False
        run = self._run
        if self._workspace.is_current(run.job.snapshot):
            self._outcome = self._result(run, complete)
        self.refresh()

    def _image_changed(self) -> None:
        if self._run is not None:
            self._run.job.run.stop.set()
        self._ends.clear()
        self._outcome = ""
        self.refresh()

    # In words

    def refresh(self) -> None:
        """Show what pressing the button would do, or why it can not be pressed."""
        try:
            image = self._workspace.image()
            axis, index = self._workspace.plane()
            self._show_outcome(axis)
            prompts, parameters, _ = self._asked(image, axis, index)
        except CamSamError as error:
            self.plan.setText(str(error))
            self.go.setEnabled(False)
            return
        self.go.setEnabled(not self._row.busy)
        self.plan.setText(self._plan(image, prompts, parameters))

    def _show_outcome(self, axis: int) -> None:
        """Show what came of the last run, where slices are numbered along the same axis."""
        here = self._run is not None and self._run.job.snapshot.axis == axis
        self.result.setText(self._outcome if here else "")

    def _plan(
        self, image: Image, prompts: tuple[PlanePrompts, ...], parameters: PropagationParameters
    ) -> str:
        count = len(reachable(image, prompts, parameters))
        indices = [plane.index for plane in prompts]
        who, origin = listed("object", _ids(prompts)), these_planes(indices)
        words = (
            f"{who} from {origin} in both directions through {count} slices, "
            f"{self._segmenter.words()}"
        )
        seconds = self._segmenter.seconds()
        if seconds is not None:
            words += f", {duration(seconds * count)} at most"
        return words[:1].upper() + words[1:] + "."

    def _result(self, run: _Run, complete: bool) -> str:
        parts = [] if complete else ["Stopped. Masks so far are kept."]
        axis = run.job.snapshot.axis
        for object_id in sorted(run.ids):
            planes = sorted(run.reached.get(object_id, ()))
            ends = [
                f"{index} ({found[object_id].stopped})"
                for (at, index), found in sorted(self._ends.items())
                if at == axis and object_id in found
            ]
            where = "no masks"
            if planes:
                whole = len(planes) > 2 and planes[-1] - planes[0] == len(planes) - 1
                span = f"slices {planes[0]} to {planes[-1]}"
                where = f"masks on {span if whole else listed('slice', planes)}"
            parts.append(f"Object {object_id}: {where}")
            parts[-1] += f"; ended at {' and '.join(ends)}." if ends else "."
        if run.left_alone:
            parts.append(f"Already accepted, unchanged: {listed('slice', run.left_alone)}.")
        if run.moved:
            parts.append(f"Skipped, prompts changed meanwhile: {listed('slice', run.moved)}.")
        return " ".join(parts)

    def ended(self, axis: int, index: int) -> str:
        """Return in words which objects ended on a plane, and why; empty where none did."""
        known = self._workspace.masks.get(axis, index)
        there = set() if known is None else known.masks().keys()
        ends = {i: e for i, e in self._ends.get((axis, index), {}).items() if i not in there}
        several = self._run is not None and len(self._run.ids) > 1
        return " ".join(
            f"{f'Object {i} ended' if several else 'Ended'} here, coming from slice "
            f"{one.from_plane}: {one.stopped}."
            for i, one in sorted(ends.items())
        )


def _ids(prompts: tuple[PlanePrompts, ...]) -> frozenset[int]:
    return frozenset(one.object_id for plane in prompts for one in plane.objects)
