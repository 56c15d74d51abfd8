"""In which numbers a vision transformer encodes planes."""

from __future__ import annotations

import torch

from napari_cam_sam.errors import unknown_name
from napari_cam_sam.models.devices import multiplies_bfloat16

__all__ = ["PRECISIONS", "choose_precision"]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

# NVIDIA's GPUs multiply float16 fast from compute capability 7 (Volta) on.
_TENSOR_CORES = 7


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Turn a precision's name into the type of the image encoder's linear layers.

    Parameters
    ----------
    name : str
        ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"auto"`` for the one that is fastest on
        the device: bfloat16 on a CPU with instructions for it (AVX512-BF16 or AMX), where it is
        far slower without; float16, the more precise of the two, on MPS and on GPUs with tensor
        cores; else float32.
    device : torch.device

    Returns
    -------
    torch.dtype

    Raises
    ------
    CamSamError
        For an unknown name.
    """
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cpu":
        return torch.bfloat16 if multiplies_bfloat16() else torch.float32
    if device.type == "mps":
        return torch.float16
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= _TENSOR_CORES:
        return torch.float16
    return torch.float32
