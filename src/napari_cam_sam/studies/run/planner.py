"""Which settings of a study go over an image together, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.images.image import Image
from napari_cam_sam.pipeline.parameters import RunParameters
from napari_cam_sam.pipeline.planes import checked_planes
from napari_cam_sam.studies.config.settings import Setting

__all__ = ["HeatmapKey", "SettingGroup", "all_columns", "group_settings", "heatmap_key"]

# Labels and heatmaps of a volume that are held at once, for its scores as a whole.
_MOST_BYTES = 2 << 30

HeatmapKey = tuple[str | None, RunParameters]
"""Settings with the same one share their heatmaps; without a classifier, their planes alone."""


@dataclass(eq=False)
class SettingGroup:
    """Settings that go over the same planes together, and what they have found so far.

    Attributes
    ----------
    settings : list of Setting
    indices : range
        Of the planes.
    labels, heatmaps : dict of ndarray, shape of the image's grid
        By the setting's name, and by `HeatmapKey`; of volumes that have a truth.
    prompted : set of str
        Settings that had prompts on some plane.
    broken : set
        Names and keys of what has failed and is not tried again.
    """

    settings: list[Setting]
    indices: range
    labels: dict[str, NDArray[Any]] = field(default_factory=dict)
    prompted: set[str] = field(default_factory=set)
    heatmaps: dict[HeatmapKey, NDArray[np.float32]] = field(default_factory=dict)
    broken: set[Any] = field(default_factory=set)

    def keep_labels(
        self, name: str, where: Any, labels: NDArray[Any], shape: Sequence[int]
    ) -> None:
        """Keep a plane's labels, in the widest type that any plane has."""
        whole = self.labels.get(name)
        if whole is None or whole.dtype.itemsize < labels.dtype.itemsize:
            before, whole = whole, np.zeros(shape, labels.dtype)
            if before is not None:
                whole[...] = before
            self.labels[name] = whole
        whole[where] = labels


def heatmap_key(setting: Setting) -> HeatmapKey:
    """Return what settings with the same heatmaps have in common.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    HeatmapKey
    """
    run, plain = setting.run, RunParameters()
    cam = plain.cam if setting.classifier is None else run.cam
    # The truth may be what the score of a segmentation network is summed over.
    own = RunParameters(run.axis, run.planes, run.window, cam=cam, truth_label=run.truth_label)
    return setting.classifier, own


def group_settings(settings: Sequence[Setting], image: Image) -> Iterator[SettingGroup]:
    """Put settings over the same planes together, as many as the memory takes.

    Parameters
    ----------
    settings : sequence of Setting
    image : Image

    Yields
    ------
    SettingGroup
        Settings that share heatmaps side by side.
    """
    voxels = int(np.prod(image.spatial_shape)) if image.spatial_ndim == 3 else 0

    def planes(setting: Setting) -> tuple[int, str]:
        return setting.run.axis, str(setting.run.planes)

    def group(chosen: list[Setting]) -> SettingGroup:
        return SettingGroup(chosen, checked_planes(image, chosen[0].run))

    for _, same in groupby(sorted(settings, key=planes), planes):
        chosen: list[Setting] = []
        for setting in sorted(same, key=lambda one: str(heatmap_key(one))):
            keys = {heatmap_key(one) for one in [*chosen, setting]}
            if chosen and voxels * (len(chosen) + 1 + 4 * len(keys)) > _MOST_BYTES:
                yield group(chosen)
                chosen = []
            chosen.append(setting)
        yield group(chosen)


def all_columns(settings: Iterable[Setting]) -> list[dict[str, str]]:
    """Return the columns of settings, and once those of each heatmap that they share.

    Parameters
    ----------
    settings : iterable of Setting

    Returns
    -------
    list of dict of str to str
        See `Setting.columns`.
    """
    own, heatmaps = [], {}
    for setting in settings:
        own.append(setting.columns())
        if setting.classifier is not None:
            columns = setting.heatmap_columns()
            heatmaps[columns["setting"]] = columns
    return [*own, *heatmaps.values()]
