"""What MONAI's own inference gives of bundles, against what is computed here.

    python benchmarks/bundle_equality.py            # all, some minutes on two cores
    python benchmarks/bundle_equality.py --small    # the quick ones, as the tests take them

Bundles with random weights are written to a temporary folder and opened from there. The reference
is MONAI's: its ConfigParser builds preprocessing, inferer and postprocessing (with Invertd) of the
same file, which is ours and no stranger's. Compared are the classes and probabilities of every
voxel on the grid of the image. The published bundles are those of MONAI's model zoo in structure,
in our own writing, with fewer filters, and one channel where they take four.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.networks import nets
from numpy.typing import NDArray
from PIL import Image as Picture

from napari_cam_sam.cam.volume_heatmaps import predict_image
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.models.segmentation import load_network

READ = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
]
RAS = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
UNET = {"_target_": "UNet", "channels": [8, 16, 32], "strides": [2, 2], "num_res_units": 1}
SEGRESNET = {
    "_target_": "SegResNet", "init_filters": 8, "blocks_down": [1, 2, 2], "blocks_up": [1, 1],
}  # fmt: skip


def step(name: str, **arguments: Any) -> dict[str, Any]:
    """Write a transform of the image."""
    return {"_target_": name, "keys": "image", **arguments}


def spacing(*pixdim: float) -> dict[str, Any]:
    """Write a Spacingd."""
    return step("Spacingd", pixdim=list(pixdim), mode="bilinear")


def sliding(*roi: int, **more: Any) -> dict[str, Any]:
    """Write a sliding window."""
    return {"_target_": "SlidingWindowInferer", "roi_size": list(roi), "sw_batch_size": 4, **more}


def slices(axis: int, *roi: int, **more: Any) -> dict[str, Any]:
    """Write an inferer of slices."""
    return {"_target_": "SliceInferer", "roi_size": list(roi), "spatial_dim": axis, **more}


MINMAX, OWN = step("ScaleIntensityd"), step("NormalizeIntensityd")
NONZERO = step("NormalizeIntensityd", nonzero=True)


def between(low: float, high: float, **more: Any) -> dict[str, Any]:
    """Write a ScaleIntensityRanged to 0 to 1."""
    ends = {"a_min": low, "a_max": high, "b_min": 0.0, "b_max": 1.0}
    return step("ScaleIntensityRanged", **ends, **{"clip": True, **more})


@dataclass(frozen=True)
class Bundle:
    """A bundle to compare.

    Attributes
    ----------
    kind : str
        For the table.
    steps : list of dict
        Of the preprocessing, behind the reading.
    inferer : dict
    network : dict
    dims, classes, channels : int
    image : str
        One of `IMAGES`.
    small : bool
        Whether tests take it.
    sigmoid : bool
    """

    kind: str
    steps: Sequence[Mapping[str, Any]]
    inferer: Mapping[str, Any]
    network: Mapping[str, Any] = field(default_factory=lambda: UNET)
    dims: int = 3
    classes: int = 3
    channels: int = 1
    image: str = "ct"
    small: bool = True
    sigmoid: bool = False


WINDOW = sliding(16, 24, 16, overlap=0.5, mode="gaussian")
BUNDLES = [
    Bundle("3D, RAS 2 mm, range -150..250", [RAS, spacing(2, 2, 2), between(-150, 250)], WINDOW),
    Bundle("3D, min-max, then own mean", [RAS, spacing(2, 2, 2), MINMAX, OWN], WINDOW, image="mr"),
    Bundle(
        "3D, own mean of nonzero, then -1..1",
        [RAS, spacing(2, 2, 2), NONZERO, step("ScaleIntensityd", minv=-1.0, maxv=1.0)],
        WINDOW,
    ),
    Bundle("3D, own mean, then range -3..3", [RAS, spacing(2, 2, 2), OWN, between(-3, 3)], WINDOW),
    Bundle(
        "3D, range, then min-max to -1..1",
        [RAS, spacing(2, 2, 2), between(0, 50), step("ScaleIntensityd", minv=-1.0)],
        WINDOW,
        image="mr",
    ),
    Bundle(
        "3D, percentiles, foreground alone",
        [
            step("CropForegroundd", source_key="image", margin=2),
            step(
                "ScaleIntensityRangePercentilesd",
                lower=1, upper=99, b_min=0.0, b_max=1.0, clip=True,
            ),
        ],
        WINDOW,
        image="mr",
    ),
    Bundle("3D, no Orientationd", [MINMAX], sliding(16, 16, 16, overlap=0.25)),
    Bundle("3D, no Orientationd, an odd window", [MINMAX], sliding(28, 12, 20, overlap=0.4)),
    Bundle("3D, Spacingd alone", [spacing(1.0, 2.0, 3.0), MINMAX], sliding(16, 16, 16)),
    Bundle(
        "3D, Spacingd alone, a window larger than it",
        [spacing(3, 3, 6), MINMAX],
        sliding(32, 32, 16),
    ),
    Bundle(
        "3D, a window larger than it, reflected",
        [spacing(3, 3, 6), MINMAX],
        sliding(32, 32, 16, padding_mode="reflect"),
    ),
    Bundle(
        "3D, all at once (SimpleInferer)",
        [RAS, step("DivisiblePadd", k=4), MINMAX],
        {"_target_": "SimpleInferer"},
    ),
    Bundle("2D, slices along k", [MINMAX], slices(2, 44, 36), dims=2),
    Bundle("2D, slices along k, sliding", [MINMAX], slices(2, 16, 24, overlap=0.5), dims=2),
    Bundle("2D, slices along i, sliding", [OWN], slices(0, 16, 12, mode="gaussian"), dims=2),
    Bundle(
        "2D, slices along j of RAS 2 mm", [RAS, spacing(2, 2, 2), OWN], slices(1, 32, 16), dims=2
    ),
    Bundle(
        "2D, a picture, sliding", [MINMAX], sliding(32, 24, overlap=0.5), dims=2, image="picture"
    ),
    Bundle(
        "2D, a picture in colour, resized",
        [step("Resized", spatial_size=[64, 48], mode="bilinear"), between(0, 255)],
        {"_target_": "SimpleInferer"},
        dims=2,
        channels=3,
        image="colour",
    ),
    # Structures of the model zoo.
    Bundle(
        "spleen_ct_segmentation",
        [RAS, spacing(1.5, 1.5, 2.0), between(-57, 164), step("EnsureTyped")],
        sliding(32, 32, 32, overlap=0.5),
        {
            "_target_": "UNet", "channels": [8, 16, 32, 64, 128], "strides": [2, 2, 2, 2],
            "num_res_units": 2, "norm": "batch",
        },
        classes=2,
    ),
    Bundle(
        "wholeBody_ct_segmentation (3 mm)",
        [
            step("EnsureTyped"), RAS, spacing(3, 3, 3), NONZERO,
            step("ScaleIntensityd", minv=-1.0, maxv=1.0),
        ],
        sliding(24, 48, 24, overlap=0.25, padding_mode="replicate", mode="gaussian"),
        SEGRESNET,
        classes=105,
        small=False,
    ),
    Bundle(
        "prostate_mri_anatomy",
        [RAS, spacing(0.8, 0.8, 2.0), step("ScaleIntensityd", minv=0, maxv=1), OWN],
        sliding(48, 48, 16, overlap=0.5),
        UNET,
        image="mr",
        small=False,
    ),
    Bundle(
        "brats_mri_segmentation (one channel)",
        [step("NormalizeIntensityd", nonzero=True, channel_wise=True)],
        sliding(32, 32, 16, overlap=0.5),
        {**SEGRESNET, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1], "dropout_prob": 0.2},
        image="mr",
        sigmoid=True,
    ),
]  # fmt: skip


def blobs(shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """Draw smooth structures of some sizes, -1 to 1."""
    rng = np.random.default_rng(seed)
    at = np.indices(shape).reshape(len(shape), -1)
    found = np.zeros(at.shape[1])
    for _ in range(14):
        centre, width = rng.random(len(shape)) * shape, 2 + rng.random() * np.mean(shape) / 6
        found += rng.normal() * np.exp(-0.5 * (((at.T - centre) / width) ** 2).sum(1))
    return (found / np.abs(found).max()).reshape(shape)


def write_image(name: str, folder: Path) -> Path:
    """Write a CT of oblique LAS axes, an MRI with a black rim, or a picture."""
    rng = np.random.default_rng(1)
    if name in ("picture", "colour"):
        planes = [blobs((50, 70), seed) for seed in range(3 if name == "colour" else 1)]
        values = np.stack([np.rint(120 + 110 * p) for p in planes], axis=-1).astype(np.uint8)
        path = folder / f"{name}.png"
        Picture.fromarray(values if name == "colour" else values[..., 0]).save(path)
        return path
    shape = (44, 36, 20)
    values = blobs(shape, 5)
    affine = np.diag([-1.5, 1.5, 3.0, 1.0])
    affine[:3, 3] = 20, -31, 12
    if name == "ct":
        turn = np.deg2rad(4)
        turned = np.eye(4)
        turned[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        affine = turned @ affine
        values = np.rint(60 + 400 * values + rng.normal(0, 15, shape))
        values[:3] = -1000
        values[20:24, 10:14] = 0
    else:
        values = 300 + 250 * values + rng.normal(0, 12, shape)
        values[:, :4] = values[-3:] = 0
    path = folder / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), affine), path)
    return path


def write_bundle(bundle: Bundle, folder: Path) -> tuple[Path, dict[str, Any], torch.nn.Module]:
    """Write a bundle's files with random weights."""
    arguments = {
        **bundle.network, "spatial_dims": bundle.dims, "in_channels": bundle.channels,
        "out_channels": bundle.classes,
    }  # fmt: skip
    kind = {"sigmoid": True} if bundle.sigmoid else {"softmax": True}
    config = {
        "network_def": arguments,
        "preprocessing": {"_target_": "Compose", "transforms": [*READ, *bundle.steps]},
        "inferer": dict(bundle.inferer),
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", **kind},
                {
                    "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing",
                    "orig_keys": "image", "nearest_interp": False, "to_tensor": True,
                },
            ],
        },
    }  # fmt: skip
    for part in ("configs", "models"):
        (folder / part).mkdir(parents=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text("{}")
    torch.manual_seed(3)
    plain = {k: v for k, v in arguments.items() if k != "_target_"}
    module = getattr(nets, arguments["_target_"])(**plain).eval()
    torch.save(module.state_dict(), folder / "models" / "model.pt")
    return folder, config, module


def reference(config: dict[str, Any], module: torch.nn.Module, path: Path) -> NDArray[np.float32]:
    """Run MONAI's own inference: probabilities (classes, …) along the file's axes."""
    parser = ConfigParser(config)
    data = parser.get_parsed_content("preprocessing")({"image": str(path)})
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], module)[0]
    found = parser.get_parsed_content("postprocessing")(data)["pred"]
    return np.asarray(found, dtype=np.float32)


