"""The widgets that docks are made of."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QContextMenuEvent, QHelpEvent, QWheelEvent
from qtpy.QtWidgets import QApplication, QLabel, QMenu, QScrollArea, QToolTip, QVBoxLayout, QWidget

from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.qt.messages import WrappingLabel
from napari_cam_sam.plugin.qt.parameter_form import ParameterForm
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.widgets import (
    FractionSlider,
    Section,
    SpinBox,
    Tabs,
    ValueComboBox,
    button,
    checkbox,
    form_layout,
    hbox,
    vbox,
)
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.training.training_dock import TrainingDock


def _turn(widget: QWidget) -> bool:
    """Turn the wheel over a widget; True where the widget kept that to itself."""
    point = QPointF(widget.rect().center())
    event = QWheelEvent(
        point,
        QPointF(widget.mapToGlobal(widget.rect().center())),
        QPoint(),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)
    return event.isAccepted()


@pytest.mark.parametrize("kind", ["choice", "number", "slider", "fraction", "tabs"])
def test_the_wheel_scrolls_the_dock_and_changes_nothing_on_the_way(qtbot: Any, kind: str) -> None:
    choice, number, fraction = ValueComboBox("one"), SpinBox(), FractionSlider("part")
    choice.offer((str(i), i) for i in range(9))
    dock = QWidget()
    rows = QVBoxLayout(dock)
    for one in (choice, number, fraction):
        rows.addWidget(one)
    qtbot.addWidget(dock)
    dock.show()
    qtbot.waitExposed(dock)
    choice.set_value(4)
    number.setValue(40)
    fraction.set_value(0.4)
    pages = Tabs()
    for i in range(3):
        pages.addTab(QWidget(), str(i))
    rows.addWidget(pages)
    over = {
        "tabs": pages.tabBar(),
        "choice": choice,
        "number": number,
        "slider": fraction.slider,
        "fraction": fraction.number,
    }
    # What a widget does not keep goes on to the scroll area that it lies in.
    assert not _turn(over[kind])
    assert (choice.value(), number.value(), fraction.value()) == (4, 40, 0.4)
    assert pages.currentIndex() == 0


def test_a_file_is_put_on_the_list_once(qapp: Any) -> None:
    choice = ValueComboBox("a model")
    choice.offer([("none", None), ("shipped", "shipped")])
    for _ in range(2):
        choice.add_path("/somewhere/else/model.pth", place=1)
        assert choice.value() == "/somewhere/else/model.pth"
    assert [choice.itemText(i) for i in range(choice.count())] == ["none", "model.pth", "shipped"]
    choice.add_path("shipped", place=1)
    assert choice.currentText() == "shipped"
    assert choice.count() == 3


@dataclass(frozen=True)
class _Rules:
    """Rules that can be off.

    Attributes
    ----------
    least : float or None
        A part.
    most : int or None
        Planes.
    far : float or None
        In mm.
    """

    least: float | None = 0.5
    most: int | None = None
    far: float | None = None


def test_a_rule_is_switched_off_and_comes_back_as_it_was(qapp: Any) -> None:
    form = ParameterForm(_Rules, {"most": 7, "far": 12.5})
    form.set_value(_Rules())
    told: list[_Rules] = []
    form.changed.connect(lambda: told.append(form.value()))
    assert form.value() == _Rules()
    least, most, far = (form.widget(name) for name in ("least", "most", "far"))
    assert not far.inner.isEnabled()
    for one in (most, far):
        one.switch.click()
    assert form.value() == _Rules(0.5, 7, 12.5)
    assert type(form.value().most) is int
    assert far.inner.isEnabled()
    least.inner.number.setValue(0.25)
    least.switch.click()
    assert form.value() == _Rules(None, 7, 12.5)
    least.switch.click()
    assert told == [
        _Rules(0.5, 7),
        _Rules(0.5, 7, 12.5),
        _Rules(0.25, 7, 12.5),
        _Rules(None, 7, 12.5),
        _Rules(0.25, 7, 12.5),
    ]
    assert far.switch.toolTip() == "In mm."


def test_a_group_with_rules_that_are_off_is_told_once(qapp: Any) -> None:
    form = ParameterForm(_Rules)
    form.set_value(_Rules(None, 3))
    told: list[_Rules] = []
    form.changed.connect(lambda: told.append(form.value()))
    for wanted in (_Rules(0.75, None, 2.5), _Rules(0.75, None, 2.5), _Rules(0.0, 0, 0.0)):
        form.set_value(wanted)
        assert form.value() == wanted
    assert len(told) == 2


def test_a_form_that_was_given_nonsense_is_heard_afterwards(qapp: Any) -> None:
    form = ParameterForm(_Rules, {"far": 12.5})
    told: list[_Rules] = []
    form.changed.connect(lambda: told.append(form.value()))
    with pytest.raises(TypeError):
        form.set_value(_Rules(0.5, "many"))  # type: ignore[arg-type]
    form.widget("far").switch.click()
    assert [one.far for one in told] == [12.5]


@dataclass(frozen=True)
class _Numbers:
    """Numbers that a form shows.

    Attributes
    ----------
    part : float
        In [0, 1].
    area : int
        Pixels.
    rate : float
        A small one.
    """

    part: float = 0.5
    area: int = 0
    rate: float = 1e-3


def test_what_is_set_comes_back_exactly_until_it_is_changed(qapp: Any) -> None:
    form = ParameterForm(_Numbers)
    wanted = _Numbers(512 / 1500, 250_000, 2.5e-7)
    form.set_value(wanted)
    assert form.value() == wanted
    assert form.widget("part").number.text() == "0.341333"
    assert form.widget("area").value() == 250_000
    form.widget("area").setValue(7)
    assert form.value() == replace(wanted, area=7)
    form.widget("part").number.setValue(0.125)
    form.widget("rate").setValue(3e-4)
    assert form.value() == _Numbers(0.125, 7, 3e-4)
    assert form.widget("rate").text() == "0.0003"
    form.set_value(_Numbers())
    assert form.widget("part").number.text() == "0.50"


def test_a_long_path_asks_for_no_wider_dock(qapp: Any) -> None:
    words = WrappingLabel("Saved to /a" + "/folder_of_a_session" * 20)
    assert words.text().endswith("/folder_of_a_session")
    plain = QLabel(words.text())
    words.resize(200, 10)
    plain.resize(200, 10)
    # Broken into lines, it needs many; what cannot be broken is one and goes over the edge.
    assert words.heightForWidth(200) > 5 * plain.fontMetrics().height()
    box = QWidget()
    layout = QVBoxLayout(box)
    layout.addWidget(words)
    assert box.minimumSizeHint().width() < 100


def test_only_the_page_that_is_seen_asks_for_room(qapp: Any) -> None:
    pages, wide, narrow = Tabs(), QLabel("many words " * 20), QLabel("few")
    for one in (narrow, wide):
        pages.addTab(one, "page")
    before = pages.minimumSizeHint().width()
    assert before < wide.minimumSizeHint().width()
    pages.setCurrentWidget(wide)
    assert pages.minimumSizeHint().width() >= wide.minimumSizeHint().width()


def test_buttons_lie_below_each_other_where_the_dock_is_narrow(qtbot: Any) -> None:
    first, second = button("Segment this slice", ""), button("Segment all slices", "")
    dock = QWidget()
    dock.setLayout(hbox(first, second))
    qtbot.addWidget(dock)
    dock.resize(first.sizeHint().width() + second.sizeHint().width() + 50, 100)
    dock.show()
    qtbot.waitExposed(dock)
    assert first.y() == second.y()
    low = dock.heightForWidth(dock.width())
    dock.resize(first.sizeHint().width() + 50, 100)
    QApplication.processEvents()
    assert second.y() >= first.y() + first.height()
    assert dock.heightForWidth(dock.width()) > low
    second.hide()
    QApplication.processEvents()
    assert dock.heightForWidth(dock.width()) == low


@pytest.mark.parametrize("make", [button, checkbox])
def test_a_text_without_room_ends_in_an_ellipsis(qtbot: Any, make: Any) -> None:
    def painted(text: str, width: int) -> Any:
        one = make(text, "")
        qtbot.addWidget(one)
        one.resize(width, 30)
        return one.grab().toImage()

    text = "Segment all slices with prompts"
    one = make(text, "")
    qtbot.addWidget(one)
    assert one.minimumSizeHint().width() < 0.7 * one.sizeHint().width()
    width = one.sizeHint().width() - 60
    # Whatever the text goes on with, the same is seen of it.
    assert painted(text, width) == painted(text + " of this volume", width)
    assert painted(text, width + 60) != painted(text + " of this volume", width + 60)


def test_what_is_copied_of_a_text_is_as_it_was_set(qtbot: Any) -> None:
    words = WrappingLabel("Saved to /a/folder_of_mine")
    words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    qtbot.addWidget(words)
    words.setSelection(0, len(QLabel.text(words)))
    qtbot.keyClick(words, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text() == "Saved to /a/folder_of_mine"


def test_a_text_that_cannot_be_selected_has_no_menu_to_copy_it(
    qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(QMenu, "exec", lambda *given: opened.append(given))
    words = WrappingLabel("Saved to /a/folder_of_mine")
    qtbot.addWidget(words)
    event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, QPoint(2, 2), QPoint(2, 2))
    words.contextMenuEvent(event)
    # The window's own menu opens then.
    assert not opened
    assert not event.isAccepted()
    words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    words.contextMenuEvent(event)
    assert len(opened) == 1


def test_a_line_that_comes_or_goes_moves_nothing_below(qtbot: Any) -> None:
    dock, words, below = QWidget(), WrappingLabel("a few words"), button("Below", "")
    rows = QVBoxLayout(dock)
    rows.addWidget(words)
    rows.addWidget(below)
    rows.addStretch()
    qtbot.addWidget(dock)
    dock.resize(200, 600)
    dock.show()
    qtbot.waitExposed(dock)
    one_line = below.y()
    words.setText("so many words that they need a line more")
    qtbot.waitUntil(lambda: below.y() > one_line)
    more = below.y()
    for text in ("a few words", "", "so many words that they need one more"):
        words.setText(text)
        QApplication.processEvents()
        assert below.y() == more
    # A very long one leaves no hole.
    words.setText("very many words " * 60)
    QApplication.processEvents()
    words.setText("")
    QApplication.processEvents()
    assert below.y() <= one_line + 3 * words.fontMetrics().lineSpacing()


def test_the_bar_of_a_task_leaves_its_room_when_it_goes(qtbot: Any) -> None:
    row = TaskProgress()
    qtbot.addWidget(row)
    row.show()
    row.start(lambda: iter([1]), 1, "work", lambda _: None)
    high = row.sizeHint().height()
    qtbot.waitUntil(lambda: not row.busy)
    assert not row.bar.isVisible()
    assert row.sizeHint().height() == high


def test_a_task_and_what_it_says_move_nothing_below(qtbot: Any) -> None:
    dock, row, below = QWidget(), TaskProgress(lines=2), button("Below", "")
    rows = QVBoxLayout(dock)
    rows.addWidget(row)
    rows.addWidget(below)
    rows.addStretch()
    qtbot.addWidget(dock)
    dock.resize(300, 600)
    dock.show()
    qtbot.waitExposed(dock)
    qtbot.wait(20)
    place, seen = below.y(), Event()

    def steps() -> Generator[int]:
        seen.wait(60)
        yield 1

    row.set_message("Scoring the labels of an image against its ground truth…")
    row.start(steps, 1, "work", lambda _: None)
    QApplication.processEvents()
    assert row.bar.isVisible()
    assert below.y() == place
    seen.set()
    qtbot.waitUntil(lambda: not row.busy)
    row.set_message("")
    QApplication.processEvents()
    assert below.y() == place


def test_a_section_that_is_opened_comes_into_sight(qtbot: Any) -> None:
    area, inside, content = QScrollArea(), QWidget(), QWidget()
    content.setMinimumHeight(300)
    above = QWidget()
    above.setMinimumHeight(370)
    section = Section("4  Scores", content, opened=False)
    vbox(inside, above, section)
    area.setWidget(inside)
    area.setWidgetResizable(True)
    qtbot.addWidget(area)
    area.resize(300, 400)
    area.show()
    qtbot.waitExposed(area)
    bar = area.verticalScrollBar()
    assert bar.value() == 0
    section.title.click()
    qtbot.waitUntil(lambda: bar.value() == bar.maximum() > 200)
    section.title.click()
    qtbot.waitUntil(lambda: bar.maximum() < 100)


def test_two_numbers_stay_side_by_side(qapp: Any) -> None:
    dock, numbers = QWidget(), [SpinBox(), SpinBox()]
    dock.setLayout(hbox(*numbers))
    assert dock.minimumSizeHint().width() >= 2 * numbers[0].minimumSizeHint().width()


def test_two_numbers_side_by_side_are_shown_whole_in_a_narrow_form(qtbot: Any) -> None:
    form, pair = QWidget(), QWidget()
    numbers = SpinBox(maximum=4096), SpinBox(maximum=4096)
    hbox(*numbers, parent=pair)
    form.setLayout(form_layout([("Input size", pair)]))
    qtbot.addWidget(form)
    # What napari's theme does: numbers may be as narrow as one likes.
    form.setStyleSheet("QSpinBox { min-width: 10px; padding: 2px 20px; }")
    form.show()
    letter = form.fontMetrics().averageCharWidth()
    label = form.fontMetrics().horizontalAdvance("Input size")
    for room, beside in ((18, False), (30, True)):
        form.resize(label + room * letter, 200)
        wanted = "DontWrapRows" if beside else "WrapAllRows"
        qtbot.waitUntil(lambda wanted=wanted: form.layout().rowWrapPolicy().name == wanted)


def test_a_title_that_is_cut_is_told_whole_in_a_tooltip(qtbot: Any) -> None:
    part = Section("Propagation and stopping rules", QLabel())
    qtbot.addWidget(part)
    part.show()
    for width, told in ((120, "Propagation and stopping rules"), (600, "")):
        QToolTip.hideText()
        qtbot.waitUntil(lambda: not QToolTip.text())
        part.resize(width, 60)
        qtbot.waitUntil(lambda width=width: part.title.width() > width - 40)
        at = part.title.rect().center()
        QApplication.sendEvent(
            part.title, QHelpEvent(QEvent.Type.ToolTip, at, part.title.mapToGlobal(at))
        )
        assert QToolTip.text() == told


@pytest.mark.parametrize("pixels", [12, 27])
def test_a_number_with_many_decimals_is_shown_whole(qtbot: Any, pixels: int) -> None:
    slider = FractionSlider()
    slider.setStyleSheet(f"QDoubleSpinBox {{ font-size: {pixels}px; }}")
    dock = QWidget()
    qtbot.addWidget(dock)
    QVBoxLayout(dock).addWidget(slider)
    dock.resize(0, 0)
    dock.show()
    qtbot.waitExposed(dock)
    slider.set_value(0.341333)
    number = slider.number

    def is_whole() -> bool:
        room = number.lineEdit().width()
        return bool(room >= number.fontMetrics().horizontalAdvance("0.341333") + 4)

    qtbot.waitUntil(is_whole, timeout=3000)


@pytest.mark.parametrize("points", [10, 17])
def test_what_lies_below_a_line_of_a_dock_stays_where_it_is(qtbot: Any, points: int) -> None:
    model = ViewerModel()
    segment, train, prompts = SegmentDock(model), TrainingDock(model), PromptsDock(model)
    for line, below in (
        (segment.review.shown, segment.review.accept),
        (train.plan, train.run),
        (prompts.row.words, prompts.found),
    ):
        dock = line.parentWidget()
        while dock.parentWidget() is not None:
            dock = dock.parentWidget()
        qtbot.addWidget(dock)
        dock.setStyleSheet(f"* {{ font-size: {points}pt; }}")
        dock.resize(330, 900)
        dock.show()
        qtbot.waitExposed(dock)
        line.setText("Preview (C accepts): mask 1 of 3, expected IoU 0.91. " * 2)
        qtbot.wait(20)
        place = below.mapTo(dock, QPoint(0, 0))
        line.setText("No mask.")
        qtbot.wait(20)
        assert below.mapTo(dock, QPoint(0, 0)) == place
        dock.hide()
