"""A classifier or a network that is loaded, and what there is to choose of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.torch_import import import_torch
from napari_cam_sam.plugin.state.heatmap_record import PREDICTED

if TYPE_CHECKING:
    from napari_cam_sam.models.classifiers import Classifier
    from napari_cam_sam.models.segmentation import SegmentationNetwork

__all__ = ["LoadedClassifier", "described", "load"]


@dataclass(frozen=True, eq=False)
class LoadedClassifier:
    """A classifier or a segmentation network, and what there is to choose of it.

    Attributes
    ----------
    classifier : Classifier or SegmentationNetwork
    layers : tuple of (str, str)
        Name of each layer that has a grid, and the grid in words.
    segments : bool
        Whether it is a segmentation network, of which a set of pixels is explained.
    of_volumes : bool
        Whether it is one that takes whole volumes: a 3D one, or a bundle's of slices.
    guesses : bool
        Whether its training found that it may be no better than guessing.
    """

    classifier: Classifier | SegmentationNetwork
    layers: tuple[tuple[str, str], ...]
    segments: bool = False
    of_volumes: bool = False
    guesses: bool = False

    @property
    def has_order(self) -> bool:
        """Whether it sees planes whose rows and columns may lie the other way round."""
        prepared = getattr(self.classifier.card, "preparation", None) is not None
        return not (self.of_volumes or prepared)

    def target(self, wanted: Iterable[str | None]) -> str:
        """Return the first wanted class that it knows; else the finding, or `PREDICTED`."""
        names = self.classifier.card.class_names
        for one in wanted:
            if one is not None and (one == PREDICTED or one in names):
                return one
        # The last of two is the finding, where the first is its absence; a single one is it, too.
        return names[-1] if len(names) <= 2 else PREDICTED

    def layer(self, wanted: Iterable[str | None]) -> str | None:
        """Return the first wanted layer that it has; else its default."""
        names = [name for name, _ in self.layers]
        for one in wanted:
            if one in names:
                return one
        return (*self.classifier.default_layers, None)[0]


def load(name: str, device: str, plane_order: str | None = None) -> LoadedClassifier:
    """Load a classifier or a network, and list the layers that have a grid; in a thread.

    Parameters
    ----------
    name, device : str
    plane_order : str, optional
        As of :func:`~napari_cam_sam.models.loading.load_model`.

    Returns
    -------
    LoadedClassifier
    """
    import_torch()
    # The preview of a strategy needs it, and would load it while the window waits.
    import skimage.measure  # noqa: F401

    from napari_cam_sam.models.loading import load_model
    from napari_cam_sam.models.model import list_layers

    # A factory that a session names may lie beside it: the working folder is not searched.
    model = load_model(name, device=device, working_folder=False, plane_order=plane_order)
    axes = len(model.card.input_size) + 2
    layers = [
        (layer.name, " × ".join(str(int(n)) for n in layer.shape[2:]))
        for layer in list_layers(model)
        if len(layer.shape) == axes and min(layer.shape[2:]) > 1
    ]
    return described(model, layers)


def described(
    model: Classifier | SegmentationNetwork, layers: Iterable[tuple[str, str]] = ()
) -> LoadedClassifier:
    """Describe a model by its card.

    Parameters
    ----------
    model : Classifier or SegmentationNetwork
    layers : iterable of (str, str)
        Name and grid of the layers that have one, as far as that is known.

    Returns
    -------
    LoadedClassifier
    """
    grids = dict(layers)
    for name in model.default_layers:
        # Only the method knows the grid of some, such as a transformer's.
        grids.setdefault(name, "model-specific")
    segments = hasattr(model.card, "spatial_dims")
    volumes = getattr(model.card, "sees_volumes", False)
    guesses = _guesses(getattr(model, "training", None))
    return LoadedClassifier(model, tuple(grids.items()), segments, volumes, guesses)


def _guesses(record: Mapping[str, Any] | None) -> bool:
    """Check whether the record of a training warns of the classifier."""
    if record is None:
        return False
    from napari_cam_sam.models.training.figures import warning_of
    from napari_cam_sam.models.training.record import figures_in

    with suppress(CamSamError):  # of another program, whose figures say nothing here
        return bool(warning_of(figures_in(record)))
    return False
