"""MONAI bundle folders, read as data: no expression in them is ever run.

A bundle is ``configs/inference.json`` (or ``.yaml``), ``configs/metadata.json`` and
``models/model.pt``. Supported are the networks UNet, SegResNet and DynUNet with arguments that
are plain values or references to such (``@name``), the transforms and inferers of
:mod:`models.preparation`, and none of what would be code. The rest is refused by name, as is a
TorchScript file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.models.checkpoints import Checkpoint, read_checkpoint
from napari_cam_sam.models.preparation import Preparation
from napari_cam_sam.models.preparation_fields import read_preparation
from napari_cam_sam.parsing import parse_json, parse_yaml, read_text

__all__ = ["read_bundle"]

_NETWORKS = {"UNet": "monai-unet", "SegResNet": "monai-segresnet", "DynUNet": "monai-dynunet"}
# Where something runs, and what it shows: no part of what the network sees.
_ELSEWHERE = ("device", "sw_device", "progress", "cpu_thresh", "allow_missing_keys", "meta_keys")
# What comes after the probabilities: back to the image's grid, which is done here too, and masks
# that are cleaned or written, which is not.
_AFTER = (
    "CopyItemsd", "DeleteItemsd", "EnsureTyped", "FillHolesd", "Invertd",
    "KeepLargestConnectedComponentd", "RemoveSmallObjectsd", "SaveImaged", "ToDeviced",
    "ToTensord",
)  # fmt: skip
_REFERENCE = re.compile(r"\$?@([\w:#]+)")
_MOST_VALUES = 10_000
_LONGEST_LITERAL = 500


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
    architecture, arguments = _network(config, folder)
    preparation = _preparation(config, folder)
    dims = arguments.get("spatial_dims", 3)
    if dims not in (2, 3):
        raise CamSamError(
            f"The network has {dims!r} spatial dimensions; expected 2 or 3 ({folder})."
        )
    sizes = preparation.inferer.roi_size
    if (preparation.of_slices and dims != 2) or (len(sizes) > 1 and len(sizes) != dims):
        raise CamSamError(
            f"The inferer is a {preparation.inferer.kind} with a roi_size of {len(sizes)} sizes, "
            f"and the network takes {dims} dimensions: correct one of them ({folder})."
        )
    by_name = {step.name: step.arguments for step in preparation.steps} if dims == 3 else {}
    spacing = by_name.get("Spacingd", {}).get("pixdim")
    known = isinstance(spacing, list) and len(spacing) == 3 and min(spacing) > 0
    card: dict[str, Any] = {
        "architecture": architecture,
        "arguments": arguments,
        "spatial_dims": dims,
        "class_names": _class_names(metadata, arguments),
        "input_size": _window_size(preparation, metadata, dims),
        "activation": _activation(config, folder),
        "preparation": preparation,
        "window": preparation.window,
        # For people: the preparation says it all.
        "orientation": by_name.get("Orientationd", {}).get("axcodes"),
        "spacing": spacing if known else None,
        "plane_order": "columns-rows" if dims == 2 else None,
    }
    weights = folder / "models" / "model.pt"
    if not weights.is_file() and weights.with_suffix(".ts").is_file():
        raise refusal(
            "The weights are there as TorchScript alone (models/model.ts), which is code and never "
            "run; save the weights as models/model.pt",
            folder,
        )
    return read_checkpoint(weights), card


def _read_config(folder: Path) -> dict[str, Any]:
    names = [folder / "configs" / f"inference.{suffix}" for suffix in ("json", "yaml", "yml")]
    for path in names:
        if path.is_file():
            return _read_mapping(path)
    trained = folder / "model.safetensors"
    name = f"{trained.name}, the classifier in it" if trained.is_file() else "a checkpoint file"
    raise refusal(
        f"This is no MONAI bundle, without configs/inference.json: name {name}, or the folder of a "
        "bundle",
        folder,
    )


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    text = read_text(path, "the configuration of a bundle")
    content = parse_json(text, path) if path.suffix == ".json" else parse_yaml(text, path)
    if not isinstance(content, dict):
        raise CamSamError(f"It is no mapping of names to values, as a bundle has: {path}.")
    return content


def _network(config: Mapping[str, Any], folder: Path) -> tuple[str, dict[str, Any]]:
    """Find the network's class and arguments."""
    found = config.get("network_def", config.get("network"))
    target = found.get("_target_") if isinstance(found, Mapping) else None
    module, _, name = str(target).rpartition(".")
    if name not in _NETWORKS or not re.fullmatch(r"(monai\.networks\.nets(\.\w+)?)?", module):
        raise CamSamError(
            f"The bundle has the network {target}; supported are {', '.join(_NETWORKS)}: "
            f"load another one by a factory, package.module:function ({folder})."
        )
    assert isinstance(found, Mapping)
    plain = _plain(config, found, f"the network of {folder}")
    return _NETWORKS[name], {k: v for k, v in plain.items() if not k.startswith("_")}


