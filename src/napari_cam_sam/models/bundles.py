"""MONAI bundle folders, read as data: no expression in them is ever run.

A bundle is ``configs/inference.json`` (or ``.yaml``), ``configs/metadata.json`` and
``models/model.pt``. Supported are the networks UNet, SegResNet and DynUNet with arguments that
are plain values or references to such (``@name``); a sliding window; and of the preprocessing
orientation, spacing and the scaling of intensities. What would change the input in another way
is refused by name, as is a TorchScript file.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.checkpoints import Checkpoint, read_checkpoint

__all__ = ["read_bundle"]

_NETWORKS = {"UNet": "monai-unet", "SegResNet": "monai-segresnet", "DynUNet": "monai-dynunet"}
# Transforms that do not change what the network sees of a voxel.
_HARMLESS = {
    "CastToTyped", "CropForegroundd", "EnsureChannelFirstd", "EnsureTyped", "LoadImaged",
    "ToTensord",
}  # fmt: skip


def read_bundle(folder: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """Read the weights of a bundle and what its configuration says of them.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    checkpoint : Checkpoint
    card : dict
        Fields of a :class:`~models.segmentation_cards.SegmentationCard`, not yet checked.

    Raises
    ------
    CamSamError
        If a file is missing or broken, or the bundle needs what is not supported.
    """
    config = _read_config(folder)
    metadata = _read_mapping(folder / "configs" / "metadata.json")
    network = _network(config, folder)
    architecture, arguments = network
    preparation = _preparation(config, folder)
    card: dict[str, Any] = {
        "architecture": architecture,
        "arguments": arguments,
        "spatial_dims": arguments.get("spatial_dims", 3),
        "class_names": _class_names(metadata, arguments),
        "input_size": _window_size(config, metadata, folder),
        "activation": "sigmoid" if _has_sigmoid(config, folder) else None,
        **preparation,
    }
    weights = folder / "models" / "model.pt"
    if not weights.is_file() and weights.with_suffix(".ts").is_file():
        raise CamSamError(
            f"{folder} has its weights as TorchScript alone (models/model.ts), which is code and "
            "never run; save the weights as models/model.pt."
        )
    return read_checkpoint(weights), card


def _read_config(folder: Path) -> dict[str, Any]:
    names = [folder / "configs" / f"inference.{suffix}" for suffix in ("json", "yaml", "yml")]
    for path in names:
        if path.is_file():
            return _read_mapping(path)
    trained = folder / "model.safetensors"
    name = f"{trained}, the classifier in it" if trained.is_file() else "a checkpoint file"
    raise CamSamError(
        f"{folder} is no MONAI bundle: it has no configs/inference.json. Name {name}, "
        "or the folder of a bundle."
    )


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CamSamError(f"{path} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise CamSamError(f"{path} is no mapping of names to values.")
    return content


def _network(config: Mapping[str, Any], folder: Path) -> tuple[str, dict[str, Any]]:
    """Find the network's class and arguments."""
    found = config.get("network_def", config.get("network"))
    target = found.get("_target_") if isinstance(found, Mapping) else None
    module, _, name = str(target).rpartition(".")
    if name not in _NETWORKS or not re.fullmatch(r"(monai\.networks\.nets(\.\w+)?)?", module):
        raise CamSamError(
            f"The bundle {folder} has the network {target}; supported are "
            f"{', '.join(_NETWORKS)}. Load another one by a factory, package.module:function."
        )
    assert isinstance(found, Mapping)
    plain = _plain(config, found, f"the network of {folder}")
    return _NETWORKS[name], {k: v for k, v in plain.items() if not k.startswith("_")}


