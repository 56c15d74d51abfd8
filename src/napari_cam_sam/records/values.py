"""Plain values for records, and the versions of the packages that made them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from napari_cam_sam.text import recorded

__all__ = ["PACKAGES", "package_versions", "plain"]

_HALF_PAIR = re.compile("[\ud800-\udfff]")
PACKAGES = (
    "napari-cam-sam", "torch", "torchvision", "segment-anything", "grad-cam", "numpy", "scipy",
    "scikit-image", "nibabel",
)  # fmt: skip
"""Those that decide numbers."""


def plain(value: Any) -> Any:
    """Convert a value to what JSON holds.

    Parameters
    ----------
    value : object
        Plain values, dataclasses, ranges, paths, scalars of numpy, and lists, tuples and mappings
        of them.

    Returns
    -------
    object
        Paths are recorded, keys are text, and numbers that are not finite are None.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, range):
        return {"start": value.start, "stop": value.stop}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return recorded(value)
    if isinstance(value, str):  # no other program reads half a pair of surrogates
        return value if _HALF_PAIR.search(value) is None else recorded(value)
    if hasattr(value, "item"):
        return plain(value.item())
    return value


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Return the versions of packages.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    dict of str to str or None
        By name; None for a package that is not installed.
    """
    found: dict[str, str | None] = dict.fromkeys(names)
    for name in found:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
