"""The heatmap methods: raw signed maps of a batch of planes at target layers.

The formulas come from pytorch-grad-cam's classes, called on activations and gradients that are
gathered here. Its own call is not used: it ends in ReLU and min–max scaling for each image,
which loses magnitude, sign and "nothing found".
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pytorch_grad_cam as library
import torch
from numpy.typing import NDArray
from pytorch_grad_cam.guided_backprop import GuidedBackpropReLUasModule
from pytorch_grad_cam.utils.find_layers import replace_all_layer_type_recursive
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, FinerWeightedTarget
from sklearn.decomposition import KernelPCA
from torch import Tensor, nn

from napari_cam_sam.cam.batch import Batch, ClassBatch
from napari_cam_sam.cam.names import MANY_PASSES, WITHOUT_LAYERS
from napari_cam_sam.cam.noise import added_up, without_noise
from napari_cam_sam.cam.occlusion import occlusion
from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.cam.perturbation import HookedAblationCAM, LoopedScoreCAM
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.cam.regions import RegionBatch
from napari_cam_sam.cam.tracing import LogitsModel, Target, gradients
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.exclusive_eval import borrowed, cancellable
from napari_cam_sam.models.model import LoadedModel
from napari_cam_sam.models.plane_order import follow_plane_order
from napari_cam_sam.models.segmentation import SegmentationNetwork

__all__ = ["METHODS", "Method", "RawMaps", "maps_of_batch", "raw_maps", "warn_if_unguided"]

Maps = NDArray[np.float32]
Kind = Literal[
    "gradient", "activation", "perturbation", "shapley", "full", "guided", "lrp", "occlusion"
]

# Eigen-CAM's decomposition holds a matrix of cells × cells.
_MOST_CELLS = 64 * 64
_MOST_SIMILAR = 3
_NOT_GUIDED = (
    nn.ELU, nn.GELU, nn.Hardswish, nn.LeakyReLU, nn.Mish, nn.PReLU, nn.ReLU6, nn.SiLU,
)  # fmt: skip


class _SteadyKPCACAM(library.KPCA_CAM):  # type: ignore[misc]
    """KPCA-CAM that begins its search for eigenvectors at the same place each time.

    The library's begins at a random one, and so no two maps have the same last digits.
    """

    def get_cam_image(self, *arguments: Any) -> Maps:
        found = []
        for activations in arguments[3]:
            cells = activations.reshape(len(activations), -1).T
            first = KernelPCA(1, kernel=self.kernel, gamma=self.gamma, random_state=0)
            scores = first.fit_transform(cells - cells.mean(axis=0))
            found.append(scores.reshape(activations.shape[1:]))
        return np.asarray(found, dtype=np.float32)


@dataclass(frozen=True)
class Method:
    """One heatmap method.

    Attributes
    ----------
    name : str
    kind : str
        What it needs: gradients at the layers, activations alone, many forward passes with
        perturbed channels, second derivatives, all bias layers, guided backpropagation,
        relevance propagation, or many forward passes with a part of the input covered.
    cam : type or None
        The class of pytorch-grad-cam that has its formula, where one has.
    decomposes : bool
        True where the map is a first component, whose sign means nothing: it is turned so that
        its largest value is positive (Chung and Ying 2025, eq. 13).
    """

    name: str
    kind: Kind
    cam: Any
    decomposes: bool = False

    @property
    def uses_layers(self) -> bool:
        """Whether target layers matter."""
        return self.name not in WITHOUT_LAYERS

    @property
    def many_passes(self) -> bool:
        """Whether a plane takes many passes of the model: nothing is gained by several at once."""
        return self.name in MANY_PASSES


_ROWS = (
    Method("grad-cam", "gradient", library.GradCAM),
    Method("grad-cam++", "gradient", library.GradCAMPlusPlus),
    Method("xgrad-cam", "gradient", library.XGradCAM),
    Method("hires-cam", "gradient", library.HiResCAM),
    Method("layer-cam", "gradient", library.LayerCAM),
    Method("element-wise", "gradient", library.GradCAMElementWise),
    Method("finer-cam", "gradient", library.GradCAM),
    Method("shapley-cam", "shapley", library.ShapleyCAM),
    Method("eigen-cam", "activation", library.EigenCAM, decomposes=True),
    Method("eigen-grad-cam", "gradient", library.EigenGradCAM, decomposes=True),
    Method("seg-eigen-cam", "gradient", library.SegEigenCAM, decomposes=True),
    Method("kpca-cam", "activation", _SteadyKPCACAM, decomposes=True),
    Method("fem", "activation", library.FEM),
    Method("score-cam", "perturbation", LoopedScoreCAM),
    Method("ablation-cam", "perturbation", HookedAblationCAM),
    Method("full-grad", "full", library.FullGrad),
    Method("guided-grad-cam", "guided", library.GradCAM),
    Method("lrp", "lrp", None),
    Method("occlusion", "occlusion", None),
)
METHODS: dict[str, Method] = {row.name: row for row in _ROWS}


@dataclass(frozen=True, eq=False)
class RawMaps:
    """What one batch of n planes gave.

    Attributes
    ----------
    probabilities : ndarray of float32, shape (n, classes)
        Of a network the highest on the plane.
    targets : ndarray of int, shape (n,)
        The class that each map explains.
    maps : list of ndarray of float32, shape (n, h, w)
        Signed, one a target layer, each on its own grid.
    finite : ndarray of bool, shape (n,)
        False where activations, gradients, scores or maps were not finite.
    regions : list of ndarray of bool, or None
        Of a network: M of each plane, on its pixels.
    members : tuple of int
        The classes that are explained as one; empty for one class.
    """

    probabilities: NDArray[np.float32]
    targets: NDArray[np.intp]
    maps: list[Maps]
    finite: NDArray[np.bool_]
    regions: list[NDArray[np.bool_]] | None = None
    members: tuple[int, ...] = ()


def raw_maps(
    model: Classifier | SegmentationNetwork,
    planes: Sequence[NDArray[np.uint8]],
    method: Method,
    layers: Sequence[str],
    target: int | tuple[int, ...] | NDArray[np.intp] | None,
    batch_size: int,
    pixel_set: PixelSet | None = None,
    given: Sequence[NDArray[np.bool_]] | None = None,
    occlusion: OcclusionParameters | None = None,
    cancelled: Callable[[], bool] | None = None,
    *,
    odds: bool = False,
) -> RawMaps:
    """Compute the maps of one batch of planes, alone with the model.

    Parameters
    ----------
    model : Classifier or SegmentationNetwork
        Its module is locked, and afterwards as it was.
    planes : sequence of ndarray of uint8
        One batch.
    method : Method
    layers : sequence of str
        Dotted names that exist.
    target : int, tuple of int, ndarray of int or None
        Class index, or None for the predicted class of each plane. Of a classifier also several
        classes as one, or a class for each plane.
    batch_size : int
        Perturbed inputs in one forward pass, for methods that need them.
    pixel_set : PixelSet, optional
        Of a network: which pixels count; by default where the class is predicted.
    given : sequence of ndarray of bool, optional
        For pixel sets that are given: M of each plane, on its pixels.
    occlusion : OcclusionParameters, optional
    cancelled : callable, optional
        Asked before each pass of the model.
    odds : bool
        Of a classifier: the score is the log odds of the target against the other classes.

    Returns
    -------
    RawMaps

    Raises
    ------
    Cancelled
        Once `cancelled` says so.
    """
    # Both guards: a caller's no_grad or inference_mode must not reach the gradients.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        borrowed(model.module),
        cancellable(model.module, cancelled),
    ):
        if isinstance(model, SegmentationNetwork):
            model.check_planes(planes)
        tensor, letterboxes = model.prepare(planes)
        batch: Batch
        if isinstance(model, SegmentationNetwork):
            if target is not None and not isinstance(target, int):
                raise TypeError("a network explains one class, or those that it predicts")
            pixels = pixel_set or PixelSet()
            batch = RegionBatch(model, tensor, batch_size, letterboxes, target, pixels, given)
        else:
            batch = ClassBatch(model, tensor, batch_size, target, odds)
        batch.occlusion = occlusion or batch.occlusion
        maps, finite = maps_of_batch(batch, method, layers)
    regions = None
    if isinstance(batch, RegionBatch):
        regions = batch.regions
        # Methods that know no score have no empty map of their own.
        for i, region in enumerate(regions):
            if not region.any():
                for m in maps:
                    m[i] = 0
    members = target if isinstance(target, tuple) else ()
    return RawMaps(batch.probabilities, batch.targets, maps, finite, regions, members)


def maps_of_batch(
    batch: Batch, method: Method, layers: Sequence[str]
) -> tuple[list[Maps], NDArray[np.bool_]]:
    """Compute the signed maps of a batch.

    Parameters
    ----------
    batch : Batch
        Of a model that the caller has borrowed, with gradients enabled.
    method : Method
    layers : sequence of str

    Returns
    -------
    maps : list of ndarray of float32, shape (n, h, w)
        One a layer, each on its own grid.
    finite : ndarray of bool, shape (n,)
        Whether activations, gradients, scores and maps are.
    """
    maps = [np.array(m, dtype=np.float32) for m in _COMPUTE[method.kind](batch, method, layers)]
    if method.decomposes:
        maps = [_turned(m) for m in maps]
    finite = batch.finite.copy()
    for m in maps:
        finite &= np.isfinite(m).all(axis=(1, 2))
    return maps, finite


def _from_gradients(batch: Batch, method: Method, layers: Sequence[str]) -> list[Maps]:
    logits, outputs = batch.run(layers)
    targets = batch.score_targets()
    if method.name == "finer-cam":
        targets = _finer_targets(batch, logits)
    grads = gradients(logits, targets, list(outputs.values()))
    return [
        _image(batch, method, name, batch.array(name, output), batch.array(name, gradient))
        for (name, output), gradient in zip(outputs.items(), grads, strict=True)
    ]


def _without_gradients(batch: Batch, method: Method, layers: Sequence[str]) -> list[Maps]:
    with torch.no_grad():
        _, outputs = batch.run(layers)
    return [
        _image(batch, method, name, batch.array(name, output), None)
        for name, output in outputs.items()
    ]


def _formula(batch: Batch, method: Method, name: str) -> Any:
    """Return the object of pytorch-grad-cam that has a method's formula for a layer."""
    if method.cam is LoopedScoreCAM:
        return LoopedScoreCAM(batch.model, batch.batch_size)
    if method.cam is HookedAblationCAM:
        return HookedAblationCAM(batch.model, batch.batch_size, partial(batch.grid, name))
    return method.cam(batch.model, [])


