"""What a training came to is read in whichever size of text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cam_sam.plugin.training.report import TrainingReport

NAMES = ("benign", "malignant")


def figures() -> Any:
    score = {"n": 4, "precision": 0.5, "recall": 0.25, "f1": 0.75, "auroc": 0.625}
    return SimpleNamespace(
        n=8,
        classes=[SimpleNamespace(name=name, **score) for name in NAMES],
        confusion=((3, 1), (2, 2)),
        reliability=[SimpleNamespace(confidence=c, accuracy=c, n=4) for c in (0.6, 0.8)],
    )


@pytest.mark.parametrize("first", [9, 16])
@pytest.mark.parametrize("then", [9, 16])
def test_tables_and_plots_fit_the_text_at_the_start_and_later(
    qtbot: Any, first: int, then: int
) -> None:
    dock = QWidget()
    qtbot.addWidget(dock)
    dock.setStyleSheet(f"* {{font-size: {first}pt;}}")
    report = TrainingReport(ViewerModel())
    QVBoxLayout(dock).addWidget(report)
    report._show_classes(figures())
    report._show_confusion(figures())
    report.calibration.show_figures(figures())
    dock.resize(360, 800)
    dock.show()
    qtbot.waitExposed(dock)
    dock.setStyleSheet(f"* {{font-size: {then}pt;}}")
    for table in (report.classes, report.confusion):
        rows = table.verticalHeader().length()
        # All rows are seen, above a bar where the columns are scrolled.
        qtbot.waitUntil(lambda t=table: t.viewport().height() >= t.verticalHeader().length())
        assert rows >= 2 * table.fontMetrics().height()
        heads = table.horizontalHeader()
        for column in range(table.columnCount()):
            name = table.horizontalHeaderItem(column).text()
            assert heads.sectionSize(column) >= heads.fontMetrics().horizontalAdvance(name)

    def size() -> float:
        (axes,) = report.calibration.figure.axes
        return float(axes.xaxis.label.get_fontsize())

    plot = report.calibration
    qtbot.waitUntil(lambda: plot.figure is not None and abs(size() - (then - 1)) < 0.5)
    (axes,) = report.calibration.figure.axes
    assert axes.get_title() == "Right as often as sure?"
