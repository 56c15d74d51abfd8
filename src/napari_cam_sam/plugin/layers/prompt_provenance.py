"""What the features of a prompt in a layer mean: columns without gaps, whatever the user did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["COLUMNS", "column", "columns", "complete", "frame", "table_from", "table_of"]

COLUMNS = {"object": 1, "polarity": "positive", "source": "user", "score": np.nan, "plane": 0,
           "axis": 0, "extraction_id": 0}  # fmt: skip
"""Features of every prompt, and what holds for one that lacks them.

`extraction_id` is the first object of the extraction that placed it, 0 where that is not known.
"""

_TYPES: dict[str, type] = {"object": int, "polarity": object, "source": object, "score": float,
                           "plane": int, "axis": int, "extraction_id": int}  # fmt: skip


def column(features: pd.DataFrame, name: str, rows: int) -> NDArray[Any]:
    """Read one feature of every prompt, without pandas' rows: it is read at every drag.

    The user may have removed a column or written into it, or napari may not have filled in a new
    row: the default of `COLUMNS` stands there then.
    """
    default, kind = COLUMNS[name], _TYPES[name]
    values: NDArray[Any] = np.full(rows, default, kind)
    if name not in features:
        return values
    given = features[name].iloc[:rows]
    if kind is object:
        found = given.to_numpy(object)
        # NaN is what is not equal to itself.
        values[: len(found)] = [default if v is None or v != v else v for v in found]
        return values
    if given.dtype.kind not in "iuf":
        given = pd.to_numeric(given, errors="coerce")
    numbers = given.to_numpy(float, na_value=np.nan)
    said = np.isfinite(numbers)
    values[: len(numbers)][said] = numbers[said]
    return values


def columns(features: pd.DataFrame, rows: int) -> dict[str, NDArray[Any]]:
    """Copy every column of ours, without gaps."""
    return {name: column(features, name, rows) for name in COLUMNS}


def table_from(values: dict[str, NDArray[Any]]) -> pd.DataFrame:
    """Return columns as a table with the types of `COLUMNS`."""
    return pd.DataFrame(values).astype(_TYPES)


def complete(features: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Copy a layer's features, with every column of ours and no gaps."""
    return table_from(columns(features, rows))


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with the types of `COLUMNS`."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_TYPES)


def table_of(rows: int) -> pd.DataFrame:
    """Return a table of defaults."""
    return complete(pd.DataFrame(), rows)
