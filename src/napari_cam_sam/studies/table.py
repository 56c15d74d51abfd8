"""The tidy table of a study: a row a score, on disk as a file an image and as one whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.limits import check_schema, parse_json
from napari_cam_sam.text import cell_text

__all__ = [
    "COLUMNS",
    "STATUSES",
    "case_file",
    "make_table",
    "read_about",
    "read_rows",
    "write_case",
    "write_tables",
]

COLUMNS: dict[str, Any] = {
    "study": pa.string(),
    "case": pa.string(),
    "group": pa.string(),
    "split": pa.string(),
    "label": pa.string(),
    "axis": pa.int64(),
    "plane": pa.int64(),
    "object": pa.int64(),
    "setting": pa.string(),
    "classifier": pa.string(),
    "method": pa.string(),
    "layers": pa.string(),
    "target": pa.string(),
    "source": pa.string(),
    "strategy": pa.string(),
    "segmenter": pa.string(),
    "mask_choice": pa.string(),
    "mask_from": pa.string(),
    "preprocessing": pa.string(),
    "step": pa.int64(),
    "status": pa.string(),
    "reason": pa.string(),
    "metric": pa.string(),
    "value": pa.float64(),
}
"""Columns in their order, with their types.

``plane`` is -1 for the volume, or for the image where it could not be run; ``object`` is 0 for all
that is not 0, else a label of the truth; ``step`` is the number of prompts of a simulated
annotator, else 0; texts are empty where they do not apply. Rows without scores have an empty
``metric``, ``value`` NaN, and a ``reason``. Rows of heatmaps themselves have the source
``heatmap``, and stand once for all settings that share the heatmap.
"""

STATUSES = ("ok", "no-prompt", "no-truth", "failed")
"""``no-prompt``: nothing was found that a prompt could be made of, so the mask is empty;
``no-truth``: there is none to compare with, or neither it nor the mask has anything here."""

_ORDER = ["case", "axis", "plane", "object", "setting", "source", "step", "status", "metric"]
_ABOUT = b"napari-cam-sam"
# Rows of one group of the whole parquet file; it decides the bytes of the file.
_GROUP_ROWS = 100_000


class _About(BaseModel):
    failed: bool
    plan: str
    stamp: str
    encodes: dict[str, int]
    seconds: dict[str, float]
    files: list[str]
    models: dict[str, dict[str, str]]


def make_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Make a table of rows, in the order in which every table of results is.

    Parameters
    ----------
    rows : iterable of mapping
        With the keys of `COLUMNS`.
    """
    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    table = table.sort_values(_ORDER, kind="stable", ignore_index=True)
    typed: pd.DataFrame = _arrow(table).to_pandas()
    return typed


def _arrow(table: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(table, schema=pa.schema(COLUMNS), preserve_index=False)


def case_file(folder: Path, case: str) -> Path:
    """Give the file of a case, whatever its id holds."""
    readable = re.sub(r"[^\w.\-]+", "_", case)[:60]
    return folder / f"{readable}-{hashlib.sha256(case.encode()).hexdigest()[:12]}.parquet"


def write_case(path: Path, table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """Write the rows of a case, whole or not at all.

    Parameters
    ----------
    path : Path
    table : DataFrame
    about : mapping
        What else is known of the case, e.g. how long it took.

    Raises
    ------
    CamSamError
        If the disk is full or the folder cannot be written.
    """
    whole = _arrow(table).replace_schema_metadata({_ABOUT: json.dumps(about)})

    def write(hidden: Path) -> None:
        with hidden.open("wb") as file:  # pyarrow opens no path that is not UTF-8
            pq.write_table(whole, file)

    write_atomically(path, write)


def read_about(path: Path) -> dict[str, Any] | None:
    """Read what is known of a case from its file; None if it is not there or damaged."""
    try:
        with path.open("rb") as file:
            metadata = pq.read_schema(file).metadata or {}
        about = parse_json(metadata[_ABOUT].decode(), path)
        check_schema(_About, about, path)
    except (CamSamError, OSError, ValueError, KeyError, pa.ArrowException):
        return None
    return dict(about)


def write_tables(folder: Path, files: Iterable[Path]) -> int:
    """Join the files of cases into ``results.parquet`` and ``results.csv``, a part at a time.

    Parameters
    ----------
    folder : Path
    files : iterable of Path
        Of the cases, in the order of their ids: it is the first of the table's order.

    Returns
    -------
    int
        Rows.

    Raises
    ------
    CamSamError
        If the disk is full or the folder cannot be written; the former tables stay then.
    """
    files, rows = list(files), 0

    def write_parquet(path: Path) -> None:
        nonlocal rows
        with path.open("wb") as file, pq.ParquetWriter(file, pa.schema(COLUMNS)) as writer:
            for part in _parts(files):
                writer.write_table(part, row_group_size=_GROUP_ROWS)
                rows += part.num_rows

    def write_csv(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(COLUMNS) + "\n")
            for part in _parts(files):
                rows_of = part.to_pandas()
                for name in rows_of.select_dtypes(exclude="number"):
                    texts = {text: cell_text(text) for text in rows_of[name].unique()}
                    rows_of[name] = rows_of[name].map(texts)
                rows_of.to_csv(file, index=False, header=False, lineterminator="\n")

    write_atomically(folder / "results.parquet", write_parquet)
    write_atomically(folder / "results.csv", write_csv)
    return rows


def read_rows(path: Path) -> pa.Table:
    """Read the rows of one file of results, with the columns that are known, of their types."""
    with path.open("rb") as file:  # pyarrow opens no path that is not UTF-8
        table = pq.read_table(file)
    names = [name for name in COLUMNS if name in table.column_names]
    wanted = pa.schema([(name, COLUMNS[name]) for name in names])
    return table.select(names).cast(wanted).replace_schema_metadata(None)


def _parts(files: Iterable[Path]) -> Iterator[pa.Table]:
    """Read tables of cases, joined up to the rows of a group."""
    waiting: list[pa.Table] = []
    for file in files:
        waiting.append(read_rows(file))
        if sum(one.num_rows for one in waiting) >= _GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