def _plain(
    config: Mapping[str, Any], value: Any, what: str, depth: int = 0, left: list[int] | None = None
) -> Any:
    """Follow references to other parts of the configuration; refuse what is code."""
    left = [_MOST_VALUES] if left is None else left
    left[0] -= 1
    if depth > 20:
        raise CamSamError(f"The references in {what} go in circles.")
    if left[0] < 0:
        raise CamSamError(f"The references in {what} lead to more than {_MOST_VALUES} values.")
    if isinstance(value, Mapping):
        return {str(k): _plain(config, v, what, depth + 1, left) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(config, v, what, depth + 1, left) for v in value]
    if not isinstance(value, str):
        return value
    if _REFERENCE.fullmatch(value):
        return _plain(config, _follow(config, value, what), what, depth + 1, left)
    if value.startswith("$"):
        try:
            if len(value) > _LONGEST_LITERAL:
                raise ValueError("too long")
            return ast.literal_eval(value[1:].strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise CamSamError(
                f"{value[:100]!r} is code, which is never run; write its value there, in {what}."
            ) from None
    if value.startswith("%"):
        raise CamSamError(f"{value!r} refers to another file; write its value there, in {what}.")
    return value


def _follow(config: Mapping[str, Any], value: str, what: str) -> Any:
    """Return the part that a reference names."""
    reference = _REFERENCE.fullmatch(value)
    if reference is None:
        raise CamSamError(
            f"{value[:100]!r} is code or a name, which is never run; write there what it stands "
            f"for, in {what}."
        )
    part: Any = config
    for key in re.split(r"::|#", reference[1]):
        try:
            part = part[int(key)] if isinstance(part, list) else part[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise CamSamError(f"{value!r} refers to what is not there, in {what}.") from None
    return part


def _listed_steps(
    config: Mapping[str, Any], part: Any, what: str, depth: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield the transforms of a Compose or a list, and those within."""
    if depth > 20:
        raise CamSamError(f"The references in {what} go in circles.")
    if isinstance(part, str):
        part = [_follow(config, part, what)]
    if isinstance(part, list):
        for one in part:
            yield from _listed_steps(config, one, what, depth + 1)
        return
    if not isinstance(part, Mapping):
        raise CamSamError(f"{part!r} is no transform, in {what}; write the transforms there.")
    if part.get("_disabled_") in (True, "true"):
        return
    target = part.get("_target_")
    if target is None or str(target).rpartition(".")[2] == "Compose":
        _check_target(str(target or "Compose"), "monai.transforms", what)
        for option in ("map_items", "unpack_items", "lazy", "overrides"):
            if part.get(option) not in (None, option == "map_items"):
                raise CamSamError(f"Compose has {option}, which is not followed, in {what}.")
        yield from _listed_steps(config, part.get("transforms", []), what, depth + 1)
        return
    yield {**part, "_target_": _check_target(str(target), "monai.transforms", what)}


def _check_target(target: str, package: str, what: str) -> str:
    """Return the name of a class of MONAI; one of another package is refused by its name."""
    module, _, name = target.rpartition(".")
    if not name.isidentifier() or not re.fullmatch(rf"({re.escape(package)}(\.\w+)*)?", module):
        raise CamSamError(f"{target} is none of {package}, and is not run, in {what}.")
    return name


def _preparation(config: Mapping[str, Any], folder: Path) -> Preparation:
    """Read the preprocessing of the image, and how windows slide."""
    what = f"the preprocessing of {folder}"
    if "preprocessing" not in config:
        raise CamSamError(
            f"There is no preprocessing in the bundle's configs/inference: add it ({folder})."
        )
    key: str | None = None
    steps = []
    for step in _listed_steps(config, config["preprocessing"], what):
        name = step.pop("_target_")
        keys = _plain(config, step.pop("keys", "image"), what)
        keys = keys if isinstance(keys, list) else [keys]
        key = str(keys[0]) if key is None else key
        if key not in keys:
            continue  # of the truth, which is not there
        step = {k: v for k, v in step.items() if not k.startswith("_") and k not in _ELSEWHERE}
        types = {k: step.pop(k) for k in ("dtype",) if k in step}
        arguments = {k: _own(_plain(config, v, what), keys, key) for k, v in step.items()}
        steps.append({"name": name, "arguments": {**arguments, **types}})
        source = arguments.get("source_key", key)
        if source != key:
            raise CamSamError(f"{name} has the source_key {source!r}, not the image, in {what}.")
    return read_preparation({"steps": steps, "inferer": _inferer(config, folder)}, what)


def _own(value: Any, keys: list[Any], key: str) -> Any:
    """Return the image's part of an argument with one value a key, such as modes."""
    each = isinstance(value, list) and len(value) == len(keys) > 1
    return value[keys.index(key)] if each and isinstance(value[0], str) else value


def _inferer(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    what = f"the inferer of {folder}"
    found = config.get("inferer", {"_target_": "SimpleInferer"})
    if isinstance(found, str):
        found = _follow(config, found, what)
    if not isinstance(found, Mapping):
        raise CamSamError(f"{found!r} is no inferer; write it there, in {what}.")
    kind = _check_target(str(found.get("_target_", "SlidingWindowInferer")), "monai.inferers", what)
    kept = {k: v for k, v in found.items() if not k.startswith("_") and k not in _ELSEWHERE}
    return {"kind": kind, **{k: _plain(config, v, what) for k, v in kept.items()}}


def _activation(config: Mapping[str, Any], folder: Path) -> str | None:
    """Find what turns logits into probabilities, and refuse what would change them otherwise."""
    what, found = f"the postprocessing of {folder}", None
    for step in _listed_steps(config, config.get("postprocessing", []), what):
        name = step["_target_"]
        if name == "Activationsd":
            for kind in ("sigmoid", "softmax"):
                if _plain(config, step.get(kind), what) in (True, "true"):
                    found = kind
            if step.get("other") is not None:
                raise CamSamError(
                    f"Activationsd has the argument 'other', which is code, in {what}."
                )
        elif name == "AsDiscreted":
            threshold = _plain(config, step.get("threshold"), what)
            if threshold not in (None, 0.5, [0.5]):
                raise CamSamError(
                    f"AsDiscreted has the threshold {threshold!r}; only 0.5 is followed, in {what}."
                )
        elif name not in _AFTER:
            raise CamSamError(f"The transform {name} is not followed, in {what}.")
    return found


def _class_names(metadata: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str] | None:
    """Read the names of the output channels, where there is one for each."""
    try:
        named = next(iter(metadata["network_data_format"]["outputs"].values()))["channel_def"]
        names = [str(named[str(i)]) for i in range(int(arguments["out_channels"]))]
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return None
    return names if len(set(names)) == len(names) else None


def _window_size(
    preparation: Preparation, metadata: Mapping[str, Any], dims: int
) -> list[int] | None:
    """Return the size of the sliding window, or else of the network's input."""
    size = preparation.inferer.roi_size
    if len(size) == 1:
        size = size * dims
    try:
        named = next(iter(metadata["network_data_format"]["inputs"].values()))["spatial_shape"]
    except (KeyError, TypeError, AttributeError, StopIteration):
        named = None
    if not isinstance(named, list) or not all(isinstance(n, int) and n > 0 for n in named):
        named = []
    size = size or tuple(named)
    if len(size) != dims:
        return None
    other = named if len(named) == dims else [96] * dims
    found = [n if n > 0 else m for n, m in zip(size, other, strict=True)]
    # A plane's rows are MONAI's second axis.
    return found[::-1] if dims == 2 else found