def _image(
    batch: Batch,
    method: Method,
    name: str,
    activations: NDArray[np.float32],
    grads: NDArray[np.float32] | None,
) -> Maps:
    """Apply a class's formula, without its ReLU and scaling."""
    h, w = activations.shape[2:]
    if method.decomposes and h * w > _MOST_CELLS:
        raise CamSamError(
            f"{method.name} takes grids of at most {_MOST_CELLS} cells, and layer {name!r} has "
            f"{h}×{w}; choose a later layer."
        )
    layer, targets = batch.loaded.layer(name), batch.score_targets()
    cam = _formula(batch, method, name)
    image: Maps = cam.get_cam_image(batch.tensor, layer, targets, activations, grads, False)
    return without_noise(image, added_up(method.name, activations, grads))


def _finer_targets(batch: Batch, logits: Tensor) -> list[Target]:
    """Return Finer-CAM's targets: the class against the three whose logits are nearest to its.

    Zhang et al. 2025, with the library's weights (the others' probabilities) and alpha 1.
    """
    if logits.shape[1] < 2:
        raise CamSamError("finer-cam compares classes, and this model has only one.")
    targets: list[Target] = []
    for i, (row, index) in enumerate(zip(logits.detach(), batch.targets, strict=True)):
        scores = batch.class_scores(row, i)
        order = (scores - scores[index]).abs().argsort(stable=True).tolist()
        others = [k for k in order if k != index][:_MOST_SIMILAR]
        finer = FinerWeightedTarget(int(index), others, 1.0)
        targets.append(batch.on_classes(finer, i))
    return targets


