"""Heatmaps of 3D segmentation networks: window by window over a volume, blended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cam_sam.cam.heatmaps import (
    CamParameters,
    Heatmap,
    check_request,
    combine_maps,
    normalise_heatmap,
)
from napari_cam_sam.cam.inputs import Frame, ImageInput, PreparedInput, WindowedInput
from napari_cam_sam.cam.methods import METHODS, Method, maps_of_batch
from napari_cam_sam.cam.pixel_sets import PixelSet, find_pixels, nth_component
from napari_cam_sam.cam.regions import explained_class, predicted_classes
from napari_cam_sam.cam.tracing import LogitsModel
from napari_cam_sam.cam.upscale import upscale_volume
from napari_cam_sam.cam.windows import Start, WindowBatch
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.models.exclusive_eval import borrowed
from napari_cam_sam.models.segment.bundle_frames import prepare_image
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.models.volume_frames import VolumeFrame

__all__ = ["compute_volume_heatmap", "planes_of", "predict_image"]

Progress = Callable[[int, int], None]

# Voxels in one forward pass; a window that is larger goes alone.
_MOST_VOXELS = 1 << 20
_KINDS = ("gradient", "activation", "shapley")


def compute_volume_heatmap(
    network: SegmentationNetwork,
    volume: NDArray[Any],
    parameters: CamParameters | None = None,
    *,
    region: NDArray[np.bool_] | None = None,
    geometry: Geometry | None = None,
    progress: Progress | None = None,
) -> Heatmap:
    r"""Compute the heatmap of a volume by a 3D network.

    Windows slide over the volume, each half over the next. Their logits, blended with Gaussian
    weights, decide what is predicted. Then each window that M touches is explained as an image
    of its own, with its part of M, and the maps, brought to the window's voxels edge on edge, are
    blended with the same weights; elsewhere the map is 0. In a volume of one window that is the
    formula itself. Memory holds a window's passes, one layer of windows' logits, and a few
    values a voxel.

    Parameters
    ----------
    network : SegmentationNetwork
        3D, or of a MONAI bundle. Left as it was.
    volume : ndarray of uint8, shape (plane, row, column)
        Windowed. For a network of a bundle the image itself instead, of any type, not windowed,
        since the bundle's own transforms are run on it; also (row, column), or with colours last
        where a geometry tells them from columns.
    parameters : CamParameters, optional
        Methods with gradients or activations alone. Of a batch size of windows no more than fit
        a million voxels are taken at once.
    region : ndarray of bool, shape (plane, row, column), optional
        For the pixel sets ``"truth"`` and ``"region"``.
    geometry : Geometry, optional
        Needed where the network's card has an orientation or a spacing.
    progress : callable, optional
        Called after each batch with the number of windows done and of all, counting each pass.
        What it raises ends the work.

    Returns
    -------
    Heatmap
        ``values`` and ``region`` on the volume's voxels; ``raw`` there too, signed.

    Raises
    ------
    CamSamError
        If the network is 2D, the volume is none, the method needs other passes, or what is named
        does not exist.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("own_net.py").write_text(
    ...     "from torch.nn import Conv3d, ReLU, Sequential\n\n"
    ...     "def build():\n"
    ...     "    return Sequential(Conv3d(1, 4, 3, padding=1), ReLU(), Conv3d(4, 2, 1))\n"
    ... )
    >>> card = {"spatial_dims": 3, "channels": 1, "input_size": (16, 16, 16)}
    >>> names = ("background", "lesion")
    >>> network = ncs.load_model("own_net:build", class_names=names, **card)
    >>> volume = np.random.default_rng(0).integers(0, 256, (16, 16, 16), np.uint8)
    >>> parameters = ncs.CamParameters("grad-cam", target="lesion", layers=("0",))
    >>> ncs.compute_volume_heatmap(network, volume, parameters).values.shape
    (16, 16, 16)
    """
    parameters = parameters or CamParameters()
    preparation = network.card.preparation
    if network.card.spatial_dims != 3 and preparation is None:
        raise CamSamError(
            f"{network.name} is a 2D network and takes slices, not a volume: run it slice by "
            "slice, or choose a 3D network."
        )
    if preparation is None and (volume.dtype != np.uint8 or volume.ndim != 3 or volume.size == 0):
        raise CamSamError(
            f"{network.name} is a 3D network and takes a volume of uint8, shape (slices, rows, "
            f"columns); got {volume.dtype} of shape {volume.shape}."
        )
    method, target, layers = check_request(network, parameters)
    assert not isinstance(target, tuple)  # refused for networks
    if method.kind not in _KINDS:
        able = ", ".join(name for name, one in METHODS.items() if one.kind in _KINDS)
        kind = "bundles" if preparation is not None else "3D networks"
        raise CamSamError(f"{method.name} is not made for {kind}: choose one of {able}.")
    pixel_set = parameters.pixel_set or PixelSet()
    whole = volume.ndim if geometry is None else len(geometry.spacing)
    shape = tuple(volume.shape[:whole])
    mask = None
    if pixel_set.kind not in ("predicted", "probability"):
        mask = find_pixels(pixel_set, shape, region)
    entered, given, frame = _enter(network, volume, mask, geometry)
    work = _Work(network, entered, parameters, progress)
    if target is None:
        _, _, counts, peaks = work.look(None)
        target = explained_class(counts, peaks, network)
    found, probabilities, _, peaks = work.look(target)
    if pixel_set.kind == "probability":
        found = probabilities > pixel_set.threshold
    chosen = nth_component(found if given is None else given, pixel_set.component)
    maps, finite, grid = work.explain(chosen, target, method, layers)
    on_volume = [frame.back(m) for m in maps]
    name, probability = network.card.class_names[target], float(peaks[target])
    region_on_volume = frame.back_mask(chosen)
    if chosen.any() and not region_on_volume.any():
        region_on_volume = frame.back(chosen.astype(np.float32)) > 0
    values, reason = normalise_heatmap(
        [np.maximum(m, 0) for m in on_volume],
        name,
        probability if finite else float("nan"),
        parameters,
        region_on_volume,
        elsewhere=False,
    )
    return Heatmap(
        values=values,
        raw=combine_maps(on_volume),
        letterbox=None,
        method=parameters.method,
        layers=layers,
        target_index=target,
        target_name=name,
        probability=probability,
        probabilities=peaks,
        grid_shape=grid,
        evidence=reason is None,
        reason=reason,
        pixel_set=pixel_set,
        region=region_on_volume,
        probability_map=frame.back(probabilities),
    )


def _enter(
    network: SegmentationNetwork,
    volume: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    geometry: Geometry | None,
) -> tuple[ImageInput, NDArray[np.bool_] | None, Frame]:
    """Bring an image and a mask into a network's frame, and return the way back."""
    card = network.card
    if card.preparation is not None:
        prepared = prepare_image(volume, card.preparation, card.channels, geometry, mask)
        entered = PreparedInput(network, prepared, card.preparation)
        return entered, entered.mask, entered.frame
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    frame = VolumeFrame.fit(shape, card, geometry)
    assert isinstance(frame, VolumeFrame)  # the card has no preparation
    given = None if mask is None else frame.apply_mask(mask)
    return WindowedInput(network, frame.apply(volume)), given, frame


