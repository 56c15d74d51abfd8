"""What lets a dock be narrow: texts that end in an ellipsis, and rows that become columns."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QRect, QSize, Qt
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QBoxLayout,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionButton,
    QStyleOptionComboBox,
    QStyleOptionToolButton,
    QStylePainter,
    QToolButton,
    QToolTip,
    QWidget,
)

from napari_cam_sam.plugin.qt.plain_text import plain_tip

__all__ = [
    "ElidedButton",
    "ElidedCheckBox",
    "ElidedComboBox",
    "ElidedToolButton",
    "FormLayout",
    "Row",
]

_LEAST = 10  # characters of a button that are always seen
_FIELD = 17  # characters of a form that are always seen: a slider, a number and its buttons
_NUMBER = 11  # characters of each of several numbers side by side


class _Elided:
    """A button of any kind whose text ends in an ellipsis where the dock is too narrow for it."""

    _option: Any = QStyleOptionButton

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt calls it so
        """Ask for room for some characters."""
        button: Any = self
        hint, metrics = button.sizeHint(), button.fontMetrics()
        beside = hint.width() - metrics.horizontalAdvance(button.text())
        return QSize(min(hint.width(), beside + _LEAST * metrics.averageCharWidth()), hint.height())

    def paintEvent(self, _: Any) -> None:  # noqa: N802 - Qt calls it so
        """Paint as much of the text as there is room for."""
        button: Any = self
        option = self._option()
        button.initStyleOption(option)
        missing = self._missing()
        if missing > 0:
            room = option.fontMetrics.horizontalAdvance(button.text()) - missing
            option.text = _elided(option, button.text(), room)
        self._paint_text(QStylePainter(button), option)

    def event(self, event: Any) -> bool:
        """Show the whole text in a tooltip, where it is cut and nothing else is told."""
        button: Any = self
        if event.type() == QEvent.Type.ToolTip and self._missing() > 0 and not button.toolTip():
            QToolTip.showText(event.globalPos(), plain_tip(button.text()), button)
            return True
        parent: Any = super()
        return bool(parent.event(event))

    def _missing(self) -> int:
        button: Any = self
        return int(button.sizeHint().width() - button.width())

    def _paint_text(self, painter: Any, option: Any) -> None:
        painter.drawControl(QStyle.ControlElement.CE_PushButton, option)


class ElidedButton(_Elided, QPushButton):
    """A button that may be narrower than its text.

    Parameters
    ----------
    text : str
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)


