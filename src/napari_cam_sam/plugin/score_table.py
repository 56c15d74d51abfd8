"""The tables of scores: of planes, objects and the volume, also as text, and of ways to a mask."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from napari_cam_sam.plugin.importing import import_torch
from napari_cam_sam.plugin.layers import frame_shown, image_of
from napari_cam_sam.plugin.task_row import TaskRow
from napari_cam_sam.prompts.data import PlanePrompts

if TYPE_CHECKING:
    from napari_cam_sam.comparison import (
        ComparedPlane,
        PlaneToCompare,
        ScoredRow,
        ToScore,
        VariantSummary,
    )  # fmt: skip
    from napari_cam_sam.plugin.workspace import Workspace

__all__ = [
    "METRICS",
    "ComparePage",
    "ScoreTable",
    "as_data",
    "as_text",
    "from_data",
    "remarks",
    "spoken",
]

METRICS = {
    "dice": ("Dice", "Twice the shared area over the sum of both areas: 1 is best, 0 is worst."),
    "iou": ("IoU", "The shared area over the area that either covers: 1 is best, 0 is worst."),
    "hd95": (
        "HD95 {unit}",
        "95 % of each outline lies within this distance of the other: 0 is best, ∞ if one is "
        "empty.",
    ),
    "assd": ("ASSD {unit}", "Mean distance between the outlines, both ways: 0 is best."),
    "nsd": (
        "NSD",
        "Part of both outlines that lies within 2 {unit} of the other: 1 is best, 0 is worst.",
    ),
    "auc_judd": (
        "AUROC",
        "How often the heatmap is higher at a truth pixel than at another: 1 is best, 0.5 is "
        "chance.",
    ),
    "auprc": (
        "AUPRC",
        "Average precision of the heatmap over all thresholds: 1 is best; chance is the truth's "
        "part of the pixels.",
    ),
    "pointing_hit": ("Pointing", "Whether the heatmap's maximum lies in the truth."),
    "energy_inside": (
        "Energy",
        "Part of the heatmap's sum that lies in the truth: 1 is best, 0 is worst.",
    ),
}
"""A score's name to the head of its column and what it means; {unit} is mm or px."""

_WORDS = {
    "both-empty": "nothing in either",
    "prediction-empty": "missed: nothing predicted",
    "truth-empty": "not in the truth",
    "truth-full": "the truth is everywhere",
    "heatmap-constant": "the heatmap is the same everywhere",
    "heatmap-not-finite": "the heatmap is not finite",
}
_ORDER = {"volume": 0, "image": 0, "object": 1, "extra": 2, "plane": 3}
_OLDER = "before the last edit"

Key = tuple[str, int]


def spoken(row: ScoredRow) -> str:
    """Say what a row is of, e.g. ``"plane 11"``."""
    return row.kind if row.kind in ("volume", "image") else f"{row.kind} {row.number}"


def remarks(row: ScoredRow, older: bool = False) -> str:
    """Say in words what to know before a row's numbers are used."""
    said = [_WORDS.get(flag, flag) for flag in row.scores.flags]
    if row.kind == "object" and row.partner not in (None, row.number):
        said.append(f"is {row.partner} in the prediction")
    return "; ".join([*said, _OLDER] if older else said)


class _NumberItem(QTableWidgetItem):
    """A cell that sorts by its number; what is no number stays last, whichever way."""

    def __init__(self, text: str, key: float) -> None:
        super().__init__(text)
        self._key = key
        self.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: Any) -> bool:
        # Qt turns the question round for the descending order.
        finite = math.isfinite(self._key), math.isfinite(other._key)
        if all(finite):
            return bool(self._key < other._key)
        order = self.tableWidget().horizontalHeader().sortIndicatorOrder()
        down = order == Qt.SortOrder.DescendingOrder
        return finite[1] if down and not finite[0] else finite[0] and not down


