"""Heatmaps of planes: lazily, batch by batch, on the planes' own pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.methods import METHODS, RawMaps, raw_maps, warn_if_unguided
from napari_cam_sam.cam.upscale import grid_to_plane, resize_grid
from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.letterbox import Letterbox
from napari_cam_sam.models.classifiers import Classifier

__all__ = ["CamParameters", "Heatmap", "compute_heatmaps"]


@dataclass(frozen=True)
class CamParameters:
    """What to compute.

    Attributes
    ----------
    method : str
        A key of ``cam.methods.METHODS``.
    target : int, str or None
        Class by index or name; None for each plane's predicted class.
    layers : tuple of str
        Dotted names of target layers, whose maps are averaged; empty for the classifier's own.
    batch_size : int
        Planes (or, for Score- and Ablation-CAM, perturbed inputs) in one pass of the model.
    min_probability : float
        In [0, 1]: below it the target counts as not found.

    Raises
    ------
    CamSamError
        If a value is out of its range, or the method unknown.
    """

    method: str = "layer-cam"
    target: int | str | None = None
    layers: tuple[str, ...] = ()
    batch_size: int = 16
    min_probability: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown_name("method", self.method, METHODS)
        if self.batch_size < 1:
            raise CamSamError(f"The batch size is {self.batch_size}; expected 1 or more.")
        if not 0 <= self.min_probability <= 1:
            raise CamSamError(
                f"The least probability is {self.min_probability}; expected a value from 0 to 1."
            )


@dataclass(frozen=True, eq=False)
class Heatmap:
    """A class activation map of one plane.

    Attributes
    ----------
    values : ndarray of float32, shape (row, column)
        On the plane's pixels, in [0, 1]: negative parts set to 0, divided by the maximum. All 0
        where there is no evidence.
    raw : ndarray of float32, shape (h, w)
        Signed and unscaled, on the layer's grid, which covers the model's input frame, padding
        included (``cam.upscale.grid_to_plane`` brings it to the plane). For several layers: the
        mean of their maps on the finest of their grids, each divided by its own maximum.
    letterbox : Letterbox
        How the plane lies in the model's input frame.
    method : str
    layers : tuple of str
        Target layers; empty for a method that has none.
    target_index : int
    target_name : str
        The class that the map explains.
    probability : float
        Of that class, in [0, 1].
    probabilities : ndarray of float32, shape (classes,)
    grid_shape : tuple of int
        Shape of ``raw``: what the map can resolve.
    evidence : bool
        False where nothing was found; a result, not an error.
    reason : str or None
        Why there is no evidence, for people.
    """

    values: NDArray[np.float32]
    raw: NDArray[np.float32]
    letterbox: Letterbox
    method: str
    layers: tuple[str, ...]
    target_index: int
    target_name: str
    probability: float
    probabilities: NDArray[np.float32]
    grid_shape: tuple[int, int]
    evidence: bool
    reason: str | None


def compute_heatmaps(
    classifier: Classifier,
    planes: Iterable[NDArray[np.uint8]],
    parameters: CamParameters | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Heatmap]:
    """Compute a heatmap for each plane: one forward and one backward pass a batch.

    Maps of several layers are each set to 0 where negative, brought to the plane and divided by
    their maximum there, then averaged and divided by the maximum again: as pytorch-grad-cam
    does, but for its min–max, which would turn a constant map into evidence.

    Parameters
    ----------
    classifier : Classifier
        Left as it was: mode, gradients, hooks. Batches of several threads take turns.
    planes : iterable of ndarray of uint8, shape (row, column) or (row, column, 3)
        Windowed planes; no more than a batch of them is held at a time.
    parameters : CamParameters, optional
        By default Layer-CAM of the predicted class at the classifier's layer.
    progress : callable, optional
        Called after each batch with the number of planes done so far.

    Returns
    -------
    iterator of Heatmap
        In the order of the planes.

    Raises
    ------
    CamSamError
        At once, if the class or a layer is unknown or no layer is known; while iterating, if a
        plane does not suit the classifier or a layer the method.
    """
    parameters = parameters or CamParameters()
    method = METHODS[parameters.method]
    target = None if parameters.target is None else classifier.class_index(parameters.target)
    layers = (parameters.layers or classifier.default_layers) if method.uses_layers else ()
    layers = tuple(dict.fromkeys(layers))
    for layer in layers:
        classifier.layer(layer)
    if method.uses_layers and not layers:
        raise CamSamError(f"{classifier.name} has no default target layer; name one of its layers.")
    if method.kind == "guided":
        warn_if_unguided(classifier)

    def batches() -> Iterator[Heatmap]:
        remaining, done = iter(planes), 0
        while batch := list(islice(remaining, parameters.batch_size)):
            raw = raw_maps(classifier, batch, method, layers, target, parameters.batch_size)
            for i, plane in enumerate(batch):
                yield _heatmap(classifier, plane, raw, i, parameters, layers)
            done += len(batch)
            if progress is not None:
                progress(done)

    return batches()


def _heatmap(
    classifier: Classifier,
    plane: NDArray[np.uint8],
    batch: RawMaps,
    i: int,
    parameters: CamParameters,
    layers: tuple[str, ...],
) -> Heatmap:
    letterbox = Letterbox.fit((plane.shape[0], plane.shape[1]), classifier.card.input_size)
    maps = [m[i] for m in batch.maps]
    index = int(batch.targets[i])
    name, probability = classifier.card.class_names[index], float(batch.probabilities[i, index])
    values = np.zeros(letterbox.plane_shape, dtype=np.float32)
    reason = None
    if not batch.finite[i] or not np.isfinite(probability):
        reason = "The model's scores, or the map, are not finite numbers."
    elif probability < parameters.min_probability:
        reason = (
            f"The probability of {name!r} is {probability:.3g}, below the cut-off "
            f"{parameters.min_probability:.3g}."
        )
    else:
        values = _scaled(
            np.mean([_scaled(grid_to_plane(np.maximum(m, 0), letterbox)) for m in maps], axis=0)
        )
        if not values.any():
            where = "only outside the plane" if any((m > 0).any() for m in maps) else "nowhere"
            reason = f"What speaks for {name!r} lies {where}, after {parameters.method}."
    raw = _combined(maps)
    return Heatmap(
        values=values,
        raw=raw,
        letterbox=letterbox,
        method=parameters.method,
        layers=layers,
        target_index=index,
        target_name=name,
        probability=probability,
        probabilities=batch.probabilities[i],
        grid_shape=(raw.shape[0], raw.shape[1]),
        evidence=reason is None,
        reason=reason,
    )


def _scaled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide a map by its maximum; a map without a positive value becomes 0."""
    highest = values.max()
    if not highest > 0:
        return np.zeros_like(values)
    return np.asarray(values.astype(np.float64) / highest, dtype=np.float32)


def _combined(maps: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Average signed maps of several layers on the finest grid; one map stays as it is."""
    if len(maps) == 1:
        return maps[0]
    rows, columns = max((m.shape for m in maps), key=lambda shape: shape[0] * shape[1])
    parts = []
    for m in maps:
        highest = m.max()
        parts.append(resize_grid(m / highest if highest > 0 else m * 0, (rows, columns)))
    return np.asarray(np.mean(parts, axis=0), dtype=np.float32)
