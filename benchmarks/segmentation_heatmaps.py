"""Seg-Grad-CAM against Seg-HiRes-Grad-CAM of the phantom U-Net, for each pixel set and layer.

    python benchmarks/segmentation_heatmaps.py

Phantoms of seeds from 40000, which neither training nor its held-out figures saw: ultrasound-like
images, planes of CT-like volumes and shapes, a third each, all with an object. The score of a map
is against the object's truth. Every map is compared with the formula computed by a forward hook
and autograd on the module itself, in double precision. Then the 3D peak: a network whose
Seg-HiRes-Grad-CAM is known in closed form looks at blobs between voxels, through windows of several
sizes, turned axes and resampled voxels.
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.cam.volume_heatmaps import compute_volume_heatmap
from napari_cam_sam.demo import phantoms
from napari_cam_sam.demo.volumes import ct
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.metrics.scoring import score_heatmap
from napari_cam_sam.models.segmentation import SegmentationNetwork, load_network
from napari_cam_sam.models.segmentation_cards import merge_segmentation_cards

FIRST_SEED = 40_000
LAYERS = ("bottleneck", "decoder3", "decoder2")
METHODS = ("grad-cam", "hires-cam")
SCORES = ("energy_inside", "pointing_hit", "auc_judd", "auprc")


@dataclass(frozen=True, eq=False)
class Case:
    """A plane, the class of its object, and where that is."""

    plane: NDArray[np.uint8]
    target: str
    truth: NDArray[np.bool_]


def make_cases(count: int) -> list[Case]:
    """Draw as many phantoms of each kind."""
    cases = []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        drawn = phantoms.ultrasound(seed, size=128, lesion=True)
        cases.append(Case(drawn.image, "lesion", drawn.labels > 0))
        volume = ct(seed, shape=(20, 128, 128))
        index = int(volume.labels.sum((1, 2)).argmax())
        gray = np.clip((volume.hounsfield[index] + 160) / 400, 0, 1) * 255
        truth = volume.labels[index] > 0
        cases.append(Case(np.rint(gray).astype(np.uint8), "lesion", truth))
        drawn = phantoms.shapes(seed)
        name = phantoms.SHAPE_CLASSES[drawn.class_index]
        cases.append(Case(drawn.image, name, drawn.labels > 0))
    return cases


def pixel_sets(case: Case) -> dict[str, tuple[PixelSet, NDArray[np.bool_] | None]]:
    """Give all kinds of sets: the drawn one is the box around the truth."""
    rows, columns = np.nonzero(case.truth)
    box = np.zeros_like(case.truth)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    depth = distance_transform_edt(case.truth)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return {
        "whole image": (PixelSet("whole"), None),
        "predicted": (PixelSet(), None),
        "probability > .5": (PixelSet("probability"), None),
        "largest component": (PixelSet(component=1), None),
        "truth": (PixelSet("truth"), case.truth),
        "drawn box": (PixelSet("region"), box),
        "one pixel": (PixelSet("pixel", pixel=(int(row), int(column))), None),
    }


class Double(nn.Module):
    """The network in double precision: in single, rounding may turn a ReLU near 0 over."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.double()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, h, w) to logits (B, classes, h, w)."""
        out: Tensor = self.inner(x.double())
        return out


def by_formula(
    module: nn.Module, plane: NDArray[np.uint8], layer: str, target: int,
    region: NDArray[np.bool_],
) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """Compute both maps with a forward hook and autograd on the unmodified module."""
    kept: list[Tensor] = []
    handle = module.get_submodule(layer).register_forward_hook(
        lambda _, __, output: kept.append(output)
    )
    gray = plane.astype(np.float32)
    if gray.ndim == 3:
        gray = gray @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    logits = module(((torch.from_numpy(gray)[None, None] / 255 - 0.5) / 0.5).double())
    handle.remove()
    y = logits[0, target][torch.from_numpy(region)].sum()
    (gradient,) = torch.autograd.grad(y, kept)
    mean = gradient.mean(dim=(2, 3), keepdim=True)
    return {
        "grad-cam": (mean * kept[0]).sum(1)[0].detach().numpy(),
        "hires-cam": (gradient * kept[0]).sum(1)[0].detach().numpy(),
    }


