"""What the features of a prompt in a layer mean: columns without gaps, whatever the user did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["COLUMNS", "column", "complete", "table_of"]

COLUMNS = {"object": 1, "polarity": "positive", "source": "user", "score": np.nan, "plane": 0,
           "axis": 0, "extraction_id": 0}  # fmt: skip
"""Features of every prompt, and what holds for one that lacks them.

`extraction_id` is the first object of the extraction that placed it, 0 where that is not known.
"""

_TYPES: dict[str, type] = {
    name: object if isinstance(default, str) else type(default) for name, default in COLUMNS.items()
}


def column(features: pd.DataFrame, name: str, rows: int) -> NDArray[Any]:
    """Return one feature of every prompt, without pandas' rows: it is read at every drag.

    The user may have removed a column or written into it, or napari may not have filled in a new
    row: the default of `COLUMNS` stands there then.

    Parameters
    ----------
    features : pandas.DataFrame
        Of a layer.
    name : str
        A key of `COLUMNS`.
    rows : int
        How many prompts the layer has.

    Returns
    -------
    ndarray, shape (rows,)
        Of the default's type, texts as objects.
    """
    default, kind = COLUMNS[name], _TYPES[name]
    values: NDArray[Any] = np.full(rows, default, kind)
    if name not in features:
        return values
    given = features[name].iloc[:rows]
    if kind is not object and given.dtype.kind not in "iuf":
        given = pd.to_numeric(given, errors="coerce")
    found = given.to_numpy(object if kind is object else float, na_value=np.nan)
    said = pd.notna(found) if kind is object else np.isfinite(found)
    values[: len(found)][said] = found[said]
    return values


def table_of(values: dict[str, NDArray[Any]] | list[dict[str, Any]]) -> pd.DataFrame:
    """Return columns, or rows, as a table.

    Parameters
    ----------
    values : dict of str to ndarray, or list of dict
        With every key of `COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        With the types of `COLUMNS`.
    """
    return pd.DataFrame(values, columns=list(COLUMNS)).astype(_TYPES)


def complete(features: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Return a copy of a layer's features, with every column of ours and no gaps.

    Parameters
    ----------
    features : pandas.DataFrame
    rows : int
        How many prompts the layer has.

    Returns
    -------
    pandas.DataFrame
    """
    return table_of({name: column(features, name, rows) for name in COLUMNS})