class ScoreTable(QTableWidget):
    """The rows of a scoring; a click on one asks for its plane."""

    plane_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(0, len(METRICS) + 2)
        self._rows: dict[Key, ScoredRow] = {}
        self._older = False
        _dress(self)
        self.horizontalHeader().setStretchLastSection(True)
        self.setMinimumHeight(190)
        self.setToolTip("Click a row to see its plane, a header to sort by it.")
        self.set_unit("px")
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.cellClicked.connect(self._chosen)
        self.cellActivated.connect(self._chosen)

    def set_unit(self, unit: str) -> None:
        """Say what distances are in."""
        heads = [("Scored", "The volume, its objects, and the planes along the axis shown.")]
        heads += METRICS.values()
        heads += [("Remarks", "What to know before the numbers are used.")]
        _head(self, [(text.format(unit=unit), hint.format(unit=unit)) for text, hint in heads])

    def rows(self) -> list[ScoredRow]:
        """Give all rows: the volume, objects, planes."""
        return sorted(self._rows.values(), key=_place)

    def is_older(self, row: ScoredRow) -> bool:
        """Whether a row was scored before the last edit."""
        return self._older and row.kind in ("volume", "object", "extra")

    def set_rows(self, rows: Iterable[ScoredRow]) -> None:
        """Show these rows alone."""
        self._older = False
        self._rows = {(row.kind, row.number): row for row in rows}
        self._fill()
        self.resizeColumnsToContents()

    def set_plane(self, index: int, row: ScoredRow | None) -> None:
        """Replace, add or remove the row of a plane."""
        for kind in ("plane", "image"):
            self._rows.pop((kind, index), None)
        if row is not None:
            self._rows[row.kind, row.number] = row
        self._fill()
        self.select_plane(index)

    def set_older(self) -> None:
        """Mark all that an edit on some plane may have changed, until all is scored again."""
        if self._rows and not self._older:
            self._older = True
            self._fill()
            self.resizeColumnToContents(0)

    def select_plane(self, index: int | None) -> None:
        """Mark the row of the plane shown."""
        for at in range(self.rowCount()):
            row = self._at(at)
            if row is not None and row.kind == "plane" and row.number == index:
                if not self.selectionModel().isRowSelected(at, self.rootIndex()):
                    self.selectRow(at)
                return
        self.clearSelection()

    def shown(self) -> list[ScoredRow]:
        """Give the rows in the order in which they are sorted now."""
        return [row for row in map(self._at, range(self.rowCount())) if row is not None]

    def _fill(self) -> None:
        self.setSortingEnabled(False)
        self.setRowCount(len(self._rows))
        for at, row in enumerate(self.rows()):
            text = f"{spoken(row)} ({_OLDER})" if self.is_older(row) else spoken(row)
            name = _NumberItem(text, _ORDER[row.kind] * 1e9 + row.number)
            name.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            name.setData(Qt.ItemDataRole.UserRole, f"{row.kind} {row.number}")
            self.setItem(at, 0, name)
            for column, metric in enumerate(METRICS, start=1):
                value = row.scores.values.get(metric, math.nan)
                self.setItem(at, column, _NumberItem(_shown(metric, value), value))
            last = QTableWidgetItem(remarks(row))
            last.setToolTip(remarks(row))
            self.setItem(at, len(METRICS) + 1, last)
        self.setSortingEnabled(True)

    def _at(self, at: int) -> ScoredRow | None:
        item = self.item(at, 0)
        if item is None:
            return None
        kind, number = str(item.data(Qt.ItemDataRole.UserRole)).split()
        return self._rows.get((kind, int(number)))

    def _chosen(self, at: int, _column: int) -> None:
        row = self._at(at)
        if row is not None and row.plane is not None:
            self.plane_chosen.emit(row.plane)