def predict_image(
    network: SegmentationNetwork,
    image: NDArray[Any],
    geometry: Geometry | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Predict the probability of every class at every pixel of an image.

    Parameters
    ----------
    network : SegmentationNetwork
        3D, or of a bundle.
    image : ndarray
        As :func:`compute_volume_heatmap` takes it.
    geometry : Geometry, optional
    progress : callable, optional

    Returns
    -------
    ndarray of float32, shape (classes, *shape of the image)
        On the image's grid, interpolated where the network saw another one.

    Raises
    ------
    CamSamError
        If the network is 2D and of no bundle, or the image does not suit it.
    """
    if network.card.preparation is None and network.card.spatial_dims != 3:
        raise CamSamError(f"{network.name} is a 2D network: use cam.predictions.predict_planes.")
    entered, _, frame = _enter(network, image, None, geometry)
    work = _Work(network, entered, CamParameters(), progress)
    probabilities = work.probabilities()
    return np.stack([frame.back(one) for one in probabilities])


def planes_of(whole: Heatmap, axis: int) -> Iterator[Heatmap]:
    """Cut a volume's heatmap into those of its planes, scaled as the volume's is.

    Parameters
    ----------
    whole : Heatmap
        From :func:`compute_volume_heatmap`.
    axis : int
        That the planes cut.

    Yields
    ------
    Heatmap
        Where its plane is 0 everywhere it has no evidence, and a reason.
    """
    if whole.values.ndim == 2:  # an image of one plane
        yield whole
        return
    maps = {name: getattr(whole, name) for name in ("values", "raw", "region", "probability_map")}
    for index in range(whole.values.shape[axis]):
        cut: dict[str, Any] = {
            name: np.take(m, index, axis) for name, m in maps.items() if m is not None
        }
        reason = whole.reason
        if reason is None and not cut["values"].any():
            reason = f"All positive evidence for {whole.target_name!r} is on other slices."
        if "probability_map" in cut:
            cut["probability"] = float(cut["probability_map"].max())
        yield replace(whole, **cut, evidence=reason is None, reason=reason)


class _Work:
    """One volume on its way through a network, window by window."""

    def __init__(
        self,
        network: SegmentationNetwork,
        entered: ImageInput,
        parameters: CamParameters,
        progress: Progress | None,
    ) -> None:
        self.network = network
        self.model = LogitsModel(network)
        self.entered = entered
        self.windows, self.inside = entered.windows, entered.inside
        self.shape = [part.stop - part.start for part in self.inside]
        self.size = self.windows.size
        most = max(1, _MOST_VOXELS // int(np.prod(self.size)))
        self.batch_size = min(parameters.batch_size, most)
        self.progress = progress
        passes = 3 if parameters.target is None else 2
        self.done, self.total = 0, passes * len(self.windows)

    def probabilities(self) -> NDArray[np.float32]:
        """Predict all classes of the whole image, shape (classes, *frame)."""
        found = np.zeros((self.network.card.num_classes, *self.shape), dtype=np.float32)
        self.total = len(self.windows)
        for planes, probabilities in self._predicted():
            found[:, planes] = probabilities
        return found

    def look(
        self, target: int | None
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Predict the whole volume.

        Returns
        -------
        predicted : ndarray of bool
            Where the target is predicted, on the frame's voxels.
        probabilities : ndarray of float32
            Its probability there.
        counts : ndarray of int64, shape (classes,)
            Voxels of each class.
        peaks : ndarray of float32, shape (classes,)
            The highest probability of each class.
        """
        n = self.network.card.num_classes
        counts, peaks = np.zeros(n, np.int64), np.zeros(n, np.float32)
        found = np.zeros(self.shape, dtype=bool)
        probability = np.zeros(self.shape, dtype=np.float32)
        for planes, probabilities in self._predicted():
            predicted = predicted_classes(probabilities, self.network)
            counts += predicted.sum(axis=(1, 2, 3))
            peaks = np.maximum(peaks, probabilities.max(axis=(1, 2, 3), initial=0))
            if target is not None:
                found[planes], probability[planes] = predicted[target], probabilities[target]
        return found, probability, counts, peaks

    def explain(
        self,
        chosen: NDArray[np.bool_],
        target: int,
        method: Method,
        layers: Sequence[str],
    ) -> tuple[list[NDArray[np.float32]], bool, tuple[int, ...]]:
        """Compute the map of each layer on the frame's voxels.

        Returns
        -------
        maps : list of ndarray of float32, signed
        finite : bool
        grid : tuple of int
            The finest grid of the layers in a window.
        """
        region = np.pad(chosen, self.entered.padding)
        maps = [np.zeros(self.windows.shape, dtype=np.float32) for _ in layers]
        finite, grids = True, dict.fromkeys(layers, (0, 0, 0))
        every = (start for starts in self.windows.layers() for start in starts)
        touched = [start for start in every if region[self.windows.slices(start)].any()]
        self._step(len(self.windows) - len(touched))
        for batch in _batches(touched, self.batch_size):
            slots = [self.windows.slices(start) for start in batch]
            weights = torch.from_numpy(np.stack([region[slot] for slot in slots])).float()
            weights = self.entered.to_network(weights).to(self.network.device)
            tensor = self.entered.to_network(self.entered.cut(batch)).contiguous()
            with torch.inference_mode(False), torch.enable_grad(), borrowed(self.network.module):
                windows = WindowBatch(self.network, tensor, self.batch_size, weights, target)
                found, good = maps_of_batch(windows, method, layers)
            finite &= bool(good.all())
            grids = windows.grids
            for name, whole, parts in zip(layers, maps, found, strict=True):
                for start, slot, part in zip(batch, slots, parts, strict=True):
                    grid = part.reshape(grids[name])
                    if self.entered.of_slices:
                        grid = self.entered.from_network(torch.from_numpy(grid[0])).numpy()
                    whole[slot] += upscale_volume(grid, self.size) * self.windows.weights(start)
            self._step(len(batch))
        finest = max(grids.values(), key=lambda shape: int(np.prod(shape)))
        return [m[self.inside] for m in maps], finite, finest

    def _predicted(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield planes of the frame, without its padding, with the probabilities of all classes."""
        depth, rows, columns = self.inside
        for first, logits in self._blended():
            low, high = max(first, depth.start), min(first + logits.shape[1], depth.stop)
            kept = logits[:, max(0, low - first) : max(0, high - first), rows, columns]
            found = self.network.to_probabilities(torch.from_numpy(kept)[None])[0].numpy()
            yield slice(low - depth.start, low - depth.start + kept.shape[1]), found

    def _blended(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the blended logits (classes, planes, rows, columns), some planes at a time.

        Planes are yielded as soon as no window to come has a part in them.
        """
        n, (depth, _, _) = self.network.card.num_classes, self.size
        shape = (n, depth, *self.windows.shape[1:])
        waiting = np.zeros(shape, dtype=np.float32)
        firsts = [*self.windows.starts[0], self.windows.shape[0]]
        for starts, first, following in zip(
            self.windows.layers(), firsts[:-1], firsts[1:], strict=True
        ):
            for batch in _batches(starts, self.batch_size):
                for start, logits in zip(batch, self._logits(batch), strict=True):
                    _, rows, columns = self.windows.slices(start)
                    waiting[:, :, rows, columns] += logits * self.windows.weights(start)
                self._step(len(batch))
            ready = min(following - first, depth)
            yield first, waiting[:, :ready]
            moved = np.zeros(shape, dtype=np.float32)
            moved[:, : depth - ready] = waiting[:, ready:]
            waiting = moved

    def _logits(self, starts: Sequence[Start]) -> NDArray[np.float32]:
        """Run windows, shape (n, classes, planes, rows, columns)."""
        with borrowed(self.network.module), torch.no_grad():
            tensor = self.entered.to_network(self.entered.cut(starts)).contiguous()
            maps = self._answer(tensor).float()
        maps = self.entered.from_network(maps)
        if tuple(maps.shape[2:]) != self.size:
            raise CamSamError(
                f"{self.network.name} answers a window of {self.size} with maps of "
                f"{tuple(maps.shape[2:])}; it must give one logit a voxel; "
                "perhaps its strides ask for another size."
            )
        logits: NDArray[np.float32] = maps.cpu().numpy()
        return logits

    def _answer(self, tensor: Tensor) -> Tensor:
        try:
            maps: Tensor = self.model(tensor)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, CamSamError) or self.network.card.preparation is None:
                raise
            size = " × ".join(map(str, tensor.shape[2:]))
            reason = str(error).partition("\n")[0][:200]
            raise CamSamError(
                f"{self.network.name} cannot take an input of {size}, which the bundle makes of "
                f"this image ({reason}); perhaps its strides ask for another size."
            ) from error
        return maps

    def _step(self, windows: int) -> None:
        self.done += windows
        if self.progress is not None:
            self.progress(self.done, self.total)


def _batches(starts: Sequence[Start], size: int) -> Iterator[Sequence[Start]]:
    for first in range(0, len(starts), size):
        yield starts[first : first + size]
