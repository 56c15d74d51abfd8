"""Which device a model runs on."""

from __future__ import annotations

import re

import torch

from napari_cam_sam.errors import CamSamError, unknown_name

__all__ = ["choose_device", "multiplies_bfloat16"]


def choose_device(name: str = "auto") -> torch.device:
    """Turn a device's name into a device that is there.

    Parameters
    ----------
    name : str
        ``"auto"`` (CUDA where there is one, else MPS, else the CPU), ``"cpu"``, ``"cuda"``,
        ``"cuda:N"`` or ``"mps"``.

    Returns
    -------
    torch.device

    Raises
    ------
    CamSamError
        If the name is unknown, or the device is not available on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise CamSamError("Device 'mps' is not available on this machine; use auto or cpu.")
        return torch.device("mps")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise unknown_name("device", name, ["auto", "cpu", "cuda", "cuda:0", "mps"])
    if not torch.cuda.is_available():
        raise CamSamError(f"Device {name!r} is not available on this machine; use auto or cpu.")
    index = int(match[1] or 0)
    if index >= torch.cuda.device_count():
        raise CamSamError(
            f"Device {name!r} does not exist: this machine has {torch.cuda.device_count()} "
            "CUDA device(s), counted from cuda:0."
        )
    return torch.device("cuda", index)


def multiplies_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16, where PyTorch can tell.

    These are AVX512-BF16 and AMX; without them it is far slower than float32.
    """
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(ask()) for name in questions if (ask := getattr(torch.cpu, name, None)))
