"""Points and boxes as plain data: what every room may import from this one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Box", "ObjectPrompt", "PlanePrompts", "Point", "Source"]

Source = Literal["cam", "truth", "user"]


@dataclass(frozen=True)
class Point:
    """A point prompt on one plane.

    Attributes
    ----------
    row, column : float
        Pixel indices of the plane: ``(0, 0)`` is the centre of the first pixel.
    positive : bool
        True inside the object, False outside it.
    source : {"cam", "truth", "user"}
        Where the prompt comes from.
    score : float or None
        Heatmap value at the point in [0, 1], where there is a heatmap.

    Examples
    --------
    >>> ncs.Point(row=12, column=30).positive
    True
    >>> ncs.Point(row=2, column=3, positive=False).source
    'user'
    """

    row: float
    column: float
    positive: bool = True
    source: Source = "user"
    score: float | None = None


@dataclass(frozen=True)
class Box:
    """A box prompt on one plane, with exclusive ends.

    Attributes
    ----------
    row_min, column_min : float
        First row and column of the box, in pixel indices of the plane.
    row_max, column_max : float
        One past the last row and column. A margin may take any of the four outside the plane.
    source : {"cam", "truth", "user"}
        Where the prompt comes from.
    score : float or None
        Mean heatmap value inside, in [0, 1], where there is a heatmap.

    Examples
    --------
    >>> box = ncs.Box(row_min=10, column_min=20, row_max=30, column_max=60)
    >>> box.height, box.width
    (20, 40)
    >>> box.contains(30, 20)  # ends are exclusive
    False
    """

    row_min: float
    column_min: float
    row_max: float
    column_max: float
    source: Source = "user"
    score: float | None = None

    @property
    def height(self) -> float:
        """Rows covered, in pixels."""
        return self.row_max - self.row_min

    @property
    def width(self) -> float:
        """Columns covered, in pixels."""
        return self.column_max - self.column_min

    def contains(self, row: float, column: float) -> bool:
        """Tell whether a position lies in the half-open box."""
        return self.row_min <= row < self.row_max and self.column_min <= column < self.column_max


@dataclass(frozen=True)
class ObjectPrompt:
    """All prompts of one object on one plane: any number of points and at most one box.

    Attributes
    ----------
    object_id : int
        Label value of the object's mask, 1 or more.
    points : tuple of Point
    box : Box or None

    Examples
    --------
    >>> prompt = ncs.ObjectPrompt(1, points=(ncs.Point(12, 30),), box=ncs.Box(8, 24, 17, 37))
    >>> len(prompt.points), prompt.box.width
    (1, 13)
    """

    object_id: int = 1
    points: tuple[Point, ...] = ()
    box: Box | None = None


@dataclass(frozen=True)
class PlanePrompts:
    """The prompts of one plane, or the reason why there are none.

    Attributes
    ----------
    axis, index : int
        The plane: array axis of the volume that it cuts, and the index along it.
        ``(0, 0)`` for a 2D image.
    objects : tuple of ObjectPrompt
        One entry an object, ordered by ``object_id``.
    reason : str or None
        Why ``objects`` is empty, for people; None where there are prompts.

    Examples
    --------
    >>> lesion = ncs.ObjectPrompt(1, box=ncs.Box(8, 24, 17, 37))
    >>> prompts = ncs.PlanePrompts(axis=0, index=11, objects=(lesion,))
    >>> prompts.index, [one.object_id for one in prompts.objects]
    (11, [1])
    """

    axis: int = 0
    index: int = 0
    objects: tuple[ObjectPrompt, ...] = field(default=())
    reason: str | None = None

    def coordinates(self) -> tuple[Any, ...]:
        """Return what a segmenter looks at, to be compared: no sources, and no scores."""
        return tuple(
            (
                one.object_id,
                tuple((p.row, p.column, p.positive) for p in one.points),
                one.box
                and (one.box.row_min, one.box.column_min, one.box.row_max, one.box.column_max),
            )
            for one in self.objects
        )
