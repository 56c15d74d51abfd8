"""How far a heatmap can be trusted: four tests of it, and what they say in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, check_request, compute_heatmaps
from napari_cam_sam.cam.names import WITHOUT_LAYERS
from napari_cam_sam.cam.parameters import TrustParameters, count_steps
from napari_cam_sam.cam.randomisation import cascade
from napari_cam_sam.cam.road import Road, road
from napari_cam_sam.cam.similarity import Similarity, compare_maps, mean_similarity
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier

__all__ = ["HeatmapTrust", "assess_trust", "trust_steps"]

Cancel = Callable[[], bool]

_LEAST_SIDE = 8


@dataclass(frozen=True)
class HeatmapTrust:
    """What the tests of a heatmap found, as far as they are done.

    Attributes
    ----------
    method : str
    target : str
        The class that the heatmap explains; several joined by ``+``.
    probability : float
    reason : str or None
        Why there is no heatmap to test, where there is none; all else is empty then.
    randomised : tuple of Similarity
        To the map of a copy of the model whose layers are random, stage by stage: the last layer
        alone at first, all layers in the end. Means over the draws.
    agreement : dict of str to Similarity
        To the maps of other methods, by name.
    road : Road or None
    shift, noise : Similarity or None
        To the maps of the plane shifted (and shifted back), and of the plane with noise. Means.
    """

    method: str
    target: str
    probability: float
    reason: str | None = None
    randomised: tuple[Similarity, ...] = ()
    agreement: dict[str, Similarity] = field(default_factory=dict)
    road: Road | None = None
    shift: Similarity | None = None
    noise: Similarity | None = None

    def scores(self) -> dict[str, float]:
        """Return the figures by the names that tables have for them, NaN for what is not known.

        ``trust_road``, and ``_ssim``, ``_rank`` and ``_top_iou`` of ``trust_head`` (last layer
        random), ``trust_randomisation`` (all layers random), ``trust_agreement`` (mean over the
        methods), ``trust_shift`` and ``trust_noise``. Low figures are good of the first two, high
        ones of the others.
        """
        unknown = Similarity(np.nan, np.nan, np.nan)
        parts = {
            "head": self.randomised[0] if self.randomised else unknown,
            "randomisation": self.randomised[-1] if self.randomised else unknown,
            "agreement": mean_similarity(list(self.agreement.values())),
            "shift": self.shift or unknown,
            "noise": self.noise or unknown,
        }
        out = {
            f"trust_{test}_{name}": value
            for test, similarity in parts.items()
            for name, value in vars(similarity).items()
        }
        return out | {"trust_road": np.nan if self.road is None else self.road.score}


def trust_steps(
    classifier: Classifier,
    plane: NDArray[np.uint8],
    cam: CamParameters | None = None,
    parameters: TrustParameters | None = None,
    cancelled: Cancel | None = None,
) -> Iterator[HeatmapTrust]:
    """Test the heatmap of a plane, step by step.

    Randomisation (Adebayo et al. 2018; Arun et al. 2021 for medical images): a map that shows
    what the model learned must change when the model's weights are random. Agreement: other
    methods should mark the same place. ROAD (Rong et al. 2022): without what the map marks the
    probability should fall more than without the rest. Stability: the map of a plane that is
    shifted by a few pixels, or has a little noise, should be the same map.

    Parameters
    ----------
    classifier : Classifier
        Left as it is: copies are randomised.
    plane : ndarray of uint8, shape (row, column) or (row, column, 3)
    cam : CamParameters, optional
        How the heatmap is made. The class that it explains is kept in all tests.
    parameters : TrustParameters, optional
    cancelled : callable, optional
        Asked before each pass of the model.

    Yields
    ------
    HeatmapTrust
        As often as `count_steps` says, or once where the plane has no heatmap to test: the last
        one has all.

    Raises
    ------
    CamSamError
        As `compute_heatmaps` does; before the first step also for a method to compare with that
        cannot explain the target.
    Cancelled
        Once `cancelled` says so.
    """
    cam, parameters = cam or CamParameters(), parameters or TrustParameters()
    rows, columns = plane.shape[:2]
    if min(rows, columns) < _LEAST_SIDE:  # it is shifted by a part of its side, and compared
        raise CamSamError(
            f"A slice of {rows} × {columns} pixels is too small for a test of its heatmap: "
            f"{_LEAST_SIDE} × {_LEAST_SIDE} are the least."
        )

    def maps(
        planes: list[NDArray[np.uint8]], how: CamParameters, model: Classifier = classifier
    ) -> list[Heatmap]:
        return list(compute_heatmaps(model, planes, how, cancelled=cancelled))

    # Of a model of one's own no target layer may be known.
    others = {
        name: name in WITHOUT_LAYERS or bool(cam.layers or classifier.default_layers)
        for name in parameters.others(cam.method)
    }
    _, several, _ = check_request(classifier, cam)
    for name in (name for name, possible in others.items() if possible):
        check_request(classifier, replace(cam, method=name))

    def alike(values: NDArray[np.float32], other: NDArray[np.float32]) -> Similarity:
        return compare_maps(values, other, parameters.top)

    (own,) = maps([plane], cam)
    found = HeatmapTrust(cam.method, own.target_name, own.probability, own.reason)
    yield found
    if not own.evidence:
        return
    # A random model gives any probability: what counts is where its map would lie.
    target = cam.target if isinstance(several, tuple) else own.target_index
    same = replace(cam, target=target, min_probability=0.0)

    draws: list[list[Similarity]] = [[] for _ in range(parameters.stages)]
    for draw in range(parameters.draws):
        models = cascade(classifier, parameters.stages, parameters.seed + draw)
        for stage, model in enumerate(models):
            (random,) = maps([plane], same, model)
            draws[stage].append(alike(own.values, random.values))
            if stage == parameters.stages - 1:
                found = replace(found, randomised=tuple(mean_similarity(one) for one in draws))
            yield found

    for name, possible in others.items():
        if possible:
            (other,) = maps([plane], replace(same, method=name))
            likeness = alike(own.values, other.values)
            found = replace(found, agreement={**found.agreement, name: likeness})
        yield found

    members = several if isinstance(several, tuple) else (own.target_index,)
    removed = _road(classifier, plane, own, members, parameters, cam.batch_size, cancelled)
    found = replace(found, road=removed)
    yield found

    shifted, ways = _shifted(plane, parameters.shift)
    pairs = zip(ways, maps(shifted, same), strict=True)
    back = [alike(own.values[here], other.values[there]) for (here, there), other in pairs]
    found = replace(found, shift=mean_similarity(back))
    yield found

    noisy = maps(_noisy(plane, parameters), same)
    yield replace(found, noise=mean_similarity([alike(own.values, m.values) for m in noisy]))


def assess_trust(
    classifier: Classifier,
    plane: NDArray[np.uint8],
    cam: CamParameters | None = None,
    parameters: TrustParameters | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Cancel | None = None,
) -> HeatmapTrust:
    """Test how far the heatmap of a plane can be trusted; see `trust_steps`.

    Parameters
    ----------
    classifier : Classifier
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
    cam : CamParameters, optional
        Of the heatmap.
    parameters : TrustParameters, optional
        Of the tests.
    progress : callable, optional
        Called after each step with the number done and the number of all.
    cancelled : callable, optional
        Asked between passes of the classifier whether to stop.

    Returns
    -------
    HeatmapTrust

    Raises
    ------
    CamSamError
        If the heatmap cannot be computed.
    Cancelled
        Once `cancelled` says so.

    Examples
    --------
    >>> from napari_cam_sam.demo.samples import make_sample
    >>> plane = make_sample("ultrasound").image.plane(0, 0)
    >>> quick = ncs.TrustParameters(draws=1, stages=2, methods=("grad-cam",), removed=(50,))
    >>> trust = ncs.assess_trust(ncs.load_classifier("lesion"), plane, parameters=quick)
    >>> sorted(trust.agreement), len(trust.randomised)
    (['grad-cam'], 2)
    """
    cam, parameters = cam or CamParameters(), parameters or TrustParameters()
    total = count_steps(cam.method, parameters)
    found = []
    for one in trust_steps(classifier, plane, cam, parameters, cancelled):
        found.append(one)
        if progress is not None:
            progress(len(found), total)
    return found[-1]


def _road(
    classifier: Classifier,
    plane: NDArray[np.uint8],
    heatmap: Heatmap,
    members: tuple[int, ...],
    parameters: TrustParameters,
    batch_size: int,
    cancelled: Cancel | None,
) -> Road:
    tensor, _ = classifier.prepare([plane])

    def probability(inputs: torch.Tensor) -> list[float]:
        parts = [classifier.probabilities_of(part) for part in torch.split(inputs, batch_size)]
        return [float(value) for value in np.concatenate(parts)[:, list(members)].sum(axis=1)]

    return road(probability, tensor[0], heatmap.raw, parameters.removed, parameters.seed, cancelled)


Window = tuple[slice, ...]


def _shifted(
    plane: NDArray[np.uint8], shift: float
) -> tuple[list[NDArray[np.uint8]], list[tuple[Window, Window]]]:
    """Shift a plane in four directions; with each the pixels of it, before and after, still seen.

    What comes in at an edge repeats it.
    """
    d = max(1, round(shift * min(plane.shape[:2])))
    planes, windows = [], []
    for axis in (0, 1):
        for sign in (-1, 1):
            margin = [(d, d) if a == axis else (0, 0) for a in range(plane.ndim)]
            wide, size, first = np.pad(plane, margin, mode="edge"), plane.shape[axis], d - sign * d
            planes.append(np.ascontiguousarray(wide.take(range(first, first + size), axis)))
            low, high = slice(0, size - d), slice(d, size)
            here, there = [slice(None)] * 2, [slice(None)] * 2
            here[axis], there[axis] = (low, high) if sign > 0 else (high, low)
            windows.append((tuple(here), tuple(there)))
    return planes, windows


def _noisy(plane: NDArray[np.uint8], parameters: TrustParameters) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(parameters.seed)
    drawn = (rng.normal(0, 255 * parameters.noise, plane.shape) for _ in range(parameters.draws))
    return [np.clip(np.rint(plane + noise), 0, 255).astype(np.uint8) for noise in drawn]
