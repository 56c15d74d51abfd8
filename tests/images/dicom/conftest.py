"""Series of DICOM that are made for a test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from dicom_files import AXIAL, make_file, stored

Write = Callable[..., list[Path]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write slices at distances along the normal, one file each, in an order by chance."""

    def make(
        folder: str = "series",
        at: Any = (0.0, 2.0, 4.0, 6.0),
        values: np.ndarray | None = None,
        orientation: Any = AXIAL,
        origin: Any = (-10.0, 20.0, 30.0),
        each: Callable[[int], dict[str, Any]] = lambda index: {},
        first_number: int = 1,
        **tags: Any,
    ) -> list[Path]:
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        if values is None:
            values = stored(len(at))
        normal = np.cross(orientation[:3], orientation[3:])
        paths = []
        there = len(list(target.iterdir()))
        for index in np.random.default_rng(1).permutation(len(at)):
            position = np.array(origin) + at[index] * normal
            own = {
                "ImagePositionPatient": [float(p) for p in position],
                "ImageOrientationPatient": [float(o) for o in orientation],
                "InstanceNumber": int(first_number + index),
            } | tags
            path = target / f"{there + len(paths):03d}"
            paths.append(make_file(path, values[index], **(own | each(int(index)))))
        return paths

    return make