def main() -> None:
    """Print the table of maps, their agreement with the formula, and the 3D peaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10, help="of each kind of phantom")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}")
    loaded = load_network("phantom-unet", device="cpu")
    network = replace(loaded, module=Double(loaded.module), default_layers=())
    cases = make_cases(arguments.cases)
    print(f"{len(cases)} planes, prevalence {np.mean([c.truth.mean() for c in cases]):.3f}\n")
    print(" | ".join(["pixel set".ljust(17), "layer".ljust(10), *(s.ljust(13) for s in SCORES),
                      "empty"]))  # fmt: skip
    furthest = 0.0
    for name, layer in product(pixel_sets(cases[0]), LAYERS):
        found: dict[str, list[list[float]]] = {method: [] for method in METHODS}
        empty = 0
        for case in cases:
            pixel_set, given = pixel_sets(case)[name]
            regions = None if given is None else [given]
            maps = {
                method: next(
                    compute_heatmaps(
                        network,
                        [case.plane],
                        CamParameters(
                            method, case.target, (f"inner.{layer}",), pixel_set=pixel_set
                        ),
                        regions=regions,
                    )
                )
                for method in METHODS
            }
            region = maps["grad-cam"].region
            assert region is not None
            empty += not region.any()
            index = maps["grad-cam"].target_index
            formula = by_formula(loaded.module, case.plane, layer, index, region)
            for method, heatmap in maps.items():
                values = score_heatmap(heatmap.values, case.truth).values
                found[method].append([values[score] for score in SCORES])
                scale = max(float(np.abs(formula[method]).max()), 1e-12)
                off = float(np.abs(heatmap.raw - formula[method]).max() / scale)
                furthest = max(furthest, off)
        # A map that is all 0 has no energy; the others score what they would by chance.
        means = {method: np.nanmean(rows, axis=0) for method, rows in found.items()}
        cells = [f"{means['grad-cam'][i]:.3f}, {means['hires-cam'][i]:.3f}" for i in range(4)]
        print(" | ".join([name.ljust(17), layer.ljust(10), *(c.ljust(13) for c in cells),
                          str(empty)]))  # fmt: skip
    print("\nEach cell: Seg-Grad-CAM, Seg-HiRes-Grad-CAM; means over planes.")
    print(f"Largest difference from the formula, of the map's largest value: {furthest:.1e}")
    print(f"3D peak: at most {worst_offset():.3f} voxels off")


class Averaging(nn.Module):
    """Features that are means of 2×2×2 voxels, and logits linear in them.

    Seg-HiRes-Grad-CAM of the whole volume is these features but for a factor: its centre of mass
    is that of the volume.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.AvgPool3d(2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Conv3d(1, 2, 1)
        self.head.weight.data[:, 0, 0, 0, 0] = torch.tensor([-1.0, 1.0])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, d, h, w) to logits (B, 2, d, h, w)."""
        out: Tensor = self.head(self.up(self.features(x)))
        return out


def worst_offset() -> float:
    """Give the largest distance, along an axis, of a map's centre from the blob's, in voxels."""
    rng = np.random.default_rng(0)
    shape, spacing = (24, 40, 36), (3.0, 1.5, 2.5)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]]) * spacing
    geometry = Geometry(spacing, affine, "mm")
    cards = [{}, {"orientation": "RAS"}, {"orientation": "PSR", "spacing": [2.0, 2.0, 2.0]}]
    worst = 0.0
    for size, more in product(((16, 16, 16), (8, 12, 20), (48, 48, 48)), cards):
        fields = {"architecture": "averaging", "num_classes": 2, "spatial_dims": 3, **more}
        card = merge_segmentation_cards([("it", fields | {"input_size": size})], "it")
        network = SegmentationNetwork(
            Averaging().eval(), card, "averaging", "", ("features",), torch.device("cpu")
        )
        for _ in range(4):
            centre = rng.uniform(8, np.array(shape) - 8)
            bells = [
                np.exp(-0.5 * ((np.arange(n) - c) / 2.0) ** 2)
                for n, c in zip(shape, centre, strict=True)
            ]
            volume = np.rint(255 * np.einsum("i,j,k->ijk", *bells)).astype(np.uint8)
            parameters = CamParameters("hires-cam", 1, pixel_set=PixelSet("whole"))
            heatmap = compute_volume_heatmap(network, volume, parameters, geometry=geometry)
            where = np.indices(shape).reshape(3, -1)
            mass = heatmap.values.ravel().astype(np.float64)
            worst = max(worst, float(np.abs(where @ mass / mass.sum() - centre).max()))
    return worst


if __name__ == "__main__":
    main()