class ElidedCheckBox(_Elided, QCheckBox):
    """A check box that may be narrower than its text.

    Parameters
    ----------
    text : str
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def _paint_text(self, painter: Any, option: Any) -> None:
        painter.drawControl(QStyle.ControlElement.CE_CheckBox, option)


class ElidedToolButton(_Elided, QToolButton):
    """A flat button as wide as there is room, which may be narrower than its text."""

    _option = QStyleOptionToolButton

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def _paint_text(self, painter: Any, option: Any) -> None:
        painter.drawComplexControl(QStyle.ComplexControl.CC_ToolButton, option)


class ElidedComboBox(QComboBox):
    """A list whose chosen text ends in an ellipsis where it is longer than the list is wide."""

    def paintEvent(self, _: Any) -> None:  # noqa: N802 - Qt calls it so
        """Paint as much of the text as there is room for."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        text = option.currentText if self.currentIndex() >= 0 else self.placeholderText()
        field = QStyle.SubControl.SC_ComboBoxEditField
        box = QStyle.ComplexControl.CC_ComboBox
        room = self.style().subControlRect(box, option, field, self).width() - 4
        option.currentText = _elided(option, text, room)
        painter = QStylePainter(self)
        painter.drawComplexControl(box, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


def _elided(option: Any, text: str, room: int) -> str:
    return str(option.fontMetrics.elidedText(text, Qt.TextElideMode.ElideRight, room))


class Row(QBoxLayout):
    """Widgets side by side, or one below the other where there is no room for all.

    Parameters
    ----------
    parent : QWidget, optional
        That gets the layout.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(QBoxLayout.Direction.LeftToRight, parent)

    def minimumSize(self) -> QSize:  # noqa: N802 - Qt calls it so
        """Return the room for the widest of them."""
        whole = super().minimumSize()
        return QSize(
            max((one.minimumSize().width() for one in self._shown()), default=0), whole.height()
        )

    def hasHeightForWidth(self) -> bool:  # noqa: N802 - Qt calls it so
        """Return True: it is higher where it is narrow."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt calls it so
        """Return the height at a width."""
        heights = [one.sizeHint().height() for one in self._shown()]
        if not heights:
            return 0
        if self._fits(width):
            return max(heights)
        return sum(heights) + self.spacing() * (len(heights) - 1)

    def setGeometry(self, place: QRect) -> None:  # noqa: N802 - Qt calls it so
        """Lay out the widgets in the direction that has room for them."""
        directions = QBoxLayout.Direction.TopToBottom, QBoxLayout.Direction.LeftToRight
        wanted = directions[self._fits(place.width())]
        if self.direction() != wanted:
            self.setDirection(wanted)
        super().setGeometry(place)

    def _shown(self) -> list[Any]:
        items = [self.itemAt(i) for i in range(self.count())]
        return [one for one in items if not one.isEmpty()]

    def _fits(self, width: int) -> bool:
        widths = [one.sizeHint().width() for one in self._shown()]
        return sum(widths) + self.spacing() * (len(widths) - 1) <= width


class FormLayout(QFormLayout):
    """Labels beside their fields, or all above them where there is no room for both.

    Qt's own wrapping of long rows leaves some fields beside their labels, narrower than they can
    be.

    Parameters
    ----------
    parent : QWidget, optional
        That gets the layout.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setContentsMargins(0, 0, 0, 0)
        self.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

    def minimumSize(self) -> QSize:  # noqa: N802 - Qt calls it so
        """Return the room with the labels above the fields."""
        widths = [one.minimumSize().width() for row in self._shown() for one in row]
        return QSize(max(widths, default=0), super().minimumSize().height())

    def hasHeightForWidth(self) -> bool:  # noqa: N802 - Qt calls it so
        """Return True: it is higher where it is narrow."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt calls it so
        """Return the height at a width."""
        beside, height = self._fits(width), 0
        for row in self._shown():
            heights = [
                max(one.sizeHint().height(), one.hasHeightForWidth() * one.heightForWidth(width))
                for one in row
            ]
            height += max(heights) if beside else sum(heights) + self._gap() * (len(row) - 1)
        return height + self._gap() * max(0, len(self._shown()) - 1)

    def setGeometry(self, place: QRect) -> None:  # noqa: N802 - Qt calls it so
        """Lay out the rows as there is room for them."""
        wraps = QFormLayout.RowWrapPolicy.WrapAllRows, QFormLayout.RowWrapPolicy.DontWrapRows
        wanted = wraps[self._fits(place.width())]
        if self.rowWrapPolicy() != wanted:
            self.setRowWrapPolicy(wanted)
        super().setGeometry(place)

    def _shown(self) -> list[list[Any]]:
        """Return what each row that is seen has: a label and a field, or one thing."""
        roles = QFormLayout.ItemRole
        rows = [
            [
                self.itemAt(i, role)
                for role in (roles.LabelRole, roles.FieldRole, roles.SpanningRole)
            ]
            for i in range(self.rowCount())
        ]
        seen = [[one for one in row if one is not None and not one.isEmpty()] for row in rows]
        return [row for row in seen if row]

    def _gap(self) -> int:
        return max(0, self.verticalSpacing())

    def _fits(self, width: int) -> bool:
        pairs = [row for row in self._shown() if len(row) == 2]
        if not pairs:
            return True
        labels, fields = zip(*pairs, strict=True)
        label = max(one.sizeHint().width() for one in labels)
        # napari lets a number be narrower than its digits.
        numbers = max(len(one.widget().findChildren(QAbstractSpinBox)) for one in fields)
        least = max(_FIELD, numbers * _NUMBER) * labels[0].widget().fontMetrics().averageCharWidth()
        field = max(least, *(one.minimumSize().width() for one in fields))
        return label + max(0, self.horizontalSpacing()) + field <= width
