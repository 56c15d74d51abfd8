"""The page that tests how far the heatmap shown can be trusted."""

from __future__ import annotations

import html
import threading
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QTableWidget, QWidget

from napari_cam_sam.cam.parameters import OcclusionParameters, TrustParameters, count_steps
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import WindowParameters
from napari_cam_sam.plugin.qt.plain_text import RichLabel
from napari_cam_sam.plugin.qt.tables import fit_columns, make_read_only, set_headers, set_rows
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.torch_import import import_torch
from napari_cam_sam.plugin.qt.widgets import button, vbox
from napari_cam_sam.plugin.scores.score_rows import plain_number, to_text
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord

if TYPE_CHECKING:
    from napari_cam_sam.cam.trust import HeatmapTrust
    from napari_cam_sam.cam.trust_words import Row
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["TrustPage"]

_HEADS = [
    ("Test", "What is changed in the model or the slice, or the other method used."),
    ("Top area", "IoU of the top 10 % of both maps: 1 is the same place."),
    ("SSIM", "Structural similarity of both maps: 1 is the same map. Empty regions raise it."),
    ("Rank", "Spearman correlation of both maps: 1 is the same order of all pixels."),
    (
        "ROAD",
        "How much more probability is lost by removing what the map marks than by removing "
        "the rest: 0.5 is best, 0 is chance.",
    ),
]
_HINTS = {
    "head": "The last layer's weights are random: a map of what the model learned must change, "
    "so low values are good.",
    "randomisation": "More layers are random, from the last one down: low values are good.",
    "agreement": "The map of another method: high values are good.",
    "road": "Pixels are removed, the highest or the lowest of the map first, and filled in from "
    "their neighbours: a high value is good.",
    "shift": "The slice is shifted by 3 % in four directions, the map shifted back: high values "
    "are good.",
    "noise": "Noise of 2 % of the gray range is added: high values are good.",
}
# What a row has, in the order of its columns.
_FIGURES = ("top_iou", "ssim", "rank", "road")
# Seen on napari's dark background and on its light one.
_SIGNS = {"good": ("✔", "#2f8f3e"), "mixed": ("~", "#b37400"), "bad": ("✘", "#d64545")}
_TASK = "Test this heatmap"


@dataclass(frozen=True, eq=False)
class _Subject:
    """Which heatmap is tested."""

    image: str
    frame: int | None
    axis: int
    plane: int
    volume: bool
    note: HeatmapRecord

    @property
    def words(self) -> str:
        where = f", slice {self.plane}" if self.volume else ""
        return f"{self.note.made_by['method']} of {self.note.target}{where}"

    @property
    def cells(self) -> dict[str, Any]:
        """Return what each line of a file says of it."""
        made_by = self.note.made_by
        return {
            "image": self.image,
            "frame": "" if self.frame is None else self.frame,
            "axis": self.axis,
            "plane": self.plane,
            **{name: made_by[name] for name in ("classifier", "classifier_sha256", "method")},
            "layers": " ".join(made_by["layers"]),
            "target": self.note.target,
        }


