"""Which frames belong to one volume, and which volumes are frames of one series over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_cam_sam.images.dicom.frame_values import Vector
from napari_cam_sam.images.dicom.heads import FrameHead
from napari_cam_sam.images.dicom.stacking import distances

__all__ = ["Group", "group_frames"]

_ANGLE = 2e-3
_PLACE = 5e-3


@dataclass(frozen=True)
class Group:
    """Volumes on one grid.

    Attributes
    ----------
    label : str
        What tells it from others of the same series; empty where there are none.
    frames : tuple of (tuple of FrameHead)
        One volume each: points in time, b-values, or images without a place.
    names : tuple of str
        Of the frames, e.g. ``"b 1000"``.
    """

    label: str
    frames: tuple[tuple[FrameHead, ...], ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Key:
    """What may tell frames at one place from one another."""

    value: Callable[[FrameHead], Any]
    words: Callable[[Any], str]


def _tidy(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


_SERIES_KEYS = (
    # Some programs that take names away give each file identifiers of its own: these alone split
    # nothing.
    _Key(lambda f: f.file.frame_of_reference_uid, lambda v: ""),
    _Key(lambda f: f.file.study_uid, lambda v: ""),
    _Key(lambda f: f.values.stack, lambda v: f"stack {v}"),
    _Key(lambda f: f.values.kind or None, lambda v: str(v).replace("\\", " ").lower()),
    _Key(lambda f: f.values.echo, lambda v: f"echo {_tidy(v)} ms"),
    _Key(lambda f: f.values.inversion, lambda v: f"inversion {_tidy(v)} ms"),
)
_FRAME_KEYS = (
    _Key(lambda f: f.values.b_value, lambda v: f"b {_tidy(v)}"),
    _Key(lambda f: f.values.direction, lambda v: "direction " + " ".join(f"{x:.3g}" for x in v)),
    _Key(lambda f: f.values.temporal, lambda v: f"time {_tidy(v)}"),
    _Key(lambda f: f.values.trigger, lambda v: f"trigger {_tidy(v)} ms"),
    _Key(lambda f: f.values.reference_time, lambda v: f"{_tidy(v / 1000)} s"),
    _Key(lambda f: f.values.acquisition, lambda v: f"acquisition {_tidy(v)}"),
    _Key(lambda f: f.values.acquired, lambda v: ""),
)
# Times that differ from slice to slice, too: they order what lies at one place.
_ORDER: tuple[Callable[[FrameHead], Any], ...] = (
    lambda f: f.values.temporal,
    lambda f: f.values.trigger,
    lambda f: f.values.reference_time,
    lambda f: f.values.acquired,
)


def group_frames(frames: Sequence[FrameHead]) -> list[Group]:
    """Group the frames of one series by grid, then by what tells frames at one place apart.

    Parameters
    ----------
    frames : sequence of FrameHead
        Of one series UID, none twice.

    Returns
    -------
    list of Group
    """
    grids = _grids(frames)
    labels = _grid_labels(grids)
    found: list[Group] = []
    for grid, label in zip(grids, labels, strict=True):
        parts = _split(grid)
        names = _told_apart([name for name, _ in parts])
        for more, (_, inside) in zip(names, parts, strict=True):
            found += _complete(" ".join(filter(None, (label, more))), _over_time(inside))
    return found


def _grids(frames: Sequence[FrameHead]) -> list[list[FrameHead]]:
    """Group by what an array must have in common, and by orientation."""
    coarse: dict[Any, list[list[FrameHead]]] = {}
    for frame in frames:
        file = frame.file
        key = (
            frame.rows, frame.columns, file.samples, file.pixel_keyword,
            file.photometric.startswith("MONOCHROME"),
            None if frame.values.spacing is None
            else tuple(float(f"{s:.4g}") for s in frame.values.spacing),
        )  # fmt: skip
        groups = coarse.setdefault(key, [])
        for group in groups:
            if _alike(group[0].values.orientation, frame.values.orientation):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return [group for groups in coarse.values() for group in groups]


def _alike(one: Vector | None, other: Vector | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or all(abs(a - b) <= _ANGLE for a, b in zip(one, other, strict=True))


def _grid_labels(grids: list[list[FrameHead]]) -> list[str]:
    """Return what tells grids of one series apart."""
    firsts = [grid[0] for grid in grids]
    ways: tuple[Callable[[FrameHead], str], ...] = (
        lambda f: _plane(f.values.orientation),
        lambda f: f"{f.rows}×{f.columns}",
        lambda f: "" if f.values.spacing is None else f"{f.values.spacing[0]:.4g} mm",
    )
    parts = [[way(f) for f in firsts] for way in ways]
    kept = [part for part in parts if len(set(part)) > 1]
    labels = [" ".join(filter(None, words)) for words in zip(*kept, strict=True)] or [""] * len(
        grids
    )
    return _told_apart(labels)


def _told_apart(labels: list[str]) -> list[str]:
    often, seen, result = Counter(labels), Counter[str](), []
    for label in labels:
        seen[label] += 1
        more = f"part {seen[label]}" if often[label] > 1 else ""
        result.append(" ".join(filter(None, (label, more))))
    return result


def _plane(orientation: Vector | None) -> str:
    if orientation is None:
        return "no position"
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    return ("sagittal", "coronal", "axial")[int(normal.argmax())]


def _places(frames: Sequence[FrameHead]) -> list[int]:
    """Return the number of the place that each frame lies at."""
    along = distances(frames)
    order = np.argsort(along, kind="stable")
    numbers = np.empty(len(frames), dtype=int)
    numbers[order] = np.concatenate([[0], np.cumsum(np.diff(along[order]) > _PLACE)])
    return [int(n) for n in numbers]


def _crowding(frames: Sequence[FrameHead]) -> int:
    """Return the most frames at one place."""
    return max(Counter(_places(frames)).values())


def _is_placed(frames: Sequence[FrameHead]) -> bool:
    return frames[0].values.orientation is not None


def _by(key: _Key, frames: Sequence[FrameHead]) -> dict[Any, list[FrameHead]]:
    groups: dict[Any, list[FrameHead]] = {}
    for frame in frames:
        groups.setdefault(key.value(frame), []).append(frame)
    return groups


def _sorted_items(groups: dict[Any, list[FrameHead]]) -> list[tuple[Any, list[FrameHead]]]:
    return sorted(groups.items(), key=lambda item: (item[0] is not None, item[0]))


def _split(frames: list[FrameHead]) -> list[tuple[str, list[FrameHead]]]:
    """Split by kind, echo and the like where places are taken more than once."""
    if not _is_placed(frames):
        return [("", frames)]
    return [
        (" ".join(filter(None, (words, label))), inside)
        for words, group in _thinned(_SERIES_KEYS, frames, _crowding(frames))
        for label, inside in _split(group)
    ] or [("", frames)]


def _thinned(
    keys: Sequence[_Key], frames: list[FrameHead], crowding: int
) -> list[tuple[str, list[FrameHead]]]:
    """Split by the first key that puts fewer frames at one place; into nothing if none does."""
    for key in keys:
        groups = _by(key, frames)
        if not 1 < len(groups) <= crowding:
            continue
        if max(_crowding(group) for group in groups.values()) != crowding:
            return [
                ("" if value is None else key.words(value), group)
                for value, group in _sorted_items(groups)
            ]
    return []


def _over_time(frames: list[FrameHead]) -> list[tuple[str, list[FrameHead]]]:
    """Split one grid into frames over time, b-values and so on."""
    if not _is_placed(frames):
        return [("", [frame]) for frame in sorted(frames, key=_in_order)]
    crowding = _crowding(frames)
    if crowding == 1:
        return [("", frames)]
    groups = _thinned(_FRAME_KEYS, frames, crowding)
    if groups:
        return [
            (", ".join(filter(None, (words, name))), inside)
            for words, group in groups
            for name, inside in _over_time(group)
        ]
    if crowding == len(frames):
        return [("", [frame]) for frame in sorted(frames, key=_in_order)]
    return _ranked(frames, crowding) or [("", frames)]


def _ranked(frames: list[FrameHead], crowding: int) -> list[tuple[str, list[FrameHead]]] | None:
    """Take the first in time at each place as one frame, the second as the next, and so on."""
    places: dict[int, list[FrameHead]] = {}
    for place, frame in zip(_places(frames), frames, strict=True):
        places.setdefault(place, []).append(frame)
    if any(len(group) != crowding for group in places.values()):
        return None
    for value in _ORDER:
        if all(
            len({value(f) for f in group}) == crowding and all(value(f) is not None for f in group)
            for group in places.values()
        ):
            ordered = [sorted(group, key=value) for group in places.values()]
            return [("", [group[i] for group in ordered]) for i in range(crowding)]
    return None


def _in_order(frame: FrameHead) -> tuple[Any, ...]:
    """Sort frames of one place, or of none: as they were made."""
    values = frame.values
    return (
        values.temporal or 0.0,
        values.trigger or 0.0,
        frame.file.instance_number or 0,
        frame.file.sop_instance_uid,
        frame.number,
    )


def _complete(label: str, volumes: list[tuple[str, list[FrameHead]]]) -> list[Group]:
    """Keep volumes of as many slices together; a part of one stands by itself."""
    sizes = Counter(len(frames) for _, frames in volumes)
    groups = []
    for size, _ in sizes.most_common():
        same = [(name, frames) for name, frames in volumes if len(frames) == size]
        words = label
        if len(sizes) > 1:
            words = f"{label} {size} slice{'s' * (size > 1)}".strip()
        groups.append(
            Group(
                words, tuple(tuple(frames) for _, frames in same), tuple(name for name, _ in same)
            )
        )
    return groups