def _shapley(batch: Batch, method: Method, layers: Sequence[str]) -> list[Maps]:
    """Shapley-CAM with its paper's score, the logit minus the cross-entropy (Cai 2025)."""
    cam = method.cam(batch.model, [])
    maps = []
    # The library frees the graph when it differentiates again: one forward pass a layer. Fused
    # attention has no second derivative, the plain one has.
    for name in layers:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            logits, outputs = batch.run([name])
            targets = [
                batch.on_classes(ClassifierOutputReST(int(index)), i)
                for i, index in enumerate(batch.targets)
            ]
            output = outputs[name]
            (gradient,) = gradients(logits, targets, [output], again=True)
            # A score that is linear in the layer has a gradient without a graph; this term,
            # zero as its derivatives are, gives it one.
            gradient = gradient + 0 * output
            cam.activations_and_grads.reshape_transform = partial(batch.grid, name)
            weights = cam.get_cam_weights(batch.tensor, None, targets, output, gradient)
        activations, slopes = batch.array(name, output), batch.array(name, gradient)
        found = np.einsum("bc,bchw->bhw", weights, activations)
        maps.append(without_noise(found, added_up(method.name, activations, slopes)))
    return maps


def _full_grad(batch: Batch, method: Method, _: Sequence[str]) -> list[Maps]:
    """Full-Grad (Srinivas and Fleuret 2019): input × gradient and every bias × its gradient.

    The library pairs biases and gradients by the order of the backward pass, which is not that
    of the modules where branches run side by side; here they are paired by name. Its map has the
    size of the input and no negative values.
    """
    cam = method.cam(batch.model, [])
    cam.activations_and_grads.release()
    named = {part: name for name, part in batch.loaded.module.named_modules()}
    names = [named[part] for part in cam.target_layers]
    batch.tensor.requires_grad_(True)
    logits, outputs = batch.run(names)
    found = gradients(logits, batch.score_targets(), [batch.tensor, *outputs.values()])
    batch.finite &= np.array([bool(torch.isfinite(row).all()) for row in found[0]])
    by_name = [batch.array(name, gradient) for name, gradient in zip(names, found[1:], strict=True)]
    maps = []
    # A plane at a time: the library brings every channel to the size of the input.
    for i in range(len(batch.tensor)):
        one = batch.tensor[i : i + 1].detach()
        one.grad = torch.nan_to_num(found[0][i : i + 1])
        cam.activations_and_grads.gradients = [torch.from_numpy(g[i : i + 1]) for g in by_name]
        maps.append(cam.compute_cam_per_layer(one, None, False).sum(axis=(0, 1)))
    return [np.stack(maps)]