@dataclass(frozen=True)
class Agreement:
    """How near two predictions are.

    Attributes
    ----------
    voxels : float
        Part of the voxels with the same class, or of independent ones the same answer each.
    difference : float
        The largest of a probability.
    largest_class : float
        Part of the voxels that the commonest class has: what agrees without any skill.
    """

    voxels: float
    difference: float
    largest_class: float


def compare(bundle: Bundle, folder: Path) -> Agreement:
    """Run a bundle both ways."""
    path = write_image(bundle.image, folder)
    where, config, module = write_bundle(bundle, folder / "bundle")
    theirs = reference(config, module, path)
    network = load_network(where, device="cpu")
    image = read_image(path)
    values = np.asarray(image.data[:])
    ours = predict_image(network, values, image.geometry)
    ours = ours.transpose(0, *range(ours.ndim - 1, 0, -1))
    if bundle.sigmoid:
        first, second = ours > 0.5, theirs > 0.5
        same = (first == second).all(0).mean()
        largest = max(second.all(0).mean(), (~second).all(0).mean())
    else:
        first, second = ours.argmax(0), theirs.argmax(0)
        same = (first == second).mean()
        largest = np.bincount(second.ravel()).max() / second.size
    return Agreement(float(same), float(np.abs(ours - theirs).max()), float(largest))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="only what the tests take")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, MONAI {version('monai')}"
    )
    print(f"{'kind':46} {'agreement':>9} {'difference':>10} {'largest class':>13}")
    for bundle in BUNDLES:
        if arguments.small and not bundle.small:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = compare(bundle, Path(folder))
        print(
            f"{bundle.kind:46} {found.voxels:9.5f} {found.difference:10.2e} "
            f"{found.largest_class:13.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
