"""All masks of a plane in a list: found without prompts, ranked by the heatmap, labelled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.parameter_form import ParameterForm
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.widgets import Section, button, hbox, vbox
from napari_cam_sam.plugin.qt.wording import why_not
from napari_cam_sam.plugin.segment.automatic.automatic_run import (
    Picked,
    Search,
    SearchedPlane,
    TextLabels,
    heatmaps_to_pick_by,
    outcome,
    unsupported_reason,
)
from napari_cam_sam.plugin.segment.automatic.mask_list import MaskList
from napari_cam_sam.plugin.segment.automatic.search_form import SearchForm
from napari_cam_sam.plugin.segment.automatic.text_labels import (
    TextLabelJob,
    TextLabelPanel,
)
from napari_cam_sam.plugin.segment.segmenter_choice import SegmenterChoice
from napari_cam_sam.plugin.state.plane_masks import join_plane_masks
from napari_cam_sam.sam.everything.ranking import RankingParameters
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.plugin.segment.live_masks import LiveMasks
    from napari_cam_sam.plugin.segment.segmenter_job import SegmenterJob
    from napari_cam_sam.plugin.state.snapshot import Snapshot
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["AutomaticPanel"]


class AutomaticPanel(QWidget):
    """Find all masks of planes, look through them, and put some into the preview.

    Parameters
    ----------
    workspace : Workspace
    segmenter : SegmenterChoice
    live : LiveMasks
        Is told of planes whose masks are not of their prompts.
    """

    def __init__(self, workspace: Workspace, segmenter: SegmenterChoice, live: LiveMasks) -> None:
        super().__init__()
        self._workspace, self._segmenter, self._live = workspace, segmenter, live
        self._planes: dict[tuple[int, int], SearchedPlane] = {}
        self._of: tuple[Any, ...] = ()
        self._result: Callable[[], str] = str
        self._ran_with: object = None

        self._build()
        self._connect()
        self._forget()

    def _build(self) -> None:
        self.row = TaskProgress()
        self.find = button("Find all masks", "Searches this slice with a grid of points.")
        self.pick = button(
            "Pick by heatmap",
            "Shows the mask that best matches the heatmap; searches this slice first if needed.",
        )
        self.pick_all = button(
            "…on all with heatmaps",
            "Picks a mask on every slice with a heatmap along this axis, into the preview.",
        )
        self.list = MaskList()
        self.search = SearchForm(str(self._segmenter.value()))
        self.ranking = ParameterForm(RankingParameters)
        for name in ("union", "min_score"):
            self.ranking.widget(name).setRange(0, 1)
            self.ranking.widget(name).setSingleStep(0.05)
        self.ranking.set_value(RankingParameters())
        self.naming = TextLabelPanel()

        # The row lies above the list, where it is seen, whatever is unfolded below.
        whole = vbox(self, self.find, hbox(self.pick, self.pick_all), self.row, self.list)
        for title, content in (
            ("Search settings", self.search),
            ("Heatmap matching", self.ranking),
            ("Label masks by text (CLIP)", self.naming),
        ):
            whole.addWidget(Section(title, content, opened=False))

    def _connect(self) -> None:
        workspace = self._workspace
        self.find.clicked.connect(lambda: self.find_masks())
        self.pick.clicked.connect(lambda: self.pick_masks())
        self.pick_all.clicked.connect(lambda: self.pick_masks(everywhere=True))
        self.list.chosen.connect(self._chosen)
        self.ranking.changed.connect(self._fill)
        self.naming.wanted.connect(self.name_masks)
        self.naming.filtered.connect(self._fill)
        self.row.ended.connect(self._ended)
        workspace.image_changed.connect(self._forget)
        workspace.window_changed.connect(self._forget_if_other)
        workspace.segmenter_changed.connect(self._forget_if_other)
        self._segmenter.changed.connect(self._forget_if_other)
        workspace.plane_changed.connect(self._plane_changed)
        workspace.heatmaps_changed.connect(self._fill)
        workspace.masks.changed.connect(self._mark)

    def state(self) -> dict[str, Any]:
        """Return the settings, each as far as it can be: a number that is typed may not be."""
        found = {}
        for name in ("search", "ranking"):
            with suppress(CamSamError):
                found[name] = getattr(self, name).value()
        return found

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the settings of another panel."""
        for name, value in state.items():
            getattr(self, name).set_value(value)

    # What was found

    def searched(self, axis: int, index: int) -> SearchedPlane | None:
        """Return what is known of a plane's masks; None where it was not searched."""
        return self._planes.get((axis, index))

    def _key(self) -> tuple[Any, ...]:
        """Name what masks are found with, beside the plane."""
        workspace = self._workspace
        window = workspace.window_parameters or workspace.default_window()
        return str(self._segmenter.value()), window

    def _forget_if_other(self) -> None:
        if self._key() != self._of:
            self.search.recommend(str(self._segmenter.value()))
            self._forget()
        self._refresh()

    def _forget(self) -> None:
        """Drop all masks: they are of another image, window or segmenter."""
        self.row.stop()
        self.row.clear_error()
        self._of = self._key()
        self._planes.clear()
        if not self.row.busy:
            self.row.set_message("")
        self._fill()

    # Finding and picking

    def find_masks(self) -> bool:
        """Find all masks of the plane shown.

        Returns
        -------
        bool
            False where nothing could be started; why is said.
        """
        try:
            snapshot = self._workspace.snapshot()
            return self._start(snapshot, [snapshot.index], {})
        except CamSamError as error:
            self.row.show_error(str(error), lambda: why_not(self._workspace.snapshot))
            return False

    def pick_masks(self, everywhere: bool = False) -> bool:
        """Put the masks that heatmaps mean into the preview; as `find_masks`.

        Planes whose masks are there are not searched again.

        Parameters
        ----------
        everywhere : bool
            On all planes with a heatmap along the axis shown.
        """
        workspace = self._workspace
        try:
            snapshot = workspace.snapshot()
            heatmaps = heatmaps_to_pick_by(workspace, everywhere)
            return self._start(snapshot, list(heatmaps), heatmaps)
        except CamSamError as error:
            check = partial(heatmaps_to_pick_by, workspace, everywhere)
            self.row.show_error(str(error), lambda: why_not(check))
            return False

    def _start(
        self, snapshot: Snapshot, indices: list[int], heatmaps: dict[int, NDArray[Any]]
    ) -> bool:
        if self.row.busy:
            return False
        job = self._segmenter.job(snapshot)
        reason = unsupported_reason(job.name, job.segmenter)
        if reason is not None:
            raise CamSamError(reason)
        parameters = self.search.value()
        known = {
            index: one.found
            for index in heatmaps
            if (one := self.searched(snapshot.axis, index)) and one.found.parameters == parameters
        }
        search = Search(job, tuple(indices), parameters, known, heatmaps, self.ranking.value())
        done: list[Picked] = []

        def show(step: Any) -> None:
            if isinstance(step, Picked):
                done.append(step)
                self._show_found(step, object_id)
            elif step is not None:
                self._segmenter.adopt(step, job.name, job.device)
                self.row.set_message(looking)

        object_id = self._workspace.prompts.object_id  # one for all planes of the run
        looking = "Searching for masks…"
        self._result = lambda: outcome(done)
        self.row.set_message(f"Loading {job.name}…" if job.loads else looking)
        return self._run(search, f"Masks of {counted(len(indices), 'slice')}", show, job)

    def _run(
        self,
        work: Search | TextLabelJob,
        description: str,
        show: Callable[[Any], None],
        job: SegmenterJob,
    ) -> bool:
        workspace, of = self._workspace, self._of
        self._ran_with = of
        started = self.row.start(
            work.steps,
            work.total,
            description,
            show,
            lambda: self._of is of and workspace.is_current(job.snapshot),
            job.stop,
        )
        self._refresh()
        return started

    def _show_found(self, step: Picked, object_id: int) -> None:
        """Keep the masks of a plane, and show those that were picked."""
        found = step.found
        key = found.axis, found.index
        plane = self._planes.get(key)
        if plane is None or plane.found is not found:
            plane = SearchedPlane(found, set() if plane is None else plane.ids)
            self._planes[key] = plane
        if step.members:
            about = f"picked by the heatmap, {plane.share_words(step.members)}"
            self._put(plane, step.members, about, False, object_id)
        self._fill()

    def _put(
        self,
        plane: SearchedPlane,
        members: tuple[int, ...],
        about: str,
        apart: bool,
        object_id: int,
    ) -> None:
        axis, index = plane.found.axis, plane.found.index
        plane.members = members
        masks = plane.found.shown(members, object_id, about, apart)
        # Only what was put here before gives way; masks of other objects stay.
        mine = set(masks.masks()) | plane.ids
        plane.ids = set(masks.masks())
        together = join_plane_masks(masks, self._workspace.masks.get(axis, index), mine, ())
        self._workspace.masks.put(together or masks)
        self._live.leave(self._workspace.prompts.read(axis, index))

    # Naming

    def name_masks(self) -> bool:
        """Name the masks of the plane shown; as `find_masks`."""
        if self.row.busy:
            return False
        try:
            snapshot = self._workspace.snapshot()
            plane = self._planes.get((snapshot.axis, snapshot.index))
            if plane is None:
                raise CamSamError("Find the masks of this slice first.")
            found = plane.found
            naming = self.naming.naming(snapshot, found, self._workspace.device)
        except CamSamError as error:
            self.naming.reason.setText(str(error))
            return False

        def show(step: Any) -> None:
            if isinstance(step, TextLabels):
                if self._planes.get((found.axis, found.index)) is plane:
                    plane.labels = step
                    self._fill()
            elif step is not None:
                self.naming.adopt(step, naming.of)
                self.row.set_message("Labelling masks…")

        self._result = lambda: "Masks labelled. Labels are hints, not findings: check every mask."
        self.row.set_message(
            f"Loading {naming.of[0]}…" if naming.model is None else "Labelling masks…"
        )
        return self._run(naming, "Labels of masks", show, self._segmenter.job(snapshot))

    # The list

    def _chosen(self) -> None:
        """Put what was chosen in the list into the preview."""
        shown = self._shown()
        if shown is None:
            return
        plane, order = shown
        members, apart = self.list.members, self.list.apart
        which = plane.share_words(members, apart)
        if len(members) == 1:
            judge = "model" if self._scored(plane) is None else "heatmap"
            which = f"{order.index(members[0]) + 1} of {len(order)} ranked by the {judge}"
        about = f"chosen from all masks, {which}"
        self._put(plane, members, about, apart, self._workspace.prompts.object_id)

    def _shown(self) -> tuple[SearchedPlane, list[int]] | None:
        """Return the plane shown and the order of its masks; None where it was not searched."""
        plane = None
        with suppress(CamSamError):  # in three dimensions no slice is shown
            plane = self._planes.get(self._workspace.plane())
        return None if plane is None else (plane, plane.order(self._scored(plane)))

    def _scored(self, plane: SearchedPlane) -> NDArray[np.float64] | None:
        """Score masks by the heatmap of their plane; None where there is none with evidence."""
        heatmap = self._workspace.heatmaps.evidence(plane.found.axis, plane.found.index)
        if heatmap is None:
            return None
        try:
            return plane.scores(*heatmap, self.ranking.value().rule)
        except CamSamError as error:
            self.row.set_message(str(error))
            return None

    def _plane_changed(self) -> None:
        if not self.row.busy:
            self.row.set_message("")
        self._fill()

    def _fill(self) -> None:
        """List the masks of the plane shown."""
        self.row.look_again()
        shown = self._shown()
        names = None if shown is None else shown[0].labels
        self.naming.offer(names)
        if shown is None:
            self.list.clear()
        else:
            plane, order = shown
            kept = self.naming.kept(names)
            ranked = [(rank, i) for rank, i in enumerate(order, 1) if kept is None or i in kept]
            labels = None if names is None else names.labels(self.naming.text.value())
            self.list.fill(plane.found, ranked, self._scored(plane), labels)
        self._mark()
        self._refresh()

    def _mark(self) -> None:
        """Select the rows of the masks in the preview; none where these come from elsewhere."""
        try:
            key = self._workspace.plane()
        except CamSamError:
            return
        masks = self._workspace.masks.get(*key)
        ours = masks is not None and masks.source == "automatic"
        plane = self._planes.get(key)
        self.list.mark(plane.members if ours and plane is not None else ())

    # In words

    def _ended(self, complete: bool) -> None:
        same, kept = self._of is self._ran_with, "Stopped. Results so far are kept."
        other = "Stopped: the image, the window or the segmenter changed."
        self.row.set_message(self._result() if complete else kept if same else other)
        self._refresh()

    def _refresh(self) -> None:
        """Offer what can be done now, and say why the rest cannot."""
        reason = unsupported_reason(str(self._segmenter.value()), self._segmenter.loaded())
        try:
            self._workspace.plane()
        except CamSamError as error:
            reason = str(error)
        for one in (self.find, self.pick, self.pick_all):
            one.setEnabled(reason is None and not self.row.busy)
        if reason is not None and not self.row.busy:
            self.row.set_message(reason)
        missing = None if self._shown() is not None else "Find the masks of this slice first."
        self.naming.allow("Wait until the running task has finished." if self.row.busy else missing)
