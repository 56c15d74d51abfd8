"""Read weights from a file without running code from it, and fit them into a module."""

from __future__ import annotations

import hashlib
import pickletools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError

__all__ = ["Checkpoint", "file_sha256", "load_into", "read_checkpoint", "weights_sha256"]

_TORCH_SUFFIXES = (".pth", ".pt")
_NESTED_UNDER = ("state_dict", "model")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights as they were read from one file.

    Attributes
    ----------
    path : Path
    state_dict : dict of str to Tensor
        On the CPU, keys without a ``module.`` prefix.
    metadata : dict
        What the file holds beside the weights: the header of a safetensors file (strings), or
        the other entries of a nested PyTorch checkpoint.
    sha256 : str
        Of the whole file, hexadecimal.
    """

    path: Path
    state_dict: dict[str, Tensor]
    metadata: dict[str, Any]
    sha256: str


def file_sha256(path: Path) -> str:
    """Hash a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_sha256(module: nn.Module) -> str:
    """Hash a module's weights by name, dtype, shape and bytes, hexadecimal."""
    digest = hashlib.sha256()
    for key, value in module.state_dict().items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint as plain tensors.

    Parameters
    ----------
    path : str or Path
        A ``.safetensors`` file, or a ``.pth`` or ``.pt`` file, which is read with
        ``weights_only=True``. The weights may be the whole file or nested under ``state_dict``
        or ``model``, with or without the ``module.`` prefix of data-parallel training.

    Returns
    -------
    Checkpoint

    Raises
    ------
    CamSamError
        If the file is missing, a directory, empty, truncated, a web page, a pickle that holds
        code, or has no weights.
    """
    path = Path(path)
    _check_readable(path)
    suffix = path.suffix.lower()
    content: object
    metadata: dict[str, Any]
    if suffix == ".safetensors":
        content, metadata = _read_safetensors(path)
    elif suffix in _TORCH_SUFFIXES:
        content, metadata = _read_torch(path), {}
    else:
        raise CamSamError(
            f"{path} is not a checkpoint: expected a file that ends in .pth, .pt or .safetensors."
        )
    weights, beside = _unnest(content)
    if not weights:
        raise CamSamError(
            f"{path} holds no weights: expected tensors by name, at the top or under "
            "'state_dict' or 'model'."
        )
    return Checkpoint(path, _without_prefix(weights), metadata | beside, file_sha256(path))


def load_into(module: nn.Module, checkpoint: Checkpoint, *, what: str = "the model") -> None:
    """Copy a checkpoint's weights into a module, all of them or none.

    Counters of batch norm (``num_batches_tracked``) may be absent from the file: older PyTorch
    did not write them, and evaluation does not read them. So may be all but one of the names
    under which a module has the same weights several times, as MONAI's DynUNet has: safetensors
    keeps one of them.

    Parameters
    ----------
    module : nn.Module
        Its parameters and buffers are overwritten; float16 weights become its own dtype.
    checkpoint : Checkpoint
    what : str
        How the module is called in an error, e.g. ``"resnet18 with 3 classes"``.

    Raises
    ------
    CamSamError
        Names the keys that are missing or too many, and the shapes that differ.
    """
    own, given = module.state_dict(), checkpoint.state_dict
    there = {value.data_ptr() for key, value in own.items() if key in given and value.numel()}
    missing = [
        key
        for key, value in own.items()
        if key not in given
        and not key.endswith("num_batches_tracked")
        and value.data_ptr() not in there
    ]
    extra = [k for k in given if k not in own]
    shapes = [
        f"{k} is {tuple(given[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own
        if k in given and own[k].shape != given[k].shape
    ]
    faults = [
        _counted(missing, "key is missing", "keys are missing"),
        _counted(extra, "key is not in the model", "keys are not in the model"),
        _counted(shapes, "shape differs", "shapes differ"),
    ]
    if any(faults):
        raise CamSamError(
            f"{checkpoint.path} does not fit {what}: {'; '.join(f for f in faults if f)}."
        )
    module.load_state_dict(given, strict=False)


def _counted(items: Sequence[str], one: str, many: str) -> str:
    if not items:
        return ""
    shown = ", ".join(items[:3]) + (", …" if len(items) > 3 else "")
    return f"{len(items)} {one if len(items) == 1 else many} ({shown})"


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise CamSamError(f"{path} is a folder; expected a checkpoint file.")
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except FileNotFoundError:
        raise CamSamError(f"There is no checkpoint at {path}.") from None
    except OSError as error:
        raise CamSamError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not head:
        raise CamSamError(f"{path} is empty; expected a checkpoint.")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CamSamError(
            f"{path} is a web page, not a checkpoint: the download was answered with a page; "
            "download it again from the address of the file itself."
        )
    if head.startswith(b"version https://git-lfs"):
        raise CamSamError(
            f"{path} is a Git LFS pointer, not the checkpoint itself; run 'git lfs pull'."
        )


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CamSamError(
            f"{path} is not a whole safetensors file ({_first_line(error)}); it may be truncated: "
            "download or save it again."
        ) from error


def _read_torch(path: Path) -> object:
    foreign = _foreign_code(path)
    if foreign is None:
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged pickle may raise anything at all
            code = re.search(r"GLOBAL ([\w.]+)", str(error))
            if code is None:
                raise CamSamError(
                    f"{path} is not a PyTorch checkpoint that can be read as plain weights; it may "
                    "be truncated or another kind of file: download or save it again."
                ) from error
            foreign = code[1]
    raise CamSamError(
        f"{path} is a pickle that holds code ({foreign}), which is never run; "
        "save its weights alone: torch.save(model.state_dict(), ...)."
    )


def _foreign_code(path: Path) -> str | None:
    """Name the first function that a bare pickle asks for, reading it without running it.

    Zip archives, as ``torch.save`` writes them, are left to PyTorch's own check, whose refusal
    of a bare pickle says nothing of code.
    """
    with path.open("rb") as stream:
        if stream.read(2) == b"PK":
            return None
        stream.seek(0)
        texts: list[str] = []
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL"):
                    parts = texts[-2:] if argument is None else str(argument).split(" ")
                    if parts[0].partition(".")[0] not in ("torch", "collections"):
                        return ".".join(parts)
                if isinstance(argument, str):
                    texts.append(argument)
        except Exception:  # not a pickle, or a damaged one
            return None
    return None


def _unnest(content: object) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split what was read into the weights and the entries beside them."""
    if not isinstance(content, Mapping):
        return {}, {}
    for key in _NESTED_UNDER:
        inner = content.get(key)
        if isinstance(inner, Mapping):
            weights, _ = _unnest(inner)
            return weights, {str(k): v for k, v in content.items() if k != key}
    weights = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    return weights, {str(k): v for k, v in content.items() if not isinstance(v, Tensor)}


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "module."
    if all(key.startswith(prefix) for key in weights):
        return {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else "unreadable"