def _guided(batch: Batch, method: Method, layers: Sequence[str]) -> list[Maps]:
    """Guided Grad-CAM: guided backpropagation ⊙ ReLU-ed Grad-CAM (Selvaraju et al. 2017).

    The gradient by the input is summed over its channels; the map has the size of the input.
    """
    coarse = _from_gradients(batch, method, layers)
    # ReLU modules are replaced, on a copy: an error would leave them in the user's model.
    guided = copy.deepcopy(batch.model)
    replace_all_layer_type_recursive(guided, nn.ReLU, GuidedBackpropReLUasModule())
    tensor = batch.tensor.detach().requires_grad_(True)
    (gradient,) = gradients(guided(tensor), batch.score_targets(), [tensor])
    fine = gradient.sum(dim=1).float().cpu()
    interpolate = partial(nn.functional.interpolate, mode="bilinear", align_corners=False)
    positive = [torch.from_numpy(m)[:, None].clamp_min(0) for m in coarse]
    return [(fine * interpolate(m, fine.shape[-2:])[:, 0]).numpy() for m in positive]


def _lrp(batch: Batch, _: Method, __: Sequence[str]) -> list[Maps]:
    """Relevance of the input, summed over its channels; see `cam.relevance`."""
    from napari_cam_sam.cam.relevance import canonical, relevance

    loaded = batch.loaded
    if not isinstance(batch, ClassBatch):
        raise CamSamError(
            f"lrp explains classifiers, and {loaded.name} is a segmentation network: take another "
            "method, e.g. hires-cam."
        )
    module = follow_plane_order(canonical(loaded.module, loaded.name), loaded.card)
    net = LogitsModel(batch.classifier, module)
    with torch.no_grad():
        batch.run(())
    found = relevance(net, batch.tensor, batch.targets.tolist())
    scale = found.abs().sum(dim=1).float().cpu().numpy()
    return [without_noise(found.sum(dim=1).float().cpu().numpy(), scale)]


def _occlusion(batch: Batch, _: Method, __: Sequence[str]) -> list[Maps]:
    gray = batch.occlusion.fill
    with torch.no_grad():
        logits = batch.run(())[0]
    maps, sizes = [], []
    for i, frame in enumerate(batch.tensor):
        fill = frame.mean(dim=(1, 2), keepdim=True)
        if gray is not None:
            fill = batch.loaded.normalise(torch.full_like(fill, gray / 255)[None])[0]

        def score(covered: Tensor, i: int = i) -> Tensor:
            return torch.stack([batch.score(row, i) for row in batch.model(covered)])

        maps.append(occlusion(score, frame, fill, batch.occlusion, batch.batch_size))
        row = logits[i].float().abs()
        sizes.append(max(float(row.max()), abs(float(batch.score(row, i)))))
    return [without_noise(np.stack(maps), np.array(sizes)[:, None, None])]


def warn_if_unguided(model: LoadedModel) -> None:
    """Warn where guided backpropagation passes activations that it does not alter.

    Parameters
    ----------
    model : LoadedModel
    """
    parts = list(model.module.modules())
    kinds = sorted({type(m).__name__ for m in parts if isinstance(m, _NOT_GUIDED)})
    if kinds or not any(isinstance(m, nn.ReLU) for m in parts):
        has = f"{', '.join(kinds)}, whose" if kinds else "none, and its"
        warnings.warn(
            f"guided-grad-cam alters ReLU modules only: {model.name} has {has} gradients stay as "
            "they are.",
            stacklevel=3,
        )


def _turned(maps: Maps) -> Maps:
    """Turn each map so that its value of largest magnitude is positive."""
    flip = -maps.min(axis=(1, 2)) > maps.max(axis=(1, 2))
    return np.where(flip[:, None, None], -maps, maps)


_COMPUTE: dict[Kind, Callable[[Batch, Method, Sequence[str]], list[Maps]]] = {
    "gradient": _from_gradients,
    "activation": _without_gradients,
    "perturbation": _without_gradients,
    "shapley": _shapley,
    "full": _full_grad,
    "guided": _guided,
    "lrp": _lrp,
    "occlusion": _occlusion,
}