class TrustPage(QWidget):
    """Tests of the heatmap of the plane shown: figures, and what they say in words.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._subject: _Subject | None = None
        self.found: HeatmapTrust | None = None
        """What was found so far."""
        self.button = button(
            _TASK,
            "How far it can be trusted: tests with random weights, other methods, removed "
            "pixels, shifts and noise.",
        )
        self.row = TaskProgress()
        self.table = QTableWidget(0, len(_HEADS))
        make_read_only(self.table)
        set_headers(self.table, _HEADS)
        self.table.setMinimumHeight(120)
        self.words = RichLabel()
        self.words.setWordWrap(True)
        self.words.setTextFormat(Qt.TextFormat.RichText)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        whole = vbox(self, self.button, self.row, self.words, self.table)
        whole.setContentsMargins(0, 4, 0, 0)
        whole.setStretchFactor(self.table, 1)
        self.button.clicked.connect(self.start)
        self.row.ended.connect(self._ended)
        workspace.plane_changed.connect(self._refresh)
        workspace.heatmaps_changed.connect(self._refresh)
        workspace.classifier_changed.connect(self._refresh)
        workspace.image_changed.connect(self._image_changed)
        self._refresh()

    def _image_changed(self) -> None:
        self.row.stop()
        self._subject = self.found = None
        self._show()
        self._refresh()

    # What will happen

    def _shown_heatmap(self) -> tuple[_Subject | None, str]:
        """Return the heatmap that would be tested, or say why there is none to test."""
        workspace = self._workspace
        try:
            image, (axis, index) = workspace.image(), workspace.plane()
        except CamSamError as error:
            return None, str(error)
        note = workspace.heatmaps.record(axis, index)
        if note is None:
            return None, "Compute the heatmap of this slice first (step 1)."
        if note.reason is not None:
            return None, f"This slice has no heatmap to test. {note.reason}"
        made_by, held = note.made_by, workspace.classifier
        if made_by.get("pixels") is not None:
            return None, (
                "Only heatmaps of classifiers can be tested, not those of segmentation networks."
            )
        maker = made_by.get("classifier_sha256"), made_by.get("plane_order", "rows-columns")
        if held is None or (held.sha256, held.card.plane_order) != maker:
            name = made_by.get("classifier", "another classifier")
            return None, (
                f"The heatmap was made by {name}: load it, or compute the heatmap again (step 1)."
            )
        volume = image.spatial_ndim == 3
        return _Subject(image.name, workspace.frame(), axis, index, volume, note), ""

    def _refresh(self, _: object = None) -> None:
        subject, problem = self._shown_heatmap()
        self.button.setEnabled(subject is not None and not self.row.busy)
        if self.row.busy:
            return
        if self._subject is not None and self.found is not None:
            one = self._subject
            if self._workspace.heatmaps.record(one.axis, one.plane) != one.note:
                problem = f"It was computed again, or removed, since. {problem}"
            self.row.set_message(f"Tested: {one.words}. {problem}".strip())
        elif subject is None:
            self.row.set_message(problem)
        else:
            self.row.set_message(
                f"Tests {subject.words}. Passing does not prove that a map is right."
            )

    # The work

    def start(self) -> None:
        """Test the heatmap of the plane shown, in the background."""
        subject, _ = self._shown_heatmap()
        if subject is None or self.row.busy:
            self._refresh()
            return
        workspace, classifier = self._workspace, self._workspace.classifier
        made_by = subject.note.made_by
        window = WindowParameters(**made_by["window"])
        snapshot = replace(workspace.snapshot(), parameters=window)
        parameters, stop = TrustParameters(), threading.Event()

        def steps() -> Generator[Any]:
            import_torch()
            from napari_cam_sam.cam.heatmaps import CamParameters
            from napari_cam_sam.cam.trust import trust_steps

            cam = CamParameters(
                method=made_by["method"],
                target=made_by["target"],
                layers=tuple(made_by["layers"]),
                min_probability=made_by["min_probability"],
                occlusion=OcclusionParameters(**made_by.get("occlusion", {})),
            )
            plane = snapshot.plane(subject.plane)
            yield from trust_steps(classifier, plane, cam, parameters, stop.is_set)

        self._subject, self.found = subject, None
        self._show()
        self.row.set_message(f"Testing {subject.words}…")
        total = count_steps(made_by["method"], parameters)
        self.row.start(
            steps, total, f"Trust in {subject.words}", self._keep,
            lambda: workspace.is_current(snapshot), stop,
        )  # fmt: skip
        self.button.setEnabled(not self.row.busy)

    def _keep(self, found: HeatmapTrust) -> None:
        self.found = found
        self._show()

    def _ended(self, complete: bool) -> None:
        if not complete and self._subject is not None:
            self.words.setText(f"<i>Stopped: not all tests were done.</i>{self.words.text()}")
        self._refresh()

    def _show(self) -> None:
        found = self.found
        if found is None:
            self.table.setRowCount(0)
            self.words.clear()
            return
        from napari_cam_sam.cam.trust_words import CAVEAT, findings

        lines = []
        for one in findings(found):
            sign, color = _SIGNS[one.level]
            lines.append(f'<span style="color:{color}">{sign}</span>&nbsp;{html.escape(one.words)}')
        self.words.setText(
            "<br>".join([*lines, f"<i>{CAVEAT}</i>"]) if lines else html.escape(found.reason or "")
        )
        rows = self.rows()
        set_rows(self.table, [(row.name, *(getattr(row, f) for f in _FIGURES)) for row in rows])
        for at, row in enumerate(rows):
            for column in range(len(_HEADS)):
                self.table.item(at, column).setToolTip(_HINTS[row.test])
        fit_columns(self.table)

    # Out of the viewer

    def rows(self) -> list[Row]:
        """Return the figures, a row a test."""
        if self.found is None:
            return []
        from napari_cam_sam.cam.trust_words import table

        return list(table(self.found))

    def as_shown(self) -> str:
        """Return the figures with tabs between the columns."""
        return self._as_text("\t", {})

    def as_csv(self) -> str:
        """Return the figures as CSV, each with the heatmap that they are of."""
        return self._as_text(",", {} if self._subject is None else self._subject.cells)

    def _as_text(self, delimiter: str, about: dict[str, Any]) -> str:
        said = {}
        if self.found is not None:
            from napari_cam_sam.cam.trust_words import findings

            said = {one.test: one.words for one in findings(self.found)}
        rows = (
            {**about, "test": row.test, "name": row.name, "words": said.get(row.test)}
            | {name: plain_number(getattr(row, name)) for name in _FIGURES}
            for row in self.rows()
        )
        return to_text((*about, "test", "name", *_FIGURES, "words"), rows, delimiter)
