"""Heatmaps of planes: lazily, batch by batch, on the planes' own pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.methods import METHODS, Method, RawMaps, raw_maps, warn_if_unguided
from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.cam.pixel_sets import PixelSet, no_region, why_empty
from napari_cam_sam.cam.upscale import grid_to_plane, resize_grid
from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.letterbox import Letterbox
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.schemas import check_fields

__all__ = [
    "CamParameters", "Heatmap", "check_request", "combine_maps", "compute_heatmaps",
    "normalise_heatmap",
]  # fmt: skip

# Methods whose score is made for one class.
_ONE_CLASS = ("finer-cam", "shapley-cam", "lrp")


@dataclass(frozen=True)
class CamParameters:
    """What to compute.

    Attributes
    ----------
    method : str
        A key of ``cam.methods.METHODS``.
    target : int, str or None
        Class by index or name; None for each plane's predicted class. Of a segmentation network
        that is the one with most pixels, the background aside. Of a classifier several names
        joined by ``+`` are taken as one class, e.g. ``"benign+malignant"``.
    layers : tuple of str
        Dotted names of target layers, whose maps are averaged; empty for the classifier's own.
    batch_size : int
        Planes in one pass of the model; for Score-CAM, Ablation-CAM and occlusion perturbed
        inputs.
    min_probability : float
        In [0, 1]: below it the target counts as not found.
    pixel_set : PixelSet or None
        Of a segmentation network: which pixels' scores the map explains; None for those where
        the class is predicted. None for a classifier.
    occlusion : OcclusionParameters
        For the method of that name.
    odds : bool
        Explain the log odds of a classifier's target against all other classes, instead of its
        logit: what tells a lesion from normal tissue, not what makes up a lesion.
    mirrored : bool
        Average each map of a classifier with that of the plane mirrored left to right.

    Raises
    ------
    CamSamError
        If a value is out of its range, or the method unknown.

    Examples
    --------
    >>> parameters = ncs.CamParameters("grad-cam", target="lesion", layers=("stage3",))
    >>> parameters.batch_size
    16
    >>> ncs.CamParameters("gradcam")
    Traceback (most recent call last):
    ...
    napari_cam_sam.errors.CamSamError: Unknown method 'gradcam'...
    """

    method: str = "layer-cam"
    target: int | str | None = None
    layers: tuple[str, ...] = ()
    batch_size: int = 16
    min_probability: float = 0.0
    pixel_set: PixelSet | None = None
    occlusion: OcclusionParameters = field(default_factory=OcclusionParameters)
    odds: bool = False
    mirrored: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
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
    """A class activation map of one plane, or by a 3D network of a volume.

    Attributes
    ----------
    values : ndarray of float32, shape (row, column) or (plane, row, column)
        On the image's pixels, in [0, 1]: negative parts set to 0, divided by the maximum. All 0
        where there is no evidence.
    raw : ndarray of float32, shape (h, w)
        Signed and unscaled, on the layer's grid, which covers the model's input frame, padding
        included (``cam.upscale.grid_to_plane`` brings it to the plane). For several layers: the
        mean of their maps on the finest of their grids, each divided by its own maximum. By a 3D
        network on the image's voxels instead, since each of its windows has a grid of its own.
    letterbox : Letterbox or None
        How the plane lies in the model's input frame; None by a 3D network.
    method : str
    layers : tuple of str
        Target layers; empty for a method that has none.
    target_index : int
        The class that the map explains; of several the most probable one.
    target_name : str
        Its name; those of several, joined by ``+``.
    probability : float
        Of that class, or of one of the several, in [0, 1]; of a segmentation network its highest
        on the image.
    probabilities : ndarray of float32, shape (classes,)
    grid_shape : tuple of int
        What the map can resolve: the shape of ``raw``, or of the layer's grid in one window.
    evidence : bool
        False where nothing was found; a result, not an error.
    reason : str or None
        Why there is no evidence, for people.
    pixel_set : PixelSet or None
        Of a segmentation network.
    region : ndarray of bool, shape of ``values``, or None
        Of a segmentation network: the pixels M that were explained.
    probability_map : ndarray of float32, shape of ``values``, or None
        Of a 3D network: the probability of the class at each voxel.

    Examples
    --------
    >>> from napari_cam_sam.demo.samples import make_sample
    >>> plane = make_sample("ultrasound").image.plane(0, 0)
    >>> (heatmap,) = ncs.compute_heatmaps(ncs.load_classifier("lesion"), [plane])
    >>> heatmap.values.shape == plane.shape, heatmap.evidence
    (True, True)
    >>> float(heatmap.values.max())
    1.0
    """

    values: NDArray[np.float32]
    raw: NDArray[np.float32]
    letterbox: Letterbox | None
    method: str
    layers: tuple[str, ...]
    target_index: int
    target_name: str
    probability: float
    probabilities: NDArray[np.float32]
    grid_shape: tuple[int, ...]
    evidence: bool
    reason: str | None
    pixel_set: PixelSet | None = None
    region: NDArray[np.bool_] | None = None
    probability_map: NDArray[np.float32] | None = None


def compute_heatmaps(
    model: Classifier | SegmentationNetwork,
    planes: Iterable[NDArray[np.uint8]],
    parameters: CamParameters | None = None,
    progress: Callable[[int], None] | None = None,
    regions: Iterable[NDArray[np.bool_]] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Heatmap]:
    """Compute a heatmap for each plane: one forward and one backward pass a batch.

    Maps of several layers are each set to 0 where negative, brought to the plane and divided by
    their maximum there, then averaged and divided by the maximum again: as pytorch-grad-cam
    does, but for its min–max, which would turn a constant map into evidence.

    Of a segmentation network the score is that of a set of pixels, see
    :class:`~cam.pixel_sets.PixelSet`: ``grad-cam`` is then Seg-Grad-CAM (Vinogradova et al. 2020)
    and ``hires-cam`` Seg-HiRes-Grad-CAM (Rheude et al. 2024).

    Parameters
    ----------
    model : Classifier or SegmentationNetwork
        A network is 2D. Left as it was: mode, gradients, hooks. Batches of several threads take
        turns.
    planes : iterable of ndarray of uint8, shape (row, column) or (row, column, 3)
        Windowed planes; no more than a batch of them is held at a time.
    parameters : CamParameters, optional
        By default Layer-CAM of the predicted class at the model's layer.
    progress : callable, optional
        Called after each batch with the number of planes done so far.
    regions : iterable of ndarray of bool, shape (row, column), optional
        For the pixel sets ``"truth"`` and ``"region"``: M of each plane.
    cancelled : callable, optional
        Asked before each pass of the model, of which some methods need hundreds for a plane.

    Returns
    -------
    iterator of Heatmap
        In the order of the planes. Where M is empty the map is all 0, with a reason.

    Raises
    ------
    CamSamError
        At once, if the class or a layer is unknown, no layer is known, the network is 3D, or the
        pixel set does not suit the model; while iterating, if a plane does not suit the model or
        a layer the method.
    Cancelled
        While iterating, once `cancelled` says so.

    Examples
    --------
    >>> from napari_cam_sam.demo.samples import make_sample
    >>> plane = make_sample("ultrasound").image.plane(0, 0)
    >>> classifier = ncs.load_classifier("lesion")
    >>> parameters = ncs.CamParameters("grad-cam", target="lesion")
    >>> (heatmap,) = ncs.compute_heatmaps(classifier, [plane], parameters)
    >>> heatmap.target_name, heatmap.values.dtype
    ('lesion', dtype('float32'))
    """
    parameters = parameters or CamParameters()
    method, target, layers = check_request(model, parameters)
    frame_shape = model.frame_shape
    pixel_set = parameters.pixel_set
    if pixel_set is not None and pixel_set.given and regions is None:
        raise no_region(pixel_set)

    compute = partial(
        raw_maps, model, method=method, layers=layers, batch_size=parameters.batch_size,
        occlusion=parameters.occlusion, cancelled=cancelled, odds=parameters.odds,
    )  # fmt: skip

    def batches() -> Iterator[Heatmap]:
        remaining, done = iter(planes), 0
        given = None if regions is None else iter(regions)
        size = 1 if method.many_passes else parameters.batch_size
        while batch := list(islice(remaining, size)):
            masks = None if given is None else list(islice(given, len(batch)))
            if masks is not None and len(masks) < len(batch):
                raise CamSamError("There are fewer regions than slices: give one for each.")
            raw = compute(batch, target=target, pixel_set=pixel_set, given=masks)
            other = None
            if parameters.mirrored:
                turned = [np.ascontiguousarray(plane[:, ::-1]) for plane in batch]
                same = target if isinstance(target, tuple) else raw.targets
                other = compute(turned, target=same)
            for i, plane in enumerate(batch):
                yield _heatmap(model, plane, frame_shape, raw, other, i, parameters, layers)
            done += len(batch)
            if progress is not None:
                progress(done)

    return batches()


def check_request(
    model: Classifier | SegmentationNetwork, parameters: CamParameters
) -> tuple[Method, int | tuple[int, ...] | None, tuple[str, ...]]:
    """Look up what the parameters name in a model.

    Parameters
    ----------
    model : Classifier or SegmentationNetwork
    parameters : CamParameters

    Returns
    -------
    method : Method
    target : int, tuple of int or None
        Several classes as a tuple.
    layers : tuple of str
        Empty for methods without any.

    Raises
    ------
    CamSamError
        If the class or a layer is unknown, no layer is known, a pixel set is given for a
        classifier, or what only a classifier has is asked of a network.
    """
    method = METHODS[parameters.method]
    if parameters.pixel_set is not None and isinstance(model, Classifier):
        raise CamSamError(
            f"{model.name} is a classifier, whose score is of the whole image: pixel sets are for "
            "segmentation networks."
        )
    target = None if parameters.target is None else _classes(model, parameters.target)
    if isinstance(model, SegmentationNetwork):
        if isinstance(target, tuple) or parameters.odds or parameters.mirrored:
            raise CamSamError(
                f"{model.name} is a segmentation network: several classes as one, odds and "
                "mirrored slices are for classifiers."
            )
    elif parameters.odds:
        _check_odds(model, target, method)
    if isinstance(target, tuple) and method.name in _ONE_CLASS:
        raise CamSamError(f"{method.name} explains one class; {parameters.target!r} is several.")
    layers = (parameters.layers or model.default_layers) if method.uses_layers else ()
    layers = tuple(dict.fromkeys(layers))
    for layer in layers:
        model.layer(layer)
    if method.uses_layers and not layers:
        raise CamSamError(f"{model.name} has no default target layer; name one of its layers.")
    if method.kind == "guided":
        warn_if_unguided(model)
    return method, target, layers


def _classes(model: Classifier | SegmentationNetwork, target: int | str) -> int | tuple[int, ...]:
    """Look up a class, or several whose names are joined by ``+``."""
    if not isinstance(target, str) or "+" not in target or target in model.card.class_names:
        return model.class_index(target)
    found = tuple(dict.fromkeys(model.class_index(name.strip()) for name in target.split("+")))
    return found if len(found) > 1 else found[0]


def _check_odds(model: Classifier, target: int | tuple[int, ...] | None, method: Method) -> None:
    if method.name in _ONE_CLASS:
        raise CamSamError(f"{method.name} has a score of its own, which odds would replace.")
    if isinstance(target, tuple) and len(target) == model.card.num_classes:
        raise CamSamError("The target is all classes: there is none left to set them against.")


def _heatmap(
    model: Classifier | SegmentationNetwork,
    plane: NDArray[np.uint8],
    frame_shape: tuple[int, int],
    batch: RawMaps,
    mirrored: RawMaps | None,
    i: int,
    parameters: CamParameters,
    layers: tuple[str, ...],
) -> Heatmap:
    letterbox = Letterbox.fit((plane.shape[0], plane.shape[1]), frame_shape)
    maps = [m[i] for m in batch.maps]
    parts = [grid_to_plane(np.maximum(m, 0), letterbox) for m in maps]
    finite = batch.finite[i]
    if mirrored is not None:
        other = [m[i] for m in mirrored.maps]
        # Mirrored on the plane itself: the padding of its frame may be a pixel wider on one side.
        turned = [grid_to_plane(np.maximum(m, 0), letterbox)[:, ::-1] for m in other]
        parts = [_mean(pair) for pair in zip(parts, turned, strict=True)]
        maps = [_mean((m, o[:, ::-1])) for m, o in zip(maps, other, strict=True)]
        finite = finite and mirrored.finite[i]
    index = int(batch.targets[i])
    region = None if batch.regions is None else batch.regions[i]
    members = batch.members or (index,)
    name = "+".join(model.card.class_names[member] for member in members)
    probability = float(batch.probabilities[i, list(members)].sum())
    values, reason = normalise_heatmap(
        parts,
        name,
        probability if finite else float("nan"),
        parameters,
        region,
        elsewhere=any((m > 0).any() for m in maps),
    )
    raw = combine_maps(maps)
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
        pixel_set=None if region is None else parameters.pixel_set or PixelSet(),
        region=region,
    )


def normalise_heatmap(
    parts: Sequence[NDArray[np.float32]],
    name: str,
    probability: float,
    parameters: CamParameters,
    region: NDArray[np.bool_] | None,
    *,
    elsewhere: bool,
) -> tuple[NDArray[np.float32], str | None]:
    """Join the maps of several layers on the image, or say why there is no evidence.

    Parameters
    ----------
    parts : sequence of ndarray of float32
        One a layer, on the image's pixels, not negative.
    name : str
        The class.
    probability : float
        Not finite where the scores or the map are not.
    parameters : CamParameters
    region : ndarray of bool or None
        M, of a segmentation network.
    elsewhere : bool
        Whether anything is positive before the maps were brought to the image.

    Returns
    -------
    values : ndarray of float32
        In [0, 1].
    reason : str or None
    """
    nothing = np.zeros(parts[0].shape, dtype=np.float32)
    if not np.isfinite(probability):
        return nothing, "The model's scores, or the map, are not finite numbers."
    if region is not None and not region.any():
        return nothing, why_empty(parameters.pixel_set or PixelSet(), name)
    if probability < parameters.min_probability:
        return nothing, (
            f"The probability of {name!r} is {probability:.3g}, below the cut-off "
            f"{parameters.min_probability:.3g}."
        )
    values = _scaled(np.mean([_scaled(part) for part in parts], axis=0))
    if values.any():
        return values, None
    where = "here, only in the padding" if elsewhere else "here"
    return values, f"{parameters.method} found no positive evidence for {name!r} {where}."


def _mean(maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.mean(maps, axis=0), dtype=np.float32)


def _scaled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide a map by its maximum; a map without a positive value becomes 0."""
    highest = values.max()
    if not highest > 0:
        return np.zeros_like(values)
    return np.asarray(values.astype(np.float64) / highest, dtype=np.float32)


def combine_maps(maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Average signed maps of several layers, each divided by its maximum.

    Parameters
    ----------
    maps : sequence of ndarray of float32
        Of two axes, on any grid, or of three on the same one.

    Returns
    -------
    ndarray of float32
        On the finest grid; a single map stays as it is.
    """
    if len(maps) == 1:
        return maps[0]
    finest = max((m.shape for m in maps), key=math.prod)
    scaled = [m / m.max() if m.max() > 0 else m * 0 for m in maps]
    return _mean([m if m.shape == finest else resize_grid(m, finest) for m in scaled])
