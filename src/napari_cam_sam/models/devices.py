"""Which device a model runs on."""

from __future__ import annotations

import re
from collections.abc import Callable

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
    # Asked only where it counts: a driver that is broken warns, even of work on the CPU.
    there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }  # fmt: skip
    if name == "auto":
        kind = next(one for one, ask in there.items() if ask())
        return torch.device("cuda:0" if kind == "cuda" else kind)
    match = re.fullmatch(r"cpu|mps|cuda(?::(\d+))?", name)
    if match is None:
        raise unknown_name("device", name, ["auto", "cpu", "cuda", "cuda:0", "mps"])
    kind = name.partition(":")[0]
    if not there[kind]():
        raise CamSamError(f"Device {name!r} is not available on this machine; use auto or cpu.")
    if kind != "cuda":
        return torch.device(kind)
    index, count = int(match[1] or 0), torch.cuda.device_count()
    if index >= count:
        raise CamSamError(
            f"Device {name!r} does not exist: this machine has {count} CUDA device(s), counted "
            "from cuda:0."
        )
    return torch.device("cuda", index)


def multiplies_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16, where PyTorch can tell.

    These are AVX512-BF16 and AMX; without them it is far slower than float32.

    Returns
    -------
    bool
    """
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(ask()) for name in questions if (ask := getattr(torch.cpu, name, None)))
