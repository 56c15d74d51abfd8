"""Classes that the user gives to planes in the viewer, to train a classifier on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.layers.conversion import image_of
from napari_cam_sam.plugin.state.dock_registry import DockRegistry
from napari_cam_sam.plugin.state.shown_image import ShownImage

if TYPE_CHECKING:
    from napari_cam_sam.models.training.samples import SampleSet

__all__ = ["PlaneTags", "TagRun", "single_planes"]

# A layer and its frame; axis and index of a plane.
_Where = tuple[str, int | None]
_Plane = tuple[int, int]


@dataclass(frozen=True, eq=False)
class TagRun:
    """Planes one after the other that have one class.

    Attributes
    ----------
    layer : napari layer
    frame : int or None
        Point in time, of a series.
    axis, first, last : int
    name : str
        The class.
    """

    layer: Any
    frame: int | None
    axis: int
    first: int
    last: int
    name: str


class PlaneTags(QObject):
    """The classes of planes, of every image in the viewer, for as long as the image is there.

    Those of the image that is worked on are saved with its session.

    Parameters
    ----------
    shown : ShownImage
    docks : DockRegistry
        Gives the session the tags.
    parent : QObject
    """

    changed = Signal()

    def __init__(self, shown: ShownImage, docks: DockRegistry, parent: QObject) -> None:
        super().__init__(parent)
        self._shown, self._docks = shown, docks
        self._tags: dict[_Where, dict[_Plane, str]] = {}
        self._classes: list[str] = []
        docks.register_state("plane tags", self.state, self.set_state)

    # Classes

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes there are, in the order in which they were named."""
        return tuple(self._classes)

    def add_class(self, name: str) -> str:
        """Add a class, unless it is there; give its name without blanks around it.

        Raises
        ------
        CamSamError
            For an empty name.
        """
        name = name.strip()
        if not name:
            raise CamSamError("Name the class first, e.g. lesion.")
        if name not in self._classes:
            self._classes.append(name)
            self._tell()
        return name

    def remove_class(self, name: str) -> None:
        """Forget a class and all its tags."""
        self._classes.remove(name)
        for planes in self._tags.values():
            for plane in [p for p, tagged in planes.items() if tagged == name]:
                del planes[plane]
        self._tell()

    # Tags

    def tag(self, axis: int, indices: Iterable[int], name: str | None) -> None:
        """Set the class of planes of the image worked on; None removes it.

        Raises
        ------
        CamSamError
            Without an image, or for an empty name.
        """
        self.tag_each(axis, dict.fromkeys(indices, name))

    def tag_each(self, axis: int, names: dict[int, str | None]) -> None:
        """Set the class of each of several planes, by index; else as `tag`."""
        self._shown.image()
        tags = self._tags.setdefault(self._where(), {})
        names = {i: None if name is None else name.strip() for i, name in names.items()}
        for name in dict.fromkeys(names.values()):
            if name is not None:
                self.add_class(name)
        for index, name in names.items():
            if name is None:
                tags.pop((axis, index), None)
            else:
                tags[axis, index] = name
        self._tell()

    def remove(self, run: TagRun) -> None:
        """Remove the tags of a run of planes."""
        tags = self._tags.get((str(run.layer.unique_id), run.frame), {})
        for index in range(run.first, run.last + 1):
            tags.pop((run.axis, index), None)
        self._tell()

    def tag_of(self, axis: int, index: int) -> str | None:
        """Return the class of a plane of the image worked on."""
        return self._here().get((axis, index))

    def counts(self) -> dict[str, int]:
        """Count the planes of each class, over all images that are there."""
        found = dict.fromkeys(self._classes, 0)
        for _, _, tags in self._there():
            for name in tags.values():
                found[name] += 1
        return found

    def runs(self) -> list[TagRun]:
        """List all tagged planes, those that follow each other with one class as one run."""
        found: list[TagRun] = []
        for layer, frame, tags in self._there():
            begun = len(found)
            for (axis, index), name in sorted(tags.items()):
                before = found[-1] if len(found) > begun else None
                if before is not None and (before.axis, before.last + 1, before.name) == (
                    axis, index, name,
                ):  # fmt: skip
                    found[-1] = replace(before, last=index)
                else:
                    found.append(TagRun(layer, frame, axis, index, index, name))
        return found

    def samples(self) -> SampleSet:
        """Return the tagged planes to train on, an image's as one group; no pixel is read.

        Raises
        ------
        CamSamError
            Where an image is none that can be worked on.
        """
        from napari_cam_sam.models.training.samples import Sample, SampleSet

        found: list[Sample] = []
        for layer, frame, tags in self._there():
            image = image_of(layer, frame)
            flat = image.spatial_ndim == 2
            found.extend(
                Sample(image, name, layer.name, axis, None if flat else index)
                for (axis, index), name in sorted(tags.items())
            )
        return SampleSet(tuple(found))

    # The session

    def state(self) -> dict[str, Any]:
        """Return the tags of the image worked on as plain data, for the session."""
        planes = [[*plane, name] for plane, name in sorted(self._here().items())]
        return {"classes": list(self._classes), "planes": planes}

    def set_state(self, state: dict[str, Any]) -> None:
        """Set the tags of a session for the image worked on, in place of those it has."""
        image = self._shown.image()
        tags = {
            (int(axis), int(index)): str(name)
            for axis, index, name in state["planes"]
            if axis in image.axes and 0 <= index < image.n_planes(axis)
        }
        for name in (*state["classes"], *tags.values()):
            if str(name) not in self._classes:
                self._classes.append(str(name))
        self._tags[self._where()] = tags
        self._tell()

    def _where(self) -> _Where:
        layer: Any = self._shown.layer
        return str(layer.unique_id), self._shown.frame()

    def _here(self) -> dict[_Plane, str]:
        """Return the tags of the image worked on; none without an image."""
        return {} if self._shown.layer is None else self._tags.get(self._where(), {})

    def _there(self) -> Iterator[tuple[Any, int | None, dict[_Plane, str]]]:
        """Return layer, frame and tags of images that are still in the viewer."""
        for layer in self._shown.images():
            for (owner, frame), tags in self._tags.items():
                if owner == str(layer.unique_id) and tags:
                    yield layer, frame, tags

    def _tell(self) -> None:
        self._docks.changed.emit()
        self.changed.emit()


def single_planes(samples: SampleSet, parts: int) -> SampleSet | None:
    """Return samples of which every plane stands alone, where images are too few to split whole.

    Parameters
    ----------
    samples : SampleSet
        From `PlaneTags.samples`.
    parts : int
        Into how many parts they will be split.

    Returns
    -------
    SampleSet or None
        None where each class is in as many images as there are parts.
    """
    images = Counter(label for label, _ in {(one.label, one.group) for one in samples.samples})
    if all(count >= parts for count in images.values()):
        return None
    alone = tuple(replace(sample, group="") for sample in samples.samples)
    return replace(samples, samples=alone)