def _plain(config: Mapping[str, Any], value: Any, what: str, depth: int = 0) -> Any:
    """Follow references to other parts of the configuration; refuse what is code."""
    if depth > 20:
        raise CamSamError(f"The references in {what} go in circles.")
    if isinstance(value, Mapping):
        return {str(k): _plain(config, v, what, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(config, v, what, depth + 1) for v in value]
    if not isinstance(value, str):
        return value
    if reference := re.fullmatch(r"\$?@([\w:#]+)", value):
        part: Any = config
        for key in re.split(r"::|#", reference[1]):
            try:
                part = part[int(key)] if isinstance(part, list) else part[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise CamSamError(f"In {what} {value!r} refers to what is not there.") from None
        return _plain(config, part, what, depth + 1)
    if value.startswith("$"):
        try:
            return ast.literal_eval(value[1:].strip())
        except (ValueError, SyntaxError):
            raise CamSamError(
                f"In {what} {value!r} is code, which is never run; write its value there."
            ) from None
    if value.startswith("%"):
        raise CamSamError(f"In {what} {value!r} refers to another file; write its value there.")
    return value


def _steps(config: Mapping[str, Any], group: str, folder: Path) -> list[dict[str, Any]]:
    """List the transforms of the pre- or postprocessing that are not switched off."""
    part = config.get(group)
    steps = part.get("transforms", []) if isinstance(part, Mapping) else []
    if isinstance(steps, str):
        steps = _plain(config, steps, f"the {group} of {folder}")
    found: list[dict[str, Any]] = []
    for step in steps if isinstance(steps, Sequence) else []:
        if isinstance(step, Mapping) and step.get("_disabled_") not in (True, "true"):
            found.append({**step, "_target_": str(step.get("_target_")).rpartition(".")[2]})
    return found


def _preparation(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Turn the preprocessing into fields of a card."""
    what = f"the preprocessing of {folder}"
    card: dict[str, Any] = {}
    for step in _steps(config, "preprocessing", folder):
        name = step["_target_"]
        if name in _HARMLESS:
            continue
        if name not in ("Orientationd", "Spacingd", "ScaleIntensityRanged", "ScaleIntensityd",
                        "NormalizeIntensityd"):  # fmt: skip
            raise CamSamError(
                f"In {what} {name} is not supported; load the network from its checkpoint with a "
                "card of its own."
            )
        step = _plain(config, step, what)
        if name == "Orientationd":
            card["orientation"] = step.get("axcodes")
        elif name == "Spacingd":
            card["spacing"] = step.get("pixdim")
        elif name == "ScaleIntensityRanged":
            if not step.get("clip", False):
                raise CamSamError(f"In {what} ScaleIntensityRanged does not clip; windows do.")
            first, last = _range(step, "a_min", "a_max", what)
            card["window"] = f"limits:{first:g},{last:g}"
            card |= _scaling(*_range(step, "b_min", "b_max", what))
        elif name == "ScaleIntensityd":
            _refuse(step, ("factor",), what)
            card["window"] = "minmax"
            card |= _scaling(*_range({"minv": 0, "maxv": 1} | step, "minv", "maxv", what))
        else:
            _refuse(step, ("subtrahend", "divisor"), what)
            card.setdefault("window", "minmax")
            card["standardise"] = "nonzero" if step.get("nonzero", False) else "image"
    return card


def _range(step: Mapping[str, Any], low: str, high: str, what: str) -> tuple[float, float]:
    """Read the two ends of a range."""
    ends = step.get(low), step.get(high)
    numbers = [float(end) for end in ends if isinstance(end, int | float)]
    if len(numbers) < 2 or not numbers[0] < numbers[1]:
        raise CamSamError(
            f"In {what} {step['_target_']} has {low} {ends[0]} and {high} {ends[1]}; expected two "
            "numbers, the first the lower."
        )
    return numbers[0], numbers[1]


def _scaling(low: float, high: float) -> dict[str, Any]:
    """Give the mean and deviation that bring values of 0 to 1 to another range."""
    return {"mean": [-low / (high - low)], "std": [1 / (high - low)]}


def _refuse(step: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    """Refuse a transform with arguments that a card has no word for."""
    for name in names:
        if step.get(name) is not None:
            raise CamSamError(
                f"In {what} {step['_target_']} has the argument {name!r}, which is not supported; "
                "load the network from its checkpoint with a card of its own."
            )


def _has_sigmoid(config: Mapping[str, Any], folder: Path) -> bool:
    return any(
        step["_target_"] == "Activationsd" and step.get("sigmoid") in (True, "true")
        for step in _steps(config, "postprocessing", folder)
    )


def _class_names(metadata: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str] | None:
    """Read the names of the output channels, where there is one for each."""
    try:
        outputs = metadata["network_data_format"]["outputs"]
        named = next(iter(outputs.values()))["channel_def"]
        names = [str(named[str(i)]) for i in range(int(arguments["out_channels"]))]
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return None
    return names if len(set(names)) == len(names) else None


def _window_size(
    config: Mapping[str, Any], metadata: Mapping[str, Any], folder: Path
) -> list[int] | None:
    """Read the size of the sliding window, or else of the network's input."""
    inferer = config.get("inferer")
    size: Any = inferer.get("roi_size") if isinstance(inferer, Mapping) else None
    if size is None:
        try:
            inputs = metadata["network_data_format"]["inputs"]
            size = next(iter(inputs.values()))["spatial_shape"]
        except (KeyError, TypeError, AttributeError, StopIteration):
            return None
    size = _plain(config, size, f"the inferer of {folder}")
    whole = isinstance(size, list) and all(isinstance(n, int) and n > 0 for n in size)
    return size if whole else None