class ComparePage(QWidget):
    """The ways to a mask, a line each, beside what the truth's prompts give."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._found: list[ComparedPlane] = []
        self.button = QPushButton("Compare with truth prompts")
        self.button.setToolTip(
            "Segments each plane that has a heatmap, from its prompts and from the truth's."
        )
        self.row = TaskRow()
        self.table = QTableWidget(0, 5)
        _dress(self.table)
        self.table.setToolTip("The same planes and the same segmenter in every line.")
        heads = [
            ("From", "What the masks are made from."),
            ("Dice", "Mean Dice over the planes with truth or with any of the masks."),
            ("IoU", "Mean IoU over the same planes."),
            ("Volume", "Dice of these planes as one volume."),
            ("% of truth", "Mean Dice as a percentage of that of prompts from the truth."),
        ]
        _head(self.table, heads)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 4, 0, 0)
        for widget in (self.button, self.row, self.table):
            whole.addWidget(widget)
        self.row.ended.connect(self._ended)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self._found = []
        self.lines: tuple[VariantSummary, ...] = ()
        self.table.setRowCount(0)

    def tell(self, problem: str | None) -> None:
        """Say what is missing, if anything is; ``problem`` is what the scores lack already."""
        if problem is None and not self._workspace.noted_planes(self._workspace.plane()[0]):
            problem = "Compute heatmaps along this axis first (step 1)."
        if problem is None and self._workspace.segmenter is None:
            problem = "Load a segmenter first (step 3)."
        self.button.setEnabled(problem is None and not self.row.busy)
        if self.row.busy or (problem is None and self.lines):
            return
        self.row.say(problem or "CAM alone, CAM → SAM, edited prompts or accepted labels, truth.")

    def start(self, job: ToScore) -> bool:
        """Compare the planes with a heatmap, and with truth or prediction, in the background."""
        workspace, axis = self._workspace, job.axis
        snapshot, planes = workspace.snapshot(), workspace.noted_planes(axis)
        segmenter, parameters = workspace.segmenter, workspace.prompt_parameters
        heat: dict[int, Any] = {}
        for i in planes:
            note, values = workspace.note(axis, i), workspace.heatmap_values(axis, i)
            evident = note is not None and note.reason is None and values is not None
            heat[i] = values if evident else None
        edited = {index for at, index in workspace.prompts.touched() if at == axis}
        every = workspace.prompts.read_all(axis)
        placed = {one.index: one for one in every if one.index in edited}
        for touched_axis, i in workspace.prompts.touched():
            if touched_axis == axis:  # also where the user deleted them all
                placed.setdefault(i, PlanePrompts(axis, i))
        accepted, embeddings = self._accepted(job), workspace.embeddings

        def given() -> Iterator[PlaneToCompare]:
            from napari_cam_sam.comparison import PlaneToCompare

            for i in planes:
                truth = job.plane(job.truth, i)
                if not truth.any() and not job.plane(job.prediction, i).any():
                    continue
                labels = None if accepted is None else accepted[job.image.slot(axis, i)]
                labels = labels if labels is not None and labels.any() else None
                yield PlaneToCompare(i, snapshot.plane(i), heat[i], truth, placed.get(i), labels)

        def steps() -> Generator[Any]:
            import_torch()
            from napari_cam_sam.comparison import compare_planes

            yield from compare_planes(given(), segmenter, encode, parameters)

        def encode(plane: Any) -> Any:
            return embeddings.encode(segmenter, plane)

        def wanted() -> bool:
            return snapshot.layer in workspace.viewer.layers

        self.clear()
        self.button.setEnabled(False)
        self.row.say(f"Comparing with {segmenter.name}…")
        words = f"Comparison of {job.image.name}"
        return self.row.start(steps, len(planes), words, self._found.append, wanted)

    def _accepted(self, job: ToScore) -> Any | None:
        """Give what the user accepted, of the label that is meant where it occurs."""
        workspace = self._workspace
        target = workspace.masks.target
        layer = target if target in workspace.viewer.layers else workspace.own("labels")
        if layer is None or workspace.mismatch(layer) is not None:
            return None
        labels = np.array(image_of(layer, frame_shown(workspace.viewer, layer)).data)
        meant = job.chosen(labels)
        return meant if meant.any() else labels

    def _ended(self, complete: bool) -> None:
        self.button.setEnabled(True)
        if not self._found:
            self.row.say("No plane with a heatmap has truth or prediction." if complete else "")
            return
        from napari_cam_sam.comparison import summarise_comparison

        self.lines = summarise_comparison(self._found)
        self.table.setRowCount(len(self.lines))
        for at, line in enumerate(self.lines):
            self.table.setItem(at, 0, QTableWidgetItem(line.variant))
            values = (line.dice, line.iou, line.volume_dice)
            for column, value in enumerate(values, start=1):
                self.table.setItem(at, column, _NumberItem(_shown("", value), value))
            share = line.percent_of_truth_prompts
            self.table.setItem(at, 4, _NumberItem(_shown("", share, 1), share))
        self.table.resizeColumnsToContents()
        words = f"{self.lines[0].n_planes} planes with truth or masks"
        self.row.say(f"{words}." if complete else f"Stopped after {words}.")


def as_data(
    rows: Iterable[ScoredRow], about: Mapping[str, Any], older: Iterable[ScoredRow] = ()
) -> list[dict[str, Any]]:
    """Give rows as plain data, as JSON holds it: numbers that are not finite are None."""
    out, old = [], list(older)
    for row in rows:
        values = ((name, row.scores.values.get(name, math.nan)) for name in METRICS)
        numbers = {k: float(v) if math.isfinite(v) else None for k, v in values}
        out.append(
            {**about, "scored": spoken(row), "kind": row.kind, "number": row.number}
            | numbers
            | {"flags": list(row.scores.flags), "remarks": remarks(row, row in old)}
        )
    return out


def from_data(rows: Iterable[Mapping[str, Any]]) -> list[ScoredRow]:
    """Make rows of what `as_data` gave; an infinite distance comes back as NaN."""
    from napari_cam_sam.comparison import ScoredRow
    from napari_cam_sam.metrics.scoring import Scores

    out = []
    for row in rows:
        values = {n: math.nan if row.get(n) is None else float(row[n]) for n in METRICS}
        plane = row["number"] if row["kind"] in ("plane", "image") else None
        scores = Scores(values, tuple(row["flags"]))
        out.append(ScoredRow(row["kind"], row["number"], plane, scores))
    return out


def as_text(
    rows: Sequence[ScoredRow],
    about: Mapping[str, Any],
    older: Iterable[ScoredRow] = (),
    delimiter: str = ",",
) -> str:
    """Give rows as a table of text in full precision; an infinite distance stands as ``inf``."""
    text, old = io.StringIO(), list(older)
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([*about, "scored", "kind", "number", *METRICS, "flags", "remarks"])
    fixed = ["" if value is None else value for value in about.values()]
    for row in rows:
        values = [row.scores.values.get(name, math.nan) for name in METRICS]
        numbers = ["" if math.isnan(value) else repr(float(value)) for value in values]
        flags = (" ".join(row.scores.flags), remarks(row, row in old))
        writer.writerow([*fixed, spoken(row), row.kind, row.number, *numbers, *flags])
    return text.getvalue()


def _dress(table: QTableWidget) -> None:
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(22)


def _head(table: QTableWidget, heads: Iterable[tuple[str, str]]) -> None:
    for column, (text, hint) in enumerate(heads):
        item = QTableWidgetItem(text)
        item.setToolTip(hint)
        table.setHorizontalHeaderItem(column, item)


def _place(row: ScoredRow) -> tuple[int, int]:
    return _ORDER[row.kind], row.number


def _shown(metric: str, value: float, digits: int = 3) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if metric == "pointing_hit":
        return "hit" if value else "miss"
    return f"{value:.{digits}f}"
