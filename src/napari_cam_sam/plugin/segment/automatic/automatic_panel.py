"""All masks of a plane in a list: found unasked, ranked by the heatmap, named by texts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.parameter_form import ParameterForm
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.widgets import (
    Section,
    button,
    hbox,
)
from napari_cam_sam.plugin.segment.automatic.automatic_run import (
    FoundMasks,
    Picked,
    Search,
    unsupported_reason,
)
from napari_cam_sam.plugin.segment.automatic.mask_list import MaskList
from napari_cam_sam.plugin.segment.automatic.text_labels import (
    TextLabelPanel,
    TextLabels,
    TextLabelsDone,
)
from napari_cam_sam.plugin.segment.segmenter_choice import SegmenterChoice
from napari_cam_sam.plugin.state.plane_masks import merge_masks
from napari_cam_sam.sam.everything.ranking import RankingParameters, heatmap_scores

if TYPE_CHECKING:
    from napari_cam_sam.plugin.segment.live_masks import LiveMasks
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
    row : TaskProgress
        Runs the work and shows how far it is.
    """

    def __init__(
        self, workspace: Workspace, segmenter: SegmenterChoice, live: LiveMasks, row: TaskProgress
    ) -> None:
        super().__init__()
        from napari_cam_sam.sam.everything.automatic import (
            AutomaticParameters,
            recommended_parameters,
        )

        self._workspace, self._segmenter, self._live = workspace, segmenter, live
        self.row = row
        self._found: dict[tuple[int, int], FoundMasks] = {}
        self._names: dict[tuple[int, int], TextLabels] = {}
        self._members: dict[tuple[int, int], tuple[int, ...]] = {}
        """Which masks were put into the preview, a plane."""
        self._ids: dict[tuple[int, int], set[int]] = {}
        self._scores: dict[tuple[int, int], tuple[Any, str, NDArray[np.float64]]] = {}
        self._of: tuple[Any, ...] = ()
        self._suited = recommended_parameters(str(segmenter.value()))
        self._result: Callable[[], str] = str
        self._ran_with: object = None

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
        self.search = ParameterForm(AutomaticParameters)
        # Its default is no number of two places: shown here, it would be another.
        self.search.show_fields(n for n in vars(self._suited) if n != "crop_overlap")
        self.ranking = ParameterForm(RankingParameters)
        for name in ("union", "min_score"):
            self.ranking.widget(name).setRange(0, 1)
            self.ranking.widget(name).setSingleStep(0.05)
        self.search.set_value(self._suited)
        self.ranking.set_value(RankingParameters())
        self.naming = TextLabelPanel()

        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.find)
        whole.addLayout(hbox(self.pick, self.pick_all))
        # Above the list, where it is seen, whatever is unfolded below.
        whole.addWidget(row)
        whole.addWidget(self.list)
        whole.addWidget(Section("Search settings", self.search, opened=False))
        whole.addWidget(Section("Heatmap matching", self.ranking, opened=False))
        whole.addWidget(Section("Label masks by text (CLIP)", self.naming, opened=False))

        self.find.clicked.connect(lambda: self.find_masks())
        self.pick.clicked.connect(lambda: self.pick_masks())
        self.pick_all.clicked.connect(lambda: self.pick_masks(everywhere=True))
        self.list.chosen.connect(self._chosen)
        self.ranking.changed.connect(self._fill)
        self.naming.wanted.connect(self.name_masks)
        self.naming.filtered.connect(self._fill)
        row.ended.connect(self._ended)
        workspace.image_changed.connect(self._forget)
        workspace.window_changed.connect(self._forget_if_other)
        workspace.segmenter_changed.connect(self._forget_if_other)
        segmenter.changed.connect(self._forget_if_other)
        workspace.plane_changed.connect(self._plane_changed)
        workspace.heatmaps_changed.connect(self._fill)
        workspace.masks.changed.connect(self._mark)
        self._forget()

    # What was found

    def found(self, axis: int, index: int) -> FoundMasks | None:
        """Give the masks that were found on a plane."""
        return self._found.get((axis, index))

    def names(self, axis: int, index: int) -> TextLabels | None:
        """Give the names of the masks of a plane."""
        return self._names.get((axis, index))

    def _key(self) -> tuple[Any, ...]:
        """Name what masks are found with, beside the plane."""
        workspace = self._workspace
        window = workspace.window_parameters or workspace.default_window()
        return str(self._segmenter.value()), window

    def _forget_if_other(self) -> None:
        from napari_cam_sam.sam.everything.automatic import recommended_parameters

        name = str(self._segmenter.value())
        if self._key() != self._of:
            before, self._suited = self._suited, recommended_parameters(name)
            if self._parameters_or_none() == before:
                self.search.set_value(self._suited)
            self._forget()
        self._tell()

    def _forget(self) -> None:
        """Drop all masks: they are of another image, window or segmenter."""
        self.row.stop()
        self.row.release()
        self._of = self._key()
        for held in (self._found, self._names, self._members, self._scores, self._ids):
            held.clear()
        if not self.row.busy:
            self.row.say("")
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
            return self._start(snapshot, {snapshot.index: None}, {})
        except CamSamError as error:
            self.row.fail(str(error))
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
            axis = snapshot.axis
            noted = workspace.heatmaps.computed_planes(axis) if everywhere else [snapshot.index]
            heatmaps = {}
            for index in noted:
                note = workspace.heatmaps.record(axis, index)
                values = workspace.heatmaps.values(axis, index)
                if note is not None and values is not None and not note.reason:
                    # A copy: the layer may be written meanwhile.
                    heatmaps[index] = values.copy()
            if not heatmaps:
                which = "No slice along this axis has" if everywhere else "This slice has no"
                raise CamSamError(f"{which} heatmap with evidence: compute one first (step 1).")
            parameters = self._parameters()
            known = {
                index: found
                for index in heatmaps
                if (found := self._found.get((axis, index))) is not None
                and found.parameters == parameters
            }
            return self._start(snapshot, dict.fromkeys(heatmaps), heatmaps, known)
        except CamSamError as error:
            self.row.fail(str(error))
            return False

    def _start(
        self,
        snapshot: Any,
        indices: dict[int, None],
        heatmaps: dict[int, NDArray[Any]],
        known: dict[int, FoundMasks] | None = None,
    ) -> bool:
        if self.row.busy:
            return False
        workspace, name = self._workspace, str(self._segmenter.value())
        reason = unsupported_reason(name, self._segmenter.loaded())
        if reason is not None:
            raise CamSamError(reason)
        search = Search(
            snapshot,
            tuple(indices),
            self._segmenter.loaded(),
            name,
            workspace.device,
            workspace.embeddings,
            self._parameters(),
            known or {},
            heatmaps,
            self.ranking.value(),
        )
        done: list[Picked] = []

        def show(step: Any) -> None:
            if isinstance(step, Picked):
                done.append(step)
                self._show_found(step, object_id)
            elif step is not None:
                self._segmenter.adopt(step, name, search.device)
                self.row.say(looking)

        object_id = workspace.prompts.object_id  # one for all planes of the run
        looking = "Searching for masks…"
        self._result = lambda: _result(done)
        self.row.say(looking if search.segmenter else f"Loading {name}…")
        n = len(indices)
        return self._run(
            search.steps,
            search.total,
            f"Masks of {n} slice{'s' * (n > 1)}",
            show,
            snapshot,
            search.stop,
        )

    def _run(
        self,
        steps: Any,
        total: int,
        description: str,
        show: Callable[[Any], None],
        snapshot: Any,
        stop: threading.Event | None = None,
    ) -> bool:
        workspace, of = self._workspace, self._of
        self._ran_with = of
        started = self.row.start(
            steps,
            total,
            description,
            show,
            lambda: self._of is of and workspace.is_current(snapshot),
            stop,
        )
        self._tell()
        return started

    def _show_found(self, step: Picked, object_id: int) -> None:
        """Keep the masks of a plane, and show those that were picked."""
        found = step.found
        key = found.axis, found.index
        if self._found.get(key) is not found:
            self._found[key] = found
            for held in (self._names, self._members, self._scores):
                held.pop(key, None)
        if step.members:
            n, total = len(step.members), len(found.masks)
            which = f"1 of {total}" if n == 1 else f"{n} of {total} merged"
            about = f"picked by the heatmap, {which}"
            self._put(found, step.members, about, False, object_id)
        self._fill()

    def _put(
        self,
        found: FoundMasks,
        members: tuple[int, ...],
        about: str,
        apart: bool,
        object_id: int,
    ) -> None:
        axis, index = key = found.axis, found.index
        self._members[key] = members
        masks = found.shown(members, object_id, about, apart)
        # Only what was put here before gives way; masks of other objects stay.
        mine = set(masks.masks()) | self._ids.get(key, set())
        self._ids[key] = set(masks.masks())
        together = merge_masks(masks, self._workspace.masks.get(axis, index), mine, ())
        self._workspace.masks.put(together or masks)
        self._live.leave(self._workspace.prompts.read(axis, index))

    def _parameters(self) -> Any:
        """Give what the form shows.

        Raises
        ------
        CamSamError
            For a value out of its range.
        """
        return replace(self.search.value(), crop_overlap=self._suited.crop_overlap)

    def _parameters_or_none(self) -> Any:
        try:
            return self._parameters()
        except CamSamError:
            return None

    # Naming

    def name_masks(self) -> bool:
        """Name the masks of the plane shown; as `find_masks`."""
        if self.row.busy:
            return False
        try:
            snapshot = self._workspace.snapshot()
            found = self._found.get((snapshot.axis, snapshot.index))
            if found is None:
                raise CamSamError("Find the masks of this slice first.")
            naming = self.naming.naming(snapshot, found, self._workspace.device)
        except CamSamError as error:
            self.naming.say(str(error))
            return False

        def show(step: Any) -> None:
            if isinstance(step, TextLabelsDone):
                key = found.axis, found.index
                if self._found.get(key) is found:
                    self._names[key] = step.names
                    self._fill()
            elif step is not None:
                self.naming.adopt(step, naming.of)
                self.row.say("Labelling masks…")

        self._result = lambda: "Masks labelled. Labels are hints, not findings: check every mask."
        self.row.say(f"Loading {naming.of[0]}…" if naming.model is None else "Labelling masks…")
        return self._run(naming.steps, naming.total, "Labels of masks", show, snapshot)

    # The list

    def _chosen(self) -> None:
        """Put what was chosen in the list into the preview."""
        shown = self._shown()
        if shown is None:
            return
        found, order = shown
        members, apart = self.list.members, self.list.apart
        n, total = len(members), len(found.masks)
        if n == 1:
            judge = "model" if self._scored(found) is None else "heatmap"
            which = f"{order.index(members[0]) + 1} of {total} ranked by the {judge}"
        else:
            which = f"{n} of {total} " + ("separate" if apart else "merged")
        about = f"chosen from all masks, {which}"
        self._put(found, members, about, apart, self._workspace.prompts.object_id)

    def _shown(self) -> tuple[FoundMasks, list[int]] | None:
        """Give the masks of the plane shown, and their order; None where none were sought."""
        try:
            found = self._found.get(self._workspace.plane())
        except CamSamError:
            return None
        if found is None:
            return None
        scores = self._scored(found)
        order = range(len(found.masks)) if scores is None else np.argsort(-scores, kind="stable")
        return found, [int(i) for i in order]

    def _scored(self, found: FoundMasks) -> NDArray[np.float64] | None:
        """Score masks by the heatmap of their plane; None where there is none with evidence."""
        heatmaps, key = self._workspace.heatmaps, (found.axis, found.index)
        note, values = heatmaps.record(*key), heatmaps.values(*key)
        if note is None or values is None or note.reason:
            return None
        try:
            rule = self.ranking.value().rule
            known_by, known_for, scores = self._scores.get(key, (None, None, None))
            if scores is None or known_by is not note or known_for != rule:
                scores = heatmap_scores(found.arrays(), values, rule)
                self._scores[key] = note, rule, scores
        except CamSamError as error:
            self.row.say(str(error))
            return None
        return scores

    def _plane_changed(self) -> None:
        if not self.row.busy:
            self.row.say("")
        self._fill()

    def _fill(self) -> None:
        """List the masks of the plane shown."""
        shown = self._shown()
        names = None if shown is None else self._names.get((shown[0].axis, shown[0].index))
        self.naming.offer(names)
        if shown is None:
            self.list.clear()
        else:
            found, order = shown
            kept = self.naming.kept(names)
            ranked = [(rank, i) for rank, i in enumerate(order, 1) if kept is None or i in kept]
            labels = None if names is None else names.labels(self.naming.text.value())
            self.list.fill(found, ranked, self._scored(found), labels)
        self._mark()
        self._tell()

    def _mark(self) -> None:
        """Select the rows of the masks in the preview; none where these come from elsewhere."""
        try:
            key = self._workspace.plane()
        except CamSamError:
            return
        masks = self._workspace.masks.get(*key)
        ours = masks is not None and masks.source == "automatic"
        self.list.mark(self._members.get(key, ()) if ours else ())

    # In words

    def _ended(self, complete: bool) -> None:
        if complete:
            self.row.say(self._result())
        elif self._of is self._ran_with:
            self.row.say("Stopped. Results so far are kept.")
        else:
            self.row.say("Stopped: the image, the window or the segmenter changed.")
        self._tell()

    def _tell(self) -> None:
        """Offer what can be done now, and say why the rest cannot."""
        reason = unsupported_reason(str(self._segmenter.value()), self._segmenter.loaded())
        try:
            self._workspace.plane()
        except CamSamError as error:
            reason = str(error)
        for one in (self.find, self.pick, self.pick_all):
            one.setEnabled(reason is None and not self.row.busy)
        if reason is not None and not self.row.busy:
            self.row.say(reason)
        missing = None if self._shown() is not None else "Find the masks of this slice first."
        self.naming.allow("Wait until the running task has finished." if self.row.busy else missing)


def _result(done: list[Picked]) -> str:
    """Say what came of the planes."""
    if len(done) == 1:
        (one,) = done
        n = len(one.found.masks)
        if n == 0:
            return (
                "No mask is good enough: lower the predicted IoU, then the stability, under Search "
                "settings."
            )
        words = f"{n} mask{'s' * (n > 1)} on slice {one.found.index}"
        if one.members is None:
            return words + "."
        return words + (
            "; picked by the heatmap (C accepts)." if one.members else "; none matches the heatmap."
        )
    picked = sum(bool(one.members) for one in done)
    return f"Picked by the heatmap on {picked} of {len(done)} slices: review them, then accept "


"(C)."
